//! States of a task (`docs/spec/5-task-states`).

use serde::{Deserialize, Serialize};

/// Where a task is in its life. Only the core moves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// Some of its dependencies have not ended.
    Waiting,
    /// It may start as soon as a worker has room.
    Ready,
    /// A worker has been granted its next attempt and has not said that it runs.
    Leased,
    /// A worker has said that it runs.
    Running,
    /// It ended well.
    Done,
    /// It ended badly.
    Failed,
    /// It was ended before it could end by itself.
    Canceled,
}

impl TaskState {
    /// Every state, in the order of the specification.
    pub const ALL: [Self; 7] = [
        Self::Waiting,
        Self::Ready,
        Self::Leased,
        Self::Running,
        Self::Done,
        Self::Failed,
        Self::Canceled,
    ];

    /// The state's name on the wire and in what people read.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Ready => "ready",
            Self::Leased => "leased",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
        }
    }

    /// The state called `name`, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Whether the task has its final state.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Canceled)
    }

    /// What the state adds to a lease's hash (`docs/spec/3-worker`, section "State hashes").
    pub const fn hash_number(self) -> u64 {
        match self {
            Self::Leased => 1,
            Self::Running => 2,
            _ => 0,
        }
    }
}

/// How a task, or one attempt at it, ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// It ended well.
    Done,
    /// It ended badly.
    Failed,
    /// It was ended before it could end by itself.
    Canceled,
}

impl From<Ending> for TaskState {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Done => Self::Done,
            Ending::Failed => Self::Failed,
            Ending::Canceled => Self::Canceled,
        }
    }
}

/// How hard a task is canceled (R8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strength {
    /// Only if it has not started.
    Withdraw,
    /// A task that runs is asked: SIGTERM, a grace time, then SIGKILL for programs.
    Request,
    /// A task that runs is killed, with its whole process group.
    Kill,
}
