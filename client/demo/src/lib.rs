//! The ensemble that `scalems demo` runs: real, small, and right or wrong by a known answer.
//!
//! A particle with two coordinates moves on a surface with two wells behind a barrier of 9 kT. Left alone it would
//! leave the deeper well once in some 70 ns (Kramers' estimate), nearly three times what a replica has. So
//! [`WINDOWS`] replicas, each a process of its own, hold it along the slow coordinate with harmonic restraints
//! (umbrella sampling); a second generation goes on from the restart files of the first. [`analyse`] unites the
//! windows (WHAM) into a free energy with error bars, whose exact value is known ([`model::free_energy`]);
//! [`table`] and [`Picture`] show how well that went.
//!
//! Nothing here knows of pilots: who starts the replicas, where and how often, is the caller's business.
//! A replica is deterministic and publishes its files by rename, so one that is killed may be run again.

mod dynamics;
mod error;
mod histogram;
pub mod model;
mod picture;
mod profile;
mod replica;
mod store;
mod table;
mod wham;

pub use error::{DemoError, Fault};
pub use picture::{Picture, Span};
pub use profile::{Point, Profile, Quantity, WindowDensity, analyse};
pub use replica::{
    DEFAULT_SEED, DEFAULT_STEPS, GENERATIONS_MAX, ReplicaArgs, STEPS_MAX, STEPS_MIN, Summary, WINDOWS,
    run_replica,
};
pub use store::{restart_path, result_path};
pub use table::table;
