//! What a caller asks for: one program, everything it starts with, and its bounds.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use scalems_protocol::packed::Attempt;
use scalems_protocol::program::{Keep, Log};

/// Bytes of output kept in memory per stream unless told otherwise: some hundred lines, enough to see
/// why a program failed, and 4,096 programs at once still fit in half a gigabyte.
pub const DEFAULT_TAIL: usize = 64 * 1024;

/// Time between SIGTERM and SIGKILL unless told otherwise.
pub const DEFAULT_GRACE: Duration = Duration::from_secs(10);

/// One program to run. There is no shell: `argv` reaches the program as it is.
#[derive(Debug)]
pub struct ProgramSpec {
    /// The arguments, the program's own name first.
    pub argv: Vec<OsString>,
    /// The file to execute. `None`: `argv[0]`, which is looked up in the `PATH` of [`ProgramSpec::env`]
    /// if it has no slash. A relative path with a slash is relative to [`ProgramSpec::cwd`].
    pub program: Option<PathBuf>,
    /// The complete environment; nothing of the worker's own is added.
    pub env: Vec<(OsString, OsString)>,
    /// Directory to run in; `None` is the worker's.
    pub cwd: Option<PathBuf>,
    /// Make `cwd` (and its parents) first if it is missing.
    pub create_cwd: bool,
    /// What the program reads.
    pub stdin: Stdin,
    /// What becomes of its output.
    pub stdout: Capture,
    /// What becomes of its messages.
    pub stderr: Stderr,
    /// CPUs it may run on; empty leaves it where the worker may run.
    pub cpus: Vec<usize>,
    /// Resource limits set before the program starts.
    pub limits: Vec<Limit>,
    /// The most memory that it may have, together with all that it starts.
    pub memory: Option<MemoryCap>,
    /// After this time the program is asked to end, and after `grace` made to.
    pub time_limit: Option<Duration>,
    /// Time between SIGTERM and SIGKILL.
    pub grace: Duration,
    /// Whether it gets SIGTERM when it is asked to end. If not, the caller asks it in another way, and its grace time runs
    /// all the same.
    pub hears_term: bool,
    /// All of its output goes into the worker's packed log as well.
    pub log: Option<PackedOutput>,
    /// A descriptor (a memfd) that the program inherits under the same number, so that the caller can
    /// name it in `env`. The worker's copy is closed once the program runs.
    pub inherit: Option<OwnedFd>,
}

impl ProgramSpec {
    /// A program with an empty environment, no input, captured output and no core files.
    pub fn new<A: Into<OsString>>(argv: impl IntoIterator<Item = A>) -> Self {
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            program: None,
            env: Vec::new(),
            cwd: None,
            create_cwd: false,
            stdin: Stdin::Null,
            stdout: Capture::default(),
            stderr: Stderr::Separate(Capture::default()),
            cpus: Vec::new(),
            limits: vec![Limit::both(Resource::CoreFile, 0)],
            memory: None,
            time_limit: None,
            grace: DEFAULT_GRACE,
            hears_term: true,
            log: None,
            inherit: None,
        }
    }
}

/// The most memory that a program may have. One that uses more is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryCap {
    /// Bytes.
    pub bytes: u64,
    /// Who sees to it.
    pub way: MemoryWay,
}

/// Who keeps a program to its memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryWay {
    /// The kernel, where this process may make control groups; else it is watched.
    Enforced,
    /// The executor looks at its processes, ever more often the less room there is.
    Watched,
}

/// What of a program's output goes into the packed log, and under which name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedOutput {
    /// What the records bear.
    pub of: Attempt,
    /// How much is kept, and when.
    pub log: Log,
}

/// What a program reads on its standard input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stdin {
    /// Nothing: end of file at once.
    Null,
    /// These bytes, then end of file. A program that does not read them all is not at fault.
    Data(Bytes),
    /// The content of this file.
    File(PathBuf),
}

/// Where a program's standard error goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stderr {
    /// Kept apart from its output.
    Separate(Capture),
    /// Into the same stream as its output, in the order written.
    Merged,
}

/// How much of one output stream is kept. All of it is read and counted in any case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capture {
    /// This many of the last bytes are kept in memory.
    pub tail_cap: usize,
    /// A file for what comes first.
    pub file: Option<LogFile>,
}

impl Default for Capture {
    fn default() -> Self {
        Self {
            tail_cap: DEFAULT_TAIL,
            file: None,
        }
    }
}

/// A file that output is written to, from its first byte on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFile {
    /// Its path; what was there before is replaced.
    pub path: PathBuf,
    /// No more than this many bytes are written; later output is counted only (and kept in the tail).
    pub cap: u64,
    /// When it is made.
    pub made: FileMade,
    /// Whether it stays when the program has ended well.
    pub keep: Keep,
}

/// When a log file comes into being.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileMade {
    /// Before the program starts, which does not start if it cannot be made. For a file that a user named.
    AtStart,
    /// With the first byte, and its directory with it. For our own files: most tiny tasks print nothing.
    WhenUsed,
}

/// One resource limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// What is limited.
    pub resource: Resource,
    /// What the program may have; `u64::MAX` is no limit.
    pub soft: u64,
    /// What it may raise the limit to.
    pub hard: u64,
}

impl Limit {
    /// The same soft and hard limit.
    pub const fn both(resource: Resource, value: u64) -> Self {
        Self {
            resource,
            soft: value,
            hard: value,
        }
    }
}

/// What a [`Limit`] is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// Bytes of a core file.
    CoreFile,
    /// Seconds of CPU time.
    CpuTime,
    /// Bytes of one written file.
    FileSize,
    /// Bytes locked in memory.
    LockedMemory,
    /// Bytes of address space.
    Memory,
    /// Open descriptors.
    OpenFiles,
    /// Processes of this user.
    Processes,
    /// Bytes of the stack.
    Stack,
}
