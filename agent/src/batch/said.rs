//! What every batch system's commands and variables are read with.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::BatchError;

/// A variable of this process that says something.
pub(super) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The time on the wall, since 1970.
pub(super) fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The error for an answer of a command that nobody expected.
pub(super) fn not_understood(command: &'static str, said: &str) -> BatchError {
    BatchError::Answer {
        command,
        said: said.chars().take(1_000).collect(),
    }
}
