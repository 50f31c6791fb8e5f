//! The session machine, driven by scripts with exact outputs and by a model of an agent over a bad network.
#![allow(clippy::unwrap_used, reason = "what is missing ends the test")]

mod dependencies;
mod model;
mod network;
mod script;
mod session;
mod tasks;
mod topics;
