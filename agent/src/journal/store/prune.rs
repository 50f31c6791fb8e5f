//! Pruning: what ended long ago is forgotten, and the file is made as small as it can be.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use scalems_core::record::Record;
use scalems_protocol::task::After;

use super::super::bytes_on_disk;
use super::{JournalError, Store, failed};

/// What pruning did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pruned {
    /// Submissions that were forgotten.
    pub submissions: usize,
    /// Bytes of the file before, with its write-ahead log.
    pub before: u64,
    /// Bytes of it now.
    pub after: u64,
}

#[derive(Debug, Default)]
struct Known {
    count: u32,
    open: bool,
    ended: u32,
    last: u64,
    after: Vec<u64>,
}

impl Store {
    /// Forgets the submissions of which all tasks ended at least so long ago, with results that nobody collected, and
    /// compacts the journal. What a submission that has not ended is to run after stays.
    pub fn prune(path: &Path, age: Duration) -> Result<Pruned, JournalError> {
        let mut all: BTreeMap<u64, Known> = BTreeMap::new();
        let mut requests: BTreeMap<(u64, u64), u64> = BTreeMap::new();
        let mut store = Self::open_own(path, |record| match record {
            Record::Submitted(submitted) => {
                let seat = submitted.origin.session;
                requests.insert((seat, submitted.origin.request), submitted.submission);
                let named = |after: &After| {
                    let requested = || requests.get(&(seat, after.request?)).copied();
                    after.submission.or_else(requested)
                };
                let known = Known {
                    count: submitted.count,
                    open: submitted.open,
                    after: submitted.template.after.iter().filter_map(named).collect(),
                    ..Known::default()
                };
                all.insert(submitted.submission, known);
            }
            Record::Appended(appended) => {
                if let Some(known) = all.get_mut(&appended.submission) {
                    known.count += appended.count;
                }
            }
            Record::Closed { submission, at } => {
                if let Some(known) = all.get_mut(&submission) {
                    known.open = false;
                    known.last = known.last.max(at);
                }
            }
            Record::Ended(ended) => {
                if let Some(known) = all.get_mut(&ended.run.submission) {
                    known.ended += ended.run.count();
                    known.last = known.last.max(ended.at);
                }
            }
            Record::Forgotten { submission } => {
                all.remove(&submission);
            }
            _ => {}
        })?;
        let before = bytes_on_disk(&store.path);
        let now = store.facts()?.now().age;
        let until = now.saturating_sub(u64::try_from(age.as_micros()).unwrap_or(u64::MAX));
        let over = |known: &Known| !known.open && known.ended >= known.count;
        let needed: BTreeSet<u64> = all
            .values()
            .filter(|known| !over(known))
            .flat_map(|known| known.after.clone())
            .collect();
        let old: Vec<u64> = all
            .iter()
            .filter(|(number, known)| over(known) && known.last <= until && !needed.contains(number))
            .map(|(number, _)| *number)
            .collect();
        store.bring_up()?;
        for submission in &old {
            store.add(&Record::Forgotten {
                submission: *submission,
            })?;
        }
        store.commit()?;
        store.compact()?;
        store.still_ours()?;
        let packed = store.db.execute_batch("VACUUM").and_then(|()| store.empty_log());
        packed.map_err(|error| failed("pack", path, error))?;
        Ok(Pruned {
            submissions: old.len(),
            before,
            after: bytes_on_disk(&store.path),
        })
    }
}
