//! The command line. Every `--help` has an example that a test runs.

mod bench;
mod connect;
mod directives;
mod events;
mod graph;
mod journal;
mod live;
mod log;
mod metrics;
mod pilot;
mod report;
mod submit;
mod task;
mod top;
mod trace;
mod values;
mod worker;

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::env::Shells;
use scalems_protocol::select::Selector;

pub(crate) use self::bench::{BenchArgs, Transport, Workload};
pub(crate) use self::connect::ConnectArgs;
pub(crate) use self::directives::{parse, submit_of};
pub(crate) use self::events::{EventTopic, EventsArgs};
pub(crate) use self::graph::GraphArgs;
pub(crate) use self::journal::{JournalCommand, JournalFormat, JournalPlace, JournalPruneArgs};
pub(crate) use self::log::{LogArgs, LogTo};
pub(crate) use self::metrics::MetricsArgs;
pub(crate) use self::pilot::{
    PilotCommand, PilotLogLevelArgs, PilotPruneArgs, PilotRemoveArgs, PilotStartArgs, PilotSubmitArgs,
    PilotWaitArgs, Place,
};
pub(crate) use self::report::{ReportArgs, What};
pub(crate) use self::submit::{Silence, SubmitArgs, ending};
pub(crate) use self::task::TaskCommand;
pub(crate) use self::top::TopReplayArgs;
pub(crate) use self::trace::{TraceCommand, TraceExportArgs};
pub(crate) use self::values::duration;
use self::values::selector;
pub(crate) use self::worker::{LayoutArgs, WorkerCommand, WorkerDetectArgs, WorkerStartArgs};

/// A pilot agent for ensembles on HPC machines.
#[derive(Debug, Parser)]
#[command(name = "scalems", version, about, max_term_width = 110)]
#[command(after_help = "Examples:\n  scalems demo\n  scalems pilot start --detach\n  \
    scalems submit --wait -- echo hello\n  scalems pilot stop")]
pub(crate) struct Cli {
    /// The pilot to talk to; without it the one that runs.
    #[arg(long, global = true, env = "SCALEMS_PILOT", value_name = "NAME", add = live::pilots())]
    pub(crate) pilot: Option<String>,
    /// How to print.
    #[arg(long, global = true, value_enum, default_value = "human", value_name = "FORM")]
    pub(crate) output: Output,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How to print what a command found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Tables and sentences.
    Human,
    /// One JSON value.
    Json,
    /// One JSON value a line, as things come.
    Jsonl,
    /// Only what scripts need: ids.
    Quiet,
}

/// Whether to show how far something is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shown {
    /// With a bar, on a terminal.
    #[default]
    Auto,
    /// With a bar on a terminal, and by lines elsewhere.
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a small ensemble on an embedded pilot, and draw a picture of it.
    Demo(DemoArgs),
    /// Start, look at and stop pilots.
    #[command(subcommand)]
    Pilot(PilotCommand),
    /// Start, look at and stop workers.
    #[command(subcommand)]
    Worker(WorkerCommand),
    /// Reach a pilot of another machine through ssh, as if it were here.
    Connect(ConnectArgs),
    /// Submit a program, or an array of it.
    Submit(SubmitArgs),
    /// Submit what a file says: programs that run after each other.
    Graph(GraphArgs),
    /// Look at tasks and cancel them.
    #[command(subcommand)]
    Task(TaskCommand),
    /// Wait until tasks have ended.
    Wait(WaitArgs),
    /// Print what tasks wrote.
    Logs(LogsArgs),
    /// Say what is known of workers, alarms and submissions, and what happens to them.
    Events(EventsArgs),
    /// Tell a pilot's metrics to Prometheus and its like.
    Metrics(MetricsArgs),
    /// Say what tasks took of the machine, and how much of that for nothing; or make a page of a whole run.
    Report(ReportArgs),
    /// Watch a pilot on the whole screen.
    #[command(
        after_help = "Examples:\n  scalems top\n  scalems top --once --output json\n  \
        scalems top --replay"
    )]
    Top(TopReplayArgs),
    /// Check and export what a pilot has written down.
    #[command(subcommand)]
    Journal(JournalCommand),
    /// Write down for other programs when what ran where.
    #[command(subcommand)]
    Trace(TraceCommand),
    /// Measure this machine: throughput, latency, start-up, memory.
    Bench(BenchArgs),
    /// Look whether this machine and your pilots are well, and say what to do where not.
    #[command(after_help = "Example:\n  scalems doctor")]
    Doctor,
    /// Print what a shell reads to complete commands, with the pilots, submissions and workers that there are.
    #[command(after_help = "Examples:\n  scalems completion bash\n  scalems completion fish")]
    Completion {
        /// Which shell.
        #[arg(value_parser = PossibleValuesParser::new(Shells::builtins().names()))]
        shell: String,
    },
    /// Write manual pages, one for each command.
    #[command(after_help = "Example:\n  scalems man --dir man1")]
    Man {
        /// Where to.
        #[arg(long, default_value = "man1", value_name = "DIR")]
        dir: PathBuf,
    },
    /// Print the version of the program and of the protocol.
    Version,
    /// Keep a filter, for the pilot that starts this.
    #[command(hide = true)]
    Filter(FilterArgs),
    /// One replica of the demo's ensemble.
    #[command(hide = true)]
    DemoReplica(scalems_demo::ReplicaArgs),
}

#[derive(Debug, Args)]
pub(crate) struct FilterArgs {
    /// The connection file of the pilot's workers; that of its clients lies beside it.
    #[arg(long, value_name = "FILE")]
    pub(crate) connection: PathBuf,
    /// A file that says which process this is; it goes when the filter ends in order.
    #[arg(long, value_name = "FILE")]
    pub(crate) note: Option<PathBuf>,
    /// The file that says what the filter is.
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

impl Command {
    /// What the command logs, if that can be said to it.
    pub(crate) fn log(&self) -> LogArgs {
        match self {
            Self::Pilot(PilotCommand::Start(args)) => args.log(),
            Self::Worker(WorkerCommand::Start(args)) => args.each.log.clone(),
            Self::Filter(args) => args.log.clone(),
            _ => LogArgs::of_environment(),
        }
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  scalems demo --dir my-demo")]
pub(crate) struct DemoArgs {
    /// Where to put results; made if it is not there.
    #[arg(long, default_value = "scalems-demo", value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Steps of each replica; fewer give a rougher picture.
    #[arg(long, value_name = "N", default_value_t = scalems_demo::DEFAULT_STEPS,
        value_parser = clap::value_parser!(u64).range(scalems_demo::STEPS_MIN..=scalems_demo::STEPS_MAX))]
    pub(crate) steps: u64,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  scalems wait last\n  scalems wait all --timeout 1h")]
pub(crate) struct WaitArgs {
    /// Which.
    #[arg(value_parser = selector, value_name = "SEL", add = live::selections())]
    pub(crate) select: Selector,
    /// At most so long.
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub(crate) timeout: Option<Duration>,
    /// Whether to show how far the tasks are.
    #[arg(long, value_enum, num_args = 0..=1, require_equals = true, default_missing_value = "always", value_name = "WHEN")]
    pub(crate) progress: Option<Shown>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  scalems logs last --stderr\n  scalems logs last -f\n  scalems logs --from logs --summary"
)]
pub(crate) struct LogsArgs {
    /// Which.
    #[arg(value_parser = selector, value_name = "SEL", required_unless_present = "from", add = live::selections())]
    pub(crate) select: Option<Selector>,
    /// The errors instead.
    #[arg(long)]
    pub(crate) stderr: bool,
    /// Show also what is written from now on, until all that are selected have ended.
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// An earlier attempt, of tasks that were submitted with --log.
    #[arg(long, value_name = "N", conflicts_with = "follow")]
    pub(crate) attempt: Option<u32>,
    /// Read log files in this directory, or one file, without a pilot. Without SEL it lists what there is.
    #[arg(long, value_name = "DIR", conflicts_with = "follow")]
    pub(crate) from: Option<PathBuf>,
    /// With --from: say how much there is.
    #[arg(long, requires = "from", conflicts_with_all = ["select", "attempt"])]
    pub(crate) summary: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
