//! Submissions: what is checked at the edge, and how tasks become ready.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use scalems_protocol::client::{Accepted, AgentToClient, Envelope, Refused, Submit};
use scalems_protocol::error::{Code, Refusal, TaskError};
use scalems_protocol::group::Data;
use scalems_protocol::id::Origin;
use scalems_protocol::state::{Ending, TaskState};
use scalems_protocol::task::{After, Template};
use scalems_protocol::{limits, state::Strength};

use super::Agent;
use super::timers::Timer;
use crate::interface::{Action, Peer};
use crate::queue::{Entry, Way};
use crate::record::{Again, Record, Submitted};
use crate::resources::Amounts;
use crate::task::{Blocker, Indices, Slot, Standing, Submission};

/// Why nothing is taken in while the disk is full.
pub(super) const NO_ROOM: &str =
    "there is no room for the pilot's journal: nothing is taken in until there is, see the agent's log";

/// Tasks that are about to be taken in.
pub(super) struct New {
    /// The request's number.
    pub(super) request: u64,
    /// What they share.
    pub(super) task: Template,
    /// How many.
    pub(super) count: u32,
    /// Their indices.
    pub(super) indices: Indices,
    /// Their data.
    pub(super) data: Data,
    /// Whether results are pushed.
    pub(super) streaming: bool,
    /// Whether tasks may be added.
    pub(super) open: bool,
    /// Which tasks they are, submitted again.
    pub(super) again: Option<Again>,
}

impl Agent {
    /// A single envelope: one held task, under the attachment's next request number.
    pub(super) fn envelope(
        &mut self,
        peer: Peer,
        seat: u64,
        envelope: Envelope,
        blobs: Vec<Bytes>,
        out: &mut Vec<Action>,
    ) {
        let requests = &mut self
            .attachments
            .get_mut(&seat)
            .expect("a client's seat is known")
            .requests;
        requests.high += 1;
        let request = requests.high;
        let submit = Submit {
            request,
            low_water: 0,
            count: 1,
            task: envelope.task,
            first: 0,
            step: 1,
            ends: Vec::new(),
            streaming: false,
            open: false,
            total: None,
        };
        // Its sender does not know the number, so it cannot ask for the answer again: it is not kept.
        let message = self.accepted(seat, submit, blobs, out);
        self.answers.push(self.records, peer, message, None);
    }

    pub(super) fn submit(
        &mut self,
        peer: Peer,
        seat: u64,
        submit: Submit,
        blobs: Vec<Bytes>,
        out: &mut Vec<Action>,
    ) {
        let (request, streaming) = (submit.request, submit.streaming);
        let message = self.accepted(seat, submit, blobs, out);
        self.answer_submission(peer, seat, request, streaming, message, out);
    }

    pub(super) fn answer_submission(
        &mut self,
        peer: Peer,
        seat: u64,
        request: u64,
        streaming: bool,
        message: AgentToClient,
        out: &mut Vec<Action>,
    ) {
        if self.disk_full && matches!(message, AgentToClient::Refused(_)) {
            // It changed nothing, so it waits for nothing: what waits for the disk may wait for long.
            return self.answer_now(peer, seat, request, message, out);
        }
        let patient = streaming && matches!(message, AgentToClient::Accepted(_));
        let until = patient.then(|| self.now + self.config.patience_us);
        self.answer_by(until, peer, seat, request, message);
    }

    fn accepted(
        &mut self,
        seat: u64,
        submit: Submit,
        blobs: Vec<Bytes>,
        out: &mut Vec<Action>,
    ) -> AgentToClient {
        let request = submit.request;
        let accepted = self.accept(seat, submit, blobs, out);
        self.say_accepted(request, accepted)
    }

    pub(super) fn say_accepted(
        &mut self,
        request: u64,
        accepted: Result<Accepted, Refusal>,
    ) -> AgentToClient {
        match accepted {
            Ok(accepted) => accepted.into(),
            Err(refusal) => {
                self.count("refused", 1);
                Refused {
                    request: Some(request),
                    id: None,
                    refusal,
                }
                .into()
            }
        }
    }

    fn accept(
        &mut self,
        seat: u64,
        submit: Submit,
        mut blobs: Vec<Bytes>,
        out: &mut Vec<Action>,
    ) -> Result<Accepted, Refusal> {
        self.check_takes()?;
        check_shape(&submit, &blobs)?;
        submit.task.check()?;
        let task = self.filtered(seat, submit.task)?;
        let data = Data {
            bytes: blobs.pop().unwrap_or_default(),
            ends: submit.ends,
        };
        data.check(submit.count as usize)?;
        self.check_each(seat, submit.total.unwrap_or(submit.count), &task.after)?;
        let new = New {
            request: submit.request,
            task,
            count: submit.count,
            indices: Indices::even(submit.first, submit.step),
            data,
            streaming: submit.streaming,
            open: submit.open,
            again: None,
        };
        self.take_in(seat, new, out)
    }

    /// Takes tasks in, whose shape is right.
    pub(super) fn take_in(
        &mut self,
        seat: u64,
        submit: New,
        out: &mut Vec<Action>,
    ) -> Result<Accepted, Refusal> {
        let data = submit.data;
        let batch = !data.ends.is_empty() || submit.count == 1;
        self.check_room(seat, submit.streaming && batch, submit.count, data.bytes.len())?;
        let session = self.attachments[&seat].session;
        if let Some(uid) = &submit.task.uid
            && let Some(number) = self.sessions[&session].uids.get(uid)
        {
            let message = format!("uid {uid:?} is submission {number} of this session already");
            return Err(Refusal::new(Code::DuplicateUid, message));
        }
        let after = submit.task.after.iter();
        let blockers: Vec<_> = after
            .map(|after| self.blocker(seat, submit.count, after))
            .collect::<Result<_, _>>()?;
        let ways = Way::all(&submit.task.needs, &mut self.kinds).ok_or_else(|| {
            Refusal::new(
                Code::TooLarge,
                format!("more than {} kinds of resources", limits::RESOURCE_KINDS),
            )
        })?;
        let note = self.servable(&submit.task, &ways)?;

        self.reserve_numbers(out);
        if !self.has_number() {
            let message = "the journal does not keep up: try again when the disk is less busy";
            return Err(Refusal::new(Code::AgentFull, message));
        }

        // Everything is checked: from here on nothing fails.
        let known = self.number_of_before(seat, submit.request, submit.count);
        if known.is_some() {
            self.count("known_again", 1);
        }
        let number = known.unwrap_or(self.tasks.last + 1);
        self.taken_in(seat, submit.request, number);
        let template = Arc::new(submit.task);
        let class = self.queue.enter_class(&template, ways);
        let bytes = data.bytes.len() as u64;
        let record = Record::Submitted(Submitted {
            submission: number,
            origin: Origin {
                session: seat,
                request: submit.request,
            },
            template: Arc::clone(&template),
            count: submit.count,
            indices: submit.indices,
            data,
            push: submit.streaming.then_some(seat),
            at: self.now,
            open: submit.open,
            again: submit.again,
        });
        self.commit(record, out);
        self.events.submission_changed(number);
        for blocker in &blockers {
            if let Some(target) = self.tasks.get_mut(blocker.submission)
                && !target.is_over()
            {
                target.dependents.push(number);
            }
        }
        let submission = self.tasks.known(number);
        submission.class = class;
        submission.blockers = blockers;
        let attachment = self.attachments.get_mut(&seat).expect("a client's seat is known");
        attachment.requests.submissions.insert(submit.request, number);
        if submit.streaming && batch {
            attachment.window.0 += u64::from(submit.count);
            attachment.window.1 += bytes;
        }
        let session = self
            .sessions
            .get_mut(&session)
            .expect("a seat's session is known");
        session.last = Some(number);
        if let Some(uid) = &template.uid {
            session.uids.insert(uid.clone(), number);
        }
        if template.policy.deadline_ms > 0 {
            self.timers.add(
                self.now + template.policy.deadline_ms * 1_000,
                Timer::Deadline(number),
            );
        }
        self.unblock(number, 0, submit.count, out);
        Ok(Accepted {
            request: submit.request,
            submission: number,
            count: submit.count,
            note,
            record: 0,
        })
    }

    /// Whether anything is taken in at all.
    pub(super) fn check_takes(&self) -> Result<(), Refusal> {
        if self.stopping.is_some() {
            let message = format!("pilot {} is ending and takes no new work", self.config.pilot_name);
            return Err(Refusal::new(Code::Stopping, message));
        }
        if self.disk_full {
            return Err(Refusal::new(Code::AgentFull, NO_ROOM));
        }
        Ok(())
    }

    pub(super) fn check_room(
        &self,
        seat: u64,
        windowed: bool,
        count: u32,
        bytes: usize,
    ) -> Result<(), Refusal> {
        if windowed {
            let window = self.attachments[&seat].window;
            let tasks = window.0 + u64::from(count) > limits::WINDOW_TASKS;
            let data = window.0 > 0 && window.1 + bytes as u64 > limits::WINDOW_BYTES;
            if tasks || data {
                let message = format!(
                    "a streaming session has at most {} tasks or {} MiB unfinished; wait for results",
                    limits::WINDOW_TASKS,
                    limits::WINDOW_BYTES >> 20
                );
                return Err(Refusal::new(Code::WindowFull, message));
            }
        }
        if self.tasks.full(count, bytes) {
            let message = format!(
                "the pilot holds at most {} unfinished tasks and {} GiB of data; wait until some have ended",
                limits::PILOT_TASKS,
                limits::PILOT_BYTES >> 30
            );
            return Err(Refusal::new(Code::AgentFull, message));
        }
        Ok(())
    }

    /// Refuses tasks that are to run each after one of others, where those are more or fewer than these will be.
    fn check_each(&self, seat: u64, total: u32, after: &[After]) -> Result<(), Refusal> {
        for after in after.iter().filter(|after| after.each) {
            let blocker = self.blocker(seat, total, after)?;
            let target = self.tasks.get(blocker.submission);
            if let Some(target) = target.filter(|target| target.count() != total) {
                return Err(unequal(target, total));
            }
        }
        Ok(())
    }

    /// The submission that is meant, if it is known.
    pub(super) fn target(&self, seat: u64, after: &After) -> Option<&Submission> {
        let requested = |request: u64| {
            let seat = self.attachments.get(&seat)?;
            seat.requests.submissions.get(&request).copied()
        };
        let number = after.submission.or_else(|| requested(after.request?))?;
        self.tasks.get(number)
    }

    /// Resolves a dependency to a submission that is known. Of one that is open there are `count` tasks up to now.
    pub(super) fn blocker(&self, seat: u64, count: u32, after: &After) -> Result<Blocker, Refusal> {
        let Some(target) = self.target(seat, after) else {
            let what = after.submission.map_or_else(
                || format!("request {}", after.request.unwrap_or_default()),
                |number| format!("submission {number}"),
            );
            let message = format!("the task is to run after {what}, which is not known here (any more)");
            return Err(Refusal::new(Code::UnknownDependency, message));
        };
        let all = if target.open { u32::MAX } else { target.count() };
        let (lo, hi) = after.offsets.unwrap_or((0, all));
        if after.offsets.is_some() && hi > target.count() {
            let message = format!("submission {} has only {} tasks", target.number, target.count());
            return Err(Refusal::new(Code::UnknownDependency, message));
        }
        if after.each && target.open {
            let message = format!(
                "task by task needs to know how many there are, and submission {} is open",
                target.number
            );
            return Err(Refusal::new(Code::InvalidValue, message));
        }
        if after.each && target.count() < count {
            return Err(unequal(target, count));
        }
        Ok(Blocker {
            submission: target.number,
            lo,
            hi,
            when: after.when,
            each: after.each,
        })
    }

    /// Refuses what no worker that was ever seen could serve; says so when it is only not served now.
    fn servable(&self, task: &Template, ways: &[Way]) -> Result<Option<String>, Refusal> {
        let none = Amounts::default();
        let could = |modes: &BTreeMap<String, bool>, has: &Amounts| {
            modes.contains_key(&task.mode) && ways.iter().any(|way| has.short_of(&none, &way.needs).is_none())
        };
        let living = || self.workers.values().filter(|worker| worker.lives());
        if living().any(|worker| could(&worker.modes, &worker.capacity)) {
            return Ok(None);
        }
        let serving = self
            .seen
            .iter()
            .filter(|(modes, _)| modes.contains_key(&task.mode));
        let serving: Vec<&Amounts> = serving.map(|(_, has)| has).collect();
        // What each way fails for, at the worker that has the most of it.
        let short = |way: &Way| {
            let most = serving.iter().filter_map(|has| {
                let kind = has.short_of(&none, &way.needs)?;
                Some((has.amount(kind), kind))
            });
            let (has, kind) = most.max()?;
            let (name, wants) = (self.kinds.name(kind), way.needs.amount(kind));
            Some(format!("{wants} {name} and no worker has more than {has}"))
        };
        let short: Option<Vec<String>> = ways.iter().map(short).collect();
        let (code, problem) = if let Some(short) = short {
            let problem = format!("one task needs {}", short.join(", or else "));
            (Code::ImpossibleNeeds, problem)
        } else if self.seen.iter().any(|(modes, has)| could(modes, has)) {
            (
                Code::UnknownMode,
                format!("the worker that served mode {:?} has gone", task.mode),
            )
        } else if self.seen.is_empty() {
            (Code::UnknownMode, "no worker has joined yet".to_owned())
        } else {
            let known: BTreeSet<&String> = self.seen.iter().flat_map(|(modes, _)| modes.keys()).collect();
            let known = known
                .into_iter()
                .map(String::as_str)
                .collect::<Vec<_>>()
                .join(", ");
            (
                Code::UnknownMode,
                format!("no worker serves mode {:?}; they serve {known}", task.mode),
            )
        };
        if let Some(requested) = self.requested_for(&task.mode, ways) {
            return Ok(Some(format!("waiting_for_worker: {problem}; {requested}")));
        }
        let expected = self.joined < self.config.expected_workers;
        let seen = self.seen.iter().any(|(modes, has)| could(modes, has));
        if expected || (self.config.open_to_workers && (seen || self.seen.is_empty())) {
            return Ok(Some(format!(
                "waiting_for_worker: {problem}; the task waits for a worker that can"
            )));
        }
        Err(Refusal::new(code, problem))
    }

    /// Lets go those of the waiting tasks `lo..hi` whose dependencies are met; cancels those for which one
    /// was missed.
    pub(super) fn unblock(&mut self, number: u64, lo: u32, hi: u32, out: &mut Vec<Action>) {
        let Some(submission) = self.tasks.get(number) else {
            return;
        };
        // What was added and is not on disk has no attempt before it is: so no later life hears of tasks that it does not know.
        let waiting: Vec<(u32, u32)> = submission
            .slots
            .stretches(lo, hi.min(submission.recorded))
            .into_iter()
            .filter(|stretch| stretch.value.state == TaskState::Waiting)
            // Others that have had an attempt wait for something else.
            .filter(|stretch| stretch.value.attempt == 0 || self.tried_before.contains(&number))
            .map(|stretch| (stretch.lo, stretch.hi))
            .collect();
        let blockers = submission.blockers.clone();
        let mut whole = Standing::Met;
        let mut missed = None;
        for blocker in blockers.iter().filter(|blocker| !blocker.each) {
            match self.blocker_standing(blocker, blocker.lo, blocker.hi) {
                Standing::Met => {}
                Standing::Pending => whole = Standing::Pending,
                Standing::Missed => missed = Some(*blocker),
            }
        }
        if let Some(blocker) = missed {
            let all = self.tasks.known(number).count();
            self.dependency_missed(number, 0, all, &blocker, out);
            // What would be added could not run either.
            self.close_submission(number, out);
            return;
        }
        let each: Vec<&Blocker> = blockers.iter().filter(|blocker| blocker.each).collect();
        for (lo, hi) in waiting {
            if each.is_empty() {
                if whole == Standing::Met {
                    self.make_ready(number, lo, hi);
                }
                continue;
            }
            // Offset by offset: the target's own runs say which offsets stand alike.
            for offset in lo..hi {
                let mut standing = whole;
                for blocker in &each {
                    match self.blocker_standing(blocker, offset, offset + 1) {
                        Standing::Met => {}
                        Standing::Pending if standing == Standing::Met => standing = Standing::Pending,
                        Standing::Pending => {}
                        Standing::Missed => {
                            standing = Standing::Missed;
                            self.dependency_missed(number, offset, offset + 1, blocker, out);
                            break;
                        }
                    }
                }
                if standing == Standing::Met {
                    self.make_ready(number, offset, offset + 1);
                }
            }
        }
    }

    /// A target that was forgotten had ended as was asked, else its dependents would have been canceled.
    fn blocker_standing(&self, blocker: &Blocker, lo: u32, hi: u32) -> Standing {
        self.tasks
            .get(blocker.submission)
            .map_or(Standing::Met, |target| blocker.standing(target, lo, hi))
    }

    fn dependency_missed(&mut self, number: u64, lo: u32, hi: u32, blocker: &Blocker, out: &mut Vec<Action>) {
        let asked = match blocker.when {
            scalems_protocol::task::When::Ok => "end well",
            scalems_protocol::task::When::Any => "end",
            scalems_protocol::task::When::Failed => "fail",
        };
        let message = format!(
            "submission {} did not {asked}, which this task was to run after; `scalems task list {}` shows it",
            blocker.submission, blocker.submission
        );
        let error = TaskError::new(Code::DependencyFailed, message);
        let waiting = self.tasks.known(number).slots.stretches(lo, hi);
        for stretch in waiting
            .into_iter()
            .filter(|stretch| stretch.value.state == TaskState::Waiting)
        {
            self.end_unstarted(number, stretch.lo, stretch.hi, Ending::Canceled, &error, out);
        }
    }

    /// Puts waiting tasks that have had an attempt into the queue. What they were to run after had ended then; if that was
    /// in an earlier life, and left no record, it has to end once more.
    pub(super) fn make_ready_again(&mut self, number: u64, lo: u32, hi: u32, out: &mut Vec<Action>) {
        let submission = self.tasks.get(number);
        if self.is_inherited(number) && submission.is_some_and(|submission| !submission.blockers.is_empty()) {
            self.tried_before.insert(number);
            self.unblock(number, lo, hi, out);
        } else {
            self.make_ready(number, lo, hi);
        }
    }

    /// Puts waiting tasks into the queue.
    pub(super) fn make_ready(&mut self, number: u64, lo: u32, hi: u32) {
        let Some(submission) = self.tasks.get(number) else {
            return;
        };
        let (class, policy) = (submission.class, &submission.template.policy);
        let priority = policy.priority;
        // A worker that is not back may have a later attempt than the one that ended.
        if self.may_run_elsewhere(number, policy.on_silence) {
            self.held_back.insert(number);
            self.events.submission_changed(number);
            return;
        }
        for stretch in submission.slots.stretches(lo, hi) {
            if stretch.value.state != TaskState::Waiting {
                continue;
            }
            let slot = Slot {
                state: TaskState::Ready,
                ..stretch.value
            };
            self.tasks.set(number, stretch.lo, stretch.hi, slot);
            self.queue.push(
                class,
                priority,
                Entry {
                    submission: number,
                    lo: stretch.lo,
                    hi: stretch.hi,
                },
            );
        }
        self.events.submission_changed(number);
        self.schedule = true;
    }

    /// Cancels what has not ended of the submissions of which more have failed than may.
    pub(super) fn end_failing(&mut self, out: &mut Vec<Action>) {
        while let Some(number) = self.failing.pop_front() {
            let Some(submission) = self.tasks.get(number) else {
                continue;
            };
            if !submission.has_too_many_failures() {
                continue;
            }
            let (failed, count) = (submission.counts.failed, submission.count());
            let most = submission.template.max_failures.unwrap_or_default();
            let reason = format!("{failed} tasks of submission {number} have failed, and {most} may");
            self.cancel_range(number, 0, count, Strength::Request, &reason, out);
            self.close_submission(number, out);
        }
    }

    pub(super) fn deadline_passed(&mut self, number: u64, out: &mut Vec<Action>) {
        let Some(submission) = self.tasks.get(number).filter(|submission| !submission.is_over()) else {
            return;
        };
        let (count, limit) = (submission.count(), submission.template.policy.deadline_ms);
        let message = format!("the deadline of {limit} ms after submission passed");
        let unstarted: Vec<(u32, u32)> = submission
            .slots
            .all()
            .into_iter()
            .filter(|stretch| matches!(stretch.value.state, TaskState::Waiting | TaskState::Ready))
            .map(|stretch| (stretch.lo, stretch.hi))
            .collect();
        for (lo, hi) in unstarted {
            let error = TaskError::new(Code::Deadline, message.clone());
            self.end_unstarted(number, lo, hi, Ending::Failed, &error, out);
        }
        self.cancel_range(number, 0, count, Strength::Request, &message, out);
        self.close_submission(number, out);
    }
}

/// Tasks that are to run each after one of others are more or fewer than those.
pub(super) fn unequal(target: &Submission, count: u32) -> Refusal {
    let message = format!(
        "task by task needs equally many: submission {} has {}, this one {count}",
        target.number,
        target.count()
    );
    Refusal::new(Code::InvalidValue, message)
}

fn check_shape(submit: &Submit, blobs: &[Bytes]) -> Result<(), Refusal> {
    let wrong = |message: String| Err(Refusal::new(Code::InvalidValue, message));
    if submit.count == 0 || submit.count > limits::SUBMISSION_TASKS {
        return wrong(format!(
            "a submission has 1 to {} tasks, not {}",
            limits::SUBMISSION_TASKS,
            submit.count
        ));
    }
    let span = u64::from(submit.step) * u64::from(submit.count - 1);
    if submit.step == 0 || u64::from(submit.first) + span > u64::from(u32::MAX - 1) {
        return wrong("indices rise by at least 1 and fit 32 bits".into());
    }
    if blobs.len() > 1 {
        return wrong(format!(
            "a submission has at most one data frame, not {}",
            blobs.len()
        ));
    }
    if submit.request == 0 {
        return wrong("requests are numbered from 1".into());
    }
    if submit.open && (submit.streaming || submit.ends.len() != submit.count as usize) {
        return wrong("an open submission is a batch that the agent holds".into());
    }
    if submit.open && submit.total.is_none() && submit.task.after.iter().any(|after| after.each) {
        return wrong(
            "an open submission that runs after each of others has to say how many tasks it will have".into(),
        );
    }
    let total = submit.count..=limits::SUBMISSION_TASKS;
    if submit
        .total
        .is_some_and(|given| !submit.open || !total.contains(&given))
    {
        return wrong(format!(
            "how many tasks there will be in the end is said of open submissions, and is not fewer than there are nor more \
             than {}",
            limits::SUBMISSION_TASKS
        ));
    }
    Ok(())
}
