//! The packs that the machine knows: which of their tasks are here, at the agent, or have ended.

use std::collections::BTreeMap;

use super::bits::Bits;
use super::interface::{Pack, PackKey, Shape};

/// Bytes that a pack is counted with beside its data.
const PACK_BYTES: u64 = 256;
/// Bytes that a task is counted with beside its data.
const TASK_BYTES: u64 = 32;

/// All packs that have unfinished tasks or that somebody may still ask for.
#[derive(Clone, Debug, Default)]
pub(super) struct Packs {
    entries: BTreeMap<PackKey, Entry>,
    /// Bytes of what is not sent.
    pub(super) backlog_bytes: u64,
    /// Packs that waited for what has happened now.
    pub(super) stirred: Vec<PackKey>,
}

/// Where a pack with unsent tasks is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Lane {
    /// It has none, or has not been looked at.
    #[default]
    None,
    /// In the queue of those that wait for nothing in this session.
    Normal,
    /// In the queue of those whose dependencies are at the agent or have ended: these go first.
    Urgent,
    /// In no queue: a dependency has not been sent.
    Blocked,
}

/// A part of a pack that is, or was, at the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// The first place.
    pub(super) lo: u32,
    /// One past the last place.
    pub(super) hi: u32,
    /// The request that it went with.
    pub(super) request: u64,
    /// The offset of `lo` in the request.
    pub(super) at: u32,
    /// The submission's number.
    pub(super) submission: Option<u64>,
    /// Whether the request was accepted, so that it is never sent again.
    pub(super) accepted: bool,
}

/// One pack.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// As it was handed in; the data goes when it is not needed any more.
    pub(super) pack: Pack,
    /// Which queue it is in.
    pub(super) lane: Lane,
    /// Ranges of tasks that are neither sent nor ended, rising. Few: mostly one or none.
    unsent: Vec<(u32, u32)>,
    /// What was sent, rising.
    pub(super) parts: Vec<Part>,
    /// Tasks that ended.
    pub(super) ended: Bits,
    /// Tasks that ended other than well.
    pub(super) bad: Bits,
    unfinished: u32,
    /// Packs that wait until all before a place is sent, or, for `u32::MAX`, until all has ended.
    dependents: Vec<(PackKey, u32)>,
    /// How many packs with unsent tasks depend on this one.
    needed: u32,
    released: bool,
    cost: u64,
}

impl Entry {
    /// The first range of unsent tasks.
    pub(super) fn first_unsent(&self) -> Option<(u32, u32)> {
        self.unsent.first().copied()
    }

    /// The ranges of unsent tasks within `lo..hi`.
    pub(super) fn unsent_within(&self, lo: u32, hi: u32) -> impl Iterator<Item = (u32, u32)> + '_ {
        let cut = self
            .unsent
            .iter()
            .map(move |range| (range.0.max(lo), range.1.min(hi)));
        cut.filter(|(lo, hi)| lo < hi)
    }

    /// The parts that overlap `lo..hi`.
    pub(super) fn parts_within(&self, lo: u32, hi: u32) -> impl Iterator<Item = &Part> + '_ {
        let first = self.parts.partition_point(|part| part.hi <= lo);
        self.parts[first..].iter().take_while(move |part| part.lo < hi)
    }

    /// Whether every task has ended.
    pub(super) fn is_finished(&self) -> bool {
        self.unfinished == 0
    }

    /// The index and the step that people see for the task at `place` of `part`.
    pub(super) fn index(&self, part: &Part, place: u32) -> (u32, u32) {
        match self.pack.shape {
            Shape::Batch => (part.at + (place - part.lo), 1),
            Shape::Array { first, step } => (first + step * place, step),
        }
    }

    fn remove_unsent(&mut self, lo: u32, hi: u32) {
        if self.unsent.first() == Some(&(lo, hi)) {
            self.unsent.remove(0);
            return;
        }
        let left = self
            .unsent
            .iter()
            .flat_map(|&(from, to)| [(from, to.min(lo)), (from.max(hi), to)]);
        self.unsent = left.filter(|(from, to)| from < to).collect();
    }

    fn forget_data(&mut self) {
        if self.unsent.is_empty() && self.parts.iter().all(|part| part.accepted) || self.is_finished() {
            self.pack.data = scalems_protocol::group::Data::default();
        }
    }
}

impl Packs {
    pub(super) fn get(&self, key: PackKey) -> Option<&Entry> {
        self.entries.get(&key)
    }

    pub(super) fn get_mut(&mut self, key: PackKey) -> Option<&mut Entry> {
        self.entries.get_mut(&key)
    }

    /// The bytes that a pack is counted with while it waits.
    pub(super) fn cost(pack: &Pack) -> u64 {
        PACK_BYTES + pack.data.bytes.len() as u64 + TASK_BYTES * pack.data.ends.len() as u64
    }

    /// Takes a pack in, unsent.
    pub(super) fn insert(&mut self, pack: Pack) {
        let (key, count, cost) = (pack.key, pack.count, Self::cost(&pack));
        for dependency in &pack.after {
            if let Some(target) = self.entries.get_mut(&dependency.on) {
                target.needed += 1;
            }
        }
        self.backlog_bytes += cost;
        let entry = Entry {
            pack,
            lane: Lane::None,
            unsent: vec![(0, count)],
            parts: Vec::new(),
            ended: Bits::default(),
            bad: Bits::default(),
            unfinished: count,
            dependents: Vec::new(),
            needed: 0,
            released: false,
            cost,
        };
        let before = self.entries.insert(key, entry);
        assert!(before.is_none(), "the caller never names two packs alike");
    }

    /// The tasks of a part are sent.
    pub(super) fn sent(&mut self, key: PackKey, part: Part) {
        let entry = self.entries.get_mut(&key).expect("what is sent is known");
        entry.remove_unsent(part.lo, part.hi);
        let place = entry.parts.partition_point(|other| other.lo < part.lo);
        entry.parts.insert(place, part);
        self.unsent_shrank(key);
    }

    /// A part was not taken by the agent and is to be sent again, with another request.
    pub(super) fn unsend(&mut self, key: PackKey, lo: u32, hi: u32) {
        let entry = self
            .entries
            .get_mut(&key)
            .expect("what was sent is known until it has ended");
        entry.parts.retain(|part| part.lo != lo);
        if entry.unsent.is_empty() {
            self.backlog_bytes += entry.cost;
            for dependency in &entry.pack.after.clone() {
                if let Some(target) = self.entries.get_mut(&dependency.on) {
                    target.needed += 1;
                }
            }
        }
        let entry = self.entries.get_mut(&key).expect("it was there above");
        let place = entry.unsent.partition_point(|range| range.0 < lo);
        entry.unsent.insert(place, (lo, hi));
    }

    /// The request of a part was accepted.
    pub(super) fn accepted(&mut self, key: PackKey, lo: u32, submission: u64) {
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        if let Ok(place) = entry.parts.binary_search_by_key(&lo, |part| part.lo) {
            entry.parts[place].accepted = true;
            entry.parts[place].submission = Some(submission);
            entry.forget_data();
        }
    }

    /// The tasks `lo..hi` have ended, as far as they had not before. Calls `each` with the runs of those.
    pub(super) fn end(
        &mut self,
        key: PackKey,
        lo: u32,
        hi: u32,
        good: bool,
        mut each: impl FnMut(u32, u32),
    ) -> u32 {
        let Some(entry) = self.entries.get_mut(&key) else {
            return 0;
        };
        let mut new = 0;
        let mut from = lo;
        while from < hi {
            let to = entry.ended.run_end(from, hi);
            if !entry.ended.has(from) {
                new += entry.ended.insert(from, to);
                if !good {
                    entry.bad.insert(from, to);
                }
                each(from, to);
            }
            from = to;
        }
        entry.unfinished -= new;
        let unsent = !entry.unsent.is_empty();
        if unsent {
            entry.remove_unsent(lo, hi);
        }
        if entry.unfinished == 0 {
            entry.forget_data();
            let dependents = std::mem::take(&mut entry.dependents);
            self.stirred
                .extend(dependents.into_iter().map(|(dependent, _)| dependent));
        }
        if unsent {
            self.unsent_shrank(key);
        }
        self.drop_if_done(key);
        new
    }

    /// Wakes those that waited until so much was sent, and stops counting what is sent altogether.
    fn unsent_shrank(&mut self, key: PackKey) {
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        let reached = entry.unsent.first().map_or(entry.pack.count, |range| range.0);
        if !entry.dependents.is_empty() {
            let stirred = &mut self.stirred;
            entry.dependents.retain(|&(dependent, place)| {
                let waits = place > reached;
                if !waits {
                    stirred.push(dependent);
                }
                waits
            });
        }
        if entry.unsent.is_empty() {
            entry.lane = Lane::None;
            self.backlog_bytes -= entry.cost;
            let after: Vec<PackKey> = entry.pack.after.iter().map(|dependency| dependency.on).collect();
            for on in after {
                if let Some(target) = self.entries.get_mut(&on) {
                    target.needed -= 1;
                    self.drop_if_done(on);
                }
            }
        }
    }

    /// A pack with unsent tasks waits for `on`.
    pub(super) fn wait(&mut self, key: PackKey, on: PackKey, place: u32) {
        if let Some(entry) = self.entries.get_mut(&on) {
            entry.dependents.push((key, place));
        }
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.lane = Lane::Blocked;
        }
    }

    /// Nobody will ask for a pack any more.
    pub(super) fn release(&mut self, key: PackKey) {
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.released = true;
            self.drop_if_done(key);
        }
    }

    fn drop_if_done(&mut self, key: PackKey) {
        let done = |entry: &Entry| entry.released && entry.needed == 0 && entry.unfinished == 0;
        if self.entries.get(&key).is_some_and(done) {
            self.entries.remove(&key);
        }
    }

    /// The packs that have unfinished tasks.
    pub(super) fn unfinished(&self) -> Vec<(PackKey, u32)> {
        let unfinished = self.entries.iter().filter(|(_, entry)| !entry.is_finished());
        unfinished.map(|(key, entry)| (*key, entry.pack.count)).collect()
    }

    /// How many packs are known.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}
