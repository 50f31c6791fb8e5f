//! Looking into the agent, the way that anybody may: by asking it.

use std::collections::BTreeMap;

use scalems_core::{Action, Agent, Input, Micros, Peer};
use scalems_protocol::client::{
    AgentToClient, Ask, ClientHello, ClientToAgent, Counts, Page, Question, Reply, SessionKind, WorkersPage,
};
use scalems_protocol::event::Body;
use scalems_protocol::select::Selector;
use scalems_protocol::task::{After, When};
use scalems_protocol::{Bytes, Role, TaskState};

use super::plan::Fault;
use super::world::{Actor, World};

/// The connection that looks into the agent. It changes nothing but that it has a seat.
pub(super) const INSPECTOR: Peer = Peer(u32::MAX);

pub(super) type Tasks = BTreeMap<u64, Vec<(TaskState, u32)>>;

impl World {
    fn say(&mut self, message: impl Into<ClientToAgent>) -> Option<(Reply, Vec<Bytes>)> {
        let mut out = Vec::new();
        let message = message.into();
        let input = Input::Client {
            peer: INSPECTOR,
            role: Role::Observer,
            message,
            blobs: Vec::new(),
        };
        self.agent.handle(self.clock(Actor::Agent), input, &mut out);
        let mut found = None;
        for action in out {
            match action {
                Action::ToClient {
                    message: AgentToClient::Answer(answer),
                    blobs,
                    ..
                } => found = Some((answer.reply, blobs)),
                // Its seat is the only thing that it changes.
                Action::Record { .. } => {
                    self.take_action(action);
                    self.write();
                }
                _ => {}
            }
        }
        found
    }

    fn ask(&mut self, question: Question) -> Option<(Reply, Vec<Bytes>)> {
        if let Some(reply) = self.say(Ask {
            id: 1,
            question: question.clone(),
        }) {
            return Some(reply);
        }
        // For the first time, or nothing is there to be asked about.
        self.say(ClientHello {
            kind: SessionKind::Shared,
            session: "inspector".into(),
            ..ClientHello::default()
        });
        self.say(Ask { id: 1, question })
    }

    /// Tasks as the agent has them.
    pub(super) fn tasks(&mut self, select: &Selector) -> Tasks {
        let mut tasks = Tasks::new();
        let mut after = None;
        loop {
            let page = Page {
                select: select.clone(),
                after,
                rows: 0,
            };
            let Some((Reply::Tasks(listing), _)) = self.ask(Question::Tasks(page)) else {
                return tasks;
            };
            for row in &listing.rows {
                let held = matches!(row.state, TaskState::Leased | TaskState::Running);
                // One whose result waits for its client is nobody's.
                if held && row.worker.is_none() && self.history.life == 1 {
                    self.history.violation(format!("no worker has {row:?}"));
                }
                let list = tasks.entry(row.run.submission).or_default();
                if list.len() != row.run.lo as usize {
                    self.history
                        .violation(format!("the listing has a hole before {row:?}"));
                }
                list.resize(row.run.hi as usize, (row.state, row.run.attempt));
            }
            after = listing.next;
            if after.is_none() {
                return tasks;
            }
        }
    }

    /// Compares all tasks with how they were, and with the counts.
    pub(super) fn inspect(&mut self) {
        let tasks = self.tasks(&Selector::all());
        let mut counts = Counts::default();
        for (state, _) in tasks.values().flatten() {
            *counts.of(*state) += 1;
        }
        if counts != self.agent.counts() {
            let has = self.agent.counts();
            self.history
                .violation(format!("the agent counts {has:?}, and lists {counts:?}"));
        }
        self.history.inspected(tasks);
    }

    /// What was leased in this round may only be if what it was to wait for has ended as asked.
    pub(super) fn check_dependents(&mut self) {
        for (number, lo, hi) in std::mem::take(&mut self.history.dependent) {
            let Some(known) = self.history.submission(number) else {
                continue;
            };
            let after: Vec<After> = known.submit.task.after.clone();
            for after in after {
                let Some(target) = self.history.target(number, &after) else {
                    continue;
                };
                let tasks = self.tasks(&Selector::submission(target));
                let Some(states) = tasks.get(&target) else {
                    continue;
                };
                let met = |states: &[(TaskState, u32)]| {
                    let ended = states.iter().all(|(state, _)| state.is_final());
                    let well = states.iter().all(|(state, _)| *state == TaskState::Done);
                    match after.when {
                        When::Ok => well,
                        When::Any => ended,
                        When::Failed => ended && !well,
                    }
                };
                let (from, to) = after.offsets.unwrap_or((0, states.len() as u32));
                let met = if after.each {
                    (lo..hi).all(|at| met(&states[at as usize..=at as usize]))
                } else {
                    met(&states[from as usize..to as usize])
                };
                if !met {
                    self.history.violation(format!(
                        "{number}.{lo}-{hi} is leased, and {after:?} is {states:?}"
                    ));
                }
            }
        }
    }

    /// What has not ended, and why.
    pub(super) fn unfinished(&mut self) -> String {
        let tasks = self.tasks(&Selector::all());
        let first = tasks
            .iter()
            .find(|(_, tasks)| tasks.iter().any(|(state, _)| !state.is_final()));
        let Some((number, tasks)) = first else {
            return "none at the agent".into();
        };
        let at = tasks.iter().position(|(state, _)| !state.is_final()).unwrap_or(0);
        let number = *number;
        let state = tasks[at];
        let step = self
            .history
            .submission(number)
            .map_or((0, 1), |known| (known.submit.first, known.submit.step));
        let index = step.0 + step.1 * at as u32;
        let why = self.ask(Question::Explain(Selector::task(number, index)));
        format!("{number}.{at} is {state:?}: {why:?}")
    }

    /// Everything has ended: nothing may be missing.
    pub(super) fn conclude(&mut self) {
        self.inspect();
        self.check_rebirth();
        self.check_held();
        let mut missing = Vec::new();
        for (origin @ (seat, _), known) in &self.history.known {
            let Some(number) = known.number.filter(|_| known.submit.streaming) else {
                continue;
            };
            // Sessions live as long as their clients come back, so all results have found their way.
            let given = |offset: &u32| {
                self.clients
                    .iter()
                    .any(|client| client.delivered.contains_key(&(*origin, *offset)))
            };
            let lost: Vec<u32> = (0..known.submit.count).filter(|offset| !given(offset)).collect();
            if !lost.is_empty() {
                missing.push(format!(
                    "results of {number}.{lost:?} never came to the client of seat {seat}"
                ));
            }
        }
        for missing in missing {
            self.history.violation(missing);
        }
        self.check_counters();
        let hashes = match self.ask(Question::Snapshot("alarms".into())) {
            Some((Reply::Snapshot { state, .. }, _)) => match *state {
                Body::Alarms { alarms } => alarms
                    .into_iter()
                    .filter(|alarm| alarm.alarm == "hash_differs")
                    .collect(),
                _ => Vec::new(),
            },
            _ => Vec::new(),
        };
        if !hashes.is_empty() && !self.plan.faults.contains(&Fault::LostLease) {
            self.history
                .violation(format!("state hashes differ for no reason: {hashes:?}"));
        }
        let Some((Reply::Workers(listing), _)) = self.ask(Question::Workers(WorkersPage::default())) else {
            return;
        };
        for row in listing.rows.into_iter().filter(|row| row.state == "active") {
            if row.leases != (0, 0) || row.resources.iter().any(|(_, _, used)| *used > 0) {
                self.history.violation(format!(
                    "all has ended, and it is believed to hold something: {row:?}"
                ));
            }
            if row.beats.0 == 0 {
                self.history
                    .violation(format!("no state hash of it was ever found equal: {row:?}"));
            }
        }
    }

    /// What the agent noticed has to have a reason.
    fn check_counters(&mut self) {
        let faults = self.plan.faults.clone();
        let loses = [
            Fault::Cut,
            Fault::KillWorker,
            Fault::KillAgent,
            Fault::KillAll,
            Fault::PauseWorker,
            Fault::Delay,
            Fault::WayInBlocked,
            Fault::WayOutBlocked,
            Fault::DiskError,
            Fault::Suspend,
        ];
        // A worker that ends while the agent stands still leaves without a word.
        let alone = faults.contains(&Fault::StopWorker) && faults.contains(&Fault::PauseAgent);
        let lost = alone || faults.iter().any(|fault| loses.contains(fault));
        if !self.history.crashed.is_empty() && !lost {
            let crashed = self.history.crashed.clone();
            self.history.violation(format!(
                "no worker was lost, and these ended for that: {crashed:?}"
            ));
        }
        let quiet = faults.iter().all(|fault| Fault::CLOCKS.contains(fault));
        let odd: Vec<String> = self
            .agent
            .counters()
            .filter(|(name, count)| match *name {
                "malformed_results" => true,
                "foreign_beats" => quiet && *count > self.history.goodbyes,
                "workers_lost" | "report_gaps" | "superseded_results" | "adopted_older" => quiet,
                _ => false,
            })
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        if !odd.is_empty() {
            self.history.violation(format!("the agent noticed {odd:?}"));
        }
    }

    /// Results that the agent holds are there, and what they should be.
    fn check_held(&mut self) {
        let counts: Vec<(u64, u32)> = self
            .history
            .seen
            .iter()
            .map(|(number, tasks)| (*number, tasks.len() as u32))
            .collect();
        for (number, count) in counts {
            self.history.unheard(number, count);
        }
        let held: Vec<(u64, u32)> = self
            .history
            .known
            .values()
            .filter(|known| !known.submit.streaming)
            .filter_map(|known| Some((known.number?, known.count())))
            .filter(|(number, _)| self.history.seen.contains_key(number))
            .collect();
        for (number, count) in held {
            let mut next = 0;
            let mut after = None;
            loop {
                let page = Page {
                    select: Selector::submission(number),
                    after,
                    rows: 0,
                };
                let Some((Reply::Results(listing), blobs)) = self.ask(Question::Results(page)) else {
                    break;
                };
                for group in &listing.rows {
                    if group.run.lo != next {
                        self.history
                            .violation(format!("the held results of {number} have a hole at {next}"));
                    }
                    next = group.run.hi;
                    self.history.result(group, &blobs, true);
                }
                after = listing.next;
                if after.is_none() {
                    break;
                }
            }
            if next != count {
                self.history
                    .violation(format!("of {count} results of {number} only {next} are held"));
            }
        }
    }
}

/// What an agent answers to a question, which it asks as anybody may: the agent is not used for anything else.
fn answer_of(agent: &mut Agent, now: Micros, question: Question) -> Option<Reply> {
    let hello = ClientHello {
        kind: SessionKind::Shared,
        session: "inspector".into(),
        ..ClientHello::default()
    };
    let mut out = Vec::new();
    for message in [hello.into(), Ask { id: 1, question }.into()] {
        let input = Input::Client {
            peer: INSPECTOR,
            role: Role::Observer,
            message,
            blobs: Vec::new(),
        };
        agent.handle(now, input, &mut out);
    }
    // What waits for the disk is not asked for.
    agent.handle(now, Input::DiskFull(true), &mut out);
    agent.flush(now, &mut out);
    out.into_iter().find_map(|action| match action {
        Action::ToClient {
            message: AgentToClient::Answer(answer),
            ..
        } => Some(answer.reply),
        _ => None,
    })
}

/// All tasks of an agent that is not used for anything else.
pub(super) fn tasks_of(mut agent: Agent, now: Micros) -> Tasks {
    let question = Question::Tasks(Page {
        select: Selector::all(),
        after: None,
        rows: 0,
    });
    let mut tasks = Tasks::new();
    if let Some(Reply::Tasks(listing)) = answer_of(&mut agent, now, question) {
        for row in listing.rows {
            let list = tasks.entry(row.run.submission).or_default();
            list.resize(row.run.hi as usize, (row.state, row.run.attempt));
        }
    }
    tasks
}

/// All workers of one.
pub(super) fn workers_of(mut agent: Agent, now: Micros) -> Option<Reply> {
    answer_of(&mut agent, now, Question::Workers(WorkersPage::default()))
}
