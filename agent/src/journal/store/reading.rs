//! How a journal is read: its snapshot, then every batch after it, each against its checksum.

use rusqlite::{Row, params};
use scalems_core::record::Record;

use super::super::codec;
use super::super::values::{self, Spot, Values};
use super::{JournalError, Store, checksum, failed};

/// What was read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Extent {
    /// The number of the last record.
    pub(super) last: u64,
    /// Bytes of the snapshot's records.
    pub(super) snapshot: u64,
    /// Bytes of records after it.
    pub(super) after: u64,
}

/// A batch or a part: its number, how many records it has, their checksum, and they.
fn row_of<'r>(row: &'r Row<'_>) -> rusqlite::Result<(u64, u64, u32, &'r [u8])> {
    let records = row.get_ref(3)?.as_blob()?;
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, records))
}

impl Store {
    /// Gives every record to `each`, in order, with the values that somebody may still need.
    pub(super) fn replay(&mut self, mut each: impl FnMut(Record)) -> Result<(), JournalError> {
        let mut values = Values::beside(&self.path);
        self.extent = self.read(|_, record, spot| {
            values.note(&record, spot);
            Ok(())
        })?;
        self.check_pages()?;
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

    /// A damaged page may hide the last batches, or spoil others once it is written to, though all that is read is good.
    fn check_pages(&self) -> Result<(), JournalError> {
        let found = self
            .db
            .query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
        let what = found.map_err(|error| failed("read", &self.path, error))?;
        if what == "ok" {
            return Ok(());
        }
        Err(self.damaged(self.extent.last, what.replace('\n', " ")))
    }

    /// Reads all records. Each is given to `each` with the number of the last one before its batch that is known to
    /// be good.
    pub(super) fn read(
        &self,
        mut each: impl FnMut(u64, Record, Option<Spot>) -> Result<(), JournalError>,
    ) -> Result<Extent, JournalError> {
        let mut extent = self.read_snapshot(|record, spot| each(0, record, spot))?;
        let unreadable = |error| failed("read", &self.path, error);
        let mut batches = self
            .db
            .prepare("SELECT last, count, crc, records FROM batches ORDER BY last")
            .map_err(unreadable)?;
        let mut rows = batches.query([]).map_err(unreadable)?;
        while let Some(row) = rows.next().map_err(unreadable)? {
            let last = extent.last;
            let (end, count, crc, records) =
                row_of(row).map_err(|error| self.damaged(last, error.to_string()))?;
            if last.checked_add(count) != Some(end) {
                return Err(self.damaged(last, format!("then comes a batch that ends with record {end}")));
            }
            if checksum(end, count, records) != crc {
                return Err(self.damaged(last, "the next batch is not what was written".to_owned()));
            }
            self.decode(last, "the next batch", records, count, |record, spot| {
                each(last, record, spot)
            })?;
            extent.last = end;
            extent.after += records.len() as u64;
        }
        Ok(extent)
    }

    /// Reads the records that the snapshot has kept of all up to some number.
    fn read_snapshot(
        &self,
        mut each: impl FnMut(Record, Option<Spot>) -> Result<(), JournalError>,
    ) -> Result<Extent, JournalError> {
        let mut extent = Extent::default();
        let Some(snapshot) = self.snapshot()? else {
            return Ok(extent);
        };
        extent.last = snapshot.last;
        let unreadable = |error| failed("read", &self.path, error);
        let mut parts = self
            .db
            .prepare("SELECT part, count, crc, records FROM snapshot WHERE generation = ?1 ORDER BY part")
            .map_err(unreadable)?;
        let mut rows = parts.query(params![snapshot.generation]).map_err(unreadable)?;
        for part in 1..=snapshot.parts {
            let what = format!("part {part} of the snapshot");
            let row = rows.next().map_err(unreadable)?;
            let row = row.ok_or_else(|| self.damaged(0, format!("{what} is missing")))?;
            let (number, count, crc, records) =
                row_of(row).map_err(|error| self.damaged(0, error.to_string()))?;
            if number != part || checksum(part, count, records) != crc {
                return Err(self.damaged(0, format!("{what} is not what was written")));
            }
            self.decode(0, &what, records, count, &mut each)?;
            extent.snapshot += records.len() as u64;
        }
        Ok(extent)
    }

    /// Reads so many records.
    fn decode(
        &self,
        last: u64,
        what: &str,
        records: &[u8],
        count: u64,
        mut each: impl FnMut(Record, Option<Spot>) -> Result<(), JournalError>,
    ) -> Result<(), JournalError> {
        let mut told = Ok(());
        let read = codec::decode(records, |record, spot| {
            if told.is_ok() {
                told = each(record, spot);
            }
        });
        let read = read.map_err(|error| self.damaged(last, error.to_string()))?;
        told?;
        if read != count {
            return Err(self.damaged(last, format!("{what} has {read} records, not {count}")));
        }
        Ok(())
    }

    pub(super) fn damaged(&self, record: u64, what: String) -> JournalError {
        JournalError::Damaged {
            path: self.path.clone(),
            record,
            what,
        }
    }
}
