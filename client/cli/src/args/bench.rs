//! `scalems bench`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// What to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Workload {
    /// Tasks submitted one by one, to their results.
    Noop,
    /// One array.
    Array,
    /// One task at a time.
    Latency,
    /// Programs.
    Spawn,
    /// 1 MiB in, 1 MiB out.
    Payload,
    /// From nothing to the first result.
    Startup,
    /// The agent with a million queued tasks.
    Memory,
    /// A pilot without work.
    Idle,
    /// Many workers that join, and then have nothing to do.
    Workers,
    /// The monitor, of a pilot with many workers and a million tasks.
    Top,
    /// Each of them.
    All,
    /// A part of what is measured beside them.
    #[value(hide = true)]
    RawHead,
    /// The other part.
    #[value(hide = true)]
    RawWorker,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  scalems bench latency -n 200 --output json")]
pub(crate) struct BenchArgs {
    /// What to measure.
    pub(crate) workload: Workload,
    /// How many tasks; for startup how many starts, for idle how many seconds, for workers and top how many workers.
    #[arg(short = 'n', value_name = "N")]
    pub(crate) count: Option<u64>,
    /// By which way.
    #[arg(long, value_enum, default_value = "ipc")]
    pub(crate) transport: Transport,
    /// With a journal or without.
    #[arg(long, default_value = "none", value_parser = ["on", "none"])]
    pub(crate) journal: String,
    /// Where the parts meet.
    #[arg(long, hide = true)]
    pub(crate) dir: Option<PathBuf>,
}

/// By which way a benchmark talks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Transport {
    /// Socket files, for this host.
    Ipc,
    /// TCP with CURVE.
    Tcp,
}
