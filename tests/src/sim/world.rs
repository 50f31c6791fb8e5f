//! The world: who there is, what is on its way, and time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use scalems_client::machine;
use scalems_core::record::Record;
use scalems_core::{Action, Agent, Config, Input, Micros, Peer, leaseholder};
use scalems_protocol::client::{AgentToClient, ClientToAgent};
use scalems_protocol::event::{Event as Published, Topic};
use scalems_protocol::worker::{AgentToWorker, Beat, WorkerToAgent};
use scalems_protocol::{PilotId, Role};

use super::Outcome;
use super::client::{self, SimClient};
use super::clocks::Clocks;
use super::disk::Disk;
use super::history::History;
use super::inspect::INSPECTOR;
use super::network::{Network, Party};
use super::plan::{Fault, Plan};
use super::random::Random;
use super::spill::{self, Spills};
use super::worker::{self, SimWorker};

/// How long everything may take to end once nothing goes wrong any more.
const PATIENCE: Micros = 1_500_000_000;

/// Who takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Actor {
    Agent,
    Party(Party),
}

/// A message on its way.
#[derive(Clone, Debug)]
pub(super) enum Message {
    FromClient(ClientToAgent),
    ToClient(AgentToClient),
    FromWorker(WorkerToAgent),
    ToWorker(AgentToWorker),
}

/// What happens at a time.
#[derive(Debug)]
pub(super) enum Event {
    Round(Actor),
    Arrive {
        link: u32,
        message: Message,
        blobs: Vec<Bytes>,
    },
    Beat(Beat),
    Published {
        client: usize,
        process: u32,
        event: Published,
    },
    /// A connection is closed in order, by who is at its end.
    Close(u32),
    AgentNotices(u32),
    PartyNotices {
        party: Party,
        process: u32,
    },
    Reconnect {
        party: Party,
        process: u32,
    },
    Restart(Party),
    ProgramStarted {
        worker: usize,
        process: u32,
        key: u64,
    },
    ProgramEnded {
        worker: usize,
        process: u32,
        key: u64,
        stopped: bool,
    },
    /// A commit is over.
    Written {
        life: u64,
    },
    /// One end of a connection gives it up, and the other hears of it then.
    GiveUp {
        link: u32,
        by_agent: bool,
        heard: Micros,
    },
    AgentBegins,
    /// Values of results lie elsewhere, or found no room.
    Spilled {
        life: u64,
        values: Option<Vec<Bytes>>,
    },
    Operation(usize),
    Incident(Fault),
    Check,
}

pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) now: Micros,
    events: BTreeMap<(Micros, u64), Event>,
    scheduled: u64,
    pub(super) rounds: BTreeMap<Actor, Micros>,
    pub(super) paused: BTreeMap<Actor, Micros>,
    pub(super) agent: Agent,
    pub(super) inbox: VecDeque<Input>,
    pub(super) agent_rounds: u64,
    pub(super) network: Network,
    pub(super) workers: Vec<SimWorker>,
    pub(super) clients: Vec<SimClient>,
    pub(super) listeners: BTreeMap<Topic, BTreeSet<usize>>,
    /// The last record that was made.
    pub(super) records: u64,
    /// All records so far.
    pub(super) journal: Vec<Record>,
    /// What is asked is another life than the one that goes on.
    pub(super) reborn: bool,
    pub(super) disk: Disk,
    pub(super) spills: Spills,
    /// How many values were moved out in lives of the agent that are over.
    pub(super) spilled_before: u64,
    pub(super) clocks: Clocks,
    /// Whether the agent's process is gone, and which life it is, or will be next.
    pub(super) down: bool,
    pub(super) life: u64,
    /// What clients brought back to lives of the agent that are over.
    pub(super) brought_back: u64,
    /// Submissions that had the number again that their leases have.
    pub(super) known_again: u64,
    /// Whether the agent was looked into after all had ended.
    pub(super) looked: bool,
    pub(super) history: History,
    pub(super) random: Random,
    pub(super) lossy_until: Micros,
    /// From when on nothing goes wrong any more, and nobody stands still.
    pub(super) calm_from: Micros,
    /// A part of the next lease is to vanish.
    pub(super) lose_lease: bool,
    /// Results, answers and leases that went by, for sabotage.
    pub(super) gone_by: u64,
    incidents: u64,
    /// How often each kind of fault took place.
    happened: [u64; Fault::ALL.len()],
    messages: u64,
    /// Events at one and the same time.
    at_once: u64,
    trace: u64,
    over: bool,
}

impl World {
    pub(super) fn new(plan: &Plan) -> Self {
        let mut world = Self {
            plan: plan.clone(),
            now: 0,
            events: BTreeMap::new(),
            scheduled: 0,
            rounds: BTreeMap::new(),
            paused: BTreeMap::new(),
            agent: Agent::new(Self::config(plan, 1)),
            inbox: VecDeque::new(),
            agent_rounds: 0,
            network: Network::new(plan.seed),
            workers: (0..plan.workers)
                .map(|index| SimWorker::new(plan.seed, index))
                .collect(),
            clients: (0..plan.clients)
                .map(|index| SimClient::new(plan, index))
                .collect(),
            listeners: BTreeMap::new(),
            records: 0,
            journal: Vec::new(),
            reborn: false,
            disk: Disk::default(),
            spills: Spills::new(plan.seed),
            spilled_before: 0,
            clocks: Clocks::new(plan.workers, plan.clients),
            down: false,
            life: 1,
            looked: false,
            brought_back: 0,
            known_again: 0,
            history: History::of_first_life(plan.silences(), plan.journal),
            random: Random::new(plan.seed, 3),
            lossy_until: 0,
            calm_from: plan.trouble_ms * 1_000,
            lose_lease: false,
            gone_by: 0,
            incidents: 0,
            happened: [0; Fault::ALL.len()],
            messages: 0,
            at_once: 0,
            trace: plan.seed,
            over: false,
        };
        world.schedule();
        world
    }

    /// Everything that the plan decides beforehand.
    fn schedule(&mut self) {
        let mut random = Random::new(self.plan.seed, 4);
        for index in 0..self.plan.workers {
            self.at(random.within(0, 2_000_000), Event::Restart(Party::Worker(index)));
        }
        for index in 0..self.plan.clients {
            self.at(random.within(0, 1_000_000), Event::Restart(Party::Client(index)));
        }
        let trouble = self.plan.trouble_ms * 1_000;
        for _ in 0..self.plan.operations {
            let client = random.within(0, self.plan.clients as u64) as usize;
            self.at(random.within(100_000, trouble), Event::Operation(client));
        }
        let mut random = Random::new(self.plan.seed, 5);
        if !self.plan.faults.is_empty() {
            for _ in 0..self.plan.incidents {
                let fault = random.pick(&self.plan.faults);
                self.at(random.within(500_000, trouble), Event::Incident(fault));
            }
        }
        self.at(trouble, Event::Check);
    }

    pub(super) fn at(&mut self, at: Micros, event: Event) {
        self.scheduled += 1;
        self.events.insert((at.max(self.now), self.scheduled), event);
    }

    /// Has a round take place, no later than asked for unless whoever it is stands still.
    pub(super) fn wake(&mut self, actor: Actor, at: Micros) {
        let at = at
            .max(self.now)
            .max(self.paused.get(&actor).copied().unwrap_or(0));
        if self.rounds.get(&actor).is_none_or(|due| *due > at) {
            self.rounds.insert(actor, at);
            self.at(at, Event::Round(actor));
        }
    }

    /// Something came for the agent.
    #[allow(clippy::wrong_self_convention, reason = "it goes to the agent")]
    pub(super) fn to_agent(&mut self, input: Input) {
        if self.down {
            return;
        }
        self.inbox.push_back(input);
        let soon = self.now + self.random.within(0, 300);
        self.wake(Actor::Agent, soon);
    }

    pub(super) fn run(&mut self) {
        while !self.over && self.history.violations.is_empty() {
            let Some(((at, _), event)) = self.events.pop_first() else {
                return self.history.violation("nothing happens any more".into());
            };
            self.at_once = if at == self.now { self.at_once + 1 } else { 0 };
            if self.at_once > 10_000 {
                return self.history.violation(format!("time stands still at {event:?}"));
            }
            self.now = at;
            self.log(&event);
            self.happen(event);
        }
    }

    pub(super) fn agent_count(&self, name: &str) -> u64 {
        let mut counters = self.agent.counters();
        counters
            .find(|(counter, _)| *counter == name)
            .map_or(0, |(_, count)| count)
    }

    pub(super) fn outcome(&mut self) -> Outcome {
        Outcome {
            trace: self.trace,
            messages: self.messages,
            tasks: self.agent.counts().finished(),
            incidents: self.incidents,
            happened: self.happened,
            lives: self.life,
            brought_back: self.brought_back + self.agent_count("brought_back"),
            known_again: self.known_again + self.agent_count("known_again"),
            spilled: self.spilled_before + self.agent_count("spilled"),
            took_ms: self.now / 1_000,
            violations: std::mem::take(&mut self.history.violations),
        }
    }

    fn mark(&mut self, what: &str, number: u64) {
        let bytes = what
            .bytes()
            .chain(self.now.to_le_bytes())
            .chain(number.to_le_bytes());
        self.trace = bytes.fold(self.trace, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    }

    /// A fault took place.
    pub(super) fn happened(&mut self, fault: Fault) {
        self.happened[fault as usize] += 1;
    }

    pub(super) fn process(&self, party: Party) -> (u32, Option<u32>, bool) {
        match party {
            Party::Worker(at) => (
                self.workers[at].process,
                self.workers[at].link,
                self.workers[at].told,
            ),
            Party::Client(at) => (
                self.clients[at].process,
                self.clients[at].link,
                self.clients[at].told,
            ),
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Round(actor) => {
                if self.rounds.get(&actor) != Some(&self.now) {
                    return;
                }
                self.rounds.remove(&actor);
                if self.paused.get(&actor).is_some_and(|until| *until > self.now) {
                    return self.wake(actor, self.now);
                }
                match actor {
                    Actor::Agent if self.down => {}
                    Actor::Agent => self.agent_round(),
                    Actor::Party(Party::Worker(at)) => self.worker_round(at),
                    Actor::Party(Party::Client(at)) => self.client_round(at),
                }
            }
            Event::Arrive { link, message, blobs } => self.arrive(link, message, blobs),
            Event::Beat(beat) => self.to_agent(Input::Beat(beat)),
            Event::Published {
                client,
                process,
                event,
            } => {
                if self.clients[client].process == process && self.clients[client].lives() {
                    self.clients[client].inbox.push_back(machine::Input::Event(event));
                    self.wake(Actor::Party(Party::Client(client)), self.now + 20);
                }
            }
            Event::Close(link) => {
                if self.network.link(link).open {
                    self.network.cut(link);
                    self.at(self.now + 1_000, Event::AgentNotices(link));
                }
            }
            Event::AgentNotices(link) => {
                self.network.notice(link);
                let some = match self.network.link(link).party {
                    Party::Worker(_) => Input::SomeWorkerGone,
                    Party::Client(_) => Input::SomeClientGone,
                };
                self.to_agent(some);
            }
            Event::PartyNotices { party, process } if self.process(party).0 == process => {
                self.tell(party, false)
            }
            Event::Reconnect { party, process } if self.process(party).0 == process => self.reconnect(party),
            Event::PartyNotices { .. } | Event::Reconnect { .. } => {}
            Event::Restart(party) => self.restart(party),
            Event::ProgramStarted { worker, process, key } => {
                if self.workers[worker].process == process && self.workers[worker].lives() {
                    self.workers[worker].program_started(key);
                    self.wake(Actor::Party(Party::Worker(worker)), self.now + 10);
                }
            }
            Event::ProgramEnded {
                worker,
                process,
                key,
                stopped,
            } => {
                if self.workers[worker].process == process && self.workers[worker].lives() {
                    self.workers[worker].program_ended(key, stopped);
                    self.wake(Actor::Party(Party::Worker(worker)), self.now + 10);
                }
            }
            Event::Written { life } if life == self.life && !self.down => self.written(),
            Event::Written { .. } => {}
            Event::GiveUp {
                link,
                by_agent,
                heard,
            } => self.give_up(link, by_agent, heard),
            Event::AgentBegins => self.agent_begins(),
            Event::Spilled { life, values } => self.spilled(life, values),
            Event::Operation(client) => {
                self.mark("operation", client as u64);
                self.clients[client].operate();
                self.wake(Actor::Party(Party::Client(client)), self.now + 10);
            }
            Event::Incident(fault) => {
                self.mark("incident", fault as u64);
                self.incidents += 1;
                self.incident(fault);
            }
            Event::Check => self.check(),
        }
    }

    /// After the trouble: everything has to end, and then nothing may be wrong.
    fn check(&mut self) {
        let since = self.now.saturating_sub(self.calm_from);
        let open: Vec<String> = self.clients.iter().filter_map(SimClient::open).collect();
        let unfinished = self.agent.counts().unfinished();
        // What has just restarted has a while to come back, and the state hashes to be compared.
        if open.is_empty() && unfinished == 0 && since > 40_000_000 && !self.down {
            // Looking into the agent for the first time leaves a record, which has to be on disk.
            if !std::mem::replace(&mut self.looked, true) {
                self.inspect();
                return self.at(self.now + 1_000_000, Event::Check);
            }
            self.over = true;
            return self.conclude();
        }
        if since > PATIENCE {
            let rows = self.unfinished();
            return self
                .history
                .violation(format!("{unfinished} tasks have not ended: {rows}; {open:?}"));
        }
        self.at(self.now + 1_000_000, Event::Check);
    }

    fn arrive(&mut self, link: u32, message: Message, blobs: Vec<Bytes>) {
        if !self.network.link(link).open {
            return;
        }
        self.messages += 1;
        let peer = Peer(link);
        let party = self.network.link(link).party;
        match (message, party) {
            (Message::FromClient(message), _) => {
                self.mark("client", u64::from(link));
                self.to_agent(Input::Client {
                    peer,
                    role: Role::Client,
                    message,
                    blobs,
                });
            }
            (Message::FromWorker(message), _) => {
                self.mark(message.name(), u64::from(link));
                self.to_agent(Input::Worker { peer, message, blobs });
            }
            (Message::ToClient(message), Party::Client(at)) => {
                self.mark(message.name(), u64::from(link));
                self.clients[at]
                    .inbox
                    .push_back(machine::Input::Message(message, blobs));
                self.wake(Actor::Party(party), self.now + 30);
            }
            (Message::ToWorker(message), Party::Worker(at)) => {
                self.mark(message.name(), u64::from(link));
                self.workers[at]
                    .inbox
                    .push_back(leaseholder::Input::Agent { message, blobs });
                self.wake(Actor::Party(party), self.now + 30);
            }
            (message, party) => unreachable!("{message:?} for {party:?}"),
        }
    }

    pub(super) fn send(&mut self, link: u32, to_agent: bool, message: Message, blobs: Vec<Bytes>) {
        let (message, blobs) = if self.plan.wire {
            through_bytes(message, blobs)
        } else {
            (message, blobs)
        };
        if let Some(at) = self.network.arrival(self.now, link, to_agent) {
            self.at(at, Event::Arrive { link, message, blobs });
        } else if !to_agent && self.network.link(link).noticed {
            let gone = match self.network.link(link).party {
                Party::Worker(_) => Input::WorkerGone(Peer(link)),
                Party::Client(_) => Input::ClientGone(Peer(link)),
            };
            self.to_agent(gone);
        }
    }

    fn agent_round(&mut self) {
        self.agent_rounds += 1;
        let now = self.clock(Actor::Agent);
        self.history.now = self.excused_time();
        let mut out = Vec::new();
        for input in std::mem::take(&mut self.inbox) {
            self.history.input(&input);
            self.agent.handle(now, input, &mut out);
            self.act(&mut out);
        }
        self.agent.flush(now, &mut out);
        self.act(&mut out);
        self.write();
        self.check_dependents();
        self.check_accounts();
        if self.agent_rounds.is_multiple_of(200) {
            self.inspect();
            if (self.now / 1_000).is_multiple_of(97) {
                self.check_rebirth();
            }
        }
        if let Some(at) = self.agent.deadline() {
            if at <= now {
                self.history
                    .violation("the agent has something due after a flush".into());
            }
            self.wake(Actor::Agent, self.when(Actor::Agent, at));
        }
    }

    /// What the agent of a plan is.
    pub(super) fn config(plan: &Plan, incarnation: u64) -> Config {
        Config {
            pilot_name: "sim".into(),
            pilot: PilotId([1; 16]),
            incarnation,
            life: incarnation,
            secret: [7; 32],
            link_seed: plan.seed ^ (incarnation << 40),
            software: "sim".into(),
            journal: plan.journal,
            // Some are always still to come, so what only one of them can serve is not refused without it.
            expected_workers: u32::MAX,
            open_to_workers: true,
            quota: scalems_core::Quota::default(),
            beat_ms: 2_000,
            lost_ms: 10_000,
            orphan_ms: 60_000,
            retain_us: 0,
            patience_us: 1_000 * (plan.seed % 2),
            spill_over: spill::over(plan),
            filters: Vec::new(),
        }
    }

    /// Prints what happens, for who looks at one plan.
    fn log(&self, what: &impl std::fmt::Debug) {
        if self.plan.log {
            let text: String = format!("{what:?}").chars().take(400).collect();
            eprintln!("{:>12} {text}", self.now);
        }
    }

    pub(super) fn act(&mut self, out: &mut Vec<Action>) {
        for action in out.drain(..) {
            for action in self.sabotaged(action) {
                self.history.action(&action);
                self.check_recorded(&action);
                self.take_action(action);
            }
        }
    }

    /// A worker is told only of what is on disk.
    fn check_recorded(&mut self, action: &Action) {
        let Action::ToWorker { peer, message, .. } = action else {
            return;
        };
        let report = match message {
            AgentToWorker::Lease(lease) => lease.recorded,
            AgentToWorker::Recorded(recorded) => recorded.recorded,
            _ => return,
        };
        if self.plan.journal {
            self.history
                .recorded(peer.0, report, &self.journal, self.disk.durable);
        }
    }

    pub(super) fn take_action(&mut self, action: Action) {
        match action {
            Action::ToClient { peer: INSPECTOR, .. } => {}
            Action::ToClient { peer, message, blobs } => {
                self.send(peer.0, false, Message::ToClient(message), blobs)
            }
            Action::ToWorker {
                peer,
                mut message,
                blobs,
            } => {
                self.lose_part(&mut message);
                self.send(peer.0, false, Message::ToWorker(message), blobs);
            }
            Action::Publish { topic, event } => {
                let lossy = self.now < self.lossy_until;
                for client in self.listeners.get(&topic).cloned().unwrap_or_default() {
                    if let Some(at) = self.network.publication(self.now, lossy) {
                        let process = self.clients[client].process;
                        self.at(
                            at,
                            Event::Published {
                                client,
                                process,
                                event: event.clone(),
                            },
                        );
                    }
                }
            }
            Action::Look { worker, process } => {
                let at = process.split('.').next().and_then(|at| at.parse::<usize>().ok());
                let of = at.and_then(|at| self.workers.get(at));
                if of.is_some_and(|of| of.is_over(&process)) {
                    self.to_agent(Input::ProcessGone { worker });
                }
            }
            Action::Record { .. } | Action::Spill { .. } if self.reborn => {}
            Action::Spill { values } => self.spill(&values),
            Action::Record { number, record } => {
                if !self.loses(&record) {
                    self.journal.push(record);
                }
                if number != self.records + 1 {
                    self.history
                        .violation(format!("record {number} comes after record {}", self.records));
                }
                self.records = number;
            }
            Action::LogLevels { .. } => {}
            Action::FellBehind { message, .. } => self.history.violation(message),
            Action::Exit => self
                .history
                .violation("the agent ends, and nobody asked for it".into()),
        }
    }

    fn worker_round(&mut self, at: usize) {
        let actor = Actor::Party(Party::Worker(at));
        let clock = self.clock(actor);
        let effects = self.workers[at].round(self.now, clock, &mut self.history);
        let process = self.workers[at].process;
        for task in self.workers[at].began_alone() {
            let elsewhere =
                (0..self.workers.len()).find(|other| *other != at && self.workers[*other].runs(&task));
            if let Some(other) = elsewhere.filter(|_| self.plan.keeps_apart()) {
                self.history
                    .violation(format!("{task:?} runs at worker {other}, and begins at {at} too"));
            }
        }
        for effect in effects {
            match effect {
                worker::Effect::Send(message, blobs) => {
                    if let Some(link) = self.workers[at].link {
                        let message = self.sabotaged_report(message);
                        self.send(link, true, Message::FromWorker(message), blobs);
                    }
                }
                worker::Effect::Publish(beat) => {
                    let lossy = self.now < self.lossy_until;
                    if let Some(arrives) = self.network.publication(self.now, lossy) {
                        self.at(arrives, Event::Beat(beat));
                    }
                }
                worker::Effect::Started(when, key) => {
                    self.at(
                        when,
                        Event::ProgramStarted {
                            worker: at,
                            process,
                            key,
                        },
                    );
                }
                worker::Effect::Ended(when, key, stopped) => {
                    self.at(
                        when,
                        Event::ProgramEnded {
                            worker: at,
                            process,
                            key,
                            stopped,
                        },
                    );
                }
                worker::Effect::End => self.end_worker(at),
            }
        }
        if let Some(due) = self.workers[at].deadline() {
            self.wake(actor, self.when(actor, due));
        }
    }

    fn client_round(&mut self, at: usize) {
        let actor = Actor::Party(Party::Client(at));
        let clock = self.clock(actor);
        for effect in self.clients[at].round(clock, &mut self.history) {
            match effect {
                client::Effect::Send(message, blobs) => {
                    if let Some(link) = self.clients[at].link {
                        self.send(link, true, Message::FromClient(message), blobs);
                    }
                }
                client::Effect::Subscribe(topic) => {
                    self.listeners.entry(topic.clone()).or_default().insert(at);
                    self.to_agent(Input::Subscribed(topic));
                }
                client::Effect::Unsubscribe(topic) => self.unlisten(at, &topic),
                client::Effect::Over(end) => self.session_over(at, &end),
            }
        }
        if !self.clients[at].inbox.is_empty() {
            self.wake(actor, self.now + 10);
        }
        if let Some(due) = self.clients[at].deadline(clock) {
            self.wake(actor, self.when(actor, due));
        }
    }

    pub(super) fn unlisten(&mut self, client: usize, topic: &Topic) {
        let Some(listeners) = self.listeners.get_mut(topic) else {
            return;
        };
        if listeners.remove(&client) && listeners.is_empty() {
            self.listeners.remove(topic);
            self.to_agent(Input::Unsubscribed(topic.clone()));
        }
    }

    pub(super) fn topics(&self) -> Vec<Topic> {
        self.listeners.keys().cloned().collect()
    }
}

/// What a message is after it was frames.
fn through_bytes(message: Message, blobs: Vec<Bytes>) -> (Message, Vec<Bytes>) {
    macro_rules! again {
        ($wrap:path, $direction:ident, $message:ident) => {{
            let (header, rest) = $message.encode_frames(&blobs);
            let (message, blobs) =
                $direction::decode_frames(&header, rest.to_vec()).expect("what is sent can be read");
            ($wrap(message), blobs)
        }};
    }
    match message {
        Message::FromClient(ClientToAgent::Named(message)) => {
            again!(Message::FromClient, ClientToAgent, message)
        }
        Message::FromClient(envelope) => (Message::FromClient(envelope), blobs),
        Message::ToClient(message) => again!(Message::ToClient, AgentToClient, message),
        Message::FromWorker(message) => again!(Message::FromWorker, WorkerToAgent, message),
        Message::ToWorker(message) => again!(Message::ToWorker, AgentToWorker, message),
    }
}
