//! What the executor reports: a program's start, its end, and why it did not start.

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use scalems_protocol::program::{Logged, Written};

/// Something that happened to a program, under the key that the caller gave it.
#[derive(Debug)]
pub enum ProgramEvent {
    /// It runs.
    Started {
        /// The caller's key.
        key: u64,
        /// Its process id, which is its process group's too.
        pid: i32,
        /// When it was started.
        at: Instant,
    },
    /// It was killed some time ago and is still there: the kernel keeps it, mostly in a call to a dead
    /// file system. `Ended` follows if it ever ends.
    Stuck {
        /// The caller's key.
        key: u64,
        /// Its process id.
        pid: i32,
    },
    /// A reading of what it writes ([`super::Executor::read_output`]) has something to say.
    Output {
        /// The reading.
        id: u64,
        /// What it wrote.
        stdout: Written,
        /// Its errors; nothing if merged.
        stderr: Written,
        /// There will be no more.
        over: bool,
    },
    /// It is over; the last event for this key, which may be used again.
    Ended {
        /// The caller's key.
        key: u64,
        /// How it went.
        outcome: Box<ProgramOutcome>,
    },
}

/// How a program went.
#[derive(Debug)]
pub struct ProgramOutcome {
    /// How it ended.
    pub exit: Exit,
    /// What it wrote on its standard output (and error, if merged).
    pub stdout: Captured,
    /// What it wrote on its standard error; empty if merged.
    pub stderr: Captured,
    /// CPU seconds, user and system, of its main process and of every descendant that was waited for.
    pub cpu_seconds: f64,
    /// Largest resident size of any one process of it.
    pub peak_rss_bytes: u64,
    /// Whether `peak_rss_bytes` is the program's own. If not, it is an upper bound: a program starts in
    /// the worker's memory, so the kernel cannot tell a peak below the worker's from the worker's.
    pub peak_rss_exact: bool,
    /// The most memory that all of its processes had together, if it had a cap; 0: not known.
    pub peak_memory_bytes: u64,
    /// Seconds from its start until its main process ended.
    pub wall_seconds: f64,
    /// What ended it early, if something did. A program that answers SIGTERM with exit code 0 has both.
    pub stopped_by: Option<StoppedBy>,
    /// What was found of it after its main process had ended.
    pub leftovers: Leftovers,
    /// What the packed log has of its output, if that was to go there.
    pub log: Option<Logged>,
}

impl ProgramOutcome {
    /// Whether it ended by itself with exit code 0, and its output is where it was wanted.
    pub fn is_well(&self) -> bool {
        let lost = |captured: &Captured| matches!(captured.file, Some(LogFileState::Failed { .. }));
        self.exit == Exit::Exited(0) && !lost(&self.stdout) && !lost(&self.stderr)
    }
}

/// How a program's main process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this code.
    Exited(i32),
    /// By this signal.
    Signaled(i32),
    /// It never ran.
    NotStarted(StartError),
    /// It ran, but something else in this process took its exit status.
    StatusLost,
}

/// Who ended a program before its own end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoppedBy {
    /// It ran longer than this.
    TimeLimit(Duration),
    /// It had more memory than its cap.
    Memory {
        /// The cap, bytes.
        limit: u64,
        /// What it had when it was looked at, bytes; none: the kernel gave it no more.
        used: Option<u64>,
    },
    /// It was asked to end.
    Request {
        /// The caller's words.
        reason: String,
    },
    /// It was killed without being asked.
    Kill {
        /// The caller's words.
        reason: String,
    },
}

/// Processes of a program that outlived its main process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// Descendants found alive after the main process had ended, and killed.
    pub killed: u32,
    /// Of these, how many were still there when the outcome was due.
    pub remaining: u32,
}

/// One captured stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Captured {
    /// Its last bytes.
    pub tail: Vec<u8>,
    /// How many bytes were written in all.
    pub total_bytes: u64,
    /// Whether the tail lacks the beginning.
    pub truncated: bool,
    /// Whether a process that could not be ended still held the stream open, so that more may have come.
    pub cut_off: bool,
    /// What became of the log file, if one was wanted.
    pub file: Option<LogFileState>,
}

/// What became of a log file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogFileState {
    /// Nothing was written, so it was never made.
    NotMade,
    /// It holds this many bytes from the beginning; `capped` if more came.
    Written {
        /// Bytes in it.
        bytes: u64,
        /// Whether its cap was reached and something was left out.
        capped: bool,
    },
    /// The program ended well, and it was to be kept only of those that do not.
    Removed,
    /// Writing failed; it holds what came before.
    Failed {
        /// Bytes in it.
        bytes: u64,
        /// Why.
        errno: Errno,
    },
}

/// What the new process was doing when it could not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Making pipes.
    Pipe,
    /// Making the process.
    Clone,
    /// Entering its own process group.
    Group,
    /// Tying its life to the worker's.
    DeathSignal,
    /// Entering the control group for its memory.
    MemoryGroup,
    /// Setting resource limits.
    Limits,
    /// Pinning it to CPUs.
    Affinity,
    /// Arranging its descriptors.
    Descriptors,
    /// Entering its directory.
    Directory,
    /// Becoming the program.
    Exec,
    /// Watching it.
    Watch,
}

impl Step {
    /// Every step, so that one can be sent as a number.
    pub(super) const ALL: [Self; 11] = [
        Self::Pipe,
        Self::Clone,
        Self::Group,
        Self::DeathSignal,
        Self::MemoryGroup,
        Self::Limits,
        Self::Affinity,
        Self::Descriptors,
        Self::Directory,
        Self::Exec,
        Self::Watch,
    ];
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pipe => "making its pipes",
            Self::Clone => "making the process",
            Self::Group => "making its process group",
            Self::DeathSignal => "tying it to the worker's life",
            Self::MemoryGroup => "entering the control group for its memory",
            Self::Limits => "setting its resource limits",
            Self::Affinity => "pinning it to its CPUs",
            Self::Descriptors => "arranging its descriptors",
            Self::Directory => "entering its directory",
            Self::Exec => "executing it",
            Self::Watch => "watching it",
        })
    }
}

/// Why a program did not start: what, which, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// Nothing to run.
    #[error("the command is empty: give at least a program's name")]
    EmptyCommand,
    /// A string that the kernel cannot take.
    #[error("{what} contains a zero byte, which cannot be passed to a program: remove it")]
    ZeroByte {
        /// Which string.
        what: String,
    },
    /// A variable whose name cannot be one.
    #[error("environment variable {name:?} has an empty name or one with `=` in it: rename it")]
    BadVariable {
        /// The name.
        name: String,
    },
    /// Not in any directory of PATH.
    #[error("program {program:?} is not in PATH ({path}): give its full path or add its directory to PATH")]
    NotInPath {
        /// The name looked for.
        program: String,
        /// The PATH it was looked for in.
        path: String,
    },
    /// No file of that name.
    #[error("there is no file {program:?}: check the path, on the node where the task runs")]
    NotFound {
        /// The file.
        program: PathBuf,
    },
    /// A file without permission to execute it.
    #[error(
        "{program:?} may not be executed: `chmod +x` it, and see that its file system is not mounted noexec"
    )]
    NotExecutable {
        /// The file.
        program: PathBuf,
    },
    /// A directory in place of a program.
    #[error("{program:?} is a directory: name the program in it")]
    IsDirectory {
        /// The directory.
        program: PathBuf,
    },
    /// A program or script whose interpreter is missing.
    #[error(
        "{program:?} needs the interpreter {interpreter:?}, which is missing or may not be executed: install it or correct the first line"
    )]
    BadInterpreter {
        /// The script or program.
        program: PathBuf,
        /// What its first line, or its header, names.
        interpreter: String,
    },
    /// Neither a binary for this machine nor a script.
    #[error(
        "{program:?} is neither a program for this machine nor a script with a `#!` line: add the line, or run it by its interpreter"
    )]
    NotAProgram {
        /// The file.
        program: PathBuf,
    },
    /// Being written to.
    #[error("{program:?} is open for writing: start it when it is complete")]
    Busy {
        /// The file.
        program: PathBuf,
    },
    /// Arguments and environment do not fit.
    #[error(
        "arguments and environment take {bytes} bytes, more than the system passes to a program: put them in a file or on its input"
    )]
    TooLong {
        /// Their size.
        bytes: usize,
    },
    /// The directory to run in is missing.
    #[error(
        "there is no directory {directory:?} to run in: make it, or see that the node mounts its file system"
    )]
    DirectoryMissing {
        /// The directory.
        directory: PathBuf,
    },
    /// The directory to run in cannot be entered or made.
    #[error("directory {directory:?} cannot be used: {errno}")]
    DirectoryRefused {
        /// The directory.
        directory: PathBuf,
        /// Why.
        errno: Errno,
    },
    /// The input file cannot be read.
    #[error("input file {path:?} cannot be opened: {errno}")]
    InputFile {
        /// The file.
        path: PathBuf,
        /// Why.
        errno: Errno,
    },
    /// The log file cannot be made.
    #[error("output file {path:?} cannot be made: {errno}")]
    OutputFile {
        /// The file.
        path: PathBuf,
        /// Why.
        errno: Errno,
    },
    /// None of the CPUs may be used by this worker.
    #[error("CPUs {cpus:?} cannot be used by this worker ({errno}): see which ones its job was given")]
    CpusRefused {
        /// The CPUs asked for.
        cpus: Vec<usize>,
        /// Why.
        errno: Errno,
    },
    /// A limit above what this worker itself has.
    #[error("the resource limits cannot be set ({errno}): none may exceed the worker's own hard limit")]
    LimitsRefused {
        /// Why.
        errno: Errno,
    },
    /// The worker is out of descriptors.
    #[error("the worker has too many open files: run fewer programs at once or raise `ulimit -n`")]
    TooManyFiles,
    /// The system or the user is out of processes.
    #[error("no more processes may be made: run fewer programs at once or raise `ulimit -u`")]
    TooManyProcesses,
    /// Out of memory.
    #[error("there was not enough memory to start the program")]
    OutOfMemory,
    /// It was stopped while it waited for its turn.
    #[error("the program was stopped before it was started: {reason}")]
    StoppedBefore {
        /// The caller's words.
        reason: String,
    },
    /// The executor was shut down while it waited for its turn.
    #[error("the worker is ending and starts no more programs")]
    ShuttingDown,
    /// Anything else.
    #[error("the program could not be started: {step} failed with {errno}")]
    System {
        /// What was being done.
        step: Step,
        /// Why it failed.
        errno: Errno,
    },
}

impl StartError {
    /// Whether the same program may well start later, or elsewhere: the fault is this node's present load.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::TooManyFiles
                | Self::TooManyProcesses
                | Self::OutOfMemory
                | Self::Busy { .. }
                | Self::ShuttingDown
        )
    }

    /// A failed call that has no variant of its own for what it was about.
    pub(super) fn from_errno(step: Step, errno: Errno) -> Self {
        match errno {
            Errno::EMFILE | Errno::ENFILE => Self::TooManyFiles,
            Errno::ENOMEM => Self::OutOfMemory,
            Errno::EAGAIN if step == Step::Clone => Self::TooManyProcesses,
            _ => Self::System { step, errno },
        }
    }
}
