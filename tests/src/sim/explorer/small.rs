//! One state of the small world, and the steps from it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use scalems_client::machine::{self, Pack, PackKey, Shape};
use scalems_core::record::Record;
use scalems_core::{Action, Agent, Input, Micros, Peer, Restore, leaseholder};
use scalems_protocol::Role;
use scalems_protocol::client::{Counts, Reply};
use scalems_protocol::group::Data;
use scalems_protocol::task::{Needs, Policy, Template};

use super::super::client::{self, SimClient};
use super::super::history::History;
use super::super::inspect;
use super::super::network::Party;
use super::super::plan::{Fault, Plan};
use super::super::programs::{self, Behaviour};
use super::super::worker::{self, SimWorker};
use super::super::world::{Message, World};
use super::{Bounds, Step, fingerprint};

/// The network stands still for so long: a worker is lost after 10 s.
const STAND_STILL: Micros = 11_000_000;
/// All has to end within this time.
const PATIENCE: Micros = 300_000_000;
/// A program that takes longer than this ends in a step of its own.
const QUICK: Micros = 20_000;

const PARTIES: [Party; 3] = [Party::Client(0), Party::Worker(0), Party::Worker(1)];

/// One part of the world, with its fingerprint while that is known.
#[derive(Clone, Debug)]
struct Part<T> {
    part: Arc<T>,
    print: Option<u64>,
}

impl<T: Clone + fmt::Debug> Part<T> {
    fn new(part: T) -> Self {
        Self {
            part: Arc::new(part),
            print: None,
        }
    }

    fn get(&mut self) -> &mut T {
        self.print = None;
        Arc::make_mut(&mut self.part)
    }

    fn print(&mut self) -> u64 {
        *self.print.get_or_insert_with(|| fingerprint(&self.part))
    }
}

/// A connection, as long as the party has no other one.
#[derive(Clone, Debug)]
struct Line {
    peer: u32,
    /// Nothing reaches the party any more.
    severed: bool,
    /// Nor the agent.
    broken: bool,
    /// On its way to the agent.
    coming: VecDeque<Arc<(Message, Vec<Bytes>)>>,
    /// On its way to the party, while the network stands still.
    held: VecDeque<Arc<(Message, Vec<Bytes>)>>,
}

/// A state.
#[derive(Clone, Debug)]
pub(super) struct Small {
    plan: Arc<Plan>,
    bounds: Bounds,
    now: Micros,
    agent: Part<Agent>,
    workers: [Part<SimWorker>; 2],
    client: Part<SimClient>,
    history: Part<History>,
    journal: Part<Vec<Record>>,
    durable: usize,
    life: u64,
    lines: BTreeMap<Party, Line>,
    /// Broken connections that the agent has not noticed, and those that it has.
    unnoticed: BTreeSet<u32>,
    noticed: BTreeSet<u32>,
    programs: BTreeSet<(usize, u64)>,
    standing_still: bool,
    /// For the agent, and for parties, in this step.
    inputs: VecDeque<Input>,
    rounds: BTreeSet<Party>,
    network: u8,
    crashes: u8,
    commits: u8,
}

impl Small {
    /// All have joined, and the client has just submitted.
    pub(super) fn new(bounds: Bounds) -> Self {
        let plan = Plan {
            workers: 2,
            clients: 1,
            // Whatever the bounds allow may keep processes from hearing of each other.
            faults: vec![Fault::Cut],
            journal: true,
            ..Plan::of(2)
        };
        let mut world = Self {
            now: 0,
            bounds,
            agent: Part::new(Agent::new(World::config(&plan, 1))),
            workers: [0, 1].map(|index| Part::new(SimWorker::with_one_core(index))),
            client: Part::new(SimClient::new(&plan, 0)),
            history: Part::new(History::of_first_life(true, true)),
            journal: Part::new(Vec::new()),
            durable: 0,
            life: 1,
            lines: BTreeMap::new(),
            unnoticed: BTreeSet::new(),
            noticed: BTreeSet::new(),
            programs: BTreeSet::new(),
            standing_still: false,
            inputs: VecDeque::new(),
            rounds: BTreeSet::new(),
            network: bounds.network,
            crashes: bounds.crashes,
            // So that all that leads to the beginning is on disk.
            commits: u8::MAX,
            plan: Arc::new(plan),
        };
        world.client.get().begin(0);
        for worker in &mut world.workers {
            worker.get().begin(0);
        }
        for party in PARTIES {
            world.connect(party);
            world.settle();
            // Everybody has joined, and that is on disk.
            for _ in 0..4 {
                while !world.lines[&party].coming.is_empty() {
                    world.take(Step::Take(party));
                }
                world.take(Step::Commit);
            }
        }
        world.submit(bounds.quick);
        world.settle();
        world.commits = bounds.commits;
        world
    }

    /// Two tasks: one that takes no time, and another such, or one that takes some and fails first.
    fn submit(&mut self, quick: bool) {
        let template = Template {
            mode: programs::MODE.into(),
            needs: Needs::cores(1),
            policy: Policy {
                retries: 1,
                ..Policy::default()
            },
            ..Template::default()
        };
        let mut bytes = programs::data(Behaviour::Well, 0, 1);
        let first = bytes.len() as u32;
        bytes.extend(if quick {
            programs::data(Behaviour::Well, 0, 2)
        } else {
            programs::data(Behaviour::FailsFirst, 30, 2)
        });
        let ends = vec![first, bytes.len() as u32];
        let pack = Pack {
            key: PackKey(1),
            template: Arc::new(template),
            count: 2,
            shape: Shape::Batch,
            data: Data {
                bytes: bytes.into(),
                ends,
            },
            after: Vec::new(),
        };
        self.client.get().submit(pack, false);
        self.rounds.insert(Party::Client(0));
    }

    pub(super) fn violations(&self) -> &[String] {
        &self.history.part.violations
    }

    pub(super) fn fingerprint(&mut self) -> u64 {
        let prints = [
            self.agent.print(),
            self.workers[0].print(),
            self.workers[1].print(),
            self.client.print(),
            self.history.print(),
            self.journal.print(),
        ];
        let left = (self.network, self.crashes, self.commits);
        let numbers = (self.now, self.durable, self.life, left);
        let sets = (&self.unnoticed, &self.noticed, &self.programs);
        fingerprint(&(prints, numbers, sets, &self.lines))
    }

    fn has_ended(&self) -> bool {
        // What the client says again may wait for a worker, though it has had its results.
        let counts = self.agent.part.counts();
        self.client.part.open().is_none() && counts.unfinished() == 0 && counts != Counts::default()
    }

    /// Something that is sure to happen, without waiting for a timer.
    fn pending(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for (party, line) in &self.lines {
            if !line.broken && !line.coming.is_empty() {
                steps.push(Step::Take(*party));
            }
            if line.broken {
                steps.push(match *party {
                    Party::Worker(at) if !self.lives(*party) => Step::Begin(at),
                    _ => Step::Reconnect(*party),
                });
            }
        }
        steps.extend(
            self.programs
                .iter()
                .map(|(worker, key)| Step::ProgramEnds(*worker, *key)),
        );
        steps.extend(self.unnoticed.iter().map(|peer| Step::AgentNotices(*peer)));
        if self.durable < self.journal.part.len() && (self.commits > 0 || steps.is_empty()) {
            steps.push(Step::Commit);
        }
        steps
    }

    /// All has ended, and nothing is on its way.
    pub(super) fn is_done(&self) -> bool {
        self.has_ended() && self.pending().is_empty()
    }

    /// All that may happen next.
    pub(super) fn choices(&self) -> Vec<Step> {
        if let Some((party, line)) = self.lines.iter().find(|(_, line)| line.severed && !line.broken) {
            let mut steps = vec![Step::Break(*party)];
            if !line.coming.is_empty() {
                steps.push(Step::Take(*party));
            }
            if self.durable < self.journal.part.len() && self.commits > 0 {
                steps.push(Step::Commit);
            }
            return steps;
        }
        let mut steps = self.pending();
        let done = self.has_ended() && steps.is_empty();
        if self.network > 0 && !done {
            if self.bounds.stand_still && !steps.is_empty() {
                steps.push(Step::StandStill);
            }
            let whole = self.lines.iter().filter(|(_, line)| !line.broken);
            steps.extend(whole.map(|(party, _)| Step::Sever(*party)));
        }
        if self.crashes > 0 {
            let (durable, all) = (self.durable, self.journal.part.len());
            let left: Vec<usize> = if self.bounds.any_record {
                (durable..=all).collect()
            } else {
                BTreeSet::from([durable, all]).into_iter().collect()
            };
            steps.extend(left.into_iter().map(Step::KillAgent));
            let workers = (0..2).filter(|at| !done && self.lives(Party::Worker(*at)));
            steps.extend(workers.map(Step::KillWorker));
        }
        if !done && self.pending().is_empty() {
            steps.push(Step::Wait);
        }
        steps
    }

    fn lives(&self, party: Party) -> bool {
        match party {
            Party::Worker(at) => self.workers[at].part.lives(),
            Party::Client(_) => self.client.part.lives(),
        }
    }

    /// Makes a step, with all that follows at once.
    pub(super) fn take(&mut self, step: Step) {
        match step {
            Step::Take(party) => {
                if let Some(line) = self.lines.get_mut(&party)
                    && let Some(next) = line.coming.pop_front()
                {
                    let peer = Peer(line.peer);
                    // Who speaks over a new connection has no old one.
                    if line.peer >= 4 {
                        self.unnoticed.remove(&(line.peer - 4));
                    }
                    let (message, blobs) = (*next).clone();
                    let input = match message {
                        Message::FromClient(message) => Input::Client {
                            peer,
                            role: Role::Client,
                            message,
                            blobs,
                        },
                        Message::FromWorker(message) => Input::Worker { peer, message, blobs },
                        other => unreachable!("{other:?} goes the other way"),
                    };
                    self.inputs.push_back(input);
                }
            }
            Step::Commit => {
                let early = self.pending().iter().any(|step| *step != Step::Commit);
                self.commits -= u8::from(early);
                self.durable = self.journal.part.len();
                self.inputs.push_back(Input::Durable(self.durable as u64));
            }
            Step::ProgramEnds(worker, key) => {
                self.programs.remove(&(worker, key));
                self.workers[worker].get().program_ended(key, false);
                self.rounds.insert(Party::Worker(worker));
            }
            Step::Sever(party) => {
                self.network -= 1;
                self.line(party).severed = true;
            }
            Step::Break(party) => self.part(party),
            Step::AgentNotices(peer) => {
                self.unnoticed.remove(&peer);
                self.noticed.insert(peer);
                let client = is_client(peer);
                self.inputs.push_back(if client {
                    Input::SomeClientGone
                } else {
                    Input::SomeWorkerGone
                });
            }
            Step::Reconnect(party) => {
                match party {
                    Party::Worker(at) => {
                        let inbox = &mut self.workers[at].get().inbox;
                        inbox.push_back(leaseholder::Input::Disconnected);
                    }
                    Party::Client(_) => self.client.get().inbox.push_back(machine::Input::Disconnected),
                }
                self.connect(party);
            }
            Step::StandStill => self.stand_still(),
            Step::KillAgent(left) => self.kill_agent(left),
            Step::KillWorker(at) => {
                self.crashes -= 1;
                self.workers[at].get().die();
                self.programs.retain(|(worker, _)| *worker != at);
                if !self.lines[&Party::Worker(at)].broken {
                    self.part(Party::Worker(at));
                }
            }
            Step::Begin(at) => {
                let now = self.now;
                self.workers[at].get().begin(now);
                self.connect(Party::Worker(at));
            }
            Step::Wait => {
                let next = self.next_timer();
                let Some(next) = next.filter(|next| *next < PATIENCE) else {
                    return self.stuck();
                };
                self.pass(next);
            }
        }
        self.settle();
        self.come_back();
    }

    /// Who lost its connection, or its process, comes back, unless something else may happen to it before. What it
    /// says then waits until the agent is given it, so this loses nothing.
    fn come_back(&mut self) {
        for party in PARTIES {
            let alone = match party {
                Party::Worker(at) => self.programs.iter().all(|(worker, _)| *worker != at),
                Party::Client(_) => true,
            };
            if alone && self.lines.get(&party).is_some_and(|line| line.broken) {
                self.take(match party {
                    Party::Worker(at) if !self.lives(party) => Step::Begin(at),
                    _ => Step::Reconnect(party),
                });
            }
        }
    }

    fn line(&mut self, party: Party) -> &mut Line {
        self.lines.get_mut(&party).expect("everybody has one")
    }

    /// A connection is no more.
    fn part(&mut self, party: Party) {
        let line = self.line(party);
        (line.severed, line.broken) = (true, true);
        line.coming.clear();
        line.held.clear();
        let peer = line.peer;
        self.unnoticed.insert(peer);
    }

    /// Peers are numbered by who they are, and how many connections they had before.
    fn connect(&mut self, party: Party) {
        let before = self.lines.get(&party).map(|line| line.peer);
        let first = match party {
            Party::Client(_) => 1,
            Party::Worker(at) => 2 + at as u32,
        };
        let peer = before.map_or(first, |peer| peer + 4);
        let new = Line {
            peer,
            severed: false,
            broken: false,
            coming: VecDeque::new(),
            held: VecDeque::new(),
        };
        let link = Some(peer);
        self.lines.insert(party, new);
        match party {
            Party::Worker(at) => {
                let worker = self.workers[at].get();
                worker.link = link;
                worker.inbox.push_back(leaseholder::Input::Connected);
            }
            Party::Client(_) => {
                let client = self.client.get();
                client.link = link;
                client.inbox.push_back(machine::Input::Connected);
            }
        }
        self.rounds.insert(party);
    }

    fn kill_agent(&mut self, left: usize) {
        self.crashes -= 1;
        self.life += 1;
        self.journal.get().truncate(left);
        self.durable = left;
        for line in self.lines.values_mut() {
            (line.severed, line.broken) = (true, true);
            line.coming.clear();
        }
        // Another life has sockets of its own.
        self.unnoticed.clear();
        self.noticed.clear();
        let journal = Arc::clone(&self.journal.part);
        self.history.get().reborn(&journal);
        let mut restore = Restore::new(World::config(&self.plan, self.life), self.now);
        for record in &*journal {
            restore.take(record);
        }
        let (agent, first) = restore.finish();
        self.agent = Part::new(agent);
        self.act(first);
        self.agent_round();
    }

    fn next_timer(&self) -> Option<Micros> {
        let workers = self.workers.iter().filter_map(|worker| worker.part.deadline());
        let others = [self.agent.part.deadline(), self.client.part.deadline(self.now)];
        workers.chain(others.into_iter().flatten()).min()
    }

    /// Time passes: who has something to do then does it.
    fn pass(&mut self, until: Micros) {
        let due = |at: Option<Micros>| at.is_some_and(|at| at <= until);
        let agent = due(self.agent.part.deadline());
        for at in 0..2 {
            if due(self.workers[at].part.deadline()) {
                self.rounds.insert(Party::Worker(at));
            }
        }
        if due(self.client.part.deadline(self.now)) {
            self.rounds.insert(Party::Client(0));
        }
        self.now = self.now.max(until);
        if agent {
            self.agent_round();
        }
    }

    /// Nothing arrives for a time, and then all of it.
    fn stand_still(&mut self) {
        self.network -= 1;
        self.standing_still = true;
        let until = self.now + STAND_STILL;
        while let Some(next) = self.next_timer().filter(|next| *next <= until) {
            self.pass(next);
            self.settle();
        }
        self.pass(until);
        self.settle();
        self.standing_still = false;
        for party in PARTIES {
            for held in std::mem::take(&mut self.line(party).held) {
                self.arrive(party, &held);
            }
        }
    }

    /// Lets everybody do what there is to do at once.
    fn settle(&mut self) {
        for _ in 0..1_000 {
            if !self.inputs.is_empty() {
                self.agent_round();
            } else if let Some(party) = self.rounds.pop_first() {
                match party {
                    Party::Worker(at) => self.worker_round(at),
                    Party::Client(_) => self.client_round(),
                }
            } else {
                return;
            }
        }
        self.history.get().violation("time stands still".into());
    }

    fn agent_round(&mut self) {
        let now = self.now;
        self.history.get().now = now;
        for input in std::mem::take(&mut self.inputs) {
            self.history.get().input(&input);
            let mut out = Vec::new();
            self.agent.get().handle(now, input, &mut out);
            self.act(out);
        }
        let mut out = Vec::new();
        self.agent.get().flush(now, &mut out);
        self.act(out);
    }

    fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            self.history.get().action(&action);
            match action {
                Action::ToClient { peer, message, blobs } => {
                    self.send(peer, (Message::ToClient(message), blobs));
                }
                Action::ToWorker { peer, message, blobs } => {
                    self.send(peer, (Message::ToWorker(message), blobs));
                }
                Action::Record { number, record } => {
                    self.journal.get().push(record);
                    if number != self.journal.part.len() as u64 {
                        self.history
                            .get()
                            .violation(format!("record {number} is out of order"));
                    }
                }
                // Of these workers nothing is known but what they say.
                Action::Publish { .. } | Action::Look { .. } | Action::LogLevels { .. } => {}
                // Nothing is moved out in worlds as small as these: what may stay in memory is more.
                Action::Spill { .. } => self.history.get().violation("it has not so much".into()),
                Action::FellBehind { message, .. } => self.history.get().violation(message),
                Action::Exit => self.history.get().violation("the agent ends unasked".into()),
            }
        }
    }

    /// The agent sends.
    fn send(&mut self, peer: Peer, message: (Message, Vec<Bytes>)) {
        if self.noticed.contains(&peer.0) {
            let gone = if is_client(peer.0) {
                Input::ClientGone(peer)
            } else {
                Input::WorkerGone(peer)
            };
            return self.inputs.push_back(gone);
        }
        let line = self.lines.iter_mut().find(|(_, line)| line.peer == peer.0);
        let Some((party, line)) = line.filter(|(_, line)| !line.severed) else {
            return;
        };
        let (party, message) = (*party, Arc::new(message));
        if self.standing_still {
            line.held.push_back(message);
        } else {
            self.arrive(party, &message);
        }
    }

    fn arrive(&mut self, party: Party, message: &(Message, Vec<Bytes>)) {
        let (message, blobs) = message.clone();
        match (message, party) {
            (Message::ToClient(message), Party::Client(_)) => {
                let inbox = &mut self.client.get().inbox;
                inbox.push_back(machine::Input::Message(message, blobs));
            }
            (Message::ToWorker(message), Party::Worker(at)) => {
                let inbox = &mut self.workers[at].get().inbox;
                inbox.push_back(leaseholder::Input::Agent { message, blobs });
            }
            (message, party) => unreachable!("{message:?} for {party:?}"),
        }
        self.rounds.insert(party);
    }

    /// A party sends.
    fn say(&mut self, party: Party, message: Message, blobs: Vec<Bytes>) {
        let line = self.line(party);
        if !line.broken {
            line.coming.push_back(Arc::new((message, blobs)));
        }
    }

    fn worker_round(&mut self, at: usize) {
        let now = self.now;
        let effects = self.workers[at].get().round(now, now, self.history.get());
        for effect in effects {
            match effect {
                worker::Effect::Send(message, blobs) => {
                    self.say(Party::Worker(at), Message::FromWorker(message), blobs);
                }
                worker::Effect::Publish(beat) if !self.standing_still => {
                    self.inputs.push_back(Input::Beat(beat));
                }
                worker::Effect::Publish(_) => {}
                worker::Effect::Started(_, key) => {
                    self.workers[at].get().program_started(key);
                    self.rounds.insert(Party::Worker(at));
                }
                worker::Effect::Ended(when, key, stopped) if stopped || when < now + QUICK => {
                    self.workers[at].get().program_ended(key, stopped);
                    self.programs.remove(&(at, key));
                    self.rounds.insert(Party::Worker(at));
                }
                worker::Effect::Ended(_, key, _) => {
                    self.programs.insert((at, key));
                }
                worker::Effect::End => {
                    let why = format!("worker {at} ends, and nobody asked for it");
                    self.history.get().violation(why);
                }
            }
        }
        self.workers[at].get().forget_dice();
    }

    fn client_round(&mut self) {
        let now = self.now;
        for effect in self.client.get().round(now, self.history.get()) {
            match effect {
                client::Effect::Send(message, blobs) => {
                    self.say(Party::Client(0), Message::FromClient(message), blobs);
                }
                client::Effect::Subscribe(_) | client::Effect::Unsubscribe(_) => {}
                client::Effect::Over(end) => self.history.get().violation(format!("the client: {end}")),
            }
        }
    }

    /// Not all has ended, and nothing leads on.
    pub(super) fn stuck(&mut self) {
        let counts = self.agent.part.counts();
        let open = self.client.part.open();
        self.history
            .get()
            .violation(format!("it does not end: {counts:?}, {open:?}"));
    }

    /// All has ended: the agent says so, nobody holds anything, and another life would say the same.
    pub(super) fn conclude(&mut self) {
        let mut restore = Restore::new(World::config(&self.plan, self.life + 1), self.now);
        for record in &*self.journal.part {
            restore.take(record);
        }
        let (reborn, _) = restore.finish();
        let has = inspect::tasks_of((*self.agent.part).clone(), self.now);
        let keeps = inspect::tasks_of(reborn, self.now);
        let mut counts = Counts::default();
        for (state, _) in has.values().flatten() {
            *counts.of(*state) += 1;
        }
        let history = self.history.get();
        if has != keeps {
            history.violation(format!("it has {has:?}, and another life {keeps:?}"));
        }
        if counts != self.agent.part.counts() || counts.done != 2 {
            history.violation(format!(
                "it has {has:?}, and counts {:?}",
                self.agent.part.counts()
            ));
        }
        history.inspected(has);
        let given: usize = self.client.part.delivered.values().map(BTreeSet::len).sum();
        if given != 2 {
            history.violation(format!("{given} results came to the client"));
        }
        let workers = inspect::workers_of((*self.agent.part).clone(), self.now);
        if let Some(Reply::Workers(listing)) = workers {
            for row in listing.rows.into_iter().filter(|row| row.state == "active") {
                if row.leases != (0, 0) {
                    history.violation(format!("it is believed to hold something: {row:?}"));
                }
            }
        }
    }
}

/// Whether a connection is the client's.
const fn is_client(peer: u32) -> bool {
    peer % 4 == 1
}
