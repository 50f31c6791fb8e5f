//! A pilot on this host: its directory, its name's lock, its sockets and connection files, and the bus.

mod past;

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
pub use scalems_core::Quota;
use scalems_core::{Config, Restore};
use scalems_protocol::filter::Rule;
use scalems_protocol::{PilotId, Role, limits};
use scalems_transport::{
    AgentShelf, ConnectionFile, ConnectionFileError, DirectoryError, PrivateDir, TransportError,
    connection_file,
};

use crate::bus::{Bus, BusError, BusHandle, Identity, Sockets, TcpOptions};
use crate::journal::{JournalError, Life, Store};
use crate::spill::Room;
use past::Past;

pub use past::{Removed, check_finished, remove, unfinished_of};

/// How long the answer to a submission may wait for its results: longer than what needs no program takes.
const PATIENCE_US: u64 = 1_000;

/// The journal's file in a pilot's directory.
pub const JOURNAL: &str = "journal.sqlite";

/// Whether what a pilot knows outlives its agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Journaling {
    /// No: the agent's death is the pilot's.
    None,
    /// It is written to this file. If there is one, and all in it has ended, its pilot goes on.
    Keep(PathBuf),
    /// The pilot whose journal this is goes on, also with what has not ended.
    Resume(PathBuf),
    /// It is written to a new file. One that is there is moved aside.
    Fresh(PathBuf),
    /// As [`Self::Resume`], also if records are missing that peers have seen. Nobody who was there is known any more.
    AcceptLoss(PathBuf),
}

/// What a pilot is started with.
#[derive(Clone, Debug)]
pub struct PilotOptions {
    /// Its name: letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// Its directory: connection files, tasks' directories. Made if it is not there, with mode 0700.
    pub directory: PathBuf,
    /// Sockets for this host.
    pub ipc: bool,
    /// Sockets for other hosts, encrypted: the address to bind and the name that others reach it by.
    pub tcp: Option<(IpAddr, String)>,
    /// Whether there is a journal.
    pub journal: Journaling,
    /// Workers that are known to come.
    pub expected_workers: u32,
    /// Whether more workers may join later.
    pub open_to_workers: bool,
    /// What may be requested of workers.
    pub quota: Quota,
    /// Time between beats, milliseconds.
    pub beat_ms: u64,
    /// Silence after which a worker is lost, milliseconds.
    pub lost_ms: u64,
    /// Time that workers keep work without the agent, milliseconds.
    pub orphan_ms: u64,
    /// Time after which what has ended is forgotten, milliseconds; 0: never.
    pub retain_ms: u64,
    /// Filters, in the order in which they see tasks.
    pub filters: Vec<Rule>,
    /// So long before the end of its allocation it is told to take nothing new.
    pub warning: Option<Duration>,
}

impl PilotOptions {
    /// A pilot of this name in this directory, for this host alone.
    pub fn new(name: &str, directory: &Path) -> Self {
        Self {
            name: name.to_owned(),
            directory: directory.to_owned(),
            ipc: true,
            tcp: None,
            journal: Journaling::None,
            expected_workers: 0,
            open_to_workers: true,
            quota: Quota::default(),
            beat_ms: limits::BEAT_MS,
            lost_ms: limits::LOST_MS,
            orphan_ms: limits::ORPHAN_MS,
            retain_ms: limits::RETAIN_MS,
            filters: Vec::new(),
            warning: None,
        }
    }

    /// Encrypted sockets on the loopback address, for what is to be as between hosts.
    pub fn loopback_tcp(mut self) -> Self {
        self.tcp = Some((IpAddr::V4(Ipv4Addr::LOCALHOST), Ipv4Addr::LOCALHOST.to_string()));
        self
    }
}

/// Why a pilot did not start, or ended badly.
#[derive(Debug, thiserror::Error)]
pub enum PilotError {
    /// The name is not one.
    #[error(
        "{0:?} is no name for a pilot: use 1 to 64 letters, digits, '-', '_' and '.', not beginning with '.'"
    )]
    Name(String),
    /// The name is taken.
    #[error("pilot {name:?} runs already, in {}: choose another name, or `scalems pilot stop --pilot {name}`", directory.display())]
    Taken {
        /// The name.
        name: String,
        /// Its directory.
        directory: PathBuf,
    },
    /// There is nothing to remove.
    #[error("there is no pilot in {}", directory.display())]
    NoPilot {
        /// The directory.
        directory: PathBuf,
    },
    /// What an earlier agent left has not ended.
    #[error(
        "pilot {name:?} has {tasks} unfinished tasks from before, in {}: go on with them (--resume), or begin anew and \
         keep that journal under another name (--fresh)",
        journal.display()
    )]
    Unfinished {
        /// The name.
        name: String,
        /// How many.
        tasks: u64,
        /// The journal.
        journal: PathBuf,
    },
    /// Its pilot lives.
    #[error("the pilot of this journal runs already on this host, with its sockets in {}: a copy of a journal is of use once that pilot has ended", sockets.display())]
    Alive {
        /// Where its socket files are.
        sockets: PathBuf,
    },
    /// The directory cannot be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// A connection file cannot be written.
    #[error(transparent)]
    ConnectionFile(#[from] ConnectionFileError),
    /// The sockets failed.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The journal cannot be used, or failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The journal ends before what peers have seen in it.
    #[error("{0}")]
    Behind(String),
    /// The system refused.
    #[error("cannot {doing}: {source}")]
    System {
        /// What was tried.
        doing: String,
        /// Why it failed.
        source: io::Error,
    },
}

impl From<BusError> for PilotError {
    fn from(error: BusError) -> Self {
        match error {
            BusError::Transport(error) => Self::Transport(error),
            BusError::Journal(error) => Self::Journal(error),
            BusError::Behind(message) => Self::Behind(message),
            BusError::Thread(source) => Self::System {
                doing: "start a thread".to_owned(),
                source,
            },
        }
    }
}

impl PilotError {
    fn system(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::System { doing, source }
    }
}

/// A pilot whose sockets are open and whose connection files are written. Dropped, it takes them away.
pub struct Pilot {
    bus: Option<Bus>,
    before: Option<u64>,
    failed: bool,
    handle: BusHandle,
    directory: PrivateDir,
    sockets: Option<PathBuf>,
    // Held as long as the pilot lives: nobody else is this pilot on this host.
    _sockets_lock: Option<Flock<File>>,
    // The same for its name.
    _lock: Flock<File>,
}

impl Pilot {
    /// Opens the sockets and writes the connection files. Work is taken once [`Self::run`] is called.
    pub fn open(options: &PilotOptions) -> Result<Self, PilotError> {
        // Before there is a thread that libzmq allocates in.
        if !scalems_transport::keep_freed_memory(true) {
            tracing::debug!("the C library gives freed memory back as it likes");
        }
        check_name(&options.name)?;
        let directory = PrivateDir::ensure(&options.directory)?;
        let name_lock = lock(&directory, &options.name)?;
        let first = Life::first(PilotId(random()?), random()?);
        let config = Config {
            pilot_name: options.name.clone(),
            pilot: first.pilot,
            incarnation: first.incarnation,
            life: u64::from_le_bytes(random()?),
            secret: first.secret,
            link_seed: u64::from_le_bytes(random()?),
            software: format!("scalems {}", env!("CARGO_PKG_VERSION")),
            journal: options.journal != Journaling::None,
            expected_workers: options.expected_workers,
            open_to_workers: options.open_to_workers,
            quota: options.quota,
            beat_ms: options.beat_ms,
            lost_ms: options.lost_ms,
            orphan_ms: options.orphan_ms,
            retain_us: options.retain_ms.saturating_mul(1_000),
            patience_us: PATIENCE_US,
            spill_over: limits::SPILL_OVER,
            filters: options.filters.clone(),
        };
        let room = Room::new(directory.path());
        let mut restore = Restore::new(config.clone(), 0);
        // One after another: all values of a long journal are more than memory is for.
        let Past { mut store, life } = past::open(&options.journal, first, |record| {
            restore.take(&record);
            drop(record);
            restore.spill(|values| room.keep(values));
        })?;
        let pilot = life.pilot;
        let config = Config {
            pilot,
            incarnation: life.incarnation,
            secret: life.secret,
            ..config
        };
        restore.begins(config, life.age.as_micros() as u64);
        let (submissions, unfinished) = restore.known();
        if let Journaling::Keep(journal) = &options.journal
            && unfinished > 0
        {
            return Err(PilotError::Unfinished {
                name: options.name.clone(),
                tasks: unfinished,
                journal: journal.clone(),
            });
        }
        let sockets_directory = options.ipc.then(|| sockets_directory(pilot)).transpose()?;
        // Sockets of the same names would take the living pilot's clients away.
        let sockets_lock = sockets_directory
            .as_ref()
            .map(|directory| lock(directory, &options.name));
        let sockets_lock = sockets_lock.transpose().map_err(|error| match error {
            PilotError::Taken { directory, .. } => PilotError::Alive { sockets: directory },
            other => other,
        })?;
        let tcp = options.tcp.as_ref().map(|(address, host)| TcpOptions {
            address: *address,
            host: host.clone(),
        });
        let kept = match &store {
            Some(store) => store.identity()?,
            None => None,
        };
        let before = kept.as_deref().and_then(Identity::from_bytes);
        if kept.is_some() && before.is_none() {
            tracing::warn!(
                "the journal's keys cannot be read: new ones are made, and copied connection files are of no use"
            );
        }
        let (sockets, doors, identity) = Sockets::open(sockets_directory.as_ref(), tcp.as_ref(), before)?;
        if let (Some(store), Some(identity)) = (&mut store, &identity) {
            store.keep_identity(&identity.to_bytes())?;
        }
        restore.numbered(store.as_ref().map_or(0, Store::last));
        let (core, first) = restore.finish();
        let mut bus = Bus::new(core, sockets, room)?;
        bus.tell_warning(options.warning);
        if let Some(store) = store {
            bus.keep_journal(store, life.age, first)?;
        }
        let host = crate::host_name();
        let pid = std::process::id();
        for role in Role::ALL {
            let (requests, stream, curve) = doors.of(role);
            let file = ConnectionFile {
                pilot: options.name.clone(),
                pilot_id: pilot,
                incarnation: life.incarnation,
                host: host.clone(),
                pid,
                start_time: connection_file::start_time(pid),
                role,
                requests,
                stream,
                curve,
            };
            file.write(&directory)?;
        }
        let handle = bus.handle();
        let sockets = sockets_directory.map(|directory| directory.path().to_owned());
        Ok(Self {
            bus: Some(bus),
            failed: false,
            before: (life.incarnation > 1).then_some(submissions),
            handle,
            directory,
            sockets,
            _sockets_lock: sockets_lock,
            _lock: name_lock,
        })
    }

    /// What ends the pilot from another thread.
    pub fn handle(&self) -> BusHandle {
        self.handle.clone()
    }

    /// Submissions that are known from earlier agents; none if this is the pilot's first.
    pub fn before(&self) -> Option<u64> {
        self.before
    }

    /// The pilot's directory.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Serves until the pilot has ended, or the agent has failed: then what others find it by stays, as if it had been
    /// killed, since workers and clients wait for the next one (R5).
    pub fn run(mut self) -> Result<(), PilotError> {
        let bus = self.bus.take().expect("invariant: a pilot runs once");
        // Also if that panics.
        self.failed = true;
        let ended = bus.run();
        self.failed = ended.is_err();
        match &ended {
            Ok(()) => tracing::info!("the agent has ended in order"),
            Err(error) => tracing::error!(%error, "the agent has failed"),
        }
        Ok(ended?)
    }
}

impl Drop for Pilot {
    fn drop(&mut self) {
        if self.failed {
            return;
        }
        // Best effort: what stays says that its process is gone, and is replaced by the next start.
        for role in Role::ALL {
            let _gone = std::fs::remove_file(self.directory.path().join(ConnectionFile::file_name(role)));
        }
        if let Some(sockets) = &self.sockets {
            let _gone = std::fs::remove_dir_all(sockets);
        }
    }
}

/// Fails if no pilot can have this name.
pub fn check_name(name: &str) -> Result<(), PilotError> {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > 64 || name.starts_with('.') || !name.chars().all(fine) {
        return Err(PilotError::Name(name.to_owned()));
    }
    Ok(())
}

/// Takes a name or a pilot, as its directory: the lock goes with the process, however that ends.
fn lock(directory: &PrivateDir, name: &str) -> Result<Flock<File>, PilotError> {
    let path = directory.path().join("lock");
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path);
    let file = file.map_err(PilotError::system(format!("open {}", path.display())))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        Errno::EWOULDBLOCK => PilotError::Taken {
            name: name.to_owned(),
            directory: directory.path().to_owned(),
        },
        errno => PilotError::System {
            doing: format!("lock {}", path.display()),
            source: errno.into(),
        },
    })
}

/// A directory of this host for socket files: the pilot's own may lie on a network file system, and the
/// path of a socket file is short.
fn sockets_directory(pilot: PilotId) -> Result<PrivateDir, PilotError> {
    let user = nix::unistd::geteuid();
    let base = std::env::var_os("XDG_RUNTIME_DIR")
        .map(PathBuf::from)
        .filter(|path| path.is_dir());
    let base = base
        .unwrap_or_else(|| PathBuf::from("/tmp"))
        .join(format!("scalems-{user}"));
    PrivateDir::ensure(&base)?;
    clear_away(&base);
    let id = pilot.to_string();
    Ok(PrivateDir::ensure(&base.join(&id[..16]))?)
}

/// Removes what agents left that were killed: socket files that nobody listens on.
fn clear_away(base: &Path) {
    /// A directory that was just made has no sockets yet.
    const YOUNG: Duration = Duration::from_mins(1);
    let Ok(entries) = std::fs::read_dir(base) else {
        return;
    };
    for entry in entries.flatten() {
        let made = entry.metadata().and_then(|facts| facts.modified());
        if !made.is_ok_and(|made| made.elapsed().is_ok_and(|age| age > YOUNG)) {
            continue;
        }
        let heard = std::os::unix::net::UnixStream::connect(entry.path().join("client.sock"));
        let left = heard.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
        if left {
            AgentShelf::clear(&entry.path());
        }
        if left && let Err(error) = std::fs::remove_dir_all(entry.path()) {
            tracing::debug!(%error, path = %entry.path().display(), "cannot remove what a dead agent left");
        }
    }
}

fn random<const N: usize>() -> Result<[u8; N], PilotError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| PilotError::System {
        doing: "get random numbers".into(),
        source: io::Error::other(error),
    })?;
    Ok(bytes)
}
