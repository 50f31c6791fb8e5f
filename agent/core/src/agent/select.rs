//! Selectors, resolved against what is known (R9).

use scalems_protocol::error::Refusal;
use scalems_protocol::select::{Selector, name_matches};

use super::Agent;
use crate::task::Submission;

impl Agent {
    /// The tasks that `select` names: submission and offsets, in order. An error when there is none.
    pub(super) fn selected(&self, seat: u64, select: &Selector) -> Result<Vec<(u64, u32, u32)>, Refusal> {
        select.check()?;
        let mut found = Vec::new();
        let last = self
            .attachments
            .get(&seat)
            .and_then(|a| self.sessions.get(&a.session))
            .and_then(|s| s.last);
        let mut add = |submission: &Submission, lo: u32, hi: u32| {
            let Some(state) = select.state else {
                return found.push((submission.number, lo, hi));
            };
            for stretch in submission.slots.stretches(lo, hi) {
                if stretch.value.state == state {
                    found.push((submission.number, stretch.lo, stretch.hi));
                }
            }
        };
        if select.picks.is_empty() && !select.last {
            if !select.is_empty() {
                for submission in self.tasks.iter().filter(|submission| matches(select, submission)) {
                    add(submission, 0, submission.count());
                }
            }
        } else {
            if let Some(submission) = last
                .filter(|_| select.last)
                .and_then(|number| self.tasks.get(number))
                .filter(|submission| matches(select, submission))
            {
                add(submission, 0, submission.count());
            }
            for pick in &select.picks {
                for submission in self
                    .tasks
                    .from(pick.first)
                    .take_while(|submission| submission.number <= pick.last)
                {
                    if pick.has(submission.number) && matches(select, submission) {
                        for (lo, hi) in submission.picked(pick) {
                            add(submission, lo, hi);
                        }
                    }
                }
            }
        }
        found.sort_unstable();
        if found.is_empty() {
            Err(Self::nothing_selected())
        } else {
            Ok(merged(found))
        }
    }
}

fn matches(select: &Selector, submission: &Submission) -> bool {
    let name = submission.template.name.as_deref().unwrap_or_default();
    select
        .name
        .as_ref()
        .is_none_or(|pattern| name_matches(pattern, name))
        && select.label.as_ref().is_none_or(|(key, value)| {
            submission
                .template
                .labels
                .get(key)
                .is_some_and(|has| has == value)
        })
}

/// Joins ranges that touch or overlap, so that no task is named twice.
fn merged(sorted: Vec<(u64, u32, u32)>) -> Vec<(u64, u32, u32)> {
    let mut joined: Vec<(u64, u32, u32)> = Vec::with_capacity(sorted.len());
    for (number, lo, hi) in sorted {
        match joined.last_mut() {
            Some((last, _, end)) if *last == number && lo <= *end => *end = hi.max(*end),
            _ => joined.push((number, lo, hi)),
        }
    }
    joined
}
