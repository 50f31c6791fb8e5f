//! Pilots as jobs of a real Slurm, on nodes that are hosts of their own (see `tests/cluster/README.md`).
#![allow(clippy::unwrap_used, reason = "what is missing ends the test")]

mod agent_here;
mod cluster;
mod file_systems;
mod gpus;
mod grid_engine;
mod layouts;
mod links;
mod losses;
mod privacy;
mod ranks;
mod refusals;
mod serving;
