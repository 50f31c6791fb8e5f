//! What follows when attempts and tasks end: retries, results, dependents.

use scalems_protocol::TaskError;
use scalems_protocol::client::Durable;
use scalems_protocol::error::Code;
use scalems_protocol::group::Run;
use scalems_protocol::state::{Ending, Strength, TaskState};

use super::Agent;
use super::faults::Failing;
use super::timers::Timer;
use crate::interface::{Action, Micros};
use crate::record::{Ended, Record};
use crate::task::Slot;

/// The longest back-off between attempts.
const LONGEST_BACKOFF_MS: u64 = 300_000;

/// Leases that are over without a result.
#[derive(Clone, Copy, Debug)]
pub(super) struct LeaseOver {
    /// Which.
    pub(super) run: Run,
    /// Whether that is charged to the tasks: their worker was lost while they ran.
    pub(super) charged: bool,
    /// How long they have run together, as far as is known.
    pub(super) ran_us: Micros,
    /// In which of their ways.
    pub(super) variant: u8,
}

impl Agent {
    /// An attempt at each of the tasks of `ended` is over; they are leased no more. Decides whether the
    /// tasks end with it.
    pub(super) fn attempt_over(&mut self, mut ended: Ended, out: &mut Vec<Action>) {
        let Run {
            submission: number,
            lo,
            hi,
            ..
        } = ended.run;
        let submission = self.tasks.known(number);
        let retries = submission.template.policy.retries;
        let canceling = !submission.canceling.is_empty();
        if ended.ending == Ending::Done || (!canceling && (retries == 0 || ended.ending == Ending::Canceled))
        {
            return self.end(ended, out);
        }
        let retryable =
            ended.ending == Ending::Failed && ended.error.as_ref().is_some_and(|error| error.retryable);
        // Task by task: each has been charged differently.
        for offset in lo..hi {
            let at = (offset - lo) as usize;
            let one = Ended {
                run: Run {
                    lo: offset,
                    hi: offset + 1,
                    ..ended.run
                },
                data: ended.data.part(at, at + 1),
                ran_us: ended.ran_us / u64::from(hi - lo),
                error: if offset + 1 == hi {
                    ended.error.take()
                } else {
                    ended.error.clone()
                },
                ..ended
            };
            let submission = self.tasks.known(number);
            let own = submission.faults.get(&offset).copied().unwrap_or_default().own;
            let canceling = submission.canceling(offset);
            let again = retryable && own < retries;
            if canceling == Some(Strength::Withdraw) && one.ending == Ending::Failed && !again {
                // It had begun before it could be taken back, and ends as it did by itself. If there were another attempt, that one
                // is what is taken back.
                self.end(one, out);
            } else if canceling.is_some() {
                let mut one = Ended {
                    ending: Ending::Canceled,
                    ..one
                };
                if one
                    .error
                    .as_ref()
                    .is_none_or(|error| error.code != Code::Canceled)
                {
                    let how = one
                        .error
                        .map_or_else(String::new, |error| format!("; it {}", error.message));
                    one.error = Some(TaskError::new(
                        Code::Canceled,
                        format!("canceled while it ran{how}"),
                    ));
                }
                self.end(one, out);
            } else if again {
                let backoff = submission.template.policy.backoff_ms;
                self.note_fault(&Failing::of(&one, true));
                self.commit(
                    Record::Fault {
                        run: one.run,
                        crash: false,
                        ran_us: one.ran_us,
                        variant: one.variant,
                    },
                    out,
                );
                let wait_ms = backoff.saturating_mul(1 << own.min(20)).min(LONGEST_BACKOFF_MS);
                self.again(number, offset, offset + 1, wait_ms * 1_000, out);
            } else {
                self.end(one, out);
            }
        }
    }

    /// Leases came back without a result.
    pub(super) fn lease_over(&mut self, over: LeaseOver, why: &str, out: &mut Vec<Action>) {
        let LeaseOver {
            run,
            charged,
            ran_us,
            variant,
        } = over;
        let number = run.submission;
        let submission = self.tasks.known(number);
        if !charged && submission.canceling.is_empty() {
            self.wasted(number, ran_us, variant, out);
            return self.again(number, run.lo, run.hi, 0, out);
        }
        let ran_us = ran_us / u64::from(run.count().max(1));
        let limit = submission.template.policy.crash_limit;
        for offset in run.lo..run.hi {
            let submission = self.tasks.known(number);
            let before = submission.faults.get(&offset).copied().unwrap_or_default();
            let (crashes, charged) = (before.crashes, charged && run.attempt > before.charged);
            let one = Run {
                lo: offset,
                hi: offset + 1,
                ..run
            };
            let (ending, error) = if submission.canceling(offset).is_some() {
                (
                    Ending::Canceled,
                    TaskError::new(Code::Canceled, "canceled before it ended by itself"),
                )
            } else if charged && crashes + 1 >= limit {
                let message = format!("{limit} workers were lost while it ran, the last: {why}");
                let index = submission.index(offset);
                self.alarm("crash_limit", format!("{number}.{index}"), message.clone());
                (Ending::Failed, TaskError::new(Code::CrashLimit, message))
            } else {
                if charged {
                    self.note_lost(one, why);
                    self.commit(
                        Record::Fault {
                            run: one,
                            crash: true,
                            ran_us,
                            variant,
                        },
                        out,
                    );
                } else {
                    self.wasted(number, ran_us, variant, out);
                }
                self.again(number, offset, offset + 1, 0, out);
                continue;
            };
            let ended = Ended {
                ran_us,
                variant,
                ..Ended::bare(one, ending, error)
            };
            self.end_unseen(ended, out);
        }
    }

    /// A worker was lost under an attempt, after which there is another one.
    fn note_lost(&mut self, run: Run, why: &str) {
        let slots = &self.tasks.known(run.submission).slots;
        let worker = slots.get(run.lo).worker;
        let error = TaskError::new(Code::WorkerLost, why);
        self.note_fault(&Failing {
            worker,
            error: Some(&error),
            ..Failing::of(&Ended::bare(run, Ending::Failed, error.clone()), true)
        });
    }

    /// Attempts that are charged to nobody ran for nothing.
    pub(super) fn wasted(&mut self, submission: u64, ran_us: Micros, variant: u8, out: &mut Vec<Action>) {
        if ran_us > 0 {
            self.commit(
                Record::Wasted {
                    submission,
                    ran_us,
                    variant,
                },
                out,
            );
        }
    }

    /// Tasks get another attempt, after a wait.
    fn again(&mut self, number: u64, lo: u32, hi: u32, wait: Micros, out: &mut Vec<Action>) {
        let submission = self.tasks.known(number);
        for stretch in submission.slots.stretches(lo, hi) {
            let slot = Slot {
                state: TaskState::Waiting,
                variant: 0,
                ..stretch.value
            };
            self.tasks.set(number, stretch.lo, stretch.hi, slot);
        }
        self.tasks.known(number).raise_attempts(lo, hi);
        if wait == 0 {
            self.make_ready_again(number, lo, hi, out);
        } else {
            self.events.submission_changed(number);
            self.timers.add(
                self.now + wait,
                Timer::Retry {
                    submission: number,
                    lo,
                    hi,
                },
            );
        }
    }

    /// Ends tasks that no worker holds. Returns how many it were.
    pub(super) fn end_unstarted(
        &mut self,
        number: u64,
        lo: u32,
        hi: u32,
        ending: Ending,
        error: &TaskError,
        out: &mut Vec<Action>,
    ) -> u64 {
        let mut count = 0;
        for stretch in self.tasks.known(number).slots.stretches(lo, hi) {
            if matches!(stretch.value.state, TaskState::Waiting | TaskState::Ready) {
                // A worker may have been kept free for one of them.
                self.schedule = true;
                count += u64::from(stretch.hi - stretch.lo);
                let attempt = stretch.value.attempt;
                let run = Run {
                    submission: number,
                    lo: stretch.lo,
                    hi: stretch.hi,
                    attempt,
                };
                self.end_unseen(Ended::bare(run, ending, error.clone()), out);
            }
        }
        count
    }

    /// Tasks have their final state, and whoever waits for it is told.
    pub(super) fn end(&mut self, ended: Ended, out: &mut Vec<Action>) {
        let submission = self.tasks.known(ended.run.submission);
        let (origin, push) = (submission.origin, submission.push);
        if let Some(seat) = push
            && let Some(attachment) = self.attachments.get_mut(&seat)
        {
            attachment
                .outbox
                .push(&ended, false, origin, self.config.incarnation);
            self.delivering.insert(seat);
        }
        self.end_seen(ended, out);
    }

    /// Tasks have their final state, which whoever waits for it has seen already.
    pub(super) fn end_seen(&mut self, mut ended: Ended, out: &mut Vec<Action>) {
        ended.at = self.now;
        let (run, has_failed) = (ended.run, ended.ending == Ending::Failed);
        let submission = self.tasks.known(run.submission);
        let bytes = submission.bytes(run.lo, run.hi);
        let windowed = submission.push.filter(|_| !submission.is_array());
        if let Some(attachment) = windowed.and_then(|seat| self.attachments.get_mut(&seat)) {
            attachment.window.0 -= u64::from(run.count());
            attachment.window.1 = attachment.window.1.saturating_sub(bytes);
        }
        self.ended_here += u64::from(run.count());
        self.measured.ended(ended.ran_us, u64::from(run.count()));
        if has_failed {
            self.note_fault(&Failing::of(&ended, false));
        }
        self.commit(Record::Ended(ended), out);
        self.spilling.look = true;
        self.events.submission_changed(run.submission);
        let submission = self.tasks.known(run.submission);
        let before = submission
            .counts
            .failed
            .saturating_sub(u64::from(run.hi - run.lo));
        if has_failed && submission.may_fail(before) && submission.has_too_many_failures() {
            // Once, and not here: others of the same message may be about to end by themselves.
            self.failing.push_back(run.submission);
        }
        let submission = self.tasks.known(run.submission);
        if !submission.dependents.is_empty() {
            self.settling.push_back((run.submission, run.lo, run.hi));
        }
        self.note_over(run.submission);
    }

    /// What follows if a submission is over with what was just recorded.
    pub(super) fn note_over(&mut self, number: u64) {
        let submission = self.tasks.known(number);
        if submission.is_over() {
            self.ended_tasks += u64::from(submission.count());
            self.ended.push_back(number);
            self.tried_before.remove(&number);
            self.watch_ended();
        }
    }

    /// Looks at what waited for tasks that have ended. One end leads to others, so this is a loop over a list.
    pub(super) fn settle(&mut self, out: &mut Vec<Action>) {
        while let Some((number, lo, hi)) = self.settling.pop_front() {
            let Some(submission) = self.tasks.get_mut(number) else {
                continue;
            };
            let over = submission.is_over();
            let dependents = if over {
                std::mem::take(&mut submission.dependents)
            } else {
                submission.dependents.clone()
            };
            let bad = submission.counts.failed + submission.counts.canceled > 0;
            // The last look is at all of it: what ended in this round by other ranges has no look of its own.
            let (lo, hi) = if over { (0, submission.count()) } else { (lo, hi) };
            let count = submission.count();
            for dependent in dependents {
                let Some(waiting) = self.tasks.get(dependent) else {
                    continue;
                };
                let mine = waiting
                    .blockers
                    .iter()
                    .filter(|blocker| blocker.submission == number);
                let (mut whole, mut each) = (false, false);
                for blocker in mine {
                    // A whole dependency is looked at when its last task ended, or the first one badly; one
                    // on a part at each end in that part.
                    let ranged = blocker.lo < hi && lo < blocker.hi;
                    each |= blocker.each;
                    whole |= !blocker.each && ranged && (over || bad || blocker.hi - blocker.lo < count);
                }
                if whole {
                    let count = waiting.count();
                    self.unblock(dependent, 0, count, out);
                } else if each {
                    self.unblock(dependent, lo, hi, out);
                }
            }
        }
    }

    /// Sends out the results that have gathered.
    pub(super) fn deliver(&mut self, out: &mut Vec<Action>) {
        let (durable, record) = (self.durability(), self.records);
        while let Some(seat) = self.delivering.pop_first() {
            let Some(attachment) = self.attachments.get_mut(&seat) else {
                continue;
            };
            let Some(peer) = attachment.peer.filter(|_| attachment.welcomed) else {
                continue;
            };
            let mut delivered = false;
            while let Some((results, blobs)) = attachment.outbox.deliver(durable, record) {
                delivered = true;
                out.push(Action::ToClient {
                    peer,
                    message: results.into(),
                    blobs,
                });
            }
            if delivered && durable == Durable::Pending {
                self.untold.insert(seat);
            }
        }
    }
}
