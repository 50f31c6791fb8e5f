# shellcheck shell=bash
# What the scripts here share.
set -euo pipefail

here=$(cd -P "$(dirname "${BASH_SOURCE[0]}")" && pwd)

die() {
    echo "${0##*/}: $*" >&2
    exit 1
}

# The cluster that is meant.
cluster() {
    dir=${SCALEMS_CLUSTER:-}
    [ -d "${dir:-/nowhere}/run" ] || die "no cluster: SCALEMS_CLUSTER is ${dir:-not set}"
}

# What the pieces of this cluster are called outside of it, so that two clusters do not meet: s1234 for host n1 is s1234n1.
tag() { cat "$dir/run/tag"; }

# The process that made a host's namespaces, and the host's process 1.
outer() { cat "$dir/run/$1.pid" 2>/dev/null || die "there is no host $1"; }
first() {
    local children
    children=$(cat "/proc/$1/task/$1/children" 2>/dev/null) || true
    echo "${children%% *}"
}

# start_host NAME: its namespaces, with its process 1. Its network is there already.
start_host() {
    SCALEMS_CLUSTER=$dir setsid nsenter --net="/run/netns/s$(tag)$1" \
        unshare --mount --uts --ipc --pid --fork --kill-child --mount-proc \
        "$here/host" "$1" </dev/null >>"$dir/log/$1.host" 2>&1 &
    echo $! >"$dir/run/$1.pid"
    disown
}
