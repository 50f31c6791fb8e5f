//! The core of scalems: plain Rust without sockets, clock, files or randomness of its own.
//!
//! [`interface`] says what goes in and what comes out. [`leaseholder`] is the other half: what a worker's
//! process knows of its leases.

pub mod agent;
pub mod compaction;
pub mod interface;
pub mod leaseholder;
pub mod queue;
pub mod record;
pub mod resources;
pub mod runs;
pub mod session;
pub mod spread;
pub mod task;
pub mod worker;

pub use agent::{Agent, Restore};
pub use compaction::{Compaction, Survey};
pub use interface::{Action, Config, Input, Micros, Peer, Quota};
