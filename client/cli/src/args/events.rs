//! `scalems events`.

use clap::{Args, ValueEnum};
use scalems_protocol::select::Selector;

use super::live;
use super::values::selector;

/// What there are events of, beside submissions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum EventTopic {
    /// Counts of everything, several times a second.
    Summary,
    /// Workers that join, change or go.
    Workers,
    /// What somebody should look at.
    Alarms,
    /// All submissions, as they change.
    Submissions,
    /// What went wrong, by reason and host.
    Faults,
    /// The agent itself, once a second.
    Health,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  scalems events\n  scalems --output jsonl events last -f")]
pub(crate) struct EventsArgs {
    /// Submissions whose tasks are looked at too; tasks stand for their submission.
    #[arg(value_parser = selector, value_name = "SEL", add = live::selections())]
    pub(crate) select: Option<Selector>,
    /// Go on with what happens from now on: until Ctrl-C, or until all that is selected has ended.
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Of what; repeatable. Without it workers and alarms, with SEL only its submissions.
    #[arg(long, value_enum, value_name = "TOPIC")]
    pub(crate) topic: Vec<EventTopic>,
}
