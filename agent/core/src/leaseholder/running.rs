//! Tasks that take time: their start, their end, and what ends them early.

use std::sync::Arc;

use scalems_protocol::group::{Data, Run};
use scalems_protocol::state::Strength;
use scalems_protocol::task::TIMED_OUT;
use scalems_protocol::{Bytes, Code, Ending, TaskError, TaskState};

use super::Leaseholder;
use super::ending::Phase;
use super::interface::{Note, Outcome, Output, StopOrder, TaskLease};
use super::link::MILLISECOND;
use super::messages::canceled_because;
use super::mode::{self, Mode};
use super::outbox::Finished;
use super::pace::Pace;
use super::queue::{Found, Next};
use super::slots::Seat;
use super::table::{Behind, Cause, Task, Timer};
use crate::interface::Micros;

/// How long a task may wait behind another.
const BEHIND: Micros = 20 * MILLISECOND;

impl Leaseholder {
    /// Starts what may start and ends what is due, as long as one makes the other possible.
    pub(super) fn work(&mut self, now: Micros, out: &mut Vec<Output>) {
        loop {
            self.start(now, out);
            let mut expired = false;
            while let Some((key, timer)) = self.table.pop_timer(now) {
                expired = true;
                self.expire(now, key, timer, out);
            }
            if !expired {
                break;
            }
        }
    }

    fn start(&mut self, now: Micros, out: &mut Vec<Output>) {
        // A lease that starts while the agent cannot know it may be running elsewhere already.
        if self.phase != Phase::Serving || !self.link.is_live(now) {
            return;
        }
        while !self.outbox.is_full()
            && let Some(waiting) = self.queue.pop_stalled()
        {
            self.discount(&waiting.grant, TaskState::Leased);
            self.finish_at_once(waiting);
        }
        while !self.outbox.is_full() {
            match self.queue.next(&mut self.room) {
                Found::Start(next, seat) => self.start_one(now, next, seat, out),
                Found::Wrong(next, error) => {
                    self.discount(&next.grant, TaskState::Leased);
                    let failed = Finished::empty(next.grant, Ending::Failed);
                    self.outbox.finish(Finished {
                        error: Some(error),
                        ..failed
                    });
                }
                Found::Nothing => break,
            }
        }
        self.line_up(now, out);
    }

    /// Hands the shell the next of tasks that take no time, in lines behind those that run: the way from an end
    /// through the machine to the next start would take as long as such a task itself. A line holds what is over
    /// in the time up to which a task counts as quick.
    fn line_up(&mut self, now: Micros, out: &mut Vec<Output>) {
        while !self.outbox.is_full() {
            let Some(front) = self.queue.front() else { return };
            let prepared = Arc::clone(&front.prepared);
            let quick = self.settings.quick_us;
            let most = self.pace_of(prepared.mode).fit(&prepared.amounts, quick);
            let most = most.min(prepared.mode.line()) as usize;
            if most == 0 {
                return;
            }
            let Some((length, mut leader)) = self.table.shortest_line(&prepared, most) else {
                return;
            };
            for _ in length..most.min(length + prepared.mode.together()) {
                let front = self
                    .queue
                    .front()
                    .filter(|front| Arc::ptr_eq(&front.prepared, &prepared));
                if front.is_none_or(|front| self.table.has(&front.grant)) || self.outbox.is_full() {
                    return;
                }
                let Some((next, back)) = self.queue.take_front() else {
                    return;
                };
                let seat = self
                    .table
                    .get_mut(leader)
                    .expect("it was just found")
                    .seat
                    .clone();
                let behind = Behind {
                    leader: Some(leader),
                    back,
                    recalled: false,
                };
                leader = self.start_task(now, next, seat, Some(behind), out);
            }
        }
    }

    fn pace_of(&mut self, mode: Mode) -> &mut Pace {
        if mode == Mode::Function {
            &mut self.pace_of_functions
        } else {
            &mut self.pace
        }
    }

    /// Takes back what waits behind other tasks.
    pub(super) fn recall_followers(&mut self, out: &mut Vec<Output>) {
        for key in self.table.followers() {
            self.recall(key, out);
        }
    }

    /// Takes back a task that waits, and all behind it: they wait for the same one. The last leaves first, so that
    /// the first is in front of the queue again.
    fn recall(&mut self, key: u64, out: &mut Vec<Output>) {
        let head = self.table.head_of_line(key);
        if head == key {
            return;
        }
        if let Some(head) = self.table.get_mut(head) {
            head.slow = true;
        }
        for key in self.table.line_from(key).into_iter().rev() {
            let behind = self.table.get_mut(key).and_then(|task| task.behind.as_mut());
            if let Some(behind) = behind.filter(|behind| !behind.recalled) {
                behind.recalled = true;
                out.push(Output::Recall { key });
            }
        }
    }

    fn start_one(&mut self, now: Micros, next: Next, seat: Seat, out: &mut Vec<Output>) {
        if self.table.has(&next.grant) {
            self.room.give_back(&next.prepared.amounts, &seat);
            self.discount(&next.grant, TaskState::Leased);
            return out.push(Output::Note(Note::WrongLease("it was granted twice")));
        }
        self.start_task(now, next, seat, None, out);
    }

    /// Returns the key that it is started under.
    fn start_task(
        &mut self,
        now: Micros,
        next: Next,
        seat: Seat,
        behind: Option<Behind>,
        out: &mut Vec<Output>,
    ) -> u64 {
        let Next {
            grant,
            prepared,
            task,
            data,
        } = next;
        let sleeps = match prepared.mode {
            Mode::Sleep => Some(mode::sleep_time(&data).expect("the queue gives out no wrong sleep")),
            _ => None,
        };
        let template = prepared.template.clone();
        let after = behind.as_ref().and_then(|behind| behind.leader);
        let (cpus, gpus) = (Seat::numbers(&seat.cpus), Seat::numbers(&seat.gpus));
        let (cpu_shares, gpu_shares) = (Seat::shares(&seat.cpus), Seat::shares(&seat.gpus));
        let mut started = Task::new(grant, prepared, seat);
        started.behind = behind;
        let key = self.table.insert(started);
        if let Some(leader) = after.and_then(|leader| self.table.get_mut(leader)) {
            leader.follower = Some(key);
            self.table
                .set_timer(key, now.saturating_add(BEHIND), Timer::Behind);
        }
        if let Some(time) = sleeps {
            self.task_started(now, key, out);
            self.table
                .set_timer(key, now.saturating_add(time), Timer::SleepOver);
            return key;
        }
        let Run { lo, attempt, .. } = grant.run;
        out.push(Output::Start(TaskLease {
            key,
            task,
            offset: lo,
            attempt,
            incarnation: grant.incarnation,
            origin: grant.origin,
            template,
            variant: grant.variant,
            data,
            cpus,
            gpus,
            cpu_shares,
            gpu_shares,
            after,
        }));
        key
    }

    pub(super) fn task_started(&mut self, now: Micros, key: u64, out: &mut Vec<Output>) {
        let Some(task) = self.table.get_mut(key) else {
            return out.push(Output::Note(Note::UnknownKey(key)));
        };
        if task.started.replace(now).is_some() {
            return;
        }
        let limit = task.prepared.template.policy.time_limit_ms;
        // Whoever is lost with its worker is charged only if the agent knew that it ran: it is told at once.
        // Of functions only those are said to have begun that take a while.
        let prepared = Arc::clone(&task.prepared);
        let quick = self.settings.quick_us;
        let is_quick = prepared.mode == Mode::Shell && self.pace.is_quicker(&prepared.amounts, quick);
        if !is_quick {
            self.report_by = Some(now);
        }
        self.outbox.start(key);
        if limit > 0 {
            self.table.set_timer(
                key,
                now.saturating_add(limit.saturating_mul(MILLISECOND)),
                Timer::TimeLimit,
            );
        }
    }

    fn expire(&mut self, now: Micros, key: u64, timer: Timer, out: &mut Vec<Output>) {
        match timer {
            Timer::SleepOver => self.end_sleep(now, key, false, out),
            Timer::Behind => self.recall(key, out),
            Timer::TimeLimit => {
                let task = self.table.get_mut(key).expect("a task's timers go with it");
                let cause = Cause::TimeLimit(task.prepared.template.policy.time_limit_ms);
                self.stop_task(now, key, (cause, Strength::Request), u64::MAX, out);
            }
            Timer::Kill => {
                let task = self.table.get_mut(key).expect("a task's timers go with it");
                let (cause, _) = task
                    .stopping
                    .clone()
                    .expect("only what was asked to end is killed later");
                self.stop_task(now, key, (cause, Strength::Kill), 0, out);
            }
        }
    }

    /// Has a task ended, unless that is under way as hard as now asked for.
    pub(super) fn stop_task(
        &mut self,
        now: Micros,
        key: u64,
        (cause, strength): (Cause, Strength),
        most_grace_ms: u64,
        out: &mut Vec<Output>,
    ) {
        let Some(task) = self.table.get_mut(key) else {
            return;
        };
        let before = task.stopping.as_ref().map(|(_, strength)| *strength);
        // The first cause is the one that counts, except that the agent may want to hear nothing.
        let cause = match task.stopping.take() {
            Some((first, _)) if cause != Cause::Dropped => first,
            _ => cause,
        };
        let reason = reason(&cause);
        task.stopping = Some((cause, before.map_or(strength, |before| before.max(strength))));
        let grace_ms = task.prepared.template.policy.grace_ms.min(most_grace_ms);
        let sleeps = task.prepared.mode == Mode::Sleep;
        if sleeps {
            return self.end_sleep(now, key, true, out);
        }
        if before >= Some(strength) {
            return;
        }
        if strength == Strength::Request {
            self.table.set_timer(
                key,
                now.saturating_add(grace_ms.saturating_mul(MILLISECOND)),
                Timer::Kill,
            );
        }
        out.push(Output::Stop(StopOrder {
            key,
            strength,
            grace_ms,
            reason,
        }));
    }

    fn end_sleep(&mut self, now: Micros, key: u64, stopped: bool, out: &mut Vec<Output>) {
        let started = self
            .table
            .get_mut(key)
            .and_then(|task| task.started)
            .unwrap_or(now);
        let outcome = Outcome {
            ending: Ending::Done,
            value: Bytes::new(),
            exit_code: None,
            ran_us: now - started,
            error: None,
            stopped,
        };
        self.task_ended(key, outcome, out);
    }

    pub(super) fn task_ended(&mut self, key: u64, outcome: Outcome, out: &mut Vec<Output>) {
        let Some(mut task) = self.table.remove(key) else {
            return out.push(Output::Note(Note::UnknownKey(key)));
        };
        let began = task.started.is_some();
        let leader = task.leader();
        // Its line closes up.
        if let Some(leader) = leader.and_then(|leader| self.table.get_mut(leader)) {
            leader.follower = task.follower;
        }
        let follower = task.follower.and_then(|follower| self.table.get_mut(follower));
        if let Some(behind) = follower.and_then(|follower| follower.behind.as_mut()) {
            behind.leader = leader;
        }
        // Whoever is before or behind it has its room.
        if leader.is_none() && task.follower.is_none() {
            self.room.give_back(&task.prepared.amounts, &task.seat);
        }
        if task.is_dropped() {
            return;
        }
        if task.prepared.mode.line() > 0 && outcome.ending == Ending::Done {
            self.pace_of(task.prepared.mode)
                .ran(&task.prepared.amounts, outcome.ran_us);
        }
        if let Some(behind) = task.behind.take_if(|behind| behind.recalled)
            && outcome.stopped
            && task.stopping.is_none()
            && !began
        {
            if self.phase == Phase::Serving {
                return self.queue.put_back(behind.back);
            }
            return self.give_back(task.grant, TaskState::Leased);
        }
        let cause = task
            .stopping
            .as_ref()
            .filter(|_| outcome.stopped)
            .map(|(cause, _)| cause);
        let (ending, error) = match cause {
            // Who ends all processes of a job asks its tasks as well as the worker: that is no fault of theirs.
            None if self.asked_here && outcome.ending == Ending::Failed => {
                return self.give_back(task.grant, task.told());
            }
            None => (outcome.ending, outcome.error),
            Some(Cause::Canceled(reason)) => (Ending::Canceled, Some(canceled_because(reason))),
            Some(Cause::TimeLimit(limit)) => {
                let retryable = task.prepared.template.policy.retries_on(i32::from(TIMED_OUT));
                let error = TaskError {
                    retryable,
                    ..time_limit(*limit)
                };
                (Ending::Failed, Some(error))
            }
            Some(Cause::WorkerEnds | Cause::Silence) => return self.give_back(task.grant, task.told()),
            Some(Cause::Dropped) => unreachable!("it returned above"),
        };
        let error = error.map(mode::shortened_error);
        self.discount(&task.grant, task.told());
        self.outbox.finish(Finished {
            grant: task.grant,
            ending,
            data: Data::shared(outcome.value),
            exit_code: outcome.exit_code,
            ran_us: outcome.ran_us,
            error,
        });
    }
}

fn reason(cause: &Cause) -> String {
    match cause {
        Cause::Canceled(reason) if reason.is_empty() => "canceled".to_owned(),
        Cause::Canceled(reason) => reason.clone(),
        Cause::TimeLimit(_) => "its time limit passed".to_owned(),
        Cause::WorkerEnds => "the worker ends".to_owned(),
        Cause::Silence => "the agent is silent, and the task may begin elsewhere".to_owned(),
        Cause::Dropped => "the agent gave the task up".to_owned(),
    }
}

fn time_limit(limit_ms: u64) -> TaskError {
    let seconds = limit_ms as f64 / 1e3;
    let message = format!(
        "the attempt ran longer than its time limit of {seconds} s and was ended; raise policy.time_limit_ms"
    );
    TaskError::retryable(Code::TimeLimit, message)
}
