//! `submit --log`: all output of many tasks in few files, read with a pilot and without one.

use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use scalems_tests::pilot::{Fifo, Pilot, process};

/// The files of packed logs in a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten();
    entries
        .map(|entry| entry.expect("it can be read").path())
        .collect()
}

#[test]
fn thousands_of_tasks_are_in_a_file_for_each_worker() {
    let pilot = Pilot::start("--cores 1 --workers 2");
    let number = pilot.submit("--log --array 0-1999 --shell -- 'echo out %{INDEX}; echo error %{INDEX} >&2'");
    pilot.sh(&format!("scalems wait {number} --timeout 60s")).well();
    let logs = pilot.directory().join("logs");
    assert_eq!(files(&logs).len(), 2, "{:?}", files(&logs));
    // From results, and from files alone, it is the same.
    let lines = |what: &str| {
        (0..2000)
            .map(|index| format!("{what} {index}\n"))
            .collect::<String>()
    };
    assert_eq!(
        pilot.sh(&format!("scalems logs {number}")).well().out,
        lines("out")
    );
    let name = pilot.name().to_owned();
    pilot.sh("scalems pilot stop").well();
    let from = format!("scalems logs --from {}", logs.display());
    assert_eq!(pilot.sh(&format!("{from} {number}")).well().out, lines("out"));
    assert_eq!(
        pilot.sh(&format!("{from} {number} --stderr")).well().err,
        lines("error")
    );
    let rows = pilot.sh(&format!("{from} --output jsonl")).well().jsonl();
    assert_eq!(rows.len(), 2000);
    assert!(
        rows.iter()
            .all(|row| row["state"] == "done" && row["exit_code"] == 0)
    );
    let sum = pilot.sh(&format!("{from} --summary --output json")).well().json();
    assert_eq!(
        (&sum["files"], &sum["tasks"], &sum["damaged"], &sum["torn"]),
        (&2.into(), &2000.into(), &0.into(), &0.into())
    );
    // They go with their pilot.
    let mut pilot = pilot;
    pilot.expect_end();
    pilot.sh(&format!("scalems pilot remove {name}")).well();
    assert!(!logs.exists());
}

#[test]
fn long_output_is_shown_whole_of_both_streams() {
    let pilot = Pilot::start("--cores 2");
    let number = pilot.submit("--log --array 0-3 --shell -- 'seq 300000; seq 500000 800000 >&2'");
    pilot.sh(&format!("scalems wait {number} --timeout 60s")).well();
    let lines = |from: u32, upto: u32| (from..=upto).map(|line| format!("{line}\n")).collect::<String>();
    let out = pilot.sh(&format!("scalems logs {number}")).well();
    assert!(out.out == lines(1, 300_000).repeat(4) && out.err.is_empty());
    let err = pilot.sh(&format!("scalems logs {number}.2 --stderr")).well();
    assert!(err.err == lines(500_000, 800_000));
    // What is not logged has its end, and that is said.
    let number = pilot.submit("--shell -- 'seq 300000'");
    pilot.sh(&format!("scalems wait {number} --timeout 60s")).well();
    let tail = pilot.sh(&format!("scalems logs {number}")).well();
    let all = lines(1, 300_000);
    assert!(all.ends_with(&tail.out) && tail.out.len() == 65_536);
    let missing = format!("{} bytes of one task are not shown", all.len() - 65_536);
    assert!(
        tail.err.contains(&missing) && tail.err.contains("--log"),
        "{}",
        tail.err
    );
    pilot.stop();
}

#[test]
fn only_what_fails_is_kept() {
    let pilot = Pilot::start("--cores 2");
    let line = "seq %{INDEX}00000; exit $((%{INDEX} % 2))";
    let number = pilot.submit(&format!("--log=failed --array 0-3 --shell -- '{line}'"));
    pilot
        .sh(&format!("scalems wait {number} --timeout 60s"))
        .fails(1, &[]);
    let logs = pilot.directory().join("logs");
    let rows = pilot
        .sh(&format!("scalems logs --from {} --output jsonl", logs.display()))
        .well()
        .jsonl();
    let found: Vec<_> = rows
        .iter()
        .map(|row| {
            (
                row["task"].as_str().expect("a name").to_owned(),
                row["stdout"] == row["stdout_kept"],
            )
        })
        .collect();
    assert_eq!(
        found,
        [(format!("{number}.1"), true), (format!("{number}.3"), true)]
    );
    assert_eq!(files(&logs).len(), 1, "nothing waits any more");
    let all: String = (1..=300_000).map(|line| format!("{line}\n")).collect();
    assert!(pilot.sh(&format!("scalems logs {number}.3")).well().out == all);
    // The same of files that the user names.
    pilot
        .sh("scalems submit --wait --array 0-1 --keep-output failed --stdout 'out-%{INDEX}' --shell -- 'echo said; exit %{INDEX}'")
        .fails(1, &[]);
    let work = pilot.home.work();
    assert!(!work.join("out-0").exists());
    assert_eq!(std::fs::read(work.join("out-1")).expect("it is kept"), b"said\n");
    pilot.stop();
}

#[test]
fn what_is_left_out_is_counted_and_said() {
    let pilot = Pilot::start("--cores 1");
    let number = pilot.submit("--log --log-cap 100K --shell -- 'head -c 1000000 /dev/zero'");
    pilot.sh(&format!("scalems wait {number} --timeout 60s")).well();
    let said = pilot.sh(&format!("scalems logs {number}")).well();
    assert_eq!(said.out.len(), 102_400);
    assert!(
        said.err.contains(&format!(
            "897600 of 1000000 bytes of {number}.0 are not shown: it wrote more than --log-cap"
        )),
        "{}",
        said.err
    );
    let result = pilot
        .sh(&format!("scalems task info {number} --output json"))
        .well()
        .json();
    assert_eq!(result["result"]["log"]["lost"]["cap"], 897_600);
    // Nobody waits for a rate: what is faster is dropped.
    let number = pilot.submit("--log --log-rate 1K --shell -- 'head -c 50000000 /dev/zero; echo end >&2'");
    pilot.sh(&format!("scalems wait {number} --timeout 60s")).well();
    let said = pilot.sh(&format!("scalems logs {number} --output json")).well();
    let row = &said.json()[0];
    let shown = row["shown"].as_u64().expect("a number");
    assert!(
        row["bytes"] == 50_000_000 && (1_024..1_000_000).contains(&shown),
        "{shown}"
    );
    assert!(said.err.contains("faster than --log-rate"), "{}", said.err);
    pilot
        .sh("scalems submit --log-rate 1K -- true")
        .fails(2, &["--log"]);
    pilot.stop();
}

#[test]
fn over_the_bound_of_a_worker_output_is_dropped_with_one_warning() {
    let pilot = Pilot::start("--cores 1 --workers 1 --log-limit 4M --log-dir elsewhere");
    let number = pilot.submit("--log --array 0-3 -- head -c 2400000 /dev/zero");
    pilot.sh(&format!("scalems wait {number} --timeout 60s")).well();
    let files = files(&pilot.home.work().join("elsewhere"));
    let bytes = files
        .iter()
        .map(|file| file.metadata().expect("it is there").len());
    assert!((4_000_000..4_300_000).contains(&bytes.sum::<u64>()) && (2..=5).contains(&files.len()));
    let said = pilot.sh(&format!("scalems logs {number}")).well();
    assert!(said.err.contains("--log-limit"), "{}", said.err);
    let warnings = pilot.log().matches("log files have as much as they may").count();
    assert_eq!(warnings, 1, "{}", pilot.log());
    pilot
        .sh("scalems worker start --log-limit 100K")
        .fails(2, &["too little", "4M or more"]);
    pilot.stop();
}

#[test]
fn a_killed_worker_leaves_what_was_written_and_attempts_are_told_apart() {
    let pilot = Pilot::start("--cores 1 --workers 1");
    let mut gate = Fifo::new(&pilot.home.work(), "gate");
    let number = pilot.submit(&format!(
        "--log --own-dir --shell -- 'seq 100000; echo attempt %{{ATTEMPT}}; echo ready >&2; read go <{}; echo over'",
        gate.path().display()
    ));
    let follower = pilot.home.spawn(&format!("scalems logs -f {number} --stderr"));
    follower.until_written("ready\n");
    // What it wrote is in the file soon, without anybody asking.
    let logs = pilot.directory().join("logs");
    let from = format!("scalems logs --from {}", logs.display());
    let until = std::time::Instant::now() + scalems_tests::pilot::PATIENCE;
    while !pilot.sh(&format!("{from} {number}")).out.contains("attempt 1\n") {
        assert!(
            std::time::Instant::now() < until,
            "what is written gets into the file"
        );
    }
    let workers = pilot.session().ask_workers().expect("the pilot says its workers");
    process::signal(workers[0].pid, Signal::SIGKILL);
    // The first attempt may take one of them before it is gone.
    gate.release(2);
    pilot.sh(&format!("scalems wait {number} --timeout 60s")).well();
    let all: String = (1..=100_000).map(|line| format!("{line}\n")).collect();
    let second = pilot.sh(&format!("scalems logs {number}")).well().out;
    assert!(second == format!("{all}attempt 2\nover\n"));
    for line in [
        format!("scalems logs {number} --attempt 1"),
        format!("{from} {number} --attempt 1"),
    ] {
        assert!(
            pilot.sh(&line).well().out == format!("{all}attempt 1\n"),
            "{line}"
        );
    }
    let rows = pilot.sh(&format!("{from} --output jsonl")).well().jsonl();
    let states: Vec<_> = rows.iter().map(|row| row["state"].as_str()).collect();
    assert_eq!(states, [Some("begun"), Some("done")]);
    pilot.stop();
}

#[test]
fn a_log_that_cannot_be_read_here_leaves_the_end_and_damage_leaves_the_rest() {
    let pilot = Pilot::start("--cores 1");
    let number = pilot.submit("--log --array 0-2 --shell -- 'seq 100000'");
    pilot.sh(&format!("scalems wait {number} --timeout 60s")).well();
    let logs = pilot.directory().join("logs");
    let file = files(&logs).pop().expect("there is one");
    let mut bytes = std::fs::read(&file).expect("it can be read");
    let length = bytes.len();
    bytes[length / 2] ^= 1;
    bytes.truncate(length - 100);
    std::fs::write(&file, bytes).expect("it can be written");
    let all: String = (1..=100_000).map(|line| format!("{line}\n")).collect();
    let from = format!("scalems logs --from {}", file.display());
    assert!(pilot.sh(&format!("{from} {number}.0")).well().out == all);
    let middle = pilot.sh(&format!("{from} {number}.1")).well();
    assert!(
        middle.out.len() < all.len() && middle.err.contains("not shown"),
        "{}",
        middle.err
    );
    std::fs::remove_file(&file).expect("it is there");
    let said = pilot.sh(&format!("scalems logs {number}.1")).well();
    assert!(all.ends_with(&said.out) && said.out.len() == 65_536);
    assert!(said.err.contains("cannot be read here"), "{}", said.err);
    pilot
        .sh(&format!("scalems logs --from {} name:x", logs.display()))
        .fails(2, &["know no names"]);
    pilot.stop();
}

#[test]
fn what_waits_for_its_end_can_be_read_when_its_worker_was_killed() {
    let mut pilot = Pilot::start("--cores 1 --workers 1");
    let mut gate = Fifo::new(&pilot.home.work(), "gate");
    // More than waits in memory.
    let number = pilot.submit(&format!(
        "--log=failed --shell -- 'seq 100000; echo written >{}; exec sleep 1000'",
        gate.path().display()
    ));
    assert_eq!(gate.line(), "written");
    let logs = pilot.directory().join("logs");
    let from = format!("scalems logs --from {} {number}", logs.display());
    let until = std::time::Instant::now() + scalems_tests::pilot::PATIENCE;
    let all: String = (1..=100_000).map(|line| format!("{line}\n")).collect();
    while pilot.sh(&from).out != all {
        assert!(std::time::Instant::now() < until, "what waits gets into its file");
    }
    pilot.kill_all();
    assert!(pilot.sh(&from).well().out == all);
    let rows = pilot
        .sh(&format!("scalems logs --from {} --output jsonl", logs.display()))
        .well()
        .jsonl();
    assert_eq!((rows.len(), &rows[0]["state"]), (1, &"begun".into()));
}
