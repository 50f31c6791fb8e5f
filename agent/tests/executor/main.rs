//! The executor with real programs: what they find, how they end, and what is left of them. Nothing here waits
//! by sleeping; every wait is for an event, with a deadline.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod ending;
mod finding;
mod following;
mod logging;
mod many;
mod memory;
mod output;
mod refusing;
mod rig;
mod worker_death;
