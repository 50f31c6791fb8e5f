//! Exit codes (`docs/guide/cli.md`).

use std::process::ExitCode;

use scalems_client::ClientError;
use scalems_client::locate::LocateError;

use crate::interrupt::Interrupted;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All went well.
    Well,
    /// A task failed or was canceled, or the command did.
    Failed,
    /// What was asked for is not possible as it was written.
    Usage,
    /// No pilot was reached.
    NoPilot,
    /// Time ran out.
    TimedOut,
    /// Interrupted.
    Interrupted,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Well => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::NoPilot => 3,
            Exit::TimedOut => 4,
            Exit::Interrupted => 130,
        })
    }
}

/// What was asked for is not possible as it was written, found out after the command line was read.
#[derive(Debug)]
pub(crate) struct Misuse(pub(crate) String);

impl std::fmt::Display for Misuse {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for Misuse {}

/// The exit code that fits an error.
pub(crate) fn of_error(error: &anyhow::Error) -> Exit {
    if error.downcast_ref::<Misuse>().is_some() {
        return Exit::Usage;
    }
    if error.downcast_ref::<Interrupted>().is_some() {
        return Exit::Interrupted;
    }
    let located = error.downcast_ref::<LocateError>().is_some();
    match error.downcast_ref::<ClientError>() {
        Some(ClientError::Locate(_) | ClientError::Unreachable { .. } | ClientError::Over(_)) => {
            Exit::NoPilot
        }
        _ if located => Exit::NoPilot,
        _ => Exit::Failed,
    }
}
