//! Another life: the state that an earlier one has left in its records.
//!
//! Records are applied as they were live; what is not in them is made from what is. Leases are not: what had not
//! ended waits until the workers of the life before are back, with what they have, or lost.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use scalems_protocol::client::{self as protocol, Accepted};
use scalems_protocol::state::Ending;
use scalems_protocol::{Code, TaskError};

use super::Agent;
use super::timers::Timer;
use crate::interface::{Action, Config, Micros};
use crate::queue::Way;
use crate::record::{Appended, Record, Submitted};
use crate::worker::Worker;

/// Builds an [`Agent`] from records.
#[derive(Debug)]
pub struct Restore {
    agent: Agent,
    records: u64,
    has_room: bool,
}

impl Restore {
    /// An agent that begins its life at `now`, the time since its pilot was created, and does not know anything yet.
    pub fn new(config: Config, now: Micros) -> Self {
        let mut agent = Agent::new(config);
        agent.now = now;
        agent.heard = now;
        agent.begun = now;
        agent.requests.began(now);
        agent.tasks.begin_replay();
        Self {
            agent,
            records: 0,
            has_room: true,
        }
    }

    /// Takes the next record in.
    pub fn take(&mut self, record: &Record) {
        self.records += 1;
        let agent = &mut self.agent;
        match record {
            Record::Session { session, name, kind } => {
                agent.next_number = agent.next_number.max(*session);
                agent.open_session(*session, name.clone(), *kind);
            }
            Record::Seat {
                seat,
                session,
                role,
                holder,
                cancel_after,
            } => {
                agent.next_number = agent.next_number.max(*seat).max(*holder);
                if !agent.attachments.contains_key(seat) {
                    agent.open_seat(*seat, *session, *role);
                }
                if let Some(attachment) = agent.attachments.get_mut(seat) {
                    agent.holders.remove(&attachment.holder);
                    agent.holders.insert(*holder, *seat);
                    attachment.holder = *holder;
                    attachment.role = *role;
                    attachment.cancel_after = *cancel_after;
                    attachment.requests.lenient = true;
                }
            }
            Record::SeatGone { seat } => {
                agent.remove_seat(*seat);
            }
            Record::SessionGone { session } => agent.close_session(*session),
            Record::Worker {
                worker,
                name,
                host,
                pid,
                process,
            } => {
                let mut back = Worker::new(*worker, name.clone(), agent.now);
                back.host.clone_from(host);
                back.pid = *pid;
                back.process.clone_from(process);
                agent.workers.insert(*worker, back);
            }
            Record::WorkerGone { worker } => {
                agent.workers.remove(worker);
            }
            Record::Submitted(submitted) => agent.restore_submission(submitted),
            Record::Appended(appended) => agent.restore_appended(appended),
            Record::Forgotten { submission } => agent.lose_submission(*submission),
            _ => {}
        }
        agent.tasks.apply(record);
    }

    /// Moves values of results out of memory, if those that were taken in are too many for it: `spill` gives them back,
    /// or nothing if there is no room for them, and then they stay.
    pub fn spill(&mut self, spill: impl FnMut(&[Bytes]) -> Option<Vec<Bytes>>) {
        if self.has_room {
            self.has_room = self.agent.spill_now(spill);
        }
    }

    /// The records say which life this is: its number, the pilot and its secret, and its age. Without a call it is what
    /// [`Self::new`] was told.
    pub fn begins(&mut self, config: Config, now: Micros) {
        let agent = &mut self.agent;
        let first = Agent::new(config);
        (agent.life, agent.next_worker) = (first.life, first.next_worker);
        (agent.config, agent.links) = (first.config, first.links);
        (agent.now, agent.heard, agent.begun) = (now, now, now);
        for worker in agent.workers.values_mut() {
            worker.heard = now;
        }
    }

    /// How many submissions were taken in, and how many of their tasks have not ended.
    pub fn known(&self) -> (u64, u64) {
        let tasks = &self.agent.tasks;
        (tasks.len() as u64, tasks.counts.unfinished())
    }

    /// The last record has this number: there were others before those that were taken in.
    pub fn numbered(&mut self, record: u64) {
        self.records = record;
    }

    /// The agent, and what it does first.
    pub fn finish(mut self) -> (Agent, Vec<Action>) {
        let mut out = Vec::new();
        let agent = &mut self.agent;
        agent.records = self.records;
        agent.durable = self.records;
        agent.begun_at = self.records;
        agent.numbers.durable = agent.tasks.last;
        agent.last_recorded = agent.tasks.last;
        agent.spilling.look = true;
        let incarnation = agent.config.incarnation;
        let own = incarnation.saturating_sub(1).saturating_mul(NUMBERS_A_LIFE);
        agent.next_number = agent.next_number.max(own);
        for (seat, ended, spilled) in agent.tasks.end_replay() {
            if let Some(attachment) = agent.attachments.get_mut(&seat)
                && let Some(submission) = agent.tasks.get(ended.run.submission)
            {
                attachment
                    .outbox
                    .push(&ended, spilled, submission.origin, incarnation);
            }
        }
        for seat in agent.attachments.keys().copied().collect::<Vec<u64>>() {
            agent.detach(seat);
        }
        for attachment in agent.attachments.values_mut() {
            attachment.repeats = None;
        }
        let numbers: Vec<u64> = agent.tasks.iter().map(|submission| submission.number).collect();
        for number in &numbers {
            agent.restore_soft(*number);
        }
        agent.oldest_first();
        agent.coming = agent.workers.keys().copied().collect();
        agent.watch_workers();
        agent.look_at_processes(&mut out);
        agent.await_clients();
        if agent.coming.is_empty() {
            agent.go_on(&mut out);
        }
        agent.reserve_numbers(&mut out);
        (self.agent, out)
    }
}

impl Agent {
    /// What a submission is known by, beside the table of tasks.
    fn restore_submission(&mut self, submitted: &Submitted) {
        let number = submitted.submission;
        let accepted = Accepted {
            request: submitted.origin.request,
            submission: number,
            count: submitted.count,
            note: None,
            record: 0,
        };
        let Some(attachment) = self.attachments.get_mut(&submitted.origin.session) else {
            return;
        };
        attachment
            .requests
            .restore(submitted.origin.request, number, accepted);
        if let Some(session) = self.sessions.get_mut(&attachment.session) {
            session.last = Some(number);
            if let Some(uid) = &submitted.template.uid {
                session.uids.insert(uid.clone(), number);
            }
        }
    }

    /// Tasks were added: who asks again is answered.
    fn restore_appended(&mut self, from: &Appended) {
        if let Some(attachment) = self.attachments.get_mut(&from.origin.session) {
            let answer = protocol::Appended {
                request: from.origin.request,
                submission: from.submission,
                first: from.first,
                count: from.count,
                record: 0,
            };
            attachment
                .requests
                .restore_answer(from.origin.request, answer.into());
        }
    }

    /// A submission was forgotten: what pointed to it goes before it does.
    fn lose_submission(&mut self, number: u64) {
        let Some(submission) = self.tasks.get(number) else {
            return;
        };
        let (origin, uid) = (submission.origin, submission.template.uid.clone());
        self.unname(number, origin, uid);
    }

    /// What is not in records: its class, its window, its dependencies, its deadline.
    fn restore_soft(&mut self, number: u64) {
        let submission = self.tasks.known(number);
        let template = Arc::clone(&submission.template);
        let (seat, count) = (submission.origin.session, submission.count());
        let (unfinished, is_over) = (submission.counts.unfinished(), submission.is_over());
        let windowed = submission.push.is_some() && !submission.is_array();
        let (push, at) = (submission.push, submission.at);
        let bytes: u64 = submission
            .slots
            .all()
            .iter()
            .filter(|stretch| !stretch.value.state.is_final())
            .map(|stretch| submission.bytes(stretch.lo, stretch.hi))
            .sum();
        // It was accepted with these needs, so they are few enough.
        let ways = Way::all(&template.needs, &mut self.kinds).unwrap_or_else(|| vec![Way::default()]);
        let class = self.queue.enter_class(&template, ways);
        self.tasks.known(number).class = class;
        if is_over {
            self.ended_tasks += u64::from(count);
            self.ended.push_back(number);
            return;
        }
        if let Some(attachment) = push
            .filter(|_| windowed)
            .and_then(|seat| self.attachments.get_mut(&seat))
        {
            attachment.window.0 += unfinished;
            attachment.window.1 += bytes;
        }
        if self.tasks.known(number).has_too_many_failures() {
            self.failing.push_back(number);
        }
        if template.policy.deadline_ms > 0 {
            // A clock that went back makes no deadline later than it was in the beginning.
            let at = at.min(self.now);
            let at = at.saturating_add(template.policy.deadline_ms.saturating_mul(1_000));
            self.timers.add(at.max(self.now), Timer::Deadline(number));
        }
        // What is not known any more had ended as was asked, else this would have been canceled.
        let after = template.after.iter();
        let blockers: Vec<_> = after
            .filter_map(|after| self.blocker(seat, count, after).ok())
            .collect();
        for blocker in &blockers {
            if let Some(target) = self.tasks.get_mut(blocker.submission)
                && !target.is_over()
            {
                target.dependents.push(number);
            }
        }
        self.tasks.known(number).blockers = blockers;
    }

    /// A worker of the life before is back, or will not come. After the last one it is known what none of them has:
    /// that may start.
    pub(super) fn came(&mut self, worker: u32, out: &mut Vec<Action>) {
        if self.coming.remove(&worker) && self.coming.is_empty() {
            self.go_on(out);
        }
    }

    /// Lets tasks of the life before start that no worker has, or ends those that were to be canceled.
    fn go_on(&mut self, out: &mut Vec<Action>) {
        let unfinished = self
            .tasks
            .iter()
            .filter(|submission| submission.counts.waiting > 0);
        let numbers = unfinished.map(|submission| submission.number).collect();
        self.go_on_with(numbers, out);
    }

    /// Goes on with those that could still run with workers that did not come, as far as they cannot any more.
    pub(super) fn go_on_again(&mut self, out: &mut Vec<Action>) {
        if self.coming.is_empty() {
            let numbers = std::mem::take(&mut self.held_back);
            self.go_on_with(numbers, out);
        }
    }

    fn go_on_with(&mut self, numbers: BTreeSet<u64>, out: &mut Vec<Action>) {
        for number in numbers {
            let Some(submission) = self.tasks.get(number) else {
                continue;
            };
            let on_silence = submission.template.policy.on_silence;
            self.cancel_again(number, out);
            if self.may_run_elsewhere(number, on_silence) {
                self.held_back.insert(number);
                continue;
            }
            let submission = self.tasks.known(number);
            let count = submission.count();
            let again = submission.slots.all().into_iter();
            let again: Vec<(u32, u32)> = again
                .filter(|stretch| stretch.value.attempt > 0)
                .map(|stretch| (stretch.lo, stretch.hi))
                .collect();
            for (lo, hi) in again {
                self.make_ready_again(number, lo, hi, out);
            }
            self.unblock(number, 0, count, out);
        }
    }

    /// Ends tasks that were to be canceled and that no worker has.
    fn cancel_again(&mut self, number: u64, out: &mut Vec<Action>) {
        for (lo, hi, _) in self.tasks.known(number).canceling.clone() {
            let error = TaskError::new(Code::Canceled, "canceled before the agent was started again");
            self.end_unstarted(number, lo, hi, Ending::Canceled, &error, out);
        }
    }
}

/// Numbers of sessions, seats and holders of one life: those that left no record are never given again.
const NUMBERS_A_LIFE: u64 = 1 << 32;
/// Numbers of submissions are reserved in blocks of this size: with half of one to go the next is asked for, and
/// so many are not given while a disk writes one record.
const BLOCK: u64 = 1 << 20;

/// Numbers that may be given to submissions.
#[derive(Clone, Debug, Default)]
pub(super) struct Reserved {
    /// Up to this one.
    durable: u64,
    /// Up to this one once this record is on disk.
    asked: Option<(u64, u64)>,
}

impl Agent {
    /// Sees to it that there are numbers for submissions that no later life gives again.
    pub(super) fn reserve_numbers(&mut self, out: &mut Vec<Action>) {
        if !self.config.journal {
            return;
        }
        if let Some((_, upto)) = self.numbers.asked.take_if(|(record, _)| *record <= self.durable) {
            self.numbers.durable = upto;
        }
        let left = self.numbers.durable.saturating_sub(self.tasks.last);
        if self.numbers.asked.is_none() && left < BLOCK / 2 {
            let upto = self.numbers.durable.max(self.tasks.last) + BLOCK;
            self.commit(Record::Numbers { submissions: upto }, out);
            self.numbers.asked = Some((self.records, upto));
        }
    }

    /// The agent ends in order: once all of its records are on disk, the next life can go on with the next number.
    pub(super) fn return_numbers(&mut self, out: &mut Vec<Action>) {
        if self.config.journal {
            let submissions = self.tasks.last;
            self.commit(Record::Numbers { submissions }, out);
        }
    }

    /// Whether a submission can have a number.
    pub(super) fn has_number(&self) -> bool {
        !self.config.journal || self.tasks.last < self.numbers.durable
    }
}
