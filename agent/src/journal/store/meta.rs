//! What a journal says of its pilot, each thing with its checksum.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::{JournalError, SCHEMA, Store, failed};

/// The table of the first schema, which had no checksums.
const UPGRADE: &str = "ALTER TABLE meta ADD COLUMN crc INTEGER NOT NULL DEFAULT 0";

fn checksum(key: &str, value: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(key.as_bytes()), value)
}

/// Writes one thing.
pub(super) fn put(db: &Connection, key: &str, value: &[u8]) -> rusqlite::Result<()> {
    db.prepare_cached("INSERT OR REPLACE INTO meta (key, value, crc) VALUES (?1, ?2, ?3)")?
        .execute(params![key, value, checksum(key, value)])
        .map(drop)
}

impl Store {
    /// Reads one thing, if it is there.
    pub(super) fn maybe(&self, key: &str) -> Result<Option<Vec<u8>>, JournalError> {
        let columns = if self.schema == 1 {
            "value, 0"
        } else {
            "value, crc"
        };
        let query = format!("SELECT {columns} FROM meta WHERE key = ?1");
        let read = self.db.query_row(&query, [key], |row| {
            Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, u32>(1)?))
        });
        match read
            .optional()
            .map_err(|error| failed("read", &self.path, error))?
        {
            Some((value, crc)) if self.schema > 1 && crc != checksum(key, &value) => {
                Err(self.damaged(0, format!("{key} is not what was written")))
            }
            found => Ok(found.map(|(value, _)| value)),
        }
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
        self.change("bring up", |db| {
            db.execute_batch(UPGRADE)?;
            db.execute_batch(super::snapshot::TABLE)?;
            let all = db
                .prepare("SELECT key, value FROM meta")?
                .query_map([], |row| {
                    Ok((row.get::<_, String>(0)?, row.get::<_, Vec<u8>>(1)?))
                })?
                .collect::<rusqlite::Result<Vec<_>>>()?;
            for (key, value) in all {
                put(db, &key, &value)?;
            }
            db.pragma_update(None, "user_version", SCHEMA)
        })?;
        self.schema = SCHEMA;
        Ok(())
    }
}
