//! Why a journal cannot be used.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::ErrorCode;

use super::{MOST_LIVES, SCHEMA};

/// Why the journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// There is none.
    #[error("there is no journal at {}: start the pilot without --resume, or name its directory", path.display())]
    Missing {
        /// Where.
        path: PathBuf,
    },
    /// There is one.
    #[error("there is a journal at {} already: --resume goes on with it; for a new pilot choose another name or directory, or delete the file", path.display())]
    Exists {
        /// Where.
        path: PathBuf,
    },
    /// Its pilot has had as many lives as there are numbers for.
    #[error("the pilot of the journal {} was started {MOST_LIVES} times: start a new one", path.display())]
    WornOut {
        /// Where.
        path: PathBuf,
    },
    /// Others may read it.
    #[error("the journal {} is open to other users, who could take over the pilot's sessions: chmod 600 it", path.display())]
    Open {
        /// Where.
        path: PathBuf,
    },
    /// The file cannot be made or reached.
    #[error("cannot use {} as a journal: {source}", path.display())]
    Unusable {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no journal.
    #[error("{} is not a journal of scalems", path.display())]
    NoJournal {
        /// Where.
        path: PathBuf,
    },
    /// A newer program wrote it.
    #[error("the journal {} has schema {schema}, and this program knows up to {SCHEMA}: use the program that wrote it, or a newer one", path.display())]
    Newer {
        /// Where.
        path: PathBuf,
        /// Its schema.
        schema: i32,
    },
    /// What is in it is not what was written.
    #[error("the journal {} is damaged at record {record}: {what}; nothing was changed", path.display())]
    Damaged {
        /// Where.
        path: PathBuf,
        /// After this record.
        record: u64,
        /// What is wrong.
        what: String,
    },
    /// Another process has it.
    #[error("the journal {} is in use by another process", path.display())]
    InUse {
        /// Where.
        path: PathBuf,
    },
    /// An agent on another host has it.
    #[error("the journal {} belongs to an agent on {host}, which renewed its claim {} s ago: stop that agent; if it is dead, try again in a minute", path.display(), ago.as_secs())]
    Owned {
        /// Where.
        path: PathBuf,
        /// The other host.
        host: String,
        /// How long ago it said so.
        ago: Duration,
    },
    /// Another agent has taken it over.
    #[error("the journal was taken over by an agent on {host}, as {} says: this one ends", path.display())]
    TakenOver {
        /// The file that says so.
        path: PathBuf,
        /// The other host.
        host: String,
    },
    /// Peers have seen more than is in it.
    #[error("the journal {} ends before what workers or clients of its pilot have seen in it: put the right one there, or go on without what is missing (--resume --accept-loss)", path.display())]
    Behind {
        /// Where.
        path: PathBuf,
    },
    /// There is no room on the disk.
    #[error("there is no room for the journal {}: nothing is acknowledged until there is", path.display())]
    Full {
        /// Where.
        path: PathBuf,
    },
    /// There are no descriptors left.
    #[error("no descriptors are left to write {}: nothing is acknowledged until there are; a higher limit (ulimit -n) helps", path.display())]
    NoDescriptors {
        /// What for.
        path: PathBuf,
    },
    /// The system or the database failed.
    #[error("cannot {doing} the journal {}: {source}", path.display())]
    Failed {
        /// What was being done.
        doing: &'static str,
        /// Where.
        path: PathBuf,
        /// Why it failed.
        source: rusqlite::Error,
    },
    /// A thread could not be started.
    #[error("cannot start the journal's thread: {0}")]
    Thread(io::Error),
}

impl JournalError {
    /// Whether it can be written once something is let go: then nothing is lost, and all waits for that.
    pub(in super::super) fn passes(&self) -> bool {
        matches!(self, Self::Full { .. } | Self::NoDescriptors { .. })
    }
}

/// What a failure of the database means.
pub(super) fn failed(doing: &'static str, path: &Path, source: rusqlite::Error) -> JournalError {
    let path = path.to_owned();
    match source.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => JournalError::Full { path },
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => JournalError::InUse { path },
        Some(ErrorCode::NotADatabase) => JournalError::NoJournal { path },
        _ => JournalError::Failed { doing, path, source },
    }
}
