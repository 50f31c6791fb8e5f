//! Messages between workers and the agent (`docs/spec/3-worker`).

use serde::{Deserialize, Serialize};

use crate::error::Refusal;
use crate::frame::{decoders, messages};
use crate::group::{HeldRun, LeaseGroup, ResultGroup, Run};
use crate::id::{Incarnation, JournalMark, Link, PilotId};
use crate::program::Written;
use crate::progress::Progress;
use crate::scan::Scanned;
use crate::state::Strength;
use crate::task::Template;
use crate::token::Token;
use crate::{Amount, WireError, bounded, is_default, limits};

/// What a worker offers, by kind; `cores`, `gpus` and `memory` (MiB) are the usual ones.
pub type Offer = Vec<(String, Amount)>;

/// A mode that a worker serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModeOffer {
    /// Its name.
    pub name: String,
    /// Its tasks take no time worth counting: many may be granted ahead.
    #[serde(default)]
    pub instant: bool,
}

/// The first message of a worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerHello {
    /// The protocol version.
    #[serde(default, skip_serializing)]
    pub v: u8,
    /// The message's type.
    #[serde(default, skip_serializing, rename = "type")]
    pub type_: String,
    /// What the receiver has to understand.
    #[serde(default)]
    pub must: Vec<String>,
    /// A name for people; made unique by the agent.
    pub name: String,
    /// The host.
    pub host: String,
    /// The process.
    pub pid: u32,
    /// What the worker's process, and whatever ends its programs after it, are known by on their host (page 3); empty:
    /// nobody can tell whether they are over.
    #[serde(
        default,
        skip_serializing_if = "String::is_empty",
        deserialize_with = "bounded::text"
    )]
    pub process: String,
    /// Software and version, for people.
    #[serde(deserialize_with = "bounded::text")]
    pub software: String,
    /// What it offers.
    #[serde(deserialize_with = "bounded::list::<_, _, { limits::RESOURCE_KINDS }>")]
    pub offer: Offer,
    /// The modes that it serves.
    #[serde(deserialize_with = "bounded::list::<_, _, { limits::MODES }>")]
    pub modes: Vec<ModeOffer>,
    /// Who it was, if it was here before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume: Option<WorkerResume>,
    /// The leases that it holds.
    #[serde(default)]
    pub held: Vec<HeldRun>,
    /// How many times the worker has said hello with this one; the answer repeats it. 0: it does not count.
    #[serde(default, skip_serializing_if = "is_default")]
    pub hello: u64,
    /// How long it will still be there, milliseconds; none: it has no end that it knows of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_ms: Option<u64>,
    /// Later words of needs that it understands ([`crate::task::Knows::NAMES`]): tasks with others are not leased to it.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "bounded::list::<_, _, { limits::NAMES }>"
    )]
    pub knows: Vec<String>,
    /// What who started it knows it by (page 2); none: it was started by hand.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "bounded::text_if_any"
    )]
    pub place: Option<String>,
}

/// Proof of having been a worker of this pilot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerResume {
    /// The pilot.
    pub pilot: PilotId,
    /// The worker's number.
    pub worker: u64,
    /// Its token.
    pub token: Token,
    /// How far the journal went when the worker last heard of it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub seen: JournalMark,
}

/// What happened at a worker. Messages are numbered from 1 after each welcome.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// The message's number.
    pub number: u64,
    /// Leases that run now.
    pub started: Vec<Run>,
    /// Leases that ended, with their results.
    #[serde(deserialize_with = "bounded::list::<_, _, { limits::GROUPS }>")]
    pub results: Vec<ResultGroup>,
    /// Leases that were handed back unstarted, as asked.
    pub returned: Vec<Run>,
}

/// All leases held, as asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Holdings {
    /// The last agent message applied.
    pub applied: u64,
    /// The last own message sent.
    pub sent: u64,
    /// The leases.
    pub held: Vec<HeldRun>,
}

/// A sign of life, as asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pong {}

/// The worker ends; it holds nothing any more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkerGoodbye {
    /// Why, for people.
    #[serde(deserialize_with = "bounded::text")]
    pub reason: String,
}

/// The state of a worker, published every beat and never answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Beat {
    /// Which worker.
    pub worker: u64,
    /// The secret of this connection.
    pub link: Link,
    /// Counts beats.
    pub beat: u64,
    /// The last agent message applied.
    pub applied: u64,
    /// The last own message sent.
    pub sent: u64,
    /// The hash of the leases held at that point.
    pub hash: u64,
}

/// What a program has written: the answer to `read`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OutputRead {
    /// The agent's number of the reading.
    pub id: u64,
    /// What it wrote.
    pub stdout: Written,
    /// Its errors.
    pub stderr: Written,
    /// It does not run here (any more).
    pub over: bool,
}

/// How far tasks are, as they say themselves: their last words since the last such message.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TasksProgress {
    /// One for each attempt that has said something.
    #[serde(deserialize_with = "bounded::list::<_, _, { limits::PROGRESS_TASKS }>")]
    pub tasks: Vec<Progress>,
}

messages! {
    /// From a worker to the agent.
    WorkerToAgent {
        /// The first message.
        WorkerHello = "hello",
        /// What happened.
        Report = "report",
        /// All leases held.
        Holdings = "holdings",
        /// A beat over the reliable way, when those that are published do not arrive.
        Beat = "beat",
        /// A sign of life.
        Pong = "pong",
        /// What a program has written.
        OutputRead = "output",
        /// How far tasks are.
        TasksProgress = "progress",
        /// The worker ends.
        WorkerGoodbye = "goodbye",
    }
}

/// The answer to a worker's hello.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerWelcome {
    /// Which pilot this is.
    pub pilot: PilotId,
    /// The pilot's name.
    pub pilot_name: String,
    /// The agent's life.
    pub incarnation: Incarnation,
    /// The worker's number.
    pub worker: u64,
    /// Its name, made unique.
    pub name: String,
    /// Proof for the next hello.
    pub token: Token,
    /// The secret of this connection.
    pub link: Link,
    /// Time between beats, milliseconds.
    pub beat_ms: u64,
    /// Time without the agent after which work ends, milliseconds.
    pub orphan_ms: u64,
    /// Silence after which the agent calls a worker lost, milliseconds; 0: it does not say.
    #[serde(default)]
    pub lost_ms: u64,
    /// How far the journal goes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub mark: JournalMark,
    /// Leases that the worker holds and has to drop: kill what runs, report nothing.
    #[serde(default)]
    pub drop: Vec<Run>,
    /// Which hello is answered.
    #[serde(default, skip_serializing_if = "is_default")]
    pub hello: u64,
}

/// Work. Agent messages with a number are numbered from 1 after each welcome.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Lease {
    /// The message's number.
    pub number: u64,
    /// The last report that was recorded; the worker need not keep it.
    pub recorded: u64,
    /// The last record of the journal that is on disk.
    #[serde(skip_serializing_if = "is_default")]
    pub record: u64,
    /// What the groups share.
    #[serde(deserialize_with = "bounded::list::<_, _, { limits::GROUPS }>")]
    pub templates: Vec<Template>,
    /// The leases.
    #[serde(deserialize_with = "bounded::list::<_, _, { limits::GROUPS }>")]
    pub groups: Vec<LeaseGroup>,
}

/// Leases are to end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Revoke {
    /// The message's number.
    pub number: u64,
    /// Which.
    pub runs: Vec<Run>,
    /// How hard. What is withdrawn comes back as `returned`, all else as a result.
    pub strength: Strength,
    /// Whether the agent wants no result: kill, and report nothing.
    #[serde(default)]
    pub silent: bool,
    /// Why, for people.
    #[serde(default, deserialize_with = "bounded::text")]
    pub reason: String,
}

/// Reports were recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Recorded {
    /// The last report that was recorded; the worker need not keep it.
    pub recorded: u64,
    /// The last record of the journal that is on disk.
    #[serde(skip_serializing_if = "is_default")]
    pub record: u64,
}

/// Asks for a sign of life.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ping {}

/// Asks for all leases held, or only for a beat over the reliable way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ListHoldings {
    /// Only a beat.
    pub beat_only: bool,
}

/// The worker is to end once what runs has ended, or after a time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkerStop {
    /// For so long running tasks may go on, milliseconds.
    pub drain_ms: u64,
    /// Why, for people.
    #[serde(deserialize_with = "bounded::text")]
    pub reason: String,
}

/// The worker is to log another part of what it says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkerLogLevels {
    /// The levels, as [`log_levels::check`](crate::log_levels::check) takes them; empty: those that it was started with.
    #[serde(deserialize_with = "bounded::text")]
    pub levels: String,
}

/// The hello, or something else, was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerRefused {
    /// Why. After `hello_first` the worker says hello again, with what it holds.
    pub refusal: Refusal,
}

/// Asks what a program writes: answered once there is something behind those places, or it has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadOutput {
    /// The agent's number of the reading, for the answer to bear.
    pub id: u64,
    /// Which task, which attempt.
    pub run: Run,
    /// From where on: of what it writes, and of its errors.
    pub from: (u64, u64),
}

messages! {
    /// From the agent to a worker.
    AgentToWorker {
        /// The answer to hello.
        WorkerWelcome = "welcome",
        /// Work.
        Lease = "lease",
        /// Leases are to end.
        Revoke = "revoke",
        /// Reports were recorded.
        Recorded = "recorded",
        /// Asks for a sign of life.
        Ping = "ping",
        /// Asks for all leases held.
        ListHoldings = "list",
        /// Asks what a program writes.
        ReadOutput = "read_output",
        /// The worker is to end.
        WorkerStop = "stop",
        /// Another part of what it says is to be logged.
        WorkerLogLevels = "log_levels",
        /// Something was refused.
        WorkerRefused = "refused",
    }
}

impl WorkerToAgent {
    fn read(_: &Scanned<'_>, name: &str, header: &[u8]) -> Result<Self, WireError> {
        Self::read_named(name, header)
    }
}
decoders!(WorkerToAgent);

impl AgentToWorker {
    fn read(_: &Scanned<'_>, name: &str, header: &[u8]) -> Result<Self, WireError> {
        Self::read_named(name, header)
    }
}
decoders!(AgentToWorker);
