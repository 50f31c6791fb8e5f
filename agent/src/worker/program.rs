//! What a leased task becomes: a program with all that it starts with, or the reason why not.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use scalems_core::leaseholder::TaskLease;
use scalems_protocol::packed::Attempt;
use scalems_protocol::program::{self, Keep, Program, RESERVED};
use scalems_protocol::task::{MemoryLimit, Template};
use scalems_protocol::{Code, TaskError};

use super::deputy::Deputy;
use super::description::describe;
use super::environment::{self, Surroundings};
use super::placeholder::{Unfilled, Values};
use crate::executor::{
    Capture, FileMade, LogFile, MemoryCap, MemoryWay, PackedOutput, ProgramSpec, Stderr, Stdin,
};

/// The modes that run programs.
pub(super) const MODES: [&str; 3] = [program::EXECUTABLE, program::PROC, program::SHELL];

/// Bytes of a file for what a program writes. More is counted, and its end is in the result.
const LOG_FILE_BYTES: u64 = 4 << 30;

/// Where the worker runs programs.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) host: String,
    /// Directories of attempts are made in here; it is absolute.
    pub(super) directory: PathBuf,
    /// Directories that all attempts at a task share are in here.
    pub(super) checkpoints: PathBuf,
    pub(super) surroundings: Arc<Surroundings>,
    /// Who ends tasks instead.
    pub(super) deputy: Option<Deputy>,
}

/// What is remembered of a program while it runs.
#[derive(Debug)]
pub(super) struct Begun {
    /// The task, as people name it.
    pub(super) task: String,
    /// The program, as the task named it.
    pub(super) program: String,
    /// Where it runs.
    pub(super) cwd: PathBuf,
    /// Which of its failures are followed by another attempt.
    pub(super) template: Arc<Template>,
}

/// The program of a lease.
pub(super) fn prepare(lease: &TaskLease, site: &Site) -> Result<(ProgramSpec, Begun), TaskError> {
    let task = lease.task;
    if !lease.template.body.is_empty() {
        return Err(wrong(lease, "it has a body, for which this mode has no use"));
    }
    let shell = lease.template.mode == program::SHELL;
    let given: Program =
        rmp_serde::from_slice(&lease.data).map_err(|problem| wrong(lease, &problem.to_string()))?;
    match given.argv.len() {
        0 => return Err(wrong(lease, "argv is empty: give at least a program")),
        2.. if shell => {
            return Err(wrong(
                lease,
                "argv has more than one entry: give the whole command line as one",
            ));
        }
        _ => {}
    }
    let unfilled =
        |problem: Unfilled| TaskError::new(Code::WrongPlaceholder, format!("task {task}: {problem}"));
    let (given, cwd) = fill(given, lease, site, shell).map_err(unfilled)?;
    if let Some(name) = given.reserved_variable() {
        let message =
            format!("task {task} sets {name}: variables that begin with {RESERVED} are set by scalems alone");
        return Err(TaskError::new(Code::InvalidValue, message));
    }
    let own_directory = given.cwd.is_none();
    let deadline = environment::deadline(lease.template.policy.time_limit_ms);
    let (description, place) = describe(lease, &given, &site.host, &cwd, deadline.as_deref()).map_err(|errno| {
        let message = format!("task {task} could not be described to its program ({errno}); the worker is short of descriptors or memory");
        TaskError::retryable(Code::NotStarted, message)
    })?;
    let mut more: Vec<(&str, OsString)> = vec![("SCALEMS_SELF", place), ("PWD", cwd.clone().into())];
    let checkpoints = site.checkpoints.join(task.to_string());
    more.push(("SCALEMS_CHECKPOINT_DIR", checkpoints.into()));
    more.extend(deadline.map(|deadline| ("SCALEMS_DEADLINE", deadline.into())));
    let argv = if shell {
        ["/bin/sh".to_owned(), "-c".to_owned()]
            .into_iter()
            .chain(given.argv)
            .collect()
    } else {
        given.argv
    };
    let begun = Begun {
        task: task.to_string(),
        program: argv[if shell { 2 } else { 0 }].clone(),
        cwd: cwd.clone(),
        template: Arc::clone(&lease.template),
    };
    let at = |name: &String| cwd.join(name);
    let merged = given.stdout.is_some() && given.stdout == given.stderr;
    let spec = ProgramSpec {
        env: site.surroundings.of(lease, given.env, more),
        create_cwd: own_directory,
        stdin: match given.stdin {
            program::Stdin::Null => Stdin::Null,
            program::Stdin::Data(bytes) => Stdin::Data(bytes.into_vec().into()),
            program::Stdin::File(name) => Stdin::File(at(&name)),
        },
        stdout: capture(given.stdout.as_ref().map(at), given.keep_output),
        // Two files of one name would write over each other.
        stderr: if merged {
            Stderr::Merged
        } else {
            Stderr::Separate(capture(given.stderr.as_ref().map(at), given.keep_output))
        },
        cpus: if site.surroundings.pins {
            lease.cpus.iter().map(|cpu| *cpu as usize).collect()
        } else {
            Vec::new()
        },
        memory: memory_cap(lease),
        grace: Duration::from_millis(lease.template.policy.grace_ms),
        log: given.log.map(|log| PackedOutput {
            of: Attempt {
                task,
                incarnation: lease.incarnation,
                attempt: lease.attempt,
            },
            log,
        }),
        inherit: Some(description),
        cwd: Some(cwd),
        ..ProgramSpec::new(argv)
    };
    Ok((spec, begun))
}

/// The memory that a task is kept to: what it needs, if it says how much.
pub(super) fn memory_cap(lease: &TaskLease) -> Option<MemoryCap> {
    let needs = lease.needs();
    let mib = u64::from(needs.ranks).saturating_mul(needs.mem_per_rank);
    let way = match lease.template.policy.memory_limit {
        _ if mib == 0 => return None,
        MemoryLimit::Off => return None,
        MemoryLimit::Enforce => MemoryWay::Enforced,
        MemoryLimit::Watch => MemoryWay::Watched,
    };
    let bytes = mib.saturating_mul(1 << 20);
    Some(MemoryCap { bytes, way })
}

/// Fills the placeholders, and says where the program runs.
fn fill(given: Program, lease: &TaskLease, site: &Site, shell: bool) -> Result<(Program, PathBuf), Unfilled> {
    let mut values = Values::new(lease);
    let cwd = given.cwd.map(|cwd| values.fill(&cwd)).transpose()?;
    let own = || format!("{}/{}.{}", lease.task, lease.incarnation, lease.attempt);
    let directory = site.directory.join(cwd.clone().unwrap_or_else(own));
    let shown = directory.to_string_lossy();
    values.cwd = Some(shown.clone().into_owned());
    let each = |texts: Vec<String>, values: &Values| {
        texts
            .iter()
            .map(|text| values.fill(text))
            .collect::<Result<_, _>>()
    };
    let argv = if shell {
        let mut values = Values::new(lease);
        values.cwd = Some(quoted(&shown));
        each(given.argv, &values)?
    } else {
        each(given.argv, &values)?
    };
    let env = given
        .env
        .into_iter()
        .map(|(name, value)| Ok((name, values.fill(&value)?)))
        .collect::<Result<_, _>>()?;
    let stdin = match given.stdin {
        program::Stdin::File(name) => program::Stdin::File(values.fill(&name)?),
        other => other,
    };
    let stdout = given.stdout.map(|name| values.fill(&name)).transpose()?;
    let stderr = given.stderr.map(|name| values.fill(&name)).transpose()?;
    Ok((
        Program {
            argv,
            env,
            cwd,
            stdin,
            stdout,
            stderr,
            keep_output: given.keep_output,
            log: given.log,
        },
        directory,
    ))
}

/// A path as one word of a shell.
fn quoted(path: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=@:,".contains(c);
    if path.chars().all(plain) {
        path.to_owned()
    } else {
        format!("'{}'", path.replace('\'', r"'\''"))
    }
}

fn capture(path: Option<PathBuf>, keep: Keep) -> Capture {
    let file = path.map(|path| LogFile {
        path,
        cap: LOG_FILE_BYTES,
        made: FileMade::AtStart,
        keep,
    });
    Capture {
        file,
        ..Capture::default()
    }
}

fn wrong(lease: &TaskLease, problem: &str) -> TaskError {
    let mode = &lease.template.mode;
    let message = format!(
        "the data of task {} is not what {mode} takes: {problem}; it is a map with argv and, if wanted, env, \
         cwd, stdin, stdout, stderr, keep_output, log",
        lease.task
    );
    TaskError::new(Code::WrongData, message)
}
