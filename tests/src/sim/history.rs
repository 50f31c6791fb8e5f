//! What happened at the agent, and whether it was as promised: the contract of `docs/guarantees.md`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use scalems_core::record::{Again, Ended, Record, Submitted};
use scalems_core::task::Indices;
use scalems_core::{Action, Input, Micros};
use scalems_protocol::client::{
    Accepted, AgentToClient, ClientToAgent, Durable, NamedClientToAgent as Named, Results, Submit,
};
use scalems_protocol::group::{Data, ResultGroup};
use scalems_protocol::task::{After, Template};
use scalems_protocol::worker::{AgentToWorker, Lease, WorkerToAgent};
use scalems_protocol::{Code, Ending, Origin, TaskState, limits};

use super::programs;

/// One task: submission and offset.
pub type Task = (u64, u32);
/// One task, by where its submission came from: what it is called may change when the agent is started again.
pub type Place = ((u64, u64), u32);

/// How a task ended, as somebody was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Told {
    ending: Ending,
    attempt: u32,
    /// Whether that is for ever.
    lasts: bool,
    /// A client has said it back: the agent may let it wait.
    brought: bool,
}

/// A submission as the agent was asked for it.
#[derive(Clone, Debug)]
pub struct Known {
    /// The request.
    pub submit: Submit,
    /// Its data.
    pub data: Data,
    /// The number that it was given, once that is seen.
    pub number: Option<u64>,
    /// When it was first asked for.
    pub at: Micros,
    /// What was added, by the first offset.
    pub added: BTreeMap<u32, Data>,
    /// The indices of its tasks.
    pub indices: Indices,
}

impl Known {
    /// How many tasks it has.
    pub fn count(&self) -> u32 {
        let last = self.added.last_key_value();
        last.map_or(self.submit.count, |(first, data)| first + data.ends.len() as u32)
    }

    /// What a task is given.
    fn data_of(&self, offset: u32) -> Bytes {
        match self.added.range(..=offset).next_back() {
            Some((first, data)) => data.of((offset - first) as usize),
            None => self.data.of(offset as usize),
        }
    }
}

/// What has happened.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Submissions by where they came from.
    pub known: BTreeMap<(u64, u64), Known>,
    /// Where submissions came from.
    pub numbers: BTreeMap<u64, (u64, u64)>,
    /// The seats of connections.
    pub seats: BTreeMap<u32, u64>,
    /// The time, as the agent may take it to be at most.
    pub now: Micros,
    /// Whether anything may have kept processes from hearing of each other.
    pub silence: bool,
    /// The agent's life.
    pub life: u64,
    /// The latest life and attempt that each task was leased in.
    leased: BTreeMap<Place, (u64, u32)>,
    /// The highest attempt that each was ever leased in: an earlier life may have made more than this one.
    highest: BTreeMap<Place, u32>,
    /// Attempts whose failure was reported.
    failed: BTreeMap<Place, BTreeSet<u32>>,
    /// Attempts that were started anywhere.
    started: BTreeSet<(u64, u32, u64, u32)>,
    /// How tasks ended, as clients were told.
    told: BTreeMap<Place, Told>,
    /// Workers that left: a beat may have been on its way.
    pub goodbyes: u64,
    /// Submissions that clients were told to be accepted.
    accepted: BTreeSet<u64>,
    /// What clients asked to be added, by seat and request: to which submission, and the data.
    adding: BTreeMap<(u64, u64), (u64, Data)>,
    /// Those of them whose answer or record was seen.
    heard: BTreeSet<(u64, u64)>,
    /// Whether there are records: without them only an answer says what was added, and of a seat that nobody sits in none is given.
    journal: bool,
    /// What clients were told to have been added: submission and first offset.
    added: BTreeSet<(u64, u32)>,
    /// Tasks as they were last seen in the agent: state and attempt.
    pub seen: BTreeMap<u64, Vec<(TaskState, u32)>>,
    /// Submissions that somebody asked to be forgotten.
    forgotten: BTreeSet<u64>,
    /// Bytes of deliveries that are not acknowledged, by seat.
    unacknowledged: BTreeMap<u64, VecDeque<(u64, u64)>>,
    /// What each seat was told as not being on disk, by delivery.
    pending: BTreeMap<u64, VecDeque<(u64, Place)>>,
    /// Results that workers have reported and not been told to be recorded: connection, report, task and attempt.
    unrecorded: Vec<(u32, u64, Place, u32)>,
    /// Submissions with dependencies that were leased in this round, and the offsets.
    pub dependent: Vec<(u64, u32, u32)>,
    /// Tasks that were ended for the workers that were lost under them.
    pub crashed: BTreeSet<Task>,
    /// What was not as promised.
    pub violations: Vec<String>,
}

impl History {
    /// Nothing has happened yet.
    pub fn of_first_life(silence: bool, journal: bool) -> Self {
        Self {
            silence,
            journal,
            life: 1,
            ..Self::default()
        }
    }

    /// Notes something that must not be.
    pub fn violation(&mut self, what: String) {
        if self.violations.len() < 8 {
            self.violations.push(what);
        }
    }

    /// The submission that a number stands for.
    pub fn submission(&self, number: u64) -> Option<&Known> {
        self.known.get(self.numbers.get(&number)?)
    }

    /// Something is about to be handed to the agent.
    pub fn input(&mut self, input: &Input) {
        match input {
            Input::Client {
                peer,
                message: ClientToAgent::Named(message),
                blobs,
                ..
            } => {
                let Some(seat) = self.seats.get(&peer.0).copied() else {
                    return;
                };
                match message {
                    Named::Submit(submit) => self.submitted(seat, submit, blobs),
                    Named::Append(append) => {
                        let data = Data {
                            bytes: blobs.first().cloned().unwrap_or_default(),
                            ends: append.ends.clone(),
                        };
                        let key = (seat, append.request);
                        self.adding.insert(key, (append.submission, data));
                    }
                    Named::BringBack(brought) => self.brought(&brought.groups),
                    Named::Acknowledge(ack) => self.acknowledged(seat, ack.delivery),
                    Named::Forget(forget) => {
                        self.forgotten
                            .extend(forget.select.picks.iter().flat_map(|pick| pick.first..=pick.last));
                    }
                    _ => {}
                }
            }
            Input::Worker {
                peer,
                message: WorkerToAgent::Report(report),
                ..
            } => {
                for group in &report.results {
                    let origin = (group.origin.session, group.origin.request);
                    let reported = (group.run.lo..group.run.hi)
                        .map(|offset| (peer.0, report.number, (origin, offset), group.run.attempt));
                    self.unrecorded.extend(reported);
                }
                for group in report
                    .results
                    .iter()
                    .filter(|group| group.ending == Ending::Failed)
                {
                    for offset in group.run.lo..group.run.hi {
                        let origin = (group.origin.session, group.origin.request);
                        self.failed
                            .entry((origin, offset))
                            .or_default()
                            .insert(group.run.attempt);
                    }
                }
            }
            // Reports are numbered anew, also over the same connection.
            Input::Worker {
                peer,
                message: WorkerToAgent::WorkerHello(_),
                ..
            } => self.unrecorded.retain(|(from, ..)| *from != peer.0),
            Input::Worker {
                message: WorkerToAgent::WorkerGoodbye(_),
                ..
            } => self.goodbyes += 1,
            Input::ClientGone(peer) => {
                self.seats.remove(&peer.0);
            }
            _ => {}
        }
    }

    fn submitted(&mut self, seat: u64, submit: &Submit, blobs: &[Bytes]) {
        let data = Data {
            bytes: blobs.first().cloned().unwrap_or_default(),
            ends: submit.ends.clone(),
        };
        let first = self.known.get(&(seat, submit.request));
        let known = Known {
            submit: submit.clone(),
            data,
            number: None,
            at: first.map_or(self.now, |first| first.at),
            added: BTreeMap::new(),
            indices: Indices::even(submit.first, submit.step),
        };
        let before = self.known.insert((seat, submit.request), known);
        // The number of a request that was lost with its sender is given again.
        let before = before.filter(|before| before.number.is_some() || self.life == 1);
        if let Some(before) = before {
            let now = &self.known[&(seat, submit.request)];
            let same = Submit {
                low_water: 0,
                ..before.submit.clone()
            } == Submit {
                low_water: 0,
                ..submit.clone()
            };
            if !same || before.data != now.data {
                self.violation(format!(
                    "request {} of seat {seat} came again with other content",
                    submit.request
                ));
            }
            self.known.insert((seat, submit.request), before);
        }
    }

    fn acknowledged(&mut self, seat: u64, delivery: u64) {
        if let Some(kept) = self.unacknowledged.get_mut(&seat) {
            kept.retain(|(number, _)| *number > delivery);
        }
    }

    /// The agent did something.
    pub fn action(&mut self, action: &Action) {
        match action {
            Action::ToClient { peer, message, blobs } => match message {
                AgentToClient::ClientWelcome(welcome) => {
                    self.seats.retain(|_, seat| *seat != welcome.session);
                    self.seats.insert(peer.0, welcome.session);
                    self.acknowledged(welcome.session, welcome.delivery_next - 1);
                }
                AgentToClient::Detached(_) => {
                    self.seats.remove(&peer.0);
                }
                AgentToClient::Accepted(accepted) => self.accepted(peer.0, accepted),
                AgentToClient::Appended(done) => {
                    if let Some(seat) = self.seats.get(&peer.0).copied() {
                        self.appended((seat, done.request), done.submission, done.first, done.count);
                        self.added.insert((done.submission, done.first));
                    }
                }
                AgentToClient::Results(results) => self.results(peer.0, results, blobs),
                AgentToClient::Lasts(lasts) => self.lasting(peer.0, lasts.delivery),
                _ => {}
            },
            Action::Record {
                record: Record::Appended(from),
                ..
            } => {
                let key = (from.origin.session, from.origin.request);
                self.appended(key, from.submission, from.first, from.count);
            }
            Action::Record {
                record: Record::Submitted(from),
                ..
            } => {
                if let Some(again) = &from.again {
                    self.submitted_again(from, again);
                }
            }
            Action::ToWorker {
                message: AgentToWorker::Lease(lease),
                ..
            } => self.lease(lease),
            _ => {}
        }
    }

    /// A client is told that its deliveries up to this one are on disk.
    fn lasting(&mut self, peer: u32, delivery: u64) {
        let Some(pending) = self.seats.get(&peer).and_then(|seat| self.pending.get_mut(seat)) else {
            return;
        };
        while let Some((_, place)) = pending.pop_front_if(|(number, _)| *number <= delivery) {
            if let Some(told) = self.told.get_mut(&place) {
                told.lasts = true;
            }
        }
    }

    /// The last report that came over a connection with results that are not known to be recorded.
    pub fn reported(&self, peer: u32) -> u64 {
        let of = self.unrecorded.iter().filter(|(from, ..)| *from == peer);
        of.map(|(_, number, ..)| *number).max().unwrap_or(0)
    }

    /// What a worker was told to be recorded, and is not on disk: the worker does not keep it any more. Of the records
    /// that there are so many are on disk.
    pub fn recorded(&mut self, peer: u32, report: u64, records: &[Record], durable: usize) {
        let (safe, late) = records.split_at(durable.min(records.len()));
        let of = |(from, number, ..): &(u32, u64, Place, u32)| *from == peer && *number <= report;
        for (_, _, place, attempt) in self.unrecorded.extract_if(.., |one| of(one)).collect::<Vec<_>>() {
            let number = self.known.get(&place.0).and_then(|known| known.number);
            let ends = |record: &Record| match record {
                // What a client brought back, or what ended without an attempt, is not of the worker's report.
                Record::Ended(Ended { worker: 0, .. }) => false,
                Record::Ended(Ended { run, .. })
                | Record::Fault {
                    run, crash: false, ..
                } => {
                    Some(run.submission) == number
                        && (run.lo..run.hi).contains(&place.1)
                        && run.attempt == attempt
                }
                _ => false,
            };
            // A task may end later by other means than by this attempt, which is used up.
            if late.iter().any(ends) && !safe.iter().any(ends) {
                self.violation(format!(
                    "a worker was told that attempt {attempt} of {place:?} is recorded, which is not on disk"
                ));
            }
        }
    }

    fn accepted(&mut self, peer: u32, accepted: &Accepted) {
        let Some(seat) = self.seats.get(&peer).copied() else {
            return;
        };
        self.numbered(
            Origin {
                session: seat,
                request: accepted.request,
            },
            accepted.submission,
        );
        self.accepted.insert(accepted.submission);
        let count = self
            .known
            .get(&(seat, accepted.request))
            .map(|known| known.submit.count);
        if count != Some(accepted.count) {
            self.violation(format!("{accepted:?}, but {count:?} tasks were asked for"));
        }
    }

    /// Tasks are added: behind those that there are, as many as were asked for.
    fn appended(&mut self, by: (u64, u64), number: u64, first: u32, count: u32) {
        let Some((submission, data)) = self.adding.get(&by).cloned() else {
            return self.violation(format!("{by:?} adds to {number}, and did not ask for it"));
        };
        if submission != number || data.ends.len() != count as usize {
            let asked = data.ends.len();
            self.violation(format!(
                "{count} tasks are added to {number}, and {asked} were asked for to {submission}"
            ));
        }
        self.heard.insert(by);
        self.unheard(number, first);
        let Some(known) = self
            .numbers
            .get(&number)
            .and_then(|origin| self.known.get_mut(origin))
        else {
            return self.violation(format!("tasks are added to {number}, which nobody submitted"));
        };
        if let Some(before) = known.added.get(&first) {
            if *before != data {
                self.violation(format!("{number}.{first} was added twice, with other data"));
            }
        } else if known.count() == first {
            known.added.insert(first, data);
        } else {
            let count = known.count();
            self.violation(format!(
                "{number} has {count} tasks, and others are added at {first}"
            ));
        }
    }

    /// Tasks were added for nobody to hear of it, as many as lead up to `first`.
    pub fn unheard(&mut self, number: u64, first: u32) {
        let known = self.numbers.get(&number);
        let Some(known) = known.and_then(|origin| self.known.get_mut(origin)) else {
            return;
        };
        if self.journal {
            return;
        }
        for (by, (submission, data)) in &self.adding {
            if *submission == number && known.count() < first && self.heard.insert(*by) {
                known.added.insert(known.count(), data.clone());
            }
        }
    }

    /// Tasks are submitted again: those that did not end well, with the data and indices that they had.
    fn submitted_again(&mut self, from: &Submitted, again: &Again) {
        let name = format!("{} is {} again", from.submission, again.submission);
        let Some(first) = self.submission(again.submission).cloned() else {
            return self.violation(format!("{name}, which nobody submitted"));
        };
        let offsets: Vec<u32> = again.offsets.iter().flat_map(|(lo, hi)| *lo..*hi).collect();
        if offsets.len() != from.count as usize || offsets.is_empty() {
            self.violation(format!(
                "{name} with {} tasks instead of {}",
                from.count,
                offsets.len()
            ));
        }
        let seen = self.seen.get(&again.submission).cloned().unwrap_or_default();
        for (at, offset) in offsets.into_iter().enumerate() {
            let (has, had) = (from.data.of(at), first.data_of(offset));
            if has != had {
                self.violation(format!("{name}: {offset} has {has:?} instead of {had:?}"));
            }
            let (is, was) = (from.indices.at(at as u32), first.indices.at(offset));
            if is != was {
                self.violation(format!("{name}: {offset} has the index {is} instead of {was}"));
            }
            if seen
                .get(offset as usize)
                .is_some_and(|(state, _)| *state == TaskState::Done)
            {
                self.violation(format!("{name}: {offset} has ended well"));
            }
        }
        let submit = Submit {
            request: from.origin.request,
            low_water: 0,
            count: from.count,
            task: Template::clone(&from.template),
            first: 0,
            step: 1,
            ends: from.data.ends.clone(),
            streaming: false,
            open: false,
            total: None,
        };
        let known = Known {
            submit,
            data: from.data.clone(),
            number: None,
            at: self.now,
            added: BTreeMap::new(),
            indices: from.indices.clone(),
        };
        let before = self
            .known
            .insert((from.origin.session, from.origin.request), known);
        if before.is_some_and(|before| before.number.is_some()) {
            self.violation(format!("{name} for the second time"));
        }
        self.numbered(from.origin, from.submission);
    }

    fn numbered(&mut self, origin: Origin, number: u64) {
        let key = (origin.session, origin.request);
        let before = *self.numbers.entry(number).or_insert(key);
        let Some(known) = self.known.get_mut(&key) else {
            return self.violation(format!(
                "submission {number} is of {origin:?}, which asked for nothing"
            ));
        };
        let same = *known.number.get_or_insert(number);
        if before != key || same != number {
            self.violation(format!(
                "{origin:?} is submission {same} and {number}, which is of {before:?}"
            ));
        }
    }

    fn lease(&mut self, lease: &Lease) {
        for group in &lease.groups {
            let run = group.run;
            self.numbered(group.origin, run.submission);
            self.unheard(run.submission, run.hi);
            for offset in run.lo..run.hi {
                let lease = (self.life, run.attempt);
                let origin = (group.origin.session, group.origin.request);
                let before = self.leased.insert((origin, offset), lease);
                let highest = self.highest.entry((origin, offset)).or_default();
                *highest = run.attempt.max(*highest);
                if before.is_some_and(|before| before >= lease) {
                    self.violation(format!(
                        "task {}.{offset}: attempt {lease:?} after {before:?}",
                        run.submission
                    ));
                }
                if self.told.get(&(origin, offset)).is_some_and(|told| told.lasts) {
                    self.violation(format!(
                        "task {}.{offset} is leased after its end",
                        run.submission
                    ));
                }
            }
            if self
                .submission(run.submission)
                .is_some_and(|known| !known.submit.task.after.is_empty())
            {
                self.dependent.push((run.submission, run.lo, run.hi));
            }
        }
    }

    fn results(&mut self, peer: u32, results: &Results, blobs: &[Bytes]) {
        for group in &results.groups {
            self.result(group, blobs, results.durable != Durable::Pending);
        }
        let Some(seat) = self.seats.get(&peer).copied() else {
            return;
        };
        if results.durable == Durable::Pending {
            let pending = self.pending.entry(seat).or_default();
            for group in &results.groups {
                let origin = (group.origin.session, group.origin.request);
                let places = (group.run.lo..group.run.hi).map(|offset| (results.delivery, (origin, offset)));
                pending.extend(places);
            }
        }
        let kept = self.unacknowledged.entry(seat).or_default();
        if kept.back().is_none_or(|(last, _)| *last < results.delivery) {
            kept.push_back((results.delivery, blobs.iter().map(|blob| blob.len() as u64).sum()));
            let bytes: u64 = kept.iter().map(|(_, bytes)| *bytes).sum();
            if bytes > limits::WINDOW_BYTES + limits::BLOB_BYTES as u64 {
                self.violation(format!(
                    "{bytes} bytes of results are not acknowledged by seat {seat}"
                ));
            }
        }
    }

    /// A group of results, as a client gets it.
    pub fn result(&mut self, group: &ResultGroup, blobs: &[Bytes], lasts: bool) {
        let run = group.run;
        let Ok(data) = group.place.clone().take(run.count(), blobs) else {
            return self.violation(format!("results that cannot be read: {group:?}"));
        };
        self.numbered(group.origin, run.submission);
        for (at, offset) in (run.lo..run.hi).enumerate() {
            let task = (run.submission, offset);
            let place = ((group.origin.session, group.origin.request), offset);
            let name = format!("task {}.{offset}", run.submission);
            let now = Told {
                ending: group.ending,
                attempt: run.attempt,
                lasts,
                brought: false,
            };
            let first = self.told.entry(place).or_insert(now);
            let first = std::mem::replace(
                first,
                Told {
                    lasts: lasts || first.lasts,
                    ..*first
                },
            );
            if (first.ending, first.attempt) != (now.ending, now.attempt) {
                self.violation(format!("{name} ended {first:?} and {now:?}"));
            }
            let made = self
                .highest
                .get(&place)
                .is_some_and(|highest| *highest >= run.attempt);
            if !made && run.attempt > 0 {
                self.violation(format!(
                    "{name} has a result of attempt {}, which was never made",
                    run.attempt
                ));
            }
            if group
                .error
                .as_ref()
                .is_some_and(|error| error.code == Code::CrashLimit)
            {
                self.crashed.insert(task);
            }
            let Some(known) = self.submission(run.submission) else {
                self.violation(format!("{name} has a result and was not submitted"));
                continue;
            };
            let policy = &known.submit.task.policy;
            let problem = match (group.ending, group.error.as_ref().map(|error| error.code)) {
                (Ending::Done, _) => {
                    let has = data.of(at);
                    let wants = programs::value(&known.submit.task.mode, &known.data_of(offset), run.attempt);
                    (has != wants).then(|| format!("the value {has:?}, which should be {wants:?}"))
                }
                (Ending::Failed, Some(Code::ExitCode | Code::Signal | Code::TaskFailed)) => {
                    let failures = self.failed.get(&place).map_or(0, BTreeSet::len) as u64;
                    (failures <= u64::from(policy.retries))
                        .then(|| format!("failed after {failures} attempts with {} retries", policy.retries))
                }
                (Ending::Failed, Some(Code::Deadline)) => {
                    let (passed, limit) = (self.now.saturating_sub(known.at) / 1_000, policy.deadline_ms);
                    (passed < limit).then(|| format!("its deadline of {limit} ms passed after {passed} ms"))
                }
                (Ending::Failed, Some(Code::CrashLimit)) => {
                    let (attempts, limit) = (run.attempt, policy.crash_limit);
                    (attempts < limit)
                        .then(|| format!("ended by its crash limit of {limit} in attempt {attempts}"))
                }
                _ => None,
            };
            if let Some(problem) = problem {
                self.violation(format!("{name}: {problem}"));
            }
        }
    }

    /// A worker starts a task.
    pub fn start(&mut self, (submission, offset): Task, life: u64, attempt: u32, data: &Bytes) {
        if !self.started.insert((submission, offset, life, attempt)) {
            self.violation(format!(
                "task {submission}.{offset}: attempt {attempt} runs twice"
            ));
        }
        let wants = self.submission(submission).map(|known| known.data_of(offset));
        if wants.as_ref() != Some(data) {
            self.violation(format!(
                "task {submission}.{offset} runs with {data:?}, which should be {wants:?}"
            ));
        }
    }

    /// Takes in the tasks as the agent has them, and compares with how they were.
    pub fn inspected(&mut self, tasks: BTreeMap<u64, Vec<(TaskState, u32)>>) {
        let before = std::mem::take(&mut self.seen);
        for (number, old) in &before {
            let Some(new) = tasks.get(number) else {
                if !self.forgotten.contains(number) {
                    self.violation(format!("submission {number} is gone, and nobody asked for it"));
                }
                continue;
            };
            for (offset, (was, is)) in old.iter().zip(new).enumerate() {
                if was.0.is_final() && was != is {
                    self.violation(format!("task {number}.{offset} ended {was:?} and is {is:?}"));
                }
            }
        }
        let mut wrong = Vec::new();
        for ((origin, offset), told) in &self.told {
            let Some(number) = self.known.get(origin).and_then(|known| known.number) else {
                continue;
            };
            let is = tasks.get(&number).and_then(|tasks| tasks.get(*offset as usize));
            let waits = |state: TaskState| told.brought && !state.is_final();
            if is.is_some_and(|is| !waits(is.0) && *is != (TaskState::from(told.ending), told.attempt)) {
                wrong.push(format!(
                    "task {number}.{offset} was told to be {told:?} and is {is:?}"
                ));
            }
        }
        for wrong in wrong {
            self.violation(wrong);
        }
        self.seen = tasks;
    }

    /// Another life of the agent begins, which knows these records and no more.
    pub fn reborn(&mut self, records: &[Record]) {
        self.life += 1;
        self.seats.clear();
        self.seen.clear();
        self.unacknowledged.clear();
        self.pending.clear();
        self.unrecorded.clear();
        self.dependent.clear();
        let (mut numbers, mut ended, mut added) = (BTreeSet::new(), BTreeMap::new(), BTreeSet::new());
        for record in records {
            match record {
                Record::Appended(from) => {
                    added.insert((from.submission, from.first));
                }
                Record::Submitted(submitted) => {
                    numbers.insert(submitted.submission);
                }
                Record::Forgotten { submission } => {
                    self.forgotten.insert(*submission);
                }
                Record::Ended(end) => {
                    for offset in end.run.lo..end.run.hi {
                        ended.insert((end.run.submission, offset), (end.ending, end.run.attempt));
                    }
                }
                _ => {}
            }
        }
        let lost: Vec<u64> = self.accepted.difference(&numbers).copied().collect();
        if !lost.is_empty() {
            self.violation(format!("submissions {lost:?} were acknowledged and are lost"));
        }
        let lost: Vec<(u64, u32)> = self.added.difference(&added).copied().collect();
        if !lost.is_empty() {
            self.violation(format!("tasks {lost:?} were acknowledged as added and are lost"));
        }
        for known in self.known.values_mut() {
            let number = known.number;
            known
                .added
                .retain(|first, _| number.is_some_and(|number| added.contains(&(number, *first))));
            known.number = known.number.filter(|number| numbers.contains(number));
        }
        // What was told and is not recorded may end otherwise, if nobody brings it back.
        let mut wrong = Vec::new();
        let Self { told, known, .. } = self;
        told.retain(|(origin, offset), told| {
            let number = known.get(origin).and_then(|known| known.number);
            let is = number.and_then(|number| ended.get(&(number, *offset)));
            if told.lasts && is != Some(&(told.ending, told.attempt)) {
                wrong.push(format!(
                    "{origin:?}.{offset} was told to be {told:?} for ever, and is {is:?}"
                ));
            }
            told.lasts = is.is_some();
            told.lasts
        });
        for wrong in wrong {
            self.violation(wrong);
        }
    }

    /// A client says results back: from here on they are the results, unless others were recorded.
    fn brought(&mut self, groups: &[ResultGroup]) {
        for group in groups {
            let origin = (group.origin.session, group.origin.request);
            for offset in group.run.lo..group.run.hi {
                self.told.entry((origin, offset)).or_insert(Told {
                    ending: group.ending,
                    attempt: group.run.attempt,
                    lasts: false,
                    brought: true,
                });
            }
        }
    }

    /// Where the submission that a dependency names came from.
    pub fn target(&self, of: u64, after: &After) -> Option<u64> {
        let (seat, _) = self.numbers.get(&of)?;
        after
            .submission
            .or_else(|| self.known.get(&(*seat, after.request?))?.number)
    }
}
