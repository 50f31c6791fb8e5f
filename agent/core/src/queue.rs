//! The queue of ready tasks, by scheduling class.
//!
//! A class is what the scheduler cannot tell apart: one mode, and the ways to run its tasks: what each takes, and how much time at least. Entries are runs of
//! offsets, ordered by priority and then by submission, so a million ready tasks of an array are one entry, and
//! a task that has to run again has its old place.
//! Entries may be stale: a task counts as ready by its slot alone.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use scalems_protocol::task::{Knows, Needs, Template};

use crate::interface::Micros;
use crate::resources::{Amounts, Kinds};

/// Where an entry stands: higher priority first, then the earlier submission, then earlier arrival.
pub type Place = (Reverse<i32>, u64, u64);

/// A run of tasks of one submission that were ready when it was queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The submission.
    pub submission: u64,
    /// The first offset.
    pub lo: u32,
    /// One past the last offset.
    pub hi: u32,
}

/// What the scheduler cannot tell apart.
#[derive(Clone, Debug)]
pub struct Class {
    /// The mode.
    pub mode: String,
    /// The ways to run one task, the best first.
    pub ways: Vec<Way>,
    /// What its worker has to understand.
    pub asks: Knows,
    /// Submissions of the class.
    users: u64,
    entries: BTreeMap<Place, Entry>,
    /// How long a task of the class runs, a moving mean, microseconds; `None`: none has ended yet.
    pub mean_us: Option<u64>,
    /// Since when its first entry found no room.
    pub blocked: Option<Micros>,
}

/// A way to run a task: what it takes then.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Way {
    /// What one task takes.
    pub needs: Amounts,
    /// The least time that its worker has left.
    pub min_time: Micros,
}

impl Way {
    /// The ways of a task; none if there are too many kinds of resources.
    pub fn all(needs: &Needs, kinds: &mut Kinds) -> Option<Vec<Self>> {
        let ways = needs.ways().map(|way| {
            Some(Self {
                needs: kinds.amounts(way.totals())?,
                min_time: way.min_time_ms.saturating_mul(1_000),
            })
        });
        ways.collect()
    }
}

impl Class {
    /// The way of this number; the first if there is no such way.
    pub fn way(&self, variant: u8) -> &Way {
        let way = self.ways.get(usize::from(variant)).or_else(|| self.ways.first());
        way.expect("there is always one")
    }
}

/// All classes and what is ready in them.
#[derive(Clone, Debug, Default)]
pub struct Queue {
    classes: Vec<Class>,
    free: Vec<usize>,
    by_key: BTreeMap<(String, Vec<Way>, Knows), usize>,
    heads: BTreeSet<(Place, usize)>,
    arrivals: u64,
}

impl Queue {
    /// The class of a template whose tasks run in these ways, for one more submission.
    pub fn enter_class(&mut self, template: &Template, ways: Vec<Way>) -> usize {
        let key = (template.mode.clone(), ways, template.needs.asks());
        if let Some(at) = self.by_key.get(&key) {
            self.classes[*at].users += 1;
            return *at;
        }
        let class = Class {
            mode: key.0.clone(),
            ways: key.1.clone(),
            asks: key.2,
            users: 1,
            entries: BTreeMap::new(),
            mean_us: None,
            blocked: None,
        };
        let at = if let Some(at) = self.free.pop() {
            self.classes[at] = class;
            at
        } else {
            self.classes.push(class);
            self.classes.len() - 1
        };
        self.by_key.insert(key, at);
        at
    }

    /// A submission of the class is gone.
    pub fn leave_class(&mut self, at: usize) {
        let class = &mut self.classes[at];
        class.users -= 1;
        if class.users == 0 {
            let entries = std::mem::take(&mut class.entries);
            if let Some(head) = entries.first_key_value() {
                self.heads.remove(&(*head.0, at));
            }
            let key = (class.mode.clone(), class.ways.clone(), class.asks);
            self.by_key.remove(&key);
            self.free.push(at);
        }
    }

    /// One class.
    pub fn class(&self, at: usize) -> &Class {
        &self.classes[at]
    }

    /// One class.
    pub fn class_mut(&mut self, at: usize) -> &mut Class {
        &mut self.classes[at]
    }

    /// Puts ready tasks into the queue.
    pub fn push(&mut self, at: usize, priority: i32, entry: Entry) {
        self.arrivals += 1;
        let place = (Reverse(priority), entry.submission, self.arrivals);
        self.change_head(at, |entries| {
            entries.insert(place, entry);
        });
    }

    /// The first entry of a class.
    pub fn first(&self, at: usize) -> Option<Entry> {
        self.classes[at]
            .entries
            .first_key_value()
            .map(|(_, entry)| *entry)
    }

    /// Drops the first entry of a class.
    pub fn pop(&mut self, at: usize) {
        self.change_head(at, |entries| {
            entries.pop_first();
        });
    }

    /// The first entry of a class begins later now.
    pub fn shorten(&mut self, at: usize, lo: u32) {
        if let Some(mut first) = self.classes[at].entries.first_entry() {
            first.get_mut().lo = lo;
        }
    }

    /// The first entry, of all classes, that stands behind `place` and first in its class.
    pub fn head_after(&self, place: Option<(Place, usize)>) -> Option<(Place, usize)> {
        let behind = place.map_or(Bound::Unbounded, Bound::Excluded);
        self.heads.range((behind, Bound::Unbounded)).next().copied()
    }

    /// Where the first entry of a class stands.
    pub fn head(&self, at: usize) -> Option<Place> {
        self.classes[at]
            .entries
            .first_key_value()
            .map(|(place, _)| *place)
    }

    /// Whether nothing is ready.
    pub fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }

    fn change_head(&mut self, at: usize, change: impl FnOnce(&mut BTreeMap<Place, Entry>)) {
        let entries = &mut self.classes[at].entries;
        let before = entries.first_key_value().map(|(place, _)| *place);
        change(entries);
        let after = entries.first_key_value().map(|(place, _)| *place);
        if before != after {
            if let Some(before) = before {
                self.heads.remove(&(before, at));
            }
            if let Some(after) = after {
                self.heads.insert((after, at));
            }
            self.classes[at].blocked = None;
        }
    }
}
