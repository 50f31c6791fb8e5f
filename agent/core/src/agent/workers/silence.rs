//! Workers that are not heard of: whether their processes are over, and when what they may still run can run elsewhere
//! (R11).

use scalems_protocol::task::OnSilence;

use super::super::Agent;
use super::super::timers::Timer;
use crate::interface::{Action, Micros};
use crate::record::Record;
use crate::worker::{Held, Standing, Worker};

/// Time between looks at the process of a worker whose connection is gone.
const LOOK_EVERY: Micros = 100_000;

impl Agent {
    /// After so long without a word of its worker an attempt no longer keeps others from running.
    pub(super) fn silence(&self, on: OnSilence) -> Micros {
        let lost = self.lost_after();
        match on {
            OnSilence::Rerun => lost,
            // The worker may have heard of us for longer than we of it: until we called it lost. Then it takes as long
            // again until it asks the task to end, and half of that until it kills it.
            OnSilence::Stop => lost.saturating_mul(3),
            OnSilence::Continue => self.config.orphan_ms.saturating_mul(1_000).saturating_add(lost),
        }
    }

    /// After so long a lost worker runs nothing any more.
    pub(super) fn longest_silence(&self) -> Micros {
        self.silence(OnSilence::Continue)
            .max(self.silence(OnSilence::Stop))
    }

    /// Leases of a lost worker that nobody else may have yet stay its own. Gives the others.
    pub(super) fn withhold(&mut self, number: u32, held: Vec<Held>) -> Vec<Held> {
        let (mut withheld, mut free) = (Vec::new(), Vec::new());
        for held in held {
            let submission = self.tasks.known(held.run.submission);
            if submission.template.policy.on_silence == OnSilence::Rerun {
                free.push(held);
                continue;
            }
            // What is to end gets no other attempt.
            for offset in held.run.lo..held.run.hi {
                let list = if submission.canceling(offset).is_some() {
                    &mut free
                } else {
                    &mut withheld
                };
                match list.last_mut() {
                    Some(Held {
                        run, state, variant, ..
                    }) if run.submission == held.run.submission
                        && run.attempt == held.run.attempt
                        && (*state, *variant) == (held.state, held.variant)
                        && run.hi == offset =>
                    {
                        run.hi += 1;
                    }
                    _ => list.push(held.part(offset, offset + 1)),
                }
            }
        }
        let tasks: u32 = withheld.iter().map(|held: &Held| held.run.count()).sum();
        self.count("withheld_leases", tasks.into());
        for held in withheld {
            self.occupy(number, held);
        }
        free
    }

    /// Leases of lost workers are given to others once their time is over.
    pub(super) fn release_withheld(&mut self, out: &mut Vec<Action>) {
        let silent = self
            .workers
            .values()
            .filter(|worker| worker.standing == Standing::Lost && !worker.holds.is_empty());
        let silent: Vec<(u32, Micros)> = silent
            .map(|worker| (worker.number, self.now.saturating_sub(worker.heard)))
            .collect();
        for (number, silent) in silent {
            let why = format!("nothing was heard of it for {} s", silent / 1_000_000);
            self.release(number, |agent, on| silent >= agent.silence(on), &why, out);
            self.record_gone(number, out);
        }
        self.account(out);
    }

    /// Leases of a lost worker go to others, those of which `over` says so.
    fn release(
        &mut self,
        number: u32,
        over: impl Fn(&Self, OnSilence) -> bool,
        why: &str,
        out: &mut Vec<Action>,
    ) {
        let name = self
            .workers
            .get(&number)
            .map_or_else(String::new, |worker| worker.name.clone());
        for held in self.believed(number) {
            let on = self.tasks.known(held.run.submission).template.policy.on_silence;
            if over(self, on) {
                self.vacate(number, held);
                if let Some(worker) = self.workers.get_mut(&number) {
                    worker.taken.push(held);
                }
                let over = self.over(number, held, true);
                self.lease_over(over, &format!("worker {name}: {why}"), out);
                self.schedule = true;
            }
        }
    }

    /// Some of what a lost worker holds was canceled: no other attempt follows, so nothing is waited for.
    pub(in super::super) fn release_canceled(&mut self, number: u32, held: Held, out: &mut Vec<Action>) {
        if self
            .workers
            .get(&number)
            .is_some_and(|worker| worker.standing == Standing::Lost)
        {
            self.vacate(number, held);
            let over = self.over(number, held, false);
            self.lease_over(over, "its worker is lost", out);
        }
    }

    /// The process of a worker is over, and all that it ran.
    pub(in super::super) fn process_gone(&mut self, number: u32, out: &mut Vec<Action>) {
        const WHY: &str = "its process has ended";
        let Some(worker) = self
            .workers
            .get_mut(&number)
            .filter(|worker| worker.peer.is_none())
        else {
            return;
        };
        worker.over = true;
        let lives = worker.lives();
        self.no_welcome_for_worker(number);
        if lives {
            self.worker_ends(number, Standing::Lost, WHY, out);
        } else {
            self.release(number, |_, _| true, WHY, out);
            self.accounted(number, out);
            self.record_gone(number, out);
        }
    }

    /// The next life need not wait for a lost worker: nothing that it may still run is kept from others any more.
    pub(super) fn record_gone(&mut self, number: u32, out: &mut Vec<Action>) {
        let settled = |worker: &Worker| worker.standing == Standing::Lost && worker.holds.is_empty();
        if let Some(worker) = self.workers.get_mut(&number)
            && settled(worker)
            && !worker.recorded_gone
            && !self.absent.contains_key(&number)
        {
            worker.recorded_gone = true;
            self.commit(Record::WorkerGone { worker: number }, out);
        }
    }

    /// Looks at the processes of workers whose connections are gone, again and again until they are back or settled.
    pub(in super::super) fn look_at_processes(&mut self, out: &mut Vec<Action>) {
        for worker in self.workers.values().filter(|worker| worker.is_looked_at()) {
            out.push(Action::Look {
                worker: worker.number,
                process: worker.process.clone(),
            });
        }
        self.watch_processes();
    }

    pub(in super::super) fn watch_processes(&mut self) {
        let any = || {
            self.workers
                .values()
                .any(|worker| worker.is_looked_at() && (worker.lives() || !worker.holds.is_empty()))
                || self.absent.keys().any(|number| self.workers.contains_key(number))
        };
        if !self.timers.processes && any() {
            self.timers.processes = true;
            self.timers.add(self.now + LOOK_EVERY, Timer::Processes);
        }
    }

    /// A worker of the life before did not come, and what it runs is not known.
    pub(super) fn unaccounted(&mut self, number: u32) {
        if self.coming.contains(&number)
            && let Some(worker) = self.workers.get(&number)
        {
            self.absent.insert(number, worker.heard);
        }
    }

    /// A worker of the life before is back, or over.
    pub(super) fn accounted(&mut self, number: u32, out: &mut Vec<Action>) {
        if self.absent.remove(&number).is_some() {
            self.go_on_again(out);
        }
    }

    /// If nothing can wait for workers of the life before that did not come, nobody has to.
    pub(in super::super) fn all_accounted(&mut self, out: &mut Vec<Action>) {
        if !self.coming.is_empty() || self.absent.is_empty() || self.is_any_expected() {
            return;
        }
        let may_wait = self.tasks.iter().any(|submission| {
            submission.counts.unfinished() > 0
                && self.is_inherited(submission.number)
                && submission.template.policy.on_silence != OnSilence::Rerun
        });
        if !may_wait {
            while let Some((number, _)) = self.absent.pop_first() {
                self.record_gone(number, out);
            }
        }
    }

    /// Workers of the life before that did not come run nothing any more after some time.
    fn account(&mut self, out: &mut Vec<Action>) {
        if self.absent.is_empty() {
            return;
        }
        let (now, long) = (self.now, self.longest_silence());
        let over = self
            .absent
            .extract_if(.., |_, heard| now.saturating_sub(*heard) >= long);
        let over: Vec<u32> = over.map(|(number, _)| number).collect();
        for number in over {
            self.record_gone(number, out);
        }
        self.go_on_again(out);
    }

    /// Whether tasks of a submission may run at a worker of before that is not back, and wait for it: for all that may
    /// still come, and if they must not run twice for those too that did not.
    pub(in super::super) fn may_run_elsewhere(&self, submission: u64, on: OnSilence) -> bool {
        let silence = self.silence(on);
        let is_silent = |heard: &Micros| self.now.saturating_sub(*heard) < silence;
        self.is_inherited(submission)
            && (!self.coming.is_empty()
                || self.is_listed(submission)
                || (on != OnSilence::Rerun && self.absent.values().any(is_silent)))
    }
}
