//! What was at a time: the replay of a run.

use super::{History, Outcome, Span};

/// Tasks at a time. What waits and what was granted but did not run cannot be told apart: leases are in no journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Submitted so far.
    pub submitted: u64,
    /// Neither ended nor running.
    pub waiting: u64,
    /// Running.
    pub running: u64,
    /// Ended well so far.
    pub done: u64,
    /// Ended badly so far.
    pub failed: u64,
    /// Canceled so far.
    pub canceled: u64,
    /// Attempts so far that were followed by another.
    pub retried: u64,
}

impl Moment {
    fn end(&mut self, span: &Span) {
        let count = u64::from(span.count());
        self.running = self.running.saturating_sub(u64::from(span.width()));
        match span.outcome {
            Outcome::Done => self.done += count,
            Outcome::Failed => self.failed += count,
            Outcome::Canceled => self.canceled += count,
            Outcome::Lost | Outcome::Retried => self.retried += count,
        }
    }
}

/// What ran at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Running<'a> {
    /// It.
    pub span: &'a Span,
    /// Its place in [`History::spans`].
    pub place: u32,
}

/// A change of how many tasks are in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    Submitted(u64),
    Begun(u32),
    Ended(u32),
}

/// Changes between two counts that are kept: so a time is found by a search and a short walk.
const STRIDE: usize = 256;

/// A history in the order of time. Making one takes time and memory as the history does; a question takes little.
#[derive(Debug)]
pub struct Timeline<'a> {
    history: &'a History,
    changes: Vec<(u64, Change)>,
    /// What had been before every [`STRIDE`]th of them.
    counts: Vec<Moment>,
    /// Spans that ran, by when they began, and a tree over when they ended: node `n` has the latest end of `2n` and `2n + 1`.
    begun: Vec<u32>,
    latest: Vec<u64>,
}

impl<'a> Timeline<'a> {
    /// The timeline of a history.
    pub fn new(history: &'a History) -> Self {
        let spans = history.spans();
        let mut changes: Vec<_> = history
            .submissions()
            .map(|submission| (submission.at_us, Change::Submitted(submission.submission)))
            .collect();
        let mut begun = Vec::new();
        for (place, span) in spans.iter().enumerate() {
            let place = place as u32;
            if span.width() > 0 {
                changes.push((span.begin_us, Change::Begun(place)));
                begun.push(place);
            }
            changes.push((span.end_us, Change::Ended(place)));
        }
        changes.sort_unstable();
        begun.sort_by_key(|place| spans[*place as usize].begin_us);
        let leaves = begun.len().next_power_of_two();
        let mut latest = vec![0; 2 * leaves];
        for (at, place) in begun.iter().enumerate() {
            latest[leaves + at] = spans[*place as usize].end_us;
        }
        for node in (1..leaves).rev() {
            latest[node] = latest[2 * node].max(latest[2 * node + 1]);
        }
        let mut timeline = Self {
            history,
            changes,
            counts: Vec::new(),
            begun,
            latest,
        };
        let mut moment = Moment::default();
        for nth in 0..timeline.changes.len() {
            if nth % STRIDE == 0 {
                timeline.counts.push(moment);
            }
            timeline.change(&mut moment, nth);
        }
        timeline
    }

    fn change(&self, moment: &mut Moment, nth: usize) {
        match self.changes[nth].1 {
            Change::Submitted(number) => {
                let submission = self.history.submission(number);
                moment.submitted += submission.map_or(0, |submission| u64::from(submission.count));
            }
            Change::Begun(place) => {
                moment.running += u64::from(self.history.spans()[place as usize].width());
            }
            Change::Ended(place) => moment.end(&self.history.spans()[place as usize]),
        }
    }

    /// Tasks by state at a time, microseconds since the pilot was created; what happens at that time has happened.
    pub fn at(&self, time_us: u64) -> Moment {
        let upto = self.changes.partition_point(|(at, _)| *at <= time_us);
        let from = (upto / STRIDE).min(self.counts.len().saturating_sub(1));
        let mut moment = self.counts.get(from).copied().unwrap_or_default();
        for nth in from * STRIDE..upto {
            self.change(&mut moment, nth);
        }
        let over = moment.done + moment.failed + moment.canceled + moment.running;
        moment.waiting = moment.submitted.saturating_sub(over);
        moment
    }

    /// What ran at a time, the first that began first, and no more than `most`.
    pub fn running(&self, time_us: u64, most: usize) -> Vec<Running<'a>> {
        let spans = self.history.spans();
        let upto = self
            .begun
            .partition_point(|place| spans[*place as usize].begin_us <= time_us);
        let leaves = self.latest.len() / 2;
        let mut found = Vec::new();
        let mut nodes = vec![(1_usize, 0_usize, leaves)];
        while let Some((node, lo, hi)) = nodes.pop() {
            if lo >= upto || self.latest[node] <= time_us || found.len() >= most {
                continue;
            }
            if node >= leaves {
                let place = self.begun[lo];
                let span = &spans[place as usize];
                found.push(Running { span, place });
                continue;
            }
            let middle = usize::midpoint(lo, hi);
            nodes.push((2 * node + 1, middle, hi));
            nodes.push((2 * node, lo, middle));
        }
        found
    }

    /// The next time after this one at which an attempt ended badly or lost its worker.
    pub fn next_fault(&self, time_us: u64) -> Option<u64> {
        let from = self.changes.partition_point(|(at, _)| *at <= time_us);
        let bad = |change: &(u64, Change)| match change.1 {
            Change::Ended(place) => matches!(
                self.history.spans()[place as usize].outcome,
                Outcome::Failed | Outcome::Lost | Outcome::Retried
            ),
            _ => false,
        };
        self.changes[from..]
            .iter()
            .find(|change| bad(change))
            .map(|(at, _)| *at)
    }
}
