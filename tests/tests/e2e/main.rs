//! The program as its users have it: real pilots, workers and tasks.
#![allow(clippy::unwrap_used, reason = "what is missing ends the test")]

mod again;
mod agent_death;
mod breaking;
mod cancel;
mod comforts;
mod dependencies;
mod forms;
mod graph;
mod guides;
mod help;
mod journal;
mod library;
mod logs;
mod open;
mod pilots;
mod policies;
mod programs;
mod progress;
mod select;
mod silence;
mod workers;
