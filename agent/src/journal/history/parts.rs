//! What a history is made of.

use std::collections::BTreeMap;
use std::sync::Arc;

use scalems_core::task::Indices;
use scalems_protocol::Amount;
use scalems_protocol::id::Origin;
use scalems_protocol::task::{After, CORES, GPUS, Template};

/// A report of a worker that still has something to do may wait for company (10 ms, `docs/architecture.md`), and what it
/// says goes through two processes. Times in a journal are no more exact than this, microseconds.
pub const GRAIN_US: u64 = 20_000;

/// What ran no longer may seem to have run beside more than it did, microseconds: how much was in use at a time is known
/// only on average, over ten times [`GRAIN_US`].
pub const QUICK_US: u64 = 2 * GRAIN_US;
/// So long that delays of reports do not count, microseconds.
pub(super) const AVERAGE_US: u64 = 10 * GRAIN_US;

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// Well, and its task with it.
    Done,
    /// Badly, and its task with it.
    Failed,
    /// Badly; its task got another attempt.
    Retried,
    /// Its worker was lost; its task got another attempt.
    Lost,
    /// It was ended before it could end by itself.
    Canceled,
}

impl Outcome {
    /// Every one of them, in the order of legends and tables.
    pub const ALL: [Self; 5] = [
        Self::Done,
        Self::Failed,
        Self::Retried,
        Self::Lost,
        Self::Canceled,
    ];

    /// Its name in what people read.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
            Self::Lost => "lost",
            Self::Retried => "retried",
        }
    }

    /// Whether its task has ended with it.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Canceled)
    }
}

/// Attempts at neighbouring tasks that ended together and alike; mostly one. Times are microseconds since the pilot was
/// created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The submission's number.
    pub submission: u64,
    /// The first offset.
    pub lo: u32,
    /// One past the last.
    pub hi: u32,
    /// The attempt, from 1; 0: none was made.
    pub attempt: u32,
    /// When they began, as far as how long they ran tells it.
    pub begin_us: u64,
    /// When they ended, as the agent learnt it.
    pub end_us: u64,
    /// How long they ran, summed.
    pub ran_us: u64,
    /// Where, as a place in [`super::History::workers`]; none: nobody ran them, or the journal does not say who.
    pub worker: Option<u32>,
    /// How they ended.
    pub outcome: Outcome,
    /// In which of the ways that they may run in.
    pub way: u8,
    /// The exit code, of programs that ended by themselves.
    pub exit_code: Option<i32>,
    /// Why they did not end well, as a place in [`super::History::reasons`].
    pub reason: Option<u32>,
    /// Bytes of their values together, as far as those were kept.
    pub value_bytes: u64,
    /// Whether its times are between bounds only: a journal does not say when an attempt ended that was followed by another.
    pub about: bool,
}

impl Span {
    /// How many tasks.
    pub const fn count(&self) -> u32 {
        self.hi - self.lo
    }

    /// Whether anything ran: what is canceled or given up before its first attempt did not.
    pub const fn ran(&self) -> bool {
        self.worker.is_some() || self.ran_us > 0
    }

    /// How long each ran, on average, microseconds.
    pub const fn mean_us(&self) -> u64 {
        self.ran_us / if self.lo < self.hi { self.count() as u64 } else { 1 }
    }

    /// How many of them ran at a time.
    pub const fn width(&self) -> u32 {
        let long = self.end_us - self.begin_us;
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

    /// When tasks began that ended together at `end_us`. Those that ran for long ran beside each other; many quick ones
    /// ran one after another, in the time for which their worker has gathered what it reports.
    pub(super) fn begin(end_us: u64, ran_us: u64, count: u32) -> u64 {
        let mean = ran_us / u64::from(count.max(1));
        end_us.saturating_sub(mean.max(ran_us.min(GRAIN_US)))
    }
}

/// What one request brought.
#[derive(Clone, Debug)]
pub struct Submission {
    /// Its number.
    pub submission: u64,
    /// What its tasks share, but for a body and free matter.
    pub template: Arc<Template>,
    /// The name of the session that owns it; none: it has no name, or is no more.
    pub session: Option<String>,
    /// How many tasks.
    pub count: u32,
    /// Their indices.
    pub indices: Indices,
    /// When it was submitted, microseconds since the pilot was created.
    pub at_us: u64,
    /// Whether it was forgotten since.
    pub forgotten: bool,
    /// Tasks that ended: well, badly, canceled.
    pub ended: [u64; 3],
    /// Attempts that are charged to no task ran for so long, microseconds: their worker ended in order, or another
    /// attempt went on. The journal does not say which.
    pub uncharged_us: u64,
    pub(super) origin: Origin,
}

impl Submission {
    /// Its name, or what it does.
    pub fn name(&self) -> &str {
        self.template.name.as_deref().unwrap_or(&self.template.mode)
    }

    /// Labels.
    pub fn labels(&self) -> &BTreeMap<String, String> {
        &self.template.labels
    }

    /// What had to end before, as it was submitted. See [`super::History::dependencies`].
    pub fn after(&self) -> &[After] {
        &self.template.after
    }

    /// Cores of one task, in this of its ways.
    pub fn cores(&self, way: u8) -> Amount {
        self.amount(way, CORES)
    }

    /// GPUs of one task, in this of its ways.
    pub fn gpus(&self, way: u8) -> Amount {
        self.amount(way, GPUS)
    }

    fn amount(&self, way: u8, wanted: &str) -> Amount {
        let needs = self.template.needs.way(way);
        let found = needs.totals().find(|(kind, _)| *kind == wanted);
        found.map_or(Amount::ZERO, |(_, amount)| amount)
    }

    /// The name of a task, such as `5.7`.
    pub fn task(&self, offset: u32) -> String {
        format!("{}.{}", self.submission, self.indices.at(offset))
    }

    /// The name of a run of tasks: `5.7`, or `5.7 to 5.9`.
    pub fn tasks(&self, lo: u32, hi: u32) -> String {
        let first = self.task(lo);
        if hi <= lo + 1 {
            first
        } else {
            format!("{first} to {}", self.task(hi - 1))
        }
    }

    /// Tasks that have not ended.
    pub fn unfinished(&self) -> u64 {
        u64::from(self.count).saturating_sub(self.ended.iter().sum())
    }
}

/// A process that ran tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worker {
    /// Its number.
    pub number: u32,
    /// Its name.
    pub name: String,
    /// Its host.
    pub host: String,
    /// Its process.
    pub pid: u32,
    /// It joined at this time or later, microseconds since the pilot was created: a journal says only what came before
    /// and what after.
    pub joined_us: u64,
    /// It left, or was lost, at this time or later; none: it was there at the end.
    pub gone_us: Option<u64>,
    /// How often it came back.
    pub returns: u32,
    /// From when to when it is known to have run something.
    pub busy: Option<(u64, u64)>,
}

/// Why attempts did not end well.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reason {
    /// The code (page 8 of the specification).
    pub code: &'static str,
    /// The class of the error in the task's own language, for functions.
    pub class: Option<String>,
    /// For people. It names a task: of reasons that differ by that alone the first is kept.
    pub message: String,
}

/// The last that an attempt wrote which did not end well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tail {
    /// Its span.
    pub span: u32,
    /// What this is: `stderr`, `stdout`, or `traceback`.
    pub of: &'static str,
    /// The text; what is no UTF-8 is replaced.
    pub text: String,
    /// Bytes that came before it.
    pub before: u64,
}
