//! Who starts workers: it says what it keeps, and is told what to do. All of it is said again each time, so nothing has to
//! be remembered of it: after a restart of either side the other one says it.

use scalems_protocol::client::{Orders, Reply, Start, Starter, StarterNode, StarterPlace};
use scalems_protocol::id::Origin;
use scalems_protocol::limits;

use super::{Requests, Started};
use crate::agent::Agent;
use crate::agent::listing::{Row, WORDS};
use crate::interface::{Action, Micros, Peer};

/// The number of what waits for an answer, and until when it does.
pub(super) type Asked = (u64, Micros);

/// Who starts workers, and what it said last.
#[derive(Clone, Debug)]
pub(super) struct Attached {
    pub(super) peer: Peer,
    /// What it waits for an answer to, and until when.
    asked: Option<Asked>,
    nodes: Vec<StarterNode>,
}

impl Attached {
    pub(super) fn until(&self) -> Option<Micros> {
        self.asked.map(|(_, until)| until)
    }

    fn places(&self) -> impl Iterator<Item = &StarterPlace> {
        self.nodes.iter().flat_map(|node| &node.places)
    }
}

impl Agent {
    /// Who starts workers says what there is. Another one takes the place of the one before.
    pub(in crate::agent) fn starter(&mut self, peer: Peer, said: Starter, out: &mut Vec<Action>) {
        let before = self.requests.starter.take();
        let open = before.and_then(|before| Some((before.peer, before.asked?)));
        // What another one waited for it waits for until its time is over: answered now it would say so again at once,
        // and two of them would take each other's place without a pause.
        self.requests.displaced.extend(open);
        let own = self
            .requests
            .displaced
            .extract_if(.., |(other, _)| *other == peer);
        for (_, (id, _)) in own.collect::<Vec<_>>() {
            // What this one waited for comes with the answer to what it says now.
            self.reply(peer, id, Reply::Orders(Orders::default()), Vec::new(), out);
        }
        let patience = said.timeout_ms.min(limits::STARTER_MS) * 1_000;
        for failed in said.failed {
            let starts = self
                .requests
                .known
                .values_mut()
                .flat_map(|request| &mut request.starts);
            for start in starts.filter(|start| start.start == failed.start) {
                start.failed.get_or_insert_with(|| failed.reason.clone());
            }
        }
        let attached = Attached {
            peer,
            asked: Some((said.id, self.now + patience)),
            nodes: said.nodes,
        };
        let Requests { leaving, .. } = &mut self.requests;
        leaving.retain(|place| attached.places().any(|held| held.place == *place));
        self.requests.starter = Some(attached);
        self.requests.stir();
    }

    pub(super) fn starter_nodes(&self) -> &[StarterNode] {
        self.requests
            .starter
            .as_ref()
            .map_or(&[], |starter| &starter.nodes)
    }

    /// What is kept at a place.
    pub(super) fn kept(&self, place: &str) -> Option<&StarterPlace> {
        let mut places = self.starter_nodes().iter().flat_map(|node| &node.places);
        places.find(|held| held.place == place)
    }

    /// Where what was told with this number is kept.
    pub(super) fn place_of(&self, start: u64) -> Option<String> {
        let mut places = self.starter_nodes().iter().flat_map(|node| &node.places);
        let held = places.find(|held| held.start == start)?;
        Some(held.place.clone())
    }

    /// What an earlier life has had started for a request.
    pub(super) fn started_for(&self, origin: Origin) -> Vec<Started> {
        let mut starts = Vec::new();
        for node in self.starter_nodes() {
            let own = |held: &&StarterPlace| held.origin == Some(origin) && !held.left;
            starts.extend(node.places.iter().filter(own).map(|held| Started {
                start: held.start,
                node: node.node.clone(),
                place: Some(held.place.clone()),
                worker: None,
                failed: None,
            }));
        }
        starts
    }

    /// A worker ended in order: it is not started again.
    pub(in crate::agent) fn place_left(&mut self, place: &str) {
        if self.stopping.is_none() && self.kept(place).is_some() {
            self.requests.leaving.insert(place.to_owned());
        }
        self.requests.stir();
    }

    /// Whether a worker at a place lives.
    pub(super) fn lives_at(&self, place: &str) -> bool {
        let mut living = self.workers.values().filter(|worker| worker.lives());
        living.any(|worker| worker.place.as_deref() == Some(place))
    }

    /// What it does not know or has not done yet, as much of it as one message takes: it asks again after each.
    fn orders(&self) -> Orders {
        let mut orders = self.all_orders();
        let mut left = WORDS;
        for places in [
            &mut orders.stop,
            &mut orders.leave,
            &mut orders.over,
            &mut orders.joined,
        ] {
            shorten(places, &mut left);
        }
        shorten(&mut orders.starts, &mut left);
        orders
    }

    fn all_orders(&self) -> Orders {
        let mut orders = Orders::default();
        let Some(starter) = self.requests.starter.as_ref().filter(|_| self.stopping.is_none()) else {
            return orders;
        };
        let failed = |start: u64| {
            let mut known = self
                .requests
                .known
                .values()
                .filter(|request| request.failed.is_some());
            known.any(|request| {
                let mut starts = request.starts.iter();
                starts.any(|started| started.start == start && started.worker.is_none())
            })
        };
        for held in starter.places() {
            let leaves = held.left || self.requests.leaving.contains(&held.place);
            if leaves && !self.lives_at(&held.place) {
                orders.over.push(held.place.clone());
            }
            if held.left {
                continue;
            }
            if held.start > 0 && !held.joined && failed(held.start) {
                orders.stop.push(held.place.clone());
            } else if self.requests.leaving.contains(&held.place) {
                orders.leave.push(held.place.clone());
            } else if held.start > 0 && !held.joined && self.lives_at(&held.place) {
                orders.joined.push(held.place.clone());
            }
        }
        for request in self.requests.known.values().filter(|request| !request.is_over()) {
            if request.replace.as_ref().is_some_and(|replaced| !replaced.ended) {
                continue;
            }
            for started in &request.starts {
                let new = started.place.is_none() && started.failed.is_none() && started.worker.is_none();
                if new && orders.starts.len() < limits::REQUESTED_WORKERS as usize {
                    orders.starts.push(Start {
                        start: started.start,
                        node: started.node.clone(),
                        layout: request.layout.clone(),
                        origin: request.origin,
                        requested_by: request.session.clone(),
                    });
                }
            }
        }
        orders
    }

    /// Answers who starts workers when there is something to do, or its time is over. While the pilot ends there is nothing to
    /// do: it hears of the end as all clients do.
    pub(super) fn tell_starter(&mut self, out: &mut Vec<Action>) {
        let now = self.now;
        let due = self
            .requests
            .displaced
            .extract_if(.., |(_, (_, until))| *until <= now);
        for (peer, (id, _)) in due.collect::<Vec<_>>() {
            self.reply(peer, id, Reply::Orders(Orders::default()), Vec::new(), out);
        }
        let Some(starter) = &self.requests.starter else {
            return;
        };
        let (peer, Some((id, until))) = (starter.peer, starter.asked) else {
            return;
        };
        let orders = self.orders();
        if orders.is_empty() && self.now < until {
            return;
        }
        if let Some(starter) = &mut self.requests.starter {
            starter.asked = None;
        }
        self.reply(peer, id, Reply::Orders(orders), Vec::new(), out);
    }
}

/// Keeps what there is room for, the first of it.
fn shorten<T: Row>(list: &mut Vec<T>, left: &mut usize) {
    list.truncate(limits::NAMES);
    let fits = |item: &&T| {
        let rest = left.checked_sub(item.words());
        *left = rest.unwrap_or(0);
        rest.is_some()
    };
    let count = list.iter().take_while(fits).count();
    list.truncate(count);
}
