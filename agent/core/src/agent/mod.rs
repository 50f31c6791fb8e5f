//! The agent's machine.
//!
//! [`Agent::handle`] takes one input in, [`Agent::flush`] decides what all that came in together leads to:
//! leases, deliveries, answers to waits, events. The shell drains its sockets into `handle` and flushes once
//! a round, so batches form under load and nothing waits when it is idle.

mod again;
mod answers;
mod behind;
mod bringing;
mod cancel;
mod clients;
mod ended;
mod events;
mod faults;
mod filters;
mod grant;
mod health;
mod listing;
mod log_levels;
mod open;
mod output;
mod progress;
mod reads;
mod requests;
mod restore;
mod returning;
mod select;
mod spill;
mod submit;
mod timers;
mod workers;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use scalems_protocol::client::Durable;
use scalems_protocol::task::{CORES, GPUS, MEMORY};

use crate::interface::{Action, Config, Input, Micros, Peer};
use crate::queue::Queue;
use crate::record::Record;
use crate::resources::{Amounts, Kinds};
use crate::session::{Attachment, Session};
use crate::task::Tasks;
use crate::worker::{Standing, Worker};
use answers::Answers;
use events::Events;
use faults::Faults;
use health::Measured;
use output::Readings;
use progress::Words;
use reads::Waiting;
use requests::Requests;
use restore::Reserved;
pub use restore::Restore;
use returning::Returning;
use spill::Spilling;
use timers::{Timer, Timers};

/// Numbers of workers in each life: far more than ever join.
const WORKERS_A_LIFE: u32 = 1 << 16;

/// What was refused, dropped or noticed, by name. Shown by `status`.
type Counters = BTreeMap<&'static str, u64>;

/// A worker's report that is told of as recorded once the record is on disk.
#[derive(Clone, Debug)]
struct Reported {
    record: u64,
    worker: u32,
    report: u64,
}

/// The agent's machine.
#[derive(Clone, Debug)]
pub struct Agent {
    config: Config,
    /// The incarnation, as slots have it.
    life: u16,
    /// When this life began.
    begun: Micros,
    now: Micros,
    tasks: Tasks,
    queue: Queue,
    kinds: Kinds,
    sessions: BTreeMap<u64, Session>,
    session_names: BTreeMap<String, u64>,
    attachments: BTreeMap<u64, Attachment>,
    /// The attachment that each holder's token is for.
    holders: BTreeMap<u64, u64>,
    clients: BTreeMap<Peer, u64>,
    workers: BTreeMap<u32, Worker>,
    worker_peers: BTreeMap<Peer, u32>,
    /// What workers that ever joined could do, each kind of worker once.
    seen: Vec<(BTreeMap<String, bool>, Amounts)>,
    /// Numbers of sessions, attachments and holders.
    next_number: u64,
    next_worker: u32,
    /// Workers of the life before that are neither back nor lost. As long as there are some, what that life had
    /// not ended waits: they may have it.
    coming: BTreeSet<u32>,
    /// Those that did not come and may still run something, and when they were last heard of.
    absent: BTreeMap<u32, Micros>,
    /// Submissions of the life before that wait for those.
    held_back: BTreeSet<u64>,
    /// Submissions of before of which a task that has had an attempt waits for what it runs after, or has waited.
    tried_before: BTreeSet<u64>,
    /// How many workers have joined in this life.
    joined: u32,
    links: u64,
    timers: Timers,
    events: Events,
    faults: Faults,
    measured: Measured,
    /// Tasks that have ended in this life.
    ended_here: u64,
    waiting: Vec<Waiting>,
    readings: Readings,
    words: Words,
    requests: Requests,
    counters: Counters,
    /// Submissions whose dependents have to be looked at, and which of their offsets ended.
    settling: VecDeque<(u64, u32, u32)>,
    /// Submissions of which more tasks have failed than may.
    failing: VecDeque<u64>,
    /// Tasks that were added and wait for their record to be on disk: the record, the submission, and which.
    added: VecDeque<(u64, u64, u32, u32)>,
    /// Submissions that have ended, oldest first.
    ended: VecDeque<u64>,
    ended_tasks: u64,
    /// Workers with something to be sent.
    outgoing: BTreeSet<u32>,
    /// Workers that are to be told what is recorded.
    outgoing_recorded: BTreeSet<u32>,
    /// Attachments with results to be delivered.
    delivering: BTreeSet<u64>,
    /// Whether something changed that may let a task start.
    schedule: bool,
    /// A class whose first task was passed over for too long, and the worker that is kept free for it.
    reserved: Option<(usize, u32)>,
    records: u64,
    durable: u64,
    /// The last record when this life began.
    begun_at: u64,
    /// Why nothing is taken in any more: the journal ends before what a peer has seen.
    behind: Option<String>,
    numbers: Reserved,
    disk_full: bool,
    answers: Answers,
    reported: VecDeque<Reported>,
    /// The last number that submissions of the life before may have.
    before: u64,
    /// The last submission that left a record in them.
    last_recorded: u64,
    /// What is said again, and what workers have of it.
    returning: Returning,
    /// Groups of results that wait for clients of the life before.
    kept: usize,
    /// Attachments that may not know of all of their deliveries whether they are on disk, and when they are told.
    untold: BTreeSet<u64>,
    tell_at: Option<Micros>,
    stopping: Option<Stopping>,
    /// What workers that join are told to log, if not what they were started with.
    log_levels: String,
    spilling: Spilling,
    /// The time of the last input or tick, to notice pauses of our own.
    heard: Micros,
    exited: bool,
}

#[derive(Clone, Copy, Debug)]
struct Stopping {
    until: Micros,
    workers_told: bool,
    /// When it ends at the latest, once all clients were told.
    leave_at: Option<Micros>,
}

impl Agent {
    /// An agent that begins its life at time 0.
    pub fn new(config: Config) -> Self {
        let mut kinds = Kinds::default();
        for kind in [CORES, GPUS, MEMORY] {
            kinds.intern(kind);
        }
        let life = u16::try_from(config.incarnation)
            .expect("the shell begins no life whose workers have no numbers");
        Self {
            life,
            links: config.link_seed,
            begun: 0,
            now: 0,
            tasks: Tasks::default(),
            queue: Queue::default(),
            kinds,
            sessions: BTreeMap::new(),
            session_names: BTreeMap::new(),
            attachments: BTreeMap::new(),
            holders: BTreeMap::new(),
            clients: BTreeMap::new(),
            workers: BTreeMap::new(),
            worker_peers: BTreeMap::new(),
            seen: Vec::new(),
            next_number: 0,
            // A worker's number is worth its token: none is given in two lives, of which there are 65,535 at most.
            next_worker: u32::from(life - 1) * WORKERS_A_LIFE,
            coming: BTreeSet::new(),
            absent: BTreeMap::new(),
            held_back: BTreeSet::new(),
            tried_before: BTreeSet::new(),
            joined: 0,
            timers: Timers::default(),
            events: Events::default(),
            faults: Faults::default(),
            measured: Measured::default(),
            ended_here: 0,
            waiting: Vec::new(),
            readings: Readings::default(),
            words: Words::default(),
            requests: Requests::default(),
            counters: Counters::new(),
            settling: VecDeque::new(),
            failing: VecDeque::new(),
            added: VecDeque::new(),
            ended: VecDeque::new(),
            ended_tasks: 0,
            outgoing: BTreeSet::new(),
            outgoing_recorded: BTreeSet::new(),
            delivering: BTreeSet::new(),
            schedule: false,
            reserved: None,
            records: 0,
            durable: 0,
            begun_at: 0,
            behind: None,
            numbers: Reserved::default(),
            disk_full: false,
            answers: Answers::default(),
            reported: VecDeque::new(),
            before: 0,
            last_recorded: 0,
            returning: Returning::default(),
            kept: 0,
            untold: BTreeSet::new(),
            tell_at: None,
            stopping: None,
            log_levels: String::new(),
            spilling: Spilling::default(),
            heard: 0,
            exited: false,
            config,
        }
    }

    /// Takes one input in. Urgent answers are pushed to `out`; the rest comes with the next flush.
    pub fn handle(&mut self, now: Micros, input: Input, out: &mut Vec<Action>) {
        self.advance(now);
        self.worker_has_seen(&input, out);
        if self.is_deaf_to(&input) {
            return;
        }
        match input {
            Input::Client {
                peer,
                role,
                message,
                blobs,
            } => self.client(peer, role, message, blobs, out),
            Input::Undecoded { peer, refused } => self.undecoded(peer, refused, out),
            Input::Worker { peer, message, blobs } => self.worker(peer, message, &blobs, out),
            Input::Beat(beat) => self.beat(&beat, out),
            Input::ClientGone(peer) => self.client_gone(peer),
            Input::WorkerGone(peer) => self.worker_gone(peer),
            Input::SomeClientGone => self.ping_clients(out),
            Input::SomeWorkerGone => self.ping_all(out),
            Input::Subscribed(topic) => self.subscribed(topic, out),
            Input::Unsubscribed(topic) => self.unsubscribed(&topic),
            Input::Health(health) => self.publish_health(*health, out),
            Input::Durable(number) => {
                // Some tasks wait until their worker's name is on disk.
                let joins = |worker: &Worker| worker.joined > self.durable;
                self.schedule |= self.workers.values().any(joins);
                self.durable = self.durable.max(number);
            }
            Input::DiskFull(full) => self.disk_is_full(full),
            Input::Spilled(values) => self.spilled(values),
            Input::ProcessGone { worker } => self.process_gone(worker, out),
            Input::Stop { drain_ms } => self.stop(drain_ms),
        }
    }

    /// Decides what all that came in leads to. Call it after each round of inputs and at each deadline.
    pub fn flush(&mut self, now: Micros, out: &mut Vec<Action>) {
        self.advance(now);
        self.heard = self.now;
        if self.behind.is_some() {
            return self.flush_behind(out);
        }
        self.run_timers(out);
        self.take_returned(out);
        self.begin_added(out);
        self.settle(out);
        self.end_failing(out);
        if self.schedule {
            self.schedule = false;
            self.grant();
        }
        self.note_recorded();
        if self.disk_full {
            for peer in self.answers.release_reads(self.mark(), out) {
                self.welcomed(peer, out);
            }
        }
        for peer in self.answers.release(self.now, self.durable, out) {
            self.welcomed(peer, out);
        }
        self.send_leases(out);
        let mut deliveries = Vec::new();
        self.deliver(&mut deliveries);
        self.tell_lasting(&mut deliveries);
        self.answers.join(self.durable, &mut deliveries);
        out.append(&mut deliveries);
        self.spill(out);
        self.answer_waits(out);
        self.end_readings(out);
        self.advance_requests(out);
        self.forget_oldest(out);
        self.publish(out);
        self.publish_faults(out);
        self.publish_progress(out);
        self.advance_stop(out);
        self.send_recorded(out);
    }

    /// When `flush` has to be called next even if nothing comes in.
    pub fn deadline(&self) -> Option<Micros> {
        let waits = self.waiting.iter().map(|waiting| waiting.until).min();
        let answers = self.answers.deadline();
        [
            self.timers.next(),
            self.events.deadline(),
            waits,
            answers,
            self.tell_at,
            self.readings.deadline(),
            self.words.deadline(),
            self.requests.deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// All tasks by state: for tests and the simulator.
    pub fn counts(&self) -> scalems_protocol::client::Counts {
        self.tasks.counts
    }

    /// Counters of what was refused or dropped.
    pub fn counters(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.counters.iter().map(|(name, count)| (*name, *count))
    }

    /// Adds to a counter that the shell keeps here, such as frames it refused.
    pub fn count(&mut self, what: &'static str, times: u64) {
        *self.counters.entry(what).or_default() += times;
    }

    fn advance(&mut self, now: Micros) {
        self.now = self.now.max(now);
        // After a pause of our own every peer gets a fresh period: what they sent meanwhile is still in
        // the sockets (R6). With workers there is a deadline each beat, so less than two is no pause.
        let pause = (self.lost_after() / 2).max(2 * self.beat_every());
        let paused = self.now - self.heard;
        if paused > pause {
            for worker in self.workers.values_mut() {
                worker.heard = self.now;
            }
            self.stalled(paused);
        }
        self.heard = self.now;
    }

    /// The agent did nothing for so long. Without workers it may have had nothing to do.
    fn stalled(&mut self, paused: Micros) {
        if self
            .workers
            .values()
            .all(|worker| worker.standing != Standing::Active)
        {
            return;
        }
        let (whole, tenths) = (paused / 1_000_000, paused / 100_000 % 10);
        self.alarm(
            "stalled",
            self.config.pilot_name.clone(),
            format!(
                "the agent did nothing for {whole}.{tenths} s: it was halted, or its host or disk had no time for it; no worker counts as silent for that"
            ),
        );
    }

    fn disk_is_full(&mut self, full: bool) {
        self.disk_full = full;
        if full {
            self.alarm(
                "disk_full",
                self.config.pilot_name.clone(),
                "there is no room for the journal: nothing new is taken in, and goes on by itself once there is room".to_owned(),
            );
        }
    }

    /// The shell did not listen for a while: what peers sent meanwhile is still in the sockets (R6).
    pub fn did_not_listen(&mut self, now: Micros) {
        self.advance(now);
        for worker in self.workers.values_mut() {
            worker.heard = self.now;
        }
    }

    const fn lost_after(&self) -> Micros {
        self.config.lost_ms * 1_000
    }

    const fn beat_every(&self) -> Micros {
        self.config.beat_ms * 1_000
    }

    /// Says, applies and journals a lasting change.
    fn commit(&mut self, record: Record, out: &mut Vec<Action>) {
        if self.behind.is_some() {
            return;
        }
        self.tasks.apply(&record);
        self.records += 1;
        if self.config.journal {
            out.push(Action::Record {
                number: self.records,
                record,
            });
        } else {
            self.durable = self.records;
        }
    }

    const fn durability(&self) -> Durable {
        if !self.config.journal {
            Durable::None
        } else if self.durable == self.records {
            Durable::Yes
        } else {
            Durable::Pending
        }
    }

    /// Workers may be told of what has reached the disk.
    fn note_recorded(&mut self) {
        // What a worker reported and is kept here is in no record.
        if self.kept > 0 {
            return;
        }
        let durable = self.durable;
        while let Some(reported) = self.reported.pop_front_if(|reported| reported.record <= durable) {
            self.tell_recorded(reported.worker, reported.report);
        }
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    fn stop(&mut self, drain_ms: u64) {
        let until = self.now.saturating_add(drain_ms.saturating_mul(1_000));
        let sooner = self.stopping.is_none_or(|stopping| until < stopping.until);
        if sooner {
            self.stopping = Some(Stopping {
                until,
                workers_told: false,
                leave_at: self.stopping.and_then(|stopping| stopping.leave_at),
            });
            self.timers.add(self.now, Timer::Stop);
            self.requests.stir();
        }
    }
}
