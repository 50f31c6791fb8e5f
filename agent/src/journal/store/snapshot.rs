//! Snapshots: the records that compaction leaves, in place of all before.

use rusqlite::params;
use scalems_core::Survey;
use scalems_core::record::Record;

use super::super::codec;
use super::super::values::Spot;
use super::{JournalError, Store, checksum, failed, meta};

/// Each snapshot is written as another generation, while the one before it is read.
pub(super) const TABLE: &str = "
    CREATE TABLE snapshot (
        generation INTEGER NOT NULL,
        part INTEGER NOT NULL,
        count INTEGER NOT NULL,
        crc INTEGER NOT NULL,
        records BLOB NOT NULL,
        PRIMARY KEY (generation, part)
    );
";
/// Bytes of one part.
const PART_BYTES: usize = 1 << 20;

/// The snapshot that holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Snapshot {
    pub(super) generation: u64,
    /// It stands for all records up to this one.
    pub(super) last: u64,
    pub(super) parts: u64,
}

/// Parts of a snapshot that is being written.
struct Parts<'a> {
    store: &'a Store,
    of: Snapshot,
    records: Vec<u8>,
    count: u64,
    bytes: u64,
}

impl Parts<'_> {
    fn add(&mut self, record: &Record, spot: Option<Spot>) -> Result<(), JournalError> {
        codec::encode(record, spot, &mut self.records);
        self.count += 1;
        if self.records.len() < PART_BYTES {
            return Ok(());
        }
        self.write()
    }

    fn write(&mut self) -> Result<(), JournalError> {
        if self.count == 0 {
            return Ok(());
        }
        self.of.parts += 1;
        let crc = checksum(self.of.parts, self.count, &self.records);
        let put = "INSERT INTO snapshot (generation, part, count, crc, records) VALUES (?1, ?2, ?3, ?4, ?5)";
        let put = self.store.db.prepare_cached(put).and_then(|mut put| {
            put.execute(params![
                self.of.generation,
                self.of.parts,
                self.count,
                crc,
                self.records
            ])
        });
        put.map_err(|error| failed("shorten", &self.store.path, error))?;
        self.bytes += self.records.len() as u64;
        self.records.clear();
        self.count = 0;
        Ok(())
    }
}

impl Store {
    /// The snapshot that its batches follow.
    pub(super) fn snapshot(&self) -> Result<Option<Snapshot>, JournalError> {
        if self.schema == 1 || self.maybe("snapshot")?.is_none() {
            return Ok(None);
        }
        let value: [u8; 24] = self.meta("snapshot")?;
        let [generation, last, parts] = [0, 8, 16].map(|at| {
            let mut number = [0; 8];
            number.copy_from_slice(&value[at..at + 8]);
            u64::from_le_bytes(number)
        });
        Ok(Some(Snapshot {
            generation,
            last,
            parts,
        }))
    }

    /// Whether a snapshot would save much: the records after the last one have so many bytes, and no fewer than it.
    pub(in super::super) fn is_long(&self, bytes: u64) -> bool {
        self.extent.after >= bytes.max(self.extent.snapshot)
    }

    /// Puts a snapshot in the place of all records that are on disk. All or nothing: when it fails, all is as it was.
    pub(in super::super) fn compact(&mut self) -> Result<(), JournalError> {
        self.bring_up()?;
        let transaction = self
            .db
            .unchecked_transaction()
            .map_err(|error| failed("shorten", &self.path, error))?;
        let bytes = self.write_snapshot()?;
        if let Some(owner) = &mut self.owner {
            owner.check_now()?;
        }
        transaction
            .commit()
            .map_err(|error| failed("shorten", &self.path, error))?;
        tracing::info!(
            from = self.extent.snapshot + self.extent.after,
            to = bytes,
            "the journal was shortened"
        );
        self.extent.snapshot = bytes;
        self.extent.after = 0;
        // Room that is free now goes back to the disk.
        let freed = self
            .db
            .prepare("PRAGMA incremental_vacuum")
            // Each step frees one page.
            .and_then(|mut pages| {
                pages.query([]).and_then(|mut rows| {
                    while rows.next()?.is_some() {}
                    Ok(())
                })
            })
            .and_then(|()| self.empty_log());
        freed.map_err(|error| failed("shorten", &self.path, error))
    }

    /// Writes the next generation of it, and deletes what that stands for. Gives its bytes.
    fn write_snapshot(&self) -> Result<u64, JournalError> {
        let before = self.snapshot()?.unwrap_or_default();
        let mut survey = Survey::default();
        self.read(|_, record, _| {
            survey.take(&record);
            Ok(())
        })?;
        let mut compaction = survey.finish();
        let mut parts = Parts {
            store: self,
            of: Snapshot {
                generation: before.generation + 1,
                last: self.extent.last,
                parts: 0,
            },
            records: Vec::new(),
            count: 0,
            bytes: 0,
        };
        let mut left = Vec::new();
        self.read(|_, record, spot| {
            let spot = spot.filter(|_| !compaction.strips(&record));
            compaction.take(record, &mut left);
            left.drain(..).try_for_each(|record| {
                let has_value = matches!(
                    record,
                    Record::Submitted(_) | Record::Appended(_) | Record::Ended(_)
                );
                parts.add(&record, spot.filter(|_| has_value))
            })
        })?;
        let mut added = Ok(());
        compaction.finish(|record| {
            if added.is_ok() {
                added = parts.add(&record, None);
            }
        });
        added?;
        parts.write()?;
        let Parts { of, bytes, .. } = parts;
        let value = [of.generation, of.last, of.parts].map(u64::to_le_bytes).concat();
        let told = meta::put(&self.db, "snapshot", &value)
            .and_then(|()| self.db.execute("DELETE FROM batches", []))
            .and_then(|_| {
                self.db
                    .execute("DELETE FROM snapshot WHERE generation < ?1", [of.generation])
            });
        told.map_err(|error| failed("shorten", &self.path, error))?;
        Ok(bytes)
    }

    /// Puts the write-ahead log into the database, and empties it.
    pub(super) fn empty_log(&self) -> rusqlite::Result<()> {
        self.db
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
    }
}
