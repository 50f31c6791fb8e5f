//! What was at one time, and how it changes from one to the next.

use std::collections::BTreeMap;

use scalems_protocol::client::Counts;
use scalems_protocol::limits;

use super::recording::{Outcome, Recording, Span};

/// What of a recording is looked up for every fault.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) recording: Recording,
    /// For each worker the first one on its host, which stands for the host.
    hosts: Vec<u32>,
    /// For each reason the first one of its code and class: messages tell no kinds apart.
    kinds: Vec<u32>,
}

impl Facts {
    pub(super) fn new(recording: Recording) -> Self {
        let (mut hosts, mut kinds) = (BTreeMap::new(), BTreeMap::new());
        let workers = (0..).zip(&recording.workers);
        let host =
            |(place, worker): (u32, &super::Worker)| *hosts.entry(worker.host.clone()).or_insert(place);
        let hosts_of = workers.map(host).collect();
        let reasons = (0..).zip(&recording.reasons);
        let kind = |(place, reason): (u32, &super::Reason)| {
            *kinds.entry((reason.code, reason.class.clone())).or_insert(place)
        };
        let kinds_of = reasons.map(kind).collect();
        Self {
            hosts: hosts_of,
            kinds: kinds_of,
            recording,
        }
    }

    fn key(&self, span: &Span) -> FaultKey {
        let kind = span.reason.map(|place| self.kinds[place as usize]);
        let class = kind.and_then(|place| self.recording.reasons[place as usize].class.as_ref());
        let exit = span.exit_code.filter(|_| class.is_none());
        (
            kind,
            exit,
            span.worker.map(|place| self.hosts[place as usize]),
            span.outcome == Outcome::Lost,
        )
    }
}

/// Something that changes what is. At one time they come in this order: what ends has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Change {
    Joined(u32),
    Submitted(u32),
    Begun(u32),
    Ended(u32),
    Gone(u32),
}

/// Tasks of one submission.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tasks {
    pub(super) is_there: bool,
    /// Those that were submitted.
    pub(super) count: u32,
    pub(super) running: u32,
    pub(super) done: u32,
    pub(super) failed: u32,
    pub(super) canceled: u32,
    /// What attempts took that ended well, and that did not, microseconds.
    pub(super) spent_us: (u64, u64),
}

impl Tasks {
    pub(super) fn counts(&self) -> Counts {
        let over = u64::from(self.done) + u64::from(self.failed) + u64::from(self.canceled);
        let running = u64::from(self.running);
        Counts {
            // What waits for others and what waits for room cannot be told apart.
            ready: u64::from(self.count).saturating_sub(over + running),
            running,
            done: self.done.into(),
            failed: self.failed.into(),
            canceled: self.canceled.into(),
            ..Counts::default()
        }
    }
}

/// A worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Working {
    pub(super) has_joined: bool,
    pub(super) is_gone: bool,
    pub(super) running: u32,
    /// Cores in use, in parts.
    pub(super) cores: u64,
    pub(super) ended: u64,
}

/// What tells faults from others: kind of reason, exit code, host; and whether a worker was lost, which has no reason.
pub(super) type FaultKey = (Option<u32>, Option<i32>, Option<u32>, bool);

/// Faults of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Faults {
    pub(super) failed: u64,
    pub(super) retried: u64,
    /// The last span of them.
    pub(super) last: u32,
    pub(super) at_us: u64,
}

/// What was at a time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct State {
    pub(super) counts: Counts,
    pub(super) retried: u64,
    pub(super) submitted: u64,
    pub(super) submissions: Vec<Tasks>,
    pub(super) workers: Vec<Working>,
    pub(super) faults: BTreeMap<FaultKey, Faults>,
}

impl State {
    /// Before anything was.
    pub(super) fn new(recording: &Recording) -> Self {
        Self {
            submissions: vec![Tasks::default(); recording.submissions.len()],
            workers: vec![Working::default(); recording.workers.len()],
            ..Self::default()
        }
    }

    /// What it takes to keep one of it: its rows.
    pub(super) fn size(&self) -> usize {
        self.submissions.len() + self.workers.len() + 1
    }

    pub(super) fn apply(&mut self, change: Change, facts: &Facts) {
        let recording = &facts.recording;
        match change {
            Change::Joined(place) => {
                let worker = &mut self.workers[place as usize];
                worker.has_joined = true;
                worker.is_gone = false;
            }
            Change::Gone(place) => self.workers[place as usize].is_gone = true,
            Change::Submitted(place) => {
                let tasks = &mut self.submissions[place as usize];
                tasks.is_there = true;
                tasks.count = recording.submissions[place as usize].count;
                self.submitted += 1;
                self.counts.ready += u64::from(tasks.count);
            }
            Change::Begun(place) => self.begin(&recording.spans[place as usize], recording),
            Change::Ended(place) => self.end(place, facts),
        }
    }

    fn begin(&mut self, span: &Span, recording: &Recording) {
        let wide = span.width();
        let cores = recording.submissions[span.submission as usize].cores(span.way);
        self.running(span, |running| *running += wide);
        self.counts.running += u64::from(wide);
        self.counts.ready = self.counts.ready.saturating_sub(u64::from(wide));
        if let Some(worker) = span.worker {
            self.workers[worker as usize].cores += cores * u64::from(wide);
        }
    }

    fn running(&mut self, span: &Span, change: impl Fn(&mut u32)) {
        change(&mut self.submissions[span.submission as usize].running);
        if let Some(worker) = span.worker {
            change(&mut self.workers[worker as usize].running);
        }
    }

    fn end(&mut self, place: u32, facts: &Facts) {
        let recording = &facts.recording;
        let span = &recording.spans[place as usize];
        let (wide, count) = (span.width(), span.count());
        self.running(span, |running| *running = running.saturating_sub(wide));
        self.counts.running = self.counts.running.saturating_sub(u64::from(wide));
        self.counts.ready += u64::from(wide);
        let tasks = &mut self.submissions[span.submission as usize];
        let (of_all, of_it) = match span.outcome {
            Outcome::Done => (&mut self.counts.done, &mut tasks.done),
            Outcome::Failed => (&mut self.counts.failed, &mut tasks.failed),
            Outcome::Canceled => (&mut self.counts.canceled, &mut tasks.canceled),
            // They wait again.
            Outcome::Retried | Outcome::Lost => (&mut self.retried, &mut 0),
        };
        *of_all += u64::from(count);
        *of_it += count;
        if span.outcome.is_final() {
            self.counts.ready = self.counts.ready.saturating_sub(u64::from(count));
        }
        let spent = if span.outcome == Outcome::Done {
            &mut tasks.spent_us.0
        } else {
            &mut tasks.spent_us.1
        };
        *spent += span.ran_us;
        if let Some(worker) = span.worker {
            let cores = recording.submissions[span.submission as usize].cores(span.way) * u64::from(wide);
            let worker = &mut self.workers[worker as usize];
            worker.cores = worker.cores.saturating_sub(cores);
            worker.ended += u64::from(count);
        }
        if span.outcome.is_fault() {
            self.fault(place, span, facts);
        }
    }

    fn fault(&mut self, place: u32, span: &Span, facts: &Facts) {
        let mut key = facts.key(span);
        // Too many kinds: the others are one, as the agent has it.
        if self.faults.len() >= limits::FAULT_GROUPS - 1 && !self.faults.contains_key(&key) {
            key = OTHER;
        }
        let faults = self.faults.entry(key).or_default();
        if span.outcome == Outcome::Failed {
            faults.failed += u64::from(span.count());
        } else {
            faults.retried += u64::from(span.count());
        }
        faults.last = place;
        faults.at_us = span.end_us;
    }
}

/// What has no kind of its own any more. No span has this: an exit code without a reason.
pub(super) const OTHER: FaultKey = (None, Some(i32::MIN), None, true);
