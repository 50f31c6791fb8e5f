//! Salvage: what can be read of a damaged journal, in a new one.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use scalems_core::Survey;
use scalems_core::record::{Ended, Record};
use scalems_protocol::state::Ending;
use scalems_protocol::{Code, TaskError};

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
    /// Tasks whose results cannot be read and whose data are not kept any more: they have failed in the new journal.
    pub failed: Vec<(u64, u32)>,
    /// Submissions that have all of their data still.
    whole: BTreeSet<u64>,
}

impl Store {
    /// Writes all up to the first damage into a new journal at `to`, which a pilot can go on with. The damaged one
    /// stays as it is.
    pub fn salvage(path: &Path, to: &Path) -> Result<Salvaged, JournalError> {
        Self::refuse_owned(path)?;
        let mut from = Self::open_known(path)?;
        from.keep_log(true)?;
        let mut facts = from.facts()?;
        // Peers may have seen what is missing in the copy: none of them can prove there that it was here.
        getrandom::fill(&mut facts.secret).map_err(|error| JournalError::Unusable {
            path: to.to_owned(),
            source: io::Error::other(error),
        })?;
        let mut records = 0_u64;
        let mut needs = values::Values::beside(path);
        let mut survey = Survey::default();
        let mut added = Vec::new();
        let read = from.read(|_, record, spot| {
            needs.note(&record, spot);
            if let (Record::Appended(appended), Some(spot)) = (&record, spot) {
                added.push((appended.clone(), spot));
            }
            records += 1;
            survey.take(&record);
            Ok(())
        });
        from.values = needs;
        let damage = read.err();
        // With what was added to it a submission is lost as a whole: what is written first has to know.
        let lost = added.into_iter().filter_map(|(appended, spot)| {
            let number = appended.submission;
            let needed = from.values.is_needed(&Record::Appended(appended), spot);
            (needed && from.values.get(spot).is_err()).then_some(number)
        });
        let lost = lost.collect();
        let mut copy = Self::make(to, &facts)?;
        let mut salvaged = Salvaged {
            records: 0,
            damage,
            lost,
            again: Vec::new(),
            failed: Vec::new(),
            whole: survey.whole().collect(),
        };
        let mut writes = Ok(());
        // What is behind the damage is not reached; that there is damage is known.
        let mut to_go = records;
        let _damage = from.read(|_, record, spot| {
            if to_go > 0 && writes.is_ok() {
                to_go -= 1;
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
        let brings = match &record {
            Record::Submitted(submitted) => Some(submitted.submission),
            Record::Appended(appended) => Some(appended.submission),
            _ => None,
        };
        if brings.is_some_and(|submission| self.lost.contains(&submission)) {
            return Ok(());
        }
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
                        let tasks = (run.lo..run.hi).map(|offset| (run.submission, offset));
                        if !self.whole.contains(&run.submission) {
                            self.failed.extend(tasks);
                            let message =
                                "its result was damaged in the journal, and its data are not kept any more";
                            let error = TaskError::new(Code::TaskFailed, message);
                            let ended = Ended {
                                worker: ended.worker,
                                at: ended.at,
                                ran_us: ended.ran_us,
                                ..Ended::bare(run, Ending::Failed, error)
                            };
                            return self.write(copy, &Record::Ended(ended));
                        }
                        self.again.extend(tasks);
                    }
                    _ => {}
                }
                return Ok(());
            }
        }
        self.write(copy, &record)
    }

    fn write(&mut self, copy: &mut Store, record: &Record) -> Result<(), JournalError> {
        copy.add(record)?;
        self.records += 1;
        if self.records.is_multiple_of(TOGETHER) {
            copy.commit()?;
        }
        Ok(())
    }
}
