//! Bad input of all kinds: each is refused with its name, and nothing else is disturbed.
#![allow(clippy::unwrap_used, reason = "what is missing ends the test")]

mod connection_files;
mod frames;
mod identity;
mod programs;
mod submissions;
mod wire;
