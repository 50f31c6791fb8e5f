//! Who starts workers: keeps those that the pilot began with on this host, and starts, ends and keeps what is requested of the
//! agent. It is a client of the agent like any other, which says what it keeps and waits for orders
//! (`docs/spec/2-client`, section "Requested workers"), so neither has to remember anything of the other.

mod ground;
mod saved;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use scalems_client::protocol::client::{
    Orders, Start, StartFailed, Starter as Said, StarterNode, StarterPlace,
};
use scalems_client::protocol::worker::Offer;
use scalems_client::{ClientError, Session};
use scalems_protocol::Amount;
use scalems_protocol::limits;
use scalems_protocol::task::{CORES, GPUS, MEMORY};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

pub(super) use self::ground::{Ground, NodeRoom};
use self::saved::{Saved, SavedPlace};
use super::WORKER_END;
use super::workers::{Keeper, Kept, Told};

/// How long it may take to connect.
const CONNECT: Duration = Duration::from_secs(5);
/// The first wait before it is tried again, which doubles each time, and the longest.
const AGAIN: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

/// Places whose workers are not started again, for whoever else looks after them.
pub(super) type Left = Rc<RefCell<BTreeSet<String>>>;

/// What a place takes of its node's CPUs and GPUs, counted from 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Slots {
    pub(super) cpus: Vec<u32>,
    pub(super) gpus: Vec<u32>,
}

/// A worker that is kept.
#[derive(Debug)]
struct Place {
    node: String,
    slots: Slots,
    said: StarterPlace,
    /// For its keeper; none: somebody else looks after it.
    told: Option<watch::Sender<Told>>,
    /// What another life of the agent finds.
    saved: Option<SavedPlace>,
    /// Whether the agent has said that its worker is over, whose process may be about to end.
    over: bool,
}

/// Who starts workers.
pub(super) struct Starter {
    directory: PathBuf,
    ground: Ground,
    nodes: BTreeMap<String, NodeRoom>,
    places: BTreeMap<String, Place>,
    /// Started places that wait until others have given back their CPUs.
    waiting: Vec<(Start, String, Instant)>,
    failed: Vec<StartFailed>,
    keepers: JoinSet<(String, Kept)>,
    left: Left,
    ending: watch::Receiver<bool>,
    /// The number of the next place.
    next: u32,
    /// Whether anything is otherwise than the pilot was begun.
    changed: bool,
    /// What was noted last for another life of the agent.
    noted: Option<Saved>,
    /// Whether one had to be killed.
    killed: bool,
}

impl Starter {
    /// One that has these nodes, for the pilot whose directory this is.
    pub(super) fn new(
        directory: &Path,
        ground: Ground,
        nodes: BTreeMap<String, NodeRoom>,
        ending: watch::Receiver<bool>,
    ) -> Self {
        Self {
            directory: directory.to_owned(),
            ground,
            nodes,
            places: BTreeMap::new(),
            waiting: Vec::new(),
            failed: Vec::new(),
            keepers: JoinSet::new(),
            left: Left::default(),
            ending,
            next: 1,
            changed: false,
            noted: None,
            killed: false,
        }
    }

    /// The places that are not to be kept any more.
    pub(super) fn left(&self) -> Left {
        Rc::clone(&self.left)
    }

    /// A worker that the pilot begins with: kept here, or by somebody else.
    pub(super) fn begin(
        &mut self,
        place: String,
        node: String,
        offer: Offer,
        slots: Slots,
        keeper: Option<Keeper>,
    ) {
        self.next += u32::from(keeper.is_some());
        let said = StarterPlace {
            place: place.clone(),
            offer,
            joined: true,
            ..StarterPlace::default()
        };
        let saved = keeper
            .as_ref()
            .map(|keeper| SavedPlace::new(&node, &slots, keeper, &said));
        let told = keeper.map(|keeper| self.keep(place.clone(), keeper, true));
        let kept = Place {
            node,
            slots,
            said,
            told,
            saved,
            over: false,
        };
        self.places.insert(place, kept);
    }

    /// Goes on with what was there when an agent died. False: it was as the pilot begins.
    pub(super) fn go_on(&mut self) -> bool {
        let Some(saved) = Saved::read(&self.directory) else {
            return false;
        };
        // The last of them was about to be replaced: nothing would come in its place.
        if saved.places.is_empty() {
            return false;
        }
        self.next = saved.next;
        self.changed = true;
        for place in saved.places {
            let name = place.said.place.clone();
            let keeper = place.keeper();
            let told = self.keep(name.clone(), keeper, place.said.joined);
            let kept = Place {
                node: place.node.clone(),
                slots: place.slots.clone(),
                said: place.said.clone(),
                told: Some(told),
                saved: Some(place),
                over: false,
            };
            self.places.insert(name, kept);
        }
        true
    }

    fn keep(&mut self, place: String, keeper: Keeper, joined: bool) -> watch::Sender<Told> {
        let (tell, told) = watch::channel(Told {
            joined,
            ..Told::default()
        });
        let kept = keeper.keep(self.ending.clone(), told);
        self.keepers.spawn_local(async move { (place, kept.await) });
        tell
    }

    /// Does so until the pilot ends, and waits for the end of its workers then. One that takes no further workers only keeps its
    /// own.
    ///
    /// Says whether one had to be killed.
    pub(super) async fn run(mut self, open: bool) -> bool {
        let mut ending = self.ending.clone();
        let mut wait = AGAIN;
        while open && !*ending.borrow() {
            let session = tokio::select! {
                session = connect(self.directory.clone()) => session,
                Some(ended) = self.keepers.join_next() => {
                    self.ended(ended);
                    continue;
                }
                _ = ending.wait_for(|ending| *ending) => break,
            };
            let served = match session {
                Ok(session) => {
                    wait = AGAIN;
                    self.serve(&session, &mut ending).await
                }
                Err(error) => Err(error),
            };
            if let Err(error) = served {
                // The agent may be about to be started again, or to end.
                tracing::info!("who starts workers cannot reach the agent: {error}");
                let over = tokio::time::timeout(wait, ending.wait_for(|ending| *ending));
                let _is_over = over.await;
                wait = (2 * wait).min(LONGEST);
            }
        }
        while let Some(ended) = self.keepers.join_next().await {
            self.ended(ended);
        }
        if *ending.borrow() {
            forget(&self.directory);
        }
        self.killed
    }

    async fn serve(
        &mut self,
        session: &Session,
        ending: &mut watch::Receiver<bool>,
    ) -> Result<(), ClientError> {
        loop {
            let said = self.says();
            let told = said.failed.len();
            let mut orders = session.serve_starts(said)?;
            let patience = self.waiting.iter().map(|(.., since)| *since + WORKER_END).min();
            tokio::select! {
                answered = &mut orders => {
                    self.obey(answered?);
                    self.failed.drain(..told);
                }
                Some(ended) = self.keepers.join_next() => self.ended(ended),
                () = until(patience) => self.start_waiting(),
                _ = ending.wait_for(|ending| *ending) => return Ok(()),
            }
        }
    }

    fn says(&self) -> Said {
        let nodes = self.nodes.iter().map(|(name, node)| StarterNode {
            node: name.clone(),
            room: node.room(),
            places: self
                .places
                .values()
                .filter(|place| place.node == *name && !place.over)
                .map(|place| place.said.clone())
                .collect(),
        });
        Said {
            id: 0,
            nodes: nodes.collect(),
            failed: self.failed.clone(),
            timeout_ms: limits::STARTER_MS,
        }
    }

    fn obey(&mut self, orders: Orders) {
        let changes = !(orders.leave.is_empty() && orders.stop.is_empty() && orders.starts.is_empty());
        for place in &orders.joined {
            if let Some(place) = self.places.get_mut(place) {
                place.said.joined = true;
                place.tell(|told| told.joined = true);
            }
        }
        for (places, stop) in [(&orders.leave, false), (&orders.stop, true)] {
            for name in places {
                self.leave(name, stop);
            }
        }
        for name in &orders.over {
            self.over(name);
        }
        for start in orders.starts {
            // It may be told again before it is known to have been heard.
            let known = self.places.values().any(|place| place.said.start == start.start);
            let failed = self.failed.iter().any(|failed| failed.start == start.start);
            if !known && !failed {
                self.take(start);
            }
        }
        self.changed |= changes;
        self.save();
        self.start_waiting();
    }

    fn leave(&mut self, name: &str, stop: bool) {
        self.left.borrow_mut().insert(name.to_owned());
        self.waiting.retain(|(_, waiting, _)| waiting != name);
        let Some(place) = self.places.get_mut(name) else {
            return;
        };
        place.said.left = true;
        place.tell(|told| {
            told.left = true;
            told.stop |= stop;
        });
        // What was told to start and never began is over.
        if place.said.start > 0 && place.told.as_ref().is_none_or(watch::Sender::is_closed) {
            self.places.remove(name);
        }
    }

    /// A worker is over of which the agent knows that it is not kept: it is not said any more.
    fn over(&mut self, name: &str) {
        let Some(place) = self.places.get_mut(name) else {
            return;
        };
        place.over = true;
        // Its process has its CPUs until it has ended, if it is one that is kept here.
        if place.told.as_ref().is_none_or(watch::Sender::is_closed) {
            self.places.remove(name);
        }
    }

    /// Makes a place for a worker.
    fn take(&mut self, start: Start) {
        let place = loop {
            let place = self.ground.place(&start.node, self.next);
            self.next += 1;
            if !self.places.contains_key(&place) && !self.left.borrow().contains(&place) {
                break place;
            }
        };
        let layout = &start.layout;
        let mut offer = vec![(CORES.to_owned(), Amount::from(layout.cores))];
        if layout.gpus > 0 {
            offer.push((GPUS.to_owned(), Amount::from(layout.gpus)));
        }
        offer.extend(
            layout
                .memory
                .map(|memory| (MEMORY.to_owned(), Amount::whole(memory))),
        );
        offer.extend(layout.named.iter().map(|(kind, amount)| (kind.clone(), *amount)));
        let said = StarterPlace {
            place: place.clone(),
            offer,
            start: start.start,
            origin: Some(start.origin),
            requested_by: Some(start.requested_by.clone()),
            ..StarterPlace::default()
        };
        let kept = Place {
            node: start.node.clone(),
            slots: Slots::default(),
            said,
            told: None,
            saved: None,
            over: false,
        };
        self.places.insert(place.clone(), kept);
        self.waiting.push((start, place, Instant::now()));
    }

    /// Starts what waits and has its CPUs, or has waited for too long.
    fn start_waiting(&mut self) {
        for (start, place, since) in std::mem::take(&mut self.waiting) {
            let over = since.elapsed() >= WORKER_END;
            match self.slots(&start) {
                Some(slots) => self.start(&start, &place, slots),
                None if over => self.fail(&place, "the worker before it has not given its cores back"),
                None => self.waiting.push((start, place, since)),
            }
        }
        self.save();
    }

    fn start(&mut self, start: &Start, place: &str, slots: Slots) {
        let keeper = self.ground.keeper(start, place, &slots);
        let keeper = match keeper {
            Ok(keeper) => keeper,
            Err(error) => return self.fail(place, &format!("{error:#}")),
        };
        tracing::info!(place, node = start.node, "a requested worker is started");
        let Some(said) = self.places.get(place).map(|kept| kept.said.clone()) else {
            return;
        };
        let saved = SavedPlace::new(&start.node, &slots, &keeper, &said);
        let told = self.keep(place.to_owned(), keeper, false);
        if let Some(kept) = self.places.get_mut(place) {
            (kept.slots, kept.told, kept.saved) = (slots, Some(told), Some(saved));
        }
    }

    /// Which CPUs and GPUs of its node a worker gets: those that fewest others have. None: others have them whose processes are about
    /// to end. Where a worker is ending that still runs something the agent knows of it, and has this one share with it.
    fn slots(&self, start: &Start) -> Option<Slots> {
        let Some(node) = self.nodes.get(&start.node) else {
            return Some(Slots::default());
        };
        let on_node = || self.places.values().filter(|place| place.node == start.node);
        let ends = || on_node().any(|place| place.over);
        let pick = |all: &[u32], count: u32, used: fn(&Slots) -> &Vec<u32>| {
            let mut by_use: Vec<(usize, u32)> = all
                .iter()
                .map(|slot| {
                    (
                        on_node()
                            .filter(|place| used(&place.slots).contains(slot))
                            .count(),
                        *slot,
                    )
                })
                .collect();
            by_use.sort_unstable();
            by_use.truncate(count as usize);
            // More than there are cannot be told apart.
            if by_use.len() < count as usize {
                return Some(Vec::new());
            }
            let shared = by_use.iter().any(|(users, _)| *users > 0);
            let mut slots: Vec<u32> = by_use.into_iter().map(|(_, slot)| slot).collect();
            slots.sort_unstable();
            (!shared || !ends()).then_some(slots)
        };
        Some(Slots {
            cpus: pick(&node.cpus, start.layout.cores, |slots| &slots.cpus)?,
            gpus: pick(&node.gpus, start.layout.gpus, |slots| &slots.gpus)?,
        })
    }

    fn fail(&mut self, place: &str, reason: &str) {
        if let Some(kept) = self.places.remove(place) {
            self.failed.push(StartFailed {
                start: kept.said.start,
                reason: reason.to_owned(),
            });
        }
    }

    /// A worker is not kept any more.
    fn ended(&mut self, ended: Result<(String, Kept), tokio::task::JoinError>) {
        let (name, kept) = match ended {
            Ok(ended) => ended,
            Err(error) => return tracing::error!(%error, "who keeps a worker has ended"),
        };
        self.killed |= kept == Kept::Killed && *self.ending.borrow();
        if let Kept::Badly(reason) = &kept {
            tracing::error!(name, reason, "a worker is not started again");
        }
        match (kept, self.places.get(&name)) {
            (Kept::Badly(reason), Some(place)) if place.said.start > 0 && !place.said.joined => {
                self.fail(&name, &reason)
            }
            _ => drop(self.places.remove(&name)),
        }
        self.left.borrow_mut().remove(&name);
        self.save();
        self.start_waiting();
    }

    /// Notes what another life of the agent has to go on with.
    fn save(&mut self) {
        if !self.changed || !self.ground.is_here() || *self.ending.borrow() {
            return;
        }
        let places = self.places.values().filter(|place| !place.said.left);
        let places = places.filter_map(|place| {
            let said = place.said.clone();
            place.saved.clone().map(|saved| saved.saying(said))
        });
        let saved = Saved {
            next: self.next,
            places: places.collect(),
        };
        if self.noted.as_ref() == Some(&saved) {
            return;
        }
        match saved.write(&self.directory) {
            Ok(()) => self.noted = Some(saved),
            Err(error) => {
                tracing::warn!(%error, "cannot note which workers there are: an agent that is started again begins with those of its options");
            }
        }
    }
}

impl Place {
    fn tell(&self, change: impl FnOnce(&mut Told)) {
        if let Some(told) = &self.told {
            told.send_modify(change);
        }
    }
}

/// The next life of the agent in this directory begins with the workers of its options.
pub(super) fn forget(directory: &Path) {
    Saved::remove(directory);
}

/// Connects beside whatever else there is to do; nobody waits for it when the pilot ends.
async fn connect(directory: PathBuf) -> Result<Session, ClientError> {
    let (done, connected) = oneshot::channel();
    let spawned = std::thread::Builder::new()
        .name("scalems-starter".to_owned())
        .spawn(move || {
            let options = Session::options().name("starter").shared();
            let options = options.software(concat!("scalems ", env!("CARGO_PKG_VERSION")));
            // Nobody listens any more when the pilot has ended.
            let _heard = done.send(options.connect_timeout(CONNECT).connect(directory));
        });
    let gone = || ClientError::TimedOut {
        what: "a thread to connect with",
        waited: Duration::ZERO,
    };
    spawned.map_err(|_| gone())?;
    connected.await.unwrap_or_else(|_| Err(gone()))
}

/// Until then; for ever without.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}
