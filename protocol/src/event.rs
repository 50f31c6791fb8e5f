//! Events (`docs/spec/4-events`): what happened, published to who listens, possibly lost.

use serde::{Deserialize, Serialize};

use crate::client::{Counts, SubmissionRow, WorkerRow};
use crate::frame::{decoders, messages};
use crate::group::Run;
use crate::id::Incarnation;
use crate::progress::Progress;
use crate::scan::Scanned;
use crate::state::TaskState;
use crate::{Amount, WireError, bounded, limits};

/// What can be listened to. Subscriptions match exactly: a topic's name is the whole first frame.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    /// Counts of everything, at most four times a second.
    Summary,
    /// Submissions as they change, at most twice a second.
    Submissions,
    /// The tasks of one submission.
    Submission(u64),
    /// Workers that join, are suspect, lost or gone.
    Workers,
    /// What somebody should look at.
    Alarms,
    /// What went wrong with tasks, put together by reason and host.
    Faults,
    /// How the agent itself is, once a second.
    Health,
}

impl Topic {
    /// The topic's name on the wire.
    pub fn name(&self) -> String {
        match self {
            Self::Summary => "summary".into(),
            Self::Submissions => "submissions".into(),
            Self::Submission(number) => format!("submission/{number}"),
            Self::Workers => "workers".into(),
            Self::Alarms => "alarms".into(),
            Self::Faults => "faults".into(),
            Self::Health => "health".into(),
        }
    }

    /// The topic called `name`, if there is one. The list is closed.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "summary" => Some(Self::Summary),
            "submissions" => Some(Self::Submissions),
            "workers" => Some(Self::Workers),
            "alarms" => Some(Self::Alarms),
            "faults" => Some(Self::Faults),
            "health" => Some(Self::Health),
            other => {
                let number: u64 = other.strip_prefix("submission/")?.parse().ok()?;
                Some(Self::Submission(number)).filter(|topic| topic.name() == other)
            }
        }
    }
}

/// One thing that happened, or the state of a topic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    /// The topic begins for a new subscriber: take a snapshot now.
    Open,
    /// Counts of everything.
    Summary {
        /// Tasks by state.
        tasks: Counts,
        /// Workers: joined, suspect, draining, lost.
        workers: (u64, u64, u64, u64),
        /// Resources by kind: kind, total, in use.
        resources: Vec<(String, u64, u64)>,
        /// Those of them that are not whole.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        fractions: Vec<(String, Amount, Amount)>,
    },
    /// Submissions changed.
    Submissions {
        /// Those that did, as they are now, by number; of more than 256 the newest. In a snapshot the newest.
        #[serde(deserialize_with = "bounded::list::<_, _, { limits::EVENT_ROWS }>")]
        rows: Vec<SubmissionRow>,
        /// Those that were forgotten; of more than 256 the newest.
        #[serde(
            default,
            skip_serializing_if = "Vec::is_empty",
            deserialize_with = "bounded::list::<_, _, { limits::EVENT_ROWS }>"
        )]
        gone: Vec<u64>,
        /// How many are known.
        total: u64,
    },
    /// Tasks of the topic's submission changed state.
    Tasks {
        /// Which, and their attempt.
        runs: Vec<(Run, TaskState)>,
        /// The whole submission, afterwards.
        counts: Counts,
    },
    /// How far tasks of the topic's submission are, as they say themselves.
    Progress {
        /// The last words of those that have said something.
        tasks: Vec<Progress>,
    },
    /// Workers as they are now.
    Workers {
        /// Those that changed; in a snapshot all.
        rows: Vec<WorkerRow>,
    },
    /// What somebody should look at.
    Alarms {
        /// The alarms, oldest first.
        alarms: Vec<Alarm>,
    },
    /// What went wrong with tasks.
    Faults {
        /// The groups that changed, as they are now; in a snapshot all.
        #[serde(deserialize_with = "bounded::list::<_, _, { limits::FAULT_GROUPS }>")]
        groups: Vec<FaultGroup>,
    },
    /// How the agent is.
    Health(Box<Health>),
}

/// Attempts that failed alike on one host, in this life of the agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultGroup {
    /// The code of their error (page 8); `other` where there are too many groups.
    pub code: String,
    /// What tells them from others of that code: the class of an exception, `exit 3`, or nothing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub what: String,
    /// The host; empty: on none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// The worker of the last one; empty: none had it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub worker: String,
    /// What was said of the last one.
    pub message: String,
    /// Tasks that failed.
    pub failed: u64,
    /// Attempts after which there was another one.
    pub retried: u64,
    /// The last task: submission and index.
    pub last: (u64, u32),
    /// When that was, since the agent began, milliseconds.
    pub at_ms: u64,
}

/// What half of them, 99 of 100 and all of them were at most, to an eighth; zeros: there were none.
pub type Spread = (u64, u64, u64);

/// How the agent was in the last second; what it is not told of is zero.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Health {
    /// When, since the agent began, milliseconds.
    pub at_ms: u64,
    /// The time that this is about, milliseconds.
    pub span_ms: u64,
    /// Rounds of the bus in it.
    pub rounds: u64,
    /// How long a round took, without waiting, microseconds.
    pub round_us: Spread,
    /// What is kept in bounds, as it is now: what, how much, the bound.
    #[serde(deserialize_with = "bounded::list::<_, _, { limits::NAMES }>")]
    pub queues: Vec<(String, u64, u64)>,
    /// The journal, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub journal: Option<JournalHealth>,
    /// Events that could not be published, in this life.
    pub events_dropped: u64,
    /// Memory of the agent's process, bytes.
    pub rss_bytes: u64,
    /// Processor time that it has used, microseconds.
    pub cpu_us: u64,
    /// Tasks that have ended in this life.
    pub ended: u64,
    /// From when tasks were submitted until a worker was given them, each attempt, microseconds.
    pub start_wait_us: Spread,
    /// How long tasks ran that ended, microseconds.
    pub ran_us: Spread,
    /// How long the last worker will be there, milliseconds; none: nothing is known of an end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_ms: Option<u64>,
    /// So long before that nothing new is started, and what runs may end, milliseconds; none: nobody has said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning_ms: Option<u64>,
}

/// How the journal was in the last second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct JournalHealth {
    /// Records that are not on disk.
    pub waiting_records: u64,
    /// Their bytes.
    pub waiting_bytes: u64,
    /// Whether the disk has no room for them.
    pub full: bool,
    /// How long a commit took, microseconds.
    pub commit_us: Spread,
    /// Bytes of its file, its log included.
    pub size_bytes: u64,
}

/// What somebody should look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alarm {
    /// `worker_lost`, `hash_differs`, `crash_limit`, `agent_full`, `disk_full`, `stalled`.
    pub alarm: String,
    /// What it is about.
    pub about: String,
    /// What happened and what was done.
    pub message: String,
    /// Since the agent began, milliseconds.
    pub at_ms: u64,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The agent's life.
    pub incarnation: Incarnation,
    /// The topic's name.
    pub topic: String,
    /// The event's number in its topic and incarnation, from 1; `open` bears the last event's.
    pub seq: u64,
    /// What happened.
    pub body: Body,
}

messages! {
    /// From the agent to whoever listens.
    AgentToSubscriber {
        /// One event.
        Event = "event",
    }
}

impl AgentToSubscriber {
    fn read(_: &Scanned<'_>, name: &str, header: &[u8]) -> Result<Self, WireError> {
        Self::read_named(name, header)
    }
}
decoders!(AgentToSubscriber);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_a_closed_list() {
        for topic in [
            Topic::Summary,
            Topic::Submissions,
            Topic::Submission(7),
            Topic::Workers,
            Topic::Alarms,
            Topic::Faults,
            Topic::Health,
        ] {
            assert_eq!(Topic::from_name(&topic.name()), Some(topic));
        }
        for bad in [
            "",
            "sum",
            "submission/",
            "submission/07",
            "submission/x",
            "submission/1/2",
        ] {
            assert_eq!(Topic::from_name(bad), None, "{bad}");
        }
    }
}
