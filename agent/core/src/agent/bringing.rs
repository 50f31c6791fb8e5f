//! Results that a client saw before they were on disk, and that an agent which was started again has lost (R4).
//!
//! A client keeps them until it is told that they last, and says them back after a restart. Until it has, results of
//! the same tasks from workers wait: the one that somebody saw is the result.

use bytes::Bytes;
use scalems_protocol::client::{BringBack, BroughtBack, Lasts};
use scalems_protocol::group::{ResultGroup, Run};
use scalems_protocol::limits;
use scalems_protocol::state::{Strength, TaskState};

use super::Agent;
use super::timers::Timer;
use crate::interface::{Action, Micros, Peer};
use crate::record::{Ended, Record, share};
use crate::task::Slot;
use crate::worker::Held;

/// How long it may take until a client is told that results last, if no others go to it: it only costs it memory.
const TELL_AFTER: Micros = 100_000;

/// The worker of a task whose result is kept: nobody.
pub(super) const NOBODY: u32 = 0;

impl Agent {
    /// From now on results of tasks of the life before wait for their clients, for a time.
    pub(super) fn await_clients(&mut self) {
        self.before = self.tasks.last;
        for attachment in self.attachments.values_mut() {
            attachment.awaited = true;
        }
        let until = self.now.saturating_add(limits::BRING_BACK_MS * 1_000);
        self.timers.add(until, Timer::Awaited);
    }

    /// Nobody is waited for any more.
    pub(super) fn await_no_longer(&mut self, out: &mut Vec<Action>) {
        for seat in self.attachments.keys().copied().collect::<Vec<u64>>() {
            self.settle_seat(seat, out);
        }
    }

    /// Whether a submission has a number of an earlier life.
    pub(super) const fn is_of_life_before(&self, submission: u64) -> bool {
        submission <= self.before
    }

    /// Whether a result of this submission may not be recorded yet.
    fn is_awaited(&self, submission: u64) -> bool {
        self.is_inherited(submission)
            && self
                .tasks
                .get(submission)
                .and_then(|submission| self.attachments.get(&submission.push?))
                .is_some_and(|attachment| attachment.awaited)
    }

    /// An attempt is over; what that leads to waits if somebody may have seen another result.
    pub(super) fn attempt_ended(&mut self, ended: Ended, out: &mut Vec<Action>) {
        if self.is_awaited(ended.run.submission) {
            self.keep(ended);
        } else {
            self.attempt_over(ended, out);
        }
    }

    /// Tasks end without a worker's word, now or once nobody can have seen another result.
    pub(super) fn end_unseen(&mut self, ended: Ended, out: &mut Vec<Action>) {
        if self.is_awaited(ended.run.submission) {
            self.keep(ended);
        } else {
            self.end(ended, out);
        }
    }

    /// Keeps a result until the client has come that may have seen another one.
    fn keep(&mut self, ended: Ended) {
        let run = ended.run;
        for stretch in self.tasks.known(run.submission).slots.stretches(run.lo, run.hi) {
            let slot = Slot {
                state: TaskState::Running,
                attempt: run.attempt,
                worker: NOBODY,
                ..stretch.value
            };
            self.tasks.set(run.submission, stretch.lo, stretch.hi, slot);
        }
        let seat = self.tasks.known(run.submission).push;
        if let Some(attachment) = seat.and_then(|seat| self.attachments.get_mut(&seat)) {
            attachment.kept.push(ended);
            self.kept += 1;
        }
    }

    /// Whoever has this seat brings nothing (more) back: what was kept for it takes its course.
    pub(super) fn settle_seat(&mut self, seat: u64, out: &mut Vec<Action>) {
        let Some(attachment) = self.attachments.get_mut(&seat) else {
            return;
        };
        attachment.awaited = false;
        let kept = std::mem::take(&mut attachment.kept);
        self.kept -= kept.len();
        let late = !kept.is_empty();
        for ended in kept {
            let run = ended.run;
            let Some(submission) = self.tasks.get(run.submission) else {
                continue;
            };
            let mut stretches = submission.slots.stretches(run.lo, run.hi);
            stretches.retain(|stretch| stretch.value.is_held_by(NOBODY, run.attempt));
            for stretch in stretches {
                let (lo, hi) = (stretch.lo, stretch.hi);
                let part = Ended {
                    run: Run { lo, hi, ..run },
                    data: ended.data.part((lo - run.lo) as usize, (hi - run.lo) as usize),
                    ran_us: share(ended.ran_us, hi - lo, run.count()),
                    error: ended.error.clone(),
                    ..ended
                };
                self.attempt_over(part, out);
            }
        }
        if late {
            // What was kept was reported before it was recorded just now.
            for reported in &mut self.reported {
                reported.record = self.records;
            }
        }
        self.schedule = true;
    }

    pub(super) fn bring_back(
        &mut self,
        peer: Peer,
        seat: u64,
        brought: BringBack,
        blobs: &[Bytes],
        out: &mut Vec<Action>,
    ) {
        for group in brought.groups {
            self.bring_group(seat, group, blobs, out);
        }
        if brought.more {
            return;
        }
        self.settle_seat(seat, out);
        self.answers.push(self.records, peer, BroughtBack {}.into(), None);
    }

    fn bring_group(&mut self, seat: u64, group: ResultGroup, blobs: &[Bytes], out: &mut Vec<Action>) {
        let count = group.run.count();
        let data = match group.place.take(count, blobs) {
            Ok(data) if group.run.check().is_ok() => data,
            _ => return self.count("malformed_results", 1),
        };
        // Its number may be another one now: it is known by the request that brought it.
        let known = self
            .attachments
            .get(&seat)
            .filter(|_| group.origin.session == seat)
            .and_then(|attachment| attachment.requests.submissions.get(&group.origin.request))
            .and_then(|number| self.tasks.get(*number))
            .filter(|submission| group.run.hi <= submission.count() && submission.push == Some(seat));
        let Some(submission) = known else {
            return self.count("superseded_results", count.into());
        };
        let run = Run {
            submission: submission.number,
            ..group.run
        };
        let (mut brought, mut superseded) = (Vec::new(), 0);
        for stretch in submission.slots.stretches(run.lo, run.hi) {
            if stretch.value.state.is_final() {
                superseded += u64::from(stretch.hi - stretch.lo);
            } else {
                brought.push(stretch);
            }
        }
        if superseded > 0 {
            self.count("superseded_results", superseded);
        }
        for stretch in brought {
            let (lo, hi) = (stretch.lo, stretch.hi);
            let run = Run { lo, hi, ..run };
            self.drop_lease(Held::of(run.submission, &stretch), stretch.value.worker, out);
            let ended = Ended {
                run,
                ending: group.ending,
                data: data.part((lo - group.run.lo) as usize, (hi - group.run.lo) as usize),
                exit_code: group.exit_code,
                ran_us: share(group.ran_us, run.count(), count),
                error: group.error.clone(),
                variant: stretch.value.variant,
                worker: 0,
                at: 0,
            };
            self.end_seen(ended, out);
            self.commit(Record::Collected { runs: vec![run] }, out);
            self.count("brought_back", u64::from(run.count()));
        }
    }

    /// A worker need not go on with leases whose result is known.
    fn drop_lease(&mut self, held: Held, worker: u32, out: &mut Vec<Action>) {
        if worker == NOBODY || !matches!(held.state, TaskState::Leased | TaskState::Running) {
            return;
        }
        self.vacate(worker, held);
        self.ran(worker, held);
        if let Some(worker) = self.workers.get_mut(&worker) {
            worker.ghosts.push(held);
        }
        let why = "its result of before the agent was started again is known";
        self.revoke(worker, held.run, Strength::Kill, true, why, out);
    }

    /// Tells clients which of their results are on disk by now, a while after they are: all news is told at once.
    pub(super) fn tell_lasting(&mut self, out: &mut Vec<Action>) {
        if !self.config.journal {
            return;
        }
        let (durable, mut news) = (self.durable, false);
        let Self {
            untold, attachments, ..
        } = self;
        untold.retain(|seat| {
            attachments.get_mut(seat).is_some_and(|attachment| {
                let untold = attachment.outbox.lasts(durable);
                news |= untold && attachment.peer.is_some() && attachment.welcomed;
                untold || attachment.outbox.is_undurable()
            })
        });
        if !news {
            self.tell_at = None;
            return;
        }
        if self.now < *self.tell_at.get_or_insert(self.now + TELL_AFTER) {
            return;
        }
        self.tell_at = None;
        let record = self.known_as(self.durable);
        let Self {
            untold, attachments, ..
        } = self;
        untold.retain(|seat| {
            let Some(attachment) = attachments.get_mut(seat) else {
                return false;
            };
            let Some(peer) = attachment.peer.filter(|_| attachment.welcomed) else {
                return true;
            };
            if let Some(delivery) = attachment.outbox.tell_lasting() {
                out.push(Action::ToClient {
                    peer,
                    message: Lasts { delivery, record }.into(),
                    blobs: Vec::new(),
                });
            }
            attachment.outbox.is_undurable()
        });
    }
}
