//! Tasks that did not end well, submitted again: as another submission that has their template, data and indices.

use scalems_protocol::client::{Accepted, Retry};
use scalems_protocol::error::{Code, Refusal};
use scalems_protocol::limits;
use scalems_protocol::state::TaskState;
use scalems_protocol::task::{After, Template, When};

use super::Agent;
use super::submit::New;
use crate::interface::{Action, Peer};
use crate::record::Again;
use crate::runs::Stretch;
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
            .flat_map(|after| self.after_again(origin.session, after, &offsets))
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

    /// What the tasks with these offsets run after when they are submitted again, that ran after this the first time: those
    /// tasks of it that have not ended, or as what they were submitted again.
    fn after_again(&self, seat: u64, after: &After, offsets: &[(u32, u32)]) -> Vec<After> {
        let Some(target) = self.target(seat, after) else {
            return Vec::new();
        };
        let needed = match after.offsets {
            _ if after.each => offsets.to_vec(),
            Some(range) => vec![range],
            None => vec![(0, target.count())],
        };
        let homes = self.homes(target.number, &needed);
        let bare = |submission: u64| After {
            submission: Some(submission),
            when: after.when,
            ..After::default()
        };
        if after.each
            && let Some(number) = self.only_home(&homes)
        {
            let waits = self.tasks.get(number).filter(|home| !home.is_over());
            let each = waits.map(|home| After {
                each: true,
                ..bare(home.number)
            });
            return each.into_iter().collect();
        }
        let mut left: Vec<Range> = Vec::new();
        let mut bad = false;
        for (number, lo, hi) in homes {
            let home = self.tasks.get(number);
            for stretch in home.into_iter().flat_map(|home| home.slots.stretches(lo, hi)) {
                match stretch.value.state {
                    TaskState::Done => {}
                    TaskState::Failed | TaskState::Canceled => bad = true,
                    _ => add(&mut left, (number, stretch.lo, stretch.hi)),
                }
            }
        }
        // What was asked for has come already.
        let when = match after.when {
            When::Failed if bad => When::Any,
            when => when,
        };
        let waits_for_more = target.open && after.offsets.is_none() && !after.each;
        if waits_for_more {
            left.retain(|(number, ..)| *number != target.number);
        }
        let some = left.into_iter().map(|(number, lo, hi)| {
            let whole = lo == 0 && self.tasks.get(number).is_some_and(|home| home.count() == hi);
            After {
                offsets: (!whole).then_some((lo, hi)),
                when,
                ..bare(number)
            }
        });
        some.chain(waits_for_more.then(|| bare(target.number))).collect()
    }

    /// As what tasks were submitted again the last time, or themselves: in order. What is forgotten has ended.
    fn homes(&self, number: u64, ranges: &[(u32, u32)]) -> Vec<Range> {
        let mut homes = Vec::new();
        // Each with whether it is one.
        let ranges = ranges.iter().rev();
        let mut to_see: Vec<(Range, bool)> = ranges.map(|(lo, hi)| ((number, *lo, *hi), false)).collect();
        // It has an end: what was submitted again has a higher number.
        while let Some((range @ (number, lo, hi), is_home)) = to_see.pop() {
            if is_home {
                add(&mut homes, range);
                continue;
            }
            let Some(submission) = self.tasks.get(number) else {
                continue;
            };
            for Stretch { lo, hi, value } in submission.again_stretches(lo, hi).into_iter().rev() {
                if value == 0 {
                    to_see.push(((number, lo, hi), true));
                } else if let Some(again) = self.tasks.get(value).filter(|_| value > number)
                    && let Some(from) = again.offset_of(submission.index(lo))
                {
                    to_see.push(((value, from, from + (hi - lo)), false));
                }
            }
        }
        homes
    }

    /// The submission that is made of these homes, whole and in order.
    fn only_home(&self, homes: &[Range]) -> Option<u64> {
        let [(number, 0, hi)] = homes else { return None };
        (*hi == self.tasks.get(*number)?.count()).then_some(*number)
    }
}

/// Tasks of a submission: its number, the first offset, one past the last.
type Range = (u64, u32, u32);

/// Adds a range to those before, the last of which it may continue.
fn add(ranges: &mut Vec<Range>, (number, lo, hi): Range) {
    match ranges.last_mut() {
        Some((last, _, end)) if *last == number && *end == lo => *end = hi,
        _ => ranges.push((number, lo, hi)),
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
