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

#[test]
fn only_the_failures_that_are_named_are_tried_again() {
    let pilot = Pilot::start("--cores 1");
    let tries = |options: &str, how: &str| {
        let line = format!("rm -f tries; scalems submit --wait {options} -- sh -c 'echo x >> tries; {how}'");
        pilot.sh(&line).fails(1, &[]);
        pilot.sh("wc -l < tries").well().text().to_owned()
    };
    for (how, count) in [
        ("exit 75", "3"),
        ("exit 7", "1"),
        ("kill -BUS $$", "3"),
        ("kill -9 $$", "1"),
    ] {
        assert_eq!(tries("--retries 2 --retry-on 75,SIGBUS", how), count, "{how}");
    }
    let limited = "--retries 1 --time-limit 100ms --retry-on";
    assert_eq!(tries(&format!("{limited} time-limit"), "exec sleep 600"), "2");
    assert_eq!(tries(&format!("{limited} 75"), "exec sleep 600"), "1");
    for (options, said) in [
        ("--retry-on 75", "--retries"),
        ("--retries 1 --retry-on 0", "is no failure"),
        ("--retries 1 --retry-on SIGNOTHING", "is no failure"),
    ] {
        pilot
            .sh(&format!("scalems submit {options} -- true"))
            .fails(2, &[said]);
    }
    pilot.stop();
}

#[test]
fn when_too_many_have_failed_the_others_do_not_run() {
    let pilot = Pilot::start("--cores 1");
    let said = pilot
        .sh("scalems --output json submit --wait --max-failures 2 --array 0-99 -- sh -c 'echo x >> ran; sleep 0.05; exit 1'")
        .fails(1, &[])
        .json();
    let (failed, canceled) = (&said["tasks"]["failed"], &said["tasks"]["canceled"]);
    assert_eq!(
        failed.as_u64().unwrap() + canceled.as_u64().unwrap(),
        100,
        "{said}"
    );
    assert!((3..10).contains(&failed.as_u64().unwrap()), "{said}");
    let ran: u64 = pilot.sh("wc -l < ran").well().text().parse().unwrap();
    assert!(ran < 10, "{ran} have run");
    let why = pilot.sh("scalems task info 1.99").well();
    assert!(why.out.contains("have failed, and 2 may"), "{why:?}");
    // So many may.
    pilot
        .sh("scalems submit --wait --max-failures 3 --array 0-9 -- sh -c 'exit $(test %{INDEX} -ge 3; echo $?)'")
        .fails(1, &["7 done, 3 failed"]);
    pilot.stop();
}
