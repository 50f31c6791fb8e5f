//! Events: made only for topics that somebody listens to, numbered per topic (`docs/spec/4-events`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use scalems_protocol::client::{Reply, WorkerRow, WorkersPage};
use scalems_protocol::error::{Code, Refusal};
use scalems_protocol::event::{Alarm, Body, Event, Topic};
use scalems_protocol::group::Run;
use scalems_protocol::limits;

use super::Agent;
use super::listing::Rows;
use super::reads::Rounded;
use crate::interface::{Action, Micros, Peer};

/// The least time between two summaries: four a second.
const SUMMARY_EVERY: Micros = 250_000;
/// The least time between two events of all submissions: two a second.
const SUBMISSIONS_EVERY: Micros = 500_000;
/// Alarms that are kept for snapshots.
const ALARMS: usize = 256;
/// Runs in one event; a submission whose tasks differ more than that is cut off there, and its counts tell.
const RUNS: usize = 1_024;

/// What is listened to, and what has happened since the last flush.
#[derive(Clone, Debug, Default)]
pub(super) struct Events {
    topics: BTreeMap<Topic, u64>,
    submissions: BTreeSet<u64>,
    listed: Listed,
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

/// What the topic of all submissions has to tell.
#[derive(Clone, Debug, Default)]
struct Listed {
    changed: BTreeSet<u64>,
    gone: BTreeSet<u64>,
    due: Option<Micros>,
    last: Micros,
}

impl Listed {
    /// The newest of those that changed, or are gone, are told of.
    fn note(&mut self, number: u64, gone: bool) {
        let set = if gone { &mut self.gone } else { &mut self.changed };
        set.insert(number);
        if set.len() > limits::EVENT_ROWS {
            set.pop_first();
        }
        self.due.get_or_insert(self.last + SUBMISSIONS_EVERY);
    }
}

impl Events {
    fn unsubscribe(&mut self, topic: &Topic) {
        if let Some(seq) = self.topics.remove(topic).filter(|seq| *seq > 0) {
            self.numbers.insert(topic.clone(), seq);
        }
        match topic {
            Topic::Summary => self.summary_due = None,
            Topic::Submissions => self.listed = Listed::default(),
            Topic::Submission(number) => drop(self.submissions.remove(number)),
            Topic::Workers => self.workers.clear(),
            Topic::Alarms => self.new_alarms.clear(),
            Topic::Faults | Topic::Health => {}
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
        if self.topics.contains_key(&Topic::Submissions) {
            self.listed.note(number, false);
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
        if self.topics.contains_key(&Topic::Submissions) {
            self.listed.changed.remove(&number);
            self.listed.note(number, true);
        }
        self.numbers.remove(&Topic::Submission(number));
    }

    pub(super) fn deadline(&self) -> Option<Micros> {
        [self.summary_due, self.listed.due].into_iter().flatten().min()
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
        if topic == Topic::Health && !self.listens_to(&topic) {
            self.measure(true);
        }
        let seq = *self.events.topics.entry(topic.clone()).or_insert(before);
        out.push(self.event(topic, seq, Body::Open));
    }

    pub(super) fn unsubscribed(&mut self, topic: &Topic) {
        self.events.unsubscribe(topic);
        match topic {
            Topic::Faults => self.faults.nobody_listens(),
            Topic::Health => self.measure(false),
            _ => {}
        }
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
        if self.events.listed.due.is_some_and(|due| due <= self.now) {
            let listed = std::mem::take(&mut self.events.listed);
            self.events.listed.last = self.now;
            let body = self.listed_body(listed);
            self.publish_one(Topic::Submissions, body, out);
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

    /// What the topic of all submissions tells: of those, the newest that one event takes.
    fn listed_body(&self, listed: Listed) -> Body {
        let mut rows = Rows::new(limits::EVENT_ROWS as u32);
        for submission in listed
            .changed
            .iter()
            .rev()
            .filter_map(|number| self.tasks.get(*number))
        {
            if rows.add(self.submission_row(submission)).is_err() {
                break;
            }
        }
        let mut rows = rows.into_rows();
        rows.reverse();
        Body::Submissions {
            rows,
            gone: listed.gone.into_iter().collect(),
            total: self.tasks.len() as u64,
        }
    }

    fn newest_submissions(&self) -> Body {
        let newest = self.tasks.iter().rev().take(limits::EVENT_ROWS);
        self.listed_body(Listed {
            changed: newest.map(|submission| submission.number).collect(),
            ..Listed::default()
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
                Topic::Submissions => self.newest_submissions(),
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
                Topic::Faults => self.faults.body(),
                Topic::Health => self.health_body(),
            };
            Some((topic, body))
        });
        let Some((topic, state)) = state else {
            let message = format!(
                "{name:?} is no topic with a state here; topics are summary, submissions, submission/N, workers, alarms, faults and health"
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
