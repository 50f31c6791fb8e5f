//! A look at a journal, also at one that an agent writes to.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use scalems_core::record::Record;
use scalems_protocol::PilotId;
use scalems_protocol::state::Ending;

use super::super::values::{self, Values};
use super::{JournalError, Store, beside};

/// For how long a copy is begun anew that the agent has spoilt, by beginning its log anew meanwhile: it does so after 16 MiB.
const PATIENCE: Duration = Duration::from_secs(20);
/// Values of tasks that failed which are read from beside the database, and the most bytes of one: for the last that
/// those wrote.
const VALUES: u32 = 2_000;
const VALUE_BYTES: u64 = 1 << 20;
/// The head of a write-ahead log, which has another salt each time it begins anew.
const LOG_HEAD: usize = 32;

/// What was looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) pilot: PilotId,
    /// By the wall clock, microseconds since 1970.
    pub(crate) created_us: u64,
    pub(crate) lives: u64,
    /// Whether it was a copy, since an agent has it open.
    pub(crate) live: bool,
}

impl Store {
    /// Gives every record to `each`, with the size of its data or value, and changes nothing. Values that lie beside the
    /// database are left out, but for some of tasks that failed. What an agent has open is copied first.
    pub(crate) fn look(path: &Path, mut each: impl FnMut(Record, u64)) -> Result<Seen, JournalError> {
        let unusable = |source| JournalError::Unusable {
            path: path.to_owned(),
            source,
        };
        // What is in use is copied: there is nothing to wait for.
        let opened = Self::refuse_owned(path).and_then(|()| Self::open_known_within(path, Duration::ZERO));
        match opened {
            Ok(store) => store.look_at(path, false, &mut each),
            Err(JournalError::InUse { .. } | JournalError::Owned { .. }) => {
                let place = tempfile::tempdir().map_err(unusable)?;
                let copy = place.path().join("journal.sqlite");
                copy_of(path, &copy).map_err(unusable)?;
                Self::open_known(&copy)?.look_at(path, true, &mut each)
            }
            Err(error) => Err(error),
        }
    }

    fn look_at(
        &self,
        original: &Path,
        live: bool,
        each: &mut impl FnMut(Record, u64),
    ) -> Result<Seen, JournalError> {
        self.keep_log(true)?;
        let facts = self.facts()?;
        let values = Values::beside(original);
        let mut left = VALUES;
        self.read(|_, mut record, spot| {
            let bytes = match (spot, &record) {
                (Some(spot), _) => spot.length(),
                (None, Record::Ended(ended)) => ended.data.bytes.len() as u64,
                (None, _) => 0,
            };
            if let (Some(spot), Record::Ended(ended)) = (spot, &record)
                && ended.ending == Ending::Failed
                && left > 0
                && bytes <= VALUE_BYTES
            {
                left -= 1;
                // What nobody needs any more is gone.
                if let Ok(value) = values.get(spot) {
                    values::set_value(&mut record, value);
                }
            }
            each(record, bytes);
            Ok(())
        })?;
        Ok(Seen {
            pilot: facts.pilot,
            created_us: facts.created,
            lives: facts.incarnation,
            live,
        })
    }
}

/// Copies a database that is written to, with its log. What goes from the log into the database is in both until the log
/// begins anew: a copy is whole if the log has not, from before the database was copied until after the log was.
fn copy_of(path: &Path, copy: &Path) -> io::Result<()> {
    let log = beside(path, "-wal");
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        let before = head(&log)?;
        copy_file(path, copy)?;
        copy_file(&log, &beside(copy, "-wal"))?;
        if head(&log)? == before {
            return Ok(());
        }
    }
    Err(io::Error::other(
        "it is written to faster than it can be copied: try again, or once the pilot has ended",
    ))
}

fn head(log: &Path) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(LOG_HEAD);
    match File::open(log) {
        Ok(file) => {
            file.take(LOG_HEAD as u64).read_to_end(&mut head)?;
            Ok(head)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(head),
        Err(error) => Err(error),
    }
}

/// What is not there is copied as nothing. The journal's secret is in it: nobody else may read the copy.
fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    let mut to = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(to)?;
    match File::open(from) {
        Ok(mut from) => io::copy(&mut from, &mut to).map(drop),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}
