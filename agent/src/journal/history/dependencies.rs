//! What waited for what.

use std::collections::BTreeMap;

use scalems_protocol::task::{After, When};

use super::{History, Outcome, Span, Submission};

/// A submission that waited for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dependency {
    /// The one that waited.
    pub waiting: u64,
    /// The one that it waited for.
    pub on: u64,
    /// How that had to end.
    pub when: When,
    /// Whether each task waited for the one of its own offset alone.
    pub each: bool,
    /// For which offsets, if not for all.
    pub offsets: Option<(u32, u32)>,
    /// When the last that was waited for had ended, microseconds since the pilot was created; none: it has not.
    pub until_us: Option<u64>,
}

/// When tasks of a submission ended: by first offset, one past the last and the time.
type Ends = BTreeMap<u32, (u32, u64)>;

/// When tasks could have begun.
#[derive(Debug)]
pub(super) struct Ready {
    /// By submission.
    whole: BTreeMap<u64, u64>,
    /// Submissions whose tasks wait for one each, with the ends of those.
    each: BTreeMap<u64, Vec<u64>>,
    ends: BTreeMap<u64, Ends>,
}

impl Ready {
    /// When the task of a span could have begun, microseconds since the pilot was created.
    pub(super) fn of(&self, span: &Span) -> u64 {
        let mut ready = self.whole.get(&span.submission).copied().unwrap_or(0);
        for on in self.each.get(&span.submission).into_iter().flatten() {
            let before = self
                .ends
                .get(on)
                .and_then(|ends| ends.range(..=span.lo).next_back());
            if let Some((_, (hi, end))) = before
                && span.lo < *hi
            {
                ready = ready.max(*end);
            }
        }
        ready
    }
}

impl History {
    fn on(&self, submission: &Submission, after: &After) -> Option<u64> {
        let by_request = || {
            let key = (submission.origin.session, after.request?);
            self.origins.get(&key).copied()
        };
        after.submission.or_else(by_request)
    }

    /// What waited for what, by the number of the one that waited. What the journal does not know any more is left out.
    pub fn dependencies(&self) -> Vec<Dependency> {
        let ends = self.ends();
        let mut found = Vec::new();
        for submission in self.submissions() {
            for after in submission.after() {
                let on = self.on(submission, after);
                let Some(on) = on.and_then(|on| self.submission(on)) else {
                    continue;
                };
                let (lo, hi) = after.offsets.unwrap_or((0, on.count));
                let of_it = ends.get(&on.submission);
                let of_it = of_it.into_iter().flat_map(|ends| ends.range(..hi));
                let within: Vec<_> = of_it.filter(|(_, (end, _))| *end > lo).collect();
                let ended: u64 = within
                    .iter()
                    .map(|(from, (upto, _))| u64::from((*upto).min(hi) - (**from).max(lo)))
                    .sum();
                let all = ended >= u64::from(hi - lo);
                let last = within.iter().map(|(_, (_, at))| *at).max();
                found.push(Dependency {
                    waiting: submission.submission,
                    on: on.submission,
                    when: after.when,
                    each: after.each,
                    offsets: after.offsets,
                    until_us: last.filter(|_| all),
                });
            }
        }
        found
    }

    /// Ends of tasks of submissions that others wait for.
    fn ends(&self) -> BTreeMap<u64, Ends> {
        let mut ends: BTreeMap<u64, Ends> = BTreeMap::new();
        for submission in self.submissions() {
            let on = submission.after().iter();
            ends.extend(on.filter_map(|after| Some((self.on(submission, after)?, Ends::new()))));
        }
        if ends.is_empty() {
            return ends;
        }
        for span in self.spans().iter().filter(|span| span.outcome.is_final()) {
            if let Some(ends) = ends.get_mut(&span.submission) {
                ends.insert(span.lo, (span.hi, span.end_us));
            }
        }
        ends
    }

    /// When tasks could have begun, but for room.
    pub(super) fn ready(&self) -> Ready {
        let mut whole: BTreeMap<u64, u64> = self.submissions().map(|of| (of.submission, of.at_us)).collect();
        let mut each: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for dependency in self.dependencies() {
            if dependency.each {
                each.entry(dependency.waiting).or_default().push(dependency.on);
            } else if let (Some(until), Some(ready)) =
                (dependency.until_us, whole.get_mut(&dependency.waiting))
            {
                *ready = (*ready).max(until);
            }
        }
        let ends = self.ends();
        Ready { whole, each, ends }
    }

    /// How long the tasks of each span waited for room, microseconds: from when they could have begun to when the first attempt did;
    /// none of later attempts. In the order of [`History::spans`].
    pub fn waited_us(&self) -> Vec<Option<u64>> {
        let ready = self.ready();
        let waited = |span: &Span| span.begin_us.saturating_sub(ready.of(span));
        let spans = self.spans().iter();
        spans
            .map(|span| Self::is_first(span).then(|| waited(span)))
            .collect()
    }

    /// Whether it is the first attempt of its tasks that ran.
    pub(super) fn is_first(span: &Span) -> bool {
        span.ran() && span.attempt <= 1 && !matches!(span.outcome, Outcome::Canceled if span.ran_us == 0)
    }
}
