//! What attempts took of the machine, and what for.

use std::collections::BTreeMap;

use scalems_protocol::Amount;

use super::super::{AVERAGE_US, GRAIN_US, History, Outcome, QUICK_US, Span};
use super::amount_seconds;

/// Seconds of cores, of GPUs and of tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spent {
    /// Of cores.
    pub cores_s: f64,
    /// Of GPUs.
    pub gpus_s: f64,
    /// Of tasks, whatever they had.
    pub time_s: f64,
}

impl std::ops::AddAssign for Spent {
    fn add_assign(&mut self, other: Self) {
        self.cores_s += other.cores_s;
        self.gpus_s += other.gpus_s;
        self.time_s += other.time_s;
    }
}

/// What one worker did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WorkerUse {
    /// Its place in [`History::workers`]; none: attempts of which the journal does not say where they ran.
    pub worker: Option<u32>,
    /// The most cores and GPUs that were in use at a time. It has that many or more: a journal does not say how many.
    pub peak: (Amount, Amount),
    /// From the first thing that it did to the last, microseconds since the pilot was created.
    pub busy_us: (u64, u64),
    /// What its attempts took.
    pub spent: Spent,
    /// What was in use of nothing between the first and the last thing that it did, measured by the peak.
    pub idle: Spent,
    /// Attempts that ended there.
    pub attempts: u64,
}

/// Where the time went.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Usage {
    /// By how attempts ended, in the order of [`Outcome::ALL`].
    pub by_outcome: [Spent; 5],
    /// Attempts that are charged to no task: their worker ended in order, or another attempt went on. Of submissions that can
    /// run in several ways the first is taken.
    pub uncharged: Spent,
    /// By worker.
    pub workers: Vec<WorkerUse>,
}

impl Usage {
    /// What was for nothing, but for idle time.
    pub fn wasted(&self) -> Spent {
        let mut all = self.uncharged;
        for outcome in Outcome::ALL
            .into_iter()
            .filter(|outcome| *outcome != Outcome::Done)
        {
            all += self.by_outcome[outcome as usize];
        }
        all
    }

    /// Idle time of all workers.
    pub fn idle(&self) -> Spent {
        let mut all = Spent::default();
        for worker in &self.workers {
            all += worker.idle;
        }
        all
    }
}

/// What ran in a part of the time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Load {
    /// When it begins and ends, microseconds since the pilot was created.
    pub from_us: u64,
    /// When it ends.
    pub upto_us: u64,
    /// Cores in use on average, by how the attempts ended, in the order of [`Outcome::ALL`].
    pub cores: [f64; 5],
    /// GPUs in use on average.
    pub gpus: f64,
    /// Tasks running on average.
    pub running: f64,
}

impl History {
    fn spent(&self, span: &Span) -> Spent {
        let of = |amount: Amount| amount_seconds(u128::from(amount.parts()) * u128::from(span.ran_us));
        let submission = self.submission(span.submission);
        Spent {
            cores_s: submission.map_or(0.0, |submission| of(submission.cores(span.way))),
            gpus_s: submission.map_or(0.0, |submission| of(submission.gpus(span.way))),
            time_s: span.ran_us as f64 / 1e6,
        }
    }

    /// Where the time went.
    pub fn usage(&self) -> Usage {
        let mut usage = Usage::default();
        for span in &self.spans {
            usage.by_outcome[span.outcome as usize] += self.spent(span);
        }
        for submission in self.submissions() {
            let of = |amount: Amount| {
                amount_seconds(u128::from(amount.parts()) * u128::from(submission.uncharged_us))
            };
            usage.uncharged += Spent {
                cores_s: of(submission.cores(0)),
                gpus_s: of(submission.gpus(0)),
                time_s: submission.uncharged_us as f64 / 1e6,
            };
        }
        for (worker, places) in self.by_worker() {
            usage.workers.push(self.use_of(worker, &places));
        }
        usage
    }

    fn use_of(&self, worker: Option<u32>, places: &[u32]) -> WorkerUse {
        let mut found = WorkerUse {
            worker,
            peak: (Amount::ZERO, Amount::ZERO),
            busy_us: (u64::MAX, 0),
            spent: Spent::default(),
            idle: Spent::default(),
            attempts: 0,
        };
        for span in places.iter().map(|place| &self.spans[*place as usize]) {
            found.attempts += u64::from(span.count());
            found.spent += self.spent(span);
            found.busy_us = (
                found.busy_us.0.min(span.begin_us),
                found.busy_us.1.max(span.end_us),
            );
        }
        found.peak = self.peak(places);
        // Of attempts whose worker is not known nothing was idle.
        if worker.is_some() {
            let long = found.busy_us.1.saturating_sub(found.busy_us.0);
            let of = |amount: Amount| amount_seconds(u128::from(amount.parts()) * u128::from(long));
            found.idle = Spent {
                cores_s: (of(found.peak.0) - found.spent.cores_s).max(0.0),
                gpus_s: (of(found.peak.1) - found.spent.gpus_s).max(0.0),
                time_s: 0.0,
            };
        }
        found
    }

    /// The most cores and GPUs that spans had at a time: those that ran for long, and beside them the quick ones on average
    /// over a fifth of a second.
    pub(in super::super) fn peak(&self, places: &[u32]) -> (Amount, Amount) {
        // What began and ended, as changes of what was in use; and what quick ones had in each part of the time, times that.
        let mut changes: Vec<(u64, [i64; 2])> = Vec::new();
        let mut parts: BTreeMap<u64, [u128; 2]> = BTreeMap::new();
        for span in places.iter().map(|place| &self.spans[*place as usize]) {
            let Some(submission) = self.submission(span.submission) else {
                continue;
            };
            let amounts = [submission.cores(span.way), submission.gpus(span.way)];
            let long = span.end_us - span.begin_us;
            if long > QUICK_US {
                let parts = amounts.map(|amount| amount.times(span.width()).parts() as i64);
                // An end is reported a moment late: what follows seems to begin before it.
                changes.push((span.begin_us + GRAIN_US, parts));
                changes.push((span.end_us, parts.map(|part| -part)));
            } else {
                let sums = parts.entry(span.end_us / AVERAGE_US).or_default();
                for (sum, amount) in sums.iter_mut().zip(amounts) {
                    *sum += u128::from(span.ran_us) * u128::from(amount.parts());
                }
            }
        }
        changes.sort_unstable();
        let mut peak = [0; 2];
        let mut now = [0; 2];
        for (_, more) in &mut changes {
            for kind in 0..2 {
                now[kind] += more[kind];
                peak[kind] = now[kind].max(peak[kind]);
            }
            // From here on it is what was in use after the change.
            *more = now;
        }
        let at = |time: u64| {
            let before = changes.partition_point(|(at, _)| *at <= time);
            before.checked_sub(1).map_or([0; 2], |last| changes[last].1)
        };
        for (part, sums) in parts {
            let (from, upto) = (at(part * AVERAGE_US), at((part + 1) * AVERAGE_US));
            for kind in 0..2 {
                // What was in use on average is some part less than what there was room for.
                let whole = u128::from(AVERAGE_US) * u128::from(Amount::PARTS);
                let quick = sums[kind].div_ceil(whole) as i64 * Amount::PARTS as i64;
                peak[kind] = peak[kind].max(from[kind].min(upto[kind]) + quick);
            }
        }
        let [cores, gpus] = peak.map(|parts| Amount::from_parts(parts as u64));
        (cores, gpus)
    }

    /// What ran over the time from `from_us` to `upto_us`, in `count` equal parts; of one worker, or of all.
    pub fn load(&self, (from_us, upto_us): (u64, u64), count: usize, places: Option<&[u32]>) -> Vec<Load> {
        let count = count.max(1);
        let long = upto_us.saturating_sub(from_us).max(1);
        let edge = |nth: usize| from_us + (u128::from(long) * nth as u128 / count as u128) as u64;
        let mut loads: Vec<Load> = (0..count)
            .map(|nth| Load {
                from_us: edge(nth),
                upto_us: edge(nth + 1),
                ..Load::default()
            })
            .collect();
        let mut needs: BTreeMap<(u64, u8), (f64, f64)> = BTreeMap::new();
        let mut add = |span: &Span| {
            let whole = span.end_us - span.begin_us;
            if whole == 0 || span.ran_us == 0 {
                return;
            }
            let (cores, gpus) = *needs.entry((span.submission, span.way)).or_insert_with(|| {
                let of = |amount: Amount| amount.parts() as f64 / Amount::PARTS as f64;
                self.submission(span.submission).map_or((0.0, 0.0), |submission| {
                    (of(submission.cores(span.way)), of(submission.gpus(span.way)))
                })
            });
            let at_a_time = span.ran_us as f64 / whole as f64;
            let first = (u128::from(span.begin_us.saturating_sub(from_us)) * count as u128 / u128::from(long))
                as usize;
            for load in loads.iter_mut().skip(first.saturating_sub(1)) {
                if load.from_us >= span.end_us {
                    break;
                }
                let within = span
                    .end_us
                    .min(load.upto_us)
                    .saturating_sub(span.begin_us.max(load.from_us));
                let share = at_a_time * within as f64 / (load.upto_us - load.from_us).max(1) as f64;
                load.running += share;
                load.cores[span.outcome as usize] += share * cores;
                load.gpus += share * gpus;
            }
        };
        match places {
            Some(places) => places.iter().for_each(|place| add(&self.spans[*place as usize])),
            None => self.spans.iter().for_each(add),
        }
        loads
    }
}
