//! Answers to what clients asked to be changed: they wait for the disk, and a moment for company.
//!
//! Each message wakes a client. The answer to a submission whose results are pushed is of no use to it before
//! those come, so it waits for them, up to `Config::patience_us`: a client that submits one task and waits for it
//! is woken once, and one that submits many by many messages is not woken for each.

use std::collections::VecDeque;

use bytes::Bytes;
use scalems_protocol::client::{AgentToClient, Results};
use scalems_protocol::limits;

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
        });
    }

    /// As [`Self::push`], with data, and not to wait.
    pub(super) fn push_with(&mut self, record: u64, peer: Peer, message: AgentToClient, blobs: Vec<Bytes>) {
        self.until = None;
        self.waiting.push_back(Waiting {
            record,
            peer,
            message,
            blobs,
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

    /// Sends answers to reads whatever their records: the disk is full, and reads go on.
    pub(super) fn release_reads(&mut self, out: &mut Vec<Action>) {
        let is_read = |waiting: &Waiting| matches!(waiting.message, AgentToClient::Answer(_));
        for waiting in std::mem::take(&mut self.waiting) {
            if is_read(&waiting) {
                out.push(Action::ToClient {
                    peer: waiting.peer,
                    message: waiting.message,
                    blobs: waiting.blobs,
                });
            } else {
                self.waiting.push_back(waiting);
            }
        }
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
