//! Events: made only for topics that somebody listens to, numbered per topic (`docs/spec/4-events`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use scalems_protocol::client::{Reply, WorkerRow, WorkersPage};
use scalems_protocol::error::{Code, Refusal};
use scalems_protocol::event::{Alarm, Body, Event, Topic};
use scalems_protocol::group::Run;

use super::Agent;
use super::listing::Rows;
use super::reads::Rounded;
use crate::interface::{Action, Micros, Peer};

/// The least time between two summaries: four a second.
const SUMMARY_EVERY: Micros = 250_000;
/// Alarms that are kept for snapshots.
const ALARMS: usize = 256;
/// Runs in one event; a submission whose tasks differ more than that is cut off there, and its counts tell.
const RUNS: usize = 1_024;

/// What is listened to, and what has happened since the last flush.
#[derive(Clone, Debug, Default)]
pub(super) struct Events {
    topics: BTreeMap<Topic, u64>,
    submissions: BTreeSet<u64>,
    workers: BTreeSet<u32>,
    alarms: VecDeque<Alarm>,
    /// How many there have been in this life.
    raised: u64,
    new_alarms: Vec<Alarm>,
    summary_due: Option<Micros>,
    summary_last: Micros,
    /// The last number of topics that nobody listens to just now: numbers never come back.
    numbers: BTreeMap<Topic, u64>,
}

impl Events {
    pub(super) fn unsubscribe(&mut self, topic: &Topic) {
        if let Some(seq) = self.topics.remove(topic).filter(|seq| *seq > 0) {
            self.numbers.insert(topic.clone(), seq);
        }
        match topic {
            Topic::Summary => self.summary_due = None,
            Topic::Submission(number) => drop(self.submissions.remove(number)),
            Topic::Workers => self.workers.clear(),
            Topic::Alarms => self.new_alarms.clear(),
        }
    }

    /// Tasks of a submission changed.
    pub(super) fn submission_changed(&mut self, number: u64) {
        if self.topics.is_empty() {
            return;
        }
        if self.topics.contains_key(&Topic::Submission(number)) {
            self.submissions.insert(number);
        }
        self.summary_changed();
    }

    fn summary_changed(&mut self) {
        if self.topics.contains_key(&Topic::Summary) && self.summary_due.is_none() {
            self.summary_due = Some(self.summary_last + SUMMARY_EVERY);
        }
    }

    pub(super) fn forget(&mut self, number: u64) {
        self.submissions.remove(&number);
        self.numbers.remove(&Topic::Submission(number));
    }

    pub(super) fn deadline(&self) -> Option<Micros> {
        self.summary_due
    }

    fn next(&mut self, topic: &Topic) -> Option<u64> {
        let seq = self.topics.get_mut(topic)?;
        *seq += 1;
        Some(*seq)
    }
}

impl Agent {
    pub(super) fn subscribed(&mut self, topic: Topic, out: &mut Vec<Action>) {
        let before = self.events.numbers.remove(&topic).unwrap_or(0);
        let seq = *self.events.topics.entry(topic.clone()).or_insert(before);
        out.push(self.event(topic, seq, Body::Open));
    }

    /// Whether somebody listens to a topic.
    pub(super) fn listens_to(&self, topic: &Topic) -> bool {
        self.events.topics.contains_key(topic)
    }

    /// Publishes something in a topic, if somebody listens to it.
    pub(super) fn publish_one(&mut self, topic: Topic, body: Body, out: &mut Vec<Action>) {
        if let Some(seq) = self.events.next(&topic) {
            out.push(self.event(topic, seq, body));
        }
    }

    fn event(&self, topic: Topic, seq: u64, body: Body) -> Action {
        let event = Event {
            incarnation: self.config.incarnation,
            topic: topic.name(),
            seq,
            body,
        };
        Action::Publish { topic, event }
    }

    /// A worker changed in a way that people care about.
    pub(super) fn worker_changed(&mut self, number: u32) {
        if self.events.topics.contains_key(&Topic::Workers) {
            self.events.workers.insert(number);
        }
        self.events.summary_changed();
    }

    pub(super) fn alarm(&mut self, alarm: &str, about: String, message: String) {
        let at_ms = (self.now - self.begun) / 1_000;
        let alarm = Alarm {
            alarm: alarm.to_owned(),
            about,
            message,
            at_ms,
        };
        if self.events.alarms.len() == ALARMS {
            self.events.alarms.pop_front();
        }
        self.events.alarms.push_back(alarm.clone());
        self.events.raised += 1;
        if self.events.topics.contains_key(&Topic::Alarms) {
            self.events.new_alarms.push(alarm);
        }
    }

    /// How many alarms this life has raised.
    pub fn alarms_raised(&self) -> u64 {
        self.events.raised
    }

    /// Those of them after so many, oldest first, as far as they are kept.
    pub fn alarms_after(&self, seen: u64) -> impl Iterator<Item = &Alarm> {
        let new = usize::try_from(self.events.raised.saturating_sub(seen)).unwrap_or(usize::MAX);
        let kept = self.events.alarms.len();
        self.events.alarms.iter().skip(kept.saturating_sub(new))
    }

    /// Publishes what has happened since the last flush.
    pub(super) fn publish(&mut self, out: &mut Vec<Action>) {
        if self.events.topics.is_empty() {
            return;
        }
        while let Some(number) = self.events.submissions.pop_first() {
            let topic = Topic::Submission(number);
            let Some(body) = self.submission_body(number) else {
                continue;
            };
            if let Some(seq) = self.events.next(&topic) {
                out.push(self.event(topic, seq, body));
            }
        }
        while let Some(rows) = self.changed_workers() {
            if let Some(seq) = self.events.next(&Topic::Workers) {
                out.push(self.event(Topic::Workers, seq, Body::Workers { rows }));
            }
        }
        let alarms = std::mem::take(&mut self.events.new_alarms);
        if !alarms.is_empty()
            && let Some(seq) = self.events.next(&Topic::Alarms)
        {
            out.push(self.event(Topic::Alarms, seq, Body::Alarms { alarms }));
        }
        if self.events.summary_due.is_some_and(|due| due <= self.now) {
            self.events.summary_due = None;
            self.events.summary_last = self.now;
            if let Some(seq) = self.events.next(&Topic::Summary) {
                let body = self.summary_body();
                out.push(self.event(Topic::Summary, seq, body));
            }
        }
    }

    /// Takes rows of workers that changed, as many as one event takes.
    fn changed_workers(&mut self) -> Option<Vec<WorkerRow>> {
        let mut listed = Rows::new(0);
        while let Some(number) = self.events.workers.first().copied() {
            let row = self.workers.get(&number).map(|worker| self.worker_row(worker));
            if row.is_some_and(|row| listed.add(row).is_err()) {
                break;
            }
            self.events.workers.pop_first();
        }
        Some(listed.into_rows()).filter(|rows| !rows.is_empty())
    }

    fn submission_body(&self, number: u64) -> Option<Body> {
        let submission = self.tasks.get(number)?;
        let stretches = submission.slots.all().into_iter().take(RUNS);
        let runs = stretches.map(|stretch| {
            let attempt = stretch.value.attempt;
            (
                Run {
                    submission: number,
                    lo: stretch.lo,
                    hi: stretch.hi,
                    attempt,
                },
                stretch.value.state,
            )
        });
        Some(Body::Tasks {
            runs: runs.collect(),
            counts: submission.counts,
        })
    }

    fn summary_body(&self) -> Body {
        let Rounded { resources, fractions } = self.resources();
        Body::Summary {
            tasks: self.tasks.counts,
            workers: self.worker_counts(),
            resources,
            fractions,
        }
    }

    pub(super) fn snapshot(&mut self, peer: Peer, id: u64, name: &str, out: &mut Vec<Action>) {
        let state = Topic::from_name(name).and_then(|topic| {
            let body = match &topic {
                Topic::Summary => self.summary_body(),
                Topic::Submission(number) => self.submission_body(*number)?,
                // Of more than one message takes, the rest is to be asked for.
                Topic::Workers => Body::Workers {
                    rows: self.worker_rows(WorkersPage::default()).rows,
                },
                // Those that are not published yet come as an event.
                Topic::Alarms => {
                    let published = self
                        .events
                        .alarms
                        .len()
                        .saturating_sub(self.events.new_alarms.len());
                    Body::Alarms {
                        alarms: self.events.alarms.iter().take(published).cloned().collect(),
                    }
                }
            };
            Some((topic, body))
        });
        let Some((topic, state)) = state else {
            let message = format!(
                "{name:?} is no topic with a state here; topics are summary, workers, alarms and submission/N"
            );
            return self.refuse(
                peer,
                None,
                Some(id),
                Refusal::new(Code::InvalidValue, message),
                out,
            );
        };
        // What has happened and is not published yet is in the snapshot, and comes as an event besides.
        let events = &self.events;
        let seq = events
            .topics
            .get(&topic)
            .or_else(|| events.numbers.get(&topic))
            .copied()
            .unwrap_or(0);
        let incarnation = self.config.incarnation;
        let reply = Reply::Snapshot {
            incarnation,
            topic: topic.name(),
            seq,
            state: Box::new(state),
        };
        self.reply(peer, id, reply, Vec::new(), out);
    }
}
