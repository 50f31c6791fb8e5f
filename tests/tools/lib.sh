# shellcheck shell=bash
# What the parts of the test command share. A part reports with the functions here and exits; one that reports
# nothing counts as one test, by its exit status.
set -uo pipefail

: "${SCALEMS_ROOT:?parts are run by tests/run}" "${SCALEMS_PART_REPORT:?}" "${SCALEMS_TEST_LEVEL:?}"
cd "$SCALEMS_ROOT" || exit 1
target=${CARGO_TARGET_DIR:-$SCALEMS_ROOT/target}
export SCALEMS_VENV=$target/venv

report() { echo "$*" >>"$SCALEMS_PART_REPORT"; }

# The part cannot run here; says why, and ends it.
skip() {
    report skipped "$*"
    exit 0
}

have() { command -v "$1" >/dev/null 2>&1; }

# try NAME COMMAND...: one test, which passes if the command does.
try() {
    local name=$1
    shift
    if "$@"; then
        report passed 1
    else
        echo "failed: $name"
        report failed 1
    fi
}

# Cuts lines that nobody can read, such as a large message shown by an assertion that failed.
shorten() { sed -u -E 's/^(.{2000}).+$/\1 [cut]/'; }

# Runs tests with cargo-nextest, and counts them by its summary.
nextest() {
    have cargo-nextest || {
        echo "failed: cargo-nextest is missing: run tests/run prepare"
        report failed 1
        return
    }
    local log status profile=default ignored=()
    [ -n "$SCALEMS_NO_SKIP" ] && profile=ci
    [ "$SCALEMS_TEST_LEVEL" = long ] && profile=long ignored=(--run-ignored all)
    log=$(mktemp)
    cargo nextest run --profile "$profile" --no-fail-fast ${ignored[@]+"${ignored[@]}"} "$@" 2>&1 | tee "$log" | shorten
    status=${PIPESTATUS[0]}
    count_nextest "$status" <"$log"
    rm -f "$log"
}

# count_nextest STATUS <OUTPUT. What nextest calls skipped was left out by a filter or by #[ignore]: that is a
# choice, not a test that could not run, so it is not counted.
count_nextest() {
    local line ran bad
    line=$(sed -E 's/\x1b\[[0-9;]*m//g' | grep -E '^ *Summary \[' | tail -n 1 | sed -E 's/\([^)]*\)//g')
    ran=$(sum_of "$line" 'passed')
    bad=$(sum_of "$line" 'failed|exec failed|timed out')
    # It failed, but no test did: it could not build, or was told to stop.
    [ "$1" -ne 0 ] && [ "$bad" -eq 0 ] && bad=1
    report passed "$ran"
    report failed "$bad"
}

# count_cargo_test STATUS <OUTPUT: the same for `cargo test`, which has a result line for each binary.
count_cargo_test() {
    local lines ran bad
    lines=$(sed -E 's/\x1b\[[0-9;]*m//g' | grep -E '^test result: ')
    ran=$(sum_of "$lines" 'passed')
    bad=$(sum_of "$lines" 'failed')
    [ "$1" -ne 0 ] && [ "$bad" -eq 0 ] && bad=1
    report passed "$ran"
    report failed "$bad"
}

# count_pytest STATUS <OUTPUT: the same for pytest, whose last line counts. What it skips could not run.
count_pytest() {
    local line ran bad left
    line=$(sed -E 's/\x1b\[[0-9;]*m//g' | grep -E '^(=+ )?[0-9]+ (passed|failed|errors?|skipped)' | tail -n 1)
    ran=$(sum_of "$line" 'passed')
    bad=$(sum_of "$line" 'failed|errors?')
    left=$(sum_of "$line" 'skipped')
    [ "$1" -ne 0 ] && [ "$bad" -eq 0 ] && bad=1
    report passed "$ran"
    report failed "$bad"
    while [ "$left" -gt 0 ]; do
        report skipped "pytest: see what it says above"
        left=$((left - 1))
    done
}

# sum_of TEXT WORDS: the sum of the numbers that stand right before one of the words.
sum_of() {
    grep -oE "\b[0-9]+ ($2)\b" <<<"$1" | awk '{ sum += $1 } END { print sum + 0 }'
}

# script NAME COMMAND...: runs a test script that ends with a line "N passed, N failed[, N skipped]" of its own,
# and counts that; without the line it is one test. The line is marked, so that ours stays the only plain one.
script() {
    local name=$1 log status line s
    shift
    log=$(mktemp)
    "$@" 2>&1 | tee "$log" | sed -uE "s|^([0-9]+ passed, [0-9]+ failed)|-- $name: \1|"
    status=${PIPESTATUS[0]}
    line=$(grep -E '^[0-9]+ passed, [0-9]+ failed(, [0-9]+ skipped)?$' "$log" | tail -n 1)
    rm -f "$log"
    if [ -z "$line" ]; then
        try "$name: ended with status $status" [ "$status" -eq 0 ]
        return
    fi
    report passed "$(sum_of "$line" passed)"
    local bad
    bad=$(sum_of "$line" failed)
    [ "$status" -ne 0 ] && [ "$bad" -eq 0 ] && bad=1
    report failed "$bad"
    s=$(sum_of "$line" skipped)
    while [ "$s" -gt 0 ]; do
        report skipped "$name: see what it says above"
        s=$((s - 1))
    done
}
