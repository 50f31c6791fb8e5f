//! What can be done to a pilot: proposed, confirmed, and then done by the source.

use std::time::Duration;

use scalems_protocol::select::Selector;

use super::{App, Details, Dialog, Of};
use crate::kit::dialog::Confirm;
use crate::kit::keys::{Command, Screen};
use crate::source::Action;
use crate::view::rows::{FaultRows, SubmissionRows, TaskRows, WorkerRows, first_index, task_name};

/// How long what runs on a worker that is drained may take.
const DRAIN: Duration = Duration::from_secs(3_600);
/// How long it may take where a worker or the pilot is stopped.
const STOP: Duration = Duration::from_secs(10);

impl App {
    /// Asks whether a thing should be done to what is marked, or to the chosen row.
    pub(super) fn propose(&mut self, command: Command) {
        if self.readonly {
            return;
        }
        let proposed = match command {
            Command::Cancel | Command::Retry => self.propose_for_tasks(command == Command::Cancel),
            Command::Drain => self.propose_for_workers(DRAIN),
            Command::Stop if self.screen == Screen::Workers => self.propose_for_workers(STOP),
            Command::Stop => Some(self.propose_stop()),
            _ => None,
        };
        match proposed {
            Some((confirm, action)) => self.dialog = Some(Dialog::Confirm(confirm, action)),
            None => self.say("nothing is chosen that this could be done to", true),
        }
    }

    fn propose_for_tasks(&self, cancel: bool) -> Option<(Confirm, Action)> {
        let (names, selected, count) = self.meant_tasks()?;
        let what = if count == 1 { "task" } else { "tasks" };
        Some(if cancel {
            let confirm = Confirm::new(format!("Cancel {count} {what}?"), names, count, "cancel")
                .note("They are asked to end; those that have not begun will not.");
            (confirm, Action::Cancel(selected))
        } else {
            let confirm = Confirm::new(
                "Submit what failed of these again?",
                names,
                selected.len() as u64,
                "submit",
            )
            .note("Each submission's failed tasks become a submission of their own, with the same data.");
            (confirm, Action::Retry(selected))
        })
    }

    /// Names of what is meant, selectors of it, and how many tasks those are.
    fn meant_tasks(&self) -> Option<(Vec<String>, Vec<Selector>, u64)> {
        if let Some(Details { of, .. }) = &self.details {
            return match of {
                Of::Task(submission, _, index) => {
                    let name = format!("{submission}.{index}");
                    Some((vec![name], vec![Selector::task(*submission, *index)], 1))
                }
                Of::Submission(number) => self.submissions_meant(&[*number]),
                Of::Worker(_) | Of::Fault(_) => None,
            };
        }
        match self.screen {
            Screen::Submissions => {
                let rows = SubmissionRows::new(self.shown(), self.theme);
                self.submissions_meant(&self.tables.submissions.meant(&rows))
            }
            Screen::Tasks => {
                let model = self.shown();
                let rows = TaskRows::new(&model.tasks, self.theme);
                let ids = self.tables.tasks.meant(&rows);
                let meant = model
                    .tasks
                    .iter()
                    .filter(|row| ids.contains(&(row.run.submission, row.run.lo)));
                let (mut names, mut selected, mut count) = (Vec::new(), Vec::new(), 0);
                for row in meant {
                    names.push(task_name(row));
                    let first = first_index(row);
                    let (step, tasks) = (row.indices.1.max(1), row.run.count().max(1));
                    let last = first.saturating_add(step.saturating_mul(tasks - 1));
                    let mut select = Selector::task(row.run.submission, first);
                    if let Some(pick) = select.picks.first_mut() {
                        pick.indices = Some((first, last, step));
                    }
                    selected.push(select);
                    count += u64::from(tasks);
                }
                (!names.is_empty()).then_some((names, selected, count))
            }
            Screen::Faults => {
                let rows = FaultRows::new(self.shown(), self.theme);
                let row = self.tables.faults.chosen()?;
                let (submission, index) = rows.get(row)?.last;
                let name = format!("{submission}.{index}");
                Some((vec![name], vec![Selector::task(submission, index)], 1))
            }
            _ => None,
        }
    }

    fn submissions_meant(&self, numbers: &[u64]) -> Option<(Vec<String>, Vec<Selector>, u64)> {
        let known = numbers
            .iter()
            .filter_map(|number| self.shown().submissions.get(number));
        let (mut names, mut selected, mut count) = (Vec::new(), Vec::new(), 0);
        for seen in known {
            let row = &seen.row;
            let name = row.name.as_deref().unwrap_or(&row.mode);
            names.push(format!("{} {name}", row.submission));
            selected.push(Selector::submission(row.submission));
            count += row.tasks.unfinished();
        }
        (!names.is_empty()).then_some((names, selected, count))
    }

    fn propose_for_workers(&self, drain: Duration) -> Option<(Confirm, Action)> {
        let rows = WorkerRows::new(self.shown(), self.theme);
        let ids = self.tables.workers.meant(&rows);
        let known = ids.iter().filter_map(|id| self.shown().workers.get(id));
        let names: Vec<String> = known.map(|seen| seen.row.name.clone()).collect();
        if names.is_empty() {
            return None;
        }
        let count = names.len() as u64;
        let (verb, yes, note) = if drain == DRAIN {
            (
                "Drain",
                "drain",
                "They take nothing new, end what runs on them, and go.",
            )
        } else {
            (
                "Stop",
                "stop",
                "What runs on them has ten seconds; it begins anew elsewhere.",
            )
        };
        let what = if count == 1 { "worker" } else { "workers" };
        let confirm = Confirm::new(format!("{verb} {count} {what}?"), names, count, yes).note(note);
        Some((confirm, Action::StopWorkers(ids, drain)))
    }

    fn propose_stop(&self) -> (Confirm, Action) {
        let name = self.model.pilot.clone();
        let unfinished = self.model.summary.tasks.unfinished();
        let confirm = Confirm::new("Stop the pilot?", vec![name], 1, "stop").note(format!(
            "What runs has ten seconds. {unfinished} tasks have not ended; with a journal they go on when it is started with --resume."
        ));
        (confirm, Action::StopPilot(STOP))
    }
}
