//! How much of one stream goes into the packed log: up to its cap, and no faster than its rate.

use std::time::{Duration, Instant};

use scalems_protocol::packed::Why;

/// Lets bytes pass, or says why not. It waits for nothing.
#[derive(Debug)]
pub(in crate::executor) struct Gate {
    /// Bytes until the cap.
    left: u64,
    rate: Option<Rate>,
}

/// Passes so many bytes a second, and as many at once after a second of silence.
#[derive(Debug)]
struct Rate {
    bytes: u64,
    ready: u64,
    counted: Instant,
}

impl Gate {
    pub(in crate::executor) fn new(cap: u64, rate: Option<u64>, now: Instant) -> Self {
        let rate = rate.map(|bytes| Rate {
            bytes,
            ready: bytes,
            counted: now,
        });
        Self { left: cap, rate }
    }

    /// How many of so many bytes may pass, and what keeps the others back.
    pub(in crate::executor) fn admit(&mut self, bytes: usize, now: Instant) -> (usize, Why) {
        let ready = self.rate.as_mut().map_or(u64::MAX, |rate| rate.ready_at(now));
        let why = if self.left <= ready { Why::Cap } else { Why::Rate };
        let passed = (bytes as u64).min(self.left).min(ready);
        self.left -= passed;
        if let Some(rate) = &mut self.rate {
            rate.ready -= passed;
        }
        (passed as usize, why)
    }
}

impl Rate {
    fn ready_at(&mut self, now: Instant) -> u64 {
        let passed = now.saturating_duration_since(self.counted).as_micros();
        let more = u128::from(self.bytes) * passed / 1_000_000;
        if more > 0 {
            self.ready = u64::try_from(more)
                .unwrap_or(u64::MAX)
                .saturating_add(self.ready)
                .min(self.bytes);
            // What is left of a byte counts next time.
            let used = u64::try_from(more * 1_000_000 / u128::from(self.bytes)).unwrap_or(u64::MAX);
            self.counted = self
                .counted
                .checked_add(Duration::from_micros(used))
                .unwrap_or(now);
        }
        self.ready
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cap_is_reached_once() {
        let now = Instant::now();
        let mut gate = Gate::new(10, None, now);
        assert_eq!(gate.admit(7, now), (7, Why::Cap));
        assert_eq!(gate.admit(7, now), (3, Why::Cap));
        assert_eq!(gate.admit(7, now), (0, Why::Cap));
    }

    #[test]
    fn a_rate_gives_what_time_has_brought() {
        let now = Instant::now();
        let at = |ms| now + Duration::from_millis(ms);
        let mut gate = Gate::new(u64::MAX, Some(1_000), now);
        assert_eq!(gate.admit(1_500, now), (1_000, Why::Rate));
        assert_eq!(gate.admit(1_500, at(100)), (100, Why::Rate));
        // No more than a second's worth is saved up.
        assert_eq!(gate.admit(1_500, at(9_000)), (1_000, Why::Rate));
        // Parts of a byte are not lost.
        let mut slow = Gate::new(u64::MAX, Some(3), now);
        slow.admit(3, now);
        let passed: usize = (1..=100).map(|tenth| slow.admit(9, at(100 * tenth)).0).sum();
        assert_eq!(passed, 30);
    }
}
