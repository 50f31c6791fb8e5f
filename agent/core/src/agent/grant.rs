//! The scheduler: which ready task goes to which worker.
//!
//! Classes are served in the order of their first tasks (priority, then submission). A task that finds no room
//! lets later ones of other classes pass, until it has waited for a second: then the worker where it will
//! fit first is kept free for it, so a stream of small tasks never starves a big one.

use std::sync::Arc;

use scalems_protocol::group::{self, Gather, LeaseGroup, Run};
use scalems_protocol::hash;
use scalems_protocol::limits;
use scalems_protocol::state::TaskState;
use scalems_protocol::task::OnSilence;
use scalems_protocol::worker::Lease;

use super::Agent;
use super::timers::Timer;
use crate::interface::{Action, Micros};
use crate::queue::{Class, Entry, Place, Way};
use crate::task::{Slot, Submission};
use crate::worker::{Outgoing, Worker};

/// How long a task is passed over before a worker is kept free for it.
const RESERVE_AFTER: Micros = 1_000_000;
/// How much work may lie ahead at a worker: enough to hide the way to the agent and back, little enough
/// that a task is rarely stuck behind another.
const AHEAD_US: u64 = 50_000;
/// Leases ahead for each task that runs, at most.
const AHEAD_TASKS: u64 = 64;

impl Agent {
    pub(super) fn grant(&mut self) {
        if self.results_stop() {
            self.count("credit_stopped", 1);
            return;
        }
        if self.stopping.is_some() {
            return;
        }
        if let Some((class, worker)) = self.reserved {
            let ready = self.first_ready(class).is_some();
            let of_use = self.workers.get(&worker).is_some_and(|worker| {
                worker.takes_leases() && worker.could_run(self.queue.class(class), self.now)
            });
            if !ready || !of_use {
                self.reserved = None;
            }
        }
        // Entry by entry, since what stands behind a class's first one may stand behind other classes'.
        let mut at = None;
        while let Some((place, class)) = self.queue.head_after(at) {
            at = Some((place, class));
            self.grant_first(class, place);
        }
    }

    /// Grants what is ready in the first entry of a class, which stands at `place`.
    fn grant_first(&mut self, class: usize, place: Place) {
        loop {
            let ready = self.first_ready(class);
            if self.queue.head(class) != Some(place) {
                return;
            }
            let Some(entry) = ready else { return };
            let variants = 0..self.queue.class(class).ways.len() as u8;
            let mut found = variants.filter_map(|variant| {
                let (worker, room) = self.best_worker(class, variant, entry)?;
                Some((variant, worker, room))
            });
            let Some((variant, worker, room)) = found.next() else {
                break;
            };
            let lo = entry.lo;
            let hi = lo + u32::try_from(room).unwrap_or(u32::MAX).min(entry.hi - lo);
            self.lease(class, (worker, variant), entry.submission, lo, hi);
            if self.queue.first(class).is_some_and(|whole| whole.hi == hi) {
                self.queue.pop(class);
            } else {
                self.queue.shorten(class, hi);
            }
            if self.reserved.is_some_and(|(reserved, _)| reserved == class) {
                self.reserved = None;
            }
            self.queue.class_mut(class).blocked = None;
        }
        // No room. Tasks that have been passed over for long enough get a worker kept free.
        let since = *self.queue.class_mut(class).blocked.get_or_insert(self.now);
        if self.reserved.is_some() {
            return;
        }
        if since + RESERVE_AFTER > self.now {
            if since == self.now {
                self.timers.add(since + RESERVE_AFTER, Timer::Reserve);
            }
            return;
        }
        let blocked = self.queue.class(class);
        let nearest = self
            .workers
            .values()
            .filter(|worker| worker.takes_leases() && worker.could_run(blocked, self.now))
            .min_by_key(|worker| {
                let ways = blocked
                    .ways
                    .iter()
                    .filter(|way| worker.could_run_so(way, self.now));
                ways.map(|way| worker.capacity.overhang(&worker.used, &way.needs))
                    .min()
            });
        self.reserved = nearest.map(|worker| (class, worker.number));
    }

    /// The first entry of a class that still has ready tasks, cut to those that are.
    fn first_ready(&mut self, class: usize) -> Option<Entry> {
        loop {
            let entry = self.queue.first(class)?;
            let ready = self.tasks.get(entry.submission).and_then(|submission| {
                let stretches = submission.slots.stretches(entry.lo, entry.hi);
                stretches
                    .into_iter()
                    .find(|stretch| stretch.value.state == TaskState::Ready)
            });
            match ready {
                None => self.queue.pop(class),
                Some(ready) => {
                    let batch = limits::BATCH_TASKS as u32;
                    let submission = self.tasks.get(entry.submission)?;
                    let most = if submission.is_array() {
                        limits::RANGE_TASKS
                    } else {
                        batch
                    };
                    let together = submission.inputs.together(ready.lo);
                    let hi = ready.hi.min(ready.lo + most).min(together);
                    if ready.lo > entry.lo {
                        self.queue.shorten(class, ready.lo);
                    }
                    return Some(Entry {
                        lo: ready.lo,
                        hi,
                        ..entry
                    });
                }
            }
        }
    }

    /// The worker with the most room for tasks of a class that run in one way, and how many it takes.
    fn best_worker(&self, at: usize, variant: u8, entry: Entry) -> Option<(u32, u64)> {
        let class = self.queue.class(at);
        let way = class.way(variant);
        let submission = self.tasks.get(entry.submission)?;
        let array = submission.is_array();
        let alone = submission.template.policy.on_silence != OnSilence::Rerun;
        let kept = self
            .reserved
            .filter(|(reserved, _)| *reserved != at)
            .map(|(_, worker)| worker);
        let mut best: Option<(u64, u32, u64)> = None;
        for worker in self.workers.values() {
            if !worker.takes_leases() {
                continue;
            }
            let Some(instant) = worker.modes.get(&class.mode).copied() else {
                continue;
            };
            // The next life has to know whom it waits for before such a task begins anywhere else (R11).
            if alone && worker.joined > self.durable {
                continue;
            }
            if !worker.understands(class) || !worker.could_run_so(way, self.now) {
                continue;
            }
            let fits = worker.capacity.fits(&worker.used, &way.needs);
            // What takes no room is not in the way of what the worker is kept free for.
            if kept == Some(worker.number) && !instant && fits.is_some() {
                continue;
            }
            let room = match fits {
                _ if instant => worker.instant_room(array),
                None => u64::from(limits::CREDIT_TASKS).saturating_sub(worker.leases.0 + worker.leases.1),
                Some(0) => Self::ahead(worker, class, way),
                Some(fits) if worker.bytes >= limits::CREDIT_BYTES => fits.min(1),
                Some(fits) => fits,
            };
            let room = Self::bytes_room(worker, submission, entry, room);
            if room == 0 {
                continue;
            }
            // Room for seats counts before room ahead; ties go to the one that holds less.
            let seats = if instant {
                room
            } else {
                fits.map_or(room, |fits| fits.min(1 << 40) << 16)
                    .max(u64::from(fits == Some(0)))
            };
            if best.is_none_or(|(most, _, _)| seats > most) {
                best = Some((seats, worker.number, room));
            }
        }
        best.map(|(_, number, room)| (number, room))
    }

    /// How many of the entry's tasks the worker's credit of bytes lets through.
    fn bytes_room(worker: &Worker, submission: &Submission, entry: Entry, room: u64) -> u64 {
        let held = worker.bytes;
        let left = limits::CREDIT_BYTES.saturating_sub(held);
        let hi = entry.lo + u32::try_from(room).unwrap_or(u32::MAX).min(entry.hi - entry.lo);
        if submission.bytes(entry.lo, hi) <= left {
            return room;
        }
        let (mut few, mut many) = (0, hi - entry.lo);
        while few < many {
            let middle = few + (many - few).div_ceil(2);
            if submission.bytes(entry.lo, entry.lo + middle) <= left {
                few = middle
            } else {
                many = middle - 1
            }
        }
        // A single item larger than the credit goes alone.
        if few == 0 && held == 0 {
            room.min(1)
        } else {
            u64::from(few)
        }
    }

    /// How many tasks of a class may be granted beyond what a worker can run, by how short they are.
    fn ahead(worker: &Worker, class: &Class, way: &Way) -> u64 {
        // What lies ahead would begin later, when there may not be enough time any more, or room for a better way.
        let settled = way.min_time == 0 && class.ways.len() == 1;
        let Some(mean) = class.mean_us.filter(|_| settled) else {
            return 0;
        };
        let seats = worker
            .capacity
            .fits(&crate::resources::Amounts::default(), &way.needs)
            .unwrap_or(1);
        let depth = seats * (AHEAD_US / mean.max(1)).min(AHEAD_TASKS);
        depth.saturating_sub(worker.capacity.overhang(&worker.used, &way.needs))
    }

    /// Grants the ready tasks `lo..hi` to a worker, to be run in one way.
    fn lease(&mut self, class: usize, (to, variant): (u32, u8), number: u64, lo: u32, hi: u32) {
        let worker = self
            .workers
            .get_mut(&to)
            .expect("the scheduler chose a worker that is there");
        let submission = self.tasks.known(number);
        let (origin, template) = (submission.origin, Arc::clone(&submission.template));
        let bytes = submission.bytes(lo, hi);
        self.measured
            .started(self.now.saturating_sub(submission.at), u64::from(hi - lo));
        let needs = &self.queue.class(class).way(variant).needs;
        worker.occupy(
            number,
            &template.mode,
            needs,
            bytes,
            u64::from(hi - lo),
            TaskState::Leased,
        );
        submission.raise_attempts(lo, hi);
        let stretches = submission.slots.stretches(lo, hi);
        let mut groups = Vec::with_capacity(stretches.len());
        for stretch in stretches {
            let attempt = stretch.value.attempt + 1;
            for (lo, hi, first) in submission.indices.even_parts(stretch.lo, stretch.hi) {
                let run = Run {
                    submission: number,
                    lo,
                    hi,
                    attempt,
                };
                groups.push((run, first, submission.inputs.part(lo, hi)));
            }
        }
        let step = submission.indices.step();
        for (run, first, data) in groups {
            let slot = Slot {
                state: TaskState::Leased,
                attempt: run.attempt,
                worker: to,
                incarnation: self.life,
                variant,
            };
            self.tasks.set(number, run.lo, run.hi, slot);
            let place = group::Place::default();
            let group = LeaseGroup {
                run,
                origin,
                template: 0,
                first,
                step,
                variant,
                place,
            };
            let worker = self
                .workers
                .get_mut(&to)
                .expect("the scheduler chose a worker that is there");
            worker.outgoing.push(Outgoing {
                group,
                template: Arc::clone(&template),
                data,
            });
        }
        self.outgoing.insert(to);
        self.events.submission_changed(number);
    }

    /// Makes the leases that were granted into messages.
    pub(super) fn send_leases(&mut self, out: &mut Vec<Action>) {
        while let Some(number) = self.outgoing.pop_first() {
            let (now, incarnation) = (self.now, self.config.incarnation);
            let record = self.known_as(self.durable);
            let Some(worker) = self.workers.get_mut(&number) else {
                continue;
            };
            let Some(peer) = worker.peer else { continue };
            let mut granted = std::mem::take(&mut worker.outgoing).into_iter().peekable();
            while granted.peek().is_some() {
                let mut gather = Gather::default();
                let mut lease = Lease {
                    number: worker.sent + 1,
                    recorded: worker.durable,
                    record,
                    ..Lease::default()
                };
                let mut last: Option<Arc<scalems_protocol::task::Template>> = None;
                let (mut values, mut bodies) = (0, 0);
                while let Some(next) = granted.peek() {
                    values += next.data.ends.len();
                    bodies += next.template.body.len();
                    let full = gather.bytes() + next.data.bytes.len() > limits::MESSAGE_BYTES
                        || lease.groups.len() == limits::GROUPS
                        || values > 4 * limits::BATCH_TASKS
                        || bodies > 2 * limits::BODY_BYTES;
                    if full && !lease.groups.is_empty() {
                        break;
                    }
                    let Some(Outgoing {
                        mut group,
                        template,
                        data,
                    }) = granted.next()
                    else {
                        break;
                    };
                    if last
                        .as_ref()
                        .is_none_or(|last| !Arc::ptr_eq(last, &template) && **last != *template)
                    {
                        lease.templates.push(bare(&template));
                        last = Some(template);
                    }
                    group.template = lease.templates.len() as u32 - 1;
                    group.place = gather.add(&data);
                    let Run {
                        submission,
                        lo,
                        hi,
                        attempt,
                    } = group.run;
                    let sum = hash::lease_sum(incarnation, submission, attempt, TaskState::Leased, lo, hi);
                    worker.belief.grant(sum);
                    lease.groups.push(group);
                }
                worker.sent += 1;
                worker.told = now;
                worker.recorded = worker.durable;
                worker.unrecorded_bytes = 0;
                worker.belief.mark_sent(worker.sent);
                out.push(Action::ToWorker {
                    peer,
                    message: lease.into(),
                    blobs: gather.finish(),
                });
            }
        }
    }
}

/// What a worker has to know of a template.
fn bare(template: &scalems_protocol::task::Template) -> scalems_protocol::task::Template {
    scalems_protocol::task::Template {
        after: Vec::new(),
        uid: None,
        ..template.clone()
    }
}
