//! Whether there is room for more workers: so many at most, and no more of anything than their nodes have.

use std::collections::BTreeMap;

use scalems_protocol::Amount;
use scalems_protocol::client::{Layout, StarterNode, StarterPlace};
use scalems_protocol::error::{Code, Refusal};
use scalems_protocol::limits;
use scalems_protocol::task::{CORES, GPUS, MEMORY};

use super::{Requests, Started, WorkerRequest};
use crate::agent::Agent;
use crate::worker::Worker;

/// What a layout has of a kind; none: of memory, if it does not say.
pub(super) fn amount(layout: &Layout, kind: &str) -> Option<Amount> {
    match kind {
        CORES => Some(layout.cores.into()),
        GPUS => Some(layout.gpus.into()),
        MEMORY => layout.memory.map(Amount::whole),
        _ => Some(layout.named.get(kind).copied().unwrap_or_default()),
    }
}

/// What a node has, and what of that is free.
#[derive(Clone, Debug, Default)]
struct Room {
    node: String,
    has: BTreeMap<String, Amount>,
    taken: BTreeMap<String, Amount>,
    workers: u64,
}

impl Room {
    fn of(node: &StarterNode) -> Self {
        Self {
            node: node.node.clone(),
            has: node.room.iter().cloned().collect(),
            taken: BTreeMap::new(),
            workers: 0,
        }
    }

    fn take(&mut self, kind: &str, amount: Amount) {
        let taken = self.taken.entry(kind.to_owned()).or_default();
        *taken = Amount::from_parts(taken.parts().saturating_add(amount.parts()));
    }

    fn take_layout(&mut self, layout: &Layout) {
        self.take_beyond(layout, &mut Self::default());
    }

    /// Takes what is not passed on to it by a worker that has so much, which has less to pass on then.
    fn take_beyond(&mut self, layout: &Layout, from: &mut Self) {
        if from.workers > 0 {
            from.workers -= 1;
        } else {
            self.workers += 1;
        }
        let own = [CORES, GPUS, MEMORY].map(|kind| (kind, amount(layout, kind).unwrap_or_default()));
        let named = layout.named.iter().map(|(kind, amount)| (kind.as_str(), *amount));
        for (kind, amount) in own.into_iter().chain(named) {
            let has = from.taken.get(kind).copied().unwrap_or_default().parts();
            let passed = has.min(amount.parts());
            if passed > 0 {
                from.taken
                    .insert(kind.to_owned(), Amount::from_parts(has - passed));
            }
            self.take(kind, Amount::from_parts(amount.parts() - passed));
        }
    }

    fn free(&self, kind: &str) -> Option<Amount> {
        let taken = self.taken.get(kind).copied().unwrap_or_default();
        let has = self.has.get(kind)?;
        Some(Amount::from_parts(has.parts().saturating_sub(taken.parts())))
    }

    /// The first kind of which a worker needs more than is free.
    fn short_of(&self, layout: &Layout) -> Option<&str> {
        let short = |kind: &&String| self.free(kind) < amount(layout, kind);
        self.has.keys().find(short).map(String::as_str)
    }

    /// A layout that says nothing of memory has as much of it as of the cores.
    fn complete(&self, layout: &Layout) -> Layout {
        let share = |memory: u64, cores: u64| {
            let share = u128::from(memory) * u128::from(layout.cores) / u128::from(cores.max(1));
            u64::try_from(share).unwrap_or(memory).max(1)
        };
        let own = self.has.get(MEMORY).zip(self.has.get(CORES));
        Layout {
            memory: layout
                .memory
                .or(own.map(|(memory, cores)| share(memory.floor(), cores.floor()))),
            ..layout.clone()
        }
    }
}

impl Requests {
    /// What was told to be started and is not among what is kept, nor has failed.
    fn pending(&self) -> impl Iterator<Item = (&WorkerRequest, &Started)> {
        let open = self.known.values().filter(|request| !request.is_over());
        let starts = open.flat_map(|request| request.starts.iter().map(move |start| (request, start)));
        starts.filter(|(_, start)| start.place.is_none() && start.failed.is_none() && start.worker.is_none())
    }
}

impl Agent {
    /// Whether what a place offers is taken: also while it is left, as long as tasks may run there; but not for those that come
    /// in its place.
    fn is_taken(&self, place: &StarterPlace, without: Option<&str>) -> bool {
        let leaves = place.left || self.requests.leaving.contains(&place.place);
        without != Some(place.place.as_str()) && (!leaves || self.lives_at(&place.place))
    }

    /// Workers at places that nobody keeps, as after a death of whoever did.
    fn unkept(&self) -> impl Iterator<Item = &Worker> {
        let unkept = |worker: &&Worker| {
            let place = worker.place.as_deref();
            worker.lives() && place.is_some_and(|place| self.kept(place).is_none())
        };
        self.workers.values().filter(unkept)
    }

    fn rooms(&self, nodes: &[StarterNode], without: Option<&str>) -> Vec<Room> {
        let mut rooms: Vec<Room> = nodes.iter().map(Room::of).collect();
        for (room, node) in rooms.iter_mut().zip(nodes) {
            // By place: what its worker has, and those will have that come in its place.
            let mut passed_on: BTreeMap<&str, Room> = BTreeMap::new();
            for place in node.places.iter().filter(|place| self.is_taken(place, without)) {
                room.workers += 1;
                let own = passed_on.entry(&place.place).or_default();
                own.workers += 1;
                for (kind, amount) in &place.offer {
                    room.take(kind, *amount);
                    own.take(kind, *amount);
                }
            }
            for worker in self.unkept().filter(|worker| is_on(worker, &node.node)) {
                room.workers += 1;
                for (kind, parts) in worker.capacity.iter() {
                    room.take(self.kinds.name(kind), Amount::from_parts(parts));
                }
            }
            let here = self
                .requests
                .pending()
                .filter(|(_, start)| start.node == node.node);
            for (request, _) in here {
                let replaced = request.replace.as_ref().map(|replaced| replaced.place.as_str());
                match replaced.and_then(|place| passed_on.get_mut(place)) {
                    Some(own) => room.take_beyond(&request.layout, own),
                    None => room.take_layout(&request.layout),
                }
            }
        }
        rooms
    }

    /// The nodes on which so many workers of a layout can be started, and the layout as it is there; on the node of `without`
    /// if they come in the place of that one.
    pub(super) fn find_room(
        &self,
        layout: &Layout,
        count: u32,
        without: Option<&str>,
    ) -> Result<(Vec<String>, Layout), Refusal> {
        let full = |message: String| Err(Refusal::new(Code::NoRoom, message));
        let nodes = self.starter_nodes();
        let mut rooms = self.rooms(nodes, without);
        // Where nothing was said of a number, what the nodes have says more.
        if self.config.quota.most.is_some() {
            self.check_count(&rooms, count)?;
        }
        let before = rooms.clone();
        if let Some(place) = without {
            let holds = |node: &StarterNode| node.places.iter().any(|held| held.place == place && !held.left);
            let Some(node) = nodes.iter().find(|node| holds(node)) else {
                let message = "who starts workers does not know that one: stop it, and request others";
                return Err(Refusal::new(Code::NoStarter, message));
            };
            rooms.retain(|room| room.node == node.node);
        }
        let Some(first) = rooms.first() else {
            return full("who starts workers has no node to start them on".to_owned());
        };
        let layout = first.complete(layout);
        let mut chosen = Vec::new();
        for _ in 0..count {
            let fits = |room: &&mut Room| self.config.quota.overcommit || room.short_of(&layout).is_none();
            // The emptiest, the first of several: whoever is told the same chooses the same.
            let best = rooms.iter_mut().filter(fits).min_by_key(|room| {
                (
                    std::cmp::Reverse(room.free(CORES).unwrap_or_default()),
                    room.workers,
                )
            });
            let Some(best) = best else {
                return full(no_room(
                    &rooms,
                    &layout,
                    chosen.len() as u32,
                    count,
                    without.is_some(),
                ));
            };
            best.take_layout(&layout);
            chosen.push(best.node.clone());
        }
        if self.config.quota.most.is_none() {
            self.check_count(&before, count)?;
        }
        Ok((chosen, layout))
    }

    fn check_count(&self, rooms: &[Room], count: u32) -> Result<(), Refusal> {
        let kept: u64 = rooms.iter().map(|room| room.workers).sum();
        let by_hand = |worker: &&Worker| worker.lives() && worker.place.is_none();
        let elsewhere = |worker: &&Worker| !rooms.iter().any(|room| is_on(worker, &room.node));
        let there = kept
            + self.workers.values().filter(by_hand).count() as u64
            + self.unkept().filter(elsewhere).count() as u64;
        let cores = rooms
            .iter()
            .map(|room| room.has.get(CORES).map(|cores| cores.floor()));
        let cores: Option<u64> = cores.sum();
        let quota = self.config.quota;
        let (most, why) = match (quota.most, cores) {
            (Some(most), _) => (u64::from(most), "the pilot's --max-workers"),
            (None, Some(cores)) if !quota.overcommit => (
                cores,
                "the cores of the pilot's nodes: --max-workers says another number",
            ),
            (None, _) => (limits::WORKERS as u64, "the limit of one agent"),
        };
        if there + u64::from(count) <= most {
            return Ok(());
        }
        let message = format!(
            "there are {there} workers, and with {count} more there would be over {most}, which is {why}"
        );
        Err(Refusal::new(Code::NoRoom, message))
    }
}

/// Whether a worker is on a node, by its host or its place.
fn is_on(worker: &Worker, node: &str) -> bool {
    let begins = |name: &str| {
        name.strip_prefix(node)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    begins(&worker.host) || worker.place.as_deref().is_some_and(begins)
}

fn no_room(rooms: &[Room], layout: &Layout, chosen: u32, count: u32, replaces: bool) -> String {
    let of = |room: &Room| {
        let kind = room.short_of(layout)?;
        let (free, has) = (room.free(kind)?, room.has.get(kind)?);
        Some(format!(
            "{} has {free} of {has} {kind} that no worker offers",
            room.node
        ))
    };
    let nodes: Vec<String> = rooms.iter().filter_map(of).take(4).collect();
    let own = [CORES, GPUS, MEMORY].map(|kind| (kind, amount(layout, kind).unwrap_or_default()));
    let named = layout.named.iter().map(|(kind, amount)| (kind.as_str(), *amount));
    let wants: Vec<String> = own
        .into_iter()
        .chain(named)
        .filter(|(_, amount)| !amount.is_zero())
        .map(|(kind, amount)| match kind {
            MEMORY => format!("{amount} MiB of memory"),
            kind => format!("{amount} {kind}"),
        })
        .collect();
    let advice = if replaces {
        "ask for fewer, or smaller ones"
    } else {
        "`scalems worker replace NUMBER` starts workers in the place of one, or start the pilot with fewer --cores for each"
    };
    format!(
        "there is room for {chosen} of {count} workers with {}: {}; {advice}",
        wants.join(", "),
        nodes.join(", ")
    )
}
