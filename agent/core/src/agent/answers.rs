//! Answers to what clients asked to be changed: they wait for the disk, and a moment for company.
//!
//! Each message wakes a client. The answer to a submission whose results are pushed is of no use to it before
//! those come, so it waits for them, up to `Config::patience_us`: a client that submits one task and waits for it
//! is woken once, and one that submits many by many messages is not woken for each.

use std::collections::VecDeque;

use bytes::Bytes;
use scalems_protocol::client::{AgentToClient, ClientWelcome, Results};
use scalems_protocol::{JournalMark, limits};

use crate::interface::{Action, Micros, Peer};

/// So many do not wait: whoever submits in bulk waits for room in the agent.
const MANY: usize = 16;

/// Answers that are not sent yet, in the order of the requests.
#[derive(Clone, Debug, Default)]
pub(super) struct Answers {
    waiting: VecDeque<Waiting>,
    /// When they are sent at the latest; none: at once.
    until: Option<Micros>,
}

#[derive(Clone, Debug)]
struct Waiting {
    /// The record that must be on disk.
    record: u64,
    peer: Peer,
    message: AgentToClient,
    blobs: Vec<Bytes>,
    /// Whether it can go out while the disk is full: nothing is promised by it.
    reads: bool,
}

impl Answers {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// An answer that is sent once `record` is on disk; with `until`, it may wait for company until then. One that
    /// may not takes all before it along.
    pub(super) fn push(&mut self, record: u64, peer: Peer, message: AgentToClient, until: Option<Micros>) {
        self.until = if self.waiting.is_empty() {
            until
        } else {
            self.until.filter(|_| until.is_some())
        };
        self.waiting.push_back(Waiting {
            record,
            peer,
            message,
            blobs: Vec::new(),
            reads: false,
        });
    }

    /// A welcome. Whoever `reads` is let in also while the disk is full.
    pub(super) fn push_welcome(&mut self, record: u64, peer: Peer, welcome: ClientWelcome, reads: bool) {
        self.until = None;
        self.waiting.push_back(Waiting {
            record,
            peer,
            message: welcome.into(),
            blobs: Vec::new(),
            reads,
        });
    }

    /// As [`Self::push`], with data, and not to wait.
    pub(super) fn push_with(&mut self, record: u64, peer: Peer, message: AgentToClient, blobs: Vec<Bytes>) {
        self.until = None;
        let reads = matches!(message, AgentToClient::Answer(_));
        self.waiting.push_back(Waiting {
            record,
            peer,
            message,
            blobs,
            reads,
        });
    }

    pub(super) fn deadline(&self) -> Option<Micros> {
        self.until
    }

    /// Lets deliveries that go out now take the answers for the same peer along whose records are on disk: one
    /// message wakes it once.
    pub(super) fn join(&mut self, durable: u64, deliveries: &mut [Action]) {
        for delivery in deliveries {
            if let Action::ToClient { peer, message, .. } = delivery
                && let AgentToClient::Results(results) = message
            {
                self.join_one(durable, *peer, results);
            }
        }
        if self.waiting.is_empty() {
            self.until = None;
        }
    }

    fn join_one(&mut self, durable: u64, peer: Peer, results: &mut Results) {
        let mut place = 0;
        while results.accepted.len() < limits::GROUPS
            && let Some(waiting) = self.waiting.get(place)
            && waiting.record <= durable
        {
            match &waiting.message {
                AgentToClient::Accepted(accepted) if waiting.peer == peer => {
                    results.accepted.push(accepted.clone());
                    self.waiting.remove(place);
                }
                _ => place += 1,
            }
        }
    }

    /// Sends what readers wait for whatever the records: the disk is full, which goes no further than `mark`, and reads go on. Gives
    /// the peers that are welcomed by that.
    pub(super) fn release_reads(&mut self, mark: JournalMark, out: &mut Vec<Action>) -> Vec<Peer> {
        let mut welcomed = Vec::new();
        for mut waiting in std::mem::take(&mut self.waiting) {
            if !waiting.reads {
                self.waiting.push_back(waiting);
                continue;
            }
            if let AgentToClient::ClientWelcome(welcome) = &mut waiting.message {
                welcome.mark = mark;
                welcomed.push(waiting.peer);
            }
            out.push(Action::ToClient {
                peer: waiting.peer,
                message: waiting.message,
                blobs: waiting.blobs,
            });
        }
        welcomed
    }

    /// Sends those whose records are on disk. Gives the peers that are welcomed by that: what waits for them comes
    /// behind.
    pub(super) fn release(&mut self, now: Micros, durable: u64, out: &mut Vec<Action>) -> Vec<Peer> {
        let mut welcomed = Vec::new();
        let patient = self.until.is_some_and(|until| now < until);
        if patient && self.waiting.len() < MANY {
            return welcomed;
        }
        self.until = None;
        while let Some(Waiting {
            peer, message, blobs, ..
        }) = self.waiting.pop_front_if(|waiting| waiting.record <= durable)
        {
            if matches!(message, AgentToClient::ClientWelcome(_)) {
                welcomed.push(peer);
            }
            out.push(Action::ToClient { peer, message, blobs });
        }
        welcomed
    }
}
