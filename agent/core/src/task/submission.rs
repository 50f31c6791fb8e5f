//! One submission: what its tasks share, and the state of each as runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use scalems_protocol::client::Counts;
use scalems_protocol::group::Run;
use scalems_protocol::id::Origin;
use scalems_protocol::select::Pick;
use scalems_protocol::state::{Strength, TaskState};
use scalems_protocol::task::{MEMORY, TIME, Template};
use scalems_protocol::{Amount, limits};

use crate::interface::Micros;
use crate::record::{Appended, Ended, Submitted};
use crate::runs::{RunMap, Stretch};
use crate::task::{Blocker, Indices, Inputs, Results};

/// Where one task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Its state.
    pub state: TaskState,
    /// The latest attempt, 0 before the first.
    pub attempt: u32,
    /// The worker of the latest attempt, 0 before the first.
    pub worker: u32,
    /// The agent's life that granted the latest attempt, 0 before the first.
    pub incarnation: u16,
    /// Which of the ways to run the latest attempt was given room for, as long as somebody holds it.
    pub variant: u8,
}

impl Slot {
    /// Whether `worker` holds the lease of this attempt.
    pub fn is_held_by(&self, worker: u32, attempt: u32) -> bool {
        matches!(self.state, TaskState::Leased | TaskState::Running)
            && self.worker == worker
            && self.attempt == attempt
    }
}

/// What was charged to one task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Its own failures.
    pub own: u32,
    /// Workers lost while it ran.
    pub crashes: u32,
    /// The latest attempt that was charged for a lost worker: once is enough, also if that comes back with it.
    pub charged: u32,
    /// The latest attempt that failed by itself: neither it nor one before can still run.
    pub over: u32,
}

/// Where a new task is.
const WAITING: Slot = Slot {
    state: TaskState::Waiting,
    attempt: 0,
    worker: 0,
    incarnation: 0,
    variant: 0,
};

/// Tasks that were submitted together, and those that were added.
#[derive(Clone, Debug)]
pub struct Submission {
    /// Its number.
    pub number: u64,
    /// Where it came from.
    pub origin: Origin,
    /// What its tasks share.
    pub template: Arc<Template>,
    /// Their indices.
    pub indices: Indices,
    /// Their data, until all have ended, and that of those that did not end well for longer.
    pub inputs: Inputs,
    /// Which tasks were submitted again, and as which submission.
    pub again: Option<Box<RunMap<u64>>>,
    /// Whether tasks may be added.
    pub open: bool,
    /// Tasks from here on were added and are not on disk: they wait for that.
    pub recorded: u32,
    /// To which attachment results are pushed; none: they are held here.
    pub push: Option<u64>,
    /// When it was submitted.
    pub at: Micros,
    /// When the last of its tasks ended.
    pub ended_at: Micros,
    /// How long attempts ran that ended well, and all others, together: for each way that tasks may run in.
    spent_us: Vec<(Micros, Micros)>,
    /// The state of each task.
    pub slots: RunMap<Slot>,
    /// Its tasks by state.
    pub counts: Counts,
    /// What was charged, for those that were charged.
    pub faults: BTreeMap<u32, Faults>,
    /// Which of its leased tasks are to end.
    pub canceling: Vec<(u32, u32, Strength)>,
    /// Higher attempts than the slots say, after an older attempt was adopted: numbers never come back.
    pub passed: Vec<(u32, u32, u32)>,
    /// Results that are held.
    pub results: Results,
    /// What has to end before.
    pub blockers: Vec<Blocker>,
    /// Submissions that wait for this one.
    pub dependents: Vec<u64>,
    /// The scheduling class.
    pub class: usize,
}

impl Submission {
    /// A new submission; its tasks wait.
    pub fn new(from: &Submitted) -> Self {
        let counts = Counts {
            waiting: u64::from(from.count),
            ..Counts::default()
        };
        Self {
            number: from.submission,
            origin: from.origin,
            template: Arc::clone(&from.template),
            indices: from.indices.clone(),
            inputs: Inputs::new(from),
            again: None,
            open: from.open,
            recorded: from.count,
            push: from.push,
            at: from.at,
            ended_at: 0,
            spent_us: Vec::new(),
            slots: RunMap::new(from.count, WAITING),
            counts,
            faults: BTreeMap::new(),
            canceling: Vec::new(),
            passed: Vec::new(),
            results: Results::default(),
            blockers: Vec::new(),
            dependents: Vec::new(),
            class: usize::MAX,
        }
    }

    /// How many tasks it has.
    pub const fn count(&self) -> u32 {
        self.slots.len()
    }

    /// Whether nothing will happen to it any more: all tasks have ended, and there will be no others.
    pub const fn is_over(&self) -> bool {
        !self.open && self.counts.unfinished() == 0
    }

    /// Tasks are added. They wait until they are on disk.
    pub fn append(&mut self, from: &Appended) {
        self.slots.grow(from.count, WAITING);
        self.counts.waiting += u64::from(from.count);
        self.inputs.append(from);
    }

    /// The tasks `lo..hi` have ended. Gives the bytes of data that are held no more.
    pub fn inputs_ended(&mut self, lo: u32, hi: u32) -> u64 {
        let (slots, held) = (&self.slots, self.push.is_none());
        self.inputs.ended(lo, hi, |lo, hi| {
            let stretches = slots.stretches(lo, hi);
            !held
                || stretches
                    .iter()
                    .all(|stretch| stretch.value.state == TaskState::Done)
        })
    }

    /// Which of its tasks have ended, and not well.
    pub fn ended_badly(&self) -> Vec<(u32, u32)> {
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        if self.counts.failed + self.counts.canceled == 0 {
            return ranges;
        }
        let bad = |state: TaskState| matches!(state, TaskState::Failed | TaskState::Canceled);
        for stretch in self
            .slots
            .all()
            .into_iter()
            .filter(|stretch| bad(stretch.value.state))
        {
            match ranges.last_mut() {
                Some((_, end)) if *end == stretch.lo => *end = stretch.hi,
                _ => ranges.push((stretch.lo, stretch.hi)),
            }
        }
        ranges
    }

    /// Those of the tasks `lo..hi` that were not submitted again.
    pub fn not_again(&self, lo: u32, hi: u32) -> Vec<(u32, u32)> {
        let Some(again) = &self.again else {
            return vec![(lo, hi)];
        };
        let stretches = again.stretches(lo, hi).into_iter();
        stretches
            .filter(|stretch| stretch.value == 0)
            .map(|stretch| (stretch.lo, stretch.hi))
            .collect()
    }

    /// As which submission a task was submitted again, the last time.
    pub fn again_as(&self, offset: u32) -> Option<u64> {
        let stretches = self.again.as_ref()?.stretches(offset, offset + 1);
        stretches
            .first()
            .map(|stretch| stretch.value)
            .filter(|number| *number > 0)
    }

    /// As which submissions its tasks were submitted again, the last time; 0: they were not.
    pub fn again_stretches(&self, lo: u32, hi: u32) -> Vec<Stretch<u64>> {
        let not = Stretch { lo, hi, value: 0 };
        let Some(again) = self.again.as_ref() else {
            return vec![not];
        };
        let known = again.len();
        let mut stretches = again.stretches(lo.min(known), hi.min(known));
        if known < hi {
            // Those were added since.
            stretches.push(Stretch {
                lo: lo.max(known),
                ..not
            });
        }
        stretches
    }

    /// The task that people know by this index.
    pub fn offset_of(&self, index: u32) -> Option<u32> {
        let (mut lo, mut hi) = (0, self.count());
        while lo < hi {
            let middle = lo + (hi - lo) / 2;
            if self.index(middle) < index {
                lo = middle + 1;
            } else {
                hi = middle;
            }
        }
        (lo < self.count() && self.index(lo) == index).then_some(lo)
    }

    /// Some of its tasks were submitted again.
    pub fn submitted_again(&mut self, offsets: &[(u32, u32)], number: u64) {
        let count = self.slots.len();
        let again = self.again.get_or_insert_with(|| Box::new(RunMap::new(count, 0)));
        if again.len() < count {
            again.grow(count - again.len(), 0);
        }
        for (lo, hi) in offsets {
            again.set(*lo, (*hi).min(count), number);
        }
    }

    /// Whether so many of its tasks may fail.
    pub fn may_fail(&self, count: u64) -> bool {
        self.template
            .max_failures
            .is_none_or(|most| count <= u64::from(most))
    }

    /// Whether more of its tasks have failed than may, and it is not over.
    pub fn has_too_many_failures(&self) -> bool {
        !self.may_fail(self.counts.failed) && !self.is_over()
    }

    /// Whether it is an array: many tasks that share their data.
    pub fn is_array(&self) -> bool {
        self.inputs.are_shared() && self.count() > 1
    }

    /// The index that people know the task by.
    pub fn index(&self, offset: u32) -> u32 {
        self.indices.at(offset)
    }

    /// Moves tasks to a new slot, and counts.
    pub fn set(&mut self, lo: u32, hi: u32, slot: Slot) {
        for stretch in self.slots.stretches(lo, hi) {
            *self.counts.of(stretch.value.state) -= u64::from(stretch.hi - stretch.lo);
        }
        *self.counts.of(slot.state) += u64::from(hi - lo);
        self.slots.set(lo, hi, slot);
    }

    /// The bytes of data that leases of these tasks carry.
    pub fn bytes(&self, lo: u32, hi: u32) -> u64 {
        self.inputs.bytes(lo, hi)
    }

    /// How hard the task at `offset` is to be canceled, if it is.
    pub fn canceling(&self, offset: u32) -> Option<Strength> {
        self.canceling
            .iter()
            .rev()
            .find(|(lo, hi, _)| (*lo..*hi).contains(&offset))
            .map(|(_, _, how)| *how)
    }

    /// The slots of tasks that nobody holds say at least this attempt.
    pub fn had(&mut self, run: Run) {
        for stretch in self.slots.stretches(run.lo, run.hi) {
            let attempt = run.attempt.max(stretch.value.attempt);
            let slot = Slot {
                attempt,
                ..stretch.value
            };
            self.slots.set(stretch.lo, stretch.hi, slot);
        }
    }

    /// Notes that these tasks had this attempt, whatever their slots say.
    pub fn pass(&mut self, lo: u32, hi: u32, attempt: u32) {
        if !self.passed.contains(&(lo, hi, attempt)) {
            self.passed.push((lo, hi, attempt));
        }
    }

    /// Lets the slots of tasks that nobody holds say the highest attempt that each ever had.
    pub fn raise_attempts(&mut self, lo: u32, hi: u32) {
        let passed = self.passed.clone();
        for (from, to, attempt) in passed {
            self.had(Run {
                submission: self.number,
                lo: from.max(lo),
                hi: to.min(hi),
                attempt,
            });
        }
    }

    /// The offsets that a pick selects, as ranges.
    pub fn picked(&self, pick: &Pick) -> Vec<(u32, u32)> {
        let count = self.count();
        let Some((first, last, step)) = pick.indices else {
            return vec![(0, count)];
        };
        let base = self.indices.first();
        if step == 1 && self.indices.step() == 1 && self.indices.jumps().is_empty() {
            let lo = first.saturating_sub(base).min(count);
            let hi = last.saturating_add(1).saturating_sub(base).min(count);
            return if lo < hi && last >= base {
                vec![(lo, hi)]
            } else {
                Vec::new()
            };
        }
        (0..count)
            .filter(|offset| {
                let index = self.index(*offset);
                index >= first && index <= last && (index - first).is_multiple_of(step.max(1))
            })
            .map(|offset| (offset, offset + 1))
            .collect()
    }

    /// What its attempts took that are over: by kind, what those took that ended well, and all others. Memory is not
    /// counted: nobody pays for it by the hour.
    pub fn spent(&self) -> Vec<(String, u64, u64)> {
        let mut spent: Vec<(String, u64, u64)> = Vec::new();
        let mut add = |kind: &str, times: (Micros, Micros), amount: Amount| {
            let of = |us: u64| {
                let all = u128::from(us) * u128::from(amount.parts()) / u128::from(Amount::PARTS);
                u64::try_from(all).unwrap_or(u64::MAX)
            };
            let (used, wasted) = (of(times.0), of(times.1));
            match spent.iter_mut().find(|(known, ..)| known == kind) {
                Some(before) => {
                    before.1 = before.1.saturating_add(used);
                    before.2 = before.2.saturating_add(wasted);
                }
                None => spent.push((kind.to_owned(), used, wasted)),
            }
        };
        let ways = self.template.needs.ways();
        for (needs, times) in ways.zip(&self.spent_us).filter(|(_, times)| **times != (0, 0)) {
            add(TIME, *times, Amount::whole(1));
            for (kind, amount) in needs.totals().filter(|(kind, _)| *kind != MEMORY) {
                add(kind, *times, amount);
            }
        }
        spent
    }

    /// Attempts are over that ran in one of the ways.
    pub fn spend(&mut self, variant: u8, ran_us: Micros, well: bool) {
        if ran_us == 0 {
            return;
        }
        let at = usize::from(variant).min(limits::VARIANTS);
        if self.spent_us.len() <= at {
            self.spent_us.resize(at + 1, (0, 0));
        }
        let (used, wasted) = &mut self.spent_us[at];
        let time = if well { used } else { wasted };
        *time = time.saturating_add(ran_us);
    }

    /// The held result of the task at `offset`.
    pub fn result(&self, offset: u32) -> Option<&Ended> {
        self.results.at(offset)
    }
}
