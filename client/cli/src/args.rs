//! The command line. Every `--help` has an example that a test runs.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use scalems_protocol::select::{Selector, read_range};

/// A pilot agent for ensembles on HPC machines.
#[derive(Debug, Parser)]
#[command(name = "scalems", version, about, max_term_width = 110)]
#[command(after_help = "Examples:\n  scalems demo\n  scalems pilot start --detach\n  \
    scalems submit --wait -- echo hello\n  scalems pilot stop")]
pub(crate) struct Cli {
    /// The pilot to talk to; without it the one that runs.
    #[arg(long, global = true, env = "SCALEMS_PILOT", value_name = "NAME")]
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
    /// Submit a program, or an array of it.
    Submit(SubmitArgs),
    /// Look at tasks and cancel them.
    #[command(subcommand)]
    Task(TaskCommand),
    /// Wait until tasks have ended.
    Wait(WaitArgs),
    /// Print what tasks wrote.
    Logs(LogsArgs),
    /// Check and export what a pilot has written down.
    #[command(subcommand)]
    Journal(JournalCommand),
    /// Measure this machine: throughput, latency, start-up, memory.
    Bench(BenchArgs),
    /// Print the version of the program and of the protocol.
    Version,
    /// One replica of the demo's ensemble.
    #[command(hide = true)]
    DemoReplica(scalems_demo::ReplicaArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum JournalCommand {
    /// Read all of it, and say whether it is whole.
    #[command(
        after_help = "Examples:\n  scalems journal verify --pilot night\n  scalems journal verify --salvage whole.sqlite"
    )]
    Verify(JournalVerifyArgs),
    /// Write its tasks for other programs.
    #[command(
        after_help = "Examples:\n  scalems journal export --format csv > tasks.csv\n  scalems journal export --format sqlite --to tasks.db"
    )]
    Export(JournalExportArgs),
    /// Forget what ended long ago, and make the file as small as it can be.
    #[command(after_help = "Example:\n  scalems journal prune --older-than 7d --pilot night")]
    Prune(JournalPruneArgs),
}

#[derive(Debug, Args)]
pub(crate) struct JournalVerifyArgs {
    #[command(flatten)]
    pub(crate) place: JournalPlace,
    /// Write what can be read of it, up to the first damage, to a new journal.
    #[arg(long, value_name = "COPY")]
    pub(crate) salvage: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct JournalPruneArgs {
    #[command(flatten)]
    pub(crate) place: JournalPlace,
    /// Submissions whose last task ended at least so long ago are forgotten, with results that nobody collected.
    #[arg(long, value_parser = duration, default_value = "30d", value_name = "TIME")]
    pub(crate) older_than: Duration,
}

/// Which journal. Its agent must have ended.
#[derive(Debug, Args)]
pub(crate) struct JournalPlace {
    /// The file, instead of the one in the pilot's directory.
    #[arg(value_name = "FILE")]
    pub(crate) path: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct JournalExportArgs {
    #[command(flatten)]
    pub(crate) place: JournalPlace,
    /// Lines of JSON, comma-separated values, or an SQLite database.
    #[arg(long, value_enum, default_value = "jsonl")]
    pub(crate) format: JournalFormat,
    /// The file to make.
    #[arg(long, value_name = "FILE")]
    pub(crate) to: Option<PathBuf>,
}

/// What is exported to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum JournalFormat {
    Jsonl,
    Csv,
    Sqlite,
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
        worker: u64,
    },
    /// Stop one worker.
    #[command(after_help = "Example:\n  scalems worker stop 1 --drain 10s")]
    Stop {
        /// Its number.
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
    /// A file that says which process this is; it goes when the worker ends in order.
    #[arg(long, value_name = "FILE", hide = true)]
    pub(crate) note: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  scalems submit --wait -- echo hello\n  \
    scalems submit --array 0-9 --wait -- echo 'ligand-%{INDEX}'\n  scalems submit --after 1 -- true")]
pub(crate) struct SubmitArgs {
    /// One task for each index: `0-999`, `0-100:10`.
    #[arg(long, value_parser = array, value_name = "RANGE")]
    pub(crate) array: Option<(u32, u32, u32)>,
    /// Run after these submissions have ended: `5`, `5:any`, `5:failed`, `5:each` (task by task).
    #[arg(long, value_parser = after, value_name = "N[:WHEN]")]
    pub(crate) after: Vec<scalems_protocol::task::After>,
    /// Further attempts after a failure.
    #[arg(long, default_value_t = 0)]
    pub(crate) retries: u32,
    /// The wait before the first further attempt; doubled for each one after it.
    #[arg(long, value_parser = duration, default_value = "0s", value_name = "TIME")]
    pub(crate) backoff: Duration,
    /// Cores of each task.
    #[arg(long, default_value_t = 1)]
    pub(crate) cores: u32,
    /// GPUs of each task.
    #[arg(long, default_value_t = 0)]
    pub(crate) gpus: u32,
    /// Memory of each task, MiB.
    #[arg(long, default_value_t = 0)]
    pub(crate) memory: u64,
    /// Higher goes first.
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    pub(crate) priority: i32,
    /// A variable for the program: `NAME=VALUE`, or `NAME` to pass this shell's.
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<String>,
    /// The directory to run in; without it, this one.
    #[arg(long, value_name = "DIR", conflicts_with = "own_dir")]
    pub(crate) cwd: Option<PathBuf>,
    /// Give each attempt a directory of its own.
    #[arg(long)]
    pub(crate) own_dir: bool,
    /// When the worker is not heard of any more: let the task begin elsewhere once the worker is lost (`rerun`), or only
    /// after it cannot run any more (`continue`, without --own-dir), or have the worker end it first (`stop`).
    #[arg(long, value_enum, value_name = "HOW")]
    pub(crate) on_silence: Option<Silence>,
    /// A file that each program reads; `-`: what comes in here.
    #[arg(long, value_name = "FILE")]
    pub(crate) stdin: Option<String>,
    /// A file for what each program writes.
    #[arg(long, value_name = "FILE")]
    pub(crate) stdout: Option<String>,
    /// A file for each program's errors.
    #[arg(long, value_name = "FILE")]
    pub(crate) stderr: Option<String>,
    /// A name for people and selectors.
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// A label for people and selectors.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) label: Vec<String>,
    /// The longest that one attempt may run.
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub(crate) time_limit: Option<Duration>,
    /// The longest from now to the end.
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub(crate) deadline: Option<Duration>,
    /// Run the one argument in a shell.
    #[arg(long)]
    pub(crate) shell: bool,
    /// Wait until all has ended; the exit code says whether all went well.
    #[arg(long)]
    pub(crate) wait: bool,
    /// At most so long.
    #[arg(long, value_parser = duration, requires = "wait", value_name = "TIME")]
    pub(crate) timeout: Option<Duration>,
    /// The program and its arguments; `%{INDEX}`, `%{TASK}`, `%{SUBMISSION}`, `%{ATTEMPT}` and `%{CWD}` are
    /// filled in.
    #[arg(last = true, required = true, value_name = "CMD")]
    pub(crate) command: Vec<String>,
}

/// What becomes of an attempt whose worker is not heard of any more.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Silence {
    Rerun,
    Continue,
    Stop,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TaskCommand {
    /// List submissions, or the tasks of some.
    #[command(after_help = "Examples:\n  scalems task list\n  scalems task list state:failed")]
    List {
        /// Which; without it, one line for each submission.
        #[arg(value_parser = selector, value_name = "SEL")]
        select: Option<Selector>,
    },
    /// Show one task and its result.
    #[command(after_help = "Example:\n  scalems task info 1.0")]
    Info {
        /// Which.
        #[arg(value_parser = selector, value_name = "SEL")]
        select: Selector,
    },
    /// Say why a task is where it is.
    #[command(after_help = "Example:\n  scalems task explain 1.0")]
    Explain {
        /// Which.
        #[arg(value_parser = selector, value_name = "SEL")]
        select: Selector,
    },
    /// Cancel tasks.
    #[command(after_help = "Examples:\n  scalems task cancel last\n  scalems task cancel 1-100 --kill")]
    Cancel {
        /// Which.
        #[arg(value_parser = selector, value_name = "SEL")]
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
    /// Drop ended tasks and their results at the agent. Files stay.
    #[command(after_help = "Examples:\n  scalems task forget 1\n  scalems task forget all")]
    Forget {
        /// Which.
        #[arg(value_parser = selector, value_name = "SEL")]
        select: Selector,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  scalems wait last\n  scalems wait all --timeout 1h")]
pub(crate) struct WaitArgs {
    /// Which.
    #[arg(value_parser = selector, value_name = "SEL")]
    pub(crate) select: Selector,
    /// At most so long.
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub(crate) timeout: Option<Duration>,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  scalems logs last --stderr")]
pub(crate) struct LogsArgs {
    /// Which.
    #[arg(value_parser = selector, value_name = "SEL")]
    pub(crate) select: Selector,
    /// The errors instead.
    #[arg(long)]
    pub(crate) stderr: bool,
}

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
    /// How many tasks; for startup how many starts, for idle how many seconds.
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

fn selector(text: &str) -> Result<Selector, String> {
    text.parse()
        .map_err(|refusal: scalems_protocol::Refusal| refusal.message)
}

/// `90`, `90s`, `1h30m`, `500ms`, `HH:MM:SS`, `MM:SS`.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no time: write 90s, 500ms, 1h30m or HH:MM:SS");
    if text.contains(':') {
        let parts: Option<Vec<u64>> = text.split(':').map(|part| part.parse().ok()).collect();
        let seconds = match parts.as_deref() {
            Some([minutes, seconds]) if *seconds < 60 => 60 * minutes + seconds,
            Some([hours, minutes, seconds]) if *minutes < 60 && *seconds < 60 => {
                3_600 * hours + 60 * minutes + seconds
            }
            _ => return Err(wrong()),
        };
        return Ok(Duration::from_secs(seconds));
    }
    let (mut sum, mut rest) = (Duration::ZERO, text);
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let value: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        let letters = rest[digits..]
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len() - digits);
        let factor = match &rest[digits..digits + letters] {
            "ms" => 0.001,
            "" | "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            "d" => 86_400.0,
            _ => return Err(wrong()),
        };
        sum += Duration::try_from_secs_f64(value * factor).map_err(|_| wrong())?;
        rest = &rest[digits + letters..];
    }
    Ok(sum)
}

/// `A-B` or `A-B:STEP`.
fn array(text: &str) -> Result<(u32, u32, u32), String> {
    let wrong = || format!("{text:?} is no range: write 0-999 or 0-100:10");
    let (first, last, step) = read_range(text).ok_or_else(wrong)?;
    let count = (last - first) / step + 1;
    let most = scalems_protocol::limits::SUBMISSION_TASKS;
    if count > u64::from(most) {
        return Err(format!("{text:?} has {count} tasks; an array has at most {most}"));
    }
    let narrow = |number: u64| u32::try_from(number).map_err(|_| wrong());
    Ok((narrow(first)?, narrow(count)?, narrow(step)?))
}

fn after(text: &str) -> Result<scalems_protocol::task::After, String> {
    use scalems_protocol::task::{After, When};
    let (number, when) = text.split_once(':').unwrap_or((text, "ok"));
    let (when, each) = match when {
        "ok" => (When::Ok, false),
        "any" => (When::Any, false),
        "failed" => (When::Failed, false),
        "each" => (When::Ok, true),
        other => {
            return Err(format!(
                "{other:?} is no way to end: write ok, any, failed or each"
            ));
        }
    };
    let number = number
        .parse()
        .map_err(|_| format!("{number:?} is no submission's number"))?;
    Ok(After {
        submission: Some(number),
        when,
        each,
        ..After::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_as_people_write_them() {
        for (text, seconds) in [
            ("90", 90.0),
            ("90s", 90.0),
            ("1h30m", 5400.0),
            ("500ms", 0.5),
            ("01:02:03", 3723.0),
            ("2:30", 150.0),
            ("1.5m", 90.0),
        ] {
            assert_eq!(
                duration(text).unwrap(),
                Duration::from_secs_f64(seconds),
                "{text}"
            );
        }
        for bad in ["", "x", "1x", "s", "1:99", "-1s", "1h30q", "1:2:3:4"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
