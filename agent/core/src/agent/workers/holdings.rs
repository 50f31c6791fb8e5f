//! Joining, and putting right what the two sides believe (R6, DESIGN 6).

use scalems_protocol::error::{Code, Refusal};
use scalems_protocol::group::{HeldRun, Run};
use scalems_protocol::hash;
use scalems_protocol::state::{Strength, TaskState};
use scalems_protocol::task::{Knows, OnSilence};
use scalems_protocol::token::Token;
use scalems_protocol::worker::{Holdings, WorkerHello, WorkerRefused, WorkerWelcome};
use scalems_protocol::{Amount, Role, limits};

use super::super::bringing::NOBODY;
use super::super::{Agent, WORKERS_A_LIFE};
use crate::interface::{Action, Peer};
use crate::record::Record;
use crate::resources::Amounts;
use crate::runs::Stretch;
use crate::task::Slot;
use crate::worker::{Belief, Held, Standing, Worker};

/// Kinds of workers that are remembered for what they could do.
const SEEN: usize = 256;

impl Agent {
    pub(in super::super) fn worker_hello(&mut self, peer: Peer, hello: &WorkerHello, out: &mut Vec<Action>) {
        match self.check_hello(hello) {
            Ok(_) if self.let_wait(peer, hello, out) => {}
            Ok(offer) => self.welcome(peer, hello, offer, out),
            Err(refusal) => {
                self.count("refused", 1);
                out.push(Action::ToWorker {
                    peer,
                    message: WorkerRefused { refusal }.into(),
                    blobs: Vec::new(),
                });
            }
        }
    }

    fn check_hello(&mut self, hello: &WorkerHello) -> Result<Amounts, Refusal> {
        if hello
            .resume
            .as_ref()
            .is_some_and(|resume| resume.pilot != self.config.pilot)
        {
            let message = format!(
                "this is another pilot than the one you worked for: {}",
                self.config.pilot
            );
            return Err(Refusal::new(Code::OtherPilot, message));
        }
        if self.stopping.is_some() && hello.resume.is_none() {
            return Err(Refusal::new(
                Code::Stopping,
                "the pilot is ending and takes no worker",
            ));
        }
        let long = [&hello.name, &hello.host, &hello.software]
            .iter()
            .any(|text| text.len() > limits::NAME_BYTES)
            || hello.process.len() > limits::NAME_BYTES
            || hello
                .place
                .as_ref()
                .is_some_and(|place| place.len() > limits::NAME_BYTES)
            || hello
                .modes
                .iter()
                .any(|mode| mode.name.len() > limits::NAME_BYTES);
        if long || hello.modes.len() > limits::MODES || hello.offer.len() > limits::RESOURCE_KINDS {
            let message = format!(
                "at most {} modes, {} kinds of resources, names of {} bytes",
                limits::MODES,
                limits::RESOURCE_KINDS,
                limits::NAME_BYTES
            );
            return Err(Refusal::new(Code::TooLarge, message));
        }
        let offer = hello
            .offer
            .iter()
            .map(|(kind, amount)| (kind.as_str(), (*amount).min(Amount::MOST)));
        self.kinds.amounts(offer).ok_or_else(|| {
            Refusal::new(
                Code::TooLarge,
                format!("the pilot knows {} kinds of resources", limits::RESOURCE_KINDS),
            )
        })
    }

    fn welcome(&mut self, peer: Peer, hello: &WorkerHello, offer: Amounts, out: &mut Vec<Action>) {
        let resumed = self.resumed(hello);
        if resumed.is_none() && !self.worker_room() {
            let message = format!(
                "the pilot has {} workers; more go under sub-agents",
                limits::WORKERS
            );
            let refusal = Refusal::new(Code::AgentFull, message);
            out.push(Action::ToWorker {
                peer,
                message: WorkerRefused { refusal }.into(),
                blobs: Vec::new(),
            });
            return;
        }
        let number = resumed.unwrap_or_else(|| self.new_worker());
        let joins = !self.workers.get(&number).is_some_and(Worker::lives);
        if self.is_of_before(number) && (joins || self.coming.contains(&number)) {
            self.joined += 1;
        }
        self.enter(number, hello, joins, out);
        // The connection that the worker had, or that another worker had, is not theirs any more.
        if let Some(old) = self.workers[&number].peer.filter(|old| *old != peer) {
            self.worker_peers.remove(&old);
        }
        if let Some(before) = self
            .worker_peers
            .insert(peer, number)
            .filter(|before| *before != number)
            && let Some(before) = self.workers.get_mut(&before)
        {
            before.peer = None;
            before.standing = if before.lives() {
                Standing::Suspect
            } else {
                before.standing
            };
        }
        self.links = self.links.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let link = hash::lease_term(self.links, u64::from(number), 0, TaskState::Ready, 0) | 1;
        let now = self.now;
        let worker = self.workers.get_mut(&number).expect("it was found or made");
        worker.peer = Some(peer);
        worker.heard = now;
        worker.told = now;
        worker.link = link;
        worker.sent = 0;
        worker.received = 0;
        worker.recorded = 0;
        worker.durable = 0;
        worker.unrecorded_bytes = 0;
        worker.beat = None;
        worker.over = false;
        worker.recorded_gone = false;
        worker.asked = false;
        worker.uncompared = 0;
        worker.ghosts.clear();
        if worker.standing != Standing::Draining {
            worker.standing = Standing::Active;
        }
        worker.host.clone_from(&hello.host);
        worker.pid = hello.pid;
        worker.process.clone_from(&hello.process);
        worker.capacity = offer;
        worker.knows = Knows::of(&hello.knows);
        worker.place.clone_from(&hello.place);
        worker.ends = hello
            .left_ms
            .map(|left| now.saturating_add(left.saturating_mul(1_000)));
        // Reports of the connection before are not recorded by their old numbers any more.
        self.reported.retain(|reported| reported.worker != number);
        let (sum, drop) = self.put_right(number, &hello.held, Some(&hello.modes), out);
        self.came(number, out);
        self.accounted(number, out);
        let worker = &self.workers[&number];
        let could = (worker.modes.clone(), worker.capacity.clone());
        if !self.seen.contains(&could) && self.seen.len() < SEEN {
            self.seen.push(could);
        }
        let mark = self.mark();
        let worker = self.workers.get_mut(&number).expect("it was found or made");
        worker.belief = Belief::begin(sum);
        let welcome = WorkerWelcome {
            pilot: self.config.pilot,
            pilot_name: self.config.pilot_name.clone(),
            incarnation: self.config.incarnation,
            worker: u64::from(number),
            name: worker.name.clone(),
            token: Token::derive(&self.config.secret, Role::Worker, u64::from(number)),
            link,
            beat_ms: self.config.beat_ms,
            orphan_ms: self.config.orphan_ms,
            lost_ms: self.config.lost_ms,
            mark,
            drop: drop.into_iter().map(|held| held.run).collect(),
            hello: hello.hello,
        };
        worker.taken = Vec::new();
        let draining = (worker.standing == Standing::Draining).then_some(worker.drain_until);
        let draining = draining.or(self.stopping.map(|stopping| stopping.until));
        out.push(Action::ToWorker {
            peer,
            message: welcome.into(),
            blobs: Vec::new(),
        });
        self.tell_log_levels(peer, out);
        // What it was told before may not have reached it.
        self.revoke_again(number, out);
        if let Some(until) = draining {
            self.drain(number, until, "it was asked for before", out);
        }
        self.schedule = true;
        self.requests.stir();
        self.watch_workers();
        self.worker_changed(number);
    }

    /// Leases that were to end before the worker came back are so still.
    fn revoke_again(&mut self, number: u32, out: &mut Vec<Action>) {
        let mut revoked = Vec::new();
        for Held { run, state, .. } in self.believed(number) {
            let submission = self.tasks.known(run.submission);
            if submission.canceling.is_empty() {
                continue;
            }
            let mut lo = run.lo;
            while lo < run.hi {
                let strength = submission.canceling(lo);
                let hi = (lo + 1..run.hi)
                    .find(|at| submission.canceling(*at) != strength)
                    .unwrap_or(run.hi);
                let strength =
                    strength.filter(|how| *how != Strength::Withdraw || state == TaskState::Leased);
                revoked.extend(strength.map(|strength| (Run { lo, hi, ..run }, strength)));
                lo = hi;
            }
        }
        for (run, strength) in revoked {
            self.revoke(number, run, strength, false, "it was asked for before", out);
        }
    }

    /// The number that a worker proves to have had.
    pub(in super::super) fn resumed(&self, hello: &WorkerHello) -> Option<u32> {
        let resume = hello.resume.as_ref()?;
        let number = u32::try_from(resume.worker).ok()?;
        let right = Token::derive(&self.config.secret, Role::Worker, resume.worker).verify(&resume.token);
        // A token of an earlier life is worth its number though no record says who had it.
        (right && (self.is_of_before(number) || self.workers.contains_key(&number))).then_some(number)
    }

    /// Whether a worker joined an earlier life of ours.
    pub(in super::super) const fn is_of_before(&self, number: u32) -> bool {
        number <= (self.life as u32 - 1) * WORKERS_A_LIFE
    }

    fn new_worker(&mut self) -> u32 {
        self.next_worker += 1;
        self.joined += 1;
        self.next_worker
    }

    /// Sees to it that the worker is in the table, and known to the next life.
    fn enter(&mut self, number: u32, hello: &WorkerHello, joins: bool, out: &mut Vec<Action>) {
        if !self.workers.contains_key(&number) {
            let name = self.free_name(number, &hello.name);
            self.workers.insert(number, Worker::new(number, name, self.now));
        }
        if joins {
            let worker = Record::Worker {
                worker: number,
                name: self.workers[&number].name.clone(),
                host: hello.host.clone(),
                pid: hello.pid,
                process: hello.process.clone(),
            };
            self.commit(worker, out);
            let record = self.records;
            if let Some(worker) = self.workers.get_mut(&number) {
                worker.joined = record;
            }
        }
    }

    fn free_name(&self, number: u32, wanted: &str) -> String {
        let wanted = if wanted.is_empty() { "worker" } else { wanted };
        let taken = self
            .workers
            .values()
            .any(|worker| worker.lives() && worker.name == wanted);
        if taken {
            format!("{wanted}-{number}")
        } else {
            wanted.to_owned()
        }
    }

    /// A worker's listing, as asked after its hash differed. Only one without messages in flight says
    /// something.
    pub(super) fn holdings(&mut self, number: u32, holdings: &Holdings, out: &mut Vec<Action>) {
        let Some(worker) = self.workers.get_mut(&number).filter(|worker| worker.asked) else {
            return;
        };
        self.schedule = true;
        if holdings.applied != worker.sent || holdings.sent != worker.received {
            return self.list_holdings(number, false, out);
        }
        worker.asked = false;
        worker.ghosts.clear();
        // What has ended there was reported before, and its hash does not count it.
        let held: Vec<HeldRun> = holdings
            .held
            .iter()
            .filter(|held| !held.state.is_final())
            .cloned()
            .collect();
        let (mut sum, drop) = self.put_right(number, &held, None, out);
        for held in drop.iter().filter(|held| held.run.check().is_ok()) {
            let ghost = reported(held);
            sum = sum.wrapping_add(ghost.sum());
            if let Some(worker) = self.workers.get_mut(&number) {
                worker.ghosts.push(ghost);
            }
        }
        if let Some(worker) = self.workers.get_mut(&number) {
            let (sent, received) = (worker.sent, worker.received);
            worker.belief.rebase(sent, received, sum);
        }
        for held in drop {
            self.revoke(
                number,
                held.run,
                Strength::Kill,
                true,
                "the agent did not grant it",
                out,
            );
        }
    }

    /// Puts right what the agent believes a worker holds, by what it lists. Returns the sum of what it
    /// keeps, and what it has to drop.
    fn put_right(
        &mut self,
        number: u32,
        listed: &[HeldRun],
        modes: Option<&[scalems_protocol::worker::ModeOffer]>,
        out: &mut Vec<Action>,
    ) -> (u64, Vec<HeldRun>) {
        let believed = self.believed(number);
        if let Some(worker) = self.workers.get_mut(&number) {
            worker.empty();
            if let Some(modes) = modes {
                worker.modes = modes
                    .iter()
                    .map(|mode| (mode.name.clone(), mode.instant))
                    .collect();
            }
        }
        let (mut sum, mut drop, mut kept) = (0_u64, Vec::new(), Vec::new());
        // Of several attempts at a task the last one is kept: those before it led to it.
        let mut listed: Vec<&HeldRun> = listed.iter().collect();
        listed.sort_by_key(|held| std::cmp::Reverse(held.run.attempt));
        for held in listed {
            let run = held.run;
            let known = self.tasks.get(run.submission).filter(|submission| {
                submission.origin == held.origin
                    && held.incarnation <= self.config.incarnation
                    && run.check().is_ok()
                    && run.hi <= submission.count()
            });
            let Some(submission) = known else {
                drop.push(held.clone());
                continue;
            };
            for stretch in submission.slots.stretches(run.lo, run.hi) {
                let Stretch { lo, hi, value: slot } = stretch;
                // What is listed twice is kept once.
                for part in without(Run { lo, hi, ..run }, &kept) {
                    let part = Held {
                        run: part,
                        ..reported(held)
                    };
                    let keeps = self.keeps(number, part, held.state.is_final(), slot);
                    for dropped in without(part.run, &keeps) {
                        // The attempt will not be made again under its number.
                        self.tasks
                            .known(run.submission)
                            .pass(dropped.lo, dropped.hi, run.attempt);
                        drop.push(HeldRun {
                            run: dropped,
                            ..held.clone()
                        });
                    }
                    for run in keeps {
                        let keep = Held { run, ..part };
                        self.adopt(number, keep, slot, out);
                        sum = sum.wrapping_add(keep.sum());
                        kept.push(run);
                    }
                }
            }
        }
        let name = self
            .workers
            .get(&number)
            .map_or_else(String::new, |worker| worker.name.clone());
        for held in believed {
            for rest in without(held.run, &kept) {
                let why = format!("worker {name} came back without it");
                let over = self.over(number, Held { run: rest, ..held }, true);
                self.lease_over(over, &why, out);
            }
        }
        (sum, drop)
    }

    /// Which leases of a run, all in one slot, a worker that lists them may keep: those that it holds, and of those
    /// that were taken from it when it was lost, or that an earlier life of ours granted, the ones that nobody else
    /// has, or that it began to run. Any other attempt has ended here: what it led to must not come twice.
    fn keeps(&self, number: u32, part: Held, ended: bool, slot: Slot) -> Vec<Run> {
        let Held {
            run,
            incarnation,
            state,
            ..
        } = part;
        if slot.is_held_by(number, run.attempt) && u64::from(slot.incarnation) == incarnation {
            return vec![run];
        }
        // Of two workers the one that has run longer goes on.
        let elsewhere = matches!(slot.state, TaskState::Leased | TaskState::Running);
        if elsewhere && slot.worker == NOBODY {
            // Its result is here and not recorded. Whoever has it too says it again.
            let same = slot.attempt == run.attempt && u64::from(slot.incarnation) == incarnation;
            return if same { vec![run] } else { Vec::new() };
        }
        let later = elsewhere && slot.worker == number;
        if slot.state.is_final() || later || (elsewhere && state == TaskState::Leased) {
            return Vec::new();
        }
        // What has ended may have failed. Yet another attempt would follow it at once, beside the one elsewhere that is
        // killed for it and may take a while to be over.
        let submission = self.tasks.get(run.submission);
        let alone = submission.is_some_and(|known| known.template.policy.on_silence != OnSilence::Rerun);
        if elsewhere && alone && ended {
            return Vec::new();
        }
        if incarnation < self.config.incarnation && self.is_of_before(number) {
            return self.may_still_run(run);
        }
        let taken = self.workers[&number].taken.iter();
        let same = taken.filter(|taken| {
            taken.run.submission == run.submission
                && taken.run.attempt == run.attempt
                && taken.incarnation == incarnation
        });
        same.map(|taken| Run {
            lo: taken.run.lo.max(run.lo),
            hi: taken.run.hi.min(run.hi),
            ..run
        })
        .filter(|part| part.lo < part.hi)
        .collect()
    }

    /// The parts of a run whose attempt is not known to have failed.
    fn may_still_run(&self, run: Run) -> Vec<Run> {
        let Some(submission) = self.tasks.get(run.submission) else {
            return Vec::new();
        };
        let over = submission
            .faults
            .range(run.lo..run.hi)
            .filter(|(_, faults)| faults.over >= run.attempt);
        let over: Vec<Run> = over
            .map(|(offset, _)| Run {
                lo: *offset,
                hi: offset + 1,
                ..run
            })
            .collect();
        without(run, &over)
    }

    /// Gives a worker leases that it lists. A newer attempt elsewhere is killed.
    fn adopt(&mut self, number: u32, lease: Held, slot: Slot, out: &mut Vec<Action>) {
        let Held {
            run,
            incarnation,
            state,
            variant,
        } = lease;
        let newer = matches!(slot.state, TaskState::Leased | TaskState::Running)
            && slot.worker != number
            && slot.worker != NOBODY;
        if newer {
            let other = Held {
                run: Run {
                    attempt: slot.attempt,
                    ..run
                },
                incarnation: slot.incarnation.into(),
                state: slot.state,
                variant: slot.variant,
            };
            self.vacate(slot.worker, other);
            let ran_us = self.ran(slot.worker, other);
            self.wasted(run.submission, ran_us, slot.variant, out);
            if let Some(worker) = self.workers.get_mut(&slot.worker) {
                worker.ghosts.push(other);
            }
            self.revoke(
                slot.worker,
                other.run,
                Strength::Kill,
                true,
                "an older attempt came back and goes on",
                out,
            );
            self.count("adopted_older", u64::from(run.count()));
        }
        if slot.attempt > run.attempt {
            self.tasks
                .known(run.submission)
                .pass(run.lo, run.hi, slot.attempt);
        }
        let slot = Slot {
            state,
            attempt: run.attempt,
            worker: number,
            incarnation: incarnation as u16,
            variant,
        };
        self.tasks.set(run.submission, run.lo, run.hi, slot);
        self.occupy(number, lease);
        self.events.submission_changed(run.submission);
    }

    /// Counts leases among those of a worker.
    pub(super) fn occupy(&mut self, number: u32, held: Held) {
        let Held {
            run, state, variant, ..
        } = held;
        let submission = self.tasks.known(run.submission);
        let bytes = submission.bytes(run.lo, run.hi);
        let (class, mode) = (submission.class, &submission.template.mode);
        let needs = &self.queue.class(class).way(variant).needs;
        if let Some(worker) = self.workers.get_mut(&number) {
            worker.occupy(run.submission, mode, needs, bytes, u64::from(run.count()), state);
            if state == TaskState::Running {
                worker.since.begin(run, self.now);
            }
        }
    }
}

/// What a worker lists, as it is counted: what has ended there is reported once more, and runs until then.
fn reported(held: &HeldRun) -> Held {
    let state = if held.state == TaskState::Leased {
        TaskState::Leased
    } else {
        TaskState::Running
    };
    Held {
        run: held.run,
        incarnation: held.incarnation,
        state,
        variant: held.variant,
    }
}

/// The parts of `run` that no run of `kept` covers.
fn without(run: Run, kept: &[Run]) -> Vec<Run> {
    let mut rest = vec![run];
    for keep in kept
        .iter()
        .filter(|keep| keep.submission == run.submission && keep.attempt == run.attempt)
    {
        rest = rest
            .into_iter()
            .flat_map(|part| {
                let before = Run {
                    hi: part.hi.min(keep.lo),
                    ..part
                };
                let after = Run {
                    lo: part.lo.max(keep.hi),
                    ..part
                };
                if keep.lo >= part.hi || keep.hi <= part.lo {
                    [part, Run { hi: part.lo, ..part }]
                } else {
                    [before, after]
                }
            })
            .filter(|part| part.lo < part.hi)
            .collect();
    }
    rest
}
