//! `scalems submit`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use nix::sys::signal::Signal;
use scalems_protocol::limits::RANKS;
use scalems_protocol::select::{Selector, read_range};
use scalems_protocol::task::{
    After, CORES, GPUS, MEMORY, MemoryLimit, Needs, OUT_OF_MEMORY, Placement, TIMED_OUT, When,
};
use scalems_protocol::{Amount, program};

use super::values::{bytes, duration, resource, selector};
use super::{Shown, live};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  scalems submit --wait -- echo hello\n  \
    scalems submit --array 0-9 --wait -- echo 'ligand-%{INDEX}'\n  scalems submit --after 1 -- true\n  \
    scalems submit --each-line /etc/hosts --wait -- echo %{LINE}\n  \
    scalems submit --dry-run --array 0-9 --cores 2 -- ./dock 'ligand-%{INDEX}.pdb'",
    args_override_self = true
)]
pub(crate) struct SubmitArgs {
    /// One task for each index: `0-999`, `0-100:10`.
    #[arg(long, value_parser = array, value_name = "RANGE")]
    pub(crate) array: Option<(u32, u32, u32)>,
    /// One task for each line of a file, or of what comes in here (`-`): `%{LINE}` stands for it, or else it is the last
    /// argument. Blank lines are passed over.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["array", "from_json"])]
    pub(crate) each_line: Option<PathBuf>,
    /// One task for each value of a JSON array, or for each of several values: `%{ENTRY}` stands for it, `%{ENTRY.key}` for one inside it.
    #[arg(long, value_name = "FILE", conflicts_with = "array")]
    pub(crate) from_json: Option<PathBuf>,
    /// Let the submission stay open: tasks may be added until `scalems task close`.
    #[arg(long, conflicts_with_all = ["wait", "to"])]
    pub(crate) open: bool,
    /// Add to an open submission; what its tasks need, and the rules for them, are those that it was opened with.
    #[arg(long, value_parser = selector, value_name = "SEL", add = live::selections(), conflicts_with_all = [
        "wait", "array", "after", "retries", "retry_on", "max_failures", "backoff", "ranks", "cores", "gpus", "memory", "resource",
        "placement", "or_else", "priority", "on_silence", "memory_limit", "name", "label", "min_time", "time_limit", "deadline",
        "dry_run",
    ])]
    pub(crate) to: Option<Selector>,
    /// Run after these submissions have ended: `5`, `5:any`, `5:failed`, `5:each` (task by task).
    #[arg(long, value_parser = after, value_name = "N[:WHEN]", add = live::earlier())]
    pub(crate) after: Vec<After>,
    /// Further attempts after a failure.
    #[arg(long, default_value_t = 0)]
    pub(crate) retries: u32,
    /// Only after these failures: exit codes, signals such as `SIGBUS`, `time-limit`, `memory`. Several are separated by commas.
    #[arg(long, value_parser = failure, value_delimiter = ',', requires = "retries", value_name = "LIST")]
    pub(crate) retry_on: Vec<u8>,
    /// Cancel the other tasks when more than so many have failed.
    #[arg(long, value_name = "N")]
    pub(crate) max_failures: Option<u32>,
    /// The wait before the first further attempt; doubled for each one after it.
    #[arg(long, value_parser = duration, default_value = "0s", value_name = "TIME")]
    pub(crate) backoff: Duration,
    /// Processes of each task, which run under MPI if there are several, all on one host. Cores, GPUs and memory are those of each.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(RANKS)), value_name = "N")]
    pub(crate) ranks: u32,
    /// Cores of each task; `0.5` shares one with others.
    #[arg(long, default_value = "1", value_name = "AMOUNT")]
    pub(crate) cores: Amount,
    /// GPUs of each task; `0.5` shares one with others.
    #[arg(long, default_value = "0", value_name = "AMOUNT")]
    pub(crate) gpus: Amount,
    /// Memory of each task, MiB. One that uses more is ended, and fails.
    #[arg(long, default_value_t = 0)]
    pub(crate) memory: u64,
    /// Who sees to that: the kernel, where the worker may have it do so, else the worker (`enforce`); always the worker, which looks at
    /// the task's processes (`watch`); nobody (`off`).
    #[arg(long, value_enum, value_name = "HOW", default_value = "enforce")]
    pub(crate) memory_limit: Limited,
    /// So much of a resource that workers offer under this name: `licence=1`, `fpga=0.25`.
    #[arg(long, value_parser = resource, value_name = "NAME=AMOUNT")]
    pub(crate) resource: Vec<(String, Amount)>,
    /// What a task takes instead where there is no room for the rest: `cores=16`, `gpus=1,memory=8000`; the first that fits is
    /// taken. What is not said of it is as without options.
    #[arg(long = "or", value_parser = way, value_name = "NAME=AMOUNT,…")]
    pub(crate) or_else: Vec<Needs>,
    /// Over which NUMA nodes the cores of a task lie, its GPUs near them: over as few as there is room in now (`compact`), over
    /// as few as it would need alone, for which it waits (`strict`), or over as many as there is room in (`scatter`).
    #[arg(long, value_enum, default_value = "compact", value_name = "HOW")]
    pub(crate) placement: Lie,
    /// Higher goes first.
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    pub(crate) priority: i32,
    /// A variable for the program: `NAME=VALUE`, or `NAME` to pass this shell's.
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<String>,
    /// A file with a variable a line, as of --env; blank lines and those with `#` are passed over. --env goes before.
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Vec<PathBuf>,
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
    /// Keep the files of --stdout and --stderr of all attempts, or of those that do not end with exit code 0.
    #[arg(long, value_enum, value_name = "WHICH", default_value = "all")]
    pub(crate) keep_output: Keep,
    /// All that the programs write goes into a few files of their workers, for `scalems logs`: of all attempts, or of those that do not
    /// end with exit code 0.
    #[arg(long, value_enum, num_args = 0..=1, require_equals = true, default_missing_value = "all", value_name = "WHICH")]
    pub(crate) log: Option<Keep>,
    /// At most so much of each stream of an attempt: `64K`, `100M`, `4G`.
    #[arg(long, value_parser = bytes, value_name = "BYTES", requires = "log", default_value = "64M")]
    pub(crate) log_cap: u64,
    /// At most so much a second of each stream; what comes faster is dropped, and counted.
    #[arg(long, value_parser = bytes, value_name = "BYTES", requires = "log")]
    pub(crate) log_rate: Option<u64>,
    /// A name for people and selectors.
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// A label for people and selectors.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) label: Vec<String>,
    /// Begin only where the worker has at least so much time left.
    #[arg(long, value_parser = duration, value_name = "TIME", default_value = "0s")]
    pub(crate) min_time: Duration,
    /// The longest that one attempt may run.
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub(crate) time_limit: Option<Duration>,
    /// The longest from now to the end.
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub(crate) deadline: Option<Duration>,
    /// Run the one argument in a shell.
    #[arg(long)]
    pub(crate) shell: bool,
    /// Take no options from the program's file. Else lines `#SCALEMS --cores 4` at its beginning are read, and those here go before.
    #[arg(long)]
    pub(crate) no_directives: bool,
    /// Say what would be submitted, and submit nothing.
    #[arg(long, conflicts_with = "wait")]
    pub(crate) dry_run: bool,
    /// Wait until all has ended; the exit code says whether all went well.
    #[arg(long)]
    pub(crate) wait: bool,
    /// At most so long.
    #[arg(long, value_parser = duration, requires = "wait", value_name = "TIME")]
    pub(crate) timeout: Option<Duration>,
    /// Whether to show how far the tasks are.
    #[arg(long, value_enum, requires = "wait", num_args = 0..=1, require_equals = true, default_missing_value = "always", value_name = "WHEN")]
    pub(crate) progress: Option<Shown>,
    /// The program and its arguments; `%{INDEX}`, `%{TASK}`, `%{SUBMISSION}`, `%{ATTEMPT}` and `%{CWD}` are
    /// filled in.
    #[arg(last = true, required = true, value_name = "CMD")]
    pub(crate) command: Vec<String>,
}

/// Over which NUMA nodes the cores of a task lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Lie {
    Compact,
    Strict,
    Scatter,
}

impl From<Lie> for Placement {
    fn from(lie: Lie) -> Self {
        match lie {
            Lie::Compact => Self::Compact,
            Lie::Strict => Self::Strict,
            Lie::Scatter => Self::Scatter,
        }
    }
}

/// What becomes of an attempt whose worker is not heard of any more.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Silence {
    Rerun,
    Continue,
    Stop,
}

/// Who sees to it that a task keeps to its memory.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Limited {
    Enforce,
    Watch,
    Off,
}

impl From<Limited> for MemoryLimit {
    fn from(limited: Limited) -> Self {
        match limited {
            Limited::Enforce => Self::Enforce,
            Limited::Watch => Self::Watch,
            Limited::Off => Self::Off,
        }
    }
}

/// Of which attempts output is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Keep {
    All,
    Failed,
}

impl From<Keep> for program::Keep {
    fn from(keep: Keep) -> Self {
        match keep {
            Keep::All => Self::All,
            Keep::Failed => Self::Failed,
        }
    }
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

/// What a task takes, all in one: `gpus=2,cores=4,placement=strict`.
fn way(text: &str) -> Result<Needs, String> {
    let mut needs = Needs::default();
    let mut said: Vec<&str> = Vec::new();
    for part in text.split(',') {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        if said.contains(&name) {
            return Err(format!("{text:?} says {name} twice"));
        }
        said.push(name);
        let amount = || value.parse().map_err(|wrong| format!("{name}={value}: {wrong}"));
        match name {
            CORES => needs.cores_per_rank = amount()?,
            GPUS => needs.gpus_per_rank = amount()?,
            MEMORY => {
                let mib = value.parse();
                needs.mem_per_rank = mib.map_err(|_| format!("{part:?} is no number of MiB"))?;
            }
            "ranks" => {
                let ranks = value.parse();
                needs.ranks = ranks.map_err(|_| format!("{part:?} is no number of ranks"))?;
            }
            "placement" => {
                let lie = Lie::from_str(value, false);
                needs.placement = lie
                    .map_err(|_| format!("{part:?}: write compact, strict or scatter"))?
                    .into();
            }
            "min-time" => {
                let time = duration(value).map_err(|problem| problem.to_string())?;
                needs.min_time_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            }
            _ => {
                let (name, amount) = resource(part)?;
                needs.named.insert(name, amount);
            }
        }
    }
    Ok(needs)
}

fn after(text: &str) -> Result<After, String> {
    let (number, when) = text.split_once(':').unwrap_or((text, "ok"));
    let (when, each) = ending(when)?;
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

/// How what is waited for ends, and whether it is waited for task by task.
pub(crate) fn ending(word: &str) -> Result<(When, bool), String> {
    match word {
        "ok" => Ok((When::Ok, false)),
        "any" => Ok((When::Any, false)),
        "failed" => Ok((When::Failed, false)),
        "each" => Ok((When::Ok, true)),
        other => Err(format!(
            "{other:?} is no way to end: write ok, any, failed or each"
        )),
    }
}

/// A failure as `--retry-on` names it, in the number that stands for it.
fn failure(text: &str) -> Result<u8, String> {
    if text == "time-limit" {
        return Ok(TIMED_OUT);
    }
    if text == "memory" {
        return Ok(OUT_OF_MEMORY);
    }
    if let Ok(signal) = text.parse::<Signal>() {
        return Ok(128 + signal as u8);
    }
    let code = text.parse().ok().filter(|code| *code > 0);
    code.ok_or_else(|| {
        format!(
            "{text:?} is no failure: write an exit code from 1 to 255, a signal such as SIGBUS, time-limit or memory"
        )
    })
}
