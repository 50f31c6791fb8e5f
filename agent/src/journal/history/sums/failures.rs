//! What failed, by reason and node.

use std::collections::BTreeMap;

use super::super::{History, Outcome, Span, Tail};

/// Attempts that did not end well for one reason on one host.
#[derive(Clone, Debug, PartialEq)]
pub struct FailureGroup<'a> {
    /// The code, `retried` or `lost` where the journal has none.
    pub code: &'static str,
    /// The class of the error, for functions.
    pub class: Option<&'a str>,
    /// The exit code.
    pub exit_code: Option<i32>,
    /// The host; none: nothing ran, or the journal does not say where.
    pub host: Option<&'a str>,
    /// What was said of the first.
    pub message: &'a str,
    /// Tasks that ended so.
    pub failed: u64,
    /// Attempts that were followed by another.
    pub retried: u64,
    /// When the first and the last of them ended, microseconds since the pilot was created.
    pub when_us: (u64, u64),
    /// Some of them, as places in [`History::spans`].
    pub examples: Vec<u32>,
}

type Key<'a> = (&'static str, Option<&'a str>, Option<i32>, Option<&'a str>);

/// Examples of each.
const EXAMPLES: usize = 5;

impl History {
    /// What failed, by reason and host: those with most tasks first, and no more than `most`; and how many groups there are.
    pub fn failures(&self, most: usize) -> (Vec<FailureGroup<'_>>, usize) {
        let mut groups: BTreeMap<Key<'_>, FailureGroup<'_>> = BTreeMap::new();
        for (place, span) in self.spans.iter().enumerate() {
            if matches!(span.outcome, Outcome::Done | Outcome::Canceled) {
                continue;
            }
            let group = groups
                .entry(self.key(span))
                .or_insert_with_key(|key| FailureGroup {
                    code: key.0,
                    class: key.1,
                    exit_code: key.2,
                    host: key.3,
                    message: self.reason_of(span).map_or("", |reason| reason.message.as_str()),
                    failed: 0,
                    retried: 0,
                    when_us: (span.end_us, span.end_us),
                    examples: Vec::new(),
                });
            let count = if span.outcome.is_final() {
                &mut group.failed
            } else {
                &mut group.retried
            };
            *count += u64::from(span.count());
            group.when_us = (group.when_us.0.min(span.end_us), group.when_us.1.max(span.end_us));
            if group.examples.len() < EXAMPLES {
                group.examples.push(place as u32);
            }
        }
        let all = groups.len();
        let mut groups: Vec<_> = groups.into_values().collect();
        groups.sort_by_key(|group| std::cmp::Reverse((group.failed, group.retried)));
        groups.truncate(most);
        (groups, all)
    }

    fn key(&self, span: &Span) -> Key<'_> {
        let reason = self.reason_of(span);
        let host = self.worker_of(span).map(|worker| worker.host.as_str());
        let code = reason.map_or(span.outcome.name(), |reason| reason.code);
        let class = reason.and_then(|reason| reason.class.as_deref());
        (code, class, span.exit_code, host)
    }

    /// What was kept of what the tasks of a group wrote.
    pub fn tails_of(&self, group: &FailureGroup<'_>, most: usize) -> Vec<&Tail> {
        let key = (group.code, group.class, group.exit_code, group.host);
        let of_it = self.tails().iter().filter(|tail| {
            let span = self.spans.get(tail.span as usize);
            span.is_some_and(|span| self.key(span) == key)
        });
        of_it.take(most).collect()
    }
}
