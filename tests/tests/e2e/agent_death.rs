//! The agent dies as the system kills: what runs, what waits, and what its clients hear.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use scalems_client::{ClientError, Session};
use scalems_tests::pilot::{Fifo, PATIENCE, Pilot, process};

fn worker_of(pilot: &Pilot) -> u32 {
    let rows = pilot.sh("scalems --output json worker list").well().json();
    rows[0]["pid"].as_u64().unwrap() as u32
}

#[test]
fn work_goes_on_without_the_agent_until_the_orphan_time() {
    let mut pilot = Pilot::start("--orphan-time 3s");
    let worker = worker_of(&pilot);
    let mut told = Fifo::new(&pilot.home.work(), "told");
    let mut gate = Fifo::new(&pilot.home.work(), "gate");
    pilot.submit("-- sh -c 'echo $$ > told; read go < gate; echo ended > told'");
    pilot.submit("-- sh -c 'echo $$ > told; exec sleep 600'");
    let programs: Vec<u32> = (0..2).map(|_| told.line().parse().unwrap()).collect();
    pilot.kill_agent();
    let killed = Instant::now();
    // What runs goes on, and ends as it would have.
    gate.release(1);
    assert_eq!(told.line(), "ended");
    // Then the worker ends, and what still runs with it.
    assert!(
        process::wait_gone(worker, Instant::now() + PATIENCE),
        "the worker waits for ever"
    );
    assert!(
        killed.elapsed() >= Duration::from_secs(2),
        "it did not wait: {:?}",
        killed.elapsed()
    );
    for program in programs {
        assert!(
            process::wait_gone(program, Instant::now() + PATIENCE),
            "a program outlives its worker"
        );
    }
    pilot.home.until_empty();
}

#[test]
fn an_idle_worker_ends_without_its_agent() {
    let mut pilot = Pilot::start("--orphan-time 500ms");
    let worker = worker_of(&pilot);
    pilot.kill_agent();
    assert!(process::wait_gone(worker, Instant::now() + PATIENCE));
}

#[test]
fn clients_hear_that_the_agent_is_gone() {
    // With a journal they would wait for its next life.
    let mut pilot = Pilot::start("--orphan-time 500ms --journal none");
    let options = Session::options().give_up_after(Duration::from_secs(1));
    let session = options.connect(pilot.directory()).unwrap();
    let mut told = Fifo::new(&pilot.home.work(), "told");
    let handle = session
        .submit(pilot.line("echo up > told; exec sleep 600"))
        .unwrap();
    told.line();
    let waiting = pilot
        .home
        .spawn("scalems --output jsonl submit --wait -- sleep 600");
    waiting.until_written("submission");
    pilot.kill_agent();
    waiting.output().fails(3, &["is over"]);
    let error = handle.wait(PATIENCE).unwrap_err();
    assert!(matches!(error, ClientError::Over(_)), "{error}");
    let error = session.ask_status().unwrap_err();
    assert!(matches!(error, ClientError::Over(_)), "{error}");
}

#[test]
fn a_worker_that_missed_the_end_of_its_pilot_ends_too() {
    let pilot = Pilot::start_alone("--no-workers --lost-after 1s --orphan-time 10m");
    let mut worker = pilot.home.spawn("scalems worker start --name deaf --cores 1");
    pilot.sh("scalems pilot wait --workers 1 --timeout 60s").well();
    worker.signal(Signal::SIGSTOP);
    pilot.stop_with(|| worker.signal(Signal::SIGCONT));
    let begun = Instant::now();
    assert!(worker.status().success());
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
}

#[test]
fn results_that_were_waited_for_to_be_durable_outlive_agent_and_client() {
    let mut pilot = Pilot::start("--workers 2 --orphan-time 500ms");
    let session = Session::connect(pilot.directory()).unwrap();
    let line = pilot.line("echo done");
    let handles: Vec<_> = (0..50).map(|_| session.submit(line.clone()).unwrap()).collect();
    scalems_client::wait_all(&handles, PATIENCE).unwrap();
    session.wait_durable(PATIENCE).unwrap();
    pilot.kill_agent();
    drop(session);
    let rows = pilot.sh("scalems journal export").well().jsonl();
    let ended = rows.iter().filter(|row| row["state"] == "done").count();
    assert_eq!(ended, 50);
    pilot.home.until_empty();
}
