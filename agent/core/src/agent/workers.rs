//! What workers say: joining, reports, beats, leaving; and what silence says.

mod holdings;
mod silence;

use bytes::Bytes;
use scalems_protocol::error::{Code, Refusal};
use scalems_protocol::group::{ResultGroup, Run};
use scalems_protocol::limits;
use scalems_protocol::state::{Strength, TaskState};
use scalems_protocol::worker::{
    AgentToWorker, Beat, ListHoldings, Ping, Recorded, Report, Revoke, WorkerRefused, WorkerStop,
    WorkerToAgent,
};

use super::Agent;
use super::ended::LeaseOver;
use crate::interface::{Action, Micros, Peer};
use crate::record::{Ended, Record, share};
use crate::task::Slot;
use crate::worker::{Held, Standing};

/// Reports after which a worker is told what is recorded even if no lease goes to it.
const RECORDED_EVERY: u64 = 32;
/// Bytes of results after which it is told.
const RECORDED_BYTES: u64 = 8 << 20;
/// Beats in a row that could not be compared, after which one is asked for over the reliable way.
const UNCOMPARED: u32 = 10;

/// The longest time that a group of results may say it ran: sums of it stay far within 64 bits.
const LONGEST_RUN: Micros = 1 << 56;

impl Agent {
    pub(super) fn worker(
        &mut self,
        peer: Peer,
        message: WorkerToAgent,
        blobs: &[Bytes],
        out: &mut Vec<Action>,
    ) {
        if let WorkerToAgent::WorkerHello(hello) = message {
            return self.worker_hello(peer, &hello, out);
        }
        if self.waits_for_welcome(peer) {
            return;
        }
        let number = self.worker_peers.get(&peer).copied();
        let Some(worker) = number
            .and_then(|number| self.workers.get_mut(&number))
            .filter(|worker| worker.lives())
        else {
            if !matches!(message, WorkerToAgent::WorkerGoodbye(_)) {
                Self::hello_first(peer, "this agent does not know this worker (any more)", out);
            }
            return;
        };
        worker.heard = self.now;
        let number = worker.number;
        match message {
            WorkerToAgent::Report(report) => self.report(number, peer, report, blobs, out),
            WorkerToAgent::Holdings(holdings) => self.holdings(number, &holdings, out),
            WorkerToAgent::Beat(beat) => self.beat(&beat, out),
            WorkerToAgent::Pong(_) => {}
            WorkerToAgent::OutputRead(read) => self.output_read(number, read, out),
            WorkerToAgent::TasksProgress(said) => self.progress(number, said),
            WorkerToAgent::WorkerGoodbye(goodbye) => {
                let reason = if goodbye.reason.is_empty() {
                    "it said goodbye"
                } else {
                    &goodbye.reason
                };
                self.worker_ends(number, Standing::Gone, reason, out);
            }
            WorkerToAgent::WorkerHello(_) => unreachable!("answered above"),
        }
    }

    fn hello_first(peer: Peer, why: &str, out: &mut Vec<Action>) {
        let refusal = Refusal::new(Code::HelloFirst, why);
        out.push(Action::ToWorker {
            peer,
            message: WorkerRefused { refusal }.into(),
            blobs: Vec::new(),
        });
    }

    fn report(&mut self, number: u32, peer: Peer, report: Report, blobs: &[Bytes], out: &mut Vec<Action>) {
        let worker = self.workers.get_mut(&number).expect("the worker was just found");
        if report.number != worker.received + 1 {
            // Something between us was lost: both sides begin anew from what the worker holds.
            let why = format!(
                "report {} came where {} was due",
                report.number,
                worker.received + 1
            );
            worker.standing = if worker.standing == Standing::Active {
                Standing::Suspect
            } else {
                worker.standing
            };
            self.worker_peers.remove(&peer);
            worker.peer = None;
            self.count("report_gaps", 1);
            return Self::hello_first(peer, &why, out);
        }
        worker.received = report.number;
        for run in &report.started {
            self.started(number, *run);
        }
        for group in report.results {
            self.result(number, group, blobs, out);
        }
        for run in &report.returned {
            self.returned(number, *run, out);
        }
        self.reported.push_back(super::Reported {
            record: self.records,
            worker: number,
            report: report.number,
        });
        self.schedule = true;
        let Some(worker) = self.workers.get_mut(&number) else {
            return;
        };
        worker.belief.mark_received(report.number);
        if let Some(beat) = worker.beat.take_if(|beat| beat.sent <= report.number) {
            self.compare(number, &beat, out);
        }
    }

    fn started(&mut self, number: u32, run: Run) {
        for held in self.held_by(number, run) {
            if held.state != TaskState::Leased {
                continue;
            }
            let tasks = u64::from(held.run.count());
            self.restate(number, held, Some(TaskState::Running));
            let slot = Slot {
                state: TaskState::Running,
                attempt: run.attempt,
                worker: number,
                incarnation: held.incarnation as u16,
                variant: held.variant,
            };
            self.tasks.set(run.submission, held.run.lo, held.run.hi, slot);
            if let Some(worker) = self.workers.get_mut(&number) {
                worker.leases.0 -= tasks;
                worker.leases.1 += tasks;
                worker.since.begin(held.run, self.now);
            }
            self.events.submission_changed(run.submission);
        }
        self.ghosts(number, run, Some(TaskState::Running));
    }

    /// The parts of a run that this worker holds a lease of.
    fn held_by(&self, number: u32, run: Run) -> Vec<Held> {
        let Some(submission) = self.tasks.get(run.submission) else {
            return Vec::new();
        };
        if run.lo >= run.hi || run.hi > submission.count() {
            return Vec::new();
        }
        let held = submission.slots.stretches(run.lo, run.hi);
        let held = held
            .into_iter()
            .filter(|stretch| stretch.value.is_held_by(number, run.attempt));
        held.map(|stretch| Held::of(run.submission, &stretch)).collect()
    }

    /// A worker's report changes what it should hold: what it held is in another state now, or over.
    fn restate(&mut self, number: u32, held: Held, now: Option<TaskState>) {
        if let Some(worker) = self.workers.get_mut(&number) {
            let now = now.map_or(0, |state| Held { state, ..held }.sum());
            worker.belief.report(held.sum(), now);
        }
    }

    fn result(&mut self, number: u32, group: ResultGroup, blobs: &[Bytes], out: &mut Vec<Action>) {
        let run = group.run;
        let data = match group.place.take(run.count(), blobs) {
            Ok(data) if run.check().is_ok() => data,
            _ => {
                self.count("malformed_results", 1);
                return;
            }
        };
        let known = self
            .tasks
            .get(run.submission)
            .is_some_and(|submission| submission.origin == group.origin);
        let mut held = if known {
            self.held_by(number, run)
        } else {
            Vec::new()
        };
        held.retain(|held| held.incarnation == group.incarnation);
        let mut taken = 0;
        for held in held {
            let part @ Run { lo, hi, .. } = held.run;
            let tasks = u64::from(part.count());
            taken += tasks;
            self.restate(number, held, None);
            self.vacate(number, held);
            self.ran(number, held);
            let data = data.part((lo - run.lo) as usize, (hi - run.lo) as usize);
            let ran_us = share(group.ran_us.min(LONGEST_RUN), hi - lo, run.count());
            self.learn(run.submission, ran_us / tasks);
            if let Some(worker) = self.workers.get_mut(&number) {
                worker.ended += tasks;
                worker.unrecorded_bytes += data.bytes.len() as u64;
            }
            let (ending, exit_code, error) = (group.ending, group.exit_code, group.error.clone());
            self.attempt_ended(
                Ended {
                    run: part,
                    ending,
                    data,
                    exit_code,
                    ran_us,
                    error,
                    variant: held.variant,
                    worker: number,
                    at: 0,
                },
                out,
            );
        }
        if taken < u64::from(run.count()) {
            self.ghosts(number, run, None);
            self.count("superseded_results", u64::from(run.count()) - taken);
        }
    }

    fn returned(&mut self, number: u32, run: Run, out: &mut Vec<Action>) {
        for held in self.held_by(number, run) {
            self.restate(number, held, None);
            self.vacate(number, held);
            let over = self.over(number, held, false);
            self.lease_over(over, "it was handed back", out);
        }
        self.ghosts(number, run, None);
    }

    /// Leases of a worker are over without a result. `lost`: since it is, which is charged to those that ran.
    pub(super) fn over(&mut self, number: u32, held: Held, lost: bool) -> LeaseOver {
        LeaseOver {
            run: held.run,
            charged: lost && held.state == TaskState::Running,
            ran_us: self.ran(number, held),
            variant: held.variant,
        }
    }

    /// Leases of a worker are over. Returns how long they have run together, as far as is known.
    pub(super) fn ran(&mut self, number: u32, held: Held) -> Micros {
        let now = self.now;
        let worker = self.workers.get_mut(&number);
        worker.map_or(0, |worker| worker.since.end(held.run, now))
    }

    /// How long tasks of a class run, as a moving mean.
    fn learn(&mut self, submission: u64, ran_us: u64) {
        let class = self.tasks.known(submission).class;
        let class = self.queue.class_mut(class);
        class.mean_us = Some(class.mean_us.map_or(ran_us, |mean| (7 * mean + ran_us) / 8));
    }

    /// Leases are not among those of a worker any more.
    pub(super) fn vacate(&mut self, number: u32, held: Held) {
        let Held {
            run, state, variant, ..
        } = held;
        let submission = self.tasks.known(run.submission);
        let bytes = submission.bytes(run.lo, run.hi);
        let (class, mode) = (submission.class, &submission.template.mode);
        let needs = &self.queue.class(class).way(variant).needs;
        if let Some(worker) = self.workers.get_mut(&number) {
            worker.vacate(run.submission, mode, needs, bytes, u64::from(run.count()), state);
        }
    }

    /// Leases that the worker was told to drop change its hash once more, when it says that it did.
    fn ghosts(&mut self, number: u32, run: Run, now: Option<TaskState>) {
        let Some(worker) = self
            .workers
            .get_mut(&number)
            .filter(|worker| !worker.ghosts.is_empty())
        else {
            return;
        };
        let mut kept = Vec::new();
        let mut changed = Vec::new();
        for ghost in std::mem::take(&mut worker.ghosts) {
            let (lo, hi) = (ghost.run.lo.max(run.lo), ghost.run.hi.min(run.hi));
            if ghost.run.submission != run.submission || ghost.run.attempt != run.attempt || lo >= hi {
                kept.push(ghost);
                continue;
            }
            changed.push(ghost.part(lo, hi));
            kept.extend(
                [(ghost.run.lo, lo), (hi, ghost.run.hi)]
                    .into_iter()
                    .filter(|(lo, hi)| lo < hi)
                    .map(|(lo, hi)| ghost.part(lo, hi)),
            );
        }
        if let Some(state) = now {
            kept.extend(changed.iter().map(|ghost| Held { state, ..*ghost }));
        }
        worker.ghosts = kept;
        for ghost in changed {
            self.restate(number, ghost, now);
        }
    }

    /// Tells a worker to end leases. `silent`: they are not its any more, no result is wanted.
    pub(super) fn revoke(
        &mut self,
        number: u32,
        run: Run,
        strength: Strength,
        silent: bool,
        reason: &str,
        out: &mut Vec<Action>,
    ) {
        let Some(worker) = self.workers.get_mut(&number) else {
            return;
        };
        // Without a connection there is nothing to tell: the next hello, or the loss, settles it.
        let Some(peer) = worker.peer else { return };
        worker.sent += 1;
        worker.told = self.now;
        worker.belief.mark_sent(worker.sent);
        let reason = reason.to_owned();
        let message = Revoke {
            number: worker.sent,
            runs: vec![run],
            strength,
            silent,
            reason,
        };
        out.push(Action::ToWorker {
            peer,
            message: message.into(),
            blobs: Vec::new(),
        });
    }

    pub(super) fn beat(&mut self, beat: &Beat, out: &mut Vec<Action>) {
        let number = u32::try_from(beat.worker).unwrap_or(0);
        let Some(worker) = self
            .workers
            .get_mut(&number)
            .filter(|worker| worker.link == beat.link)
        else {
            return self.count("foreign_beats", 1);
        };
        if worker.standing == Standing::Lost {
            if let Some(peer) = worker.peer {
                Self::hello_first(
                    peer,
                    "this worker was silent for too long and counts as lost",
                    out,
                );
            }
            return;
        }
        worker.heard = self.now;
        if beat.sent > worker.received {
            worker.beat = Some(beat.clone());
            worker.uncompared += 1;
            if worker.uncompared >= UNCOMPARED {
                worker.uncompared = 0;
                self.list_holdings(number, true, out);
            }
            return;
        }
        self.compare(number, beat, out);
    }

    fn compare(&mut self, number: u32, beat: &Beat, out: &mut Vec<Action>) {
        let Some(worker) = self.workers.get_mut(&number) else {
            return;
        };
        match worker.belief.compare(beat.applied, beat.sent, beat.hash) {
            None => worker.uncompared += 1,
            Some(true) => {
                worker.uncompared = 0;
                worker.beats.0 += 1;
            }
            Some(false) => {
                worker.uncompared = 0;
                worker.beats.1 += 1;
                let about = worker.name.clone();
                if !worker.asked {
                    let message =
                        "its leases are not what the agent believes; they are listed and put right".into();
                    self.alarm("hash_differs", about, message);
                }
                self.list_holdings(number, false, out);
            }
        }
    }

    fn list_holdings(&mut self, number: u32, beat_only: bool, out: &mut Vec<Action>) {
        let Some(worker) = self.workers.get_mut(&number) else {
            return;
        };
        worker.asked |= !beat_only;
        if let Some(peer) = worker.peer {
            out.push(Action::ToWorker {
                peer,
                message: ListHoldings { beat_only }.into(),
                blobs: Vec::new(),
            });
        }
    }

    pub(super) fn worker_gone(&mut self, peer: Peer) {
        self.no_welcome_for(peer);
        let Some(number) = self.worker_peers.remove(&peer) else {
            return;
        };
        let Some(worker) = self
            .workers
            .get_mut(&number)
            .filter(|worker| worker.peer == Some(peer))
        else {
            return;
        };
        worker.peer = None;
        if worker.standing == Standing::Active {
            worker.standing = Standing::Suspect;
        }
        self.worker_changed(number);
        self.watch_processes();
    }

    pub(super) fn ping_all(&mut self, out: &mut Vec<Action>) {
        for peer in self.worker_peers.keys() {
            out.push(Action::ToWorker {
                peer: *peer,
                message: Ping::default().into(),
                blobs: Vec::new(),
            });
        }
    }

    /// Once a beat: who was silent for too long is lost; who heard nothing from us is told that we live.
    pub(super) fn check_workers(&mut self, out: &mut Vec<Action>) {
        self.still_there(out);
        let (now, lost_after) = (self.now, self.lost_after());
        let lost: Vec<u32> = self
            .workers
            .values()
            .filter(|worker| worker.lives() && now.saturating_sub(worker.heard) >= lost_after)
            .map(|worker| worker.number)
            .collect();
        for number in lost {
            let seconds = lost_after / 1_000_000;
            self.worker_ends(
                number,
                Standing::Lost,
                &format!("nothing was heard of it for {seconds} s"),
                out,
            );
        }
        self.release_withheld(out);
        let forgotten = self.longest_silence();
        self.workers.retain(|_, worker| {
            worker.lives()
                || (worker.standing == Standing::Lost && now.saturating_sub(worker.heard) < forgotten)
        });
        let beat = self.beat_every();
        for worker in self.workers.values_mut().filter(|worker| worker.lives()) {
            let Some(peer) = worker.peer else { continue };
            if worker.durable > worker.recorded {
                self.outgoing_recorded.insert(worker.number);
            } else if now.saturating_sub(worker.told) >= beat {
                worker.told = now;
                out.push(Action::ToWorker {
                    peer,
                    message: Ping::default().into(),
                    blobs: Vec::new(),
                });
            }
        }
    }

    pub(super) fn tell_recorded(&mut self, number: u32, report: u64) {
        if let Some(worker) = self.workers.get_mut(&number) {
            worker.durable = worker.durable.max(report);
            // One that drains waits for this alone before it says goodbye.
            let drains = worker.standing == Standing::Draining;
            if drains
                || worker.durable - worker.recorded >= RECORDED_EVERY
                || worker.unrecorded_bytes >= RECORDED_BYTES
            {
                self.outgoing_recorded.insert(number);
            }
        }
    }

    /// Tells what is recorded to those that no lease told it.
    pub(super) fn send_recorded(&mut self, out: &mut Vec<Action>) {
        let record = self.known_as(self.durable);
        while let Some(number) = self.outgoing_recorded.pop_first() {
            let Some(worker) = self.workers.get_mut(&number) else {
                continue;
            };
            let Some(peer) = worker.peer.filter(|_| worker.durable > worker.recorded) else {
                continue;
            };
            worker.recorded = worker.durable;
            worker.unrecorded_bytes = 0;
            worker.told = self.now;
            let message: AgentToWorker = Recorded {
                recorded: worker.recorded,
                record,
            }
            .into();
            out.push(Action::ToWorker {
                peer,
                message,
                blobs: Vec::new(),
            });
        }
    }

    /// A worker is to end once what runs there has ended, or its time is over.
    pub(super) fn drain(&mut self, number: u32, until: Micros, reason: &str, out: &mut Vec<Action>) {
        let Some(worker) = self.workers.get_mut(&number) else {
            return;
        };
        worker.standing = Standing::Draining;
        worker.drain_until = until;
        // What it reported before must not wait for the next beat: it says goodbye once all is recorded.
        self.outgoing_recorded.insert(number);
        // One without a connection is told when it comes back.
        if let Some(peer) = worker.peer {
            let drain_ms = until.saturating_sub(self.now) / 1_000;
            let message = WorkerStop {
                drain_ms,
                reason: reason.to_owned(),
            }
            .into();
            out.push(Action::ToWorker {
                peer,
                message,
                blobs: Vec::new(),
            });
        }
        self.worker_changed(number);
    }

    /// A worker ends or is lost; its leases come back, but for those that it may still run where nobody else may.
    fn worker_ends(&mut self, number: u32, standing: Standing, why: &str, out: &mut Vec<Action>) {
        let Some(worker) = self.workers.get_mut(&number) else {
            return;
        };
        worker.standing = standing;
        worker.beat = None;
        worker.ghosts.clear();
        let name = worker.name.clone();
        let lost = standing == Standing::Lost;
        let over = worker.over;
        let mut held = self.believed(number);
        if let Some(worker) = self.workers.get_mut(&number) {
            worker.empty();
        }
        if lost && !over {
            held = self.withhold(number, held);
            self.unaccounted(number);
        }
        if let Some(worker) = self.workers.get_mut(&number) {
            worker.taken.clone_from(&held);
        }
        if lost {
            self.record_gone(number, out);
        } else {
            self.commit(Record::WorkerGone { worker: number }, out);
        }
        if lost {
            self.count("workers_lost", 1);
            let tasks: u32 = held.iter().map(|held| held.run.count()).sum();
            self.alarm(
                "worker_lost",
                name.clone(),
                format!("{why}; {tasks} of its leases go to others"),
            );
        }
        for held in held {
            let over = self.over(number, held, lost);
            self.lease_over(over, &format!("worker {name}: {why}"), out);
        }
        self.came(number, out);
        self.all_accounted(out);
        self.worker_changed(number);
        self.schedule = true;
        self.requests.stir();
        if standing == Standing::Gone {
            let gone = self.workers.remove(&number);
            if let Some(place) = gone.as_ref().and_then(|worker| worker.place.as_deref()) {
                self.place_left(place);
            }
            if let Some(peer) = gone.and_then(|worker| worker.peer) {
                self.worker_peers.remove(&peer);
            }
        }
    }

    /// Everything that the agent believes a worker holds.
    fn believed(&self, number: u32) -> Vec<Held> {
        let Some(worker) = self.workers.get(&number) else {
            return Vec::new();
        };
        let mut held = Vec::new();
        for submission in worker
            .holds
            .keys()
            .filter_map(|submission| self.tasks.get(*submission))
        {
            for stretch in submission.slots.all() {
                if stretch.value.is_held_by(number, stretch.value.attempt) {
                    held.push(Held::of(submission.number, &stretch));
                }
            }
        }
        held
    }

    /// How many workers live.
    fn living(&self) -> usize {
        self.workers.values().filter(|worker| worker.lives()).count()
    }

    /// Whether one more worker may join.
    fn worker_room(&self) -> bool {
        self.living() < limits::WORKERS
    }
}
