//! A worker's process: the production machine, and a shell whose programs only take their time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use scalems_core::Micros;
use scalems_core::leaseholder::{
    Input, Leaseholder, NumaNode, Outcome, Output, Settings, StopOrder, TaskLease,
};
use scalems_protocol::state::Strength;
use scalems_protocol::task::{CORES, GPUS, OnSilence, Placement};
use scalems_protocol::worker::{Beat, OutputRead, WorkerToAgent};
use scalems_protocol::{Amount, Ending, Origin};

use super::history::History;
use super::programs::{self, Behaviour};
use super::random::Random;

/// A worker, over all of its processes.
#[derive(Clone, Debug)]
pub struct SimWorker {
    index: usize,
    cores: u32,
    gpus: u32,
    /// Whether the agent's host can tell if its process is over.
    known: bool,
    /// The machine, while a process lives.
    machine: Option<Leaseholder>,
    /// Counts processes.
    pub process: u32,
    /// Its connection.
    pub link: Option<u32>,
    /// Whether its transport has told it so.
    pub told: bool,
    /// What came in since the last round.
    pub inbox: VecDeque<Input>,
    running: BTreeMap<u64, TaskLease>,
    /// Those of them that wait for another to be over, by that, and those whose turn has come.
    followers: BTreeMap<u64, u64>,
    due: Vec<u64>,
    /// Tasks that began in this round, and may run nowhere else.
    alone: Vec<Begun>,
    /// Those that were taken back before they began, and whose end is on its way.
    taken_back: BTreeSet<u64>,
    random: Random,
}

/// What began, by what its client knows it by. Another client of a session may give a request's number to something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begun {
    origin: Origin,
    offset: u32,
    data: Bytes,
}

impl Begun {
    fn of(lease: &TaskLease) -> Self {
        Self {
            origin: lease.origin,
            offset: lease.offset,
            data: lease.data.clone(),
        }
    }
}

/// What a round of a worker leads to.
#[derive(Debug)]
pub enum Effect {
    /// Send to the agent.
    Send(WorkerToAgent, Vec<Bytes>),
    /// Publish.
    Publish(Beat),
    /// Tell the machine at that time that a program runs.
    Started(Micros, u64),
    /// Tell the machine at that time that a program has ended.
    Ended(Micros, u64, bool),
    /// The process ends.
    End,
}

/// What a task has of which core and GPU.
fn shares(lease: &TaskLease) -> impl Iterator<Item = (&'static str, u32, Amount)> {
    let cpus = lease.cpus.iter().zip(&lease.cpu_shares);
    let gpus = lease.gpus.iter().zip(&lease.gpu_shares);
    let cpus = cpus.map(|(number, share)| (CORES, *number, *share));
    cpus.chain(gpus.map(|(number, share)| (GPUS, *number, *share)))
}

impl SimWorker {
    /// A worker without a process.
    pub fn new(seed: u64, index: usize) -> Self {
        let mut random = Random::new(seed, 100 + index as u64);
        let cores = random.within(1, 9) as u32;
        // At least one can serve everything.
        let cores = if index == 0 { 8 } else { cores };
        Self {
            index,
            cores,
            gpus: if index.is_multiple_of(2) { 2 } else { 0 },
            known: !index.is_multiple_of(3),
            machine: None,
            process: 0,
            link: None,
            told: false,
            inbox: VecDeque::new(),
            running: BTreeMap::new(),
            followers: BTreeMap::new(),
            due: Vec::new(),
            alone: Vec::new(),
            taken_back: BTreeSet::new(),
            random,
        }
    }

    /// Tasks that have begun since this was asked last, and may run nowhere else (R11).
    pub fn began_alone(&mut self) -> Vec<Begun> {
        std::mem::take(&mut self.alone)
    }

    /// Whether a program of this task runs, also of an attempt whose submission left no record and was said again.
    pub fn runs(&self, task: &Begun) -> bool {
        let mut running = self.running.values();
        self.machine.is_some()
            && running.any(|lease| {
                Begun::of(lease) == *task && !self.waits(lease.key) && !self.taken_back.contains(&lease.key)
            })
    }

    /// What its process is known by; of some nothing is known.
    fn process_name(&self) -> String {
        if self.known {
            format!("{}.{}", self.index, self.process)
        } else {
            String::new()
        }
    }

    /// Whether the process that is known by this name is over.
    pub fn is_over(&self, name: &str) -> bool {
        self.machine.is_none() || name != self.process_name()
    }

    /// A worker with a single core, and without dice.
    pub(super) fn with_one_core(index: usize) -> Self {
        let mut worker = Self {
            cores: 1,
            gpus: 0,
            known: false,
            ..Self::new(0, index)
        };
        worker.forget_dice();
        worker
    }

    /// From here on it takes the same turns as from any other such moment.
    pub(super) fn forget_dice(&mut self) {
        self.random = Random::new(0, 0);
    }

    /// Which of its cores are near each other: two or three each, and of some workers nothing is known.
    fn nodes(&self) -> Vec<NumaNode> {
        let each = [0, 2, 3][self.index % 3];
        if each == 0 {
            return Vec::new();
        }
        let cpus: Vec<u32> = (0..self.cores).collect();
        let parts = cpus.chunks(each).map(|part| NumaNode {
            cpus: part.to_vec(),
            gpus: Vec::new(),
        });
        parts.collect()
    }

    /// Whether cores lie as a task asks for.
    fn lie_well(&self, cpus: &[u32], placement: Placement) -> bool {
        let nodes = self.nodes();
        if nodes.is_empty() || placement != Placement::Strict {
            return true;
        }
        let has = |node: &&NumaNode| node.cpus.iter().any(|cpu| cpus.contains(cpu));
        let mut sizes: Vec<usize> = nodes.iter().map(|node| node.cpus.len()).collect();
        sizes.sort_unstable_by_key(|size| usize::MAX - size);
        let enough = (0..=sizes.len()).find(|few| sizes[..*few].iter().sum::<usize>() >= cpus.len());
        placement != Placement::Strict || nodes.is_empty() || Some(nodes.iter().filter(has).count()) == enough
    }

    /// A new process.
    pub fn begin(&mut self, now: Micros) {
        self.process += 1;
        let settings = Settings {
            name: format!("w{}", self.index),
            host: "h".into(),
            pid: self.process,
            process: self.process_name(),
            software: "sim".into(),
            cpus: (0..self.cores).collect(),
            gpus: (0..self.gpus).collect(),
            memory_mib: 1_000,
            named: Vec::new(),
            modes: vec![programs::MODE.into()],
            ends: None,
            place: None,
            join_ms: 120_000,
            idle_us: None,
            nodes: self.nodes(),
            quick_us: 10_000 * u64::from(self.index as u32 / 2 % 2),
            patience_us: 2_000 * u64::from(self.index as u32 % 2),
        };
        self.machine = Some(Leaseholder::new(settings, now));
    }

    /// The process is no more, and its programs with it.
    pub fn die(&mut self) {
        self.machine = None;
        self.inbox.clear();
        self.running.clear();
        self.followers.clear();
        self.due.clear();
        self.taken_back.clear();
        self.link = None;
        self.told = false;
    }

    /// It is asked on its own machine to end.
    pub fn stop(&mut self, drain_ms: u64) {
        if self.lives() {
            self.inbox.push_back(Input::Stop { drain_ms });
        }
    }

    /// Whether a process lives.
    pub fn lives(&self) -> bool {
        self.machine.is_some()
    }

    /// When a round is due though nothing happens.
    pub fn deadline(&self) -> Option<Micros> {
        self.machine.as_ref()?.deadline()
    }

    /// A program of this process runs, unless it was ended before.
    pub fn program_started(&mut self, key: u64) {
        if self.running.contains_key(&key) {
            self.inbox.push_back(Input::Started { key });
        }
    }

    /// A program of this process has ended by itself or by being stopped, unless it did so before.
    pub fn program_ended(&mut self, key: u64, stopped: bool) {
        let Some(lease) = self.running.remove(&key) else {
            return;
        };
        self.taken_back.remove(&key);
        self.due.extend(self.followers.remove(&key));
        let (ending, value, error) = if stopped {
            (Ending::Failed, Bytes::new(), None)
        } else {
            programs::outcome(&lease.data, lease.attempt)
        };
        let ran_us = programs::read(&lease.data).map_or(0, |(_, milliseconds)| milliseconds * 1_000);
        let outcome = Outcome {
            ending,
            value,
            exit_code: None,
            ran_us,
            error,
            stopped,
        };
        self.inbox.push_back(Input::Ended { key, outcome });
    }

    /// Takes in what came when its clock shows `clock`, and says what follows.
    pub fn round(&mut self, now: Micros, clock: Micros, history: &mut History) -> Vec<Effect> {
        let Some(machine) = &mut self.machine else {
            return Vec::new();
        };
        let mut out = Vec::new();
        for input in std::mem::take(&mut self.inbox) {
            machine.handle(clock, input, &mut out);
        }
        machine.flush(clock, &mut out);
        // What became due by the flush itself is due at once, and only once: time would stand still.
        if machine.deadline().is_some_and(|at| at < clock) {
            history.violation(format!("worker {} is late after a flush", self.index));
        }
        let mut effects = Vec::new();
        for output in out {
            match output {
                Output::Send(message, blobs) => effects.push(Effect::Send(message, blobs)),
                Output::PublishBeat(beat) => effects.push(Effect::Publish(beat)),
                Output::Start(lease) => match lease.after {
                    Some(after) if self.running.contains_key(&after) => {
                        let before = self.followers.insert(after, lease.key);
                        if before.is_some() {
                            history.violation(format!("worker {}: two wait for one task", self.index));
                        }
                        self.running.insert(lease.key, lease);
                    }
                    _ => self.start(now, lease, history, &mut effects),
                },
                // Programs of this world write nothing.
                Output::Read { key, id, .. } => {
                    let read = OutputRead {
                        id,
                        over: !self.running.contains_key(&key),
                        ..OutputRead::default()
                    };
                    effects.push(Effect::Send(read.into(), Vec::new()));
                }
                Output::Recall { key } => self.take_back(now, key, &mut effects),
                Output::Stop(order) => self.stop_program(now, &order, &mut effects),
                Output::Note(note) => {
                    use scalems_core::leaseholder::Note;
                    let alone = matches!(note, Note::Orphaned) && !history.silence;
                    if alone || matches!(note, Note::WrongLease(_) | Note::UnknownKey(_)) {
                        history.violation(format!("worker {}: {note}", self.index));
                    }
                }
                Output::LogLevels(_) => {}
                Output::End(_) => effects.push(Effect::End),
            }
        }
        for key in std::mem::take(&mut self.due) {
            if let Some(lease) = self.running.remove(&key) {
                self.start(now, lease, history, &mut effects);
            }
        }
        effects
    }

    /// Takes a program back that waits for another to be over; one that has begun goes on.
    fn take_back(&mut self, now: Micros, key: u64, effects: &mut Vec<Effect>) {
        if self.leave_line(key) {
            self.taken_back.insert(key);
            effects.push(Effect::Ended(now + self.random.within(100, 5_000), key, true));
        }
    }

    /// Takes a program out of its line, which closes up. Whether it was in one.
    fn leave_line(&mut self, key: u64) -> bool {
        let before = self.followers.iter().find(|(_, waiting)| **waiting == key);
        let Some(before) = before.map(|(before, _)| *before) else {
            return false;
        };
        self.followers.remove(&before);
        if let Some(behind) = self.followers.remove(&key) {
            self.followers.insert(before, behind);
        }
        true
    }

    /// Whether a program waits for another to be over.
    fn waits(&self, key: u64) -> bool {
        self.followers.values().any(|waiting| *waiting == key)
    }

    fn start(&mut self, now: Micros, lease: TaskLease, history: &mut History, effects: &mut Vec<Effect>) {
        history.start(
            (lease.task.submission, lease.offset),
            lease.incarnation,
            lease.attempt,
            &lease.data,
        );
        if lease.template.policy.on_silence != OnSilence::Rerun {
            self.alone.push(Begun::of(&lease));
        }
        // What is in use of each core and GPU, with this task.
        let mut taken: BTreeMap<(&str, u32), u64> = BTreeMap::new();
        let running = self.running.values();
        let beside = running.filter(|lease| !self.waits(lease.key) && !self.taken_back.contains(&lease.key));
        for lease in beside.chain([&lease]) {
            for (kind, number, share) in shares(lease) {
                *taken.entry((kind, number)).or_default() += share.parts();
            }
        }
        let exists =
            |(kind, number): (&str, u32)| number < if kind == CORES { self.cores } else { self.gpus };
        let over = taken
            .iter()
            .any(|(slot, parts)| *parts > Amount::PARTS || !exists(*slot));
        let given = |kind: &str| {
            let own = shares(&lease).filter(|(of, ..)| *of == kind);
            own.map(|(.., share)| share.parts()).sum::<u64>()
        };
        let wants = |kind: &str| {
            let mut totals = lease.needs().totals();
            totals
                .find(|(of, _)| *of == kind)
                .map_or(0, |(_, amount)| amount.parts())
        };
        let split = shares(&lease).filter(|(.., share)| !share.is_whole()).count();
        let exact = [CORES, GPUS].iter().all(|kind| given(kind) == wants(kind));
        if over || !exact || split > 2 {
            history.violation(format!(
                "worker {} gives cores {:?} and GPUs {:?} of {} and {} to {}, {taken:?} are in use",
                self.index, lease.cpus, lease.gpus, self.cores, self.gpus, lease.task
            ));
        }
        if !self.lie_well(&lease.cpus, lease.needs().placement) {
            history.violation(format!(
                "worker {} gives {:?} to {}, which do not lie together",
                self.index, lease.cpus, lease.task
            ));
        }
        let Some((_, milliseconds)) = programs::read(&lease.data) else {
            history.violation(format!("{} has data of no program", lease.task));
            return;
        };
        let runs = now + self.random.within(100, 5_000);
        // What is over at once is not always said to have started.
        if milliseconds > 20 || self.random.percent(50) {
            effects.push(Effect::Started(runs, lease.key));
        }
        effects.push(Effect::Ended(runs + milliseconds * 1_000, lease.key, false));
        self.running.insert(lease.key, lease);
    }

    fn stop_program(&mut self, now: Micros, order: &StopOrder, effects: &mut Vec<Effect>) {
        if self.leave_line(order.key) {
            self.taken_back.insert(order.key);
            return effects.push(Effect::Ended(
                now + self.random.within(100, 5_000),
                order.key,
                true,
            ));
        }
        let Some(lease) = self.running.get(&order.key) else {
            return;
        };
        let stubborn =
            programs::read(&lease.data).is_some_and(|(behaviour, _)| behaviour == Behaviour::Stubborn);
        if order.strength == Strength::Kill || !stubborn {
            effects.push(Effect::Ended(
                now + self.random.within(100, 20_000),
                order.key,
                true,
            ));
        }
    }
}
