//! Messages between clients and the agent (`docs/spec/2-client`).

mod requests;
mod rows;

use std::ops::Range;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use crate::error::Refusal;
use crate::frame::{self, decoders, messages};
use crate::group::{ResultGroup, is_one, one};
use crate::id::{Incarnation, JournalMark, PilotId};
use crate::program::Written;
use crate::scan::Scanned;
use crate::select::Selector;
use crate::state::Strength;
use crate::task::Template;
use crate::token::Token;
use crate::{WireError, bounded, is_default, limits};

pub use requests::{
    Layout, Orders, RequestRow, RequestRows, RequestState, RequestWorkers, RequestsPage, Start, StartFailed,
    StartedWorker, Starter, StarterNode, StarterPlace, WorkersRequested,
};
pub use rows::{Counts, Explanation, Listing, Status, SubmissionRow, TaskRow, WorkerRow};

/// How many attachments a session takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionKind {
    /// One at a time; its request numbers are the session's.
    #[default]
    Exclusive,
    /// Any number; each has its own request numbers.
    Shared,
}

/// The first message of a client.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClientHello {
    /// The protocol version.
    #[serde(skip_serializing)]
    pub v: u8,
    /// The message's type.
    #[serde(skip_serializing, rename = "type")]
    pub type_: String,
    /// What the receiver has to understand.
    pub must: Vec<String>,
    /// The session's name; empty: an unnamed one that ends with its attachment.
    pub session: String,
    /// Exclusive or shared.
    pub kind: SessionKind,
    /// Software and version, for people.
    #[serde(deserialize_with = "bounded::text")]
    pub software: String,
    /// The attachment that this process had, with its token.
    pub resume: Option<Resume>,
    /// End another attachment of the session.
    pub takeover: bool,
    /// The pilot that the client was with.
    pub pilot: Option<PilotId>,
    /// The agent's life that the client was with.
    pub incarnation: Incarnation,
    /// The number of the last delivery of that life that was taken in.
    pub deliveries: u64,
    /// Cancel the session's tasks when nobody was attached for so long, milliseconds; 0: keep them.
    pub cancel_after_ms: u64,
    /// To another life of the agent than before, results will be brought back.
    pub brings: bool,
    /// How far the journal went when the client last heard of it.
    pub seen: Option<JournalMark>,
    /// Requests up to this one that are not known will be said again.
    pub repeats: u64,
}

/// Proof of having been attached.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Resume {
    /// The peer's number, from welcome.
    pub peer: u64,
    /// Its token, from welcome.
    pub token: Token,
}

/// Tasks with one template: a batch, where `ends` cuts the data frame up, or an array, whose tasks share it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Submit {
    /// The request's number.
    pub request: u64,
    /// Answers below this number are not needed any more.
    #[serde(default)]
    pub low_water: u64,
    /// How many tasks.
    #[serde(default = "one")]
    pub count: u32,
    /// What they share.
    pub task: Template,
    /// The index of the first task.
    #[serde(default, skip_serializing_if = "is_default")]
    pub first: u32,
    /// From one index to the next.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub step: u32,
    /// Where each task's data ends in blob 0; empty: all of blob 0, if any, is every task's data.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ends: Vec<u32>,
    /// Results are pushed to this attachment, and the window counts. Otherwise the agent holds them.
    #[serde(default, skip_serializing_if = "is_default")]
    pub streaming: bool,
    /// Tasks may be added to it, until it is closed. Only a batch that is held can be open.
    #[serde(default, skip_serializing_if = "is_default")]
    pub open: bool,
    /// How many tasks an open one will have in the end. One that runs after each of others has to say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u32>,
}

/// Tasks are added to an open submission, whoever brought it. They share its template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Append {
    /// The request's number.
    pub request: u64,
    /// Answers below this number are not needed any more.
    #[serde(default)]
    pub low_water: u64,
    /// The submission's number.
    pub submission: u64,
    /// How many tasks.
    pub count: u32,
    /// Where each task's data ends in blob 0.
    pub ends: Vec<u32>,
}

/// No more tasks will be added to open submissions: they are over once all of their tasks have ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Close {
    /// The request's number.
    pub request: u64,
    /// Answers below this number are not needed any more.
    #[serde(default)]
    pub low_water: u64,
    /// Which: those of which it names a task.
    pub select: Selector,
}

/// Tasks of one submission that failed, or were canceled, are to be submitted again: as another submission, with the same
/// template, data and indices. The answer is that of a submission.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Retry {
    /// The request's number.
    pub request: u64,
    /// Answers below this number are not needed any more.
    #[serde(default)]
    pub low_water: u64,
    /// Which: those among them that failed; with a state, those that are in that one.
    pub select: Selector,
    /// Also those that were submitted again before.
    #[serde(default, skip_serializing_if = "is_default")]
    pub repeat: bool,
}

/// Tasks are to end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cancel {
    /// The request's number.
    pub request: u64,
    /// Answers below this number are not needed any more.
    #[serde(default)]
    pub low_water: u64,
    /// Which tasks.
    pub select: Selector,
    /// How hard.
    pub strength: Strength,
    /// Why, for people.
    #[serde(
        default,
        skip_serializing_if = "String::is_empty",
        deserialize_with = "bounded::text"
    )]
    pub reason: String,
}

/// Results up to a delivery were taken in and need not be kept for this attachment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledge {
    /// The last delivery that was taken in.
    pub delivery: u64,
}

/// Results that came while they were not on disk, said back to another life of the agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BringBack {
    /// The results, as they came; their values are in the blobs.
    #[serde(deserialize_with = "bounded::list::<_, _, { limits::GROUPS }>")]
    pub groups: Vec<ResultGroup>,
    /// There are more.
    #[serde(default, skip_serializing_if = "is_default")]
    pub more: bool,
}

/// What a read asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Question {
    /// The agent: counts, workers, resources, times.
    Status,
    /// The workers, one row each.
    Workers(WorkersPage),
    /// Submissions, one row each, newest last.
    Submissions(Page),
    /// Tasks, one row each run of tasks in one state.
    Tasks(Page),
    /// One task: all that is known of it, and why it waits.
    Explain(Selector),
    /// The results of tasks that ended, as many as one message takes.
    Results(Page),
    /// Answered when all selected tasks have ended.
    Wait {
        /// Which tasks.
        select: Selector,
        /// How long, milliseconds.
        timeout_ms: u64,
    },
    /// What a task's program writes, as it does. Answered once there is something behind those places, or it does not
    /// run, or time is over.
    Output(OutputPage),
    /// Requests for workers, one row each.
    Requests(RequestsPage),
    /// The state of a topic of events, with the number of the last event that is in it.
    Snapshot(String),
}

/// Which part of what a task writes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OutputPage {
    /// The submission's number.
    pub submission: u64,
    /// The task's offset.
    pub offset: u32,
    /// The attempt; 0: the latest one.
    pub attempt: u32,
    /// From where on: of what it writes, and of its errors.
    pub from: (u64, u64),
    /// How long, milliseconds; at most a minute.
    pub timeout_ms: u64,
}

/// A part of what a task wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OutputPart {
    /// The latest attempt; if it is not the one that was asked for, this says nothing else.
    pub attempt: u32,
    /// Whether it runs.
    pub runs: bool,
    /// What it wrote.
    pub stdout: Written,
    /// Its errors.
    pub stderr: Written,
}

/// A part of a listing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Page {
    /// Which tasks.
    pub select: Selector,
    /// Where the part before ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<(u64, u32)>,
    /// At most so many rows; 0: as many as allowed.
    #[serde(default)]
    pub rows: u32,
}

/// A part of the list of workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkersPage {
    /// The last worker of the part before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// At most so many rows; 0: as many as allowed.
    pub rows: u32,
}

/// A read: it changes nothing and is not numbered among the requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ask {
    /// The client's number for the answer to bear.
    pub id: u64,
    /// What.
    pub question: Question,
}

/// Entries of ended tasks are to be dropped with their results.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Forget {
    /// The request's number.
    pub request: u64,
    /// Answers below this number are not needed any more.
    #[serde(default)]
    pub low_water: u64,
    /// Which tasks.
    pub select: Selector,
}

/// The pilot, or one worker, is to end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stop {
    /// The client's number for the answer to bear.
    pub id: u64,
    /// Only this worker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<u64>,
    /// First let end what runs, for so long at most, milliseconds.
    pub drain_ms: u64,
}

/// What the agent and the workers log is to be another part of what they say (`docs/spec/2-client`, section "Logging").
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogLevels {
    /// The client's number for the answer to bear.
    pub id: u64,
    /// The levels, as [`log_levels::check`](crate::log_levels::check) takes them; empty: those that each was started with.
    #[serde(deserialize_with = "bounded::text")]
    pub levels: String,
    /// Only of this worker; none: of the agent, and of all workers that there are or will be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<u64>,
}

/// The client goes; an unnamed session ends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Goodbye {
    /// Why, for people.
    #[serde(deserialize_with = "bounded::text")]
    pub reason: String,
}

/// What is served, without a session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Version {
    /// The client's number for the answer to bear.
    pub id: u64,
}

/// A map with just `mode` and `data`, and what else an envelope may have. One task, held by the agent.
#[derive(Clone, Debug, PartialEq)]
pub struct Envelope {
    /// What the task is.
    pub task: Template,
    /// Where its data lies in the header.
    pub data: Option<Range<usize>>,
}

messages! {
    /// From a client, or an observer, to the agent.
    NamedClientToAgent {
        /// The first message.
        ClientHello = "hello",
        /// A batch or an array of tasks.
        Submit = "submit",
        /// Tasks that did not end well, once more.
        Retry = "retry",
        /// Tasks are added to an open submission.
        Append = "append",
        /// No more tasks will be added.
        Close = "close",
        /// Tasks are to end.
        Cancel = "cancel",
        /// Results were taken in.
        Acknowledge = "ack",
        /// Results are said back.
        BringBack = "bring_back",
        /// A read.
        Ask = "ask",
        /// Ended tasks are to be dropped.
        Forget = "forget",
        /// Workers are to be started.
        RequestWorkers = "request_workers",
        /// Who starts workers.
        Starter = "starter",
        /// The pilot or a worker is to end.
        Stop = "stop",
        /// Other parts of what agent and workers say are logged.
        LogLevels = "log_levels",
        /// The client goes.
        Goodbye = "goodbye",
        /// What is served.
        Version = "version",
    }
}

/// From a client, or an observer, to the agent.
#[derive(Clone, Debug, PartialEq)]
pub enum ClientToAgent {
    /// A message with a type.
    Named(NamedClientToAgent),
    /// A map without one: a single envelope.
    Envelope(Box<Envelope>),
}

/// A single envelope as people write it; `data` and `meta` are not decoded.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenEnvelope {
    #[serde(rename = "v")]
    _version: Option<IgnoredAny>,
    #[serde(rename = "type")]
    _type: Option<IgnoredAny>,
    #[serde(rename = "must")]
    _must: Option<IgnoredAny>,
    #[serde(rename = "data")]
    _data: Option<IgnoredAny>,
    #[serde(rename = "meta")]
    _meta: Option<IgnoredAny>,
    #[serde(default, with = "serde_bytes")]
    body: Vec<u8>,
    mode: String,
    #[serde(default)]
    needs: crate::task::Needs,
    #[serde(default)]
    policy: crate::task::Policy,
    #[serde(default, deserialize_with = "bounded::list::<_, _, { limits::AFTER }>")]
    after: Vec<crate::task::After>,
    uid: Option<String>,
    name: Option<String>,
    #[serde(default, deserialize_with = "bounded::map::<_, _, _, { limits::LABELS }>")]
    labels: std::collections::BTreeMap<String, String>,
    max_failures: Option<u32>,
}

impl ClientToAgent {
    fn read(scanned: &Scanned<'_>, name: &str, header: &[u8]) -> Result<Self, WireError> {
        if !name.is_empty() {
            return NamedClientToAgent::read_named(name, header).map(Self::Named);
        }
        if scanned.place("mode").is_none() {
            return Err(WireError::Malformed("the map has neither a type nor a mode"));
        }
        let written: WrittenEnvelope = frame::fields("envelope", header)?;
        let task = Template {
            mode: written.mode,
            needs: written.needs,
            policy: written.policy,
            after: written.after,
            uid: written.uid,
            name: written.name,
            labels: written.labels,
            max_failures: written.max_failures,
            meta: scanned.value("meta").map(<[u8]>::to_vec).unwrap_or_default(),
            body: written.body,
        };
        // A binary value is the data; of any other value its encoding is.
        let data = scanned.place("data").map(|place| {
            let bytes = &header[place.clone()];
            let skip = match bytes.first() {
                Some(0xc4) => 2,
                Some(0xc5) => 3,
                Some(0xc6) => 5,
                _ => 0,
            };
            place.start + skip..place.end
        });
        Ok(Self::Envelope(Box::new(Envelope { task, data })))
    }
}
decoders!(ClientToAgent);

impl<T: Into<NamedClientToAgent>> From<T> for ClientToAgent {
    fn from(message: T) -> Self {
        Self::Named(message.into())
    }
}

/// The answer to a client's hello.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClientWelcome {
    /// The pilot's name.
    pub pilot_name: String,
    /// Which pilot this is.
    pub pilot: PilotId,
    /// The agent's life.
    pub incarnation: Incarnation,
    /// The session's number: the first half of its submissions' origin.
    pub session: u64,
    /// The attachment, for resuming it.
    pub resume: Resume,
    /// The highest request number known.
    pub request_high: u64,
    /// The lowest delivery that is still to come.
    pub delivery_next: u64,
    /// Tasks and bytes that the session may have unfinished while streaming.
    pub window: (u64, u64),
    /// Modes that the workers serve now.
    #[serde(deserialize_with = "bounded::list::<_, _, { limits::NAMES }>")]
    pub modes: Vec<String>,
    /// Software and version, for people.
    pub software: String,
    /// Whether there is a journal.
    pub journal: bool,
    /// How far it goes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub mark: JournalMark,
}

/// A submission was accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// The request's number.
    pub request: u64,
    /// The submission's short number.
    pub submission: u64,
    /// How many tasks it has.
    pub count: u32,
    /// Something that the submitter should know, such as that no worker serves it yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The record of the journal that stands for it; 0: there is none.
    #[serde(default, skip_serializing_if = "is_default")]
    pub record: u64,
}

/// Tasks were added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Appended {
    /// The request's number.
    pub request: u64,
    /// The submission's number.
    pub submission: u64,
    /// The offset of the first of them.
    pub first: u32,
    /// How many there are.
    pub count: u32,
    /// The record of the journal that stands for it; 0: there is none.
    #[serde(default, skip_serializing_if = "is_default")]
    pub record: u64,
}

/// No more tasks will be added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed {
    /// The request's number.
    pub request: u64,
    /// How many submissions were open and are not any more.
    pub closed: u64,
    /// How many were not open.
    pub before: u64,
    /// The record of the journal that stands for it; 0: there is none.
    #[serde(default, skip_serializing_if = "is_default")]
    pub record: u64,
}

/// A request was refused and changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// The request's number, when it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<u64>,
    /// The read's number, when it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// Why.
    pub refusal: Refusal,
}

/// What a cancel did, counted by task.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CancelDone {
    /// The request's number.
    pub request: u64,
    /// Tasks that had not started and will not.
    pub withdrawn: u64,
    /// Tasks whose worker was told; their results say how they ended.
    pub told: u64,
    /// Tasks that were left running, since only those that had not started were to be canceled.
    pub running: u64,
    /// Tasks that had ended before.
    pub ended: u64,
    /// The record of the journal that stands for it; 0: there is none.
    #[serde(skip_serializing_if = "is_default")]
    pub record: u64,
}

/// Entries were dropped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForgetDone {
    /// The request's number.
    pub request: u64,
    /// How many tasks were dropped.
    pub forgotten: u64,
    /// How many were kept because they have not ended.
    pub kept: u64,
    /// The record of the journal that stands for it; 0: there is none.
    #[serde(default, skip_serializing_if = "is_default")]
    pub record: u64,
}

/// Whether a result is on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durable {
    /// It is.
    Yes,
    /// It will be.
    Pending,
    /// The pilot has no journal; nothing is kept beyond the ack.
    #[default]
    None,
}

/// Deliveries up to this one are on disk: their results will not have to be brought back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lasts {
    /// The last of them.
    pub delivery: u64,
    /// The last record of the journal that is on disk.
    #[serde(default, skip_serializing_if = "is_default")]
    pub record: u64,
}

/// All results that were brought back are on disk, or superseded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BroughtBack {}

/// Results, pushed to a streaming attachment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// The delivery's number in the attachment, from 1.
    pub delivery: u64,
    /// Whether they are on disk.
    #[serde(default)]
    pub durable: Durable,
    /// The results.
    #[serde(deserialize_with = "bounded::list::<_, _, { limits::GROUPS }>")]
    pub groups: Vec<ResultGroup>,
    /// Answers that go with them, each as if it had come before.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "bounded::list::<_, _, { limits::GROUPS }>"
    )]
    pub accepted: Vec<Accepted>,
}

/// The answer to a read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The read's number.
    pub id: u64,
    /// What was asked for.
    pub reply: Reply,
}

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// The agent.
    Status(Box<Status>),
    /// The workers.
    Workers(Listing<WorkerRow, u64>),
    /// Submissions.
    Submissions(Listing<SubmissionRow>),
    /// Tasks.
    Tasks(Listing<TaskRow>),
    /// One task.
    Explain(Box<Explanation>),
    /// Results; their values are in the blobs.
    Results(Listing<ResultGroup>),
    /// All selected tasks have ended.
    Ended(Counts),
    /// The pilot or worker is ending.
    Stopping,
    /// The levels hold; so many workers are told.
    LogLevels {
        /// Workers that are there.
        workers: u64,
    },
    /// What is served.
    Version {
        /// Software and version.
        software: String,
        /// Protocol versions served, lowest and highest.
        protocol: (u8, u8),
    },
    /// What a task's program wrote.
    Output(Box<OutputPart>),
    /// Requests for workers.
    Requests(RequestRows),
    /// What is to be done by who starts workers.
    Orders(Orders),
    /// The state of a topic, and the number of the last event that is in it.
    Snapshot {
        /// The agent's life.
        incarnation: Incarnation,
        /// The topic.
        topic: String,
        /// The last event that is in it.
        seq: u64,
        /// The state.
        state: Box<crate::event::Body>,
    },
}

/// Nothing: the agent looks whether the client is still there. No answer is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClientPing {}

/// The attachment ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detached {
    /// Why.
    pub refusal: Refusal,
}

messages! {
    /// From the agent to a client or an observer.
    AgentToClient {
        /// The answer to hello.
        ClientWelcome = "welcome",
        /// A submission was accepted.
        Accepted = "accepted",
        /// Tasks were added.
        Appended = "appended",
        /// No more tasks will be added.
        Closed = "closed",
        /// A request was refused.
        Refused = "refused",
        /// What a cancel did.
        CancelDone = "cancel_done",
        /// What a forget did.
        ForgetDone = "forget_done",
        /// Workers are about to be started.
        WorkersRequested = "workers_requested",
        /// Results.
        Results = "results",
        /// Deliveries are on disk.
        Lasts = "lasts",
        /// The answer to results that were said back.
        BroughtBack = "brought_back",
        /// The answer to a read.
        Answer = "answer",
        /// The agent looks whether the client is still there.
        ClientPing = "ping",
        /// The attachment ends.
        Detached = "detached",
    }
}

impl AgentToClient {
    /// The last record of the journal that this says is on disk; 0: it says nothing of it.
    pub fn record(&self) -> u64 {
        match self {
            Self::Accepted(accepted) => accepted.record,
            Self::Appended(appended) => appended.record,
            Self::Closed(closed) => closed.record,
            Self::CancelDone(done) => done.record,
            Self::ForgetDone(done) => done.record,
            Self::WorkersRequested(requested) => requested.record,
            Self::Lasts(lasts) => lasts.record,
            Self::Results(results) => {
                let records = results.accepted.iter().map(|accepted| accepted.record);
                records.max().unwrap_or(0)
            }
            _ => 0,
        }
    }

    fn read(_: &Scanned<'_>, name: &str, header: &[u8]) -> Result<Self, WireError> {
        Self::read_named(name, header)
    }
}
decoders!(AgentToClient);
