//! Fault drills with real processes: what holds when agents, workers and clients are killed and halted.
//!
//! `SCALEMS_TEST_LEVEL=long` runs each with many more rounds. The random numbers of a drill have the seed that it
//! prints, or `SCALEMS_FAULT_SEED`.
#![allow(clippy::unwrap_used, reason = "what is missing ends the test")]

mod calls;
mod clients;
mod disk;
mod flips;
mod left;
mod owners;
mod schemas;
mod storm;
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
