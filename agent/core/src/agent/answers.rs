//! Answers to what clients asked to be changed: they wait for the disk, and a moment for company.
//!
//! Each message wakes a client. The answer to a submission whose results are pushed is of no use to it before
//! those come, so it waits for them, up to `Config::patience_us`: a client that submits one task and waits for it is woken
//! once, and one that submits many by many messages is not woken for each.

use std::collections::VecDeque;

use scalems_protocol::client::AgentToClient;

use crate::interface::{Action, Micros, Peer};

/// So many do not wait: whoever submits in bulk waits for room in the agent.
const MANY: usize = 16;

/// Answers that are not sent yet, in the order of the requests.
#[derive(Debug, Default)]
pub(super) struct Answers {
    waiting: VecDeque<Waiting>,
    /// When they are sent at the latest; none: at once.
    until: Option<Micros>,
}

#[derive(Debug)]
struct Waiting {
    /// The record that must be on disk.
    record: u64,
    peer: Peer,
    message: AgentToClient,
}

impl Answers {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// An answer that is sent once `record` is on disk.
    pub(super) fn push(&mut self, record: u64, peer: Peer, message: AgentToClient) {
        self.waiting.push_back(Waiting {
            record,
            peer,
            message,
        });
        self.until = None;
    }

    /// The same for an answer that may wait for company, until then.
    pub(super) fn push_patient(&mut self, until: Micros, record: u64, peer: Peer, message: AgentToClient) {
        let until = if self.waiting.is_empty() {
            Some(until)
        } else {
            self.until
        };
        self.push(record, peer, message);
        self.until = until;
    }

    pub(super) fn deadline(&self) -> Option<Micros> {
        self.until
    }

    /// Sends those whose records are on disk. With `company` a delivery goes out now, and they before it.
    pub(super) fn release(&mut self, now: Micros, durable: u64, company: bool, out: &mut Vec<Action>) {
        let patient = self.until.is_some_and(|until| now < until);
        if patient && !company && self.waiting.len() < MANY {
            return;
        }
        self.until = None;
        while let Some(Waiting { peer, message, .. }) =
            self.waiting.pop_front_if(|waiting| waiting.record <= durable)
        {
            out.push(Action::ToClient {
                peer,
                message,
                blobs: Vec::new(),
            });
        }
    }
}
