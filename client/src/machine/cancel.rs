//! Canceling tasks of this session: those that are still here end here, the others by their numbers.

use scalems_protocol::client::CancelDone;
use scalems_protocol::error::{Code, Refusal, TaskError};
use scalems_protocol::limits;
use scalems_protocol::select::{Pick, Selector};
use scalems_protocol::state::Strength;

use super::backlog::canceled;
use super::interface::{Answered, CallFault, CallKey, Output, PackKey, Shape};
use super::requests::Request;
use super::{Machine, reply};

/// A call to cancel tasks, and what has become of it.
#[derive(Clone, Debug)]
pub(super) struct Job {
    strength: Strength,
    reason: String,
    /// Tasks that are at the agent and whose numbers are not known yet, or that were not looked at.
    rest: Vec<(PackKey, u32, u32)>,
    /// Requests that were made and are not answered.
    open: u32,
    tally: CancelDone,
}

impl Job {
    pub(super) fn new(tasks: Vec<(PackKey, u32, u32)>, strength: Strength, reason: String) -> Self {
        Self {
            strength,
            reason,
            rest: tasks,
            open: 0,
            tally: CancelDone::default(),
        }
    }
}

/// Tasks that can be named to the agent.
#[derive(Default)]
struct Named {
    picks: Vec<Pick>,
    tasks: u64,
}

impl Machine {
    /// Goes on with the calls to cancel, if something happened that they may have waited for.
    pub(super) fn run_jobs(&mut self, out: &mut Vec<Output>) {
        // What one of them ends is news to others, and to what it looked at before.
        while std::mem::take(&mut self.jobs_stirred) && self.over.is_none() {
            let keys: Vec<CallKey> = self.jobs.keys().copied().collect();
            for key in keys {
                self.run_job(key, out);
            }
            self.settle(out);
        }
    }

    fn run_job(&mut self, key: CallKey, out: &mut Vec<Output>) {
        let Some(mut job) = self.jobs.remove(&key) else {
            return;
        };
        let mut named = Named::default();
        for (pack, lo, hi) in std::mem::take(&mut job.rest) {
            self.look(pack, lo, hi, &mut job, &mut named, out);
        }
        let mut requests = Vec::new();
        while !named.picks.is_empty() {
            let rest = named.picks.split_off(named.picks.len().min(limits::BATCH_TASKS));
            let picks = std::mem::replace(&mut named.picks, rest);
            let chosen = Some(picks.iter().map(count).sum());
            let select = Selector {
                picks,
                ..Selector::default()
            };
            let (strength, reason) = (job.strength, job.reason.clone());
            requests.push(Request::Cancel {
                select,
                strength,
                reason,
                call: key,
                chosen,
            });
        }
        job.open += requests.len() as u32;
        self.unnumbered.extend(requests);
        self.jobs.insert(key, job);
        self.finish_job(key, out);
    }

    /// Sorts tasks by where they are.
    fn look(
        &mut self,
        key: PackKey,
        lo: u32,
        hi: u32,
        job: &mut Job,
        named: &mut Named,
        out: &mut Vec<Output>,
    ) {
        let Some(entry) = self.packs.get(key) else {
            job.tally.ended += u64::from(hi.saturating_sub(lo));
            return;
        };
        let (hi, array) = (
            hi.min(entry.pack.count),
            matches!(entry.pack.shape, Shape::Array { .. }),
        );
        if array && entry.first_unsent().is_some() && (lo > 0 || hi < entry.pack.count) {
            // An array goes to the agent as a whole, so a part of it is canceled there.
            job.rest.push((key, lo, hi));
            return;
        }
        let reason = if job.reason.is_empty() {
            "as asked"
        } else {
            job.reason.as_str()
        };
        let done = canceled(TaskError::new(
            Code::Canceled,
            format!("canceled before it was sent: {reason}"),
        ));
        let mut from = lo;
        while from < hi {
            let to = entry.ended.run_end(from, hi);
            if entry.ended.has(from) {
                job.tally.ended += u64::from(to - from);
                from = to;
                continue;
            }
            for part in entry.parts_within(from, to) {
                let (lo, hi) = (from.max(part.lo), to.min(part.hi));
                let Some(submission) = part.submission else {
                    job.rest.push((key, lo, hi));
                    continue;
                };
                let (first, step) = entry.index(part, lo);
                let last = first + step * (hi - lo - 1);
                named.add(Pick {
                    first: submission,
                    last: submission,
                    step: 1,
                    indices: Some((first, last, step)),
                });
                named.tasks += u64::from(hi - lo);
            }
            from = to;
        }
        job.tally.withdrawn += u64::from(self.end_unsent(key, lo, hi, &done, out));
    }

    pub(super) fn cancel_done(&mut self, done: CancelDone, out: &mut Vec<Output>) {
        let Some(Request::Cancel { call, chosen, .. }) = self.requests.get(done.request) else {
            self.counters.strays += 1;
            return;
        };
        let (call, chosen) = (*call, *chosen);
        self.requests.answer(done.request);
        if chosen.is_none() {
            return reply(call, Ok(Answered::Canceled(done)), out);
        }
        let Some(job) = self.jobs.get_mut(&call) else {
            return;
        };
        job.open -= 1;
        job.tally.withdrawn += done.withdrawn;
        job.tally.told += done.told;
        job.tally.running += done.running;
        job.tally.ended += done.ended;
        self.finish_job(call, out);
    }

    pub(super) fn cancel_refused(
        &mut self,
        call: CallKey,
        chosen: Option<u64>,
        refusal: Refusal,
        out: &mut Vec<Output>,
    ) {
        let Some(chosen) = chosen else {
            return reply(call, Err(CallFault::Refused(refusal)), out);
        };
        if refusal.code == Code::NothingSelected {
            // All of them have ended meanwhile and were forgotten.
            let Some(job) = self.jobs.get_mut(&call) else {
                return;
            };
            job.open -= 1;
            job.tally.ended += chosen;
            return self.finish_job(call, out);
        }
        if self.jobs.remove(&call).is_some() {
            reply(call, Err(CallFault::Refused(refusal)), out);
        }
    }

    fn finish_job(&mut self, key: CallKey, out: &mut Vec<Output>) {
        let done = |job: &Job| job.open == 0 && job.rest.is_empty();
        if self.jobs.get(&key).is_some_and(done)
            && let Some(job) = self.jobs.remove(&key)
        {
            reply(key, Ok(Answered::Canceled(job.tally)), out);
        }
    }
}

impl Named {
    /// Adds a pick, to the last one if it goes on there.
    fn add(&mut self, pick: Pick) {
        if let Some(last) = self.picks.last_mut()
            && last.first == pick.first
            && let (Some((from, to, step)), Some((first, until, again))) = (last.indices, pick.indices)
            && step == again
            && first == to + step
        {
            last.indices = Some((from, until, step));
            return;
        }
        self.picks.push(pick);
    }
}

fn count(pick: &Pick) -> u64 {
    pick.indices
        .map_or(0, |(first, last, step)| u64::from((last - first) / step) + 1)
}
