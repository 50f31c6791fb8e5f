//! What can go wrong for a user of the library.

use std::path::PathBuf;
use std::time::Duration;

use scalems_protocol::{Refusal, TaskError, WireError};
use scalems_transport::TransportError;

use crate::locate::LocateError;
use crate::machine::{CallFault, SessionEnd, TaskFault};

/// What can go wrong. Each says what happened, to what, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No pilot was found, or not which one.
    #[error(transparent)]
    Locate(#[from] LocateError),
    /// A socket could not be opened, or failed.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The pilot did not answer.
    #[error(
        "pilot {pilot} did not answer within {waited:?}: its agent should be process {pid} on {host}, as {} says; \
         if it does not run there any more, start it again or remove the file", file.display()
    )]
    Unreachable {
        /// The pilot's name.
        pilot: String,
        /// Where its agent should run.
        host: String,
        /// The agent's process there.
        pid: u32,
        /// The connection file that says so.
        file: PathBuf,
        /// How long was waited.
        waited: Duration,
    },
    /// The agent refused what was asked for; nothing was changed.
    #[error("{what}: {refusal}")]
    Refused {
        /// What was refused.
        what: &'static str,
        /// Why.
        refusal: Refusal,
    },
    /// Too much waits in this process for the agent.
    #[error(
        "{waiting_bytes} bytes of tasks wait here for the agent already, the limit is {limit_bytes}: \
         wait for results (`Session::wait_room`) before submitting more [backlog_full]"
    )]
    BacklogFull {
        /// Bytes that wait.
        waiting_bytes: u64,
        /// Bytes that may wait.
        limit_bytes: u64,
    },
    /// What was waited for did not come within the time that the caller allowed. It may still come.
    #[error("{what} did not come within {waited:?}; wait again, or cancel it")]
    TimedOut {
        /// What was waited for.
        what: &'static str,
        /// How long.
        waited: Duration,
    },
    /// The session is over.
    #[error("the session is over: {0}")]
    Over(SessionEnd),
    /// The agent sent a result that cannot be read.
    #[error("the agent sent a result that cannot be read ({0}): is it of another version?")]
    Unreadable(WireError),
    /// The agent answered something else than what was asked for.
    #[error("the agent's answer to {asked} is something else: is it of another version?")]
    WrongAnswer {
        /// What was asked for.
        asked: &'static str,
    },
    /// A callback waited for something, which would never come: callbacks run on the thread that brings it.
    #[error(
        "a callback may not wait: it runs on the thread that brings what it waits for; use another thread"
    )]
    InCallback,
    /// The task names a task of another session as a dependency.
    #[error("the task is to run after one of another session; name that one's submission number instead")]
    OtherSession,
    /// A value could not be encoded.
    #[error("cannot encode {what}: {problem}")]
    Encode {
        /// What.
        what: &'static str,
        /// Why not.
        problem: String,
    },
    /// A value could not be decoded.
    #[error("cannot decode {what}: {problem}")]
    Decode {
        /// What.
        what: &'static str,
        /// Why not.
        problem: String,
    },
    /// The task did not end well.
    #[error("task {} did not end well: {error}", id.as_deref().unwrap_or("(never sent)"))]
    Task {
        /// Which, as people name it.
        id: Option<String>,
        /// Why.
        error: TaskError,
    },
}

impl ClientError {
    pub(crate) fn from_task(fault: &TaskFault) -> Self {
        match fault {
            TaskFault::Refused(refusal) => Self::Refused {
                what: "the submission was refused",
                refusal: refusal.clone(),
            },
            TaskFault::BacklogFull {
                waiting_bytes,
                limit_bytes,
            } => Self::BacklogFull {
                waiting_bytes: *waiting_bytes,
                limit_bytes: *limit_bytes,
            },
            TaskFault::Unreadable(error) => Self::Unreadable(error.clone()),
            TaskFault::SessionEnded(end) => Self::Over(end.clone()),
        }
    }

    pub(crate) fn from_call(fault: CallFault, what: &'static str) -> Self {
        match fault {
            CallFault::Refused(refusal) => Self::Refused { what, refusal },
            CallFault::TimedOut { after_us } => Self::TimedOut {
                what,
                waited: Duration::from_micros(after_us),
            },
            CallFault::SessionEnded(end) => Self::Over(end),
        }
    }
}
