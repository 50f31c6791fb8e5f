//! Canceling and forgetting (R8, R9).

use scalems_protocol::client::{Cancel, CancelDone, Forget, ForgetDone, Refused};
use scalems_protocol::error::{Code, Refusal, TaskError};
use scalems_protocol::group::Run;
use scalems_protocol::id::Origin;
use scalems_protocol::state::{Ending, Strength, TaskState};

use super::Agent;
use super::timers::Timer;
use crate::interface::{Action, Peer};
use crate::record::Record;
use crate::worker::Held;

impl Agent {
    pub(super) fn cancel(&mut self, peer: Peer, seat: u64, cancel: &Cancel, out: &mut Vec<Action>) {
        let selected = match self.selected(seat, &cancel.select) {
            Ok(selected) => selected,
            Err(refusal) => {
                let refused = Refused {
                    request: Some(cancel.request),
                    id: None,
                    refusal,
                };
                return self.answer(peer, seat, cancel.request, refused.into());
            }
        };
        let mut done = CancelDone {
            request: cancel.request,
            ..CancelDone::default()
        };
        let reason = if cancel.reason.is_empty() {
            "it was asked for"
        } else {
            &cancel.reason
        };
        for (number, lo, hi) in selected {
            let one = self.cancel_range(number, lo, hi, cancel.strength, reason, out);
            if cancel.strength != Strength::Withdraw && cancel.select.is_of_submissions() {
                self.close_submission(number, out);
            }
            done.withdrawn += one.withdrawn;
            done.told += one.told;
            done.running += one.running;
            done.ended += one.ended;
        }
        self.answer(peer, seat, cancel.request, done.into());
    }

    /// Cancels the tasks `lo..hi` of a submission, each as far as it has come.
    pub(super) fn cancel_range(
        &mut self,
        number: u64,
        lo: u32,
        hi: u32,
        strength: Strength,
        reason: &str,
        out: &mut Vec<Action>,
    ) -> CancelDone {
        let mut done = CancelDone::default();
        let Some(submission) = self.tasks.get(number) else {
            return done;
        };
        for stretch in submission.slots.stretches(lo, hi) {
            let tasks = u64::from(stretch.hi - stretch.lo);
            match stretch.value.state {
                TaskState::Done | TaskState::Failed | TaskState::Canceled => done.ended += tasks,
                TaskState::Waiting | TaskState::Ready => {
                    // An earlier one of this loop may have canceled these through a dependency.
                    let error = TaskError::new(Code::Canceled, format!("canceled: {reason}"));
                    let ended =
                        self.end_unstarted(number, stretch.lo, stretch.hi, Ending::Canceled, &error, out);
                    done.withdrawn += ended;
                    done.ended += tasks - ended;
                }
                TaskState::Running if strength == Strength::Withdraw => done.running += tasks,
                TaskState::Leased | TaskState::Running => {
                    done.told += tasks;
                    let record = Record::CancelAsked {
                        submission: number,
                        lo: stretch.lo,
                        hi: stretch.hi,
                        strength,
                    };
                    self.commit(record, out);
                    let (lo, hi) = (stretch.lo, stretch.hi);
                    let run = Run {
                        submission: number,
                        lo,
                        hi,
                        attempt: stretch.value.attempt,
                    };
                    let holder = stretch.value.worker;
                    self.revoke(holder, run, strength, false, reason, out);
                    self.release_canceled(holder, Held::of(number, &stretch), out);
                }
            }
        }
        done
    }

    pub(super) fn forget(&mut self, peer: Peer, seat: u64, forget: &Forget, out: &mut Vec<Action>) {
        // What waits for tasks that have just ended looks at them before they are gone.
        self.settle(out);
        let selected = match self.selected(seat, &forget.select) {
            Ok(selected) => selected,
            Err(refusal) => {
                let refused = Refused {
                    request: Some(forget.request),
                    id: None,
                    refusal,
                };
                return self.answer(peer, seat, forget.request, refused.into());
            }
        };
        let mut done = ForgetDone {
            request: forget.request,
            forgotten: 0,
            kept: 0,
            record: 0,
        };
        let mut submissions: Vec<u64> = selected.iter().map(|(number, _, _)| *number).collect();
        submissions.dedup();
        for number in submissions {
            let Some(submission) = self.tasks.get(number) else {
                continue;
            };
            let count = u64::from(submission.count());
            if submission.is_over() {
                done.forgotten += count;
                self.drop_submission(number, out);
            } else {
                done.kept += count;
            }
        }
        self.answer(peer, seat, forget.request, done.into());
    }

    /// Drops an ended submission and what points to it.
    pub(super) fn drop_submission(&mut self, number: u64, out: &mut Vec<Action>) {
        let Some(submission) = self.tasks.get(number) else {
            return;
        };
        let (class, origin) = (submission.class, submission.origin);
        let uid = submission.template.uid.clone();
        let count = u64::from(submission.count());
        self.commit(Record::Forgotten { submission: number }, out);
        // Its results take no memory any more.
        self.schedule = true;
        self.queue.leave_class(class);
        if let Some(position) = self.ended.iter().position(|ended| *ended == number) {
            self.ended.remove(position);
            self.ended_tasks -= count;
        }
        self.unname(number, origin, uid);
        self.events.forget(number);
    }

    /// Takes back the names of a submission.
    pub(super) fn unname(&mut self, number: u64, origin: Origin, uid: Option<String>) {
        self.forgotten_again(number);
        if let Some(attachment) = self.attachments.get_mut(&origin.session) {
            attachment.requests.submissions.remove(&origin.request);
        }
        // The seat may be gone already, its session not.
        if let Some(uid) = uid {
            let owner = self
                .sessions
                .values_mut()
                .find(|session| session.uids.get(&uid) == Some(&number));
            owner.map(|session| session.uids.remove(&uid));
        }
    }

    /// Keeps the memory for ended tasks bounded (R10): the oldest are forgotten.
    pub(super) fn forget_oldest(&mut self, out: &mut Vec<Action>) {
        while self.ended_tasks > scalems_protocol::limits::ENDED_TASKS && self.ended.len() > 1 {
            let Some(number) = self.ended.front().copied() else {
                break;
            };
            self.count("forgotten_oldest", 1);
            self.drop_submission(number, out);
        }
    }

    /// What has ended is forgotten after a time: the first of it is looked at then.
    pub(super) fn watch_ended(&mut self) {
        let first = self.ended.front().and_then(|number| self.tasks.get(*number));
        if let Some(first) = first.filter(|_| self.config.retain_us > 0 && !self.timers.retain) {
            let at = first.ended_at.saturating_add(self.config.retain_us);
            self.timers.retain = true;
            self.timers.add(at, Timer::Retain);
        }
    }

    /// Forgets what ended long ago.
    pub(super) fn forget_old(&mut self, out: &mut Vec<Action>) {
        while let Some(number) = self.ended.front().copied()
            && let Some(ended) = self.tasks.get(number)
            && ended.ended_at.saturating_add(self.config.retain_us) <= self.now
        {
            self.count("forgotten_old", 1);
            self.drop_submission(number, out);
        }
        self.watch_ended();
    }

    /// What had ended before this life is looked at in the order in which it did.
    pub(super) fn oldest_first(&mut self) {
        let mut ended: Vec<u64> = self.ended.drain(..).collect();
        ended.sort_by_key(|number| self.tasks.get(*number).map(|submission| submission.ended_at));
        self.ended = ended.into();
        self.watch_ended();
    }

    pub(super) fn nothing_selected() -> Refusal {
        Refusal::new(
            Code::NothingSelected,
            "no task that is known here matches; `scalems task list all` shows them",
        )
    }
}
