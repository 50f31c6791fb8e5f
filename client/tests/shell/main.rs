//! Sessions as users have them: over messages that the test carries, and over real sockets.
#![allow(clippy::unwrap_used, reason = "what is missing ends the test")]

mod arrays;
mod events;
mod fake;
mod handles;
mod server;
mod sockets;
