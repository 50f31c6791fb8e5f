//! What a worker should hold at any point of both message streams (`docs/spec/3-worker`, "State hashes").
//!
//! Belief(a, s) = granted\[a\] + reported\[s\]: the sum after the agent's message `a` was applied and the
//! worker's report `s` was sent. Two rings keep the sums of the points that a beat may still name.

use std::collections::VecDeque;

use scalems_protocol::limits;

/// Sums by message number.
#[derive(Clone, Debug, Default)]
struct Ring {
    total: u64,
    points: VecDeque<(u64, u64)>,
}

impl Ring {
    fn begin(total: u64) -> Self {
        Self {
            total,
            points: VecDeque::from([(0, total)]),
        }
    }

    fn mark(&mut self, number: u64) {
        match self.points.back_mut() {
            Some((last, total)) if *last == number => *total = self.total,
            _ => self.points.push_back((number, self.total)),
        }
        if self.points.len() > limits::BELIEF_RING {
            self.points.pop_front();
        }
    }

    /// The sum after message `number`; messages that changed nothing have no point of their own.
    fn at(&self, number: u64) -> Option<u64> {
        let after = self.points.partition_point(|(point, _)| *point <= number);
        after.checked_sub(1).map(|at| self.points[at].1)
    }

    fn prune(&mut self, number: u64) {
        while self.points.get(1).is_some_and(|(point, _)| *point <= number) {
            self.points.pop_front();
        }
    }
}

/// What one worker should hold.
#[derive(Clone, Debug, Default)]
pub struct Belief {
    granted: Ring,
    reported: Ring,
}

impl Belief {
    /// After a welcome: what the worker listed and was allowed to keep.
    pub fn begin(kept: u64) -> Self {
        Self {
            granted: Ring::begin(kept),
            reported: Ring::begin(0),
        }
    }

    /// The two sides agree on `sum` at this point of both streams.
    pub fn rebase(&mut self, sent: u64, received: u64, sum: u64) {
        self.granted = Ring {
            total: sum,
            points: VecDeque::from([(sent, sum)]),
        };
        self.reported = Ring {
            total: 0,
            points: VecDeque::from([(received, 0)]),
        };
    }

    /// Leases with this sum were granted; they go out with the next marked message.
    pub fn grant(&mut self, sum: u64) {
        self.granted.total = self.granted.total.wrapping_add(sum);
    }

    /// A numbered message was sent.
    pub fn mark_sent(&mut self, number: u64) {
        self.granted.mark(number);
    }

    /// A report took leases with the sum `old` away and put `new` in their place.
    pub fn report(&mut self, old: u64, new: u64) {
        self.reported.total = self.reported.total.wrapping_sub(old).wrapping_add(new);
    }

    /// A report was taken in.
    pub fn mark_received(&mut self, number: u64) {
        self.reported.mark(number);
    }

    /// Whether `hash` is what the worker should hold at (`applied`, `sent`); `None`: that point is past.
    pub fn compare(&mut self, applied: u64, sent: u64, hash: u64) -> Option<bool> {
        let belief = self.granted.at(applied)?.wrapping_add(self.reported.at(sent)?);
        self.granted.prune(applied);
        self.reported.prune(sent);
        Some(belief == hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_in_flight_are_never_compared_across() {
        let mut belief = Belief::begin(5);
        belief.grant(10);
        belief.mark_sent(1);
        belief.grant(100);
        belief.mark_sent(2);
        belief.report(10, 0);
        belief.mark_received(1);
        // The worker beat after it applied message 1 and before it reported.
        assert_eq!(belief.compare(1, 0, 15), Some(true));
        assert_eq!(belief.compare(1, 1, 5), Some(true));
        assert_eq!(belief.compare(2, 1, 105), Some(true));
        assert_eq!(belief.compare(2, 1, 104), Some(false));
        assert_eq!(belief.compare(0, 1, 0), None);
    }
}
