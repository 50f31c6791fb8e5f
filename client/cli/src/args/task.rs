//! `scalems task …`.

use clap::Subcommand;
use scalems_protocol::select::Selector;

use super::live;
use super::values::selector;

#[derive(Debug, Subcommand)]
pub(crate) enum TaskCommand {
    /// List submissions, or the tasks of some.
    #[command(after_help = "Examples:\n  scalems task list\n  scalems task list state:failed")]
    List {
        /// Which; without it, one line for each submission.
        #[arg(value_parser = selector, value_name = "SEL", add = live::selections())]
        select: Option<Selector>,
    },
    /// Show one task and its result.
    #[command(after_help = "Example:\n  scalems task info 1.0")]
    Info {
        /// Which.
        #[arg(value_parser = selector, value_name = "SEL", add = live::selections())]
        select: Selector,
    },
    /// Say why a task is where it is.
    #[command(after_help = "Example:\n  scalems task explain 1.0")]
    Explain {
        /// Which.
        #[arg(value_parser = selector, value_name = "SEL", add = live::selections())]
        select: Selector,
    },
    /// Cancel tasks.
    #[command(after_help = "Examples:\n  scalems task cancel last\n  scalems task cancel 1-100 --kill")]
    Cancel {
        /// Which.
        #[arg(value_parser = selector, value_name = "SEL", add = live::selections())]
        select: Selector,
        /// Only those that have not started.
        #[arg(long, conflicts_with = "kill")]
        withdraw: bool,
        /// Kill those that run at once.
        #[arg(long)]
        kill: bool,
        /// Why, for people.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Submit tasks that failed again, with the same data and indices; those that were before are passed over.
    #[command(after_help = "Examples:\n  scalems task retry state:failed\n  scalems task retry 2 --wait")]
    Retry {
        /// Which: those of them that failed; with `state:canceled`, those that were canceled.
        #[arg(value_parser = selector, value_name = "SEL", add = live::selections())]
        select: Selector,
        /// Also those that were submitted again before.
        #[arg(long)]
        repeat: bool,
        /// Wait until all has ended; the exit code says whether all went well.
        #[arg(long)]
        wait: bool,
    },
    /// Close open submissions: no more tasks can be added, and who waits for them waits for those that there are.
    #[command(after_help = "Example:\n  scalems task close last")]
    Close {
        /// Which.
        #[arg(value_parser = selector, value_name = "SEL", add = live::selections())]
        select: Selector,
    },
    /// Drop submissions that are over, with their results, at the agent. Files stay.
    ///
    /// A submission is dropped as a whole, also if only some of its tasks are selected, once all of them have ended and no more
    /// can be added. One that is not is kept, with all of its results.
    #[command(after_help = "Examples:\n  scalems task forget 1\n  scalems task forget all")]
    Forget {
        /// Which.
        #[arg(value_parser = selector, value_name = "SEL", add = live::selections())]
        select: Selector,
    },
}
