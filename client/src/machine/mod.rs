//! The session as a pure machine: no socket, clock, thread or randomness.
//!
//! Whoever drives it tells it what happens, lets it flush once per round, and does what comes out:
//!
//! ```
//! use scalems_client::machine::{Config, Input, Machine, Output};
//!
//! let mut machine = Machine::new(Config::default(), 0);
//! let mut out = Vec::new();
//! machine.handle(5, Input::Connected, &mut out);
//! machine.flush(5, &mut out);
//! assert!(matches!(&out[..], [Output::Send(hello, _)] if matches!(hello,
//!     scalems_protocol::client::ClientToAgent::Named(named) if named.name() == "hello")));
//! // Without any answer it wants to be called again, in time to say hello once more:
//! assert!(machine.deadline(5).is_some_and(|at| at <= 5 + Config::default().hello_us));
//! ```
//!
//! The rules that it keeps:
//!
//! - Every task of every pack is resolved exactly once, and every call is answered exactly once, in any
//!   order of answers, results, breaks and repeats.
//! - Changing requests are numbered without gaps from where the agent's welcome says, kept until they are
//!   answered, and sent again in order after a break.
//! - Individual tasks are at the agent only as the window allows; the rest waits here, in order, except that
//!   what depends on work of this session goes first. A task is sent only after all that it depends on, so
//!   what fills the window never waits for what is not in it.
//! - [`Machine::handle`] never sends; [`Machine::flush`] does. What gathers between two flushes goes together.

mod asks;
mod backlog;
mod bits;
mod cancel;
mod depend;
mod gather;
mod interface;
mod link;
mod packs;
mod provisional;
mod requests;
mod results;
mod topics;
mod window;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use scalems_protocol::client::{Acknowledge, AgentToClient, CancelDone, ClientToAgent, ForgetDone, Goodbye};

use asks::{Asker, Asks};
use backlog::Queues;
use bits::Bits;
use cancel::Job;
pub use interface::{
    Answered, Attached, Call, CallFault, CallKey, Config, Dependency, Done, Group, Input, Micros, Output,
    Pack, PackKey, SessionEnd, Shape, TaskFault, Update,
};
use link::Link;
use packs::Packs;
use provisional::Provisional;
use requests::{Request, Requests, Submission};
use topics::Topics;
use window::Window;

/// So many bytes of results are acknowledged at once: the agent keeps them until then.
const OWED_BYTES: u64 = 4 << 20;

/// A session with a pilot.
#[derive(Clone, Debug)]
pub struct Machine {
    config: Config,
    link: Link,
    packs: Packs,
    queues: Queues,
    window: Window,
    requests: Requests,
    /// Requests that have no number yet.
    unnumbered: VecDeque<Request>,
    /// What the next flush sends. Everything in it is kept elsewhere until it is answered.
    outbox: Vec<(ClientToAgent, Vec<Bytes>)>,
    jobs: BTreeMap<CallKey, Job>,
    /// Whether something happened that jobs wait for.
    jobs_stirred: bool,
    asks: Asks,
    topics: Topics,
    /// The last delivery that was taken in.
    taken: u64,
    /// The last delivery that the agent was told to be taken in.
    acknowledged: u64,
    /// What was taken in and not acknowledged, bytes, and since when.
    owed: Option<(u64, Micros)>,
    /// Results that the agent did not have on disk.
    provisional: Provisional,
    /// Which results of earlier processes were given to the user, by request.
    unclaimed: BTreeMap<u64, Bits>,
    counters: Counters,
    /// Since when the agent has something to say.
    awaited_since: Option<Micros>,
    over: Option<SessionEnd>,
}

/// What happened that should be rare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Deliveries that came again.
    pub repeated_deliveries: u64,
    /// Results for tasks that had one.
    pub repeated_results: u64,
    /// Answers to nothing that is open, results for nothing that was asked for.
    pub strays: u64,
    /// Batches that the agent had no room for, sent again later.
    pub window_full: u64,
    /// Times that the session was attached.
    pub attached: u64,
}

impl Machine {
    /// A session that begins now.
    pub fn new(config: Config, now: Micros) -> Self {
        let window = Window::new(config.window_tasks.max(1), config.window_bytes.max(1));
        Self {
            link: Link::new(now),
            config,
            packs: Packs::default(),
            queues: Queues::default(),
            window,
            requests: Requests::default(),
            unnumbered: VecDeque::new(),
            outbox: Vec::new(),
            jobs: BTreeMap::new(),
            jobs_stirred: false,
            asks: Asks::default(),
            topics: Topics::default(),
            taken: 0,
            acknowledged: 0,
            owed: None,
            provisional: Provisional::default(),
            unclaimed: BTreeMap::new(),
            counters: Counters::default(),
            awaited_since: None,
            over: None,
        }
    }

    /// Takes in what happened. Nothing is sent before the next [`Self::flush`].
    pub fn handle(&mut self, now: Micros, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Submit(pack) => self.submit(pack, out),
            Input::Release(pack) => self.packs.release(pack),
            Input::Call(key, call) => self.call(now, key, call, out),
            _ if self.over.is_some() => {}
            Input::Connected => {
                self.link.connected(now);
                self.outbox.clear();
            }
            Input::Disconnected => {
                self.link.disconnected(now);
                self.outbox.clear();
            }
            Input::Message(message, blobs) => self.message(now, message, blobs, out),
            Input::Event(event) => {
                if let Some(topic) = self.topics.event(event, out) {
                    self.asks.snapshot(now, topic);
                }
            }
            Input::Listen(topic) => self.topics.listen(topic, out),
            Input::Refresh(topic) => {
                if self.topics.refresh(&topic) {
                    self.asks.snapshot(now, topic);
                }
            }
            Input::Unlisten(topic) => self.topics.unlisten(topic, out),
            Input::Goodbye { reason } => {
                if self.link.is_attached() {
                    self.acknowledge(out);
                    out.push(Output::Send(Goodbye { reason }.into(), Vec::new()));
                }
                self.end(SessionEnd::Closed, out);
            }
            Input::End(end) => self.end(end, out),
            Input::Tick => self.timers(now, out),
        }
        self.settle(out);
        self.note_awaited(now);
    }

    /// Ends a round: sends what has gathered, as far as there is a connection and room.
    pub fn flush(&mut self, now: Micros, out: &mut Vec<Output>) {
        self.timers(now, out);
        if let Some(hello) = self.hello(now) {
            out.push(Output::Send(hello, Vec::new()));
        }
        // Withdrawing what was not sent needs no connection.
        self.run_jobs(out);
        if self.link.is_attached() && self.over.is_none() {
            self.send_all(now, out);
        }
        self.note_awaited(now);
    }

    fn send_all(&mut self, now: Micros, out: &mut Vec<Output>) {
        self.send_calls();
        self.send_packs(now, out);
        out.extend(
            self.outbox
                .drain(..)
                .map(|(message, blobs)| Output::Send(message, blobs)),
        );
        self.asks.send(now, out);
        // After the requests: what depends on a task that has just ended is not sent as depending on it, and
        // what was sent before is at the agent before it learns that it need not remember the task. Not with each
        // of them: it would be one message more.
        if let Some((bytes, since)) = self.owed
            && (now >= since.saturating_add(self.config.patience_us) || bytes >= OWED_BYTES)
        {
            self.acknowledge(out);
        }
    }

    /// Says what was taken in, if anything was since the last time.
    fn acknowledge(&mut self, out: &mut Vec<Output>) {
        self.owed = None;
        if self.taken > self.acknowledged {
            self.acknowledged = self.taken;
            let delivery = self.taken;
            out.push(Output::Send(Acknowledge { delivery }.into(), Vec::new()));
        }
    }

    /// When the machine has to be flushed again though nothing happens.
    pub fn deadline(&self, now: Micros) -> Option<Micros> {
        if self.over.is_some() {
            return None;
        }
        let link = self.link.deadline(&self.config);
        let probe = self.probe_at().filter(|_| !self.asks.is_probing());
        let hold = self
            .window
            .held_until(now)
            .filter(|_| self.packs.backlog_bytes > 0);
        let owed = self.owed.filter(|_| self.link.is_attached());
        let owed = owed.map(|(_, since)| since.saturating_add(self.config.patience_us));
        let look = self.asks.is_probing().then_some(self.link.look_at());
        [link, probe, look, self.asks.deadline(), hold, owed]
            .into_iter()
            .flatten()
            .min()
    }

    /// Why the session is over, if it is.
    pub fn over(&self) -> Option<&SessionEnd> {
        self.over.as_ref()
    }

    /// Whether the agent has let the session in and the connection stands, as far as is known.
    pub fn is_attached(&self) -> bool {
        self.link.is_attached()
    }

    /// Whether the agent has accepted, or refused, everything that was handed in.
    pub fn is_settled(&self) -> bool {
        let open = self.requests.is_empty() && self.unnumbered.is_empty() && self.jobs.is_empty();
        open && self.packs.backlog_bytes == 0
    }

    /// How many groups of results came that were not on disk, and how many of the first of them are by now.
    pub fn provisional(&self) -> (u64, u64) {
        self.provisional.counts()
    }

    /// Bytes of tasks that wait here, counted as [`Config::backlog_bytes`] limits them.
    pub fn backlog_bytes(&self) -> u64 {
        self.packs.backlog_bytes
    }

    /// Tasks and bytes that are unfinished at the agent and count for the window.
    pub fn in_window(&self) -> (u64, u64) {
        self.window.taken()
    }

    /// How many packs are remembered.
    pub fn packs(&self) -> usize {
        self.packs.len()
    }

    /// What happened that should be rare.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// When an agent that has something to say has been silent for too long. The time before it had does not
    /// count.
    fn probe_at(&self) -> Option<Micros> {
        let since = self.awaited_since.filter(|_| self.link.is_attached())?;
        Some(since.max(self.link.heard()) + self.config.probe_us)
    }

    fn note_awaited(&mut self, now: Micros) {
        self.awaited_since = self.awaits().then(|| self.awaited_since.unwrap_or(now));
    }

    /// Whether the agent has something to say yet.
    fn awaits(&self) -> bool {
        !self.window.is_empty() || !self.requests.is_empty() || self.asks.is_awaited()
    }

    fn timers(&mut self, now: Micros, out: &mut Vec<Output>) {
        if self.over.is_some() {
            return;
        }
        if self.link.wake(now) {
            self.asks.probe_anew(now);
        }
        if let Some(end) = self.link.overdue(now, &self.config) {
            return self.end(end, out);
        }
        for (asker, after_us) in self.asks.expired(now) {
            match asker {
                Asker::User(key) => reply(key, Err(CallFault::TimedOut { after_us }), out),
                Asker::Snapshot(topic) => {
                    if self.topics.refresh(&topic) {
                        self.asks.snapshot(now, topic);
                    }
                }
                Asker::Probe => return self.end(SessionEnd::Lost { after_us }, out),
            }
        }
        if self.probe_at().is_some_and(|at| now >= at) && !self.asks.is_probing() {
            self.asks.probe(now, self.config.give_up_us);
        }
    }

    fn call(&mut self, now: Micros, key: CallKey, call: Call, out: &mut Vec<Output>) {
        if let Some(end) = &self.over {
            return reply(key, Err(CallFault::SessionEnded(end.clone())), out);
        }
        match call {
            Call::Held {
                template,
                count,
                first,
                step,
                data,
                open,
                total,
            } => {
                let submission = Submission {
                    template,
                    count,
                    first,
                    step,
                    data,
                    held: Some(key),
                    open,
                    total,
                };
                self.request(now, Request::Submit(submission), out);
            }
            Call::Append { submission, data } => {
                let request = Request::Append {
                    submission,
                    data,
                    call: key,
                };
                self.request(now, request, out);
            }
            Call::Close { select } => self.request(now, Request::Close { select, call: key }, out),
            Call::Retry { select, repeat } => {
                let request = Request::Retry {
                    select,
                    repeat,
                    call: key,
                };
                self.request(now, request, out);
            }
            Call::Cancel {
                select,
                strength,
                reason,
            } => {
                self.request(
                    now,
                    Request::Cancel {
                        select,
                        strength,
                        reason,
                        call: key,
                        chosen: None,
                    },
                    out,
                );
            }
            Call::CancelTasks {
                tasks,
                strength,
                reason,
            } => {
                self.jobs.insert(key, Job::new(tasks, strength, reason));
                self.jobs_stirred = true;
            }
            Call::Forget { select } => self.request(now, Request::Forget { select, call: key }, out),
            Call::RequestWorkers { asked } => {
                self.request(now, Request::Workers { asked, call: key }, out);
            }
            Call::Starter { said, timeout_us } => self.asks.starter(now, key, said, timeout_us),
            Call::Ask { question, timeout_us } => self.asks.ask(now, key, question, timeout_us),
            Call::Stop {
                worker,
                drain_ms,
                timeout_us,
            } => self.asks.stop(now, key, worker, drain_ms, timeout_us),
            Call::LogLevels {
                worker,
                levels,
                timeout_us,
            } => self.asks.log_levels(now, key, worker, levels, timeout_us),
        }
    }

    /// Takes a request in after what was handed in before it, as far as that can go now: who cancels
    /// everything means the tasks that were submitted just before.
    fn request(&mut self, now: Micros, request: Request, out: &mut Vec<Output>) {
        if self.link.is_attached() {
            self.send_packs(now, out);
        }
        self.unnumbered.push_back(request);
        if self.link.is_attached() {
            self.send_calls();
        }
    }

    /// Numbers what was asked for, as far as the agent keeps answers.
    fn send_calls(&mut self) {
        while self.requests.has_room() {
            let Some(request) = self.unnumbered.pop_front() else {
                break;
            };
            self.outbox.push(self.requests.push(request));
        }
    }

    fn message(&mut self, now: Micros, message: AgentToClient, blobs: Vec<Bytes>, out: &mut Vec<Output>) {
        self.link.hear(now);
        self.link.saw(message.record());
        match message {
            AgentToClient::ClientWelcome(welcome) => self.welcomed(now, welcome, out),
            AgentToClient::Refused(refused) => self.refused(now, refused, out),
            AgentToClient::Detached(detached) => self.end(SessionEnd::Detached(detached.refusal), out),
            AgentToClient::Accepted(accepted) => self.accepted(accepted, out),
            AgentToClient::Appended(done) => {
                if let Some(Request::Append { call, .. }) = self.requests.get(done.request) {
                    let answered = Answered::Appended {
                        submission: done.submission,
                        first: done.first,
                        count: done.count,
                    };
                    reply(*call, Ok(answered), out);
                    self.requests.answer(done.request);
                } else {
                    self.counters.strays += 1;
                }
            }
            AgentToClient::Closed(done) => {
                if let Some(Request::Close { call, .. }) = self.requests.get(done.request) {
                    let (closed, before) = (done.closed, done.before);
                    reply(*call, Ok(Answered::Closed { closed, before }), out);
                    self.requests.answer(done.request);
                } else {
                    self.counters.strays += 1;
                }
            }
            AgentToClient::WorkersRequested(done) => {
                if let Some(Request::Workers { call, .. }) = self.requests.get(done.request) {
                    reply(*call, Ok(Answered::WorkersRequested { id: done.id }), out);
                    self.requests.answer(done.request);
                } else {
                    self.counters.strays += 1;
                }
            }
            // The journal's numbers are not for people.
            AgentToClient::CancelDone(done) => self.cancel_done(CancelDone { record: 0, ..done }, out),
            AgentToClient::ForgetDone(done) => match self.requests.get(done.request) {
                Some(Request::Forget { call, .. }) => {
                    let call = *call;
                    self.requests.answer(done.request);
                    reply(
                        call,
                        Ok(Answered::Forgotten(ForgetDone { record: 0, ..done })),
                        out,
                    );
                }
                _ => self.counters.strays += 1,
            },
            AgentToClient::Results(results) => self.results(now, results, &blobs, out),
            AgentToClient::Answer(answer) => match self.asks.take(answer.id) {
                Some(Asker::User(key)) => reply(key, Ok(Answered::Reply(answer.reply, blobs)), out),
                Some(Asker::Snapshot(topic)) => {
                    if self.topics.answer(&topic, Ok(answer.reply), out) {
                        self.asks.snapshot(now, topic);
                    }
                }
                Some(Asker::Probe) => {}
                None => self.counters.strays += 1,
            },
            AgentToClient::Lasts(lasts) => self.provisional.last(lasts.delivery),
            AgentToClient::BroughtBack(_) => self.provisional.brought(),
            // That it could be sent is all that the agent wanted to know.
            AgentToClient::ClientPing(_) => {}
        }
    }

    /// Says everything again that the agent may not have.
    fn send_again(&mut self) {
        self.outbox.clear();
        let session = self.link.session().unwrap_or_default();
        let again: Vec<_> = self.requests.again().collect();
        let said: BTreeSet<(u64, u64)> = again.iter().map(|(request, _)| (session, *request)).collect();
        // What has ended is said before anything that could end it otherwise.
        self.outbox.extend(self.provisional.others(&said));
        // What a request led to comes right behind it, so that it takes no room in the window.
        for (request, message) in again {
            self.outbox.push(message);
            self.outbox.extend(self.provisional.of(session, request));
        }
        if !said.is_empty() {
            self.outbox.extend(self.provisional.all());
        }
        self.asks.again();
    }

    /// The session is over: whatever is unfinished fails, whatever is open is answered.
    fn end(&mut self, end: SessionEnd, out: &mut Vec<Output>) {
        if self.over.is_some() {
            return;
        }
        let fault = Arc::new(TaskFault::SessionEnded(end.clone()));
        for (key, count) in self.packs.unfinished() {
            self.end_tasks(key, 0, count, &Done::Failed(Arc::clone(&fault)), out);
        }
        self.packs.stirred.clear();
        self.queues.clear();
        self.outbox.clear();
        self.window.clear();
        let fault = || Err(CallFault::SessionEnded(end.clone()));
        let requests: Vec<Request> = self.requests.drain().chain(self.unnumbered.drain(..)).collect();
        for request in requests {
            match request {
                Request::Submit(Submission { held: Some(call), .. })
                | Request::Append { call, .. }
                | Request::Close { call, .. }
                | Request::Workers { call, .. }
                | Request::Retry { call, .. }
                | Request::Forget { call, .. } => {
                    reply(call, fault(), out);
                }
                Request::Cancel {
                    call, chosen: None, ..
                } => reply(call, fault(), out),
                Request::Submit(_) | Request::Cancel { .. } => {}
            }
        }
        for key in std::mem::take(&mut self.jobs).into_keys() {
            reply(key, fault(), out);
        }
        for asker in self.asks.drain() {
            if let Asker::User(key) = asker {
                reply(key, fault(), out);
            }
        }
        self.link.end();
        self.over = Some(end.clone());
        out.push(Output::Over(end));
    }
}

fn reply(key: CallKey, reply: Result<Answered, CallFault>, out: &mut Vec<Output>) {
    out.push(Output::Reply(key, Box::new(reply)));
}
