//! Clocks that jump, and a host that stands still.

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sys::signal::Signal;
use scalems_client::Session;
use scalems_tests::pilot::{PATIENCE, Pilot, Running, process, quoted, until_workers};
use scalems_tests::sim::random::Random;
use tempfile::TempDir;

use crate::stream::Stream;

const SCALED: &str = "--beat 100ms --lost-after 2s";
/// Each of them is of the wall clock alone: the other runs on as it does.
const JUMPS: [&str; 6] = ["+1h", "-1h", "+1d", "-1d", "+400d", "+0"];

/// The library that shows a program another time, if it is installed.
fn library() -> Option<PathBuf> {
    let places = ["lib/x86_64-linux-gnu", "lib/aarch64-linux-gnu", "lib", "lib64"];
    places
        .iter()
        .map(|place| PathBuf::from(format!("/usr/{place}/faketime/libfaketime.so.1")))
        .find(|path| path.exists())
}

fn worker(pilot: &Pilot, words: &str, at: usize) -> Running {
    let line = format!("{words} scalems worker start --name w{at} --cores 4");
    pilot.home.spawn(&line)
}

/// Nobody was taken for lost, and nothing ran twice.
#[track_caller]
fn undisturbed(pilot: &Pilot, session: &Session, workers: usize) {
    let status = session.ask_status().unwrap();
    assert_eq!(status.workers, (workers as u64, 0, 0, 0), "{status:?}");
    let listed = pilot.sh("scalems --output jsonl task list all").well().jsonl();
    assert!(listed.iter().all(|row| row["run"]["attempt"] == 1), "{listed:?}");
    let log = pilot.log();
    assert!(!log.contains("lost"), "{log}");
}

/// A wall clock that can be set, for the processes that are started with it.
struct Clock {
    place: TempDir,
    /// What stands before the command of such a process.
    words: String,
}

impl Clock {
    /// One that is right; none where there is no such library.
    fn new() -> Option<Self> {
        let library = library()?;
        let place = tempfile::tempdir().unwrap();
        let words = format!(
            "env LD_PRELOAD={} FAKETIME_TIMESTAMP_FILE={} FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=1",
            library.display(),
            quoted(&place.path().join("clock"))
        );
        let clock = Self { place, words };
        clock.set("+0");
        Some(clock)
    }

    /// Sets it so far from the right time.
    fn set(&self, to: &str) {
        let new = self.place.path().join("new");
        std::fs::write(&new, to).unwrap();
        std::fs::rename(&new, self.place.path().join("clock")).unwrap();
    }

    /// Whether it is wrong by half an hour at least for whom it is shown to.
    fn is_off(&self, pilot: &Pilot) -> bool {
        let said = pilot.sh(&format!("{} date +%s", self.words)).well();
        let said: u64 = said.text().parse().unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        said.abs_diff(now) > 1_800
    }
}

#[test]
fn a_clock_that_jumps_disturbs_nobody() {
    let Some(clock) = Clock::new() else {
        return super::skip("libfaketime is not installed");
    };
    let mut pilot = Pilot::start_under(&clock.words, &format!("--no-workers {SCALED}"));
    let mut workers = [worker(&pilot, &clock.words, 0), worker(&pilot, "", 1)];
    pilot.sh("scalems pilot wait --workers 2 --timeout 60s").well();
    let session = pilot.session();
    let mut random = Random::new(super::seed(), 84);
    let mut stream = Stream::default();
    for (round, jump) in JUMPS.iter().enumerate() {
        stream.submit_until(100 * (round + 1), &session, &pilot, &mut random);
        // Their limits are far shorter than the jump, and far longer than they take.
        let limited = pilot.line("sleep 0.3").time_limit(PATIENCE).deadline(PATIENCE);
        let limited: Vec<_> = (0..8).map(|_| session.submit(&limited).unwrap()).collect();
        stream.run_for(Duration::from_millis(random.within(0, 40)));
        clock.set(jump);
        assert_eq!(clock.is_off(&pilot), *jump != "+0", "{jump}");
        for task in &limited {
            let result = task.wait(PATIENCE).unwrap();
            // How long it ran is no difference of two times of day.
            let ran = result.program().unwrap().wall_s;
            assert!(
                result.is_done() && (0.2..30.0).contains(&ran),
                "{jump}: {result:?}"
            );
        }
        assert_eq!(stream.left_after(PATIENCE), 0);
    }
    undisturbed(&pilot, &session, 2);
    drop(session);
    pilot.sh("scalems pilot stop").well();
    for worker in &mut workers {
        worker.status();
    }
    pilot.expect_end();
}

#[test]
fn a_clock_that_goes_back_while_the_agent_is_dead_loses_nothing() {
    let Some(clock) = Clock::new() else {
        return super::skip("libfaketime is not installed");
    };
    let options = format!("--no-workers {SCALED}");
    let mut pilot = Pilot::start_under(&clock.words, &options);
    let mut workers = [worker(&pilot, "", 0), worker(&pilot, "", 1)];
    let session = Session::options()
        .name("drill")
        .connect(pilot.directory())
        .unwrap();
    // One that has not joined would end with the agent.
    until_workers(&session, |rows| rows.len() == 2);
    let mut random = Random::new(super::seed(), 86);
    let mut stream = Stream::default();
    for (round, jump) in ["-1h", "+0", "-1d", "+1h", "-400d"].iter().enumerate() {
        stream.submit_until(100 * (round + 1), &session, &pilot, &mut random);
        stream.run_for(Duration::from_millis(random.within(0, 40)));
        pilot.kill_agent();
        clock.set(jump);
        pilot.resume(&options);
        assert_eq!(stream.left_after(PATIENCE), 0, "{jump}");
    }
    stream.expect_all(&session);
    drop(session);
    pilot.sh("scalems pilot stop").well();
    for worker in &mut workers {
        worker.status();
    }
    pilot.expect_end();
}

#[test]
fn a_host_that_stood_still_loses_nobody() {
    let mut pilot = Pilot::start_alone(&format!("--no-workers {SCALED}"));
    let mut workers = [worker(&pilot, "", 0), worker(&pilot, "", 1)];
    pilot.sh("scalems pilot wait --workers 2 --timeout 60s").well();
    let session = pilot.session();
    let mut random = Random::new(super::seed(), 85);
    let mut stream = Stream::default();
    for round in 1..=super::rounds(2, 50) {
        stream.submit_until(100 * round as usize, &session, &pilot, &mut random);
        let all = [pilot.pid(), workers[0].pid(), workers[1].pid()];
        for pid in &all {
            process::signal(*pid, Signal::SIGSTOP);
        }
        assert!(!process::wait_gone(
            pilot.pid(),
            Instant::now() + Duration::from_secs(3)
        ));
        for pid in all {
            process::signal(pid, Signal::SIGCONT);
        }
        assert_eq!(stream.left_after(PATIENCE), 0);
    }
    stream.expect_all(&session);
    undisturbed(&pilot, &session, 2);
    // But somebody should know of it.
    let log = pilot.log();
    assert!(log.contains("the agent did nothing for "), "{log}");
    drop(session);
    pilot.sh("scalems pilot stop").well();
    for worker in &mut workers {
        worker.status();
    }
    pilot.expect_end();
}
