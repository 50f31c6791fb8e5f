//! Results that came while the agent did not have them on disk (R4): kept until it has, and said back to another
//! life of it, which may not know them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use scalems_protocol::client::{BringBack, ClientToAgent};
use scalems_protocol::group::{Data, Gather, Place, ResultGroup};
use scalems_protocol::limits;
use scalems_protocol::{Origin, TaskError};

/// One of them.
#[derive(Clone, Debug)]
struct Kept {
    delivery: u64,
    group: ResultGroup,
    data: Data,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Provisional {
    /// Of this life of the agent, by delivery.
    kept: VecDeque<Kept>,
    /// Of earlier lives, until the agent has them again, by session and request.
    brought: BTreeMap<(u64, u64), Vec<Kept>>,
    /// How many there ever were, and how many of the first are on disk.
    came: u64,
    last: u64,
}

impl Provisional {
    pub(super) fn is_empty(&self) -> bool {
        self.kept.is_empty() && self.brought.is_empty()
    }

    /// How many groups there ever were, and how many of the first of them are on disk.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.came, self.last)
    }

    fn count(&mut self) {
        // While some are brought back, those that came later do not count for them.
        if self.brought.is_empty() {
            self.last = self.came - self.kept.len() as u64;
        }
    }

    /// A result came that is not on disk.
    pub(super) fn keep(&mut self, delivery: u64, group: ResultGroup, data: Data) {
        self.came += 1;
        self.kept.push_back(Kept {
            delivery,
            group,
            data,
        });
    }

    /// Deliveries up to this one are on disk.
    pub(super) fn last(&mut self, delivery: u64) {
        while self.kept.pop_front_if(|kept| kept.delivery <= delivery).is_some() {}
        self.count();
    }

    /// The agent that they came from is no more.
    pub(super) fn bring(&mut self) {
        for kept in self.kept.drain(..) {
            let Origin { session, request } = kept.group.origin;
            self.brought.entry((session, request)).or_default().push(kept);
        }
    }

    /// The agent has them again.
    pub(super) fn brought(&mut self) {
        self.brought.clear();
        self.count();
    }

    /// What is to be said back of what this request led to, which itself is said before.
    pub(super) fn of(&self, session: u64, request: u64) -> Vec<(ClientToAgent, Vec<Bytes>)> {
        messages(self.brought.get(&(session, request)).into_iter().flatten(), false)
    }

    /// What is to be said back of all other requests, and that this is all if none of these is said again.
    pub(super) fn others(&self, said: &BTreeSet<(u64, u64)>) -> Vec<(ClientToAgent, Vec<Bytes>)> {
        if self.brought.is_empty() {
            return Vec::new();
        }
        let others = self.brought.iter().filter(|(origin, _)| !said.contains(origin));
        messages(others.flat_map(|(_, kept)| kept), said.is_empty())
    }

    /// That all has been said back, if there was anything.
    pub(super) fn all(&self) -> Vec<(ClientToAgent, Vec<Bytes>)> {
        if self.brought.is_empty() {
            return Vec::new();
        }
        messages(std::iter::empty(), true)
    }
}

/// The messages that bring results back; with `all` the last says that there are no more.
fn messages<'a>(kept: impl Iterator<Item = &'a Kept>, all: bool) -> Vec<(ClientToAgent, Vec<Bytes>)> {
    let (mut said, mut gather, mut groups, mut values) = (Vec::new(), Gather::default(), Vec::new(), 0);
    let mut words = 0;
    let say = |gather: &mut Gather, groups: &mut Vec<ResultGroup>, more| {
        let message = BringBack {
            groups: std::mem::take(groups),
            more,
        };
        (message.into(), std::mem::take(gather).finish())
    };
    for Kept { group, data, .. } in kept {
        let text = group.error.as_ref().map_or(0, TaskError::text_bytes);
        (values, words) = (values + data.ends.len(), words + text);
        let full = gather.bytes() + data.bytes.len() > limits::MESSAGE_BYTES
            || groups.len() == limits::GROUPS
            || values > 4 * limits::BATCH_TASKS
            || words > limits::HEADER_BYTES / 4;
        if full && !groups.is_empty() {
            said.push(say(&mut gather, &mut groups, true));
            (values, words) = (data.ends.len(), text);
        }
        let place: Place = gather.add(data);
        groups.push(ResultGroup {
            place,
            ..group.clone()
        });
    }
    if all || !groups.is_empty() {
        said.push(say(&mut gather, &mut groups, !all));
    }
    said
}
