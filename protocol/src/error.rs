//! Codes of refusals and of tasks' errors (`docs/spec/8-errors`).

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal,)+) => {
        /// Why something was refused or failed. The text is stable: programs may match on it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum Code {
            $($(#[doc = $doc])+ #[serde(rename = $text)] $name,)+
            /// A code of a newer version.
            #[serde(rename = "unknown", other)]
            Unknown,
        }

        impl Code {
            /// Every code of this version.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The code's text on the wire.
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)+ Self::Unknown => "unknown" }
            }

            /// What the code means, one line.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+),)+ Self::Unknown => "a code of a newer version" }
            }
        }
    };
}

codes! {
    // Messages.
    /// The header is not a msgpack map as the specification says.
    Malformed = "malformed",
    /// A bound of the protocol was passed.
    TooLarge = "too_large",
    /// No message of that type goes in this direction.
    UnknownType = "unknown_type",
    /// A key that the envelope, its needs or its policy do not have.
    UnknownField = "unknown_field",
    /// The sender says that the receiver must understand something that it does not.
    UnknownRequiredField = "unknown_required_field",
    /// The protocol version is not served.
    UnsupportedVersion = "unsupported_version",
    /// A number or text is outside what is allowed.
    InvalidValue = "invalid_value",
    // Peers.
    /// The role of the peer's key or socket does not allow this.
    NotAllowed = "not_allowed",
    /// A hello has to come first.
    HelloFirst = "hello_first",
    /// The agent serves another pilot than the peer was with.
    OtherPilot = "other_pilot",
    /// The token does not belong to the name it came with.
    WrongToken = "wrong_token",
    /// The exclusive session has an attachment.
    SessionInUse = "session_in_use",
    /// Another attachment took the session over.
    TakenOver = "taken_over",
    /// The session is of the other kind.
    SessionKind = "session_kind",
    /// The agent is ending and takes nothing new.
    Stopping = "stopping",
    // Requests.
    /// Request numbers went back below the low-water mark, or skipped one.
    RequestNumber = "request_number",
    /// Too many answers are kept for the session: raise the low-water mark.
    TooManyOpen = "too_many_open",
    /// The session's window is full.
    WindowFull = "window_full",
    /// The agent holds as much as it may.
    AgentFull = "agent_full",
    /// The client's own backlog is full.
    BacklogFull = "backlog_full",
    /// No task or submission is selected.
    NothingSelected = "nothing_selected",
    /// The submission takes no more tasks.
    NotOpen = "not_open",
    /// The data of these tasks is not kept (any more).
    NotKept = "not_kept",
    /// The selector cannot be read.
    WrongSelector = "wrong_selector",
    /// The quota of workers, or what the nodes have, does not allow for more.
    NoRoom = "no_room",
    /// Nobody is there who starts workers.
    NoStarter = "no_starter",
    /// The pilot takes no further workers.
    PilotClosed = "pilot_closed",
    /// The wait ended before what it waited for.
    TimedOut = "timed_out",
    /// The entry has been forgotten.
    Forgotten = "forgotten",
    // Submissions.
    /// No worker that was seen, started or requested serves the mode.
    UnknownMode = "unknown_mode",
    /// No worker that was seen, started or requested has what the task needs.
    ImpossibleNeeds = "impossible_needs",
    /// A dependency does not exist or was forgotten.
    UnknownDependency = "unknown_dependency",
    /// The session has this uid already.
    DuplicateUid = "duplicate_uid",
    /// A placeholder that nothing fills.
    WrongPlaceholder = "wrong_placeholder",
    // Tasks.
    /// A dependency ended in another way than was asked for.
    DependencyFailed = "dependency_failed",
    /// The task was canceled.
    Canceled = "canceled",
    /// The program ended with another exit code than 0.
    ExitCode = "exit_code",
    /// The program was ended by a signal.
    Signal = "signal",
    /// The program could not be started.
    NotStarted = "not_started",
    /// The attempt used more memory than its needs say.
    MemoryExceeded = "memory_exceeded",
    /// The time limit of one attempt passed.
    TimeLimit = "time_limit",
    /// The deadline of the task passed.
    Deadline = "deadline",
    /// Workers were lost under the task as often as its crash limit allows.
    CrashLimit = "crash_limit",
    /// The task's data is not what its mode takes.
    WrongData = "wrong_data",
    /// The mode's own code failed.
    TaskFailed = "task_failed",
    /// The function raised an exception.
    Exception = "exception",
    /// The function ended the interpreter that it ran in.
    InterpreterEnded = "interpreter_ended",
    /// What the function returned cannot be written, or is too large.
    WrongResult = "wrong_result",
    /// The function or its arguments cannot be read where it runs.
    WrongCall = "wrong_call",
    /// There is no such interpreter, or it does not start.
    NoInterpreter = "no_interpreter",
    /// A filter refused the task, or its result.
    FilterRefused = "filter_refused",
    /// A filter that sees the task failed over it.
    FilterFailed = "filter_failed",
    /// A newer attempt, or another result, replaced this one.
    SupersededResult = "superseded_result",
    /// The worker that held the task was lost.
    WorkerLost = "worker_lost",
    /// The journal ends below what a peer has seen.
    JournalBehind = "journal_behind",
    /// Something that should not happen; the message says what.
    Internal = "internal",
}

impl fmt::Display for Code {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.text())
    }
}

/// A refusal: what was refused, why, and what to do. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message} [{code}]")]
pub struct Refusal {
    /// The stable code.
    pub code: Code,
    /// One or two sentences for people.
    #[serde(deserialize_with = "crate::bounded::text")]
    pub message: String,
}

impl Refusal {
    /// A refusal with `code`, saying `message`.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: crate::bounded::shortened(message.into()),
        }
    }
}

/// Why a task, or one attempt at it, did not end well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message} [{code}]")]
pub struct TaskError {
    /// The stable code.
    pub code: Code,
    /// One or two sentences for people.
    #[serde(deserialize_with = "crate::bounded::text")]
    pub message: String,
    /// The class of the error in the task's own language, for functions.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::bounded::text_if_any"
    )]
    pub class: Option<String>,
    /// The traceback in the task's own language, for functions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// The rank that failed first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank: Option<u32>,
    /// Whether another attempt may end otherwise.
    #[serde(default, skip_serializing_if = "crate::is_default")]
    pub retryable: bool,
}

impl TaskError {
    /// The bytes of text that it takes in a header.
    pub fn text_bytes(&self) -> usize {
        let more = [&self.class, &self.trace].into_iter().flatten();
        self.message.len() + more.map(String::len).sum::<usize>()
    }

    /// An error that another attempt would meet again.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: crate::bounded::shortened(message.into()),
            class: None,
            trace: None,
            rank: None,
            retryable: false,
        }
    }

    /// An error that another attempt may not meet.
    pub fn retryable(code: Code, message: impl Into<String>) -> Self {
        Self {
            retryable: true,
            ..Self::new(code, message)
        }
    }
}
