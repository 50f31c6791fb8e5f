//! The bus: one thread that owns the agent's sockets (R1).
//!
//! Each round it waits for its sockets, drains what is there up to a cap, hands it to the core, lets the
//! core decide once, and sends what it decided. So batches form under load, and nothing waits when idle.

mod decode;
mod ends;
mod health;
mod identity;
mod notes;
mod sockets;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use scalems_core::record::Record;
use scalems_core::{Action, Agent, Input, Micros, Peer};
use scalems_protocol::event::{AgentToSubscriber, Topic};
use scalems_transport::{
    ConnectionEvent, Incoming, PeerId, Ready, Router, SendError, Source, TransportError, WakeReceiver, Waker,
    poll,
};
use tracing::{debug, warn};

use crate::batch::part::Watch;
use crate::journal::{Journal, JournalError, Store};
use crate::process;
use crate::spill::{Room, Spiller};

use self::ends::Ends;
use self::health::Rounds;
use self::notes::Alarms;

pub use identity::Identity;
pub use sockets::{Sockets, TcpOptions};

/// Messages that one round takes from each socket: enough for batches to form, few enough that no socket
/// waits long for another.
const ROUND: usize = 128;
/// After a connection was seen to end its pipe may live on for a moment: who it was is asked twice.
const ASK_AGAIN: Duration = Duration::from_millis(10);

/// Why the bus cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// The sockets failed.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The journal failed. Nothing that is not in it was acknowledged.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The journal ends before what peers have seen in it.
    #[error("{0}")]
    Behind(String),
    /// The system gives no thread for what moves results out of memory.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] std::io::Error),
}

/// Ends the bus from another thread.
#[derive(Clone)]
pub struct BusHandle {
    waker: Waker,
    /// The asked drain time plus 1, milliseconds; 0: nothing was asked.
    stop: Arc<AtomicU64>,
}

impl BusHandle {
    /// Asks the pilot to end once what runs has ended, or after `drain`.
    pub fn stop(&self, drain: Duration) {
        let ms = u64::try_from(drain.as_millis())
            .unwrap_or(u64::MAX - 1)
            .min(u64::MAX - 1);
        self.stop.store(ms + 1, Ordering::Release);
        self.waker.wake();
    }
}

/// The agent's sockets, the core, and the clock between them.
pub struct Bus {
    core: Agent,
    sockets: Sockets,
    wake: WakeReceiver,
    handle: BusHandle,
    begun: Instant,
    /// The core's time when the bus began.
    age: Duration,
    actions: Vec<Action>,
    journal: Option<Journal>,
    spiller: Spiller,
    /// The jobs that workers out of sight run in.
    jobs: Watch,
    /// For the journal, at the end of the round.
    records: Vec<Record>,
    /// What the core was told of the journal: records on disk, and whether the disk is full.
    told: (u64, bool),
    ask_clients: Option<Instant>,
    ask_workers: Option<Instant>,
    client_ends: Ends,
    worker_ends: Ends,
    rounds: Rounds,
    /// So long before the end of its allocation the pilot takes nothing new.
    warning: Option<Duration>,
    exit: bool,
    /// Why the journal cannot be gone on with.
    behind: Option<String>,
    alarms: Alarms,
}

impl Bus {
    /// A bus over open sockets, which moves results that are too many for the memory to `room`.
    pub(crate) fn new(core: Agent, sockets: Sockets, room: Room) -> Result<Self, BusError> {
        let (waker, wake) = Waker::pair()?;
        let theirs = waker.clone();
        let spiller = Spiller::start(room, move || theirs.wake()).map_err(BusError::Thread)?;
        let handle = BusHandle {
            waker,
            stop: Arc::default(),
        };
        Ok(Self {
            core,
            sockets,
            wake,
            handle,
            begun: Instant::now(),
            age: Duration::ZERO,
            actions: Vec::new(),
            journal: None,
            spiller,
            jobs: Watch::default(),
            records: Vec::new(),
            told: (0, false),
            ask_clients: None,
            ask_workers: None,
            client_ends: Ends::default(),
            worker_ends: Ends::default(),
            rounds: Rounds::default(),
            warning: None,
            exit: false,
            behind: None,
            alarms: Alarms::default(),
        })
    }

    /// Has the core's records written, and does what it wants done first. Its life begins at `age`, the time since
    /// its pilot was created.
    pub fn keep_journal(
        &mut self,
        store: Store,
        age: Duration,
        first: Vec<Action>,
    ) -> Result<(), JournalError> {
        self.age = age;
        self.told = (store.last(), false);
        self.actions = first;
        let waker = self.handle.waker.clone();
        self.journal = Some(Journal::start(store, move || waker.wake())?);
        Ok(())
    }

    /// So long before the end of its allocation the pilot takes nothing new.
    pub fn tell_warning(&mut self, before: Option<Duration>) {
        self.warning = before;
    }

    /// The handle that ends the bus.
    pub fn handle(&self) -> BusHandle {
        self.handle.clone()
    }

    /// Serves until the pilot has ended.
    pub fn run(mut self) -> Result<(), BusError> {
        self.act();
        while !self.exit {
            let deaf = self.journal.as_ref().is_some_and(Journal::is_backlogged);
            let ready = self.wait(deaf)?;
            let begun = self.core.is_watched().then(Instant::now);
            if deaf {
                let now = self.now();
                self.core.did_not_listen(now);
            }
            self.take_stop();
            let [
                frontend,
                backend,
                beats,
                events,
                client_events,
                worker_events,
                wake,
            ] = ready;
            if wake.any() {
                self.wake.reset();
                self.take_stop();
            }
            if events.any() {
                self.subscriptions()?;
            }
            if beats.any() {
                self.beats()?;
            }
            let drained = !deaf && (!backend.any() || self.workers()?);
            let of_workers = self.worker_ends.due(drained);
            let drained = !deaf && (!frontend.any() || self.clients()?);
            let of_clients = self.client_ends.due(drained);
            for end in of_workers.into_iter().chain(of_clients) {
                self.input(end);
            }
            if client_events.any() && closed(&mut self.sockets.frontend)? {
                self.client_ends.push(Input::SomeClientGone);
                self.ask_clients = Some(Instant::now() + ASK_AGAIN);
            }
            if worker_events.any() && closed(&mut self.sockets.backend)? {
                self.worker_ends.push(Input::SomeWorkerGone);
                self.ask_workers = Some(Instant::now() + ASK_AGAIN);
            }
            self.ask_again();
            self.ask_journal()?;
            if let Some(spilled) = self.spiller.answer() {
                self.input(spilled);
            }
            let now = self.now();
            self.core.flush(now, &mut self.actions);
            self.act();
            self.alarms.say(&self.core);
            if let Some(mut health) = self.rounds.over(begun, self.journal.as_ref()) {
                health.warning_ms = self.warning.map(|before| before.as_millis() as u64);
                self.input(Input::Health(Box::new(health)));
                self.act();
            }
        }
        if let Some(journal) = self.journal.take() {
            journal.finish()?;
        }
        self.behind
            .map_or(Ok(()), |message| Err(BusError::Behind(message)))
    }

    /// Whether a worker's processes are known to be over: from here, or since their job is.
    fn is_over(&self, process: &str) -> bool {
        process::are_over(process)
            || (!process::is_of_here(process)
                && process::part(process).is_some_and(|part| self.jobs.is_over(&part)))
    }

    fn now(&self) -> Micros {
        (self.age + self.begun.elapsed()).as_micros() as Micros
    }

    /// Tells the core what the journal has written.
    fn ask_journal(&mut self) -> Result<(), JournalError> {
        let Some(journal) = &self.journal else {
            return Ok(());
        };
        let (durable, full) = (journal.durable()?, journal.is_full());
        let (before, was_full) = std::mem::replace(&mut self.told, (durable, full));
        if durable > before {
            self.input(Input::Durable(durable));
        }
        if full != was_full {
            self.input(Input::DiskFull(full));
        }
        Ok(())
    }

    /// Waits until something is there. `deaf`: so much waits for the disk that nothing new is taken in.
    fn wait(&self, deaf: bool) -> Result<[Ready; 7], TransportError> {
        let core = self
            .core
            .deadline()
            .map(|at| self.begun + Duration::from_micros(at).saturating_sub(self.age));
        let next = [core, self.ask_clients, self.ask_workers, self.rounds.due()]
            .into_iter()
            .flatten()
            .min();
        let mut wait = next.map(|at| at.saturating_duration_since(Instant::now()));
        let none_ended = self.client_ends.is_empty() && self.worker_ends.is_empty();
        if !(deaf || none_ended) {
            // What is there is read before they are told.
            wait = Some(Duration::ZERO);
        }
        if deaf {
            // Whoever wants something has to wait: the next commit wakes us.
            let [wake] = poll([Source::wake(&self.wake)], wait)?;
            let mut ready = [Ready::default(); 7];
            ready[6] = wake;
            return Ok(ready);
        }
        let sockets = &self.sockets;
        poll(
            [
                Source::readable(&sockets.frontend),
                Source::readable(&sockets.backend),
                Source::readable(&sockets.beats),
                Source::readable(&sockets.events),
                Source::connections(&sockets.frontend),
                Source::connections(&sockets.backend),
                Source::wake(&self.wake),
            ],
            wait,
        )
    }

    fn input(&mut self, input: Input) {
        let now = self.now();
        self.core.handle(now, input, &mut self.actions);
    }

    fn take_stop(&mut self) {
        let asked = self.handle.stop.swap(0, Ordering::AcqRel);
        if asked > 0 {
            self.input(Input::Stop { drain_ms: asked - 1 });
        }
    }

    fn ask_again(&mut self) {
        let now = Instant::now();
        if self.ask_clients.take_if(|at| *at <= now).is_some() {
            self.client_ends.push(Input::SomeClientGone);
        }
        if self.ask_workers.take_if(|at| *at <= now).is_some() {
            self.worker_ends.push(Input::SomeWorkerGone);
        }
    }

    /// Takes in what clients said. True: all of it.
    fn clients(&mut self) -> Result<bool, TransportError> {
        for _ in 0..ROUND {
            let Some(incoming) = self.sockets.frontend.recv()? else {
                return Ok(true);
            };
            match incoming {
                Incoming::Message(received) => {
                    let peer = Peer(received.peer.0);
                    match decode::client(received.message) {
                        Ok((message, blobs)) => {
                            self.input(Input::Client {
                                peer,
                                role: received.role,
                                message,
                                blobs,
                            });
                        }
                        Err(refused) => self.input(Input::Undecoded { peer, refused }),
                    }
                }
                Incoming::Refused { peer, refusal } => {
                    self.core.count("refused_frames", 1);
                    debug!(?peer, %refusal, "a client's message was dropped");
                }
            }
            // What is urgent goes out before the next message is looked at only when the round is over: the
            // core gathers.
        }
        Ok(false)
    }

    /// Takes in what workers said. True: all of it.
    fn workers(&mut self) -> Result<bool, TransportError> {
        for _ in 0..ROUND {
            let Some(incoming) = self.sockets.backend.recv()? else {
                return Ok(true);
            };
            match incoming {
                Incoming::Message(received) => {
                    let peer = Peer(received.peer.0);
                    match decode::worker(received.message) {
                        Ok((message, blobs)) => {
                            notes::of_worker(peer, &message);
                            self.input(Input::Worker { peer, message, blobs });
                        }
                        Err(refused) => {
                            self.core.count("malformed", 1);
                            let message = refused.into();
                            self.actions.push(Action::ToWorker {
                                peer,
                                message,
                                blobs: Vec::new(),
                            });
                        }
                    }
                }
                Incoming::Refused { peer, refusal } => {
                    self.core.count("refused_frames", 1);
                    debug!(?peer, %refusal, "a worker's message was dropped");
                }
            }
        }
        Ok(false)
    }

    fn beats(&mut self) -> Result<(), TransportError> {
        for _ in 0..ROUND {
            let Some(message) = self.sockets.beats.recv()? else {
                break;
            };
            match decode::beat(&message) {
                Some(beat) => self.input(Input::Beat(beat)),
                None => self.core.count("malformed", 1),
            }
        }
        Ok(())
    }

    fn subscriptions(&mut self) -> Result<(), TransportError> {
        for _ in 0..ROUND {
            let Some(change) = self.sockets.events.subscription()? else {
                break;
            };
            let topic = std::str::from_utf8(&change.topic).ok().and_then(Topic::from_name);
            match topic {
                Some(topic) if change.subscribed => self.input(Input::Subscribed(topic)),
                Some(topic) => self.input(Input::Unsubscribed(topic)),
                None => self.core.count("unknown_topics", 1),
            }
        }
        Ok(())
    }

    /// Does what the core decided. That a peer turns out to be gone is told once what it said before is taken in; that a
    /// process does, at once.
    fn act(&mut self) {
        while !self.actions.is_empty() {
            let mut gone = Vec::new();
            for action in std::mem::take(&mut self.actions) {
                match action {
                    Action::ToClient { peer, message, blobs } => {
                        notes::to_client(peer, &message);
                        let (header, blobs) = message.encode_frames(&blobs);
                        let sent = self.sockets.frontend.send(PeerId(peer.0), &header, blobs);
                        if unreachable("client", message.name(), sent) {
                            self.client_ends.push(Input::ClientGone(peer));
                        }
                    }
                    Action::ToWorker { peer, message, blobs } => {
                        notes::to_worker(peer, &message);
                        let (header, blobs) = message.encode_frames(&blobs);
                        let sent = self.sockets.backend.send(PeerId(peer.0), &header, blobs);
                        if unreachable("worker", message.name(), sent) {
                            self.worker_ends.push(Input::WorkerGone(peer));
                        }
                    }
                    Action::Publish { topic, event } => {
                        let header = AgentToSubscriber::from(event).encode();
                        let sent = self
                            .sockets
                            .events
                            .send(topic.name().as_bytes(), &[header.into()]);
                        if let Err(error) = sent {
                            self.core.count("events_dropped", 1);
                            debug!(%error, "an event was dropped");
                        }
                    }
                    Action::Record { record, .. } => self.records.push(record),
                    Action::Look { worker, process } => {
                        if self.is_over(&process) {
                            gone.push(Input::ProcessGone { worker });
                        }
                    }
                    Action::Spill { values } => self.spiller.ask(values),
                    Action::FellBehind { incarnation, message } => {
                        tracing::error!("{message}");
                        if let Some(journal) = &self.journal {
                            journal.fell_behind(incarnation);
                        }
                        self.behind = Some(message);
                    }
                    Action::LogLevels { levels } => crate::logging::set_levels(&levels),
                    Action::Exit => self.exit = true,
                }
            }
            for input in gone {
                self.input(input);
            }
        }
        // Without a journal the core makes no records.
        if let Some(journal) = &self.journal {
            journal.append(&mut self.records);
        }
    }
}

/// Whether a send says that the peer is gone. Any other failure is as good as that: the peer cannot be
/// spoken to, and what it holds is settled when it comes back or is lost.
fn unreachable(whom: &str, what: &str, sent: Result<(), SendError>) -> bool {
    match sent {
        Ok(()) => false,
        Err(SendError::Gone) => true,
        Err(error) => {
            warn!(%error, what, "cannot send to a {whom}");
            true
        }
    }
}

/// Whether a connection of the socket has ended since it was last asked.
fn closed(socket: &mut Router) -> Result<bool, TransportError> {
    let mut closed = false;
    while let Some(event) = socket.connection_event()? {
        closed |= matches!(event, ConnectionEvent::Closed);
        if let ConnectionEvent::Denied { status } = event {
            tracing::info!(status, "a stranger's connection is refused");
        }
    }
    Ok(closed)
}
