//! All submissions, and the one place where records change them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use scalems_protocol::client::Counts;
use scalems_protocol::limits;
use scalems_protocol::state::{Ending, TaskState};

use scalems_protocol::group::Run;

use crate::record::{Appended, Ended, Record};
use crate::task::{Inputs, Results, Sizes, Slot, Submission};

/// All submissions.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    submissions: BTreeMap<u64, Submission>,
    /// All tasks by state.
    pub counts: Counts,
    /// Bytes of data of tasks that have not ended.
    pub data_bytes: u64,
    /// Bytes of data of tasks that did not end well, in submissions that are over.
    kept_bytes: u64,
    /// Those submissions, the first that was over first.
    kept: VecDeque<u64>,
    /// What the results take that are held.
    pub results: Sizes,
    /// Submissions that hold values in memory.
    in_memory: BTreeSet<u64>,
    /// The highest number given.
    pub last: u64,
    /// In a replay, the highest that may have been given.
    reserved: u64,
    replays: bool,
}

impl Tasks {
    /// The submission with this number.
    pub fn get(&self, number: u64) -> Option<&Submission> {
        self.submissions.get(&number)
    }

    /// The submission with this number.
    pub fn get_mut(&mut self, number: u64) -> Option<&mut Submission> {
        self.submissions.get_mut(&number)
    }

    /// The submission with this number, which is known to exist.
    pub fn known(&mut self, number: u64) -> &mut Submission {
        self.submissions
            .get_mut(&number)
            .expect("a submission in hand is in the table")
    }

    /// All submissions by number.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Submission> {
        self.submissions.values()
    }

    /// The submissions from `number` on.
    pub fn from(&self, number: u64) -> impl Iterator<Item = &Submission> {
        self.submissions.range(number..).map(|(_, submission)| submission)
    }

    /// How many submissions are known.
    pub fn len(&self) -> usize {
        self.submissions.len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.submissions.is_empty()
    }

    /// Moves tasks to a new slot, and counts. Only for what need not last: leases and readiness.
    pub fn set(&mut self, number: u64, lo: u32, hi: u32, slot: Slot) {
        let submission = self
            .submissions
            .get_mut(&number)
            .expect("a submission in hand is in the table");
        for stretch in submission.slots.stretches(lo, hi) {
            *self.counts.of(stretch.value.state) -= u64::from(stretch.hi - stretch.lo);
        }
        *self.counts.of(slot.state) += u64::from(hi - lo);
        submission.set(lo, hi, slot);
    }

    /// Applies a lasting change, live and in replay alike.
    pub fn apply(&mut self, record: &Record) {
        match record {
            Record::Session { .. }
            | Record::Seat { .. }
            | Record::SeatGone { .. }
            | Record::Worker { .. }
            | Record::WorkerGone { .. }
            | Record::SessionGone { .. } => {}
            // The next life begins above, this one goes on below.
            Record::Numbers { submissions } => self.reserved = *submissions,
            Record::Collected { runs } => self.apply_collected(runs),
            Record::Submitted(from) => {
                let submission = Submission::new(from);
                self.last = self.last.max(from.submission);
                self.counts.waiting += u64::from(from.count);
                self.data_bytes += submission.inputs.held();
                let before = self.submissions.insert(from.submission, submission);
                assert!(before.is_none(), "a submission's number is given once");
                if let Some(again) = &from.again
                    && let Some(first) = self.submissions.get_mut(&again.submission)
                {
                    first.submitted_again(&again.offsets, from.submission);
                }
            }
            Record::Appended(from) => self.apply_appended(from),
            Record::Closed {
                submission: number,
                at,
            } => {
                if let Some(submission) = self.submissions.get_mut(number) {
                    submission.open = false;
                    submission.ended_at = submission.ended_at.max(*at);
                    self.drop_if_over(*number);
                }
            }
            Record::Ended(ended) => self.apply_ended(ended),
            Record::Fault {
                run,
                crash,
                ran_us,
                variant,
            } => {
                if let Some(submission) = self.submissions.get_mut(&run.submission) {
                    submission.spend(*variant, *ran_us, false);
                    // Live, slots know more than that.
                    if self.replays {
                        submission.had(*run);
                    }
                    for offset in run.lo..run.hi {
                        let faults = submission.faults.entry(offset).or_default();
                        if *crash {
                            faults.crashes += 1;
                            faults.charged = faults.charged.max(run.attempt);
                        } else {
                            faults.own += 1;
                            faults.over = faults.over.max(run.attempt);
                        }
                    }
                }
            }
            Record::Wasted {
                submission,
                ran_us,
                variant,
            } => {
                if let Some(submission) = self.submissions.get_mut(submission) {
                    submission.spend(*variant, *ran_us, false);
                }
            }
            Record::CancelAsked {
                submission,
                lo,
                hi,
                strength,
            } => {
                if let Some(submission) = self.submissions.get_mut(submission) {
                    submission
                        .canceling
                        .retain(|(from, to, _)| *from < *lo || *to > *hi);
                    submission.canceling.push((*lo, *hi, *strength));
                }
            }
            Record::Forgotten { submission } => {
                if let Some(gone) = self.submissions.remove(submission) {
                    for stretch in gone.slots.all() {
                        *self.counts.of(stretch.value.state) -= u64::from(stretch.hi - stretch.lo);
                    }
                    let held = if gone.is_over() {
                        &mut self.kept_bytes
                    } else {
                        &mut self.data_bytes
                    };
                    *held -= gone.inputs.held();
                    self.results = self.results - gone.results.sizes();
                    self.in_memory.remove(submission);
                }
            }
        }
    }

    fn apply_ended(&mut self, ended: &Ended) {
        let run = ended.run;
        let Some(submission) = self.submissions.get_mut(&run.submission) else {
            return;
        };
        for stretch in submission.slots.stretches(run.lo, run.hi) {
            assert!(!stretch.value.state.is_final(), "a task ends once");
            *self.counts.of(stretch.value.state) -= u64::from(stretch.hi - stretch.lo);
            let state = TaskState::from(ended.ending);
            *self.counts.of(state) += u64::from(stretch.hi - stretch.lo);
            submission.set(
                stretch.lo,
                stretch.hi,
                Slot {
                    state,
                    attempt: run.attempt,
                    variant: 0,
                    ..stretch.value
                },
            );
        }
        submission.ended_at = submission.ended_at.max(ended.at);
        submission.spend(ended.variant, ended.ran_us, ended.ending == Ending::Done);
        // Live, what is pushed lies in its seat's outbox instead.
        let held = submission.push.is_none() || self.replays;
        self.data_bytes -= submission.inputs_ended(run.lo, run.hi);
        if held {
            self.change_results(run.submission, |results| results.hold(ended.clone()));
        }
        self.drop_if_over(run.submission);
    }

    fn apply_appended(&mut self, from: &Appended) {
        let Some(submission) = self.submissions.get_mut(&from.submission) else {
            return;
        };
        assert_eq!(submission.count(), from.first, "tasks are added behind the last");
        submission.append(from);
        if self.replays {
            submission.recorded = submission.count();
        }
        self.counts.waiting += u64::from(from.count);
        self.data_bytes += from.data.bytes.len() as u64;
    }

    /// Drops what only tasks that have not ended need, if there are none, but for the data of those that may be submitted
    /// again.
    fn drop_if_over(&mut self, number: u64) {
        let Some(submission) = self
            .submissions
            .get_mut(&number)
            .filter(|submission| submission.is_over())
        else {
            return;
        };
        submission.canceling = Vec::new();
        submission.blockers = Vec::new();
        self.data_bytes -= submission.inputs.held();
        if submission.push.is_some() {
            submission.inputs = Inputs::default();
            return;
        }
        let bad = submission.ended_badly();
        submission.inputs.keep(&bad);
        if !submission.inputs.are_kept() {
            return;
        }
        self.kept_bytes += submission.inputs.held();
        self.kept.push_back(number);
        // Those that were forgotten since go when they are as many as the others.
        if self.kept.len() > 2 * self.submissions.len() {
            self.kept.retain(|kept| self.submissions.contains_key(kept));
        }
        while self.kept_bytes > limits::KEPT_BYTES
            && let Some(oldest) = self.kept.pop_front()
        {
            if let Some(oldest) = self.submissions.get_mut(&oldest) {
                self.kept_bytes -= oldest.inputs.drop_kept();
            }
        }
    }

    /// Live there is nothing to do: what was pushed was never held here.
    fn apply_collected(&mut self, runs: &[Run]) {
        for run in runs {
            self.change_results(run.submission, |results| results.let_go(run.lo, run.hi));
        }
    }

    /// Changes results that a submission holds, and keeps the accounts.
    fn change_results<T: Default>(&mut self, number: u64, change: impl FnOnce(&mut Results) -> T) -> T {
        let Some(submission) = self.submissions.get_mut(&number) else {
            return T::default();
        };
        let before = submission.results.sizes();
        let changed = change(&mut submission.results);
        self.results = self.results - before + submission.results.sizes();
        if submission.results.are_in_memory() {
            self.in_memory.insert(number);
        } else {
            self.in_memory.remove(&number);
        }
        changed
    }

    /// Values of held results that are in memory, those of the oldest submissions first: the submission and the
    /// offset that each is known by.
    pub fn in_memory(&self) -> impl Iterator<Item = ((u64, u32), Bytes)> + '_ {
        let submissions = self.in_memory.iter();
        let submissions = submissions.filter_map(|number| self.submissions.get(number));
        submissions.flat_map(|submission| {
            let values = submission.results.in_memory();
            values.map(|(offset, value)| ((submission.number, offset), value))
        })
    }

    /// A held value that was in memory lies elsewhere now. Whether it is still held.
    pub fn spilled(&mut self, (number, offset): (u64, u32), before: &Bytes, value: Bytes) -> bool {
        self.change_results(number, |results| results.spilled(offset, before, value))
    }

    /// From here on records are those of an earlier life: also results that were pushed are held.
    pub fn begin_replay(&mut self) {
        self.replays = true;
    }

    /// The replay is over. Gives what was pushed and not collected, oldest submissions first, each with its seat and
    /// whether its value was spilled.
    pub fn end_replay(&mut self) -> Vec<(u64, Ended, bool)> {
        self.replays = false;
        self.last = self.last.max(self.reserved);
        let pushed = self.submissions.values();
        let pushed: Vec<(u64, u64)> = pushed
            .filter_map(|submission| submission.push.map(|seat| (submission.number, seat)))
            .collect();
        let mut all = Vec::new();
        for (number, seat) in pushed {
            let results = self.change_results(number, std::mem::take);
            all.extend(results.into_all().map(|(ended, spilled)| (seat, ended, spilled)));
        }
        all
    }

    /// Why `count` more tasks with `bytes` of data cannot be held, if they cannot.
    pub fn full(&self, count: u32, bytes: usize) -> bool {
        self.counts.unfinished() + u64::from(count) > limits::PILOT_TASKS
            || self.data_bytes + bytes as u64 > limits::PILOT_BYTES
    }
}
