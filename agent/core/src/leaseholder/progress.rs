//! How far tasks are, as they say: their last words are told, now and then. They may be lost.

use std::collections::BTreeMap;

use scalems_protocol::limits::{PROGRESS_EVERY_MS, PROGRESS_TASKS, PROGRESS_TEXT_BYTES};
use scalems_protocol::progress::Progress;
use scalems_protocol::worker::TasksProgress;

use super::Leaseholder;
use super::interface::Output;
use super::link::MILLISECOND;
use crate::interface::Micros;

/// Last words that were not told: one at most for each task that was started.
#[derive(Clone, Debug, Default)]
pub(super) struct Words {
    last: BTreeMap<u64, (f64, String)>,
    /// No sooner than then.
    next: Micros,
}

impl Leaseholder {
    /// A task says how far it is.
    pub(super) fn task_is_at(&mut self, key: u64, fraction: f64, mut text: String) {
        let runs = self.table.get_mut(key).is_some_and(|task| !task.is_dropped());
        if !runs || !(0.0..=1.0).contains(&fraction) {
            return;
        }
        text.truncate(text.floor_char_boundary(PROGRESS_TEXT_BYTES));
        self.words.last.insert(key, (fraction, text));
    }

    /// Tells what tasks have said since the last time.
    pub(super) fn tell_progress(&mut self, now: Micros, out: &mut Vec<Output>) {
        if self.words.last.is_empty() || !self.link.is_welcomed() || now < self.words.next {
            return;
        }
        self.words.next = now.saturating_add(PROGRESS_EVERY_MS * MILLISECOND);
        let mut tasks = Vec::new();
        while tasks.len() < PROGRESS_TASKS
            && let Some((key, (fraction, text))) = self.words.last.pop_first()
        {
            if let Some(task) = self.table.get_mut(key).filter(|task| !task.is_dropped()) {
                let run = task.grant.run;
                tasks.push(Progress { run, fraction, text });
            }
        }
        if !tasks.is_empty() {
            out.push(Output::Send(TasksProgress { tasks }.into(), Vec::new()));
        }
    }

    /// When there is something to tell.
    pub(super) fn progress_timer(&self) -> Option<Micros> {
        let some = !self.words.last.is_empty() && self.link.is_welcomed();
        some.then_some(self.words.next)
    }
}
