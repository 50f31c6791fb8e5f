//! State hashes (`docs/spec/3-worker`, section "State hashes").
//!
//! The hash of a set of leases is the sum, modulo 2⁶⁴, of one term for each lease. A sum is updated in
//! O(1) per change and does not depend on order, and a stranger can compute it from this page alone.

use crate::state::TaskState;

/// One step of splitmix64 over `folded + value`.
const fn fold(folded: u64, value: u64) -> u64 {
    let mut z = folded.wrapping_add(value).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The term of one lease: splitmix64 folded over incarnation, submission, attempt, state number, offset.
pub fn lease_term(incarnation: u64, submission: u64, attempt: u32, state: TaskState, offset: u32) -> u64 {
    fold(prefix(incarnation, submission, attempt, state), u64::from(offset))
}

/// The sum of the terms of the leases `lo..hi` of one submission, attempt and state.
pub fn lease_sum(incarnation: u64, submission: u64, attempt: u32, state: TaskState, lo: u32, hi: u32) -> u64 {
    let prefix = prefix(incarnation, submission, attempt, state);
    (lo..hi).fold(0, |sum: u64, offset| {
        sum.wrapping_add(fold(prefix, u64::from(offset)))
    })
}

fn prefix(incarnation: u64, submission: u64, attempt: u32, state: TaskState) -> u64 {
    fold(
        fold(fold(fold(0, incarnation), submission), u64::from(attempt)),
        state.hash_number(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_is_the_sum_of_its_terms_and_states_differ() {
        let sum = lease_sum(1, 2, 3, TaskState::Leased, 4, 7);
        let terms = (4..7).fold(0_u64, |sum, at| {
            sum.wrapping_add(lease_term(1, 2, 3, TaskState::Leased, at))
        });
        assert_eq!(sum, terms);
        assert_ne!(sum, lease_sum(1, 2, 3, TaskState::Running, 4, 7));
        assert_eq!(lease_sum(1, 2, 3, TaskState::Leased, 4, 4), 0);
    }
}
