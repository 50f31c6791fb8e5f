//! Leases as the worker knows them: runs that the same life of the agent granted.

use scalems_protocol::group::{HeldRun, Run};
use scalems_protocol::hash;
use scalems_protocol::{Incarnation, Origin, TaskState};

/// A run of leases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grant {
    pub(super) run: Run,
    pub(super) origin: Origin,
    pub(super) incarnation: Incarnation,
    /// Which of the ways to run they have room for.
    pub(super) variant: u8,
}

impl Grant {
    /// What its leases add to the state hash.
    pub(super) fn term(&self, state: TaskState) -> u64 {
        let Run {
            submission,
            lo,
            hi,
            attempt,
        } = self.run;
        hash::lease_sum(self.incarnation, submission, attempt, state, lo, hi)
    }

    /// The offsets that the grant has in common with `run`.
    pub(super) fn overlap(&self, run: Run) -> Option<(u32, u32)> {
        let (lo, hi) = (self.run.lo.max(run.lo), self.run.hi.min(run.hi));
        let same = self.run.submission == run.submission && self.run.attempt == run.attempt;
        (same && lo < hi).then_some((lo, hi))
    }

    /// Only its offsets `lo..hi`.
    pub(super) const fn part(&self, lo: u32, hi: u32) -> Self {
        Self {
            run: Run { lo, hi, ..self.run },
            ..*self
        }
    }

    /// Grows by `next` if that follows without a gap.
    pub(super) fn extend(&mut self, next: &Self) -> bool {
        let follows = self.run.hi == next.run.lo && *next == self.part(next.run.lo, next.run.hi);
        if follows {
            self.run.hi = next.run.hi;
        }
        follows
    }

    pub(super) const fn held(&self, state: TaskState) -> HeldRun {
        HeldRun {
            run: self.run,
            origin: self.origin,
            incarnation: self.incarnation,
            state,
            variant: self.variant,
        }
    }
}

/// Something that is made of a run of leases and can be cut up.
pub(super) trait Parts: Sized {
    fn grant(&self) -> &Grant;
    /// The same for the offsets `lo..hi` only.
    fn part(&self, lo: u32, hi: u32) -> Self;

    /// Cuts out what lies in `run`: what comes before it, itself, and what comes after; `Err` gives all
    /// back when nothing does.
    fn cut(self, run: Run) -> Result<(Option<Self>, Self, Option<Self>), Self> {
        let Some((lo, hi)) = self.grant().overlap(run) else {
            return Err(self);
        };
        let whole = self.grant().run;
        let before = (whole.lo < lo).then(|| self.part(whole.lo, lo));
        let after = (hi < whole.hi).then(|| self.part(hi, whole.hi));
        let inside = if before.is_none() && after.is_none() {
            self
        } else {
            self.part(lo, hi)
        };
        Ok((before, inside, after))
    }
}

/// Takes what lies in `run` out of `all`, which keeps its order.
pub(super) fn take_out<T: Parts>(all: &mut std::collections::VecDeque<T>, run: Run) -> Vec<T> {
    if !all.iter().any(|one| one.grant().overlap(run).is_some()) {
        return Vec::new();
    }
    let mut taken = Vec::new();
    for one in std::mem::take(all) {
        match one.cut(run) {
            Err(whole) => all.push_back(whole),
            Ok((before, inside, after)) => {
                all.extend(before);
                all.extend(after);
                taken.push(inside);
            }
        }
    }
    taken
}
