//! Events (`docs/spec/4-events`): what happened, published to who listens, possibly lost.

use serde::{Deserialize, Serialize};

use crate::client::{Counts, WorkerRow};
use crate::frame::{decoders, messages};
use crate::group::Run;
use crate::id::Incarnation;
use crate::progress::Progress;
use crate::scan::Scanned;
use crate::state::TaskState;
use crate::{Amount, WireError};

/// What can be listened to. Subscriptions match exactly: a topic's name is the whole first frame.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    /// Counts of everything, at most four times a second.
    Summary,
    /// The tasks of one submission.
    Submission(u64),
    /// Workers that join, are suspect, lost or gone.
    Workers,
    /// What somebody should look at.
    Alarms,
}

impl Topic {
    /// The topic's name on the wire.
    pub fn name(&self) -> String {
        match self {
            Self::Summary => "summary".into(),
            Self::Submission(number) => format!("submission/{number}"),
            Self::Workers => "workers".into(),
            Self::Alarms => "alarms".into(),
        }
    }

    /// The topic called `name`, if there is one. The list is closed.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "summary" => Some(Self::Summary),
            "workers" => Some(Self::Workers),
            "alarms" => Some(Self::Alarms),
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
}

/// What somebody should look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alarm {
    /// `worker_lost`, `hash_differs`, `crash_limit`, `agent_full`.
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
            Topic::Submission(7),
            Topic::Workers,
            Topic::Alarms,
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
