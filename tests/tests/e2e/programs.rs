//! Programs: what they find around them, and what comes back.

use scalems_tests::pilot::Pilot;

/// What holds over every transport.
pub(crate) fn battery(pilot: &Pilot) {
    battery_of(pilot, "1 active");
}

/// As [`battery`], of a pilot that has other workers.
pub(crate) fn battery_of(pilot: &Pilot, workers: &str) {
    assert_eq!(
        pilot.sh("scalems submit --wait -- echo hello").well().out,
        "hello\n"
    );
    let said = pilot.sh("scalems submit --wait -- sh -c 'echo out; echo err >&2; exit 3'");
    assert!(said.out == "out\n" && said.err.contains("err\n"), "{said:?}");
    said.fails(1, &["1 failed", "exit code 3", "[exit_code]"]);
    let said = pilot
        .sh("scalems submit --array 0-99 --wait -- echo 'member-%{INDEX}'")
        .well();
    let expected: Vec<String> = (0..100).map(|index| format!("member-{index}")).collect();
    assert_eq!(said.out.lines().collect::<Vec<_>>(), expected);
    assert!(said.err.contains("100 done"), "{}", said.err);
    let large = vec![b'x'; 300_000];
    let said = pilot
        .home
        .sh_with("scalems submit --wait --stdin - -- wc -c", &large)
        .well();
    assert_eq!(said.text(), "300000");
    let number = pilot.submit("--array 1-3 -- true");
    pilot.sh(&format!("scalems wait {number} --timeout 60s")).well();
    assert_eq!(
        pilot
            .sh(&format!("scalems --output quiet task list {number}"))
            .well()
            .out
            .lines()
            .count(),
        3
    );
    assert!(pilot.sh("scalems pilot info").well().out.contains(workers));
}

#[test]
fn programs_and_their_output() {
    let pilot = Pilot::start("");
    battery(&pilot);
    pilot.stop();
}

#[test]
fn placeholders_and_indices() {
    let pilot = Pilot::start("");
    let line =
        "scalems submit --array 3-9:3 --wait -- echo '%{INDEX} %{TASK} %{SUBMISSION} %{ATTEMPT} %{CWD} %%{'";
    let said = pilot.sh(line).well();
    let here = pilot.home.work().display().to_string();
    let expected: String = [3, 6, 9]
        .map(|index| format!("{index} 1.{index} 1 1 {here} %{{\n"))
        .concat();
    assert_eq!(said.out, expected);
    let logs = pilot.sh("scalems --output jsonl logs last").well().jsonl();
    let tasks: Vec<_> = logs.iter().map(|row| row["task"].as_str().unwrap()).collect();
    assert_eq!(tasks, ["1.3", "1.6", "1.9"]);
    pilot.stop();
}

#[test]
fn the_environment_of_a_program() {
    let pilot = Pilot::start("");
    let line = "HERE='of this shell' scalems submit --wait --env 'SET=a b' --env HERE -- \
                sh -c 'echo \"$SET,$HERE,$SCALEMS_TASK,$SCALEMS_INDEX,$SCALEMS_ATTEMPT,$OMP_NUM_THREADS\"'";
    assert_eq!(pilot.sh(line).well().text(), "a b,of this shell,1.0,0,1,1");
    pilot
        .sh("scalems submit --env MISSING -- true")
        .fails(2, &["--env MISSING"]);
    // A program can use the pilot that runs it.
    let inner = "scalems submit --wait -- sh -c 'scalems --output quiet submit -- true'";
    assert_eq!(pilot.sh(inner).well().text(), "3");
    pilot.stop();
}

#[test]
fn where_a_program_runs() {
    let pilot = Pilot::start("");
    let work = pilot.home.work();
    std::fs::create_dir(work.join("sub")).unwrap();
    let here = work.display().to_string();
    assert_eq!(pilot.sh("scalems submit --wait -- pwd").well().text(), here);
    assert_eq!(
        pilot.sh("scalems submit --wait --cwd sub -- pwd").well().text(),
        format!("{here}/sub")
    );
    let said = pilot
        .sh("scalems submit --array 0-1 --wait --own-dir -- sh -c 'pwd; ls; touch mark'")
        .well();
    let own: Vec<_> = said.out.lines().collect();
    let tasks = pilot.directory().join("tasks").display().to_string();
    assert_eq!(
        own,
        [format!("{tasks}/3.0/1.1"), format!("{tasks}/3.1/1.1")],
        "each its own, and empty"
    );
    pilot.stop();
}

#[test]
fn files_for_input_and_output() {
    let pilot = Pilot::start("");
    pilot.home.write("in.txt", "from a file");
    assert_eq!(
        pilot.sh("scalems submit --wait --stdin in.txt -- cat").well().out,
        "from a file"
    );
    assert_eq!(
        pilot
            .sh("echo piped | scalems submit --wait --stdin - -- cat")
            .well()
            .out,
        "piped\n"
    );
    assert_eq!(
        pilot
            .sh("echo not read | scalems submit --wait -- cat")
            .well()
            .out,
        ""
    );
    let line = "scalems submit --array 0-1 --wait --stdout 'out-%{INDEX}.txt' --stderr err.txt -- \
                sh -c 'echo to a file; echo bad >&2'";
    pilot.sh(line).well();
    assert_eq!(pilot.home.read("out-0.txt"), "to a file\n");
    assert_eq!(pilot.home.read("out-1.txt"), "to a file\n");
    assert!(pilot.home.read("err.txt").contains("bad\n"));
    pilot.stop();
}

#[test]
fn a_shell_line() {
    let pilot = Pilot::start("");
    assert_eq!(
        pilot
            .sh("scalems submit --wait --shell -- 'echo a | tr a b'")
            .well()
            .text(),
        "b"
    );
    pilot
        .sh("scalems submit --wait --shell -- echo a")
        .fails(2, &["--shell takes one argument"]);
    pilot.stop();
}

#[test]
fn logs_of_what_was_written() {
    let pilot = Pilot::start("");
    pilot
        .sh("scalems submit --array 0-2 --wait -- sh -c 'echo out %{INDEX}; echo err %{INDEX} >&2'")
        .well();
    let said = pilot.sh("scalems logs last").well();
    assert_eq!(said.out, "out 0\nout 1\nout 2\n");
    assert_eq!(said.err, "");
    let said = pilot.sh("scalems logs 1.1 --stderr").well();
    assert_eq!((said.out.as_str(), said.err.as_str()), ("", "err 1\n"));
    // Bytes that are no text come back as they were.
    pilot
        .sh("scalems submit --wait -- printf '\\001\\377\\000x' > raw")
        .well();
    let raw = std::fs::read(pilot.home.work().join("raw")).unwrap();
    assert_eq!(raw, b"\x01\xff\0x");
    pilot.sh("scalems logs 99").fails(1, &["[nothing_selected]"]);
    pilot.stop();
}

#[test]
fn many_cores_or_one_at_a_time() {
    let pilot = Pilot::start("--cores 2");
    let count = |cores| {
        let line = format!(
            "scalems submit --wait --cores {cores} -- sh -c 'echo $OMP_NUM_THREADS; echo $SCALEMS_CPUS'"
        );
        let out = pilot.sh(&line).well().out;
        let (threads, cpus) = out.trim().split_once('\n').unwrap();
        (threads.parse::<u32>().unwrap(), cpus.split(',').count())
    };
    assert_eq!(count(1), (1, 1));
    assert_eq!(count(2), (2, 2));
    // Each writes its begin and its end; with two cores each, no two run at once.
    let line =
        "scalems submit --array 0-5 --cores 2 --wait --stdout trace.txt -- sh -c 'echo begin; echo end'";
    pilot.sh(line).well();
    let line = "scalems submit --array 0-5 --cores 2 --wait -- sh -c 'echo begin >> log; echo end >> log'";
    pilot.sh(line).well();
    assert_eq!(pilot.home.read("log"), "begin\nend\n".repeat(6));
    pilot.stop();
}
