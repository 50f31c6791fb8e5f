//! `scalems logs --follow`: what is written comes while it is written.

use scalems_tests::pilot::{Fifo, Pilot, until_tasks};

#[test]
fn one_task_is_followed_as_it_writes() {
    let pilot = Pilot::start("--cores 2");
    let mut gate = Fifo::new(&pilot.home.work(), "gate");
    let number = pilot.submit(&format!(
        "--shell -- 'echo first; echo wrong >&2; read go <{}; printf second'",
        gate.path().display()
    ));
    let follower = pilot.home.spawn(&format!("scalems logs -f {number}"));
    let errors = pilot.home.spawn(&format!("scalems logs -f --stderr {number}"));
    follower.until_written("first\n");
    errors.until_written("wrong\n");
    gate.release(1);
    // It ends with its task, and has shown all once.
    assert_eq!(follower.output().well().out, "first\nsecond");
    assert_eq!(errors.output().well().out, "wrong\n");
    pilot.stop();
}

#[test]
fn several_tasks_are_told_apart() {
    let pilot = Pilot::start("--cores 2");
    let mut gate = Fifo::new(&pilot.home.work(), "gate");
    // Two run at once; the others only once they have ended.
    let number = pilot.submit(&format!(
        "--array 0-3 --shell -- 'echo begin %{{INDEX}}; read go <{}; echo end %{{INDEX}}'",
        gate.path().display()
    ));
    let follower = pilot.home.spawn(&format!("scalems logs -f {number}"));
    follower.until_written(&format!("{number}.1: begin 1\n"));
    gate.release(4);
    let mut lines: Vec<String> = follower.output().well().out.lines().map(str::to_owned).collect();
    lines.sort();
    let all =
        (0..4).flat_map(|index| ["begin", "end"].map(|what| format!("{number}.{index}: {what} {index}")));
    assert_eq!(lines, all.collect::<Vec<_>>());
    // Once all have ended it shows the same, from results.
    let said = pilot
        .sh(&format!("scalems --output jsonl logs -f {number}.2"))
        .well();
    assert_eq!(
        said.jsonl(),
        [
            serde_json::json!({"task": format!("{number}.2"), "text": "begin 2"}),
            serde_json::json!({"task": format!("{number}.2"), "text": "end 2"}),
        ]
    );
    pilot
        .sh("scalems --output json logs -f last")
        .fails(2, &["use --output jsonl"]);
    pilot.stop();
}

#[test]
fn what_comes_too_fast_is_not_shown_and_that_is_said() {
    let pilot = Pilot::start("--cores 1");
    // A hundred times what is kept of it, and no end of a line.
    let number = pilot.submit("--shell -- 'head -c 6553600 /dev/zero | tr \"\\\\0\" x; echo; echo end'");
    pilot.sh(&format!("scalems wait {number} --timeout 30s")).well();
    let said = pilot.sh(&format!("scalems logs -f {number}")).well();
    assert!(said.out.ends_with("x\nend\n"), "{}", said.out.len());
    assert!(
        said.err.contains(&format!("bytes of {number}.0 are not shown")),
        "{}",
        said.err
    );
    pilot.stop();
}

#[test]
fn an_open_submission_is_followed_until_it_is_closed() {
    let pilot = Pilot::start("--cores 1");
    pilot.sh("scalems submit --open -- echo one").well();
    let follower = pilot.home.spawn("scalems logs -f 1");
    follower.until_written("1.0: one\n");
    pilot.sh("scalems submit --to 1 -- echo two").well();
    follower.until_written("1.1: two\n");
    pilot.sh("scalems task close 1").well();
    assert_eq!(follower.output().well().out, "1.0: one\n1.1: two\n");
    pilot.stop();
}

#[test]
fn a_task_that_begins_again_is_followed_again() {
    let pilot = Pilot::start("--cores 1 --workers 1");
    let mut gate = Fifo::new(&pilot.home.work(), "gate");
    let number = pilot.submit(&format!(
        "--retries 1 --shell -- 'echo attempt %{{ATTEMPT}}; read go <{}; exit $((2 - %{{ATTEMPT}}))'",
        gate.path().display()
    ));
    let follower = pilot.home.spawn(&format!("scalems logs -f {number}"));
    follower.until_written("attempt 1\n");
    gate.release(1);
    follower.until_written("attempt 2\n");
    gate.release(1);
    assert_eq!(follower.output().well().out, "attempt 1\nattempt 2\n");
    pilot.stop();
}

#[test]
fn what_runs_is_followed_to_its_end() {
    let pilot = Pilot::start("--cores 2");
    let mut gate = Fifo::new(&pilot.home.work(), "gate");
    let number = pilot.submit(&format!(
        "--array 0-3 --shell -- 'echo first %{{INDEX}}; read go <{}; echo end %{{INDEX}}'",
        gate.path().display()
    ));
    let session = pilot.session();
    until_tasks(&session, number, |counts| counts.running == 2);
    let follower = pilot.home.spawn("scalems logs -f state:running");
    follower.until_written(&format!("{number}.0: first 0\n"));
    follower.until_written(&format!("{number}.1: first 1\n"));
    // Those that begin once these have ended are not selected.
    gate.release(4);
    let mut lines: Vec<String> = follower.output().well().out.lines().map(str::to_owned).collect();
    lines.sort();
    let all =
        (0..2).flat_map(|index| ["end", "first"].map(|what| format!("{number}.{index}: {what} {index}")));
    assert_eq!(lines, all.collect::<Vec<_>>());
    pilot.sh(&format!("scalems wait {number} --timeout 60s")).well();
    pilot
        .sh("scalems logs -f state:running")
        .fails(1, &["no task that is known here matches"]);
    drop(session);
    pilot.stop();
}

#[test]
fn nothing_is_shown_twice_however_late_a_result_is() {
    let pilot = Pilot::start("--cores 16");
    let number = pilot.submit("--array 0-399 --shell -- 'echo a %{INDEX}; sleep 0.2; echo b %{INDEX}'");
    let said = pilot.sh(&format!("scalems logs -f {number}")).well();
    let mut lines: Vec<&str> = said.out.lines().collect();
    assert_eq!(lines.len(), 800);
    lines.sort_unstable();
    lines.dedup();
    assert_eq!(lines.len(), 800, "each is there once");
    pilot.stop();
}

#[test]
fn each_attempt_is_shown_from_its_begin() {
    let pilot = Pilot::start("--cores 1");
    let mut gate = Fifo::new(&pilot.home.work(), "gate");
    // Of each attempt as much: that it is another one is not known by the number of bytes.
    let number = pilot.submit(&format!(
        "--retries 1 --shell -- 'printf \"attempt $SCALEMS_ATTEMPT \"; read go <{}; test $SCALEMS_ATTEMPT = 2'",
        gate.path().display()
    ));
    let follower = pilot.home.spawn(&format!("scalems logs -f {number}"));
    for written in ["attempt 1 ", "attempt 1 attempt 2 "] {
        follower.until_written(written);
        gate.release(1);
    }
    assert_eq!(follower.output().well().out, "attempt 1 attempt 2 ");
    pilot.stop();
}
