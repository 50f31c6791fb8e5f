//! `scalems worker …`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand};
use scalems_agent::worker::{Part, Python, Warm};
use scalems_protocol::Amount;

use super::live;
use super::log::LogArgs;
use super::pilot::Batch;
use super::values::{duration, log_bytes, module, part, python, resource, warm};
use crate::ssh;

#[derive(Debug, Subcommand)]
pub(crate) enum WorkerCommand {
    /// Start a worker here, in front.
    Start(WorkerStartArgs),
    /// Say what a worker started here would offer, and start none.
    Detect(WorkerDetectArgs),
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
    /// Request more workers, beside those that there are.
    Request(WorkerRequestArgs),
    /// End one worker in order, and start others in its place, on its node.
    Replace(WorkerReplaceArgs),
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

/// What workers are told however they are started.
#[derive(Debug, Args)]
pub(crate) struct EachWorker {
    /// The directory of workers' log files, for tasks that were submitted with --log; without it, `logs` in the pilot's directory. All
    /// hosts have to see it.
    #[arg(long, value_name = "DIR")]
    pub(crate) log_dir: Option<PathBuf>,
    /// The most that all log files of a worker have, such as `512M`, at least 4M; without it, 4G.
    #[arg(long, value_parser = log_bytes, value_name = "BYTES")]
    pub(crate) log_limit: Option<u64>,
    /// The Python that calls functions, and which tasks may ask for by NAME if it has one; it can import `scalems_pilot`. Without one
    /// that has no name it is `python3`. More than once: more of them.
    #[arg(long, value_parser = python, value_name = "[NAME=]PATH")]
    pub(crate) python: Vec<Python>,
    /// An interpreter that is started at once, and the directories that it looks through for modules first: for tasks that are to
    /// come.
    #[arg(long, value_parser = warm, value_name = "PATH[:DIR…]", hide = true)]
    pub(crate) warm: Vec<Warm>,
    /// Offer the modes that this Python module registers (`@scalems_pilot.mode`); repeatable. The worker's Python imports it.
    #[arg(long, value_parser = module, value_name = "MODULE")]
    pub(crate) mode_module: Vec<String>,
    /// Offer the modes that packages installed in the worker's Python register (entry points `scalems.modes`).
    #[arg(long)]
    pub(crate) installed_modes: bool,
    /// What starts the ranks of tasks with several: a path, or a program of PATH; without it, `mpiexec`.
    #[arg(long, value_name = "PATH")]
    pub(crate) mpi: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

impl EachWorker {
    /// The words that say the same again, wherever they are said.
    pub(crate) fn words(&self) -> std::io::Result<Vec<OsString>> {
        let mut words = Vec::new();
        if let Some(directory) = &self.log_dir {
            words.extend(["--log-dir".into(), std::path::absolute(directory)?.into()]);
        }
        if let Some(limit) = self.log_limit {
            words.extend(["--log-limit".into(), limit.to_string().into()]);
        }
        for Python { name, path } in &self.python {
            let mut word = OsString::from(name.as_ref().map_or_else(String::new, |name| format!("{name}=")));
            word.push(path);
            words.extend(["--python".into(), word]);
        }
        for Warm { python, path } in &self.warm {
            let word: Vec<&str> = std::iter::once(python).chain(path).map(String::as_str).collect();
            words.extend(["--warm".into(), word.join(":").into()]);
        }
        words.extend(self.mode_words().into_iter().map(OsString::from));
        if let Some(mpi) = &self.mpi {
            words.extend(["--mpi".into(), mpi.into()]);
        }
        words.extend(self.log.words());
        Ok(words)
    }

    /// The words of modes.
    pub(crate) fn mode_words(&self) -> Vec<String> {
        let modules = self.mode_module.iter();
        let mut words: Vec<String> = modules.map(|module| format!("--mode-module={module}")).collect();
        words.extend(self.installed_modes.then(|| "--installed-modes".to_owned()));
        words
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  scalems worker request --count 2 --cores 1 --idle-timeout 10m")]
pub(crate) struct WorkerRequestArgs {
    #[command(flatten)]
    pub(crate) layout: LayoutArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  scalems worker replace 1 --count 3 --cores 4 --drain 1m")]
pub(crate) struct WorkerReplaceArgs {
    /// Its number.
    #[arg(add = live::workers())]
    pub(crate) worker: u64,
    #[command(flatten)]
    pub(crate) layout: LayoutArgs,
    /// Let run what runs there, at most so long. What has not ended then runs elsewhere, free of charge.
    #[arg(long, value_parser = duration, default_value = "0s", value_name = "TIME")]
    pub(crate) drain: Duration,
}

/// What requested workers are to offer.
#[derive(Debug, Args)]
pub(crate) struct LayoutArgs {
    /// How many.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_024), value_name = "N")]
    pub(crate) count: u32,
    /// Cores of each.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..), value_name = "N")]
    pub(crate) cores: u32,
    /// GPUs of each.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) gpus: u32,
    /// Memory of each, MiB; without it, as much of its node's as it has of its cores.
    #[arg(long, value_name = "MIB")]
    pub(crate) memory: Option<u64>,
    /// Something of yours that each offers so much of: `licence=3`.
    #[arg(long, value_parser = resource, value_name = "NAME=AMOUNT")]
    pub(crate) resource: Vec<(String, Amount)>,
    /// Each ends when it has had nothing to do for so long.
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub(crate) idle_timeout: Option<Duration>,
    /// Each ends after so long.
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub(crate) time_limit: Option<Duration>,
    /// Wait until they have joined.
    #[arg(long)]
    pub(crate) wait: bool,
    /// They have failed if they have not joined after so long, beside the time for what runs.
    #[arg(long, value_parser = duration, default_value = "2m", value_name = "TIME")]
    pub(crate) deadline: Duration,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  scalems worker detect")]
pub(crate) struct WorkerDetectArgs {
    /// Where tasks would get directories, instead of here.
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
    /// The batch system whose job it would be part of.
    #[arg(long, value_enum, value_name = "SYSTEM", hide = true)]
    pub(crate) batch: Option<Batch>,
}

#[derive(Debug, Args)]
#[command(
    group(ArgGroup::new("by_ssh").args(["ssh", "ssh_file"]).multiple(true).conflicts_with_all(["cpus", "cpu_slots", "gpu_slots", "place", "part", "batch", "note"])),
    after_help = "Examples:\n  scalems worker start --cores 2\n  scalems worker start --ssh n1.example.org --cores 2"
)]
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
    /// Which cores of those that it may use, counted from 0, where it may use all of its job's.
    #[arg(long, value_name = "LIST", hide = true)]
    pub(crate) cpu_slots: Option<String>,
    /// GPUs that it offers; without it, those that are found and meant for it.
    #[arg(long)]
    pub(crate) gpus: Option<u32>,
    /// Which GPUs, counted from 0.
    #[arg(long, value_name = "LIST", hide = true)]
    pub(crate) gpu_slots: Option<String>,
    /// What who starts it knows it by.
    #[arg(long, hide = true)]
    pub(crate) place: Option<String>,
    /// Memory that it offers, MiB.
    #[arg(long)]
    pub(crate) memory: Option<u64>,
    /// Disk that it offers as the resource `disk`, MiB; without it, what is free where tasks get directories. 0: none.
    #[arg(long, value_name = "MIB")]
    pub(crate) disk: Option<u64>,
    /// Which of several workers of this host it is, `1/2`: each offers its part of what is found.
    #[arg(long, value_parser = part, value_name = "N/M", hide = true)]
    pub(crate) part: Option<Part>,
    /// Something of yours that it offers so much of: `licence=3`.
    #[arg(long, value_parser = resource, value_name = "NAME=AMOUNT")]
    pub(crate) resource: Vec<(String, Amount)>,
    /// It ends when it has had nothing to do for so long.
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub(crate) idle_timeout: Option<Duration>,
    /// Where tasks without a directory of their own get one.
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) each: EachWorker,
    /// It ends after so long. Ten seconds before that it takes nothing new, and lets end what runs. Tasks with a longer --min-time do not
    /// begin there.
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub(crate) time_limit: Option<Duration>,
    /// It ends by itself after so long, of the time that its job has: --time-limit says when that ends.
    #[arg(long, value_parser = duration, value_name = "TIME", requires = "batch", hide = true)]
    pub(crate) own_limit: Option<Duration>,
    /// The batch system whose job the worker is part of: the job is ended with a worker that has lost its agent for good.
    #[arg(long, value_enum, value_name = "SYSTEM", hide = true)]
    pub(crate) batch: Option<Batch>,
    /// Start it on this host instead, by ssh; repeatable.
    #[arg(long, value_parser = ssh::host, value_name = "[USER@]HOST")]
    pub(crate) ssh: Vec<String>,
    /// Start workers on the hosts of this file, one in each line.
    #[arg(long, value_name = "FILE")]
    pub(crate) ssh_file: Option<PathBuf>,
    /// Come back once the workers by ssh have joined: they go on until the pilot ends.
    #[arg(long, requires = "by_ssh")]
    pub(crate) detach: bool,
    /// Workers by ssh have so long to join.
    #[arg(long, value_parser = duration, default_value = "60s", value_name = "TIME")]
    pub(crate) timeout: Duration,
    /// What `scalems` is called on hosts by ssh.
    #[arg(long, default_value = "scalems", value_name = "PROGRAM")]
    pub(crate) remote_program: String,
    /// So many start together: they do not all join in the same moment.
    #[arg(long, default_value_t = 1, value_name = "N", hide = true)]
    pub(crate) among: u32,
    /// Further words for ssh, such as `-p 2222`.
    #[arg(last = true, requires = "by_ssh", value_name = "ARGS")]
    pub(crate) further: Vec<OsString>,
    /// A file that says which process this is; it goes when the worker ends in order.
    #[arg(long, value_name = "FILE", hide = true)]
    pub(crate) note: Option<PathBuf>,
}
