//! Since when a worker's tasks run, as its reports came: what an attempt has cost if nobody says how long it ran.

use std::collections::BTreeMap;

use scalems_protocol::group::Run;

use crate::interface::Micros;

/// Tasks that run, by submission and first offset of each run.
#[derive(Clone, Debug, Default)]
pub struct Since {
    runs: BTreeMap<(u64, u32), Began>,
}

#[derive(Clone, Copy, Debug)]
struct Began {
    hi: u32,
    at: Micros,
}

impl Since {
    /// These run now; those of them that are known to run already do so since they began.
    pub fn begin(&mut self, run: Run, now: Micros) {
        let mut lo = run.lo;
        for (from, began) in self.touched(run) {
            if lo < from {
                self.insert(run.submission, lo, from, now);
            }
            lo = began.hi;
        }
        if lo < run.hi {
            self.insert(run.submission, lo, run.hi, now);
        }
    }

    /// These run no more. Returns how long they have run together.
    pub fn end(&mut self, run: Run, now: Micros) -> Micros {
        let mut together: Micros = 0;
        for (from, Began { hi, at }) in self.touched(run) {
            self.runs.remove(&(run.submission, from));
            if from < run.lo {
                self.insert(run.submission, from, run.lo, at);
            }
            if run.hi < hi {
                self.insert(run.submission, run.hi, hi, at);
            }
            let tasks = u64::from(hi.min(run.hi) - from.max(run.lo));
            together = together.saturating_add(now.saturating_sub(at).saturating_mul(tasks));
        }
        together
    }

    fn insert(&mut self, submission: u64, lo: u32, hi: u32, at: Micros) {
        self.runs.insert((submission, lo), Began { hi, at });
    }

    /// What there is of a run, in order.
    fn touched(&self, run: Run) -> Vec<(u32, Began)> {
        let before = self.runs.range(..(run.submission, run.lo)).next_back();
        let before =
            before.filter(|((submission, _), began)| *submission == run.submission && began.hi > run.lo);
        let inside = self
            .runs
            .range((run.submission, run.lo)..(run.submission, run.hi.max(run.lo)));
        before
            .into_iter()
            .chain(inside)
            .map(|((_, lo), began)| (*lo, *began))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(lo: u32, hi: u32) -> Run {
        Run {
            submission: 7,
            lo,
            hi,
            attempt: 1,
        }
    }

    #[test]
    fn each_task_runs_since_it_began() {
        let mut since = Since::default();
        since.begin(run(2, 4), 10);
        // Two are known already, the others begin now.
        since.begin(run(0, 6), 20);
        assert_eq!(since.end(run(1, 3), 30), 10 + 20);
        assert_eq!(since.end(run(0, 6), 40), 20 + 30 + 2 * 20);
        assert_eq!(since.end(run(0, 6), 50), 0, "they are over");
        assert!(since.runs.is_empty());
    }

    #[test]
    fn of_other_submissions_nothing_is_known() {
        let mut since = Since::default();
        since.begin(run(0, 9), 10);
        let other = Run {
            submission: 8,
            ..run(0, 9)
        };
        assert_eq!(since.end(other, 50), 0);
        assert_eq!(since.end(run(8, 20), 50), 40);
    }
}
