//! The file that tells a process how to reach the agent (`docs/spec/7-connection-file.md`).
//!
//! Whoever can read it can act in its role: it holds the role's secret key.

mod format;
mod process;
mod read;
mod write;

use std::io;
use std::path::PathBuf;

use scalems_protocol::{Incarnation, PilotId, Role};

use crate::endpoint::Endpoint;
use crate::keys::CurveClient;

pub use process::{Writer, start_time};

/// The version of the format that is written, and the only one that is read.
pub const VERSION: u32 = 1;

/// How to reach an agent in one role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionFile {
    /// The pilot's name.
    pub pilot: String,
    /// Which pilot it is.
    pub pilot_id: PilotId,
    /// The agent's life that wrote the file.
    pub incarnation: Incarnation,
    /// The host that the agent runs on.
    pub host: String,
    /// The agent's process id there.
    pub pid: u32,
    /// When that process started, in clock ticks after the host's, where the system says so; see
    /// [`start_time`].
    pub start_time: Option<u64>,
    /// The role that the file gives.
    pub role: Role,
    /// Where requests go: the frontend, for workers the backend.
    pub requests: Addresses,
    /// Where a client or observer hears events, and where a worker's beats go.
    pub stream: Addresses,
    /// The keys for TCP; there whenever an address is TCP.
    pub curve: Option<CurveClient>,
}

/// The addresses of one socket of the agent, at least one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// For processes on the agent's host.
    pub ipc: Option<Endpoint>,
    /// For all others.
    pub tcp: Option<Endpoint>,
}

impl Addresses {
    /// The address to use from a process that is, or is not, on the agent's host.
    pub fn nearest(&self, on_agents_host: bool) -> Option<&Endpoint> {
        if on_agents_host {
            self.ipc.as_ref().or(self.tcp.as_ref())
        } else {
            self.tcp.as_ref()
        }
    }

    fn all(&self) -> impl Iterator<Item = &Endpoint> {
        self.ipc.iter().chain(&self.tcp)
    }
}

impl ConnectionFile {
    /// The name of the file of a role in the pilot's directory.
    pub const fn file_name(role: Role) -> &'static str {
        match role {
            Role::Client => "client.json",
            Role::Worker => "worker.json",
            Role::Observer => "observer.json",
        }
    }
}

/// Why a connection file was not written or not believed. Each says which file it is and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionFileError {
    /// There is none.
    #[error("there is no connection file {}: is the pilot running, and is this its directory?", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// It is a symbolic link, which somebody may have planted.
    #[error("{} is a symbolic link and is not followed: name the file itself", path.display())]
    Symlink {
        /// The file.
        path: PathBuf,
    },
    /// It is a directory, a pipe or the like.
    #[error("{} is not a regular file: remove it and start the pilot again", path.display())]
    NotAFile {
        /// The file.
        path: PathBuf,
    },
    /// Another user wrote it.
    #[error("{} belongs to user {owner} and not to you (user {user}): its pilot is not yours", path.display())]
    WrongOwner {
        /// The file.
        path: PathBuf,
        /// The owner's uid.
        owner: u32,
        /// Our uid.
        user: u32,
    },
    /// Others could have read its key.
    #[error(
        "{} has mode {mode:04o}, so others may have its key: stop the pilot, start it again, and keep the \
         file at 0600", path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Others could have put it there.
    #[error(
        "{} lies in {}, which has mode {mode:04o} and user {owner}: others could replace the file; \
         chmod go-w it, or use a directory of your own", path.display(), directory.display()
    )]
    OpenDirectory {
        /// The file.
        path: PathBuf,
        /// Where it lies.
        directory: PathBuf,
        /// The directory's permission bits.
        mode: u32,
        /// The directory's owner.
        owner: u32,
    },
    /// It is larger than any connection file.
    #[error("{} has {bytes} bytes, more than a connection file ever has: it is none", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// It ends in the middle.
    #[error("{} is only half written: copy it again, or start the pilot again", path.display())]
    HalfWritten {
        /// The file.
        path: PathBuf,
    },
    /// It is not what the specification says.
    #[error("{} is no valid connection file: {reason}; start the pilot again", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Another release wrote it.
    #[error(
        "{} has version {found} and this program knows version {VERSION}: use the release that the pilot \
         runs", path.display()
    )]
    UnknownVersion {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u64,
    },
    /// The system refused.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}
