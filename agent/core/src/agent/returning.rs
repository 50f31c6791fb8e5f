//! What comes back to another life of the agent and left no record in the one before (R4): submissions that clients say
//! again, and leases of them that workers hold.
//!
//! A client says in its hello up to which request it will say again. Those wait until all workers of before are back, or
//! lost. The hello of a worker that holds leases of them waits until they are there; then they have the number again that
//! its leases bear, and what runs goes on. None of it waits for longer than clients may bring results back, and what
//! does not run only for as long as the workers of before are waited for.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use scalems_protocol::client::{ClientHello, ClientToAgent, NamedClientToAgent as Named};
use scalems_protocol::group::HeldRun;
use scalems_protocol::limits;
use scalems_protocol::state::TaskState;
use scalems_protocol::worker::{Ping, WorkerHello};

use super::Agent;
use crate::interface::{Action, Micros, Peer};

/// Data of messages that wait: with more they are taken in at once, and run anew.
const WAITING_BYTES: usize = 256 << 20;

/// In each life new holders of seats of before have numbers of requests of their own.
const REQUESTS_A_LIFE: u64 = 1 << 32;

/// What waits.
#[derive(Clone, Debug, Default)]
pub(super) struct Returning {
    /// Of workers that hold leases of submissions that are to come.
    hellos: BTreeMap<Peer, Unwelcome>,
    /// What clients said from the first request on that is said again, by their seats.
    said: BTreeMap<u64, VecDeque<(Peer, ClientToAgent, Vec<Bytes>)>>,
    /// Data of that.
    bytes: usize,
    /// Submissions that have a number of this life and were taken in before.
    again: BTreeSet<u64>,
    /// Somebody waits no more: what was listed there may go on elsewhere.
    stirred: bool,
}

/// A worker that is not welcome yet.
#[derive(Clone, Debug)]
struct Unwelcome {
    /// The number that it proves to have had.
    worker: u32,
    hello: WorkerHello,
    /// The last request of each seat that it waits for, and until when.
    last: BTreeMap<u64, (u64, Micros)>,
    /// Submissions that it lists.
    listed: BTreeSet<u64>,
    /// Of requests that are to come: the life that granted most, its number, and how many tasks there are at least.
    numbers: BTreeMap<(u64, u64), (u64, u64, u32)>,
}

impl Agent {
    /// Until then something may come back.
    fn return_until(&self) -> Micros {
        self.begun.saturating_add(limits::BRING_BACK_MS * 1_000)
    }

    /// Whether a submission was taken in by an earlier life, so that workers of before may have some of it.
    pub(super) fn is_inherited(&self, submission: u64) -> bool {
        self.is_of_life_before(submission) || self.returning.again.contains(&submission)
    }

    /// Whether a worker that is not welcome yet lists leases of this submission.
    pub(super) fn is_listed(&self, submission: u64) -> bool {
        let mut hellos = self.returning.hellos.values();
        hellos.any(|waiting| waiting.listed.contains(&submission))
    }

    /// A client takes a seat: what it will say again. What another one said there is taken in before it.
    pub(super) fn returns(&mut self, seat: u64, fresh: bool, hello: &ClientHello, out: &mut Vec<Action>) {
        let another_life = hello.incarnation != self.config.incarnation;
        if fresh {
            self.catch_up(seat, out);
        }
        if let Some(attachment) = self.attachments.get_mut(&seat) {
            if fresh {
                // A number that one before may have used, and that left no record, means nothing else.
                if attachment.repeats.is_none() {
                    let own = self.config.incarnation.saturating_mul(REQUESTS_A_LIFE);
                    attachment.requests.high = attachment.requests.high.max(own);
                }
                attachment.repeats = Some(0);
            } else if another_life {
                attachment.repeats = Some(hello.repeats);
            }
        }
    }

    /// A seat is no more, and what its client said and waits.
    pub(super) fn unsay(&mut self, seat: u64) {
        for (_, message, blobs) in self.returning.said.remove(&seat).into_iter().flatten() {
            self.returning.bytes -= weight(&message, &blobs);
        }
    }

    /// Whether a client may have said a request to an earlier life.
    fn is_said_again(&self, seat: u64, request: u64) -> bool {
        let repeats = self.attachments.get(&seat).and_then(|seat| seat.repeats);
        repeats.is_some_and(|repeats| request <= repeats)
    }

    /// Puts off what a client says again, and what it says behind that. What need not wait comes back.
    pub(super) fn put_off(
        &mut self,
        peer: Peer,
        seat: u64,
        message: ClientToAgent,
        blobs: Vec<Bytes>,
        out: &mut Vec<Action>,
    ) -> Option<(ClientToAgent, Vec<Bytes>)> {
        let again = matches!(&message, ClientToAgent::Named(Named::Submit(submit))
            if self.is_said_again(seat, submit.request));
        let waits = self.returning.said.contains_key(&seat) || (again && self.waits_for_workers());
        if !waits || matches!(message, ClientToAgent::Named(Named::Stop(_))) {
            return Some((message, blobs));
        }
        let leaves = matches!(message, ClientToAgent::Named(Named::Goodbye(_)));
        if leaves || self.returning.bytes + weight(&message, &blobs) > WAITING_BYTES {
            self.catch_up(seat, out);
            return Some((message, blobs));
        }
        self.returning.bytes += weight(&message, &blobs);
        self.returning
            .said
            .entry(seat)
            .or_default()
            .push_back((peer, message, blobs));
        None
    }

    /// Takes in what a seat's client has said and what waited.
    pub(super) fn catch_up(&mut self, seat: u64, out: &mut Vec<Action>) {
        for (peer, message, blobs) in self.returning.said.remove(&seat).into_iter().flatten() {
            self.returning.bytes -= weight(&message, &blobs);
            // It may have come back over another connection. What it asked over this one it asks again.
            let now = self.attachments.get(&seat).and_then(|attachment| attachment.peer);
            let asks = matches!(message, ClientToAgent::Named(Named::Ask(_)));
            if now == Some(peer) || !asks {
                self.client_says(now.unwrap_or(peer), seat, message, blobs, out);
            }
        }
    }

    /// Whether it is not known yet what all workers of before hold.
    fn waits_for_workers(&self) -> bool {
        let hellos = &self.returning.hellos;
        let listed = |number: &u32| hellos.values().any(|waiting| waiting.worker == *number);
        self.now < self.return_until() && self.coming.iter().any(|number| !listed(number))
    }

    /// Until when a lease waits for its submission: nobody loses much with one that does not run.
    fn keep_until(&self, held: &HeldRun) -> Micros {
        if held.state == TaskState::Running {
            self.return_until()
        } else {
            // The last of them is seen to be lost a beat or two later.
            let soon = self.lost_after().saturating_add(2 * self.beat_every());
            self.begun.saturating_add(soon).min(self.return_until())
        }
    }

    /// Whether a client may say a request again that is not known.
    fn is_expected(&self, seat: u64, request: u64, until: Micros) -> bool {
        self.now < until
            && self.stopping.is_none()
            && self.attachments.get(&seat).is_some_and(|seat| {
                let repeats = seat.repeats.unwrap_or(u64::MAX);
                (seat.requests.high + 1..=repeats).contains(&request)
            })
    }

    /// Whether some client may say something again.
    pub(super) fn is_any_expected(&self) -> bool {
        let mut seats = self.attachments.values();
        seats.any(|seat| seat.repeats.is_none_or(|repeats| repeats > seat.requests.high))
    }

    /// Whether a lease may be of a submission that its client will say again.
    fn may_be_said_again(&self, held: &HeldRun) -> bool {
        // What left no record has a number behind all that did.
        held.incarnation < self.config.incarnation
            && held.run.check().is_ok()
            && held.run.submission > self.last_recorded
            && self.is_of_life_before(held.run.submission)
            && self.tasks.get(held.run.submission).is_none()
            && self.is_expected(held.origin.session, held.origin.request, self.keep_until(held))
    }

    /// Lets a worker of before wait for its welcome if it holds what is to come. Whether it does.
    pub(super) fn let_wait(&mut self, peer: Peer, hello: &WorkerHello, out: &mut Vec<Action>) -> bool {
        self.no_welcome_for(peer);
        let Some(worker) = self.resumed(hello) else {
            return false;
        };
        self.no_welcome_for_worker(worker);
        let mut waiting = Unwelcome {
            worker,
            hello: hello.clone(),
            last: BTreeMap::new(),
            listed: hello.held.iter().map(|held| held.run.submission).collect(),
            numbers: BTreeMap::new(),
        };
        for held in hello.held.iter().filter(|held| self.may_be_said_again(held)) {
            let (seat, request) = (held.origin.session, held.origin.request);
            let (last, until) = waiting.last.entry(seat).or_default();
            *last = request.max(*last);
            *until = self.keep_until(held).max(*until);
            let number = waiting.numbers.entry((seat, request)).or_default();
            let count = held.run.hi.max(number.2);
            *number = (held.incarnation, held.run.submission, count).max((number.0, number.1, count));
        }
        if waiting.last.is_empty() {
            return false;
        }
        self.returning.hellos.insert(peer, waiting);
        if let Some(worker) = self.workers.get_mut(&worker) {
            worker.heard = self.now;
        }
        ping(peer, out);
        true
    }

    /// A worker waits for its welcome: what else it says is nothing new.
    pub(super) fn waits_for_welcome(&self, peer: Peer) -> bool {
        self.returning.hellos.contains_key(&peer)
    }

    /// A connection is gone, or says something new.
    pub(super) fn no_welcome_for(&mut self, peer: Peer) {
        self.returning.stirred |= self.returning.hellos.remove(&peer).is_some();
    }

    /// A worker is over, or has come over another connection.
    pub(super) fn no_welcome_for_worker(&mut self, number: u32) {
        let hellos = &mut self.returning.hellos;
        let before = hellos.len();
        hellos.retain(|_, waiting| waiting.worker != number);
        self.returning.stirred |= hellos.len() < before;
    }

    /// Neither are workers that wait for their welcome lost, nor is the agent to them.
    pub(super) fn still_there(&mut self, out: &mut Vec<Action>) {
        for (peer, waiting) in &self.returning.hellos {
            if let Some(worker) = self.workers.get_mut(&waiting.worker) {
                worker.heard = self.now;
            }
            ping(*peer, out);
        }
    }

    /// The number that a submission had which is said again: workers hold leases of it.
    pub(super) fn number_of_before(&self, seat: u64, request: u64, count: u32) -> Option<u64> {
        if self.returning.hellos.is_empty() || !self.is_said_again(seat, request) {
            return None;
        }
        let hellos = self.returning.hellos.values();
        let numbers = hellos.filter_map(|waiting| waiting.numbers.get(&(seat, request)));
        // A later life had it for longer.
        let (_, number, most) = numbers.max()?;
        (*most <= count && self.tasks.get(*number).is_none()).then_some(*number)
    }

    /// A submission is forgotten.
    pub(super) fn forgotten_again(&mut self, submission: u64) {
        self.returning.again.remove(&submission);
    }

    /// A submission was taken in: whether it was before, too.
    pub(super) fn taken_in(&mut self, seat: u64, request: u64, submission: u64) {
        if self.is_said_again(seat, request) && !self.is_of_life_before(submission) {
            self.returning.again.insert(submission);
        }
    }

    /// Takes in what has waited for long enough.
    pub(super) fn take_returned(&mut self, out: &mut Vec<Action>) {
        if !self.returning.said.is_empty() && !self.waits_for_workers() {
            for seat in self.returning.said.keys().copied().collect::<Vec<u64>>() {
                self.catch_up(seat, out);
            }
        }
        let peers = self.returning.hellos.iter();
        let ready: Vec<Peer> = peers
            .filter(|(_, waiting)| {
                let mut last = waiting.last.iter();
                !last.any(|(seat, (request, until))| self.is_expected(*seat, *request, *until))
            })
            .map(|(peer, _)| *peer)
            .collect();
        for peer in ready {
            if let Some(waiting) = self.returning.hellos.remove(&peer) {
                self.returning.stirred = true;
                self.worker_hello(peer, &waiting.hello, out);
            }
        }
        if std::mem::take(&mut self.returning.stirred) {
            self.go_on_again(out);
        }
    }
}

fn ping(peer: Peer, out: &mut Vec<Action>) {
    out.push(Action::ToWorker {
        peer,
        message: Ping::default().into(),
        blobs: Vec::new(),
    });
}

/// About what a message takes in memory.
fn weight(message: &ClientToAgent, blobs: &[Bytes]) -> usize {
    let header = match message {
        ClientToAgent::Envelope(envelope) => envelope.task.meta.len(),
        ClientToAgent::Named(Named::Submit(submit)) => submit.task.meta.len() + 4 * submit.ends.len(),
        ClientToAgent::Named(Named::Append(append)) => 4 * append.ends.len(),
        ClientToAgent::Named(Named::BringBack(brought)) => 1_024 * brought.groups.len(),
        ClientToAgent::Named(_) => 0,
    };
    4_096 + header + blobs.iter().map(Bytes::len).sum::<usize>()
}
