//! What a run was: attempts as spans of time, on which worker, and how they ended.
//!
//! One pure model, made from a journal's records, for all that shows a run afterwards: traces, the report page, the
//! replay of a monitor. It holds a span for each record, not for each task: a million tasks that ended together are one.
//!
//! A journal says when tasks ended and how long they ran. It does not say when an attempt ended that was followed by
//! another, on which worker, and why, nor when workers joined and what they have: spans have [`Span::about`] then, and
//! [`Worker::joined_us`] is a bound.

mod dependencies;
pub mod lanes;
mod moment;
mod parts;
mod read;
pub mod sums;

use std::collections::BTreeMap;
use std::sync::Arc;

use scalems_core::record::{Ended, Record, Submitted};
use scalems_protocol::group::Run;
use scalems_protocol::program::{EXECUTABLE, PROC, ProgramResult, SHELL};
use scalems_protocol::state::Ending;
use scalems_protocol::task::Template;
use scalems_protocol::{Bytes, TaskError};

pub use dependencies::Dependency;
pub use moment::{Moment, Running, Timeline};
use parts::AVERAGE_US;
pub use parts::{GRAIN_US, Outcome, QUICK_US, Reason, Span, Submission, Tail, Worker};
pub use read::{Reading, Source, read};

/// Reasons that are told apart. Further ones are known by their code alone.
const REASONS: usize = 10_000;
/// Ends of what tasks wrote that are kept of each reason on each worker, and altogether.
const TAILS_EACH: u32 = 3;
const TAILS: usize = 600;
/// Bytes of each.
const TAIL_BYTES: usize = 4_096;
/// Letters of a message that tell one reason from another.
const MESSAGE_CHARS: usize = 400;

/// What was.
#[derive(Debug, Default)]
pub struct History {
    submissions: BTreeMap<u64, Submission>,
    spans: Vec<Span>,
    workers: Vec<Worker>,
    places: BTreeMap<u32, u32>,
    reasons: Vec<Reason>,
    known: BTreeMap<Reason, u32>,
    tails: Vec<Tail>,
    tailed: BTreeMap<(Option<u32>, &'static str, Option<i32>), u32>,
    sessions: BTreeMap<u64, String>,
    seats: BTreeMap<u64, u64>,
    origins: BTreeMap<(u64, u64), u64>,
    /// Attempts that were followed by another, of tasks that have not ended yet.
    before: BTreeMap<(u64, u32), Vec<u32>>,
    /// Of each worker the time of its last report, and from when on the quick tasks in that fill the time before.
    reported: BTreeMap<u32, (u64, u64)>,
    /// Attempts after which no record has said a time yet.
    undated: Vec<u32>,
    /// The latest time that a record has said.
    clock: u64,
    records: u64,
    /// The highest number that submissions may have, and the highest that one has.
    numbers: (u64, u64),
    sizes: BTreeMap<u64, u64>,
}

impl History {
    /// Takes the next record in. `value_bytes` is the size of its data or value, which need not be in the record.
    pub fn take(&mut self, record: Record, value_bytes: u64) {
        self.records += 1;
        match record {
            Record::Submitted(submitted) => self.submitted(submitted),
            Record::Appended(appended) => {
                if let Some(submission) = self.submissions.get_mut(&appended.submission) {
                    submission.count = submission.count.max(appended.first + appended.count);
                }
            }
            Record::Closed { at, .. } => self.passes(at),
            Record::Ended(ended) => self.ended(&ended, value_bytes),
            Record::Fault {
                run,
                crash,
                ran_us,
                variant,
            } => self.fault(run, crash, ran_us, variant),
            Record::Wasted {
                submission, ran_us, ..
            } => {
                if let Some(submission) = self.submissions.get_mut(&submission) {
                    submission.uncharged_us += ran_us;
                }
            }
            Record::Forgotten { submission } => {
                if let Some(submission) = self.submissions.get_mut(&submission) {
                    submission.forgotten = true;
                }
            }
            Record::Session { session, name, .. } => {
                self.sessions.insert(session, name);
            }
            Record::Seat { seat, session, .. } => {
                self.seats.insert(seat, session);
            }
            Record::Worker {
                worker,
                name,
                host,
                pid,
                ..
            } => self.joined(worker, name, host, pid),
            Record::WorkerGone { worker } => {
                let clock = self.clock;
                if let Some(worker) = self.worker_mut(worker) {
                    worker.gone_us = Some(clock);
                }
            }
            Record::Numbers { submissions } => self.numbers.0 = submissions,
            Record::SeatGone { .. }
            | Record::SessionGone { .. }
            | Record::CancelAsked { .. }
            | Record::Collected { .. } => {}
        }
    }

    /// A record says a time: what came before it ended until then.
    fn passes(&mut self, at: u64) {
        self.clock = self.clock.max(at);
        for place in self.undated.drain(..) {
            if let Some(span) = self.spans.get_mut(place as usize) {
                span.end_us = self.clock;
                span.begin_us = Span::begin(span.end_us, span.ran_us, span.count());
            }
        }
    }

    fn submitted(&mut self, submitted: Submitted) {
        self.passes(submitted.at);
        let session = self.seats.get(&submitted.origin.session);
        let session = session.and_then(|session| self.sessions.get(session));
        self.numbers.1 = self.numbers.1.max(submitted.submission);
        let origin = submitted.origin;
        self.origins
            .insert((origin.session, origin.request), submitted.submission);
        let submission = Submission {
            submission: submitted.submission,
            template: lean(submitted.template),
            session: session.filter(|name| !name.is_empty()).cloned(),
            count: submitted.count,
            indices: submitted.indices,
            at_us: submitted.at,
            forgotten: false,
            ended: [0; 3],
            uncharged_us: 0,
            origin,
        };
        self.submissions.insert(submission.submission, submission);
    }

    fn ended(&mut self, ended: &Ended, value_bytes: u64) {
        let run = ended.run;
        self.passes(ended.at);
        let Some(submission) = self.submissions.get_mut(&run.submission) else {
            return;
        };
        let outcome = match ended.ending {
            Ending::Done => Outcome::Done,
            Ending::Failed => Outcome::Failed,
            Ending::Canceled => Outcome::Canceled,
        };
        submission.ended[match ended.ending {
            Ending::Done => 0,
            Ending::Failed => 1,
            Ending::Canceled => 2,
        }] += u64::from(run.count());
        let is_program = [EXECUTABLE, PROC, SHELL].contains(&submission.template.mode.as_str());
        if value_bytes > 0 {
            self.sized(ended, value_bytes);
        }
        let worker = self.places.get(&ended.worker).copied();
        let end_us = worker.map_or(ended.at, |worker| self.told_at(worker, ended));
        let shared = ended.data.ends.is_empty();
        let span = Span {
            submission: run.submission,
            lo: run.lo,
            hi: run.hi,
            attempt: run.attempt,
            begin_us: Span::begin(end_us, ended.ran_us, run.count()),
            end_us,
            ran_us: ended.ran_us,
            worker,
            outcome,
            way: ended.variant,
            exit_code: ended.exit_code,
            reason: ended.error.as_ref().map(|error| self.reason(error)),
            value_bytes: if shared {
                value_bytes.saturating_mul(u64::from(run.count()))
            } else {
                value_bytes
            },
            about: false,
        };
        let place = self.spans.len() as u32;
        if let Some(error) = ended.error.as_ref().filter(|_| outcome == Outcome::Failed) {
            let value = is_program.then(|| ended.data.of(0));
            self.tail(place, &span, error, value);
        }
        self.busy(&span);
        self.spans.push(span);
        self.settle(run, span.begin_us);
    }

    /// When tasks ended. Quick ones that one report tells of did not end all at once: they are put one before another, for
    /// as long before it as a report may have waited.
    fn told_at(&mut self, worker: u32, ended: &Ended) -> u64 {
        let long = ended.at - Span::begin(ended.at, ended.ran_us, ended.run.count());
        if long > GRAIN_US / 2 {
            return ended.at;
        }
        let (at, from) = self.reported.entry(worker).or_default();
        if *at != ended.at || ended.at - *from + long > GRAIN_US {
            (*at, *from) = (ended.at, ended.at);
        }
        let end = *from;
        *from = end.saturating_sub(long);
        end
    }

    /// Times of attempts that were followed by others are told by those.
    fn settle(&mut self, run: Run, begin_us: u64) {
        if self.before.is_empty() {
            return;
        }
        let within = (run.submission, run.lo)..(run.submission, run.hi);
        let backoff = self
            .submissions
            .get(&run.submission)
            .map_or(0, |of| of.template.policy.backoff_ms.saturating_mul(1_000));
        for (_, attempts) in self.before.extract_if(within, |_, _| true) {
            let mut next = begin_us;
            for (nth, place) in attempts.iter().enumerate().rev() {
                let Some(span) = self.spans.get_mut(*place as usize) else {
                    continue;
                };
                // Up to five minutes, as the agent waits.
                let wait = backoff.saturating_mul(1 << nth.min(20)).min(300_000_000);
                let wait = if span.outcome == Outcome::Retried { wait } else { 0 };
                // It ended until the time of a record that came after it, and before the next one began.
                let end = next.saturating_sub(wait).min(span.end_us);
                span.begin_us = end.saturating_sub(span.mean_us());
                span.end_us = end;
                next = span.begin_us;
            }
        }
    }

    fn fault(&mut self, run: Run, crash: bool, ran_us: u64, way: u8) {
        if !self.submissions.contains_key(&run.submission) {
            return;
        }
        let place = self.spans.len() as u32;
        for offset in run.lo..run.hi {
            let attempts = self.before.entry((run.submission, offset)).or_default();
            attempts.push(place);
        }
        self.undated.push(place);
        self.spans.push(Span {
            submission: run.submission,
            lo: run.lo,
            hi: run.hi,
            attempt: run.attempt,
            begin_us: Span::begin(self.clock, ran_us, run.count()),
            end_us: self.clock,
            ran_us,
            worker: None,
            outcome: if crash { Outcome::Lost } else { Outcome::Retried },
            way,
            exit_code: None,
            reason: None,
            value_bytes: 0,
            about: true,
        });
    }

    fn joined(&mut self, number: u32, name: String, host: String, pid: u32) {
        let clock = self.clock;
        if let Some(worker) = self.worker_mut(number) {
            worker.gone_us = None;
            worker.returns += 1;
            return;
        }
        self.places.insert(number, self.workers.len() as u32);
        self.workers.push(Worker {
            number,
            name,
            host,
            pid,
            joined_us: clock,
            gone_us: None,
            returns: 0,
            busy: None,
        });
    }

    fn worker_mut(&mut self, number: u32) -> Option<&mut Worker> {
        let place = *self.places.get(&number)?;
        self.workers.get_mut(place as usize)
    }

    fn busy(&mut self, span: &Span) {
        let worker = span.worker.and_then(|place| self.workers.get_mut(place as usize));
        if let Some(worker) = worker {
            let (from, upto) = worker.busy.unwrap_or((span.begin_us, span.end_us));
            worker.busy = Some((from.min(span.begin_us), upto.max(span.end_us)));
        }
    }

    /// Counts the sizes of values.
    fn sized(&mut self, ended: &Ended, value_bytes: u64) {
        let mut add = |bytes: u64, count: u64| *self.sizes.entry(rounded(bytes)).or_default() += count;
        if ended.data.ends.is_empty() {
            return add(value_bytes, u64::from(ended.run.count()));
        }
        let mut from = 0;
        for end in &ended.data.ends {
            add(u64::from(end.saturating_sub(from)), 1);
            from = *end;
        }
    }

    fn reason(&mut self, error: &TaskError) -> u32 {
        let mut reason = Reason {
            code: error.code.text(),
            class: error.class.clone(),
            message: first_chars(without_task(&error.message), MESSAGE_CHARS),
        };
        if let Some(place) = self.known.get(&reason) {
            return *place;
        }
        if self.reasons.len() >= REASONS {
            reason.class = None;
            reason.message = String::new();
            if let Some(place) = self.known.get(&reason) {
                return *place;
            }
        }
        let place = self.reasons.len() as u32;
        self.known.insert(reason.clone(), place);
        self.reasons.push(reason);
        place
    }

    /// Keeps the last of what some of those wrote that did not end well.
    fn tail(&mut self, place: u32, span: &Span, error: &TaskError, value: Option<Bytes>) {
        let kept = self
            .tailed
            .entry((span.worker, error.code.text(), span.exit_code))
            .or_default();
        if *kept >= TAILS_EACH || self.tails.len() >= TAILS {
            return;
        }
        let mut keep = |of, bytes: &[u8], all: u64| {
            let bytes = &bytes[bytes.len().saturating_sub(TAIL_BYTES)..];
            self.tails.push(Tail {
                span: place,
                of,
                text: String::from_utf8_lossy(bytes).into_owned(),
                before: all.saturating_sub(bytes.len() as u64),
            });
        };
        if let Some(trace) = &error.trace {
            keep("traceback", trace.as_bytes(), trace.len() as u64);
            *kept += 1;
        }
        let Some(value) = value.filter(|value| !value.is_empty()) else {
            return;
        };
        let Ok(result) = rmp_serde::from_slice::<ProgramResult>(&value) else {
            return;
        };
        if !result.stderr.is_empty() {
            keep("stderr", &result.stderr, result.stderr_bytes);
        } else if !result.stdout.is_empty() {
            keep("stdout", &result.stdout, result.stdout_bytes);
        }
        *kept += 1;
    }

    /// All submissions, by number.
    pub fn submissions(&self) -> impl Iterator<Item = &Submission> {
        self.submissions.values()
    }

    /// The one of this number.
    pub fn submission(&self, number: u64) -> Option<&Submission> {
        self.submissions.get(&number)
    }

    /// All spans, in the order in which the journal tells of them.
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// All workers, in the order in which they joined.
    pub fn workers(&self) -> &[Worker] {
        &self.workers
    }

    /// Why attempts did not end well.
    pub fn reasons(&self) -> &[Reason] {
        &self.reasons
    }

    /// The reason of a span.
    pub fn reason_of(&self, span: &Span) -> Option<&Reason> {
        self.reasons.get(span.reason? as usize)
    }

    /// The worker of a span.
    pub fn worker_of(&self, span: &Span) -> Option<&Worker> {
        self.workers.get(span.worker? as usize)
    }

    /// The last that some attempts wrote which did not end well: a few of each reason on each worker.
    pub fn tails(&self) -> &[Tail] {
        &self.tails
    }

    /// Sizes of values, bytes, and how many have each. Large ones are rounded to two digits.
    pub fn sizes(&self) -> &BTreeMap<u64, u64> {
        &self.sizes
    }

    /// How many records there were.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// The latest time that the journal tells, microseconds since the pilot was created.
    pub fn end_us(&self) -> u64 {
        self.clock
    }

    /// When the first of it happened.
    pub fn begin_us(&self) -> u64 {
        let submitted = self.submissions.values().map(|submission| submission.at_us);
        submitted.min().unwrap_or(0)
    }

    /// Whether the last agent ended in order: it says then which numbers it gave.
    pub fn ended_in_order(&self) -> bool {
        self.numbers.0 == self.numbers.1
    }

    /// All tasks, and those that have not ended.
    pub fn tasks(&self) -> (u64, u64) {
        let all = self.submissions.values();
        all.fold((0, 0), |(all, open), submission| {
            (all + u64::from(submission.count), open + submission.unfinished())
        })
    }
}

/// A template without what nobody looks at here, which may be large.
fn lean(template: Arc<Template>) -> Arc<Template> {
    if template.body.is_empty() && template.meta.is_empty() {
        return template;
    }
    let mut template = Arc::unwrap_or_clone(template);
    template.body = Vec::new();
    template.meta = Vec::new();
    Arc::new(template)
}

/// Messages of the worker begin with the task's name, which tells no reason from another.
fn without_task(message: &str) -> &str {
    let rest = message
        .strip_prefix("task ")
        .and_then(|rest| rest.split_once(' '));
    match rest {
        Some((name, rest)) if name.starts_with(|letter: char| letter.is_ascii_digit()) => rest,
        _ => message,
    }
}

fn first_chars(text: &str, count: usize) -> String {
    match text.char_indices().nth(count) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// A size with two digits, so that few are told apart.
fn rounded(bytes: u64) -> u64 {
    let digits = bytes.checked_ilog10().unwrap_or(0);
    let unit = 10_u64.pow(digits.saturating_sub(1));
    if digits < 4 { bytes } else { bytes / unit * unit }
}

#[cfg(test)]
pub(super) mod tests;
