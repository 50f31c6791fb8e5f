//! Tasks that did not end well, submitted again: as another submission that has their template, data and indices.

use scalems_protocol::client::{Accepted, Retry};
use scalems_protocol::error::{Code, Refusal};
use scalems_protocol::limits;
use scalems_protocol::state::TaskState;
use scalems_protocol::task::{After, Template};

use super::Agent;
use super::submit::New;
use crate::interface::{Action, Peer};
use crate::record::Again;
use crate::task::Submission;

impl Agent {
    pub(super) fn retry(&mut self, peer: Peer, seat: u64, retry: &Retry, out: &mut Vec<Action>) {
        let accepted = self.submit_again(seat, retry, out);
        let message = self.say_accepted(retry.request, accepted);
        self.answer_submission(peer, seat, retry.request, false, message, out);
    }

    fn submit_again(&mut self, seat: u64, retry: &Retry, out: &mut Vec<Action>) -> Result<Accepted, Refusal> {
        self.check_takes()?;
        let state = retry.select.state.unwrap_or(TaskState::Failed);
        if !matches!(state, TaskState::Failed | TaskState::Canceled) {
            let message = format!(
                "tasks that failed or were canceled can be submitted again, not those that are {}",
                state.name()
            );
            return Err(Refusal::new(Code::InvalidValue, message));
        }
        let selected = self.selected(seat, &retry.select)?;
        let number = selected.first().map_or(0, |(number, ..)| *number);
        if selected.last().is_some_and(|(last, ..)| *last != number) {
            let message = "tasks of several submissions are selected: submit those of one at a time again";
            return Err(Refusal::new(Code::InvalidValue, message));
        }
        let ranges: Vec<(u32, u32)> = selected.into_iter().map(|(_, lo, hi)| (lo, hi)).collect();
        let submission = self.tasks.known(number);
        let offsets = among(submission, &ranges, state, retry.repeat);
        if offsets.is_empty() {
            let message = format!(
                "no task that is selected of submission {number} is {} and was not submitted again",
                state.name()
            );
            return Err(Refusal::new(Code::NothingSelected, message));
        }
        if submission.push.is_some() {
            let message = format!(
                "the data of submission {number} is not here any more: its results went to the program that submitted \
                 it, which can submit it again"
            );
            return Err(Refusal::new(Code::NotKept, message));
        }
        if submission.is_over() && !submission.inputs.are_kept() {
            let message = format!(
                "the data of submission {number} is not kept any more: at most {} MiB of tasks that did not end well are; \
                 submit it anew",
                limits::KEPT_BYTES >> 20
            );
            return Err(Refusal::new(Code::NotKept, message));
        }
        let (size, data) = submission.inputs.again(&offsets, limits::BLOB_BYTES);
        let Some(data) = data else {
            let message = format!(
                "these tasks have {} MiB of data, and at most {} MiB are submitted together: select fewer tasks, such as \
                 {number}.0-999",
                size >> 20,
                limits::BLOB_BYTES >> 20
            );
            return Err(Refusal::new(Code::TooLarge, message));
        };
        let (indices, origin) = (submission.indices.part(&offsets), submission.origin);
        let template = Template {
            uid: None,
            ..Template::clone(&submission.template)
        };
        let after = template.after.iter();
        let after = after
            .filter_map(|after| self.after_again(origin.session, after))
            .collect();
        let new = New {
            request: retry.request,
            task: Template { after, ..template },
            count: offsets.iter().map(|(lo, hi)| hi - lo).sum(),
            indices,
            data,
            streaming: false,
            open: false,
            again: Some(Again {
                submission: number,
                offsets,
            }),
        };
        let accepted = self.take_in(seat, new, out)?;
        self.events.submission_changed(number);
        Ok(accepted)
    }

    /// What tasks that are submitted again run after, that ran after this the first time: what has not ended of it, or of
    /// that which it was submitted again as.
    fn after_again(&self, seat: u64, after: &After) -> Option<After> {
        let count = self.tasks.get(after.submission?).map_or(0, Submission::count);
        let blocker = self.blocker(seat, count, after).ok()?;
        let first = self.tasks.get(blocker.submission)?;
        let again = first.last_again().and_then(|number| self.tasks.get(number));
        let target = again.unwrap_or(first);
        (!target.is_over()).then(|| After {
            submission: Some(target.number),
            when: after.when,
            ..After::default()
        })
    }
}

/// Those of the tasks in these ranges that are in a state, and may be submitted again: in order, as ranges that do not
/// touch.
fn among(submission: &Submission, ranges: &[(u32, u32)], state: TaskState, repeat: bool) -> Vec<(u32, u32)> {
    let mut found: Vec<(u32, u32)> = Vec::new();
    for (lo, hi) in ranges {
        let stretches = submission.slots.stretches(*lo, *hi).into_iter();
        for stretch in stretches.filter(|stretch| stretch.value.state == state) {
            let new = if repeat {
                vec![(stretch.lo, stretch.hi)]
            } else {
                submission.not_again(stretch.lo, stretch.hi)
            };
            for (lo, hi) in new {
                match found.last_mut() {
                    Some((_, end)) if *end == lo => *end = hi,
                    _ => found.push((lo, hi)),
                }
            }
        }
    }
    found
}
