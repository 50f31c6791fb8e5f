//! `scalems pilot …`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::values::duration;

#[derive(Debug, Subcommand)]
pub(crate) enum PilotCommand {
    /// Start a pilot on this machine: in front, or behind with --detach.
    Start(PilotStartArgs),
    /// List the pilots of this user.
    #[command(after_help = "Example:\n  scalems pilot list")]
    List,
    /// Show a pilot: workers, resources, tasks.
    #[command(after_help = "Example:\n  scalems pilot info")]
    Info,
    /// Wait until a pilot serves, with so many workers.
    Wait(PilotWaitArgs),
    /// Stop a pilot.
    Stop(PilotStopArgs),
    /// Remove a pilot that does not run: its journal, logs, and the directories of its tasks.
    Remove(PilotRemoveArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  scalems pilot remove night")]
pub(crate) struct PilotRemoveArgs {
    /// Its name; `--pilot` says the same.
    pub(crate) name: Option<String>,
    /// Its directory, instead of the one that its name gives.
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
    /// Also one with tasks that have not ended, or with a journal that cannot be read.
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  scalems pilot start --detach\n  scalems pilot start --name big --workers 2 --tcp"
)]
pub(crate) struct PilotStartArgs {
    /// Its name; `--pilot` says the same.
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Its directory, instead of the one that its name gives.
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
    /// Come back at once and let it run behind.
    #[arg(long)]
    pub(crate) detach: bool,
    /// Workers to start here.
    #[arg(long, default_value_t = 1, conflicts_with = "no_workers")]
    pub(crate) workers: u32,
    /// Start no worker here.
    #[arg(long)]
    pub(crate) no_workers: bool,
    /// Cores of each worker; without it, this machine's are shared among them.
    #[arg(long)]
    pub(crate) cores: Option<u32>,
    /// GPUs of each worker.
    #[arg(long)]
    pub(crate) gpus: Option<u32>,
    /// Memory of each worker, MiB.
    #[arg(long)]
    pub(crate) memory: Option<u64>,
    /// Listen on TCP as well, encrypted; `--tcp=ADDRESS` for other hosts.
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1, default_missing_value = "127.0.0.1", require_equals = true)]
    pub(crate) tcp: Option<std::net::IpAddr>,
    /// Listen on TCP only, so that processes of this host use it as well.
    #[arg(long, requires = "tcp")]
    pub(crate) tcp_only: bool,
    /// No worker joins later: refuse at once what those here could never run.
    #[arg(long)]
    pub(crate) closed: bool,
    /// Where the journal is kept, which lets nothing be lost when the agent dies: in this file instead of the pilot's
    /// directory, or nowhere.
    #[arg(long, value_name = "PATH|none")]
    pub(crate) journal: Option<PathBuf>,
    /// Go on with the pilot whose journal this is, also with tasks that have not ended.
    #[arg(long)]
    pub(crate) resume: bool,
    /// Go on though workers or clients have seen more in the journal than there is: nobody who was there is known any
    /// more, and what they ran is lost.
    #[arg(long, requires = "resume")]
    pub(crate) accept_loss: bool,
    /// Begin anew: a journal that is there is kept under another name.
    #[arg(long, conflicts_with = "resume")]
    pub(crate) fresh: bool,
    /// Start the agent again when it dies.
    #[arg(long)]
    pub(crate) restart: bool,
    /// What ended so long ago is forgotten, with results that nobody collected; 0: never.
    #[arg(long, value_parser = duration, default_value = "30d", value_name = "TIME")]
    pub(crate) retain: Duration,
    /// Time between beats of workers.
    #[arg(long, value_parser = duration, default_value = "2s", hide = true)]
    pub(crate) beat: Duration,
    /// Silence after which a worker is lost.
    #[arg(long, value_parser = duration, default_value = "10s", value_name = "TIME")]
    pub(crate) lost_after: Duration,
    /// How long work goes on without the agent.
    #[arg(long, value_parser = duration, default_value = "10m", value_name = "TIME")]
    pub(crate) orphan_time: Duration,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  scalems pilot wait --workers 1 --timeout 30s")]
pub(crate) struct PilotWaitArgs {
    /// So many workers.
    #[arg(long, default_value_t = 1)]
    pub(crate) workers: u64,
    /// At most so long.
    #[arg(long, value_parser = duration, default_value = "60s", value_name = "TIME")]
    pub(crate) timeout: Duration,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  scalems pilot stop --drain 1m")]
pub(crate) struct PilotStopArgs {
    /// Let run what runs, at most so long.
    #[arg(long, value_parser = duration, default_value = "0s", value_name = "TIME")]
    pub(crate) drain: Duration,
}
