//! Salvage: what can be read of a damaged journal, in a new one.

use std::collections::BTreeSet;
use std::path::Path;

use scalems_core::record::Record;

use super::{JournalError, Store, values};

/// Records that are written together.
const TOGETHER: u64 = 10_000;

/// What salvage found.
#[derive(Debug)]
pub struct Salvaged {
    /// Records that were written to the new journal.
    pub records: u64,
    /// Where reading ended, if that was before the end.
    pub damage: Option<JournalError>,
    /// Submissions whose data cannot be read: they are missing.
    pub lost: BTreeSet<u64>,
    /// Tasks whose results cannot be read: they have not ended in the new journal, and run again.
    pub again: Vec<(u64, u32)>,
}

impl Store {
    /// Writes all up to the first damage into a new journal at `to`, which a pilot can go on with. The damaged one
    /// stays as it is.
    pub fn salvage(path: &Path, to: &Path) -> Result<Salvaged, JournalError> {
        Self::refuse_owned(path)?;
        let mut from = Self::open_known(path)?;
        from.keep_log(true)?;
        let facts = from.facts()?;
        let mut records = 0_u64;
        let mut needs = values::Values::beside(path);
        let read = from.read(|_, record, spot| {
            needs.note(&record, spot);
            records += 1;
            Ok(())
        });
        from.values = needs;
        let damage = read.err();
        let mut copy = Self::make(to, &facts)?;
        let mut salvaged = Salvaged {
            records: 0,
            damage,
            lost: BTreeSet::new(),
            again: Vec::new(),
        };
        let mut writes = Ok(());
        // What is behind the damage is not reached; that there is damage is known.
        let mut left = records;
        let _damage = from.read(|_, record, spot| {
            if left > 0 && writes.is_ok() {
                left -= 1;
                writes = salvaged.keep(&from, &mut copy, record, spot);
            }
            Ok(())
        });
        writes?;
        copy.commit()?;
        Ok(salvaged)
    }
}

impl Salvaged {
    fn keep(
        &mut self,
        from: &Store,
        copy: &mut Store,
        mut record: Record,
        spot: Option<values::Spot>,
    ) -> Result<(), JournalError> {
        if let Some(spot) = spot {
            if !from.values.is_needed(&record, spot) {
                values::drop_value(&mut record);
            } else if let Ok(value) = from.values.get(spot) {
                values::set_value(&mut record, value);
            } else {
                match &record {
                    Record::Submitted(submitted) => {
                        self.lost.insert(submitted.submission);
                    }
                    Record::Ended(ended) => {
                        let run = ended.run;
                        self.again
                            .extend((run.lo..run.hi).map(|offset| (run.submission, offset)));
                    }
                    _ => {}
                }
                return Ok(());
            }
        }
        copy.add(&record)?;
        self.records += 1;
        if self.records.is_multiple_of(TOGETHER) {
            copy.commit()?;
        }
        Ok(())
    }
}
