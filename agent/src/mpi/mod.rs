//! Starts programs in ranks with the MPI at hand, and reads what its launcher says.
//!
//! Nothing here runs anything: the caller does, through the executor. All ranks of a task run on its worker's host, so a launcher
//! is to start them as its own children there, whatever batch job surrounds it, and leave CPUs alone: those are ours to give.

mod launcher;
mod words;

pub(crate) use launcher::{Launcher, find};
pub(crate) use words::{How, Told, last_line, told};
