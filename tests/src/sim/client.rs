//! A client's process: the production machine, and a program that uses it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use scalems_client::machine::{
    Answered, Call, CallFault, CallKey, Config, Done, Group, Input, Machine, Output, Pack, PackKey,
    SessionEnd, TaskFault,
};
use scalems_core::Micros;
use scalems_protocol::client::{ClientToAgent, SessionKind};
use scalems_protocol::event::Topic;
use scalems_protocol::group::Data;
use scalems_protocol::{Code, Ending};

use super::history::{History, Place};
use super::plan::{Fault, Plan};
use super::programs;
use super::random::Random;

/// A client, over all of its processes.
#[derive(Clone, Debug)]
pub struct SimClient {
    pub(super) index: usize,
    /// Whether the agent has a journal.
    pub(super) journal: bool,
    /// Whether what it asks for may be refused because the journal's disk is full.
    disk_fills: bool,
    /// The session's name.
    pub session: String,
    machine: Option<Machine>,
    /// Counts processes.
    pub process: u32,
    /// Its connection.
    pub link: Option<u32>,
    /// Whether its transport has told it so.
    pub told: bool,
    /// What came in since the last round.
    pub inbox: VecDeque<Input>,
    /// What this process has submitted.
    pub packs: BTreeMap<PackKey, Submitted>,
    /// What this process wants answered.
    pub calls: BTreeMap<CallKey, String>,
    /// The modes of open submissions that are not accepted yet.
    opening: BTreeMap<CallKey, String>,
    /// Submissions that the agent holds for it.
    pub held: Vec<u64>,
    /// Submissions that are or were open, and the mode of their tasks.
    pub opened: Vec<(u64, String)>,
    /// Which process was given which result.
    pub delivered: BTreeMap<Place, BTreeSet<u32>>,
    pub(super) last_key: u64,
    pub(super) random: Random,
}

/// Tasks that were submitted together.
#[derive(Clone, Debug)]
pub struct Submitted {
    /// Their mode.
    pub mode: String,
    /// Their data.
    pub data: Data,
    /// Which of them have ended.
    pub resolved: Vec<bool>,
    /// Whether it is an array.
    pub array: bool,
    /// Whether the machine was told that it may forget them.
    pub released: bool,
}

/// What a round of a client leads to.
#[derive(Debug)]
pub enum Effect {
    /// Send to the agent.
    Send(ClientToAgent, Vec<Bytes>),
    /// Listen to a topic.
    Subscribe(Topic),
    /// Do not any more.
    Unsubscribe(Topic),
    /// The session is over for this process.
    Over(SessionEnd),
}

impl SimClient {
    /// A client without a process.
    pub fn new(plan: &Plan, index: usize) -> Self {
        Self {
            index,
            journal: plan.journal,
            disk_fills: plan.journal && plan.faults.contains(&Fault::DiskFull),
            session: format!("session-{index}"),
            machine: None,
            process: 0,
            link: None,
            told: false,
            inbox: VecDeque::new(),
            packs: BTreeMap::new(),
            calls: BTreeMap::new(),
            opening: BTreeMap::new(),
            held: Vec::new(),
            opened: Vec::new(),
            delivered: BTreeMap::new(),
            last_key: 0,
            random: Random::new(plan.seed, 200 + index as u64),
        }
    }

    /// A new process.
    pub fn begin(&mut self, now: Micros) {
        self.process += 1;
        let config = Config {
            session: self.session.clone(),
            kind: SessionKind::Exclusive,
            takeover: self.random.percent(30),
            connect_us: 60_000_000,
            probe_us: self.random.pick(&[3_000_000, 30_000_000]),
            window_tasks: self.random.pick(&[8, 100, 16_384]),
            patience_us: self.random.pick(&[0, 5_000]),
            ..Config::default()
        };
        self.machine = Some(Machine::new(config, now));
    }

    /// The process is no more.
    pub fn die(&mut self) {
        self.machine = None;
        self.inbox.clear();
        self.packs.clear();
        self.calls.clear();
        self.opening.clear();
        self.link = None;
        self.told = false;
    }

    /// Whether a process lives.
    pub fn lives(&self) -> bool {
        self.machine.is_some()
    }

    /// When a round is due though nothing happens.
    pub fn deadline(&self, now: Micros) -> Option<Micros> {
        self.machine.as_ref()?.deadline(now)
    }

    /// A name that was not used before.
    pub(super) fn key(&mut self) -> u64 {
        self.last_key += 1;
        self.last_key
    }

    /// Takes in what came, and says what follows.
    pub fn round(&mut self, now: Micros, history: &mut History) -> Vec<Effect> {
        let Some(machine) = &mut self.machine else {
            return Vec::new();
        };
        let mut out = Vec::new();
        for input in std::mem::take(&mut self.inbox) {
            machine.handle(now, input, &mut out);
        }
        machine.flush(now, &mut out);
        if machine.deadline(now).is_some_and(|at| at <= now) {
            history.violation(format!("client {} has something due after a flush", self.index));
        }
        // What was taken in and not recorded to be so comes again from another life of the agent.
        if machine.counters().repeated_results > 0 && history.life == 1 {
            history.violation(format!("client {} was sent a result twice", self.index));
        }
        let mut effects = Vec::new();
        let over = machine.over().cloned();
        for output in out {
            match output {
                Output::Send(message, blobs) => effects.push(Effect::Send(message, blobs)),
                Output::Resolve { pack, lo, hi, done } => {
                    self.resolved(pack, lo, hi, &done, history, over.is_some())
                }
                Output::Reply(key, reply) => self.replied(key, *reply, history),
                Output::Unclaimed { group, .. } => {
                    self.given(&group, 0, group.run.map_or(0, |run| run.count()), history)
                }
                Output::Complaint(refusal) => history.violation(format!("client {}: {refusal}", self.index)),
                Output::Subscribe(topic) => effects.push(Effect::Subscribe(topic)),
                Output::Unsubscribe(topic) => effects.push(Effect::Unsubscribe(topic)),
                Output::Over(end) => effects.push(Effect::Over(end)),
                Output::Attached(_) | Output::Named { .. } | Output::Noted { .. } | Output::Update(..) => {}
            }
        }
        effects
    }

    fn resolved(&mut self, key: PackKey, lo: u32, hi: u32, done: &Done, history: &mut History, over: bool) {
        let disk_fills = self.disk_fills;
        let Some(pack) = self.packs.get_mut(&key) else {
            return history.violation(format!(
                "client {}: {key:?} ended and was not submitted",
                self.index
            ));
        };
        for place in lo..hi {
            if std::mem::replace(&mut pack.resolved[place as usize], true) {
                history.violation(format!(
                    "client {}: task {place} of {key:?} ended twice",
                    self.index
                ));
            }
        }
        match done {
            Done::Failed(fault) if disk_fills && is_full(fault) => {}
            Done::Failed(fault) if !over => {
                history.violation(format!(
                    "client {}: tasks {lo}..{hi} of {key:?}: {fault}",
                    self.index
                ));
            }
            Done::Failed(_) => {}
            Done::Ended { group, at } => {
                for place in lo..hi {
                    let data = pack.data.of(place as usize);
                    let attempt = group.run.map_or(0, |run| run.attempt);
                    let wants = programs::value(&pack.mode, &data, attempt);
                    let has = group.data.of((at + place - lo) as usize);
                    if group.ending == Ending::Done && has != wants {
                        let problem = format!("has {has:?}, which should be {wants:?}");
                        history.violation(format!(
                            "client {}: task {place} of {key:?} {problem}",
                            self.index
                        ));
                    }
                }
                self.given(group, *at, at + hi - lo, history);
            }
        }
    }

    /// Results came to this process, each for the first time.
    fn given(&mut self, group: &Arc<Group>, lo: u32, hi: u32, history: &mut History) {
        let Some(run) = group.run else { return };
        let Some(origin) = history.numbers.get(&run.submission).copied() else {
            return history.violation(format!("{run:?} has ended, which nobody submitted"));
        };
        for at in lo..hi {
            let task = (origin, run.lo + at);
            if !self.delivered.entry(task).or_default().insert(self.process) {
                history.violation(format!(
                    "client {}: task {}.{} of {origin:?} came twice",
                    self.index, run.submission, task.1
                ));
            }
        }
    }

    fn replied(&mut self, key: CallKey, reply: Result<Answered, CallFault>, history: &mut History) {
        let Some(what) = self.calls.remove(&key) else {
            return history.violation(format!(
                "client {}: an answer to {key:?}, which is not open",
                self.index
            ));
        };
        match reply {
            Ok(Answered::Accepted { submission, .. }) => {
                self.held.push(submission);
                if let Some(mode) = self.opening.remove(&key) {
                    self.opened.push((submission, mode));
                }
                if self.random.percent(50) {
                    let select = scalems_protocol::select::Selector::submission(submission);
                    let question = scalems_protocol::client::Question::Wait {
                        select,
                        timeout_ms: 20_000,
                    };
                    self.ask(question, 40_000_000);
                }
            }
            Ok(_) | Err(CallFault::TimedOut { .. } | CallFault::SessionEnded(_)) => {}
            // These are true answers to what was asked.
            Err(CallFault::Refused(refusal))
                if matches!(
                    refusal.code,
                    Code::NothingSelected | Code::TimedOut | Code::NotOpen
                ) => {}
            Err(CallFault::Refused(refusal)) if self.disk_fills && refusal.code == Code::AgentFull => {}
            Err(fault) => history.violation(format!("client {}: {what}: {fault}", self.index)),
        }
    }

    /// Wants something answered.
    pub(super) fn call(&mut self, call: Call) {
        let key = CallKey(self.key());
        if let Call::Held {
            template, open: true, ..
        } = &call
        {
            self.opening.insert(key, template.mode.clone());
        }
        self.calls
            .insert(key, format!("{call:?}").chars().take(120).collect());
        self.inbox.push_back(Input::Call(key, call));
    }

    pub(super) fn ask(&mut self, question: scalems_protocol::client::Question, timeout_us: Micros) {
        self.call(Call::Ask { question, timeout_us });
    }

    /// Submits tasks.
    pub(super) fn submit(&mut self, pack: Pack, array: bool) {
        let submitted = Submitted {
            mode: pack.template.mode.clone(),
            data: pack.data.clone(),
            resolved: vec![false; pack.count as usize],
            array,
            released: false,
        };
        self.packs.insert(pack.key, submitted);
        self.inbox.push_back(Input::Submit(pack));
    }

    /// What this process still waits for.
    pub fn open(&self) -> Option<String> {
        if !self.lives() {
            return Some(format!("client {} has no process", self.index));
        }
        let unfinished = |pack: &Submitted| pack.resolved.iter().filter(|done| !**done).count();
        let tasks: Vec<String> = self
            .packs
            .iter()
            .filter(|(_, pack)| unfinished(pack) > 0)
            .map(|(key, pack)| format!("{} tasks of {key:?}", unfinished(pack)))
            .collect();
        if tasks.is_empty() && self.calls.is_empty() {
            return None;
        }
        Some(format!(
            "client {} waits for {} {:?}",
            self.index,
            tasks.join(", "),
            self.calls
        ))
    }
}

/// Whether tasks were not taken because the disk was full, or because those were not that they come after.
fn is_full(fault: &TaskFault) -> bool {
    let codes = [Code::AgentFull, Code::UnknownDependency];
    matches!(fault, TaskFault::Refused(refusal) if codes.contains(&refusal.code))
}
