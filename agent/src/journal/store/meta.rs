//! What a journal says of its pilot, under one checksum.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::{JournalError, SCHEMA, Store, failed};

/// The key of the checksum of all others.
const SEAL: &str = "crc";

/// Writes one thing, and the checksum of all.
pub(super) fn put(db: &Connection, key: &str, value: &[u8]) -> rusqlite::Result<()> {
    let mut put = db.prepare_cached("INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)")?;
    put.execute(params![key, value])?;
    let crc = checksum(db)?.to_le_bytes();
    put.execute(params![SEAL, crc]).map(drop)
}

/// Removes one thing, if it is there; something has to be put behind it, for the checksum.
pub(super) fn remove(db: &Connection, key: &str) -> rusqlite::Result<()> {
    db.execute("DELETE FROM meta WHERE key = ?1", [key]).map(drop)
}

fn checksum(db: &Connection) -> rusqlite::Result<u32> {
    let mut rows = db.prepare_cached("SELECT key, value FROM meta WHERE key <> ?1 ORDER BY key")?;
    let mut rows = rows.query([SEAL])?;
    let mut crc = 0;
    while let Some(row) = rows.next()? {
        let (key, value) = (row.get_ref(0)?.as_bytes()?, row.get_ref(1)?.as_bytes()?);
        for part in [key, value] {
            crc = crc32c::crc32c_append(crc, &(part.len() as u64).to_le_bytes());
            crc = crc32c::crc32c_append(crc, part);
        }
    }
    Ok(crc)
}

impl Store {
    /// The first schema had no checksum at first.
    pub(super) fn check_meta(&self) -> Result<(), JournalError> {
        let found = checksum(&self.db).map_err(|error| failed("read", &self.path, error))?;
        match self.maybe(SEAL)? {
            Some(kept) if kept == found.to_le_bytes() => Ok(()),
            None if self.schema == 1 => Ok(()),
            _ => Err(self.damaged(0, "what it says of its pilot is not what was written".to_owned())),
        }
    }

    /// Reads one thing, if it is there.
    pub(super) fn maybe(&self, key: &str) -> Result<Option<Vec<u8>>, JournalError> {
        let value = self
            .db
            .query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0))
            .optional();
        value.map_err(|error| failed("read", &self.path, error))
    }

    /// Reads one thing of this length.
    pub(super) fn meta<const N: usize>(&self, key: &str) -> Result<[u8; N], JournalError> {
        let value = self.maybe(key)?;
        let value = value.ok_or_else(|| self.damaged(0, format!("{key} is not in it")))?;
        let length = value.len();
        value
            .try_into()
            .map_err(|_| self.damaged(0, format!("{key} has {length} bytes, not {N}")))
    }

    pub(super) fn number(&self, key: &str) -> Result<u64, JournalError> {
        self.meta(key).map(u64::from_le_bytes)
    }

    /// Makes a journal of an earlier schema one of this one.
    pub(super) fn bring_up(&mut self) -> Result<(), JournalError> {
        if self.schema == SCHEMA {
            return Ok(());
        }
        let (created, schema) = (self.number("created_us")?, self.schema);
        self.change("bring up", |db| {
            if schema == 1 {
                db.execute_batch(super::snapshot::TABLE)?;
            }
            // With the same value it was there: this is for the checksum.
            put(db, "created_us", &created.to_le_bytes())?;
            db.pragma_update(None, "user_version", SCHEMA)
        })?;
        self.schema = SCHEMA;
        Ok(())
    }
}
