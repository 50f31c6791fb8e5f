//! A run as a journal tells it: plain rows, from which [`super::Timeline`] makes what was at any time.
//!
//! Rows are of runs of tasks, as in the journal: a million tasks that ended together are one span. Times are microseconds since the
//! pilot was created.

use std::sync::Arc;

use scalems_protocol::task::{CORES, Template};
use scalems_protocol::{Amount, Code};

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// Well, and its task with it.
    Done,
    /// Badly, and its task with it.
    Failed,
    /// It was ended, and its task with it.
    Canceled,
    /// Badly; its task got another attempt.
    Retried,
    /// Its worker was lost; its task got another attempt.
    Lost,
}

impl Outcome {
    /// Whether something went wrong.
    pub const fn is_fault(self) -> bool {
        matches!(self, Self::Failed | Self::Retried | Self::Lost)
    }

    /// Whether its task has ended with it.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Canceled)
    }
}

/// One submission.
#[derive(Clone, Debug, PartialEq)]
pub struct Submission {
    /// Its number.
    pub number: u64,
    /// What its tasks share.
    pub template: Arc<Template>,
    /// The name of the session that owns it; empty: it has none.
    pub session: String,
    /// How many tasks.
    pub count: u32,
    /// The index of the first, and from one to the next.
    pub indices: (u32, u32),
    /// Where some indices are left out: an offset and its index, rising.
    pub jumps: Vec<(u32, u32)>,
    /// When it was submitted.
    pub at_us: u64,
}

impl Submission {
    /// The index of the task at `offset`.
    pub fn index(&self, offset: u32) -> u32 {
        let place = self.jumps.partition_point(|(from, _)| *from <= offset);
        let (from, index) = place
            .checked_sub(1)
            .map_or((0, self.indices.0), |place| self.jumps[place]);
        index.saturating_add(self.indices.1.saturating_mul(offset - from))
    }

    /// The first offset whose index is at least `index`; how many there are, if none is.
    pub fn offset_from(&self, index: u32) -> u32 {
        let (mut lo, mut hi) = (0, self.count);
        while lo < hi {
            let middle = u32::midpoint(lo, hi);
            if self.index(middle) < index {
                lo = middle + 1;
            } else {
                hi = middle;
            }
        }
        lo
    }

    /// What the index of offset 0 would be if indices were even all the way to `offset`, and where the next jump is.
    pub(super) fn evenly(&self, offset: u32) -> (u32, u32) {
        let place = self.jumps.partition_point(|(from, _)| *from <= offset);
        let first = self
            .index(offset)
            .saturating_sub(self.indices.1.saturating_mul(offset));
        (first, self.jumps.get(place).map_or(u32::MAX, |(jump, _)| *jump))
    }

    /// Its name, or what its tasks do.
    pub fn name(&self) -> &str {
        self.template.name.as_deref().unwrap_or(&self.template.mode)
    }

    /// Cores of one of its tasks, in parts ([`Amount::parts`]).
    pub(super) fn cores(&self, way: u8) -> u64 {
        let needs = self.template.needs.way(way);
        let cores = needs.totals().find(|(kind, _)| *kind == CORES);
        cores.map_or(Amount::ZERO, |(_, amount)| amount).parts()
    }
}

/// A worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worker {
    /// Its number.
    pub number: u64,
    /// Its name.
    pub name: String,
    /// Its host.
    pub host: String,
    /// Its process.
    pub pid: u32,
    /// When it joined, or the first that is known of it.
    pub joined_us: u64,
    /// When it left or was lost; none: it was there at the end.
    pub gone_us: Option<u64>,
}

/// Why attempts did not end well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// The code of the error (page 8 of the specification).
    pub code: Code,
    /// The class of an exception, for functions.
    pub class: Option<String>,
    /// For people.
    pub message: String,
}

/// Attempts at neighbouring tasks that ended together and alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The submission, by its place in [`Recording::submissions`].
    pub submission: u32,
    /// The first offset.
    pub lo: u32,
    /// One past the last.
    pub hi: u32,
    /// The attempt, from 1; 0: none was made.
    pub attempt: u32,
    /// When they began.
    pub begin_us: u64,
    /// When they ended.
    pub end_us: u64,
    /// How long they ran, summed.
    pub ran_us: u64,
    /// From when the first of them could have begun until it did; 0: it is not known, or it is no first attempt.
    pub waited_us: u64,
    /// Where, by its place in [`Recording::workers`]; none: nobody ran them, or nobody knows who.
    pub worker: Option<u32>,
    /// Why they did not end well, by its place in [`Recording::reasons`].
    pub reason: Option<u32>,
    /// The exit code, of programs that ended by themselves.
    pub exit_code: Option<i32>,
    /// In which of the ways that they may run in.
    pub way: u8,
    /// How they ended.
    pub outcome: Outcome,
}

impl Span {
    /// How many tasks.
    pub const fn count(&self) -> u32 {
        self.hi - self.lo
    }

    /// How many of them ran at a time: what it takes for all to have run between beginning and end.
    pub const fn width(&self) -> u32 {
        let long = self.end_us.saturating_sub(self.begin_us);
        if long == 0 {
            return 0;
        }
        let wide = self.ran_us.div_ceil(long);
        if wide > self.count() as u64 {
            self.count()
        } else {
            wide as u32
        }
    }

    /// How long each ran, on average.
    pub const fn mean_us(&self) -> u64 {
        self.ran_us / if self.lo < self.hi { self.count() as u64 } else { 1 }
    }
}

/// The last that an attempt wrote which did not end well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tail {
    /// Its span, by its place in [`Recording::spans`].
    pub span: u32,
    /// Whether it is of its output; else of its errors.
    pub is_output: bool,
    /// The text.
    pub text: String,
    /// Bytes that came before it.
    pub before: u64,
}

/// A run, as it was recorded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recording {
    /// The pilot's name.
    pub pilot: String,
    /// When the first of it happened.
    pub begin_us: u64,
    /// The last time that is known.
    pub end_us: u64,
    /// Whether the pilot ended in order; else it was killed, crashed, or runs.
    pub ended_in_order: bool,
    /// Submissions, by number.
    pub submissions: Vec<Submission>,
    /// Workers.
    pub workers: Vec<Worker>,
    /// Reasons.
    pub reasons: Vec<Reason>,
    /// Attempts.
    pub spans: Vec<Span>,
    /// What some of those wrote.
    pub tails: Vec<Tail>,
}
