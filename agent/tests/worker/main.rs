//! The worker as a whole: real sockets, real programs, and an agent that follows a script.

mod fake_agent;
mod joining;
mod programs;
mod stopping;
