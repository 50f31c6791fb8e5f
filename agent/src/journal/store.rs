//! The database: what it holds, and how it is opened, read and written.

use std::fs::File;
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _, params};
use scalems_core::record::Record;
use scalems_protocol::PilotId;

use super::codec;
use super::values::{self, Spot, Values};

/// Marks the file as a journal of ours: `scjl`.
const APPLICATION: i32 = i32::from_be_bytes(*b"scjl");
/// The schema that this program writes. A newer one is refused, an older one brought up.
const SCHEMA: i32 = 1;
/// Lives of a pilot: each has 65,536 numbers of workers, which are of 32 bits.
const MOST_LIVES: u64 = 65_535;
/// Pages of the write-ahead log after which it is put into the database.
const CHECKPOINT_PAGES: i32 = 4_000;

const TABLES: &str = "
    CREATE TABLE meta (key TEXT PRIMARY KEY NOT NULL, value BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE batches (
        last INTEGER PRIMARY KEY NOT NULL,
        count INTEGER NOT NULL,
        crc INTEGER NOT NULL,
        records BLOB NOT NULL
    );
";

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
    pub(super) fn passes(&self) -> bool {
        matches!(self, Self::Full { .. } | Self::NoDescriptors { .. })
    }
}

/// What the pilot is, and which life of it this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// The pilot.
    pub pilot: PilotId,
    /// What resume tokens are keyed with.
    pub secret: [u8; 32],
    /// The agent's life, from 1.
    pub incarnation: u64,
    /// The time since the pilot was created.
    pub age: Duration,
}

impl Life {
    /// The first one.
    pub fn first(pilot: PilotId, secret: [u8; 32]) -> Self {
        Self {
            pilot,
            secret,
            incarnation: 1,
            age: Duration::ZERO,
        }
    }
}

/// An open journal, which is this process's alone.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    db: Connection,
    /// Large values, beside it.
    values: Values,
    /// Records that are not written yet, and how many they are.
    group: (Vec<u8>, u64),
    /// The last record that is in it.
    last: u64,
}

impl Store {
    /// Makes a new journal, for a pilot in its first life.
    pub fn create(path: &Path, pilot: PilotId, secret: [u8; 32]) -> Result<(Self, Life), JournalError> {
        // Nobody else's from the first moment on: the secret in it is worth every seat of the pilot. SQLite gives the
        // files beside it the same mode.
        let made = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path);
        made.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => JournalError::Exists {
                path: path.to_owned(),
            },
            _ => JournalError::Unusable {
                path: path.to_owned(),
                source: error,
            },
        })?;
        let mut store = Self::open_file(path)?;
        store.log_ahead()?;
        let created = wall();
        store.change("make", |db| {
            db.execute_batch(TABLES)?;
            let mut put = db.prepare("INSERT INTO meta (key, value) VALUES (?1, ?2)")?;
            put.execute(params!["pilot", pilot.0])?;
            put.execute(params!["secret", secret])?;
            put.execute(params!["created_us", created.to_le_bytes()])?;
            put.execute(params!["incarnation", 1_u64.to_le_bytes()])?;
            db.pragma_update(None, "application_id", APPLICATION)?;
            db.pragma_update(None, "user_version", SCHEMA)
        })?;
        Ok((store, Life::first(pilot, secret)))
    }

    /// Reads a journal that no agent has open, with all values that somebody may still need, and changes none of
    /// its records; only files of values that nobody needs go. Every record is given to `each`.
    pub fn inspect(path: &Path, each: impl FnMut(Record)) -> Result<(), JournalError> {
        Self::open_kept(path, each).map(drop)
    }

    /// Opens a journal for another life of its pilot, which is written down before this returns. Every record in it
    /// is given to `each`.
    pub fn resume(path: &Path, each: impl FnMut(Record)) -> Result<(Self, Life), JournalError> {
        let mut store = Self::open_kept(path, each)?;
        let incarnation = store.number("incarnation")? + 1;
        if incarnation > MOST_LIVES {
            return Err(JournalError::WornOut {
                path: path.to_owned(),
            });
        }
        let life = Life {
            pilot: PilotId(store.meta("pilot")?),
            secret: store.meta("secret")?,
            incarnation,
            age: Duration::from_micros(wall().saturating_sub(store.number("created_us")?)),
        };
        store.change("begin a life in", |db| {
            let put = "UPDATE meta SET value = ?1 WHERE key = 'incarnation'";
            db.execute(put, params![incarnation.to_le_bytes()]).map(drop)
        })?;
        Ok((store, life))
    }

    /// Opens a journal that is there, and reads it.
    fn open_kept(path: &Path, each: impl FnMut(Record)) -> Result<Self, JournalError> {
        let facts = std::fs::metadata(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => JournalError::Missing {
                path: path.to_owned(),
            },
            _ => JournalError::Unusable {
                path: path.to_owned(),
                source: error,
            },
        })?;
        if facts.permissions().mode() & 0o077 != 0 {
            return Err(JournalError::Open {
                path: path.to_owned(),
            });
        }
        let mut store = Self::open_file(path)?;
        store.check_kind()?;
        store.log_ahead()?;
        store.replay(each)?;
        Ok(store)
    }

    /// What was kept by [`Self::keep_identity`].
    pub fn identity(&self) -> Result<Option<Vec<u8>>, JournalError> {
        let value = self
            .db
            .query_row("SELECT value FROM meta WHERE key = 'identity'", [], |row| {
                row.get(0)
            })
            .optional();
        value.map_err(|error| failed("read", &self.path, error))
    }

    /// Keeps what the agent is known by to other hosts.
    pub fn keep_identity(&mut self, identity: &[u8]) -> Result<(), JournalError> {
        if self.identity()?.as_deref() == Some(identity) {
            return Ok(());
        }
        self.change("write", |db| {
            let put = "INSERT OR REPLACE INTO meta (key, value) VALUES ('identity', ?1)";
            db.execute(put, params![identity]).map(drop)
        })
    }

    /// The last record that is in it.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Adds the next record to those that the next commit writes. When it fails it was not added.
    pub(super) fn add(&mut self, record: &Record) -> Result<(), JournalError> {
        let value = values::value(record);
        let spot = value.map(|value| self.values.put(value)).transpose();
        let spot = spot.map_err(|error| self.beside(error))?;
        codec::encode(record, spot, &mut self.group.0);
        self.group.1 += 1;
        self.values.note(record, spot);
        Ok(())
    }

    /// Bytes that the next commit writes into the database.
    pub(super) fn gathered(&self) -> usize {
        self.group.0.len()
    }

    /// Writes what was added, for good. It may be called again after it failed.
    pub(super) fn commit(&mut self) -> Result<(), JournalError> {
        let (records, count) = std::mem::take(&mut self.group);
        if count == 0 {
            return Ok(());
        }
        let last = self.last + count;
        let crc = checksum(last, count, &records);
        // Values are there before the records that name them.
        let synced = self.values.sync().map_err(|error| self.beside(error));
        let written = synced.and_then(|()| {
            self.change("write", |db| {
                db.prepare_cached("INSERT INTO batches (last, count, crc, records) VALUES (?1, ?2, ?3, ?4)")?
                    .execute(params![last, count, crc, records])
                    .map(drop)
            })
        });
        if let Err(error) = written {
            self.group = (records, count);
            return Err(error);
        }
        self.last = last;
        self.values.committed();
        Ok(())
    }

    /// The files of values failed.
    fn beside(&self, error: io::Error) -> JournalError {
        let path = self.values.directory().to_owned();
        if let Some(Errno::EMFILE | Errno::ENFILE) = error.raw_os_error().map(Errno::from_raw) {
            return JournalError::NoDescriptors { path };
        }
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => JournalError::Full { path },
            _ => JournalError::Unusable { path, source: error },
        }
    }

    fn open_file(path: &Path) -> Result<Self, JournalError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(path, flags);
        let db = db.map_err(|error| failed("open", path, error))?;
        // Exclusive before the log: so it needs no memory shared between processes, and works on any file system.
        let locked = db.pragma_update(None, "locking_mode", "EXCLUSIVE");
        locked.map_err(|error| failed("open", path, error))?;
        Ok(Self {
            path: path.to_owned(),
            db,
            values: Values::beside(path),
            group: (Vec::new(), 0),
            last: 0,
        })
    }

    /// What changes the file: so it is known to be ours before.
    fn log_ahead(&self) -> Result<(), JournalError> {
        let mode = |row: &rusqlite::Row<'_>| row.get::<_, String>(0);
        let set = self
            .db
            .pragma_update_and_check(None, "journal_mode", "WAL", mode)
            .and_then(|_| self.db.pragma_update(None, "synchronous", "FULL"))
            .and_then(|()| {
                self.db
                    .pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)
            });
        set.map_err(|error| failed("open", &self.path, error))
    }

    fn check_kind(&self) -> Result<(), JournalError> {
        let number = |name| self.db.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
        let kind = number("application_id").and_then(|id| Ok((id, number("user_version")?)));
        match kind.map_err(|error| failed("read", &self.path, error))? {
            (APPLICATION, SCHEMA) => Ok(()),
            (APPLICATION, schema) if schema > SCHEMA => Err(JournalError::Newer {
                path: self.path.clone(),
                schema,
            }),
            _ => Err(JournalError::NoJournal {
                path: self.path.clone(),
            }),
        }
    }

    /// Gives every record to `each`, in order, with the values that somebody may still need.
    fn replay(&mut self, mut each: impl FnMut(Record)) -> Result<(), JournalError> {
        let mut values = Values::beside(&self.path);
        self.last = self.read(|_, record, spot| {
            values.note(&record, spot);
            Ok(())
        })?;
        values.settle().map_err(|error| self.beside(error))?;
        self.read(|last, mut record, spot| {
            let needed = spot.filter(|spot| values.is_needed(&record, *spot));
            if spot.is_some() && needed.is_none() {
                values::drop_value(&mut record);
            }
            if let Some(spot) = needed {
                let value = values.get(spot).map_err(|error| JournalError::Damaged {
                    path: values.directory().to_owned(),
                    record: last,
                    what: format!("a value cannot be read: {error}"),
                })?;
                values::set_value(&mut record, value);
            }
            each(record);
            Ok(())
        })?;
        self.values = values;
        Ok(())
    }

    /// Reads all records, and says how many there are.
    fn read(
        &self,
        mut each: impl FnMut(u64, Record, Option<Spot>) -> Result<(), JournalError>,
    ) -> Result<u64, JournalError> {
        let path = &self.path;
        let mut last = 0;
        let damaged = |record, what: String| JournalError::Damaged {
            path: path.clone(),
            record,
            what,
        };
        let unreadable = |error| failed("read", path, error);
        let mut batches = self
            .db
            .prepare("SELECT last, count, crc, records FROM batches ORDER BY last")
            .map_err(unreadable)?;
        let mut rows = batches.query([]).map_err(unreadable)?;
        while let Some(row) = rows.next().map_err(unreadable)? {
            let read = || -> rusqlite::Result<(u64, u64, u32, &[u8])> {
                let records = row.get_ref(3)?.as_blob()?;
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, records))
            };
            let (end, count, crc, records) = read().map_err(|error| damaged(last, error.to_string()))?;
            if last + count != end {
                return Err(damaged(
                    last,
                    format!("then comes a batch that ends with record {end}"),
                ));
            }
            if checksum(end, count, records) != crc {
                return Err(damaged(last, "the next batch is not what was written".to_owned()));
            }
            let mut told = Ok(());
            let read = codec::decode(records, |record, spot| {
                if told.is_ok() {
                    told = each(last, record, spot);
                }
            });
            let read = read.map_err(|error| damaged(last, error.to_string()))?;
            told?;
            if read != count {
                return Err(damaged(
                    last,
                    format!("the next batch has {read} records, not {count}"),
                ));
            }
            last = end;
        }
        Ok(last)
    }

    fn meta<const N: usize>(&self, key: &str) -> Result<[u8; N], JournalError> {
        let value = self
            .db
            .query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| {
                row.get::<_, [u8; N]>(0)
            })
            .optional();
        match value {
            Ok(Some(value)) => Ok(value),
            Ok(None) => Err(JournalError::Damaged {
                path: self.path.clone(),
                record: 0,
                what: format!("{key} is not in it"),
            }),
            Err(error) => Err(JournalError::Damaged {
                path: self.path.clone(),
                record: 0,
                what: format!("{key}: {error}"),
            }),
        }
    }

    fn number(&self, key: &str) -> Result<u64, JournalError> {
        self.meta(key).map(u64::from_le_bytes)
    }

    /// One transaction.
    fn change(
        &mut self,
        doing: &'static str,
        change: impl FnOnce(&Connection) -> rusqlite::Result<()>,
    ) -> Result<(), JournalError> {
        let path = &self.path;
        let changed = self.db.transaction().and_then(|transaction| {
            change(&transaction)?;
            transaction.commit()
        });
        changed.map_err(|error| failed(doing, path, error))
    }
}

fn checksum(last: u64, count: u64, records: &[u8]) -> u32 {
    let head = [last.to_le_bytes(), count.to_le_bytes()].concat();
    crc32c::crc32c_append(crc32c::crc32c(&head), records)
}

/// Microseconds since 1970.
fn wall() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_micros() as u64)
}

fn failed(doing: &'static str, path: &Path, source: rusqlite::Error) -> JournalError {
    let path = path.to_owned();
    match source.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => JournalError::Full { path },
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => JournalError::InUse { path },
        Some(ErrorCode::NotADatabase) => JournalError::NoJournal { path },
        _ => JournalError::Failed { doing, path, source },
    }
}

#[cfg(test)]
mod tests;
