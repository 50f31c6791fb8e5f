//! The agent, and what the scripts say to it. Each step is one round: inputs, then a flush; what comes out
//! is compared line by line with all that is expected.

use std::collections::BTreeSet;

use bytes::Bytes;
use scalems_core::compaction::compacted;
use scalems_core::record::Record;
use scalems_core::{Action, Agent, Config, Input, Micros, Peer, Restore};
use scalems_protocol::client::{AgentToClient, Ask, ClientHello, ClientToAgent, Question, Reply};
use scalems_protocol::event::Topic;
use scalems_protocol::worker::{AgentToWorker, Pong, WorkerToAgent};
use scalems_protocol::{PilotId, Role};

use crate::lines;

/// The pilot of all scripts.
pub(crate) const PILOT: PilotId = PilotId([7; 16]);

pub(crate) struct World {
    pub(crate) agent: Agent,
    pub(crate) now: Micros,
    /// Workers that give a sign of life while time passes; pings to them are not shown.
    alive: BTreeSet<u32>,
    /// The actions of the last round, for what the lines do not show.
    pub(crate) last: Vec<Action>,
    /// All records so far.
    pub(crate) records: Vec<Record>,
}

/// What a round said.
#[derive(Debug)]
pub(crate) struct Said(pub(crate) Vec<String>);

impl Said {
    /// Exactly this, in this order.
    #[track_caller]
    pub(crate) fn is(self, expected: &[&str]) {
        assert_eq!(self.0, expected);
    }

    /// A first line that begins like this, whatever follows.
    #[track_caller]
    pub(crate) fn first(self, begin: &str) {
        let first = self.0.first().map_or("", String::as_str);
        assert!(
            first.starts_with(begin),
            "{:#?}\nshould begin with {begin:?}",
            self.0
        );
    }

    /// As many lines as that, beginning like this: for texts whose wording is tested elsewhere.
    #[track_caller]
    pub(crate) fn begins(self, expected: &[&str]) {
        let alike = self
            .0
            .iter()
            .zip(expected)
            .all(|(line, begin)| line.starts_with(begin));
        assert!(
            alike && self.0.len() == expected.len(),
            "{:#?}\nshould begin like\n{expected:#?}",
            self.0
        );
    }
}

pub(crate) fn config() -> Config {
    Config {
        pilot_name: "p".into(),
        pilot: PILOT,
        incarnation: 1,
        life: 1,
        secret: [3; 32],
        link_seed: 5,
        software: "test".into(),
        journal: false,
        expected_workers: 1,
        open_to_workers: false,
        quota: scalems_core::Quota::default(),
        beat_ms: 2_000,
        lost_ms: 10_000,
        orphan_ms: 60_000,
        retain_us: 0,
        patience_us: 0,
        spill_over: u64::MAX,
        filters: Vec::new(),
    }
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(config())
    }

    pub(crate) fn with(config: Config) -> Self {
        Self {
            agent: Agent::new(config),
            now: 1_000_000,
            alive: BTreeSet::new(),
            last: Vec::new(),
            records: Vec::new(),
        }
    }

    /// The agent dies and comes back, with as many of its records as were on disk.
    pub(crate) fn reborn(mut self, config: Config, durable: usize) -> (Self, Said) {
        self.records.truncate(durable);
        self.now += 1_000_000;
        let again = |records: &[Record], config: Config| {
            let mut restore = Restore::new(config, self.now);
            for record in records {
                restore.take(record);
            }
            restore.numbered(durable as u64);
            restore.finish()
        };
        // What is left after compaction leads to the same.
        let (alike, the_same) = again(&compacted(&self.records), config.clone());
        let (agent, out) = again(&self.records, config);
        assert_eq!(format!("{agent:#?}"), format!("{alike:#?}"));
        assert_eq!(format!("{out:?}"), format!("{the_same:?}"));
        self.agent = agent;
        self.alive.clear();
        let said = self.flush(out);
        (self, said)
    }

    /// All records are on disk.
    pub(crate) fn durable(&mut self) -> Said {
        let last = self.records.len() as u64;
        self.round(vec![Input::Durable(last)])
    }

    /// With client 1 in session "s" (seat 2), and worker 1 with so many cores.
    pub(crate) fn small(cores: u64) -> Self {
        let mut world = Self::new();
        world
            .worker(1, crate::say::joins("w", cores))
            .begins(&["w1< welcome worker 1 w"]);
        world
            .client(1, crate::say::hello("s"))
            .is(&["c1< welcome session 2, requests 0, next delivery 1"]);
        world
    }

    /// Inputs that come in together.
    pub(crate) fn round(&mut self, inputs: Vec<Input>) -> Said {
        let mut out = Vec::new();
        for input in inputs {
            self.agent.handle(self.now, input, &mut out);
        }
        self.flush(out)
    }

    fn flush(&mut self, mut out: Vec<Action>) -> Said {
        self.agent.flush(self.now, &mut out);
        let next = self.agent.deadline();
        assert!(
            next.is_none_or(|at| at > self.now),
            "a flush leaves nothing due: {next:?} at {}",
            self.now
        );
        let shown = |action: &&Action| match action {
            Action::ToWorker {
                peer,
                message: AgentToWorker::Ping(_),
                ..
            } => !self.alive.contains(&peer.0),
            _ => true,
        };
        let said = out.iter().filter(shown).map(lines::action).collect();
        self.records.extend(out.iter().filter_map(|action| match action {
            Action::Record { record, .. } => Some(record.clone()),
            _ => None,
        }));
        self.last = out;
        Said(said)
    }

    pub(crate) fn client(&mut self, peer: u32, message: impl Into<ClientToAgent>) -> Said {
        self.client_with(peer, message, &[])
    }

    pub(crate) fn client_with(
        &mut self,
        peer: u32,
        message: impl Into<ClientToAgent>,
        blobs: &[&[u8]],
    ) -> Said {
        self.round(vec![from_client(peer, message, blobs)])
    }

    pub(crate) fn observer(&mut self, peer: u32, message: impl Into<ClientToAgent>) -> Said {
        let (peer, message) = (Peer(peer), message.into());
        self.round(vec![Input::Client {
            peer,
            role: Role::Observer,
            message,
            blobs: Vec::new(),
        }])
    }

    pub(crate) fn worker(&mut self, peer: u32, message: impl Into<WorkerToAgent>) -> Said {
        self.worker_with(peer, message, &[])
    }

    pub(crate) fn worker_with(
        &mut self,
        peer: u32,
        message: impl Into<WorkerToAgent>,
        blobs: &[&[u8]],
    ) -> Said {
        self.round(vec![from_worker(peer, message, blobs)])
    }

    /// The worker at this peer gives a sign of life from now on; no longer with `false`.
    pub(crate) fn lives(&mut self, peer: u32, lives: bool) {
        if lives {
            self.alive.insert(peer);
        } else {
            self.alive.remove(&peer);
        }
    }

    /// Time passes; the agent is called whenever it asked for it.
    pub(crate) fn wait(&mut self, milliseconds: u64) -> Said {
        let until = self.now + milliseconds * 1_000;
        let mut said = Vec::new();
        loop {
            let sign = if self.alive.is_empty() {
                until
            } else {
                until.min(self.now + 1_000_000)
            };
            self.now = self
                .agent
                .deadline()
                .map_or(sign, |due| due.clamp(self.now, sign));
            let signs = self
                .alive
                .clone()
                .into_iter()
                .map(|peer| from_worker(peer, Pong {}, &[]));
            said.extend(self.round(signs.collect()).0);
            if self.now == until {
                return Said(said);
            }
        }
    }

    pub(crate) fn listen(&mut self, topic: Topic) -> Said {
        self.round(vec![Input::Subscribed(topic)])
    }

    /// Asks something that is answered at once.
    #[track_caller]
    pub(crate) fn ask(&mut self, peer: u32, question: Question) -> Reply {
        self.client(peer, Ask { id: 99, question });
        let reply = self.last.iter().find_map(|action| match action {
            Action::ToClient {
                message: AgentToClient::Answer(answer),
                ..
            } => Some(answer.reply.clone()),
            _ => None,
        });
        reply.unwrap_or_else(|| panic!("no answer, but {:?}", self.last))
    }

    /// The welcome of the last round.
    #[track_caller]
    pub(crate) fn worker_welcome(&self) -> scalems_protocol::worker::WorkerWelcome {
        let found = self.last.iter().find_map(|action| match action {
            Action::ToWorker {
                message: AgentToWorker::WorkerWelcome(welcome),
                ..
            } => Some(welcome.clone()),
            _ => None,
        });
        found.expect("the worker is welcome")
    }

    /// A client's hello with what the last welcome said.
    #[track_caller]
    pub(crate) fn resume(&self) -> ClientHello {
        let found = self.last.iter().find_map(|action| match action {
            Action::ToClient {
                message: AgentToClient::ClientWelcome(welcome),
                ..
            } => Some(welcome.clone()),
            _ => None,
        });
        let welcome = found.expect("the client is welcome");
        ClientHello {
            resume: Some(welcome.resume),
            pilot: Some(welcome.pilot),
            seen: Some(welcome.mark),
            ..ClientHello::default()
        }
    }

    /// How far the journal goes by what was said to peers last.
    pub(crate) fn seen(&self) -> u64 {
        let seen = self.last.iter().map(|action| match action {
            Action::ToClient {
                message: AgentToClient::ClientWelcome(welcome),
                ..
            } => welcome.mark.record,
            Action::ToClient { message, .. } => message.record(),
            Action::ToWorker { message, .. } => match message {
                AgentToWorker::Recorded(recorded) => recorded.record,
                AgentToWorker::Lease(lease) => lease.record,
                _ => 0,
            },
            _ => 0,
        });
        seen.max().unwrap_or(0)
    }

    pub(crate) fn counter(&self, name: &str) -> u64 {
        self.agent
            .counters()
            .find(|(counter, _)| *counter == name)
            .map_or(0, |(_, count)| count)
    }
}

pub(crate) fn from_client(peer: u32, message: impl Into<ClientToAgent>, blobs: &[&[u8]]) -> Input {
    let blobs = blobs.iter().map(|blob| Bytes::copy_from_slice(blob)).collect();
    Input::Client {
        peer: Peer(peer),
        role: Role::Client,
        message: message.into(),
        blobs,
    }
}

pub(crate) fn from_worker(peer: u32, message: impl Into<WorkerToAgent>, blobs: &[&[u8]]) -> Input {
    let blobs = blobs.iter().map(|blob| Bytes::copy_from_slice(blob)).collect();
    Input::Worker {
        peer: Peer(peer),
        message: message.into(),
        blobs,
    }
}
