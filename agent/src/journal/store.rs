//! The database: what it holds, and how it is opened, read and written.

mod error;
mod looking;
mod meta;
mod patience;
mod prune;
mod reading;
mod salvage;
mod snapshot;

use std::fs::File;
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, params};
use scalems_core::record::Record;
use scalems_protocol::PilotId;

use self::error::failed;
use self::patience::patiently;
use self::reading::Extent;
use super::age::{self, Mark};
use super::beside;
use super::codec;
use super::owner::Owner;
use super::values::{self, Values};

pub use error::JournalError;
pub use prune::Pruned;
pub use salvage::Salvaged;

/// Marks the file as a journal of ours: `scjl`.
const APPLICATION: i32 = i32::from_be_bytes(*b"scjl");
/// The schema that this program writes. A newer one is refused, an older one brought up.
const SCHEMA: i32 = 5;
/// Lives of a pilot: each has 65,536 numbers of workers, which are of 32 bits.
const MOST_LIVES: u64 = 65_535;
/// The key of the highest life that peers have seen more of than is here; it is not there if that never happened.
const BEHIND: &str = "behind";
/// Pages of the write-ahead log after which it is put into the database.
const CHECKPOINT_PAGES: i32 = 4_000;
/// How long another process may have the journal before it counts as in use: one that ends needs a moment.
const PATIENCE: Duration = Duration::from_secs(5);

const TABLES: &str = "
    CREATE TABLE meta (key TEXT PRIMARY KEY NOT NULL, value BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE batches (
        last INTEGER PRIMARY KEY NOT NULL,
        count INTEGER NOT NULL,
        crc INTEGER NOT NULL,
        records BLOB NOT NULL
    );
";

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
    /// That it is ours; none while it is only read.
    owner: Option<Owner>,
    /// Large values, beside it.
    values: Values,
    /// Records that are not written yet, and how many they are.
    group: (Vec<u8>, u64),
    schema: i32,
    /// What is in it.
    extent: Extent,
}

/// What a pilot is, in its journal.
#[derive(Debug)]
struct Facts {
    pilot: PilotId,
    secret: [u8; 32],
    /// By the wall clock, microseconds since 1970.
    created: u64,
    /// What the clocks showed when the last life began.
    begun: Option<Mark>,
    /// The highest that anybody knows of.
    incarnation: u64,
    /// Whether peers have seen more than is in it.
    behind: bool,
    identity: Option<Vec<u8>>,
}

impl Facts {
    /// What the clocks show now, and how old the pilot is by them.
    fn now(&self) -> Mark {
        match self.begun {
            Some(begun) => begun.next(),
            // A journal of before that was noted.
            None => Mark {
                age: age::wall().saturating_sub(self.created),
                ..Mark::first()
            },
        }
    }
}

impl Store {
    /// Makes a new journal, for a pilot in its first life.
    pub fn create(path: &Path, pilot: PilotId, secret: [u8; 32]) -> Result<(Self, Life), JournalError> {
        let mark = Mark::first();
        let facts = Facts {
            pilot,
            secret,
            created: mark.wall,
            begun: Some(mark),
            incarnation: 1,
            behind: false,
            identity: None,
        };
        Ok((Self::make(path, &facts)?, Life::first(pilot, secret)))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn make(path: &Path, facts: &Facts) -> Result<Self, JournalError> {
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
        let made = Owner::claim(path).and_then(|owner| {
            let mut store = Self::fill(path, facts)?;
            store.owner = Some(owner);
            Ok(store)
        });
        if made.is_err() {
            // Nothing is in it that anybody was told of, and it would be in the way of the next start.
            for part in ["", "-wal", "-journal"] {
                let _gone = std::fs::remove_file(beside(path, part));
            }
        }
        made
    }

    /// Makes an empty file a journal.
    fn fill(path: &Path, facts: &Facts) -> Result<Self, JournalError> {
        let mut store = Self::open_file(path)?;
        // Before there is any page, so that room can go back to the disk.
        let set = store.db.pragma_update(None, "auto_vacuum", "INCREMENTAL");
        set.map_err(|error| failed("make", path, error))?;
        store.log_ahead()?;
        store.change("make", |db| {
            db.execute_batch(TABLES)?;
            db.execute_batch(snapshot::TABLE)?;
            meta::put(db, "pilot", &facts.pilot.0)?;
            meta::put(db, "secret", &facts.secret)?;
            meta::put(db, "created_us", &facts.created.to_le_bytes())?;
            meta::put(db, "incarnation", &facts.incarnation.to_le_bytes())?;
            if let Some(begun) = facts.begun {
                meta::put(db, "begun", &begun.to_bytes())?;
            }
            if let Some(identity) = &facts.identity {
                meta::put(db, "identity", identity)?;
            }
            db.pragma_update(None, "application_id", APPLICATION)?;
            db.pragma_update(None, "user_version", SCHEMA)
        })?;
        store.sync_names()?;
        Ok(store)
    }

    /// Reads a journal that no agent has open, with all values that somebody may still need, and changes none of
    /// its records; only files of values that nobody needs go. Every record is given to `each`.
    pub fn inspect(path: &Path, each: impl FnMut(Record)) -> Result<(), JournalError> {
        Self::refuse_owned(path)?;
        let store = Self::open_kept(path, each)?;
        // Also what says which pilot it is has to be whole.
        store.facts().map(drop)
    }

    /// Opens a journal for another life of its pilot, which is written down before this returns. Every record in it
    /// is given to `each`.
    pub fn resume(path: &Path, each: impl FnMut(Record)) -> Result<(Self, Life), JournalError> {
        Self::begin(path, None, each)
    }

    /// As [`Self::resume`], though records are missing that peers have seen. With a new secret none of them can prove any
    /// more that it was here: numbers that were given to them may be given again.
    pub fn resume_after_loss(
        path: &Path,
        secret: [u8; 32],
        each: impl FnMut(Record),
    ) -> Result<(Self, Life), JournalError> {
        Self::begin(path, Some(secret), each)
    }

    fn begin(
        path: &Path,
        after_loss: Option<[u8; 32]>,
        mut each: impl FnMut(Record),
    ) -> Result<(Self, Life), JournalError> {
        let mut latest = 0;
        let mut store = Self::open_own(path, |record| {
            latest = latest.max(match &record {
                Record::Submitted(submitted) => submitted.at,
                Record::Closed { at, .. } => *at,
                Record::Ended(ended) => ended.at,
                _ => 0,
            });
            each(record);
        })?;
        let facts = store.facts()?;
        if facts.behind && after_loss.is_none() {
            return Err(JournalError::Behind {
                path: path.to_owned(),
            });
        }
        let incarnation = facts.incarnation.saturating_add(1);
        if incarnation > MOST_LIVES {
            return Err(JournalError::WornOut {
                path: path.to_owned(),
            });
        }
        let now = facts.now();
        let life = Life {
            pilot: facts.pilot,
            secret: after_loss.unwrap_or(facts.secret),
            incarnation,
            age: Duration::from_micros(now.age.max(latest)),
        };
        store.still_ours()?;
        store.bring_up()?;
        store.change("begin a life in", |db| {
            meta::put(db, "begun", &now.to_bytes())?;
            meta::put(db, "secret", &life.secret)?;
            meta::remove(db, BEHIND)?;
            meta::put(db, "incarnation", &incarnation.to_le_bytes())
        })?;
        store.sync_names()?;
        Ok((store, life))
    }

    /// Sees to it that nobody has the files of this name, also if there is no journal in them, and that a log that lies
    /// beside the database is in it. What comes back keeps others off.
    pub fn hold_still(path: &Path) -> Result<impl Sized + use<>, JournalError> {
        let owner = Owner::claim(path)?;
        if path.exists() {
            match Self::open_known(path) {
                Ok(store) => {
                    store.log_ahead()?;
                    store.keep_log(false)?;
                    let emptied = store.empty_log();
                    emptied.map_err(|error| failed("close", path, error))?;
                }
                Err(error @ JournalError::InUse { .. }) => return Err(error),
                // What cannot be read is moved as it is.
                Err(_) => {}
            }
        }
        Ok(owner)
    }

    /// Refuses a journal that an agent on another host has, which may live.
    pub fn refuse_owned(path: &Path) -> Result<(), JournalError> {
        Owner::refuse(path)
    }

    fn facts(&self) -> Result<Facts, JournalError> {
        let behind = self.maybe(BEHIND)?.is_some();
        let seen = if behind { self.number(BEHIND)? } else { 0 };
        Ok(Facts {
            pilot: PilotId(self.meta("pilot")?),
            secret: self.meta("secret")?,
            created: self.number("created_us")?,
            begun: match self.maybe("begun")? {
                None => None,
                Some(_) => Some(Mark::from_bytes(self.meta("begun")?)),
            },
            incarnation: self.number("incarnation")?.max(seen),
            behind,
            identity: self.identity()?,
        })
    }

    /// Opens a journal that is there for writing, and reads it.
    fn open_own(path: &Path, each: impl FnMut(Record)) -> Result<Self, JournalError> {
        // What is not there or no journal has no owner.
        drop(Self::open_known(path)?);
        let owner = Owner::claim(path)?;
        let mut store = Self::open_kept(path, each)?;
        store.owner = Some(owner);
        Ok(store)
    }

    /// Opens a journal that is there, and reads it.
    fn open_kept(path: &Path, each: impl FnMut(Record)) -> Result<Self, JournalError> {
        let mut store = patiently(PATIENCE, |at_most| {
            let store = Self::open_known_at_once(path, at_most)?;
            store.log_ahead()?;
            Ok(store)
        })?;
        store.replay(each)?;
        store.keep_log(false)?;
        Ok(store)
    }

    /// Opens a journal that is there and ours.
    fn open_known(path: &Path) -> Result<Self, JournalError> {
        Self::open_known_within(path, PATIENCE)
    }

    /// The same, and waits no longer than so long for another process that has it.
    fn open_known_within(path: &Path, patience: Duration) -> Result<Self, JournalError> {
        patiently(patience, |at_most| Self::open_known_at_once(path, at_most))
    }

    /// The same, and keeps what it has locked meanwhile, so for a short time only.
    fn open_known_at_once(path: &Path, at_most: Duration) -> Result<Self, JournalError> {
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
        let waits = store.db.busy_timeout(at_most);
        waits.map_err(|error| failed("open", path, error))?;
        store.schema = store.check_kind()?;
        store.check_meta()?;
        Ok(store)
    }

    /// What was kept by [`Self::keep_identity`].
    pub fn identity(&self) -> Result<Option<Vec<u8>>, JournalError> {
        self.maybe("identity")
    }

    /// Keeps what the agent is known by to other hosts.
    pub fn keep_identity(&mut self, identity: &[u8]) -> Result<(), JournalError> {
        if self.identity()?.as_deref() == Some(identity) {
            return Ok(());
        }
        self.change("write", |db| meta::put(db, "identity", identity))
    }

    /// Peers have seen more than is in it, of lives up to this one: no later life goes on with it unasked.
    pub(super) fn fell_behind(&mut self, incarnation: u64) -> Result<(), JournalError> {
        self.claim_again()?;
        self.change("write", |db| meta::put(db, BEHIND, &incarnation.to_le_bytes()))
    }

    /// The last record that is in it.
    pub fn last(&self) -> u64 {
        self.extent.last
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
        if self.group.1 == 0 {
            return Ok(());
        }
        self.claim_again()?;
        let (records, count) = std::mem::take(&mut self.group);
        let last = self.extent.last + count;
        let crc = checksum(last, count, &records);
        let length = records.len() as u64;
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
        self.extent.last = last;
        self.extent.after += length;
        self.values.committed();
        Ok(())
    }

    /// When the journal has to be said to be ours again.
    pub(super) fn claim_at(&self) -> Option<Instant> {
        self.owner.as_ref().map(Owner::renew_at)
    }

    /// Before something is committed that took long: it may have been taken over meanwhile.
    fn still_ours(&mut self) -> Result<(), JournalError> {
        self.owner.as_mut().map_or(Ok(()), Owner::check_now)
    }

    /// Looks whether the journal is still ours, and says so in time.
    pub(super) fn claim_again(&mut self) -> Result<(), JournalError> {
        self.owner.as_mut().map_or(Ok(()), Owner::check)
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
        let store = Self {
            path: path.to_owned(),
            db,
            owner: None,
            values: Values::beside(path),
            group: (Vec::new(), 0),
            schema: SCHEMA,
            extent: Extent::default(),
        };
        // One that is refused stays as it is; without this its log would go into the database.
        if beside(path, "-wal").exists() {
            store.keep_log(true)?;
        }
        Ok(store)
    }

    /// Whether the log stays beside the database when that is closed.
    fn keep_log(&self, keep: bool) -> Result<(), JournalError> {
        let set = self
            .db
            .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, keep);
        set.map(drop).map_err(|error| failed("open", &self.path, error))
    }

    /// What changes the file: so it is known to be ours before.
    fn log_ahead(&self) -> Result<(), JournalError> {
        let set = || -> rusqlite::Result<String> {
            let mut mode = String::new();
            let mut set = self.db.prepare("PRAGMA journal_mode = WAL")?;
            let mut rows = set.query([])?;
            // To the end: it says the mode before it writes it, and only then whether that failed.
            while let Some(row) = rows.next()? {
                mode = row.get(0)?;
            }
            self.db.pragma_update(None, "synchronous", "FULL")?;
            self.db
                .pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
            Ok(mode)
        };
        match set().map_err(|error| failed("open", &self.path, error))?.as_str() {
            "wal" => Ok(()),
            mode => Err(JournalError::Unusable {
                path: self.path.clone(),
                source: io::Error::other(format!("it stays in mode {mode}")),
            }),
        }
    }

    /// The names of the database and of its log are on disk when this returns. SQLite tries that too, and does not say
    /// when it fails.
    fn sync_names(&self) -> Result<(), JournalError> {
        values::sync_name(&self.path).map_err(|source| JournalError::Unusable {
            path: self.path.clone(),
            source,
        })
    }

    /// Gives its schema.
    fn check_kind(&self) -> Result<i32, JournalError> {
        let number = |name| self.db.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
        let kind = number("application_id").and_then(|id| Ok((id, number("user_version")?)));
        match kind.map_err(|error| failed("read", &self.path, error))? {
            (APPLICATION, schema @ 1..=SCHEMA) => Ok(schema),
            (APPLICATION, schema) if schema > SCHEMA => Err(JournalError::Newer {
                path: self.path.clone(),
                schema,
            }),
            _ => Err(JournalError::NoJournal {
                path: self.path.clone(),
            }),
        }
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

#[cfg(test)]
mod tests;
