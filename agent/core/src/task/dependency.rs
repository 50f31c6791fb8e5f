//! Dependencies: what has to end before a submission's tasks may start.

use scalems_protocol::state::TaskState;
use scalems_protocol::task::When;

use crate::task::Submission;

/// One dependency, resolved to a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocker {
    /// The submission that has to end.
    pub submission: u64,
    /// The first offset.
    pub lo: u32,
    /// One past the last offset; `u32::MAX`: of those that will be added, too.
    pub hi: u32,
    /// How it has to end.
    pub when: When,
    /// Offset by offset.
    pub each: bool,
}

/// How far a dependency is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has not ended.
    Pending,
    /// It ended as was asked.
    Met,
    /// It ended, or will end, otherwise.
    Missed,
}

impl Blocker {
    /// How far the tasks `lo..hi` of `target` are.
    pub fn standing(&self, target: &Submission, lo: u32, hi: u32) -> Standing {
        let (mut pending, mut bad) = (false, false);
        if lo == 0 && hi >= target.count() {
            pending = target.counts.unfinished() > 0 || (hi == u32::MAX && target.open);
            bad = target.counts.failed + target.counts.canceled > 0;
        } else {
            for stretch in target.slots.stretches(lo, hi) {
                pending |= !stretch.value.state.is_final();
                bad |= matches!(stretch.value.state, TaskState::Failed | TaskState::Canceled);
            }
        }
        match self.when {
            When::Ok if bad => Standing::Missed,
            _ if pending => Standing::Pending,
            When::Ok | When::Any => Standing::Met,
            When::Failed if bad => Standing::Met,
            When::Failed => Standing::Missed,
        }
    }
}
