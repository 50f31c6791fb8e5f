//! `scalems worker …`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::live;
use super::pilot::Batch;
use super::values::duration;

#[derive(Debug, Subcommand)]
pub(crate) enum WorkerCommand {
    /// Start a worker here, in front.
    Start(WorkerStartArgs),
    /// List the workers.
    #[command(after_help = "Example:\n  scalems worker list")]
    List,
    /// Show one worker.
    #[command(after_help = "Example:\n  scalems worker info 1")]
    Info {
        /// Its number.
        #[arg(add = live::workers())]
        worker: u64,
    },
    /// Stop one worker.
    #[command(after_help = "Example:\n  scalems worker stop 1 --drain 10s")]
    Stop {
        /// Its number.
        #[arg(add = live::workers())]
        worker: u64,
        /// Let run what runs, at most so long.
        #[arg(long, value_parser = duration, default_value = "0s", value_name = "TIME")]
        drain: Duration,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  scalems worker start --cores 2")]
pub(crate) struct WorkerStartArgs {
    /// The worker's connection file, instead of the one of `--pilot`.
    #[arg(long, value_name = "FILE")]
    pub(crate) connection: Option<PathBuf>,
    /// Its name.
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Cores that it offers; without it, those that it may use.
    #[arg(long)]
    pub(crate) cores: Option<u32>,
    /// Which cores: `0-3,8`.
    #[arg(long, value_name = "LIST", hide = true)]
    pub(crate) cpus: Option<String>,
    /// GPUs that it offers.
    #[arg(long)]
    pub(crate) gpus: Option<u32>,
    /// Memory that it offers, MiB.
    #[arg(long)]
    pub(crate) memory: Option<u64>,
    /// Where tasks without a directory of their own get one.
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
    /// It ends after so long. Ten seconds before that it takes nothing new, and lets end what runs. Tasks with a longer --min-time do not
    /// begin there.
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub(crate) time_limit: Option<Duration>,
    /// The batch system whose job the worker is part of: the job is ended with a worker that has lost its agent for good.
    #[arg(long, value_enum, value_name = "SYSTEM", hide = true)]
    pub(crate) batch: Option<Batch>,
    /// A file that says which process this is; it goes when the worker ends in order.
    #[arg(long, value_name = "FILE", hide = true)]
    pub(crate) note: Option<PathBuf>,
}
