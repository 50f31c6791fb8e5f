//! How far tasks are, as they say: kept for those who ask, told to those who listen, and in no record.

use std::collections::{BTreeMap, BTreeSet};

use scalems_protocol::event::{Body, Topic};
use scalems_protocol::limits::{PROGRESS_EVERY_MS, PROGRESS_KEPT, PROGRESS_TASKS};
use scalems_protocol::progress::Progress;
use scalems_protocol::state::TaskState;
use scalems_protocol::worker::TasksProgress;

use super::Agent;
use crate::interface::{Action, Micros};
use crate::task::Slot;

/// The last words of tasks that run, and which of them nobody was told of yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Words {
    last: BTreeMap<(u64, u32), Progress>,
    news: BTreeSet<(u64, u32)>,
    /// Listeners are told no sooner than then.
    next: Micros,
}

impl Words {
    pub(super) fn deadline(&self) -> Option<Micros> {
        (!self.news.is_empty()).then_some(self.next)
    }
}

/// Whether an attempt is the one that runs.
fn is_at(slot: Slot, attempt: u32) -> bool {
    slot.attempt == attempt && matches!(slot.state, TaskState::Leased | TaskState::Running)
}

impl Agent {
    /// A worker says how far its tasks are. What cannot be so, or is of an attempt that it does not have, is left out.
    pub(super) fn progress(&mut self, worker: u32, said: TasksProgress) {
        for progress in said.tasks.into_iter().filter(Progress::is_sound) {
            let run = progress.run;
            let submission = self.tasks.get(run.submission);
            let slot = submission
                .filter(|submission| run.hi <= submission.count())
                .map(|submission| submission.slots.get(run.lo));
            if !slot.is_some_and(|slot| is_at(slot, run.attempt) && slot.worker == worker) {
                continue;
            }
            let task = (run.submission, run.lo);
            if self.words.last.len() >= PROGRESS_KEPT && !self.words.last.contains_key(&task) {
                self.forget_words();
                if self.words.last.len() >= PROGRESS_KEPT {
                    self.count("progress_left_out", 1);
                    continue;
                }
            }
            self.words.last.insert(task, progress);
            if self.listens_to(&Topic::Submission(run.submission)) {
                self.words.news.insert(task);
            }
        }
    }

    /// What a task that runs said last.
    pub(super) fn last_word(&self, submission: u64, offset: u32, slot: Slot) -> Option<Progress> {
        let said = self.words.last.get(&(submission, offset))?;
        is_at(slot, said.run.attempt).then(|| said.clone())
    }

    /// Drops the words of what does not run any more.
    fn forget_words(&mut self) {
        let tasks = &self.tasks;
        self.words.last.retain(|(submission, offset), said| {
            let submission = tasks.get(*submission);
            submission.is_some_and(|submission| is_at(submission.slots.get(*offset), said.run.attempt))
        });
    }

    /// Tells listeners what tasks have said since the last time.
    pub(super) fn publish_progress(&mut self, out: &mut Vec<Action>) {
        if self.words.news.is_empty() || self.now < self.words.next {
            return;
        }
        self.words.next = self.now + PROGRESS_EVERY_MS * 1_000;
        let mut of: BTreeMap<u64, Vec<Progress>> = BTreeMap::new();
        for task in std::mem::take(&mut self.words.news) {
            let said = self.words.last.get(&task);
            of.entry(task.0).or_default().extend(said.cloned());
        }
        for (submission, mut tasks) in of {
            while !tasks.is_empty() {
                let rest = tasks.split_off(tasks.len().min(PROGRESS_TASKS));
                let tasks = std::mem::replace(&mut tasks, rest);
                self.publish_one(Topic::Submission(submission), Body::Progress { tasks }, out);
            }
        }
    }
}
