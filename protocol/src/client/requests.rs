//! Workers that are asked for, and the one who starts them (`docs/spec/2-client`, section "Requested workers").

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Listing;
use crate::Amount;
use crate::id::Origin;
use crate::worker::Offer;
use crate::{bounded, is_default, limits};

/// What a worker is to offer, and for how long it stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Layout {
    /// Cores, at least 1.
    pub cores: u32,
    /// GPUs.
    #[serde(skip_serializing_if = "is_default")]
    pub gpus: u32,
    /// Memory, MiB; none: as much of its node's as it has of its cores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// Amounts of other kinds.
    #[serde(
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "bounded::map::<_, _, _, { limits::RESOURCE_KINDS }>"
    )]
    pub named: BTreeMap<String, Amount>,
    /// It ends when it has had nothing to do for so long, milliseconds; 0: it stays.
    #[serde(skip_serializing_if = "is_default")]
    pub idle_ms: u64,
    /// It ends after so long, milliseconds; 0: it stays.
    #[serde(skip_serializing_if = "is_default")]
    pub limit_ms: u64,
}

impl Default for Layout {
    fn default() -> Self {
        Self {
            cores: 1,
            gpus: 0,
            memory: None,
            named: BTreeMap::new(),
            idle_ms: 0,
            limit_ms: 0,
        }
    }
}

/// More workers are to be started, beside those that there are or in the place of one of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestWorkers {
    /// The request's number.
    pub request: u64,
    /// Answers below this number are not needed any more.
    #[serde(default)]
    pub low_water: u64,
    /// How many.
    #[serde(default = "crate::group::one")]
    pub count: u32,
    /// What each of them offers.
    pub layout: Layout,
    /// The worker that ends before, in order; they are started on its node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replace: Option<u64>,
    /// For so long what runs there may go on, milliseconds.
    #[serde(default, skip_serializing_if = "is_default")]
    pub drain_ms: u64,
    /// They have joined within this time, or the request has failed, milliseconds, beside the time for what runs; 0: the agent's own.
    #[serde(default, skip_serializing_if = "is_default")]
    pub deadline_ms: u64,
}

/// Workers are about to be started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkersRequested {
    /// The request's number.
    pub request: u64,
    /// Its short number in this life of the agent, to ask about it.
    pub id: u64,
    /// The record of the journal that stands for what was answered before; 0: there is none.
    #[serde(default, skip_serializing_if = "is_default")]
    pub record: u64,
}

/// Which requests for workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RequestsPage {
    /// Only this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// Without one: those after this number.
    #[serde(skip_serializing_if = "is_default")]
    pub after: u64,
    /// Answered once that one is over, or has begun if it was `requested`, or after so long, milliseconds.
    #[serde(skip_serializing_if = "is_default")]
    pub timeout_ms: u64,
}

/// Where a request for workers is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestState {
    /// Nobody who starts workers has come yet.
    Requested,
    /// The worker that is to be replaced has not ended.
    Ending,
    /// Workers are being started.
    Starting,
    /// All have joined.
    Started,
    /// Some have not, and will not.
    Failed,
}

impl RequestState {
    /// The name that people read.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Ending => "ending",
            Self::Starting => "starting",
            Self::Started => "started",
            Self::Failed => "failed",
        }
    }

    /// Whether nothing more comes.
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Started | Self::Failed)
    }
}

/// A worker that has joined as it was asked to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartedWorker {
    /// Its number.
    pub worker: u64,
    /// Its name.
    pub name: String,
    /// Its host.
    pub host: String,
}

/// One request for workers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestRow {
    /// Its short number.
    pub id: u64,
    /// The session that asked.
    pub session: String,
    /// How many.
    pub count: u32,
    /// What each offers.
    pub layout: Layout,
    /// The worker in whose place they come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replace: Option<u64>,
    /// Where it is.
    pub state: RequestState,
    /// Those that have joined.
    #[serde(deserialize_with = "bounded::list::<_, _, { limits::REQUESTED_WORKERS as usize }>")]
    pub workers: Vec<StartedWorker>,
    /// What is waited for, or why it failed, for people.
    #[serde(
        default,
        skip_serializing_if = "String::is_empty",
        deserialize_with = "bounded::text"
    )]
    pub reason: String,
    /// Since it was made, milliseconds.
    pub age_ms: u64,
    /// Until it has failed, milliseconds; 0: it is over.
    #[serde(default, skip_serializing_if = "is_default")]
    pub left_ms: u64,
}

/// Rows of requests.
pub type RequestRows = Listing<RequestRow, u64>;

/// A process that can start workers says what there is, and hears what to do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Starter {
    /// The client's number for the answer to bear.
    pub id: u64,
    /// The nodes on which it can, with all that it keeps there.
    #[serde(deserialize_with = "bounded::list::<_, _, { limits::NAMES }>")]
    pub nodes: Vec<StarterNode>,
    /// What it was told to start and could not.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "bounded::list::<_, _, { limits::NAMES }>"
    )]
    pub failed: Vec<StartFailed>,
    /// Answered once there is something to do, or after so long, milliseconds; at most a minute.
    pub timeout_ms: u64,
}

/// A node on which workers can be started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StarterNode {
    /// Its name.
    pub node: String,
    /// What the pilot has there, by kind; a kind that is not named is not counted.
    #[serde(deserialize_with = "bounded::list::<_, _, { limits::RESOURCE_KINDS }>")]
    pub room: Offer,
    /// The workers that are kept there.
    #[serde(deserialize_with = "bounded::list::<_, _, { limits::NAMES }>")]
    pub places: Vec<StarterPlace>,
}

/// A worker that is kept by who starts workers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StarterPlace {
    /// What it says in its hello.
    pub place: String,
    /// What it offers.
    #[serde(deserialize_with = "bounded::list::<_, _, { limits::RESOURCE_KINDS }>")]
    pub offer: Offer,
    /// What told to start it; 0: nothing, it came with the pilot.
    #[serde(skip_serializing_if = "is_default")]
    pub start: u64,
    /// The request that it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// The session that asked for it.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "bounded::text_if_any"
    )]
    pub requested_by: Option<String>,
    /// Whether it is known to have joined.
    #[serde(skip_serializing_if = "is_default")]
    pub joined: bool,
    /// Whether it is not kept any more: it ends, and is not started again.
    #[serde(skip_serializing_if = "is_default")]
    pub left: bool,
}

/// A worker that could not be started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartFailed {
    /// What told to.
    pub start: u64,
    /// Why, for people.
    #[serde(deserialize_with = "bounded::text")]
    pub reason: String,
}

/// What is to be done by who starts workers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Orders {
    /// Places whose workers end or have ended: they are not started again.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "bounded::list::<_, _, { limits::NAMES }>"
    )]
    pub leave: Vec<String>,
    /// Places whose workers are ended now, and not started again.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "bounded::list::<_, _, { limits::NAMES }>"
    )]
    pub stop: Vec<String>,
    /// Places whose workers have joined: those are kept.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "bounded::list::<_, _, { limits::NAMES }>"
    )]
    pub joined: Vec<String>,
    /// Places that are left and whose workers are over: they need not be said any more.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "bounded::list::<_, _, { limits::NAMES }>"
    )]
    pub over: Vec<String>,
    /// Workers to start.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "bounded::list::<_, _, { limits::NAMES }>"
    )]
    pub starts: Vec<Start>,
}

impl Orders {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A worker to start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// Its number; the same one may be told again.
    pub start: u64,
    /// Where.
    pub node: String,
    /// What it offers.
    pub layout: Layout,
    /// The request that it is for.
    pub origin: Origin,
    /// The session that asked for it.
    #[serde(default, deserialize_with = "bounded::text")]
    pub requested_by: String,
}
