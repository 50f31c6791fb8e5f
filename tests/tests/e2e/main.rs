//! The program as its users have it: real pilots, workers and tasks.
#![allow(clippy::unwrap_used, reason = "what is missing ends the test")]

mod again;
mod agent_death;
mod breaking;
mod by_ssh;
mod cancel;
mod comforts;
mod connect;
mod dependencies;
mod forms;
mod functions;
mod functions_bad;
mod graph;
mod guides;
mod help;
mod journal;
mod library;
mod logs;
mod machine;
mod memory;
mod open;
mod packed_logs;
mod pilots;
mod policies;
mod programs;
mod progress;
mod ranks;
mod report;
mod requests;
mod resources;
mod select;
mod silence;
mod spill;
mod stand_ins;
mod workers;
