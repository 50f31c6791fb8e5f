//! What the agent is to be told, and what it was told and has not recorded.

use std::collections::VecDeque;

use scalems_protocol::group::{Data, Gather, Place, ResultGroup, Run};
use scalems_protocol::worker::Report;
use scalems_protocol::{Bytes, Ending, TaskError, TaskState, limits};

use super::grant::{self, Grant, Parts};
use super::table::Table;

/// Values in the header of one report. The scan allows more; the rest is for the report's own keys.
const ELEMENTS: usize = limits::ELEMENTS - 4_096;
/// Bytes in the header of one report, likewise.
const HEADER_BYTES: usize = limits::HEADER_BYTES - (128 << 10);
/// Values and bytes that a group takes in a header beside its column and its error, and a run alone.
const GROUP: Cost = Cost {
    elements: 48,
    bytes: 288,
};
const RUN: Cost = Cost {
    elements: 9,
    bytes: 64,
};
/// What a result weighs in memory beside its data.
const RESULT_BYTES: u64 = 256;

/// A run of leases that ended alike.
#[derive(Clone, Debug)]
pub(super) struct Finished {
    pub(super) grant: Grant,
    pub(super) ending: Ending,
    pub(super) data: Data,
    pub(super) exit_code: Option<i32>,
    pub(super) ran_us: u64,
    pub(super) error: Option<TaskError>,
}

impl Finished {
    fn extend(&mut self, next: &Self) -> bool {
        let alike = self.ending == next.ending
            && self.exit_code == next.exit_code
            && [&self.data, &next.data]
                .into_iter()
                .all(|data| data.bytes.is_empty() && data.ends.is_empty())
            && self.error == next.error
            && self.grant.extend(&next.grant);
        if alike {
            self.ran_us += next.ran_us;
        }
        alike
    }

    fn weight(&self) -> u64 {
        self.data.bytes.len() as u64 + RESULT_BYTES
    }

    fn cost(&self) -> Cost {
        let texts = self.error.as_ref().map_or(0, |error| {
            let optional = [&error.class, &error.trace]
                .into_iter()
                .flatten()
                .map(String::len)
                .sum::<usize>();
            error.message.len() + optional
        });
        let column = self.data.ends.len();
        Cost {
            elements: GROUP.elements + column,
            bytes: GROUP.bytes + 5 * column + texts,
        }
    }

    fn group(&self, place: Place) -> ResultGroup {
        ResultGroup {
            run: self.grant.run,
            origin: self.grant.origin,
            incarnation: self.grant.incarnation,
            ending: self.ending,
            place,
            exit_code: self.exit_code,
            ran_us: self.ran_us,
            error: self.error.clone(),
        }
    }
}

impl Parts for Finished {
    fn grant(&self) -> &Grant {
        &self.grant
    }

    fn part(&self, lo: u32, hi: u32) -> Self {
        let whole = self.grant.run;
        let data = self.data.part((lo - whole.lo) as usize, (hi - whole.lo) as usize);
        let ran_us = self.ran_us / u64::from(whole.count()) * u64::from(hi - lo);
        Self {
            grant: self.grant.part(lo, hi),
            data,
            ran_us,
            ..self.clone()
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    elements: usize,
    bytes: usize,
}

impl Cost {
    /// Adds `more` if a header has room for it.
    fn add(&mut self, more: Self) -> bool {
        let sum = Self {
            elements: self.elements + more.elements,
            bytes: self.bytes + more.bytes,
        };
        let fits = sum.elements <= ELEMENTS && sum.bytes <= HEADER_BYTES;
        if fits {
            *self = sum;
        }
        fits
    }
}

#[derive(Clone, Debug)]
struct Sent {
    number: u64,
    results: Vec<Finished>,
}

/// News for the agent.
#[derive(Clone, Debug, Default)]
pub(super) struct Outbox {
    started: VecDeque<u64>,
    returned: VecDeque<Grant>,
    results: VecDeque<Finished>,
    sent: VecDeque<Sent>,
    weight: u64,
}

impl Outbox {
    pub(super) fn start(&mut self, key: u64) {
        self.started.push_back(key);
    }

    pub(super) fn give_back(&mut self, grant: Grant) {
        self.returned.push_back(grant);
    }

    pub(super) fn finish(&mut self, finished: Finished) {
        if self.results.back_mut().is_none_or(|last| !last.extend(&finished)) {
            self.weight += finished.weight();
            self.results.push_back(finished);
        }
    }

    /// Whether so much waits to be recorded that nothing more may be made.
    pub(super) const fn is_full(&self) -> bool {
        self.weight >= limits::WINDOW_BYTES
    }

    /// Whether there may be something that the agent was not told.
    pub(super) fn has_news(&self) -> bool {
        !self.started.is_empty() || self.has_ends()
    }

    /// Whether leases ended of which the agent was not told.
    pub(super) fn has_ends(&self) -> bool {
        !self.returned.is_empty() || !self.results.is_empty()
    }

    /// Whether the agent was told all, and has recorded it.
    pub(super) fn is_empty(&self) -> bool {
        self.returned.is_empty() && self.results.is_empty() && self.sent.is_empty()
    }

    /// The next report, if there is news. That tasks run is taken over into `table` and the hash `sum`; what
    /// has ended left it when it did, since no hash is shown before all news is told.
    pub(super) fn pack(
        &mut self,
        number: u64,
        table: &mut Table,
        sum: &mut u64,
    ) -> Option<(Report, Vec<Bytes>)> {
        let mut cost = Cost::default();
        let mut report = Report {
            number,
            ..Report::default()
        };
        let mut runs: Vec<Grant> = Vec::new();
        while let Some(key) = self.started.front() {
            // One that ended since need not be told of: its result follows.
            if let Some(task) = table
                .get_mut(*key)
                .filter(|task| !task.is_dropped() && !task.reported)
            {
                if !add_run(&mut runs, &task.grant, &mut cost) {
                    break;
                }
                *sum = sum.wrapping_add(task.grant.term(TaskState::Running));
                *sum = sum.wrapping_sub(task.grant.term(TaskState::Leased));
                task.reported = true;
            }
            self.started.pop_front();
        }
        report.started = runs.drain(..).map(|grant| grant.run).collect();
        while let Some(grant) = self.returned.front() {
            if !add_run(&mut runs, grant, &mut cost) {
                break;
            }
            self.returned.pop_front();
        }
        report.returned = runs.into_iter().map(|grant| grant.run).collect();
        let mut gather = Gather::default();
        let mut results = Vec::new();
        while let Some(finished) = self.results.front() {
            let more_bytes = gather.bytes() + finished.data.bytes.len();
            let full =
                results.len() == limits::GROUPS || (gather.bytes() > 0 && more_bytes > limits::MESSAGE_BYTES);
            if full || !cost.add(finished.cost()) {
                break;
            }
            let finished = self.results.pop_front().expect("it is at the front");
            report.results.push(finished.group(gather.add(&finished.data)));
            results.push(finished);
        }
        if !results.is_empty() {
            self.sent.push_back(Sent { number, results });
        }
        let news = !(report.started.is_empty() && report.returned.is_empty() && report.results.is_empty());
        news.then(|| (report, gather.finish()))
    }

    /// Reports up to `number` are recorded.
    pub(super) fn recorded(&mut self, number: u64) {
        while let Some(sent) = self.sent.pop_front_if(|sent| sent.number <= number) {
            self.weight -= sent.results.iter().map(Finished::weight).sum::<u64>();
        }
    }

    /// All that has ended, told or not.
    pub(super) fn ended(&self) -> impl Iterator<Item = &Grant> {
        let sent = self.sent.iter().flat_map(|sent| &sent.results);
        sent.chain(&self.results).map(|finished| &finished.grant)
    }

    /// The agent is about to be told of all leases as they are: only results are still news.
    pub(super) fn listed(&mut self) {
        self.started.clear();
        self.returned.clear();
    }

    /// Numbers begin again: what was not recorded is told again.
    pub(super) fn tell_again(&mut self) {
        let sent = std::mem::take(&mut self.sent)
            .into_iter()
            .flat_map(|sent| sent.results);
        let news = std::mem::take(&mut self.results);
        self.results = sent.chain(news).collect();
    }

    /// Drops the results of `run`, none of which the agent has been told in this numbering.
    pub(super) fn forget(&mut self, run: Run) {
        grant::take_out(&mut self.results, run);
        self.weight = self.results.iter().map(Finished::weight).sum();
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// Adds a run to a list in a report; `false` if there is no room.
fn add_run(runs: &mut Vec<Grant>, grant: &Grant, cost: &mut Cost) -> bool {
    if runs.last_mut().is_some_and(|last| last.extend(grant)) {
        return true;
    }
    let fits = runs.len() < limits::GROUPS && cost.add(RUN);
    if fits {
        runs.push(*grant);
    }
    fits
}
