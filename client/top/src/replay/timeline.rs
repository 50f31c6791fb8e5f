//! A recording in the order of time: what was at any time is found by a short walk from the nearest state that is kept.

use std::collections::BTreeSet;

use super::recording::{Outcome, Recording};
use super::state::{Change, Facts, FaultKey, State};

/// Rows of all kept states together: some tens of megabytes, however many submissions and workers there are.
const KEPT_ROWS: usize = 500_000;
/// States that are kept at most: with a million spans a walk is no longer than thirty thousand changes then.
const KEPT: usize = 64;
/// The fewest changes between two of them: walking them takes no time.
const STRIDE: usize = 256;

/// What is not as it was when it was last asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Dirty {
    pub(super) submissions: BTreeSet<u32>,
    pub(super) workers: BTreeSet<u32>,
    pub(super) faults: BTreeSet<FaultKey>,
    /// Spans that began or ended, as many as are looked at for how long things took.
    pub(super) begun: Vec<u32>,
    pub(super) ended: Vec<u32>,
}

/// Spans of one step whose times are looked at.
const SAMPLES: usize = 4_096;

/// A recording, at a time.
#[derive(Debug)]
pub struct Timeline {
    pub(super) facts: Facts,
    changes: Vec<(u64, Change)>,
    /// What was before so many changes.
    kept: Vec<(usize, State)>,
    /// Spans by submission and first offset: where those of a submission begin, the spans, and the latest end (`hi`) up to each.
    pub(super) starts: Vec<usize>,
    pub(super) by_offset: Vec<u32>,
    pub(super) furthest: Vec<u32>,
    /// The most cores that each worker had in use at a time, in parts.
    pub(super) most_cores: Vec<u64>,
    pub(super) state: State,
    /// Changes that are in it.
    upto: usize,
    at_us: u64,
    pub(super) dirty: Dirty,
}

impl Timeline {
    /// The timeline of a recording, before anything happened. Places that lead nowhere make their rows be left out.
    pub fn new(mut recording: Recording) -> Self {
        sound(&mut recording);
        let changes = changes(&recording);
        let mut timeline = Self {
            kept: Vec::new(),
            starts: Vec::new(),
            by_offset: Vec::new(),
            furthest: Vec::new(),
            most_cores: vec![0; recording.workers.len()],
            state: State::new(&recording),
            upto: 0,
            at_us: 0,
            dirty: Dirty::default(),
            facts: Facts::new(recording),
            changes,
        };
        timeline.sort_by_offset();
        timeline.keep_states();
        timeline
    }

    fn sort_by_offset(&mut self) {
        let spans = &self.facts.recording.spans;
        let mut sorted: Vec<u32> = (0..spans.len() as u32).collect();
        sorted.sort_by_key(|place| {
            let span = &spans[*place as usize];
            (span.submission, span.lo, span.attempt, span.end_us)
        });
        let mut starts = vec![0; self.facts.recording.submissions.len() + 1];
        for span in spans {
            starts[span.submission as usize + 1] += 1;
        }
        for place in 1..starts.len() {
            starts[place] += starts[place - 1];
        }
        let mut furthest = Vec::with_capacity(sorted.len());
        let mut before = (u32::MAX, 0);
        for place in &sorted {
            let span = &spans[*place as usize];
            let end = if before.0 == span.submission {
                before.1.max(span.hi)
            } else {
                span.hi
            };
            furthest.push(end);
            before = (span.submission, end);
        }
        (self.by_offset, self.starts, self.furthest) = (sorted, starts, furthest);
    }

    fn keep_states(&mut self) {
        let many = (KEPT_ROWS / self.state.size()).clamp(1, KEPT);
        let stride = self.changes.len().div_ceil(many).max(STRIDE);
        let mut state = self.state.clone();
        for (nth, (_, change)) in self.changes.iter().enumerate() {
            if nth % stride == 0 {
                self.kept.push((nth, state.clone()));
            }
            state.apply(*change, &self.facts);
            if let Change::Begun(span) = change
                && let Some(worker) = self.facts.recording.spans[*span as usize].worker
            {
                let most = &mut self.most_cores[worker as usize];
                *most = state.workers[worker as usize].cores.max(*most);
            }
        }
    }

    /// Changes between two kept states.
    #[cfg(test)]
    pub(super) fn longest_walk(&self) -> usize {
        let ends = self.kept.iter().map(|(nth, _)| *nth).chain([self.changes.len()]);
        let ends: Vec<usize> = ends.collect();
        ends.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0)
    }

    /// Rows of all kept states.
    #[cfg(test)]
    pub(super) fn kept_rows(&self) -> usize {
        self.kept.iter().map(|(_, state)| state.size()).sum()
    }

    /// The recording.
    pub fn recording(&self) -> &Recording {
        &self.facts.recording
    }

    /// Where in time it is.
    pub fn at_us(&self) -> u64 {
        self.at_us
    }

    /// Goes to a time; what happened at it has happened. On is as far as it is, back is at most the way from a kept state.
    pub fn go(&mut self, at_us: u64) {
        let upto = self.changes.partition_point(|(at, _)| *at <= at_us);
        self.at_us = at_us;
        let nearest = self.kept.partition_point(|(nth, _)| *nth <= upto).checked_sub(1);
        let kept = nearest.map(|place| &self.kept[place]);
        // From where one is, if that is on the way and not further.
        let from = match kept {
            Some((nth, _)) if self.upto > upto || *nth > self.upto => kept,
            _ => None,
        };
        if let Some((nth, state)) = from {
            self.state.clone_from(state);
            self.upto = *nth;
            self.all_dirty();
        }
        for nth in self.upto..upto {
            let change = self.changes[nth].1;
            self.state.apply(change, &self.facts);
            self.touch(change);
        }
        self.upto = upto;
    }

    fn touch(&mut self, change: Change) {
        match change {
            Change::Joined(worker) | Change::Gone(worker) => {
                self.dirty.workers.insert(worker);
            }
            Change::Submitted(submission) => {
                self.dirty.submissions.insert(submission);
            }
            Change::Begun(place) | Change::Ended(place) => {
                let span = &self.facts.recording.spans[place as usize];
                self.dirty.submissions.insert(span.submission);
                self.dirty.workers.extend(span.worker);
                let is_end = matches!(change, Change::Ended(_));
                let list = if is_end {
                    &mut self.dirty.ended
                } else {
                    &mut self.dirty.begun
                };
                if list.len() < SAMPLES {
                    list.push(place);
                }
                if is_end && span.outcome.is_fault() {
                    // Few: whatever kind it was counted to is the one of now.
                    let kinds = self
                        .state
                        .faults
                        .iter()
                        .filter(|(_, faults)| faults.last == place);
                    self.dirty.faults.extend(kinds.map(|(key, _)| *key));
                }
            }
        }
    }

    /// All is news.
    pub(super) fn all_dirty(&mut self) {
        self.dirty = Dirty {
            submissions: (0..self.state.submissions.len() as u32).collect(),
            workers: (0..self.state.workers.len() as u32).collect(),
            faults: self.state.faults.keys().copied().collect(),
            ..Dirty::default()
        };
    }

    /// The next time at which something went wrong, or the one before.
    pub fn fault(&self, after_us: u64, forward: bool) -> Option<u64> {
        let is_fault = |change: &&(u64, Change)| match change.1 {
            Change::Ended(place) => self.facts.recording.spans[place as usize].outcome.is_fault(),
            _ => false,
        };
        let found = if forward {
            let from = self.changes.partition_point(|(at, _)| *at <= after_us);
            self.changes[from..].iter().find(is_fault)
        } else {
            let upto = self.changes.partition_point(|(at, _)| *at < after_us);
            self.changes[..upto].iter().rfind(is_fault)
        };
        found.map(|(at, _)| *at)
    }

    /// Times of faults from the beginning to the end, at most one for each of `parts`: whether there is any in it.
    pub fn faults(&self, parts: usize) -> Vec<bool> {
        let mut found = vec![false; parts];
        let long = (self.facts.recording.end_us - self.facts.recording.begin_us).max(1);
        for span in self
            .facts
            .recording
            .spans
            .iter()
            .filter(|span| span.outcome.is_fault())
        {
            let since = span.end_us.saturating_sub(self.facts.recording.begin_us);
            let part = u128::from(since) * parts as u128 / u128::from(long);
            if let Some(part) = found.get_mut((part as usize).min(parts.saturating_sub(1))) {
                *part = true;
            }
        }
        found
    }
}

/// All changes, in order.
fn changes(recording: &Recording) -> Vec<(u64, Change)> {
    let mut changes = Vec::with_capacity(2 * recording.spans.len() + recording.submissions.len());
    for (place, submission) in (0..).zip(&recording.submissions) {
        changes.push((submission.at_us, Change::Submitted(place)));
    }
    for (place, worker) in (0..).zip(&recording.workers) {
        changes.push((worker.joined_us, Change::Joined(place)));
        changes.extend(worker.gone_us.map(|at| (at, Change::Gone(place))));
    }
    for (place, span) in (0..).zip(&recording.spans) {
        if span.width() > 0 {
            changes.push((span.begin_us, Change::Begun(place)));
        }
        changes.push((span.end_us, Change::Ended(place)));
    }
    changes.sort_unstable();
    changes
}

/// Leaves out what leads nowhere, and puts times right that go backwards. A recording is made by others.
fn sound(recording: &mut Recording) {
    let Recording {
        submissions,
        workers,
        reasons,
        spans,
        ..
    } = recording;
    submissions.sort_by_key(|submission| submission.number);
    let end = |end: u64, at: u64| end.max(at);
    recording.end_us = spans.iter().map(|span| span.end_us).fold(recording.end_us, end);
    recording.end_us = submissions
        .iter()
        .map(|submission| submission.at_us)
        .fold(recording.end_us, end);
    recording.begin_us = recording.begin_us.min(recording.end_us);
    let before = spans.len();
    spans.retain_mut(|span| {
        let Some(submission) = submissions.get(span.submission as usize) else {
            return false;
        };
        span.worker = span.worker.filter(|place| (*place as usize) < workers.len());
        span.reason = span.reason.filter(|place| (*place as usize) < reasons.len());
        span.begin_us = span.begin_us.min(span.end_us);
        if span.outcome == Outcome::Canceled && span.worker.is_none() {
            // It did not begin.
            span.begin_us = span.end_us;
        }
        span.lo < span.hi && span.hi <= submission.count
    });
    if spans.len() != before {
        // Their places are others now.
        recording.tails.clear();
    }
    recording.tails.retain(|tail| (tail.span as usize) < spans.len());
}
