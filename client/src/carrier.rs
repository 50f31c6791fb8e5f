//! Between the machine and the user's handles: what a session's thread does apart from sockets.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use scalems_protocol::Bytes;
use scalems_protocol::client::ClientToAgent;
use scalems_protocol::event::Topic;

use crate::array::ArrayCell;
use crate::batch::{Batch, Listener};
use crate::events::EventQueue;
use crate::intake::{TakenItem, TopicChange};
use crate::machine::{
    Call, CallFault, CallKey, Config, Done, Input, Machine, Micros, Output, Pack, PackKey, SessionEnd,
    TaskFault, Update,
};
use crate::pending::ReplyCell;
use crate::result::UnclaimedResults;
use crate::shared::{Shared, lock, run_callback};

/// What the one who carries a session's messages has to do.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "nearly all of them are messages")]
pub enum Carried {
    /// Send to the agent.
    Send(ClientToAgent, Vec<Bytes>),
    /// Subscribe to a topic of its events.
    Subscribe(Topic),
    /// End the subscription.
    Unsubscribe(Topic),
}

/// The other end of a [`crate::Session`] that has no socket of its own: whoever has it carries the messages.
/// For tests, benchmarks and simulators; sessions with sockets have a thread that does the same.
///
/// ```
/// use scalems_client::machine::{Config, Input};
/// use scalems_client::{Carried, Session, Task};
///
/// let (session, mut carrier) = Session::carried(Config::default());
/// let handle = session.submit(Task::new("scalems.noop")).unwrap();
/// let mut sent = Vec::new();
/// carrier.step(0, [Input::Connected], &mut sent);
/// assert!(matches!(&sent[..], [Carried::Send(..)]), "hello comes first");
/// assert!(!handle.is_done());
/// ```
pub struct Carrier {
    shared: Arc<Shared>,
    machine: Machine,
    targets: HashMap<PackKey, Target>,
    replies: HashMap<CallKey, Arc<ReplyCell>>,
    topics: BTreeMap<Topic, Vec<Arc<EventQueue>>>,
    out: Vec<Output>,
    told: Vec<Listener>,
    /// Whether callbacks are left for a later step.
    holds_callbacks: bool,
    /// Tasks without a result.
    open: u64,
}

/// What the machine is told of something that was taken up.
enum Kept {
    Pack(Pack),
    Call(CallKey, Call),
}

/// Where the results of a pack go.
enum Target {
    Batch(Arc<Batch>, u32),
    Array(Arc<ArrayCell>, u32),
}

impl Carrier {
    pub(crate) fn new(shared: Arc<Shared>, config: Config, now: Micros) -> Self {
        Self {
            shared,
            machine: Machine::new(config, now),
            targets: HashMap::new(),
            replies: HashMap::new(),
            topics: BTreeMap::new(),
            out: Vec::new(),
            told: Vec::new(),
            holds_callbacks: false,
            open: 0,
        }
    }

    /// One round: takes up what users have submitted, takes in what happened, adds to `carried` what is to be
    /// done, resolves handles, calls callbacks.
    pub fn step(&mut self, now: Micros, inputs: impl IntoIterator<Item = Input>, carried: &mut Vec<Carried>) {
        let mut out = std::mem::take(&mut self.out);
        for input in inputs {
            if matches!(input, Input::Disconnected) {
                self.shared.set_present(false);
            }
            self.machine.handle(now, input, &mut out);
        }
        self.take_up(now, &mut out);
        self.machine.flush(now, &mut out);
        // Before handles are resolved: whoever has seen a result waits for that one too.
        let mut rings = self.shared.set_provisional(self.machine.provisional());
        for output in out.drain(..) {
            rings |= self.done(now, output, carried);
        }
        self.out = out;
        self.shared
            .backlog_bytes
            .store(self.machine.backlog_bytes(), Ordering::Relaxed);
        self.shared.open.store(self.open, Ordering::Relaxed);
        rings |= self.shared.set_settled(self.machine.is_settled());
        if rings {
            self.shared.ring();
        }
        self.tell();
    }

    fn tell(&mut self) {
        for listener in std::mem::take(&mut self.told) {
            match listener {
                Listener::Waker(waker) => waker.wake(),
                callback @ Listener::Callback(_) if self.holds_callbacks => self.told.push(callback),
                Listener::Callback(callback) | Listener::Notice(callback) => run_callback(callback),
            }
        }
    }

    /// Whether callbacks are left for whoever takes the next step and does not hold them.
    pub(crate) fn hold_callbacks(&mut self, hold: bool) {
        self.holds_callbacks = hold;
    }

    /// When [`Self::step`] has to be called again though nothing happens.
    pub fn deadline(&self, now: Micros) -> Option<Micros> {
        self.machine.deadline(now)
    }

    /// The session's machine, to look at.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// The topics that are listened to.
    pub(crate) fn topics(&self) -> impl Iterator<Item = &Topic> {
        self.topics.keys()
    }

    /// Whether the agent has let the session in and said that it keeps no journal.
    pub(crate) fn keeps_no_journal(&self) -> bool {
        self.shared.attached().is_some_and(|attached| !attached.journal)
    }

    fn take_up(&mut self, now: Micros, out: &mut Vec<Output>) {
        let taken = self.shared.take();
        for item in taken.items {
            let input = match self.keep(item) {
                Kept::Pack(pack) => Input::Submit(pack),
                Kept::Call(key, call) => Input::Call(key, call),
            };
            self.machine.handle(now, input, out);
        }
        for change in taken.topics {
            self.topic(now, change, out);
        }
        for key in taken.released {
            self.machine.handle(now, Input::Release(key), out);
        }
        if let Some(reason) = taken.goodbye {
            self.machine.handle(now, Input::Goodbye { reason }, out);
        }
    }

    /// Keeps what is waited for, and gives what the machine is told.
    fn keep(&mut self, item: TakenItem) -> Kept {
        match item {
            TakenItem::Tasks(pack, batch) => {
                self.open += u64::from(pack.count);
                self.targets.insert(pack.key, Target::Batch(batch, pack.count));
                Kept::Pack(pack)
            }
            TakenItem::Array(pack, cell) => {
                self.open += u64::from(pack.count);
                self.targets.insert(pack.key, Target::Array(cell, pack.count));
                Kept::Pack(pack)
            }
            TakenItem::Call(key, call, reply) => {
                self.replies.insert(key, reply);
                Kept::Call(key, call)
            }
        }
    }

    fn topic(&mut self, now: Micros, change: TopicChange, out: &mut Vec<Output>) {
        let input = match change {
            TopicChange::Listen(_, queue) if self.machine.over().is_some() => {
                queue.end();
                // Whoever waits for it looks again.
                self.shared.ring();
                return;
            }
            TopicChange::Listen(topic, queue) => {
                let queues = self.topics.entry(topic.clone()).or_default();
                queues.push(queue);
                // One more listener of a topic that runs needs its state as well.
                if queues.len() == 1 {
                    Input::Listen(topic)
                } else {
                    Input::Refresh(topic)
                }
            }
            TopicChange::Unlisten(topic) => {
                let Some(queues) = self.topics.get_mut(&topic) else {
                    return;
                };
                queues.retain(|queue| !queue.is_ended());
                if !queues.is_empty() {
                    return;
                }
                self.topics.remove(&topic);
                Input::Unlisten(topic)
            }
        };
        self.machine.handle(now, input, out);
    }

    /// Does what the machine wants done. Returns whether somebody may wait for it.
    fn done(&mut self, now: Micros, output: Output, carried: &mut Vec<Carried>) -> bool {
        match output {
            Output::Send(message, blobs) => carried.push(Carried::Send(message, blobs)),
            Output::Subscribe(topic) => carried.push(Carried::Subscribe(topic)),
            Output::Unsubscribe(topic) => carried.push(Carried::Unsubscribe(topic)),
            Output::Resolve { pack, lo, hi, done } => {
                self.resolve(pack, lo, hi, done);
                return true;
            }
            Output::Named {
                pack,
                lo,
                hi,
                submission,
                index,
                step,
            } => match self.targets.get(&pack) {
                Some(Target::Batch(batch, _)) => batch.add_name(lo, hi, submission, index, step),
                Some(Target::Array(cell, _)) => cell.name(submission),
                None => {}
            },
            Output::Noted { pack, note } => match self.targets.get(&pack) {
                Some(Target::Batch(batch, _)) => batch.add_note(note),
                Some(Target::Array(cell, _)) => cell.add_note(note),
                None => {}
            },
            Output::Reply(key, reply) => {
                let waker = self.replies.remove(&key).and_then(|cell| cell.set(*reply));
                self.told.extend(waker.map(Listener::Waker));
                return true;
            }
            Output::Attached(attached) => {
                tracing::debug!(pilot = %attached.pilot_name, session = attached.session, "attached");
                self.shared.set_attached(attached);
                return true;
            }
            Output::Unclaimed { origin, group } => {
                if let Some(results) = UnclaimedResults::new(origin.request, group) {
                    self.shared.add_unclaimed(results);
                }
                return true;
            }
            Output::Complaint(refusal) => tracing::warn!(%refusal, "the agent complains"),
            Output::Update(topic, update) => {
                self.update(now, &topic, &update);
                return true;
            }
            Output::Over(end) => {
                self.over(&end);
                return true;
            }
        }
        false
    }

    fn resolve(&mut self, pack: PackKey, lo: u32, hi: u32, done: Done) {
        let target = self
            .targets
            .get_mut(&pack)
            .expect("what is resolved was submitted and not resolved");
        let left = match target {
            Target::Batch(batch, left) => {
                batch.end(lo, hi, &done, &mut self.told);
                left
            }
            Target::Array(cell, left) => {
                cell.end(lo, hi, done, &mut self.told);
                left
            }
        };
        *left -= hi - lo;
        self.open -= u64::from(hi - lo);
        if *left == 0 {
            self.targets.remove(&pack);
        }
    }

    fn update(&mut self, now: Micros, topic: &Topic, update: &Update) {
        let Some(queues) = self.topics.get(topic) else {
            return;
        };
        let mut behind = false;
        for queue in queues {
            if queue.calls_back() {
                let (queue, update) = (Arc::clone(queue), update.clone());
                self.told
                    .push(Listener::Callback(Box::new(move || queue.call(update))));
            } else {
                behind |= queue.push(update.clone());
            }
        }
        if behind {
            let mut out = Vec::new();
            self.machine.handle(now, Input::Refresh(topic.clone()), &mut out);
            assert!(
                out.is_empty(),
                "asking for a topic's state says nothing before the flush"
            );
        }
        if matches!(update, Update::Refused(_)) {
            self.topics.remove(topic);
        }
    }

    fn over(&mut self, end: &SessionEnd) {
        tracing::debug!(%end, "the session is over");
        lock(&self.shared.intake).end(end);
        self.shared.set_over(end);
        for queue in std::mem::take(&mut self.topics).into_values().flatten() {
            queue.end();
        }
    }
}

impl Drop for Carrier {
    /// Whoever holds a handle must not wait for somebody who is gone. The machine is not asked: this may be
    /// because it panicked.
    fn drop(&mut self) {
        self.holds_callbacks = false;
        let end = self.machine.over().cloned();
        let end =
            end.unwrap_or_else(|| SessionEnd::Failed("whoever carried its messages is gone".to_owned()));
        self.over(&end);
        // Nothing gets in from here on.
        let taken = self.shared.take();
        for item in taken.items {
            self.keep(item);
        }
        let fault = Done::Failed(Arc::new(TaskFault::SessionEnded(end.clone())));
        for target in std::mem::take(&mut self.targets).into_values() {
            match target {
                Target::Batch(batch, _) => batch.abandon(&fault, &mut self.told),
                Target::Array(cell, _) => cell.abandon(&fault, &mut self.told),
            }
        }
        for cell in std::mem::take(&mut self.replies).into_values() {
            let waker = cell.set(Err(CallFault::SessionEnded(end.clone())));
            self.told.extend(waker.map(Listener::Waker));
        }
        for change in taken.topics {
            if let TopicChange::Listen(_, queue) = change {
                queue.end();
            }
        }
        self.shared.ring();
        self.tell();
    }
}
