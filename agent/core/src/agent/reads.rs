//! Reads: they change nothing, are not numbered, and stop at the core.

use bytes::Bytes;
use scalems_protocol::client::{
    Answer, Ask, Counts, Explanation, Listing, Page, Question, Reply, Status, SubmissionRow, TaskRow,
    WorkerRow, WorkersPage,
};
use scalems_protocol::error::{Code, Refusal};
use scalems_protocol::group::{Gather, ResultGroup, Run};
use scalems_protocol::select::Selector;
use scalems_protocol::state::TaskState;
use scalems_protocol::task::Placement;
use scalems_protocol::{Amount, limits};

use super::Agent;
use super::bringing::NOBODY;
use super::listing::{self, Rows};
use super::submit::NO_ROOM;
use crate::interface::{Action, Micros, Peer};
use crate::queue::Way;
use crate::record::share;
use crate::resources::Amounts;
use crate::session::error_bytes;
use crate::task::{Slot, Standing, Submission};
use crate::worker::{Standing as WorkerStanding, Worker};

/// A client that waits for tasks to end.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub(super) peer: Peer,
    seat: u64,
    id: u64,
    selected: Vec<(u64, u32, u32)>,
    /// How many of `selected` are known to have ended.
    ended: usize,
    pub(super) until: Micros,
}

/// Resources by kind, with their totals and what is in use: whole, and of those that are not as they are.
#[derive(Debug, Default)]
pub(super) struct Rounded {
    pub(super) resources: Vec<(String, u64, u64)>,
    pub(super) fractions: Vec<(String, Amount, Amount)>,
}

impl Agent {
    pub(super) fn ask(&mut self, peer: Peer, seat: u64, ask: Ask, out: &mut Vec<Action>) {
        let reply = match ask.question {
            Question::Status => Ok((Reply::Status(Box::new(self.status())), Vec::new())),
            Question::Workers(page) => Ok((Reply::Workers(self.worker_rows(page)), Vec::new())),
            Question::Submissions(page) => self.submissions(seat, &page).map(|rows| (rows, Vec::new())),
            Question::Tasks(page) => self.tasks(seat, &page).map(|rows| (rows, Vec::new())),
            Question::Explain(select) => self.explain(seat, &select).map(|reply| (reply, Vec::new())),
            Question::Results(page) => match self.results(seat, &page) {
                Ok((reply, blobs)) => return self.reply_lasting(peer, ask.id, reply, blobs, out),
                Err(refusal) => Err(refusal),
            },
            Question::Wait { select, timeout_ms } => match self.wait(peer, seat, ask.id, &select, timeout_ms)
            {
                Ok(()) => return,
                Err(refusal) => Err(refusal),
            },
            Question::Output(page) => match self.read_output(peer, seat, ask.id, &page, out) {
                Ok(None) => return,
                Ok(Some(part)) => Ok((Reply::Output(Box::new(part)), Vec::new())),
                Err(refusal) => Err(refusal),
            },
            Question::Requests(page) => match self.ask_requests(peer, seat, ask.id, page) {
                Ok(None) => return,
                Ok(Some(reply)) => Ok((reply, Vec::new())),
                Err(refusal) => Err(refusal),
            },
            Question::Snapshot(topic) => return self.snapshot(peer, ask.id, &topic, out),
        };
        match reply {
            Ok((reply, blobs)) => self.reply(peer, ask.id, reply, blobs, out),
            Err(refusal) => self.refuse(peer, None, Some(ask.id), refusal, out),
        }
    }

    /// An answer that must not be taken back: it waits for what is on its way to the disk, unless that is full.
    fn reply_lasting(&mut self, peer: Peer, id: u64, reply: Reply, blobs: Vec<Bytes>, out: &mut Vec<Action>) {
        if self.disk_full || self.durable == self.records {
            return self.reply(peer, id, reply, blobs, out);
        }
        let answer = Answer { id, reply };
        self.answers.push_with(self.records, peer, answer.into(), blobs);
    }

    fn status(&self) -> Status {
        let Rounded { resources, fractions } = self.resources();
        Status {
            pilot_name: self.config.pilot_name.clone(),
            incarnation: self.config.incarnation,
            up_ms: (self.now - self.begun) / 1_000,
            tasks: self.tasks.counts,
            submissions: self.tasks.len() as u64,
            clients: self.clients.len() as u64,
            workers: self.worker_counts(),
            resources,
            fractions,
            modes: self.modes(),
            stopping: self.stopping.is_some(),
            counters: self
                .counters
                .iter()
                .map(|(name, count)| ((*name).to_owned(), *count))
                .collect(),
            trouble: self.trouble(),
        }
    }

    fn trouble(&self) -> Vec<String> {
        let full = self.disk_full.then(|| NO_ROOM.to_owned());
        full.into_iter().chain(self.behind.clone()).collect()
    }

    /// Workers: joined, suspect, draining, lost.
    pub(super) fn worker_counts(&self) -> (u64, u64, u64, u64) {
        let count = |standing| {
            self.workers
                .values()
                .filter(|worker| worker.standing == standing)
                .count() as u64
        };
        let lost = self.counters.get("workers_lost").copied().unwrap_or(0);
        (
            count(WorkerStanding::Active),
            count(WorkerStanding::Suspect),
            count(WorkerStanding::Draining),
            lost,
        )
    }

    /// Resources of living workers.
    pub(super) fn resources(&self) -> Rounded {
        let mut total = Amounts::default();
        let mut used = Amounts::default();
        for worker in self.workers.values().filter(|worker| worker.lives()) {
            total.add(&worker.capacity, 1);
            // What is granted ahead is not in use.
            for (kind, amount) in worker.used.iter() {
                used.add_to(kind, amount.min(worker.capacity.get(kind)));
            }
        }
        self.by_kind(&total, &used)
    }

    fn by_kind(&self, total: &Amounts, used: &Amounts) -> Rounded {
        let mut rounded = Rounded::default();
        for kind in 0..self.kinds.count() {
            let (name, total, used) = (self.kinds.name(kind), total.amount(kind), used.amount(kind));
            if total.is_zero() {
                continue;
            }
            if !total.is_whole() || !used.is_whole() {
                rounded.fractions.push((name.to_owned(), total, used));
            }
            rounded
                .resources
                .push((name.to_owned(), total.floor(), used.ceil()));
        }
        rounded
    }

    pub(super) fn worker_row(&self, worker: &Worker) -> WorkerRow {
        let mut used = Amounts::default();
        for (kind, amount) in worker.used.iter() {
            used.add_to(kind, amount.min(worker.capacity.get(kind)));
        }
        let Rounded { resources, fractions } = self.by_kind(&worker.capacity, &used);
        WorkerRow {
            worker: u64::from(worker.number),
            name: worker.name.clone(),
            host: worker.host.clone(),
            pid: worker.pid,
            state: worker.standing.name().to_owned(),
            resources,
            fractions,
            leases: worker.leases,
            ended: worker.ended,
            silent_ms: self.now.saturating_sub(worker.heard) / 1_000,
            beats: worker.beats,
            left_ms: worker.left(self.now).map(|left| left / 1_000),
            place: worker.place.clone(),
            requested_by: self.requested_by(worker),
        }
    }

    pub(super) fn worker_rows(&self, page: WorkersPage) -> Listing<WorkerRow, u64> {
        let after = page.after.unwrap_or(0);
        let mut listed = Rows::new(page.rows);
        for worker in self
            .workers
            .values()
            .filter(|worker| u64::from(worker.number) > after)
        {
            if listed.add(self.worker_row(worker)).is_err() {
                let next = listed.last().map(|row| row.worker);
                return listed.listing(next);
            }
        }
        listed.listing(None)
    }

    fn submissions(&self, seat: u64, page: &Page) -> Result<Reply, Refusal> {
        let mut selected = self.selected(seat, &page.select)?;
        selected.dedup_by_key(|(number, _, _)| *number);
        let after = page.after.map_or(0, |(number, _)| number.saturating_add(1));
        let mut listed = Rows::new(page.rows);
        let mut next = None;
        for (number, _, _) in selected.into_iter().filter(|(number, _, _)| *number >= after) {
            let Some(submission) = self.tasks.get(number) else {
                continue;
            };
            let row = self.submission_row(submission);
            if listed.add(row).is_err() {
                next = listed.last().map(|row| (row.submission, 0));
                break;
            }
        }
        Ok(Reply::Submissions(listed.listing(next)))
    }

    pub(super) fn submission_row(&self, submission: &Submission) -> SubmissionRow {
        let attachment = self.attachments.get(&submission.origin.session);
        let session = attachment.and_then(|attachment| self.sessions.get(&attachment.session));
        SubmissionRow {
            submission: submission.number,
            mode: submission.template.mode.clone(),
            name: submission.template.name.clone(),
            labels: submission.template.labels.clone(),
            session: session.map_or_else(String::new, |session| session.name.clone()),
            indices: (
                submission.indices.first(),
                submission.indices.step(),
                submission.count(),
            ),
            sparse: !submission.indices.jumps().is_empty(),
            tasks: submission.counts,
            age_ms: self.now.saturating_sub(submission.at) / 1_000,
            open: submission.open,
            spent: submission.spent(),
        }
    }

    fn tasks(&self, seat: u64, page: &Page) -> Result<Reply, Refusal> {
        let selected = self.selected(seat, &page.select)?;
        let after = page.after.unwrap_or((0, 0));
        let mut listed = Rows::new(page.rows);
        for (number, lo, hi) in selected {
            let lo = if number == after.0 { lo.max(after.1) } else { lo };
            let Some(submission) = self.tasks.get(number).filter(|_| number >= after.0 && lo < hi) else {
                continue;
            };
            for stretch in submission.slots.stretches(lo, hi) {
                for row in self.task_rows(submission, stretch.lo, stretch.hi, stretch.value) {
                    if let Err(row) = listed.add(row) {
                        return Ok(Reply::Tasks(listed.listing(Some((number, row.run.lo)))));
                    }
                }
            }
        }
        Ok(Reply::Tasks(listed.listing(None)))
    }

    /// Tasks in one slot, cut where their results differ.
    fn task_rows(&self, submission: &Submission, lo: u32, hi: u32, slot: Slot) -> Vec<TaskRow> {
        let worker = self.workers.get(&slot.worker).map(|worker| worker.name.clone());
        let held = matches!(slot.state, TaskState::Leased | TaskState::Running) && slot.worker != NOBODY;
        let mut listed = Vec::new();
        let mut at = lo;
        let parts = submission.indices.even_parts(lo, hi).collect::<Vec<_>>();
        let mut parts = parts.into_iter().peekable();
        while let Some((_, hi, first)) = parts.peek().copied() {
            let ended = submission.result(at);
            let next = submission
                .results
                .range(at + 1..)
                .next()
                .map_or(hi, |next| next.run.lo);
            let end = ended.map_or(next, |ended| ended.run.hi).min(hi);
            listed.push(TaskRow {
                run: Run {
                    submission: submission.number,
                    lo: at,
                    hi: end,
                    attempt: slot.attempt,
                },
                indices: (first, submission.indices.step()),
                state: slot.state,
                worker: worker.clone().filter(|_| slot.worker > 0),
                exit_code: ended.and_then(|ended| ended.exit_code),
                error: ended.and_then(|ended| ended.error.clone()),
                ran_us: ended.map_or(0, |ended| ended.ran_us / u64::from(ended.run.count().max(1))),
                variant: Some(slot.variant)
                    .filter(|_| held && !submission.template.needs.variants.is_empty()),
            });
            at = end;
            if at == hi {
                parts.next();
            }
        }
        listed
    }

    fn results(&self, seat: u64, page: &Page) -> Result<(Reply, Vec<bytes::Bytes>), Refusal> {
        let selected = self.selected(seat, &page.select)?;
        let after = page.after.unwrap_or((0, 0));
        let most = listing::most(page.rows);
        let mut gather = Gather::default();
        let mut groups: Vec<ResultGroup> = Vec::new();
        let mut next = None;
        let (mut values, mut words) = (0, 0);
        'all: for (number, lo, hi) in selected {
            let lo = if number == after.0 { lo.max(after.1) } else { lo };
            let Some(submission) = self.tasks.get(number).filter(|_| number >= after.0 && lo < hi) else {
                continue;
            };
            let first = submission.result(lo).map_or(lo, |ended| ended.run.lo);
            for ended in submission.results.range(first..hi) {
                let (from, to) = (ended.run.lo.max(lo), ended.run.hi.min(hi));
                if from >= to {
                    continue;
                }
                let data = ended
                    .data
                    .part((from - ended.run.lo) as usize, (to - ended.run.lo) as usize);
                values += data.ends.len();
                words += error_bytes(ended.error.as_ref());
                let full = gather.bytes() + data.bytes.len() > limits::MESSAGE_BYTES
                    || groups.len() == most
                    || values > 4 * limits::BATCH_TASKS
                    || words > limits::HEADER_BYTES / 4;
                if full && !groups.is_empty() {
                    next = Some((number, from));
                    break 'all;
                }
                groups.push(ResultGroup {
                    run: Run {
                        lo: from,
                        hi: to,
                        ..ended.run
                    },
                    origin: submission.origin,
                    incarnation: self.config.incarnation,
                    ending: ended.ending,
                    place: gather.add(&data),
                    exit_code: ended.exit_code,
                    ran_us: share(ended.ran_us, to - from, ended.run.count()),
                    error: ended.error.clone(),
                });
            }
        }
        Ok((Reply::Results(Listing { rows: groups, next }), gather.finish()))
    }

    fn wait(
        &mut self,
        peer: Peer,
        seat: u64,
        id: u64,
        select: &Selector,
        timeout_ms: u64,
    ) -> Result<(), Refusal> {
        let mut selected = self.selected(seat, select)?;
        for (number, _, hi) in &mut selected {
            // Also for what will be added.
            let open = self.tasks.get(*number).is_some_and(|submission| submission.open);
            if open && select.is_of_submissions() {
                *hi = u32::MAX;
            }
        }
        let attachment = self.attachments.get_mut(&seat).expect("a client's seat is known");
        if attachment.waits >= limits::OPEN_READS {
            let message = format!("this client waits for {} things already", limits::OPEN_READS);
            return Err(Refusal::new(Code::TooManyOpen, message));
        }
        attachment.waits += 1;
        let until = self.now.saturating_add(timeout_ms.saturating_mul(1_000));
        self.waiting.push(Waiting {
            peer,
            seat,
            id,
            selected,
            ended: 0,
            until,
        });
        Ok(())
    }

    /// Answers waits whose tasks have ended, and those whose time is over.
    pub(super) fn answer_waits(&mut self, out: &mut Vec<Action>) {
        if self.waiting.is_empty() {
            return;
        }
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.retain_mut(|wait| {
            while let Some((number, lo, hi)) = wait.selected.get(wait.ended).copied() {
                if self
                    .tasks
                    .get(number)
                    .is_some_and(|submission| !all_ended(submission, lo, hi))
                {
                    break;
                }
                wait.ended += 1;
            }
            let over = wait.ended == wait.selected.len();
            if !over && self.now < wait.until {
                return true;
            }
            if over {
                let mut counts = Counts::default();
                for (number, lo, hi) in &wait.selected {
                    let Some(submission) = self.tasks.get(*number) else {
                        continue;
                    };
                    for stretch in submission.slots.stretches(*lo, *hi) {
                        *counts.of(stretch.value.state) += u64::from(stretch.hi - stretch.lo);
                    }
                }
                self.reply_lasting(wait.peer, wait.id, Reply::Ended(counts), Vec::new(), out);
            } else {
                let first = wait.selected.get(wait.ended).map_or(0, |(number, _, _)| *number);
                let submission = self.tasks.get(first);
                let waits_for_others =
                    submission.is_some_and(|submission| submission.counts.unfinished() == 0);
                let message = if waits_for_others {
                    format!(
                        "the wait ended before submission {first} was closed: `scalems task close {first}`"
                    )
                } else {
                    format!("the wait ended before its tasks: submission {first} has unfinished ones")
                };
                self.refuse(
                    wait.peer,
                    None,
                    Some(wait.id),
                    Refusal::new(Code::TimedOut, message),
                    out,
                );
            }
            if let Some(attachment) = self.attachments.get_mut(&wait.seat) {
                attachment.waits = attachment.waits.saturating_sub(1);
            }
            false
        });
        self.waiting = waiting;
    }

    fn explain(&self, seat: u64, select: &Selector) -> Result<Reply, Refusal> {
        let selected = self.selected(seat, select)?;
        let (number, lo, _) = *selected.first().ok_or_else(Self::nothing_selected)?;
        let submission = self.tasks.get(number).ok_or_else(Self::nothing_selected)?;
        let slot = submission.slots.get(lo);
        let faults = submission.faults.get(&lo).copied().unwrap_or_default();
        let row = self.task_rows(submission, lo, lo + 1, slot).remove(0);
        let reasons = match slot.state {
            TaskState::Waiting => self.why_waiting(submission, lo, slot),
            TaskState::Ready => self.why_ready(submission),
            TaskState::Leased => {
                let name = row.worker.clone().unwrap_or_default();
                let mut why = vec![format!(
                    "granted to worker {name} and not started: it waits there for room, or is on its way"
                )];
                why.extend(variant_of(submission, slot));
                if submission.template.needs.way(slot.variant).placement == Placement::Strict {
                    why.push(
                        "it begins only in as few NUMA nodes as its cores and GPUs fit in (placement strict), and may \
                         wait for some that are in use"
                            .to_owned(),
                    );
                }
                why
            }
            TaskState::Running if slot.worker == NOBODY => vec![
                "it has ended; its client may have seen another result before the agent was started again, and has a \
                 moment to say so"
                    .to_owned(),
            ],
            TaskState::Running => {
                let runs = format!("runs on worker {}", row.worker.clone().unwrap_or_default());
                [runs].into_iter().chain(variant_of(submission, slot)).collect()
            }
            TaskState::Done | TaskState::Failed | TaskState::Canceled => {
                let why = row
                    .error
                    .as_ref()
                    .map_or_else(|| "it has ended".to_owned(), |error| error.message.clone());
                let again = submission.again_as(lo).map(|number| {
                    format!("it was submitted again, as {number}.{}", submission.index(lo))
                });
                [why].into_iter().chain(again).collect()
            }
        };
        let task = (*submission.template).clone();
        let faults = (faults.own, faults.crashes);
        let progress = self.last_word(number, lo, slot);
        Ok(Reply::Explain(Box::new(Explanation {
            row,
            task,
            faults,
            reasons,
            progress,
        })))
    }

    fn why_waiting(&self, submission: &Submission, offset: u32, slot: Slot) -> Vec<String> {
        if !self.coming.is_empty() {
            return vec![format!(
                "the agent was started again: {} workers of before are not back yet, and one of them may have it",
                self.coming.len()
            )];
        }
        if self.may_run_elsewhere(submission.number, submission.template.policy.on_silence) {
            return vec![
                "the agent was started again, and a worker of before that may run it is not back: it waits until that \
                 cannot run it any more"
                    .to_owned(),
            ];
        }
        if slot.attempt > 0 {
            return vec![format!(
                "attempt {} failed; the next one waits for its back-off",
                slot.attempt
            )];
        }
        let pending = submission.blockers.iter().filter_map(|blocker| {
            let target = self.tasks.get(blocker.submission)?;
            let (lo, hi) = if blocker.each {
                (offset, offset + 1)
            } else {
                (blocker.lo, blocker.hi)
            };
            (blocker.standing(target, lo, hi) == Standing::Pending).then(|| {
                let left: u32 = target
                    .slots
                    .stretches(lo, hi)
                    .into_iter()
                    .filter(|stretch| !stretch.value.state.is_final())
                    .map(|stretch| stretch.hi - stretch.lo)
                    .sum();
                format!(
                    "waits for submission {}, of which {left} tasks have not ended",
                    target.number
                )
            })
        });
        pending.collect()
    }

    fn why_ready(&self, submission: &Submission) -> Vec<String> {
        let class = self.queue.class(submission.class);
        let mut reasons = Vec::new();
        if self.stopping.is_some() {
            reasons.push("the pilot is ending: nothing new is started".to_owned());
        }
        if self.results_full() {
            reasons.push(self.why_full());
            return reasons;
        }
        let living: Vec<&Worker> = self.workers.values().filter(|worker| worker.lives()).collect();
        reasons.extend(self.requested_for(&class.mode, &class.ways));
        let serving: Vec<&&Worker> = living
            .iter()
            .filter(|worker| worker.modes.contains_key(&class.mode))
            .collect();
        if living.is_empty() {
            let what = if self.seen.is_empty() {
                "no worker has joined yet"
            } else {
                "all workers have gone"
            };
            reasons.push(format!("{what} (waiting_for_worker)"));
        } else if serving.is_empty() {
            let text = format!(
                "none of the {} workers serves mode {:?} (waiting_for_worker)",
                living.len(),
                class.mode
            );
            reasons.push(text);
        } else {
            for worker in &serving {
                let lacks: Vec<&str> = worker.knows.lacks(class.asks).collect();
                if !lacks.is_empty() {
                    let lacks = lacks.join(" and ");
                    reasons.push(format!(
                        "worker {} is older and does not know {lacks}",
                        worker.name
                    ));
                    continue;
                }
                for (variant, way) in class.ways.iter().enumerate() {
                    let text = self.why_not_there(worker, way);
                    reasons.push(match class.ways.len() {
                        1 => text,
                        _ => format!("variant {variant}: {text}"),
                    });
                }
                if reasons.len() >= 8 {
                    break;
                }
            }
        }
        if let Some((_, worker)) = self.reserved.filter(|(class, _)| *class != submission.class) {
            let name = self
                .workers
                .get(&worker)
                .map_or("?", |worker| worker.name.as_str());
            reasons.push(format!(
                "worker {name} is kept free for a bigger task that has waited longer"
            ));
        }
        reasons
    }

    /// Why a worker that serves a task's mode does not run it in one way.
    fn why_not_there(&self, worker: &Worker, way: &Way) -> String {
        let short = worker.capacity.short_of(&Amounts::default(), &way.needs);
        let busy = worker.capacity.short_of(&worker.used, &way.needs);
        let left = worker.left(self.now).filter(|left| *left < way.min_time);
        let name = &worker.name;
        match (short, busy) {
            _ if let Some(left) = left => format!(
                "worker {name} has {} s left, one task needs {} s",
                left / 1_000_000,
                way.min_time / 1_000_000
            ),
            (Some(kind), _) => format!(
                "worker {name} has {} {}, one task needs {}",
                worker.capacity.amount(kind),
                self.kinds.name(kind),
                way.needs.amount(kind)
            ),
            (None, Some(kind)) => format!(
                "worker {name} has {} of {} {} in use, one task needs {}",
                worker.used.amount(kind).min(worker.capacity.amount(kind)),
                worker.capacity.amount(kind),
                self.kinds.name(kind),
                way.needs.amount(kind)
            ),
            (None, None) if worker.standing != WorkerStanding::Active => {
                format!("worker {name} is {}", worker.standing.name())
            }
            (None, None) if worker.capacity.fits(&worker.used, &way.needs) == Some(0) => {
                format!("what is free at worker {name} is parts of several: one task needs a part of one")
            }
            (None, None) => format!("worker {name} has room: the task is about to be granted"),
        }
    }
}

/// In which of several ways a task is run.
fn variant_of(submission: &Submission, slot: Slot) -> Option<String> {
    let needs = &submission.template.needs;
    if needs.variants.is_empty() {
        return None;
    }
    let takes = needs.way(slot.variant).totals();
    let takes: Vec<String> = takes.map(|(kind, amount)| format!("{amount} {kind}")).collect();
    let takes = if takes.is_empty() {
        "nothing".to_owned()
    } else {
        takes.join(", ")
    };
    Some(format!("it has room for variant {}: {takes}", slot.variant))
}

fn all_ended(submission: &Submission, lo: u32, hi: u32) -> bool {
    if hi == u32::MAX {
        return submission.is_over();
    }
    submission.counts.unfinished() == 0
        || submission
            .slots
            .stretches(lo, hi)
            .iter()
            .all(|stretch| stretch.value.state.is_final())
}
