//! `scalems pilot …`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use scalems_agent::batch::Kind;

use scalems_protocol::Amount;

use super::live;
use super::log::{LogArgs, LogTo};
use super::metrics::PilotMetrics;
use super::values::{duration, resource};
use super::worker::EachWorker;
use crate::on_event::OnEvent;

#[derive(Debug, Subcommand)]
pub(crate) enum PilotCommand {
    /// Start a pilot on this machine: in front, or behind with --detach.
    Start(PilotStartArgs),
    /// Submit a pilot to a batch system, and wait until it serves.
    Submit(PilotSubmitArgs),
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
    /// Have a pilot's agent and workers log more of what they do, or less, while they run.
    LogLevel(PilotLogLevelArgs),
    /// Remove a pilot that does not run: its journal, logs, and the directories of its tasks.
    Remove(PilotRemoveArgs),
    /// Remove all pilots that have ended with all of their tasks, and were not used for some time.
    Prune(PilotPruneArgs),
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  scalems pilot log-level warn,scalems_agent::worker=debug --worker 1\n  \
    scalems pilot log-level --reset"
)]
pub(crate) struct PilotLogLevelArgs {
    /// What is logged from now on: LEVEL, or TARGET=LEVEL for one module and those below it, several apart by commas. Levels are off, error,
    /// warn, info, debug and trace.
    #[arg(value_name = "LEVELS", required_unless_present = "reset")]
    pub(crate) levels: Option<String>,
    /// What each process was started with.
    #[arg(long, conflicts_with = "levels")]
    pub(crate) reset: bool,
    /// Only this worker, by its number; without it the agent and all workers, also those that join later.
    #[arg(long, value_name = "N", add = live::workers())]
    pub(crate) worker: Option<u64>,
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
#[command(after_help = "Example:\n  scalems pilot prune --older-than 720h --dry-run")]
pub(crate) struct PilotPruneArgs {
    /// Keep those that were used since.
    #[arg(long, value_parser = duration, default_value = "168h", value_name = "TIME")]
    pub(crate) older_than: Duration,
    /// Say which would be removed, and remove nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
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
    /// GPUs of each worker; without it, those that are found and meant for this process are shared among them.
    #[arg(long)]
    pub(crate) gpus: Option<u32>,
    /// Memory of each worker, MiB; without it, this machine's is shared among them.
    #[arg(long)]
    pub(crate) memory: Option<u64>,
    /// Disk of each worker, MiB, offered as the resource `disk`; without it, what is free is shared among them. 0: none.
    #[arg(long, value_name = "MIB")]
    pub(crate) disk: Option<u64>,
    /// Something of yours that each worker offers so much of: `licence=3`.
    #[arg(long, value_parser = resource, value_name = "NAME=AMOUNT")]
    pub(crate) resource: Vec<(String, Amount)>,
    #[command(flatten)]
    pub(crate) each: EachWorker,
    /// Listen on TCP as well, encrypted; `--tcp=ADDRESS` for other hosts.
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1, default_missing_value = "127.0.0.1", require_equals = true)]
    pub(crate) tcp: Option<std::net::IpAddr>,
    /// Listen on TCP only, so that processes of this host use it as well.
    #[arg(long, requires = "tcp")]
    pub(crate) tcp_only: bool,
    /// No worker joins later: refuse at once what those here could never run.
    #[arg(long)]
    pub(crate) closed: bool,
    /// Start the agent again when it dies.
    #[arg(long)]
    pub(crate) restart: bool,
    /// Be the pilot of the batch job that this runs in: a worker on each of its nodes, and the agent here, started again
    /// when it dies.
    #[arg(long, value_enum, value_name = "SYSTEM", conflicts_with_all = ["detach", "workers", "no_workers", "closed"])]
    pub(crate) batch: Option<Batch>,
    /// With --batch: the agent runs elsewhere, and here only workers do.
    #[arg(long, requires = "batch", hide = true)]
    pub(crate) only_workers: bool,
    /// With --restart: end the agent when the job is over that the pilot is submitted as from now on.
    #[arg(long, requires = "restart", hide = true)]
    pub(crate) ends_with_job: bool,
    /// End once standard input ends: with the process that holds the other end of it, however that one dies.
    #[arg(long, conflicts_with_all = ["detach", "restart", "batch"], hide = true)]
    pub(crate) ends_with_stdin: bool,
    /// Workers are started by another process: the first one of the job.
    #[arg(long, hide = true)]
    pub(crate) starts_elsewhere: bool,
    /// The network interface by which the other nodes reach the agent, with --batch.
    #[arg(long, value_name = "NAME", requires = "batch", conflicts_with = "tcp")]
    pub(crate) interface: Option<String>,
    /// So long after a warning (SIGUSR1) the batch system ends the job.
    #[arg(long, value_parser = duration, default_value = "60s", value_name = "TIME", hide = true)]
    pub(crate) warning: Duration,
    #[command(flatten)]
    pub(crate) agent: AgentArgs,
}

impl PilotStartArgs {
    /// What the processes of this pilot log here. Where nobody sees standard error it goes to files.
    pub(crate) fn log(&self) -> LogArgs {
        let unseen = self.detach || self.batch.is_some();
        let to = self.each.log.to.or(unseen.then_some(LogTo::Files));
        LogArgs {
            to,
            ..self.each.log.clone()
        }
    }
}

/// A batch system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Batch {
    Slurm,
    #[value(name = "sge")]
    GridEngine,
    #[value(name = "pbs")]
    PbsPro,
    Flux,
}

impl From<Batch> for Kind {
    fn from(batch: Batch) -> Self {
        match batch {
            Batch::Slurm => Self::Slurm,
            Batch::GridEngine => Self::GridEngine,
            Batch::PbsPro => Self::PbsPro,
            Batch::Flux => Self::Flux,
        }
    }
}

/// Where the agent of a pilot runs that is submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Place {
    /// On the job's first node; it ends with the job.
    Job,
    /// On this host, from before the job until it is stopped.
    Here,
}

/// What an agent is told, wherever it runs.
#[derive(Debug, Args)]
pub(crate) struct AgentArgs {
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
    /// No worker is requested beyond so many; without it, as many as the nodes have cores.
    #[arg(long, value_name = "N")]
    pub(crate) max_workers: Option<u32>,
    /// Requested workers may offer more cores, GPUs and memory than their nodes have.
    #[arg(long)]
    pub(crate) overcommit: bool,
    /// Have tasks pass the filter that this file says; repeatable, in this order.
    #[arg(long, value_name = "FILE")]
    pub(crate) filter: Vec<PathBuf>,
    /// Run this when something happens to the pilot: a program with its words, told by its environment (`SCALEMS_EVENT`) and standard
    /// input what it is; no shell runs. Repeatable.
    #[arg(long, value_parser = OnEvent::read, value_name = "COMMAND")]
    pub(crate) on_event: Vec<OnEvent>,
    #[command(flatten)]
    pub(crate) metrics: PilotMetrics,
}

impl AgentArgs {
    /// The words that say the same again.
    pub(crate) fn words(&self) -> Vec<String> {
        let mut words = Vec::new();
        if let Some(journal) = &self.journal {
            words.extend(["--journal".to_owned(), journal.display().to_string()]);
        }
        let switches = [
            ("--resume", self.resume),
            ("--accept-loss", self.accept_loss),
            ("--fresh", self.fresh),
            ("--overcommit", self.overcommit),
        ];
        words.extend(
            switches
                .into_iter()
                .filter(|(_, on)| *on)
                .map(|(word, _)| word.to_owned()),
        );
        for (word, time) in [
            ("--retain", self.retain),
            ("--beat", self.beat),
            ("--lost-after", self.lost_after),
            ("--orphan-time", self.orphan_time),
        ] {
            words.extend([word.to_owned(), format!("{}ms", time.as_millis())]);
        }
        if let Some(most) = self.max_workers {
            words.extend(["--max-workers".to_owned(), most.to_string()]);
        }
        for file in &self.filter {
            // Where the words are said may be another directory.
            let file = std::path::absolute(file).unwrap_or_else(|_| file.clone());
            words.extend(["--filter".to_owned(), file.display().to_string()]);
        }
        words.extend(self.metrics.words());
        words.extend(
            self.on_event
                .iter()
                .map(|command| format!("--on-event={}", command.text())),
        );
        words
    }
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  scalems pilot submit --batch slurm --nodes 3 --time 2h --dry-run\n  \
        scalems pilot submit --batch slurm --name night --time 12:00:00 --dry-run -- --account=chem\n  \
        scalems pilot submit --batch pbs --agent here --nodes 2 --cores 64 --time 8h --dry-run\n  \
        scalems pilot submit --batch flux --nodes 2 --time 8h --dry-run"
)]
pub(crate) struct PilotSubmitArgs {
    /// Its name; `--pilot` says the same.
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Its directory, instead of the one that its name gives. All nodes must see it.
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
    /// What the site's file of this name says, or a file: partition, modules, directories. Other options go before.
    #[arg(long, value_name = "NAME|FILE", env = "SCALEMS_SITE")]
    pub(crate) site: Option<String>,
    /// The batch system; without it the one whose commands are found here.
    #[arg(long, value_enum, value_name = "SYSTEM")]
    pub(crate) batch: Option<Batch>,
    /// Where the agent runs: in the job, or on this host, where it may serve one job after another.
    #[arg(long = "agent", value_enum, default_value = "job", value_name = "WHERE")]
    pub(crate) place: Place,
    /// The agent on this host ends with the job.
    #[arg(long)]
    pub(crate) ends_with_job: bool,
    /// Nodes.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000), value_name = "N")]
    pub(crate) nodes: u32,
    /// How long the job may run.
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub(crate) time: Duration,
    /// Cores of each node, beside other jobs; without it whole nodes.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..), value_name = "N")]
    pub(crate) cores: Option<u32>,
    /// GPUs of each node.
    #[arg(long, value_name = "N")]
    pub(crate) gpus: Option<u32>,
    /// Memory of each node, MiB.
    #[arg(long, value_name = "MIB")]
    pub(crate) memory: Option<u64>,
    /// Something of yours that each node offers so much of: `licence=3`. The batch system does not hear of it.
    #[arg(long, value_parser = resource, value_name = "NAME=AMOUNT")]
    pub(crate) resource: Vec<(String, Amount)>,
    #[command(flatten)]
    pub(crate) each: EachWorker,
    /// The partition or queue.
    #[arg(long, value_name = "NAME")]
    pub(crate) partition: Option<String>,
    /// The parallel environment of Grid Engine: one that puts --cores slots on each node.
    #[arg(long = "pe", value_name = "NAME")]
    pub(crate) environment: Option<String>,
    /// The network interface by which the nodes and this host reach the agent.
    #[arg(long, value_name = "NAME")]
    pub(crate) interface: Option<String>,
    /// A line for the job's shell before anything else: `module load gromacs`.
    #[arg(long, value_name = "LINE")]
    pub(crate) setup: Vec<String>,
    /// So long before its end the job takes nothing new, and lets end what runs.
    #[arg(long, value_parser = duration, default_value = "60s", value_name = "TIME")]
    pub(crate) warning: Duration,
    /// The template of the job's script, instead of the built-in one.
    #[arg(long, value_name = "FILE")]
    pub(crate) template: Option<PathBuf>,
    /// Print the job's script and submit nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Come back once the job is queued.
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// Wait at most so long until the pilot serves.
    #[arg(long, value_parser = duration, value_name = "TIME", conflicts_with = "no_wait")]
    pub(crate) timeout: Option<Duration>,
    #[command(flatten)]
    pub(crate) agent: AgentArgs,
    /// Further words for the command that queues the job, such as sbatch's `--account=chem`.
    #[arg(last = true, value_name = "ARGS")]
    pub(crate) further: Vec<OsString>,
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
