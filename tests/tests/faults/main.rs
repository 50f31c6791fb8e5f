//! Fault drills with real processes: what holds when agents, workers and clients are killed and halted.
//!
//! `SCALEMS_TEST_LEVEL=long` runs each with many more rounds. The random numbers of a drill have the seed that it
//! prints, or `SCALEMS_FAULT_SEED`.
#![allow(clippy::unwrap_used, reason = "what is missing ends the test")]

mod calls;
mod clients;
mod clocks;
mod descriptors;
mod disk;
mod flips;
mod hosts;
mod left;
mod measure;
mod owners;
mod partitions;
mod put_back;
mod reconnects;
mod schemas;
mod shelf;
mod storm;
mod strangers;
mod stream;
mod subscriber;
mod torn;

use storm::{Drill, Fault};

/// So many rounds for each push, and so many in a night.
fn rounds(push: u32, night: u32) -> u32 {
    if std::env::var("SCALEMS_TEST_LEVEL").is_ok_and(|level| level == "long") {
        night
    } else {
        push
    }
}

/// The seed of a drill's random numbers.
fn seed() -> u64 {
    let seed = std::env::var("SCALEMS_FAULT_SEED").ok();
    seed.map_or(1, |seed| seed.parse().expect("a seed is a number"))
}

/// Says why a drill cannot run here, which is a failure where nothing may be skipped.
fn skip(why: &str) {
    let may_skip = std::env::var("SCALEMS_NO_SKIP").unwrap_or_default().is_empty();
    assert!(may_skip, "{why}");
    eprintln!("skipped: {why}");
}

/// Some drills need more descriptors than a process has at first.
fn raise_own_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
}

#[test]
fn a_killed_agent_loses_nothing() {
    let drill = Drill {
        rounds: rounds(20, 500),
        tasks: rounds(2_000, 100_000),
        faults: &[Fault::KillAgent],
        tcp: false,
    };
    drill.run();
}

#[test]
fn a_killed_agent_loses_nothing_over_tcp() {
    let drill = Drill {
        rounds: rounds(5, 100),
        tasks: rounds(500, 20_000),
        faults: &[Fault::KillAgent],
        tcp: true,
    };
    drill.run();
}

#[test]
fn killed_workers_lose_nothing() {
    let drill = Drill {
        rounds: rounds(50, 1_000),
        tasks: rounds(2_000, 100_000),
        faults: &[Fault::KillWorker],
        tcp: false,
    };
    drill.run();
}

#[test]
fn deaths_and_pauses_of_all_lose_nothing() {
    let drill = Drill {
        rounds: rounds(50, 2_000),
        tasks: rounds(2_000, 100_000),
        faults: &[
            Fault::KillAgent,
            Fault::KillWorker,
            Fault::KillAll,
            Fault::PauseAgent,
            Fault::PauseWorker,
        ],
        tcp: false,
    };
    drill.run();
}
