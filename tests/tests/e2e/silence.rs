//! Workers that are not heard of any more, and what they may still run (R11).

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use scalems_tests::pilot::{Fifo, Pilot, Running};

/// One more worker, and then so many are there.
fn worker(pilot: &Pilot, all: u32) -> Running {
    let worker = pilot.home.spawn("scalems worker start --cores 2");
    pilot
        .sh(&format!("scalems pilot wait --workers {all} --timeout 60s"))
        .well();
    worker
}

#[test]
fn what_a_killed_worker_ran_begins_elsewhere_once_its_process_is_gone() {
    // Nothing else would let it begin within the time of this test.
    let mut pilot = Pilot::start_alone("--no-workers --lost-after 1h --orphan-time 2h");
    let mut told = Fifo::new(&pilot.home.work(), "told");
    let mut first = worker(&pilot, 1);
    for (number, how) in ["", "--own-dir", "--on-silence stop"].into_iter().enumerate() {
        let submit = format!("{how} -- sh -c 'echo {number} %{{ATTEMPT}} > {{}}; exec sleep 600'");
        let submit = submit.replace("{}", &pilot.home.work().join("told").display().to_string());
        let submission = pilot.submit(&submit);
        assert_eq!(told.line(), format!("{number} 1"));
        let mut second = worker(&pilot, 2);
        first.signal(Signal::SIGKILL);
        let killed = Instant::now();
        assert_eq!(told.line(), format!("{number} 2"));
        println!("{how}: began elsewhere after {:?}", killed.elapsed());
        assert!(!first.status().success());
        pilot
            .sh(&format!("scalems task cancel --kill {submission}"))
            .well();
        std::mem::swap(&mut first, &mut second);
    }
    pilot.sh("scalems pilot stop").well();
    first.status();
    pilot.expect_end();
}

#[test]
fn what_a_halted_worker_may_still_run_waits_for_the_orphan_time_where_it_has_to() {
    let mut pilot = Pilot::start_alone("--no-workers --beat 100ms --lost-after 500ms --orphan-time 3s");
    let work = pilot.home.work();
    let mut told = Fifo::new(&work, "told");
    let fifo = work.join("told").display().to_string();
    let mut first = pilot.home.spawn("scalems worker start --name first --cores 2");
    pilot.sh("scalems pilot wait --workers 1 --timeout 60s").well();
    for (name, how) in [("here", ""), ("apart", "--own-dir")] {
        pilot.submit(&format!(
            "{how} -- sh -c 'echo {name} %{{ATTEMPT}} > {fifo}; exec sleep 600'"
        ));
        assert_eq!(told.line(), format!("{name} 1"));
    }
    let mut second = pilot.home.spawn("scalems worker start --name second --cores 2");
    pilot.sh("scalems pilot wait --workers 2 --timeout 60s").well();
    first.signal(Signal::SIGSTOP);
    let halted = Instant::now();
    assert_eq!(told.line(), "apart 2");
    let apart = halted.elapsed();
    assert_eq!(told.line(), "here 2");
    let here = halted.elapsed();
    println!("apart after {apart:?}, here after {here:?}");
    assert!(here >= Duration::from_secs(3), "{here:?}");
    first.signal(Signal::SIGKILL);
    first.status();
    pilot.sh("scalems pilot stop --drain 0s").well();
    second.status();
    pilot.expect_end();
}
