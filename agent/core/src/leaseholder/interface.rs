//! What goes into a worker's machine and what comes out: read this first.

use std::fmt;
use std::sync::Arc;

use crate::interface::Micros;
use bytes::Bytes;
use scalems_protocol::state::Strength;
use scalems_protocol::task::{Needs, Template};
use scalems_protocol::worker::{AgentToWorker, Beat, WorkerToAgent};
use scalems_protocol::{Amount, Ending, Incarnation, Origin, Refusal, TaskError, TaskId};

/// CPUs that reach the same memory fast, and the GPUs that are near them, by their numbers in [`Settings`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NumaNode {
    /// CPUs.
    pub cpus: Vec<u32>,
    /// GPUs.
    pub gpus: Vec<u32>,
}

/// What a worker is and offers, as its shell found out.
#[derive(Clone, Debug)]
pub struct Settings {
    /// A name for people; the agent makes it unique.
    pub name: String,
    /// The host.
    pub host: String,
    /// The process.
    pub pid: u32,
    /// What it, and whatever ends its programs after it, are known by on this host; empty: nothing is known.
    pub process: String,
    /// Software and version, for people.
    pub software: String,
    /// The CPUs that may be given to tasks, by number.
    pub cpus: Vec<u32>,
    /// The GPUs, by number.
    pub gpus: Vec<u32>,
    /// Memory for tasks, MiB.
    pub memory_mib: u64,
    /// Other kinds of resources with their amounts.
    pub named: Vec<(String, Amount)>,
    /// The modes that the shell runs, beside those that are built in.
    pub modes: Vec<String>,
    /// When it ends by itself, by the machine's clock; none: that is not known.
    pub ends: Option<Micros>,
    /// What who started it knows it by; none: it was started by hand.
    pub place: Option<String>,
    /// It ends when it has had nothing to do for so long, microseconds; none: it stays.
    pub idle_us: Option<Micros>,
    /// Which CPUs and GPUs are near each other; empty: that is not known.
    pub nodes: Vec<NumaNode>,
    /// How long to wait for the first welcome, milliseconds.
    pub join_ms: u64,
    /// How long news waits for more while there are tasks to start, microseconds.
    pub patience_us: Micros,
    /// Tasks that run shorter than this on average are handed to the shell behind one that runs, as many as are over
    /// in this time, microseconds.
    pub quick_us: Micros,
}

/// What happens to a worker.
#[derive(Clone, Debug)]
pub enum Input {
    /// The agent said something.
    Agent {
        /// What.
        message: AgentToWorker,
        /// The data frames.
        blobs: Vec<Bytes>,
    },
    /// The agent can be reached (again): what was said before may be lost.
    Connected,
    /// The agent cannot be reached.
    Disconnected,
    /// A task that was to be started runs. It may be left out for one that ends at once.
    Started {
        /// The key that it was started under.
        key: u64,
    },
    /// A task is over, together with everything that it started. Comes once for each [`Output::Start`].
    Ended {
        /// The key that it was started under.
        key: u64,
        /// How it went.
        outcome: Outcome,
    },
    /// A task that was started says how far it is. It may be left out.
    Progress {
        /// The key that it was started under.
        key: u64,
        /// From 0 to 1.
        fraction: f64,
        /// What it is at.
        text: String,
    },
    /// The worker is asked on its own machine to end, after letting run what runs for so long.
    Stop {
        /// For so long, milliseconds.
        drain_ms: u64,
    },
}

/// How a task went, as the shell saw it.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Well, or badly; the machine alone calls a task canceled.
    pub ending: Ending,
    /// Its value.
    pub value: Bytes,
    /// Its exit code, if it ended by itself and has one.
    pub exit_code: Option<i32>,
    /// How long it ran, microseconds.
    pub ran_us: u64,
    /// Why it did not end well.
    pub error: Option<TaskError>,
    /// Whether it ended because of an [`Output::Stop`], and not by itself.
    pub stopped: bool,
}

/// What the shell has to do, in order.
#[derive(Debug)]
pub enum Output {
    /// Send to the agent.
    Send(WorkerToAgent, Vec<Bytes>),
    /// Publish a beat.
    PublishBeat(Beat),
    /// Start a task. The shell answers with [`Input::Started`] and [`Input::Ended`].
    Start(TaskLease),
    /// Take back a task that waits for another to be over. If it has not begun it has ended, stopped, and what waits
    /// for it waits for that other; else nothing happens.
    Recall {
        /// The key that it was started under.
        key: u64,
    },
    /// End a task that was started, with all its processes. May come again with more strength.
    Stop(StopOrder),
    /// Read what a program that was started writes, and send it as [`scalems_protocol::worker::OutputRead`] once there is something behind those
    /// places, or it has ended.
    Read {
        /// The key that it was started under.
        key: u64,
        /// The reading's number.
        id: u64,
        /// From where on: of what it writes, and of its errors.
        from: (u64, u64),
    },
    /// Something that people may want to read in the log.
    Note(Note),
    /// Log other parts of what the worker says: these levels; empty: those that it was started with.
    LogLevels(String),
    /// All is said: send what waits, end what may still run, and end.
    End(EndReason),
}

/// A task to start: one attempt, and the room it was given.
#[derive(Clone, Debug)]
pub struct TaskLease {
    /// Names it between machine and shell; never used again.
    pub key: u64,
    /// The task as people name it.
    pub task: TaskId,
    /// Its offset in the submission.
    pub offset: u32,
    /// The attempt, from 1.
    pub attempt: u32,
    /// The agent's life that granted the lease.
    pub incarnation: Incarnation,
    /// Where the submission came from.
    pub origin: Origin,
    /// What all of its tasks share.
    pub template: Arc<Template>,
    /// Which of the ways to run it room was given for.
    pub variant: u8,
    /// Its own data.
    pub data: Bytes,
    /// The CPUs it may use, by number, rising.
    pub cpus: Vec<u32>,
    /// The GPUs it may use, by number, rising.
    pub gpus: Vec<u32>,
    /// How much of each of the CPUs is its own, in the same order.
    pub cpu_shares: Vec<Amount>,
    /// How much of each of the GPUs.
    pub gpu_shares: Vec<Amount>,
    /// It takes over the room of the task with this key: it starts once that one is over, and no sooner.
    pub after: Option<u64>,
}

impl TaskLease {
    /// What it was given room for.
    pub fn needs(&self) -> &Needs {
        self.template.needs.way(self.variant)
    }
}

/// A running task is to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopOrder {
    /// The key that it was started under.
    pub key: u64,
    /// [`Strength::Request`] or [`Strength::Kill`].
    pub strength: Strength,
    /// From the request until it is killed, milliseconds. The machine also orders that itself.
    pub grace_ms: u64,
    /// Why, for people.
    pub reason: String,
}

/// Something worth a line in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// The agent took the worker in.
    Welcomed {
        /// The pilot's name.
        pilot: String,
        /// The worker's number.
        worker: u64,
        /// Its name, made unique.
        name: String,
    },
    /// Numbers of the agent's messages are not gapless; hello is said again.
    Gap {
        /// The number that should have come.
        expected: u64,
        /// The number that came.
        got: u64,
    },
    /// The agent does not know this connection; hello is said again.
    HelloAgain,
    /// The agent refused something; the worker ends.
    Refused(Refusal),
    /// A part of a lease could not be read and was left out.
    WrongLease(&'static str),
    /// The shell named a task that it was not given, or gave back before.
    UnknownKey(u64),
    /// The agent has been silent for too long: tasks are killed.
    Orphaned,
    /// The worker begins to end.
    Stopping(String),
}

/// Why a worker ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// The agent asked for it, saying why.
    Stopped(String),
    /// It was asked for on the worker's own machine.
    Asked,
    /// It had nothing to do for as long as it may.
    Idle,
    /// The agent was silent for longer than the orphan time.
    Orphaned,
    /// The agent never answered the first hello.
    NotWelcomed,
    /// The agent refused the worker.
    Refused(Refusal),
}

impl fmt::Display for Note {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Welcomed { pilot, worker, name } => {
                write!(out, "joined pilot {pilot:?} as worker {worker}, {name:?}")
            }
            Self::Gap { expected, got } => {
                write!(
                    out,
                    "message {expected} of the agent is missing, {got} came; saying hello again"
                )
            }
            Self::HelloAgain => out.write_str("the agent does not know this connection; saying hello again"),
            Self::Refused(refusal) => write!(out, "refused by the agent: {refusal}"),
            Self::WrongLease(problem) => write!(out, "a part of a lease was left out: {problem}"),
            Self::UnknownKey(key) => write!(out, "no task is known under key {key}"),
            Self::Orphaned => out.write_str("the agent has been silent for too long; ending all tasks"),
            Self::Stopping(reason) => write!(out, "ending: {reason}"),
        }
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped(reason) if reason.is_empty() => out.write_str("the agent asked for it"),
            Self::Stopped(reason) => write!(out, "the agent asked for it: {reason}"),
            Self::Asked => out.write_str("it was asked for here"),
            Self::Idle => out.write_str("it had nothing to do for as long as it may"),
            Self::Orphaned => out.write_str("the agent was silent for longer than the orphan time"),
            Self::NotWelcomed => out.write_str("the agent did not answer"),
            Self::Refused(refusal) => write!(out, "the agent refused: {refusal}"),
        }
    }
}
