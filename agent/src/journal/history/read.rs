//! The history in a journal: of a pilot that has ended, was killed, or runs.

use std::path::{Path, PathBuf};

use scalems_protocol::PilotId;

use super::super::store::{JournalError, Store};
use super::History;

/// How a journal was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nobody had it open.
    Still,
    /// An agent writes to it: a copy of that moment was read.
    Live,
}

/// What was read, and of what.
#[derive(Debug)]
pub struct Reading {
    /// What was.
    pub history: History,
    /// Which pilot.
    pub pilot: PilotId,
    /// When it was created, by the wall clock, microseconds since 1970.
    pub created_us: u64,
    /// How many agents it has had.
    pub lives: u64,
    /// How it was read.
    pub source: Source,
    /// The journal.
    pub path: PathBuf,
}

/// Reads the history in the journal at `path`, and changes nothing. While an agent has it open, a copy is made in the
/// directory for temporary files, read and removed.
pub fn read(path: &Path) -> Result<Reading, JournalError> {
    let mut history = History::default();
    let seen = Store::look(path, |record, value_bytes| history.take(record, value_bytes))?;
    Ok(Reading {
        history,
        pilot: seen.pilot,
        created_us: seen.created_us,
        lives: seen.lives,
        source: if seen.live { Source::Live } else { Source::Still },
        path: path.to_owned(),
    })
}
