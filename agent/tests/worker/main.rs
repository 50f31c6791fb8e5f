//! The worker as a whole: real sockets, real programs, and an agent that follows a script.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod fake_agent;
mod joining;
mod programs;
mod stopping;
