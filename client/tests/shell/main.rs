//! Sessions as users have them: over messages that the test carries, and over real sockets.

mod arrays;
mod events;
mod fake;
mod handles;
mod server;
mod sockets;
