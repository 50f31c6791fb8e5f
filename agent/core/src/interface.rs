//! What goes into the core and what comes out: read this first.

use bytes::Bytes;
use scalems_protocol::client::{AgentToClient, ClientToAgent, Refused};
use scalems_protocol::event::{Event, Health, Topic};
use scalems_protocol::worker::{AgentToWorker, Beat, WorkerToAgent};
use scalems_protocol::{PilotId, Role};

use crate::record::Record;

/// Monotonic time since the agent began, microseconds. The core has no other clock.
pub type Micros = u64;

/// A connection to one of the agent's sockets, as the shell numbers it. Client and worker sockets are
/// numbered apart. A peer that reconnects is another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Peer(pub u32);

/// What the agent is, from its command line and its pilot's directory.
#[derive(Clone, Debug)]
pub struct Config {
    /// The pilot's name.
    pub pilot_name: String,
    /// Which pilot this is.
    pub pilot: PilotId,
    /// The agent's life.
    pub incarnation: u64,
    /// Tells this life from another of the same number: random.
    pub life: u64,
    /// What resume tokens are keyed with.
    pub secret: [u8; 32],
    /// The seed of links: random, since a guessed link would let a worker forge another's beats.
    pub link_seed: u64,
    /// Software and version, for people.
    pub software: String,
    /// Whether records are made durable: acks then wait for [`Input::Durable`].
    pub journal: bool,
    /// Workers that are known to come: until so many have joined, nothing is refused as impossible.
    pub expected_workers: u32,
    /// Whether more workers may join later: if so, what nobody can serve waits instead of being refused.
    pub open_to_workers: bool,
    /// What may be requested of workers.
    pub quota: Quota,
    /// Time between beats, milliseconds.
    pub beat_ms: u64,
    /// Silence after which a worker is lost, milliseconds.
    pub lost_ms: u64,
    /// Time that workers keep work without the agent, milliseconds.
    pub orphan_ms: u64,
    /// Time after which what has ended is forgotten, microseconds; 0: never.
    pub retain_us: Micros,
    /// How long the answer to a submission waits for results to go with, microseconds.
    pub patience_us: Micros,
    /// Bytes of results in memory over which the oldest values are moved out.
    pub spill_over: u64,
    /// Filters, in the order in which they see tasks.
    pub filters: Vec<scalems_protocol::filter::Rule>,
}

/// What may be requested of workers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quota {
    /// So many workers at most; none: as many as the nodes have cores.
    pub most: Option<u32>,
    /// Whether they may offer more than their nodes have.
    pub overcommit: bool,
    /// Whether somebody who starts workers is known to come.
    pub starter: bool,
}

/// What happens to the core.
#[derive(Clone, Debug)]
pub enum Input {
    /// A client or observer said something. An envelope's data is the only blob.
    Client {
        /// Who.
        peer: Peer,
        /// What it may do.
        role: Role,
        /// What it said.
        message: ClientToAgent,
        /// The data frames.
        blobs: Vec<Bytes>,
    },
    /// A client said something that could not be decoded.
    Undecoded {
        /// Who.
        peer: Peer,
        /// The answer, with the request's number if that could be read.
        refused: Refused,
    },
    /// A worker said something. The shell lets only the worker role come this way.
    Worker {
        /// Who.
        peer: Peer,
        /// What it said.
        message: WorkerToAgent,
        /// The data frames.
        blobs: Vec<Bytes>,
    },
    /// A beat was published.
    Beat(Beat),
    /// A client's connection is gone.
    ClientGone(Peer),
    /// A worker's connection is gone.
    WorkerGone(Peer),
    /// Some client's connection is gone, and it is not known whose: something is sent to all.
    SomeClientGone,
    /// Some worker's connection is gone, and it is not known whose: all are asked for a sign of life.
    SomeWorkerGone,
    /// The process of a worker has ended, and all that it ran.
    ProcessGone {
        /// The worker's number.
        worker: u32,
    },
    /// Somebody began to listen to a topic.
    Subscribed(Topic),
    /// Nobody listens to a topic any more.
    Unsubscribed(Topic),
    /// How the shell is, once a second while [`crate::Agent::is_watched`]: its rounds, its journal, its process.
    Health(Box<Health>),
    /// Records up to this number are on disk.
    Durable(u64),
    /// There is no room for records, or there is again.
    DiskFull(bool),
    /// The answer to [`Action::Spill`]: the same values, which lie outside of memory now; nothing: there is no room.
    Spilled(Option<Vec<Bytes>>),
    /// The pilot is to end, after letting run what runs for so long.
    Stop {
        /// For so long, milliseconds.
        drain_ms: u64,
    },
}

/// What the shell has to do, in order.
#[derive(Debug)]
pub enum Action {
    /// Send to a client or observer.
    ToClient {
        /// To whom.
        peer: Peer,
        /// What.
        message: AgentToClient,
        /// The data frames.
        blobs: Vec<Bytes>,
    },
    /// Send to a worker.
    ToWorker {
        /// To whom.
        peer: Peer,
        /// What.
        message: AgentToWorker,
        /// The data frames.
        blobs: Vec<Bytes>,
    },
    /// Look whether a worker's process still runs. If it is known to be over, the answer is [`Input::ProcessGone`];
    /// else there is none.
    Look {
        /// The worker's number.
        worker: u32,
        /// What its process is known by.
        process: String,
    },
    /// Publish an event.
    Publish {
        /// The topic.
        topic: Topic,
        /// The event.
        event: Event,
    },
    /// Write to the journal; only with [`Config::journal`].
    Record {
        /// The record's number.
        number: u64,
        /// The record.
        record: Record,
    },
    /// Move values of results out of memory. The answer is [`Input::Spilled`], and comes before the next of these.
    Spill {
        /// The values.
        values: Vec<Bytes>,
    },
    /// The journal ends before what a peer has seen: no later life may go on with it unasked.
    FellBehind {
        /// The highest life that is known of.
        incarnation: u64,
        /// What happened, for people.
        message: String,
    },
    /// Log other parts of what the agent says: these levels, as [`scalems_protocol::log_levels::check`] takes them; empty:
    /// those that it was started with.
    LogLevels {
        /// The levels.
        levels: String,
    },
    /// All is done: close the sockets and end.
    Exit,
}
