//! A seeded simulator: clients, agent and workers as they are in production, one thread, no time of its own.
//!
//! A [`Plan`] says how large the world is and what may happen to it; [`run`] lets it happen, and
//! [`history`] checks all along that the contract holds. The same plan always leads to the same
//! [`Outcome`], trace and all. [`minimise`] looks for the smallest plan that still fails.

pub mod client;
mod clocks;
mod disk;
pub mod explorer;
mod faults;
pub mod history;
mod inspect;
pub mod network;
pub mod plan;
pub mod programs;
pub mod random;
mod rebirth;
mod sabotage;
mod spill;
mod usage;
pub mod worker;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

pub use plan::{Fault, Plan, Sabotage};

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// A fingerprint of all that happened, in order.
    pub trace: u64,
    /// Messages that arrived.
    pub messages: u64,
    /// Tasks that ended.
    pub tasks: u64,
    /// Incidents that took place.
    pub incidents: u64,
    /// How often each of [`Fault::ALL`] took place.
    pub happened: [u64; Fault::ALL.len()],
    /// Lives of the agent.
    pub lives: u64,
    /// Results that clients brought back to another life of it.
    pub brought_back: u64,
    /// Submissions that left no record, were said again, and went on where they ran.
    pub known_again: u64,
    /// Values of results that were moved out of the agent's memory.
    pub spilled: u64,
    /// The virtual time that it took, milliseconds.
    pub took_ms: u64,
    /// What was not as promised.
    pub violations: Vec<String>,
}

/// Lets a plan happen.
pub fn run(plan: &Plan) -> Outcome {
    let mut world = world::World::new(plan);
    let ended = catch_unwind(AssertUnwindSafe(|| world.run()));
    let mut outcome = world.outcome();
    if let Err(panic) = ended {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        outcome
            .violations
            .push(format!("panic: {}", text.unwrap_or_default()));
    }
    outcome
}

/// The smallest plan that can be found that still breaks the contract, and how it does.
pub fn minimise(plan: &Plan) -> (Plan, Outcome) {
    let (mut plan, mut outcome) = (plan.clone(), run(plan));
    let mut tries = 0;
    'smaller: loop {
        for smaller in plan.smaller() {
            tries += 1;
            let its = run(&smaller);
            if !its.violations.is_empty() {
                (plan, outcome) = (smaller, its);
                continue 'smaller;
            }
            if tries > 300 {
                break 'smaller;
            }
        }
        break;
    }
    (plan, outcome)
}
