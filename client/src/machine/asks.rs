//! Reads: not numbered among the requests, sent again after a break, each with a deadline.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use scalems_protocol::client::{Ask, ClientToAgent, LogLevels, Question, Starter, Stop};
use scalems_protocol::error::Refusal;
use scalems_protocol::event::Topic;
use scalems_protocol::limits;

use super::interface::{CallFault, CallKey, Micros, Output};
use super::{Machine, reply};

/// How long the state of a topic may take before it is asked for again.
const SNAPSHOT_US: Micros = 10_000_000;

/// Who wants to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    /// The user.
    User(CallKey),
    /// A topic that the user listens to.
    Snapshot(Topic),
    /// The machine itself, whether the agent lives.
    Probe,
}

#[derive(Clone, Debug)]
enum What {
    Question(Question),
    Stop { worker: Option<u64>, drain_ms: u64 },
    LogLevels { worker: Option<u64>, levels: String },
    Starter(Starter),
}

#[derive(Clone, Debug)]
struct Open {
    asker: Asker,
    what: What,
    deadline: Micros,
    timeout_us: Micros,
    sent: bool,
}

/// Reads that are not answered.
#[derive(Clone, Debug, Default)]
pub(super) struct Asks {
    open: BTreeMap<u64, Open>,
    deadlines: BTreeSet<(Micros, u64)>,
    unsent: VecDeque<u64>,
    sent: usize,
    last: u64,
    probe: Option<u64>,
}

impl Asks {
    fn add(&mut self, now: Micros, asker: Asker, what: What, timeout_us: Micros) -> u64 {
        self.last += 1;
        let deadline = now.saturating_add(timeout_us);
        self.open.insert(
            self.last,
            Open {
                asker,
                what,
                deadline,
                timeout_us,
                sent: false,
            },
        );
        self.deadlines.insert((deadline, self.last));
        self.unsent.push_back(self.last);
        self.last
    }

    pub(super) fn ask(&mut self, now: Micros, key: CallKey, question: Question, timeout_us: Micros) {
        self.add(now, Asker::User(key), What::Question(question), timeout_us);
    }

    pub(super) fn stop(
        &mut self,
        now: Micros,
        key: CallKey,
        worker: Option<u64>,
        drain_ms: u64,
        timeout_us: Micros,
    ) {
        self.add(now, Asker::User(key), What::Stop { worker, drain_ms }, timeout_us);
    }

    pub(super) fn log_levels(
        &mut self,
        now: Micros,
        key: CallKey,
        worker: Option<u64>,
        levels: String,
        timeout_us: Micros,
    ) {
        self.add(
            now,
            Asker::User(key),
            What::LogLevels { worker, levels },
            timeout_us,
        );
    }

    pub(super) fn starter(&mut self, now: Micros, key: CallKey, said: Starter, timeout_us: Micros) {
        self.add(now, Asker::User(key), What::Starter(said), timeout_us);
    }

    pub(super) fn snapshot(&mut self, now: Micros, topic: Topic) {
        let question = Question::Snapshot(topic.name());
        self.add(now, Asker::Snapshot(topic), What::Question(question), SNAPSHOT_US);
    }

    pub(super) fn probe(&mut self, now: Micros, timeout_us: Micros) {
        self.probe = Some(self.add(now, Asker::Probe, What::Question(Question::Status), timeout_us));
    }

    /// The answer to a probe that is under way gets its time anew.
    pub(super) fn probe_anew(&mut self, now: Micros) {
        let Some((id, open)) = self.probe.and_then(|id| Some((id, self.open.get_mut(&id)?))) else {
            return;
        };
        self.deadlines.remove(&(open.deadline, id));
        open.deadline = now.saturating_add(open.timeout_us);
        self.deadlines.insert((open.deadline, id));
    }

    pub(super) fn is_probing(&self) -> bool {
        self.probe.is_some()
    }

    /// Whether anybody but the machine itself waits.
    pub(super) fn is_awaited(&self) -> bool {
        self.open.len() > usize::from(self.is_probing())
    }

    /// Takes an answered read out.
    pub(super) fn take(&mut self, id: u64) -> Option<Asker> {
        let open = self.open.remove(&id)?;
        self.deadlines.remove(&(open.deadline, id));
        self.sent -= usize::from(open.sent);
        self.probe = self.probe.filter(|probe| *probe != id);
        Some(open.asker)
    }

    pub(super) fn deadline(&self) -> Option<Micros> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Takes those out whose answer takes too long, with the time that it was given.
    pub(super) fn expired(&mut self, now: Micros) -> Vec<(Asker, Micros)> {
        let mut expired = Vec::new();
        while let Some((_, id)) = self
            .deadlines
            .first()
            .copied()
            .filter(|(deadline, _)| *deadline <= now)
        {
            let timeout_us = self.open.get(&id).map_or(0, |open| open.timeout_us);
            expired.extend(self.take(id).map(|asker| (asker, timeout_us)));
        }
        expired
    }

    /// Sends what is unsent, as many as the agent takes.
    pub(super) fn send(&mut self, now: Micros, out: &mut Vec<Output>) {
        while self.sent < limits::OPEN_READS {
            let Some(id) = self.unsent.pop_front() else { break };
            let Some(open) = self.open.get_mut(&id).filter(|open| !open.sent) else {
                continue;
            };
            open.sent = true;
            self.sent += 1;
            let message: ClientToAgent = match &open.what {
                What::Stop { worker, drain_ms } => Stop {
                    id,
                    worker: *worker,
                    drain_ms: *drain_ms,
                }
                .into(),
                What::LogLevels { worker, levels } => LogLevels {
                    id,
                    worker: *worker,
                    levels: levels.clone(),
                }
                .into(),
                What::Starter(said) => Starter { id, ..said.clone() }.into(),
                What::Question(question) => {
                    let mut question = question.clone();
                    if let Question::Wait { timeout_ms, .. } = &mut question {
                        // Less when it is sent again: the user's patience began with the first time.
                        let left = open.deadline.saturating_sub(now) / 1_000;
                        *timeout_ms = left.min(*timeout_ms);
                    }
                    Ask { id, question }.into()
                }
            };
            out.push(Output::Send(message, Vec::new()));
        }
    }

    /// What was sent is to be sent again.
    pub(super) fn again(&mut self) {
        let sent = self.open.iter_mut().filter(|(_, open)| open.sent);
        let mut again: VecDeque<u64> = sent
            .map(|(id, open)| {
                open.sent = false;
                *id
            })
            .collect();
        again.append(&mut self.unsent);
        self.unsent = again;
        self.sent = 0;
    }

    /// Takes all of them out.
    pub(super) fn drain(&mut self) -> Vec<Asker> {
        std::mem::take(self)
            .open
            .into_values()
            .map(|open| open.asker)
            .collect()
    }
}

impl Machine {
    pub(super) fn ask_refused(&mut self, now: Micros, id: u64, refusal: Refusal, out: &mut Vec<Output>) {
        match self.asks.take(id) {
            Some(Asker::User(key)) => reply(key, Err(CallFault::Refused(refusal)), out),
            Some(Asker::Snapshot(topic)) => {
                if self.topics.answer(&topic, Err(refusal), out) {
                    self.asks.snapshot(now, topic);
                }
            }
            // A refusal is a sign of life as well.
            Some(Asker::Probe) => {}
            None => self.counters.strays += 1,
        }
    }
}
