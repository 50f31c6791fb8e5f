//! Leases as one list, for the agent to compare with its own.

use scalems_protocol::TaskState;
use scalems_protocol::group::HeldRun;

use super::grant::Grant;

/// Runs in one list: 21 values each, which leaves a third of what a header may have.
pub(super) const RUNS: usize = 2_048;

/// Gathers leases; neighbours in one state become one run.
#[derive(Debug, Default)]
pub(super) struct Listing(Vec<HeldRun>);

impl Listing {
    /// Adds leases of one state.
    pub(super) fn add(&mut self, grants: impl Iterator<Item = Grant>, state: TaskState) {
        let mut grants: Vec<Grant> = grants.collect();
        grants.sort_unstable_by_key(|grant| {
            (
                grant.run.submission,
                grant.run.attempt,
                grant.incarnation,
                grant.run.lo,
            )
        });
        let mut last: Option<Grant> = None;
        for grant in grants {
            if last.as_mut().is_none_or(|last| !last.extend(&grant)) {
                self.0.extend(last.replace(grant).map(|grant| grant.held(state)));
            }
        }
        self.0.extend(last.map(|grant| grant.held(state)));
    }

    /// The list as far as a message holds it, and the rest.
    pub(super) fn finish(mut self) -> (Vec<HeldRun>, Vec<HeldRun>) {
        let rest = self.0.split_off(self.0.len().min(RUNS));
        (self.0, rest)
    }
}
