//! The scalems command.
fn main() {}
