//! What goes into the session machine and what comes out: read this first.

use std::sync::Arc;

use bytes::Bytes;
use scalems_protocol::client::{
    AgentToClient, CancelDone, ClientToAgent, Durable, ForgetDone, Question, Reply, RequestWorkers,
    SessionKind, Starter,
};
use scalems_protocol::event::{Body, Event, Topic};
use scalems_protocol::group::{Data, Run};
use scalems_protocol::select::Selector;
use scalems_protocol::state::Strength;
use scalems_protocol::task::{Template, When};
use scalems_protocol::{Ending, Incarnation, Origin, PilotId, Refusal, TaskError, WireError, limits};

/// Monotonic time, microseconds, from any beginning. The machine has no other clock.
pub type Micros = u64;

/// What a session is to be, and how patient it is.
#[derive(Clone, Debug)]
pub struct Config {
    /// The session's name; empty: a private one that ends with this client.
    pub session: String,
    /// Exclusive or shared.
    pub kind: SessionKind,
    /// Software and version, for people.
    pub software: String,
    /// End another attachment of the session.
    pub takeover: bool,
    /// The pilot that has to be there, when it is known beforehand, as from a connection file.
    pub pilot: Option<PilotId>,
    /// Cancel the session's tasks when nobody was attached for so long, milliseconds; 0: the agent's default.
    pub cancel_after_ms: u64,
    /// How long the first welcome may take.
    pub connect_us: Micros,
    /// How long the agent may be away before everything unfinished fails.
    pub give_up_us: Micros,
    /// How long a welcome may take before hello is said again on the same connection.
    pub hello_us: Micros,
    /// How long the agent may be silent, while something is awaited, before it is asked for a sign of life.
    pub probe_us: Micros,
    /// Unfinished tasks that may be at the agent; it may allow less.
    pub window_tasks: u64,
    /// Bytes of unfinished tasks that may be at the agent; it may allow less.
    pub window_bytes: u64,
    /// Bytes of tasks that wait here.
    pub backlog_bytes: u64,
    /// How long an acknowledgement waits for something else to go with.
    pub patience_us: Micros,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            session: String::new(),
            kind: SessionKind::Exclusive,
            software: concat!("scalems-client ", env!("CARGO_PKG_VERSION")).into(),
            takeover: false,
            pilot: None,
            cancel_after_ms: 0,
            connect_us: 10_000_000,
            give_up_us: limits::ORPHAN_MS * 1_000,
            hello_us: 2_000_000,
            probe_us: 30_000_000,
            window_tasks: limits::WINDOW_TASKS,
            window_bytes: limits::WINDOW_BYTES,
            backlog_bytes: limits::BACKLOG_BYTES,
            patience_us: 0,
        }
    }
}

/// The caller's name for tasks that it handed in together. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PackKey(pub u64);

/// The caller's name for something that it wants to be answered. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallKey(pub u64);

/// Tasks handed in together. They are addressed by their place in the pack, from 0; how they travel (joined
/// with others, or in parts) is the machine's business.
#[derive(Clone, Debug)]
pub struct Pack {
    /// The caller's name for it.
    pub key: PackKey,
    /// What the tasks share. Tasks of several packs travel together when this is the same.
    pub template: Arc<Template>,
    /// How many tasks.
    pub count: u32,
    /// Whether they are individual tasks or an array.
    pub shape: Shape,
    /// Their data: one entry each, or one for all.
    pub data: Data,
    /// What has to end before, in this session.
    pub after: Vec<Dependency>,
}

/// How a pack's tasks are seen by the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Individual tasks; at most [`limits::BATCH_TASKS`] travel together, under the window.
    Batch,
    /// One submission with indices `first`, `first + step`, …, not under the window.
    Array {
        /// The index of the first task.
        first: u32,
        /// From one index to the next.
        step: u32,
    },
}

/// Tasks of another pack that have to end before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependency {
    /// The pack.
    pub on: PackKey,
    /// Only these of its tasks, `[lo, hi)`.
    pub offsets: Option<(u32, u32)>,
    /// How they have to end.
    pub when: When,
    /// Task by task, between two arrays with equally many.
    pub each: bool,
}

/// What is wanted of the agent besides tasks.
#[derive(Clone, Debug)]
pub enum Call {
    /// A submission that the agent holds: its results are kept there until they are asked for and forgotten.
    Held {
        /// What the tasks share.
        template: Arc<Template>,
        /// How many.
        count: u32,
        /// The index of the first.
        first: u32,
        /// From one index to the next.
        step: u32,
        /// One entry each, or one for all.
        data: Data,
        /// Whether tasks may be added.
        open: bool,
        /// How many there will be in the end, if that has to be said.
        total: Option<u32>,
    },
    /// Tasks are to be added to an open submission.
    Append {
        /// The submission's number.
        submission: u64,
        /// One entry for each.
        data: Data,
    },
    /// No more tasks will be added to open submissions.
    Close {
        /// Which.
        select: Selector,
    },
    /// Tasks of one submission that did not end well are to be submitted again.
    Retry {
        /// Which: of one submission, those that failed, or with a state those that are in that.
        select: Selector,
        /// Also those that were submitted again before.
        repeat: bool,
    },
    /// Tasks that the agent knows are to end.
    Cancel {
        /// Which.
        select: Selector,
        /// How hard.
        strength: Strength,
        /// Why, for people.
        reason: String,
    },
    /// Tasks of this session are to end, also those that are still here.
    CancelTasks {
        /// Which: pack and places `[lo, hi)`.
        tasks: Vec<(PackKey, u32, u32)>,
        /// How hard.
        strength: Strength,
        /// Why, for people.
        reason: String,
    },
    /// Entries of ended tasks are to be dropped.
    Forget {
        /// Which.
        select: Selector,
    },
    /// Workers are to be started.
    RequestWorkers {
        /// What is asked for; its number comes later.
        asked: RequestWorkers,
    },
    /// Who starts workers says what there is.
    Starter {
        /// What it says; its number comes later.
        said: Starter,
        /// How long the answer may take.
        timeout_us: Micros,
    },
    /// A read.
    Ask {
        /// What.
        question: Question,
        /// How long the answer may take.
        timeout_us: Micros,
    },
    /// Agent and workers, or one worker, are to log other parts of what they say.
    LogLevels {
        /// Only this worker.
        worker: Option<u64>,
        /// The levels; empty: those of the start.
        levels: String,
        /// How long the answer may take.
        timeout_us: Micros,
    },
    /// The pilot, or one worker, is to end.
    Stop {
        /// Only this worker.
        worker: Option<u64>,
        /// First let end what runs, for so long at most, milliseconds.
        drain_ms: u64,
        /// How long the answer may take.
        timeout_us: Micros,
    },
}

/// What happens to the machine.
#[derive(Clone, Debug)]
pub enum Input {
    /// A connection to the agent is there, a new one if there was one before.
    Connected,
    /// The connection is gone, and with it what was on its way.
    Disconnected,
    /// The agent said something.
    Message(AgentToClient, Vec<Bytes>),
    /// An event was published.
    Event(Event),
    /// The user submits.
    Submit(Pack),
    /// The user wants something answered.
    Call(CallKey, Call),
    /// Nobody will ask for a pack's tasks any more, nor depend on them.
    Release(PackKey),
    /// The user listens to a topic.
    Listen(Topic),
    /// The user lost some events of a topic and needs its state anew.
    Refresh(Topic),
    /// The user does not listen to a topic any more.
    Unlisten(Topic),
    /// The user leaves.
    Goodbye {
        /// Why, for people.
        reason: String,
    },
    /// There is no use in going on, such as when the agent's process is known to have ended.
    End(SessionEnd),
    /// Time has passed.
    Tick,
}

/// What the caller has to do, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Send to the agent.
    Send(ClientToAgent, Vec<Bytes>),
    /// The session is attached, for the first time or again.
    Attached(Attached),
    /// Tasks have ids: the task at place `lo + i` is `submission.(index + step * i)`.
    Named {
        /// The pack.
        pack: PackKey,
        /// The first place.
        lo: u32,
        /// One past the last place.
        hi: u32,
        /// The submission's number.
        submission: u64,
        /// The index of the task at `lo`.
        index: u32,
        /// From one index to the next.
        step: u32,
    },
    /// The agent says something about tasks, such as that no worker serves them yet.
    Noted {
        /// The pack.
        pack: PackKey,
        /// What.
        note: String,
    },
    /// Tasks have ended: said exactly once of every task that was submitted.
    Resolve {
        /// The pack.
        pack: PackKey,
        /// The first place.
        lo: u32,
        /// One past the last place.
        hi: u32,
        /// How.
        done: Done,
    },
    /// A call is answered: said exactly once of every call.
    Reply(CallKey, Box<Result<Answered, CallFault>>),
    /// Results of an earlier life of the session.
    Unclaimed {
        /// Which request brought the tasks.
        origin: Origin,
        /// The results.
        group: Arc<Group>,
    },
    /// The agent complains about something that is nobody's call.
    Complaint(Refusal),
    /// Listen to a topic.
    Subscribe(Topic),
    /// Do not listen to a topic any more.
    Unsubscribe(Topic),
    /// Something happened in a topic.
    Update(Topic, Update),
    /// The session is over. Nothing comes after this.
    Over(SessionEnd),
}

/// What a welcome said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// The pilot's name.
    pub pilot_name: String,
    /// Which pilot.
    pub pilot: PilotId,
    /// The agent's life.
    pub incarnation: Incarnation,
    /// The first half of the submissions' origin.
    pub session: u64,
    /// Modes that the workers serve now.
    pub modes: Vec<String>,
    /// The agent's software and version.
    pub software: String,
    /// Whether there is a journal.
    pub journal: bool,
}

/// How tasks ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Done {
    /// They have a result: the first of them is the one at place `at` of the group.
    Ended {
        /// The result.
        group: Arc<Group>,
        /// Where in the group.
        at: u32,
    },
    /// They will never have one.
    Failed(Arc<TaskFault>),
}

/// Tasks that ended alike and came together.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Which, as the agent names them; `None` for tasks that never reached it.
    pub run: Option<Run>,
    /// How all of them ended.
    pub ending: Ending,
    /// Their values.
    pub data: Data,
    /// The exit code of all of them.
    pub exit_code: Option<i32>,
    /// The time that all of them ran, summed, microseconds.
    pub ran_us: u64,
    /// Why they did not end well.
    pub error: Option<TaskError>,
    /// Whether the result is on the agent's disk.
    pub durable: Durable,
}

impl Group {
    /// Those of the tasks `lo..hi` of its run.
    pub(super) fn part(&self, lo: u32, hi: u32) -> Self {
        let Some(run) = self.run else {
            return self.clone();
        };
        Self {
            run: Some(Run { lo, hi, ..run }),
            data: self.data.part((lo - run.lo) as usize, (hi - run.lo) as usize),
            ran_us: self.ran_us * u64::from(hi - lo) / u64::from(run.count()),
            ..self.clone()
        }
    }
}

/// What a call brought.
#[derive(Clone, Debug, PartialEq)]
pub enum Answered {
    /// A held submission was accepted.
    Accepted {
        /// Its number.
        submission: u64,
        /// How many tasks it has.
        count: u32,
        /// Something that the submitter should know.
        note: Option<String>,
    },
    /// Tasks were added.
    Appended {
        /// The submission's number.
        submission: u64,
        /// The offset of the first of them.
        first: u32,
        /// How many there are.
        count: u32,
    },
    /// Submissions were closed.
    Closed {
        /// How many were open.
        closed: u64,
        /// How many were not.
        before: u64,
    },
    /// Workers are about to be started.
    WorkersRequested {
        /// The short number of the request.
        id: u64,
    },
    /// What a cancel did, over all requests that it took.
    Canceled(CancelDone),
    /// What a forget did.
    Forgotten(ForgetDone),
    /// The answer to a read or a stop.
    Reply(Reply, Vec<Bytes>),
}

/// Something happened in a topic.
#[derive(Clone, Debug, PartialEq)]
pub enum Update {
    /// The state as it is now; what came before does not count any more.
    Snapshot(Body),
    /// What happened after.
    Event(Body),
    /// The agent refuses the topic; nothing more comes.
    Refused(Refusal),
}

/// Why a task will never have a result.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TaskFault {
    /// The agent did not take it.
    #[error("the submission was refused: {0}")]
    Refused(Refusal),
    /// The client has too much waiting already.
    #[error(
        "{waiting_bytes} bytes of tasks wait here for the agent already, the limit is {limit_bytes}: \
         wait for results before submitting more [backlog_full]"
    )]
    BacklogFull {
        /// Bytes that wait.
        waiting_bytes: u64,
        /// Bytes that may wait.
        limit_bytes: u64,
    },
    /// The agent sent a result that cannot be read.
    #[error("the agent sent a result for this task that cannot be read: {0}")]
    Unreadable(WireError),
    /// The session ended before.
    #[error("the session ended before the task did: {0}")]
    SessionEnded(SessionEnd),
}

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CallFault {
    /// The agent did not do it.
    #[error("{0}")]
    Refused(Refusal),
    /// The answer took too long.
    #[error("the agent did not answer within {after_us} µs")]
    TimedOut {
        /// The time that was allowed.
        after_us: Micros,
    },
    /// The session ended before.
    #[error("the session ended before there was an answer: {0}")]
    SessionEnded(SessionEnd),
}

/// Why a session ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionEnd {
    /// The user closed it.
    #[error("it was closed by this client")]
    Closed,
    /// No welcome came in time.
    #[error("no agent answered within {after_us} µs")]
    Unreachable {
        /// The time that was allowed.
        after_us: Micros,
    },
    /// The agent was away for too long.
    #[error("the agent was not heard of for {after_us} µs")]
    Lost {
        /// How long.
        after_us: Micros,
    },
    /// The agent did not let the session in, or not again.
    #[error("the agent refused the session: {0}")]
    Refused(Refusal),
    /// The agent ended the attachment.
    #[error("the agent ended the session: {0}")]
    Detached(Refusal),
    /// Another pilot answers at the address: the one that was there has ended, with all it held.
    #[error("pilot {was} is gone with its tasks, {} answers in its place [other_pilot]", is.as_ref().map_or_else(|| "another".to_owned(), ToString::to_string))]
    OtherPilot {
        /// The pilot that the session was with.
        was: PilotId,
        /// The one that is there now, when it said so.
        is: Option<PilotId>,
    },
    /// The agent has another session under the name, or somebody else used this one in between.
    #[error("the session was ended, or used by another client, while this one was away")]
    Replaced,
    /// The pilot's agent has ended, and without a journal its tasks with it.
    #[error("the pilot has ended: its agent, process {pid} on {host}, is gone, and it kept no journal")]
    PilotEnded {
        /// The agent's process.
        pid: u32,
        /// Its host.
        host: String,
    },
    /// The system failed under the session.
    #[error("{0}")]
    Failed(String),
}
