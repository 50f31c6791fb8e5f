//! The worker: what it offers, its sockets, and the programs that it runs.
//!
//! What it decides is decided by [`scalems_core::leaseholder`]; this is the rest. [`run`] is one worker's
//! whole life, on the thread that calls it.

mod bus;
pub mod crowd;
mod deputy;
mod description;
mod environment;
mod function;
mod joining;
mod machine;
mod modes;
mod placeholder;
mod program;
mod ranks;
mod reach;
mod result;
mod stopper;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use scalems_core::leaseholder::Settings;
use scalems_protocol::filter::SEATS;
use scalems_protocol::limits::{FILTER_SEATS, LOG_WORKER_BYTES};
use scalems_protocol::{Amount, Role};
use scalems_transport::connection_file::start_time;
use scalems_transport::{ConnectionFile, ConnectionFileError, SendError, TransportError};
use tracing::{debug, info};

use self::bus::Bus;
use self::environment::Surroundings;
use self::program::{MODES, Site};
use self::ranks::Ranks;
use self::reach::Reach;
use crate::batch::Share;
use crate::executor::{self, Executor, ExecutorError, LogPlace};
use crate::functions::{self, Functions, Wants};

pub use self::deputy::{Deputy, DeputyOrder};
pub use self::function::{Python, Warm};
pub use self::joining::join_delay;
pub use self::machine::{DISK, Gpu, Machine, Maker, Node, Offered, Part, memory_mib};
pub use self::modes::{ModesError, Registrars};
pub use self::stopper::{StopSignal, Stopper};
pub use scalems_core::leaseholder::{EndReason, Outcome, StopOrder, TaskLease};

/// How long a worker waits for the agent's first answer unless told otherwise: longer than a whole
/// partition of a machine takes to start.
pub const JOIN: Duration = Duration::from_mins(2);
/// How long news of tasks waits for more while there are others to start.
const PATIENCE_US: u64 = 10_000;
/// Programs that run shorter on average wait for one another in the executor: the way of an end through the bus to
/// the next start takes some tenths of a millisecond.
const QUICK_US: u64 = 10_000;

/// How a worker finds its agent.
#[derive(Clone, Debug)]
pub enum Connection {
    /// By a connection file, which is looked at again whenever the agent is away.
    File(PathBuf),
    /// By what was in one.
    Known(Box<ConnectionFile>),
}

/// What a worker is started with.
#[derive(Clone, Debug)]
pub struct WorkerOptions {
    /// Where its agent is.
    pub connection: Connection,
    /// A name for people; the host's if none is given.
    pub name: Option<String>,
    /// How many cores to offer instead of those that were found. More than there are is allowed; tasks are
    /// not pinned then.
    pub cores: Option<u32>,
    /// How many GPUs to offer instead of those that were found. More than there are is allowed; they are only
    /// numbers then.
    pub gpus: Option<u32>,
    /// Which of those they are, counted from 0; none: the first ones.
    pub gpu_numbers: Option<Vec<u32>>,
    /// Memory to offer instead of what was found, MiB.
    pub memory_mib: Option<u64>,
    /// Disk for attempts to offer instead of what is free, MiB; 0: none.
    pub disk_mib: Option<u64>,
    /// Which of several workers of this host it is: GPUs, memory and disk that were found are shared among them, as is
    /// told by each one's CPUs for these.
    pub part: Part,
    /// What of this machine a batch system has given to the job that the worker is part of.
    pub share: Share,
    /// Further resources to offer, by name.
    pub resources: Vec<(String, Amount)>,
    /// Directories for attempts of tasks without a directory of their own are made in here.
    pub directory: PathBuf,
    /// The directory of its packed log, if a task's output goes there.
    pub log_directory: PathBuf,
    /// Bytes of all files of the packed log.
    pub log_limit: u64,
    /// How long to wait for the agent's first answer.
    pub join: Duration,
    /// How long it will be there, for the agent to know; none: nothing ends it that is known.
    pub time_limit: Option<Duration>,
    /// It ends when it has had nothing to do for so long; none: it stays.
    pub idle: Option<Duration>,
    /// What who starts it knows it by; none: it is started by hand.
    pub place: Option<String>,
    /// Interpreters for functions. Without one that has no name the worker takes `python3`, if there is one in its `PATH`;
    /// without any it calls no functions.
    pub pythons: Vec<Python>,
    /// Interpreters that are started at once.
    pub warm: Vec<Warm>,
    /// What else that Python's interpreters serve.
    pub modes: Registrars,
    /// Who ends its tasks in its stead: it runs no programs and calls no functions then.
    pub deputy: Option<Deputy>,
    /// What starts ranks: a path, or a program in `PATH`; none: the first launcher of an MPI that is found there.
    pub mpi: Option<PathBuf>,
}

impl WorkerOptions {
    /// A worker that offers what it finds.
    pub fn new(connection: Connection, directory: impl Into<PathBuf>) -> Self {
        let directory = directory.into();
        Self {
            connection,
            name: None,
            cores: None,
            gpus: None,
            gpu_numbers: None,
            memory_mib: None,
            disk_mib: None,
            part: Part::WHOLE,
            share: Share::default(),
            resources: Vec::new(),
            log_directory: directory.with_file_name("logs"),
            log_limit: LOG_WORKER_BYTES,
            directory,
            join: JOIN,
            time_limit: None,
            idle: None,
            place: None,
            pythons: Vec::new(),
            warm: Vec::new(),
            modes: Registrars::default(),
            deputy: None,
            mpi: None,
        }
    }
}

/// Why a worker could not serve.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The connection file is missing or not to be trusted.
    #[error(transparent)]
    ConnectionFile(#[from] ConnectionFileError),
    /// It gives another role.
    #[error("the connection file is for role {}, and a worker needs the one called worker.json", role.name())]
    Role {
        /// The role that it gives.
        role: Role,
    },
    /// The agent cannot be reached from here.
    #[error(
        "the pilot on {agent} listens to that host only and this is {here}: start it with TCP, or the worker there"
    )]
    NoAddress {
        /// The agent's host.
        agent: String,
        /// This one.
        here: String,
    },
    /// The agent's sockets do not know the worker's key.
    #[error(
        "the agent on {agent} refused the key of the connection file (status {status}): take a new copy of worker.json"
    )]
    Denied {
        /// The agent's host.
        agent: String,
        /// What authentication said.
        status: u32,
    },
    /// More resources than can be offered, or one of them twice or without a name.
    #[error(
        "resource {0:?} cannot be offered: names are given once, and cores, gpus and memory have options of their own"
    )]
    Resource(String),
    /// The system does not say how much memory there is.
    #[error("how much memory this machine has could not be found out: say how much to offer")]
    Memory,
    /// libzmq failed.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// A message could not be sent, and not for want of a connection.
    #[error("the worker's {what} cannot be sent: {source}")]
    Send {
        /// Which message.
        what: &'static str,
        /// Why.
        source: SendError,
    },
    /// Programs cannot be run here.
    #[error(transparent)]
    Executor(#[from] ExecutorError),
    /// Modes that it was to serve cannot be had.
    #[error(transparent)]
    Modes(#[from] ModesError),
    /// The directory for attempts cannot be used.
    #[error("the directory {} for tasks cannot be used: {source}", directory.display())]
    Directory {
        /// The directory.
        directory: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Serves an agent until it ends the worker, the worker is stopped, or the agent stays away. By then all
/// programs of the worker are ended.
pub fn run(options: &WorkerOptions, stop: StopSignal) -> Result<EndReason, WorkerError> {
    if !scalems_transport::keep_freed_memory(true) {
        debug!("the C library gives freed memory back as it likes");
    }
    let host = crate::host_name();
    let reach = Reach::open(&options.connection, &host)?;
    let machine = Machine::of(options)?;
    for note in &machine.notes {
        info!("{note}");
    }
    let mut settings = settings(options, &machine);
    let absolute = |directory: &Path| {
        std::path::absolute(directory).map_err(|source| WorkerError::Directory {
            directory: directory.to_owned(),
            source,
        })
    };
    let directory = absolute(&options.directory)?;
    // Another pilot's tasks may have had the same numbers.
    let checkpoints = directory.join("checkpoints").join(reach.pilot());
    let mark = mark(&host, settings.pid);
    let waker = stop.wake.waker();
    let mut config = executor::Config {
        worker_mark: Some(format!("{MARK}={mark}")),
        log: Some(LogPlace {
            directory: absolute(&options.log_directory)?,
            name: mark.clone(),
            limit: options.log_limit,
            about: reach.file_start(&settings),
        }),
        ..executor::Config::default()
    };
    // Another worker of this host may run a task of the same number.
    config.marks.push(MARK.to_owned());
    let executor = Arc::new(Executor::start(config, Arc::new(move || waker.wake()))?);
    settings.process = crate::process::name(&[settings.pid, executor.guard()]);
    let mut shared: Vec<(&'static str, OsString)> = vec![(MARK, mark.into())];
    shared.extend(
        reach
            .client_file()
            .map(|file| ("SCALEMS_CONNECTION", file.into())),
    );
    let surroundings = Arc::new(Surroundings::new(&machine, shared));
    let registrars = &options.modes;
    let mut calls = match &options.deputy {
        None => function::Calls::new(&options.pythons),
        Some(deputy) => {
            deputy.woken_by(stop.wake.waker());
            settings.modes = vec![deputy.mode().to_owned()];
            // Its tasks wait for others, and not for each other.
            settings.quick_us = 0;
            // It offers nothing but room for tasks that wait.
            settings.cpus.clear();
            settings.gpus.clear();
            settings.nodes.clear();
            settings.memory_mib = 0;
            settings.named = vec![(SEATS.to_owned(), Amount::whole(FILTER_SEATS))];
            None
        }
    };
    if !registrars.is_empty() {
        let calls = calls.as_mut().ok_or(ModesError::NoPython)?;
        let mut environment = surroundings.of_interpreter(&Wants::default());
        environment.extend(registrars.variables());
        let modes = modes::ask(calls.own_python()?, environment, &directory)?;
        info!(?modes, "modes that are registered");
        calls.register(modes);
    }
    let functions = if let Some(calls) = &calls {
        settings
            .modes
            .extend(scalems_protocol::function::MODES.map(str::to_owned));
        settings.modes.extend(calls.registered().map(str::to_owned));
        let told = registrars.variables();
        let around = Arc::clone(&surroundings);
        let ground = functions::Ground {
            executor: Arc::clone(&executor),
            directory: directory.clone(),
            checkpoints: checkpoints.clone(),
            pins: surroundings.pins,
            environment: Box::new(move |wants| {
                let mut environment = around.of_interpreter(wants);
                environment.extend(told.iter().cloned());
                environment
            }),
            idle: settings.cpus.len().max(1),
        };
        let waker = stop.wake.waker();
        let functions = Functions::start(ground, Arc::new(move || waker.wake()))?;
        for warm in &options.warm {
            functions.warm(warm.wants());
        }
        Some(functions)
    } else {
        None
    };
    let site = Site {
        host,
        directory,
        checkpoints,
        surroundings,
        deputy: options.deputy.clone(),
    };
    let ranks = Ranks::new(options.mpi.clone());
    Bus::new(settings, reach, stop, executor, calls.zip(functions), ranks, site).run()
}

/// The variable that every program of this worker has, and no other: by it strays are found.
const MARK: &str = "SCALEMS_WORKER";

fn mark(host: &str, pid: u32) -> String {
    // A process may be several workers, one after another or at once.
    static WORKERS: AtomicU32 = AtomicU32::new(0);
    let number = WORKERS.fetch_add(1, Ordering::Relaxed);
    format!("{host}-{pid}-{}-{number}", start_time(pid).unwrap_or_default())
}

fn settings(options: &WorkerOptions, machine: &Machine) -> Settings {
    Settings {
        name: options
            .name
            .clone()
            .or_else(|| options.share.node.clone())
            .unwrap_or_else(|| machine.host.clone()),
        host: machine.host.clone(),
        pid: std::process::id(),
        process: String::new(),
        software: format!("scalems {}", env!("CARGO_PKG_VERSION")),
        cpus: machine.cpus.clone(),
        gpus: machine.gpus.iter().map(|offered| offered.number).collect(),
        memory_mib: machine.memory_mib,
        named: machine.named.clone(),
        modes: MODES.map(str::to_owned).into(),
        ends: options
            .time_limit
            .map(|limit| u64::try_from(limit.as_micros()).unwrap_or(u64::MAX)),
        place: options.place.clone(),
        idle_us: options
            .idle
            .map(|idle| u64::try_from(idle.as_micros()).unwrap_or(u64::MAX)),
        nodes: machine.numa_nodes(),
        join_ms: u64::try_from(options.join.as_millis()).unwrap_or(u64::MAX),
        patience_us: PATIENCE_US,
        quick_us: QUICK_US,
    }
}
