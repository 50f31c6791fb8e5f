//! The results of one submission that are held, and where their values lie: in memory, or spilled, which means moved
//! out by the shell (R10). What is held is the same either way; only the accounts differ.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Add, RangeBounds, Sub};

use bytes::Bytes;
use scalems_protocol::group::Run;

use crate::record::{Ended, share};

/// What results take, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// In memory beside values: where each ends, what errors say.
    pub other: u64,
    /// Values in memory.
    pub values: u64,
    /// Values that were spilled.
    pub spilled: u64,
}

impl Sizes {
    /// What a result takes.
    pub fn of(ended: &Ended, spilled: bool) -> Self {
        let error = ended.error.as_ref().map_or(0, |error| error.message.len() + 64);
        let value = ended.data.bytes.len() as u64;
        Self {
            other: (4 * ended.data.ends.len() + error) as u64,
            values: if spilled { 0 } else { value },
            spilled: if spilled { value } else { 0 },
        }
    }

    /// What is in memory.
    pub const fn memory(&self) -> u64 {
        self.other + self.values
    }
}

impl Add for Sizes {
    type Output = Self;

    fn add(self, more: Self) -> Self {
        Self {
            other: self.other + more.other,
            values: self.values + more.values,
            spilled: self.spilled + more.spilled,
        }
    }
}

impl Sub for Sizes {
    type Output = Self;

    fn sub(self, less: Self) -> Self {
        Self {
            other: self.other - less.other,
            values: self.values - less.values,
            spilled: self.spilled - less.spilled,
        }
    }
}

#[derive(Clone, Debug)]
struct Held {
    ended: Ended,
    /// Whether its value was spilled. Not in the record: a later life spills anew.
    spilled: bool,
}

/// The results of one submission that are held, by the first offset of each run.
#[derive(Clone, Debug, Default)]
pub struct Results {
    held: BTreeMap<u32, Held>,
    /// Those that have a value in memory.
    in_memory: BTreeSet<u32>,
    sizes: Sizes,
}

impl Results {
    /// What they take.
    pub const fn sizes(&self) -> Sizes {
        self.sizes
    }

    /// What they take, counted one by one.
    pub fn recounted(&self) -> Sizes {
        let held = self.held.values();
        held.map(|held| Sizes::of(&held.ended, held.spilled))
            .fold(Sizes::default(), |all, sizes| all + sizes)
    }

    /// Keeps a result. Neighbours that are alike and have no value become one.
    pub fn hold(&mut self, ended: Ended) {
        let (lo, hi) = (ended.run.lo, ended.run.hi);
        let bare = |ended: &Ended| {
            ended.data.bytes.is_empty() && ended.data.ends.is_empty() && ended.error.is_none()
        };
        if bare(&ended) {
            let before = self.held.range_mut(..lo).next_back();
            if let Some(before) = before.map(|(_, held)| &mut held.ended).filter(|before| {
                before.run.hi == lo
                    && before.run.attempt == ended.run.attempt
                    && before.ending == ended.ending
                    && before.exit_code == ended.exit_code
                    && bare(before)
            }) {
                before.run.hi = hi;
                before.ran_us = before.ran_us.saturating_add(ended.ran_us);
                return;
            }
        }
        self.insert(ended, false);
    }

    /// Drops the results of the tasks `lo..hi`.
    pub fn let_go(&mut self, lo: u32, hi: u32) {
        let first = self.at(lo).map_or(lo, |ended| ended.run.lo);
        let keys: Vec<u32> = self.held.range(first..hi).map(|(key, _)| *key).collect();
        for key in keys {
            let Some(Held { ended, spilled }) = self.remove(key) else {
                continue;
            };
            for (from, to) in [(ended.run.lo, lo), (hi, ended.run.hi)] {
                if from < to {
                    let data = ended
                        .data
                        .part((from - ended.run.lo) as usize, (to - ended.run.lo) as usize);
                    let run = Run {
                        lo: from,
                        hi: to,
                        ..ended.run
                    };
                    let part = Ended {
                        run,
                        data,
                        ran_us: share(ended.ran_us, to - from, ended.run.count()),
                        error: ended.error.clone(),
                        ..ended
                    };
                    // A part of a spilled value is a part of the same file.
                    self.insert(part, spilled);
                }
            }
        }
    }

    /// The result of the task at `offset`.
    pub fn at(&self, offset: u32) -> Option<&Ended> {
        let (_, held) = self.held.range(..=offset).next_back()?;
        (offset < held.ended.run.hi).then_some(&held.ended)
    }

    /// Those whose first offsets lie in a range.
    pub fn range(&self, offsets: impl RangeBounds<u32>) -> impl Iterator<Item = &Ended> {
        self.held.range(offsets).map(|(_, held)| &held.ended)
    }

    /// All of them, and of each whether its value was spilled.
    pub fn into_all(self) -> impl Iterator<Item = (Ended, bool)> {
        self.held.into_values().map(|held| (held.ended, held.spilled))
    }

    /// Whether some have values in memory.
    pub fn are_in_memory(&self) -> bool {
        !self.in_memory.is_empty()
    }

    /// The values in memory, each with the offset that it is known by.
    pub fn in_memory(&self) -> impl Iterator<Item = (u32, Bytes)> + '_ {
        let held = self.in_memory.iter().filter_map(|offset| self.held.get(offset));
        held.map(|held| (held.ended.run.lo, held.ended.data.bytes.clone()))
    }

    /// A value of these that was in memory lies elsewhere now. Whether it is still held; what was dropped or cut
    /// meanwhile stays as it is.
    pub fn spilled(&mut self, offset: u32, before: &Bytes, value: Bytes) -> bool {
        let held = self.held.get(&offset);
        if !held.is_some_and(|held| !held.spilled && is_same(&held.ended.data.bytes, before)) {
            return false;
        }
        let Some(mut held) = self.remove(offset) else {
            return false;
        };
        held.ended.data.bytes = value;
        self.insert(held.ended, true);
        true
    }

    fn insert(&mut self, ended: Ended, spilled: bool) {
        self.sizes = self.sizes + Sizes::of(&ended, spilled);
        let offset = ended.run.lo;
        if !spilled && !ended.data.bytes.is_empty() {
            self.in_memory.insert(offset);
        }
        let before = self.held.insert(offset, Held { ended, spilled });
        assert!(before.is_none(), "a task ends once");
    }

    fn remove(&mut self, offset: u32) -> Option<Held> {
        let held = self.held.remove(&offset)?;
        self.in_memory.remove(&offset);
        self.sizes = self.sizes - Sizes::of(&held.ended, held.spilled);
        Some(held)
    }
}

/// Whether two values are one and the same piece of memory.
pub fn is_same(one: &Bytes, other: &Bytes) -> bool {
    one.as_ptr() == other.as_ptr() && one.len() == other.len()
}
