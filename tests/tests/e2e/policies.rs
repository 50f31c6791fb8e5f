//! Retries, limits, priorities.

use std::time::{Duration, Instant};

use scalems_tests::pilot::{Fifo, Pilot, until_tasks};

#[test]
fn a_failure_is_tried_again_after_a_wait() {
    let pilot = Pilot::start("");
    let line = "scalems submit --wait --retries 3 --backoff 200ms -- \
                sh -c 'date +%s%N >> times; test \"$SCALEMS_ATTEMPT\" = 3 && echo well on \"$SCALEMS_ATTEMPT\"'";
    let began = Instant::now();
    assert_eq!(pilot.sh(line).well().text(), "well on 3");
    assert!(
        began.elapsed() >= Duration::from_millis(600),
        "200 ms, then 400 ms: {:?}",
        began.elapsed()
    );
    let times: Vec<u64> = pilot
        .home
        .read("times")
        .lines()
        .map(|time| time.parse().unwrap())
        .collect();
    assert_eq!(times.len(), 3);
    assert!(
        times[1] - times[0] >= 150_000_000 && times[2] - times[1] >= 350_000_000,
        "{times:?}"
    );
    let info = pilot.sh("scalems task info last").well().out;
    assert!(
        info.contains("attempt") && info.contains("2 of its own"),
        "{info}"
    );
    pilot.stop();
}

#[test]
fn retries_have_an_end() {
    let pilot = Pilot::start("");
    let line = "scalems submit --wait --retries 2 -- sh -c 'echo x >> tries; exit 7'";
    pilot.sh(line).fails(1, &["exit code 7", "[exit_code]"]);
    assert_eq!(pilot.home.read("tries"), "x\n".repeat(3));
    pilot.stop();
}

#[test]
fn an_attempt_that_runs_too_long() {
    let pilot = Pilot::start("");
    let line = "scalems submit --wait --time-limit 300ms -- sh -c 'echo before; exec sleep 600'";
    let said = pilot.sh(line);
    assert_eq!(said.out, "before\n");
    said.fails(1, &["time limit", "[time_limit]"]);
    pilot.stop();
}

#[test]
fn a_deadline_that_passes() {
    let pilot = Pilot::start("--cores 1");
    let line = "scalems submit --wait --deadline 300ms -- sh -c 'exec sleep 600'";
    pilot.sh(line).fails(1, &["deadline"]);
    // One that does not even start.
    let mut gate = Fifo::new(&pilot.home.work(), "gate");
    let blocker = pilot.submit("-- sh -c 'read go < gate'");
    until_tasks(&pilot.session(), blocker, |counts| counts.running == 1);
    pilot
        .sh("scalems submit --wait --deadline 300ms -- touch late")
        .fails(1, &["[deadline]"]);
    gate.release(1);
    pilot.sh(&format!("scalems wait {blocker} --timeout 60s")).well();
    assert!(!pilot.home.work().join("late").exists());
    pilot.stop();
}

#[test]
fn a_wait_that_is_too_short() {
    let pilot = Pilot::start("");
    let mut gate = Fifo::new(&pilot.home.work(), "gate");
    let said = pilot.sh("scalems submit --wait --timeout 200ms -- sh -c 'read go < gate; echo then'");
    said.fails(4, &["they go on"]);
    pilot
        .sh("scalems wait last --timeout 200ms")
        .fails(4, &["they go on"]);
    gate.release(1);
    pilot.sh("scalems wait last --timeout 60s").well();
    assert_eq!(pilot.sh("scalems logs last").well().text(), "then");
    pilot.stop();
}

#[test]
fn what_matters_more_goes_first() {
    let pilot = Pilot::start("--cores 1");
    let mut gate = Fifo::new(&pilot.home.work(), "gate");
    let blocker = pilot.submit("-- sh -c 'read go < gate'");
    until_tasks(&pilot.session(), blocker, |counts| counts.running == 1);
    for (name, priority) in [("low", "-5"), ("middle", "0"), ("high", "5")] {
        pilot.submit(&format!("--priority {priority} -- sh -c 'echo {name} >> order'"));
    }
    gate.release(1);
    pilot.sh("scalems wait all --timeout 60s").well();
    // The worker takes some work ahead: of what it had before `high` came the order is its own.
    let order = pilot.home.read("order");
    let at = |name| order.lines().position(|line| line == name).unwrap();
    assert!(at("high") < at("low"), "{order}");
    pilot.stop();
}
