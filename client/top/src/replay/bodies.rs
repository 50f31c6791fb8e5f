//! What was, said as an agent says it: so that screens need not know that it is over.

use scalems_protocol::Amount;
use scalems_protocol::client::{Status, SubmissionRow, WorkerRow};
use scalems_protocol::event::{Body, FaultGroup, Health, Spread};
use scalems_protocol::limits;
use scalems_protocol::task::CORES;

use super::state::{FaultKey, Faults, OTHER};
use super::timeline::{Dirty, Timeline};

/// Microseconds of a millisecond.
const MS: u64 = 1_000;

impl Timeline {
    /// What has changed since the last time that this was asked: as events of their topics.
    pub(super) fn news(&mut self, span_ms: u64) -> Vec<Body> {
        let dirty = std::mem::take(&mut self.dirty);
        let mut bodies = vec![
            self.summary(),
            Body::Health(Box::new(self.health(span_ms, &dirty))),
        ];
        let Dirty {
            submissions,
            workers,
            faults,
            ..
        } = dirty;
        // The newest, as the agent has it.
        let there = |place: &u32| self.state.submissions[*place as usize].is_there;
        let mut rows: Vec<SubmissionRow> = submissions
            .iter()
            .rev()
            .filter(|place| there(place))
            .take(limits::EVENT_ROWS)
            .map(|place| self.submission(*place))
            .collect();
        rows.reverse();
        if !rows.is_empty() {
            bodies.push(Body::Submissions {
                rows,
                gone: Vec::new(),
                total: self.state.submitted,
            });
        }
        let joined = |place: &&u32| self.state.workers[**place as usize].has_joined;
        let rows: Vec<WorkerRow> = workers
            .iter()
            .filter(joined)
            .map(|place| self.worker(*place))
            .collect();
        if !rows.is_empty() {
            bodies.push(Body::Workers { rows });
        }
        let groups: Vec<FaultGroup> = faults
            .iter()
            .filter_map(|key| Some(self.group(*key, self.state.faults.get(key)?)))
            .collect();
        if !groups.is_empty() {
            bodies.push(Body::Faults { groups });
        }
        bodies
    }

    fn summary(&self) -> Body {
        let (mut active, mut lost) = (0, 0);
        for worker in &self.state.workers {
            active += u64::from(worker.has_joined && !worker.is_gone);
            lost += u64::from(worker.is_gone);
        }
        let (total, used) = self.cores();
        let mut fractions = Vec::new();
        if !total.is_whole() || !used.is_whole() {
            fractions.push((CORES.to_owned(), total, used));
        }
        Body::Summary {
            tasks: self.state.counts,
            workers: (active, 0, 0, lost),
            resources: vec![(CORES.to_owned(), total.ceil(), used.ceil())],
            fractions,
        }
    }

    /// Cores of the workers that are there, as far as tasks have shown, and those in use.
    fn cores(&self) -> (Amount, Amount) {
        let (mut total, mut used) = (0, 0);
        for (worker, most) in self.state.workers.iter().zip(&self.most_cores) {
            if worker.has_joined && !worker.is_gone {
                total += most;
            }
            used += worker.cores;
        }
        (Amount::from_parts(total.max(used)), Amount::from_parts(used))
    }

    /// The pilot as a whole, as it was.
    pub fn status(&self) -> Status {
        let Body::Summary {
            tasks,
            workers,
            resources,
            fractions,
        } = self.summary()
        else {
            return Status::default();
        };
        Status {
            pilot_name: self.recording().pilot.clone(),
            up_ms: self.at_us() / MS,
            tasks,
            submissions: self.state.submitted,
            workers,
            resources,
            fractions,
            ..Status::default()
        }
    }

    fn health(&self, span_ms: u64, dirty: &Dirty) -> Health {
        let spans = &self.recording().spans;
        let ended = dirty.ended.iter().map(|place| &spans[*place as usize]);
        let begun = dirty.begun.iter().map(|place| &spans[*place as usize]);
        Health {
            at_ms: self.at_us() / MS,
            span_ms,
            ended: self.state.counts.finished(),
            ran_us: spread(
                ended
                    .filter(|span| span.ran_us > 0)
                    .map(|span| (span.mean_us(), span.count())),
            ),
            start_wait_us: spread(
                begun
                    .filter(|span| span.waited_us > 0)
                    .map(|span| (span.waited_us, span.count())),
            ),
            ..Health::default()
        }
    }

    pub(super) fn submission(&self, place: u32) -> SubmissionRow {
        let submission = &self.recording().submissions[place as usize];
        let tasks = &self.state.submissions[place as usize];
        let (good, bad) = tasks.spent_us;
        SubmissionRow {
            submission: submission.number,
            mode: submission.template.mode.clone(),
            name: submission.template.name.clone(),
            labels: submission.template.labels.clone(),
            session: submission.session.clone(),
            indices: (submission.indices.0, submission.indices.1, submission.count),
            sparse: !submission.jumps.is_empty(),
            tasks: tasks.counts(),
            age_ms: self.at_us().saturating_sub(submission.at_us) / MS,
            open: false,
            spent: if good + bad > 0 {
                vec![("time".to_owned(), good, bad)]
            } else {
                Vec::new()
            },
        }
    }

    pub(super) fn worker(&self, place: u32) -> WorkerRow {
        let worker = &self.recording().workers[place as usize];
        let working = &self.state.workers[place as usize];
        let total = Amount::from_parts(self.most_cores[place as usize]);
        let used = Amount::from_parts(working.cores);
        let is_whole = total.is_whole() && used.is_whole();
        WorkerRow {
            worker: worker.number,
            name: worker.name.clone(),
            host: worker.host.clone(),
            pid: worker.pid,
            state: if working.is_gone { "gone" } else { "active" }.to_owned(),
            resources: vec![(CORES.to_owned(), total.ceil(), used.ceil())],
            fractions: if is_whole {
                Vec::new()
            } else {
                vec![(CORES.to_owned(), total, used)]
            },
            leases: (0, u64::from(working.running)),
            ended: working.ended,
            silent_ms: 0,
            beats: (0, 0),
            left_ms: None,
            place: None,
            requested_by: None,
        }
    }

    fn group(&self, key: FaultKey, faults: &Faults) -> FaultGroup {
        let span = &self.recording().spans[faults.last as usize];
        let submission = &self.recording().submissions[span.submission as usize];
        let worker = span.worker.map(|place| &self.recording().workers[place as usize]);
        let reason = span.reason.map(|place| &self.recording().reasons[place as usize]);
        let (code, message) = match reason {
            _ if key == OTHER => (
                "other",
                "there are too many kinds of faults to tell them apart".to_owned(),
            ),
            Some(reason) => (reason.code.text(), reason.message.clone()),
            None => unknown(span.outcome),
        };
        let class = reason.and_then(|reason| reason.class.clone());
        let exit = || span.exit_code.map(|code| format!("exit {code}"));
        let is_one = key != OTHER;
        FaultGroup {
            code: code.to_owned(),
            what: class.or_else(exit).filter(|_| is_one).unwrap_or_default(),
            host: worker
                .filter(|_| is_one)
                .map_or(String::new(), |worker| worker.host.clone()),
            worker: worker.map_or(String::new(), |worker| worker.name.clone()),
            message,
            failed: faults.failed,
            retried: faults.retried,
            last: (submission.number, submission.index(span.lo)),
            at_ms: faults.at_us / MS,
        }
    }
}

/// A journal says of attempts that were followed by another only whether their worker was lost.
pub(super) fn unknown(outcome: super::recording::Outcome) -> (&'static str, String) {
    match outcome {
        super::recording::Outcome::Lost => (
            "worker_lost",
            "the worker was lost while it ran; there was another attempt".to_owned(),
        ),
        _ => (
            "retried",
            "it ended badly and there was another attempt; a journal does not say why".to_owned(),
        ),
    }
}

/// What half, 99 of 100 and all of them were at most.
fn spread(values: impl Iterator<Item = (u64, u32)>) -> Spread {
    let mut values: Vec<(u64, u32)> = values.collect();
    values.sort_unstable();
    let all: u64 = values.iter().map(|(_, count)| u64::from(*count)).sum();
    let at = |share: f64| {
        let wanted = (all as f64 * share).ceil() as u64;
        let mut passed = 0;
        let found = values.iter().find(|(_, count)| {
            passed += u64::from(*count);
            passed >= wanted
        });
        found.map_or(0, |(value, _)| *value)
    };
    (at(0.5), at(0.99), at(1.0))
}
