//! What answers to questions are made of.

use serde::{Deserialize, Serialize};

use crate::error::TaskError;
use crate::group::Run;
use crate::id::Incarnation;
use crate::progress::Progress;
use crate::state::TaskState;
use crate::task::Template;
use crate::{Amount, bounded, is_default, limits};

/// Rows, and where to go on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(bound(deserialize = "T: Deserialize<'de>, C: Deserialize<'de>"))]
pub struct Listing<T, C = (u64, u32)> {
    /// The rows.
    #[serde(deserialize_with = "bounded::list::<_, _, { limits::PAGE_ROWS as usize }>")]
    pub rows: Vec<T>,
    /// Where the next part begins, if there is more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<C>,
}

/// Tasks counted by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Waiting for dependencies.
    pub waiting: u64,
    /// Waiting for room.
    pub ready: u64,
    /// Granted to a worker.
    pub leased: u64,
    /// Running.
    pub running: u64,
    /// Ended well.
    pub done: u64,
    /// Ended badly.
    pub failed: u64,
    /// Ended before their time.
    pub canceled: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.waiting += other.waiting;
        self.ready += other.ready;
        self.leased += other.leased;
        self.running += other.running;
        self.done += other.done;
        self.failed += other.failed;
        self.canceled += other.canceled;
    }
}

impl Counts {
    /// The count of one state.
    pub fn of(&mut self, state: TaskState) -> &mut u64 {
        match state {
            TaskState::Waiting => &mut self.waiting,
            TaskState::Ready => &mut self.ready,
            TaskState::Leased => &mut self.leased,
            TaskState::Running => &mut self.running,
            TaskState::Done => &mut self.done,
            TaskState::Failed => &mut self.failed,
            TaskState::Canceled => &mut self.canceled,
        }
    }

    /// All tasks.
    pub const fn total(&self) -> u64 {
        self.unfinished() + self.finished()
    }

    /// Tasks that have not ended.
    pub const fn unfinished(&self) -> u64 {
        self.waiting + self.ready + self.leased + self.running
    }

    /// Tasks that have ended.
    pub const fn finished(&self) -> u64 {
        self.done + self.failed + self.canceled
    }

    /// Adds another count to this one.
    pub fn add(&mut self, other: &Self) {
        self.waiting += other.waiting;
        self.ready += other.ready;
        self.leased += other.leased;
        self.running += other.running;
        self.done += other.done;
        self.failed += other.failed;
        self.canceled += other.canceled;
    }
}

/// The agent as a whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// The pilot's name.
    pub pilot_name: String,
    /// The agent's life.
    pub incarnation: Incarnation,
    /// Since the agent began, milliseconds.
    pub up_ms: u64,
    /// Tasks by state; those that were forgotten are not in it.
    pub tasks: Counts,
    /// Submissions known.
    pub submissions: u64,
    /// Clients attached.
    pub clients: u64,
    /// Workers by state: joined, suspect, draining, lost.
    pub workers: (u64, u64, u64, u64),
    /// Resources by kind: kind, total, in use; what is not whole is rounded, so that there is never more.
    pub resources: Vec<(String, u64, u64)>,
    /// Those of them that are not whole: kind, total, in use.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fractions: Vec<(String, Amount, Amount)>,
    /// Modes that are served.
    #[serde(deserialize_with = "bounded::list::<_, _, { limits::NAMES }>")]
    pub modes: Vec<String>,
    /// Whether the agent is ending.
    pub stopping: bool,
    /// Counters of what was refused or dropped: what, how often.
    pub counters: Vec<(String, u64)>,
    /// What keeps the pilot from its work, and what to do about it, for people.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub trouble: Vec<String>,
}

/// One worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerRow {
    /// Its number.
    pub worker: u64,
    /// Its name.
    pub name: String,
    /// Its host.
    pub host: String,
    /// Its process.
    pub pid: u32,
    /// `active`, `suspect`, `draining`, `lost`, `gone`.
    pub state: String,
    /// Resources by kind: kind, total, in use; what is not whole is rounded, so that there is never more.
    pub resources: Vec<(String, u64, u64)>,
    /// Those of them that are not whole: kind, total, in use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fractions: Vec<(String, Amount, Amount)>,
    /// Leases held: not started, running.
    pub leases: (u64, u64),
    /// Tasks ended there.
    pub ended: u64,
    /// Since it was last heard of, milliseconds.
    pub silent_ms: u64,
    /// Beats compared equal, and beats that differed.
    pub beats: (u64, u64),
    /// How long it will still be there, milliseconds; none: nothing is known of an end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_ms: Option<u64>,
    /// What who starts workers knows it by; none: it was started by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// The session that asked for it; none: it came with the pilot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_by: Option<String>,
}

/// One submission.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SubmissionRow {
    /// Its number.
    pub submission: u64,
    /// Its mode.
    pub mode: String,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its labels.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub labels: std::collections::BTreeMap<String, String>,
    /// The session that owns it.
    pub session: String,
    /// The first index, the step, and how many.
    pub indices: (u32, u32, u32),
    /// Whether some indices are left out: then each row of its tasks tells theirs.
    #[serde(default, skip_serializing_if = "is_default")]
    pub sparse: bool,
    /// Its tasks by state.
    pub tasks: Counts,
    /// Since it was submitted, milliseconds.
    pub age_ms: u64,
    /// Whether tasks may be added.
    #[serde(default, skip_serializing_if = "is_default")]
    pub open: bool,
    /// What its attempts took that are over: kind, what those took that ended well, and those that failed, were canceled, or lost
    /// their worker. Of `time` it is microseconds, of resources microseconds times how much each had.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "bounded::list::<_, _, { limits::SPENT_KINDS }>"
    )]
    pub spent: Vec<(String, u64, u64)>,
}

/// Tasks of one submission that are in one state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskRow {
    /// The tasks and their attempt, 0 before the first.
    pub run: Run,
    /// The index of offset 0, as if none before these were left out, and the step.
    pub indices: (u32, u32),
    /// The state.
    pub state: TaskState,
    /// The worker that holds them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// The exit code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Why they did not end well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<TaskError>,
    /// How long each ran, on average, microseconds.
    #[serde(default, skip_serializing_if = "is_default")]
    pub ran_us: u64,
    /// Which of the ways to run they have room for, while somebody holds them and there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<u8>,
}

/// One task: all that is known of it, and why it waits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The task.
    pub row: TaskRow,
    /// What it shares with its submission.
    pub task: Template,
    /// Failures charged to the task, and workers lost under it.
    pub faults: (u32, u32),
    /// Why it is where it is, one sentence each, the most important first.
    #[serde(deserialize_with = "bounded::list::<_, _, { limits::NAMES }>")]
    pub reasons: Vec<String>,
    /// How far it is, if it runs and has said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
}
