//! Sums over a history: what it took, where time went, what was slow and what failed. All of them are bounded, whatever
//! the number of tasks.

mod distribution;
mod failures;
mod usage;

pub use distribution::{Bin, Distribution, distribution};
pub use failures::FailureGroup;
pub use usage::{Load, Spent, Usage, WorkerUse};

use super::{History, Span};

/// Microseconds and parts of a whole, as seconds of whole ones.
pub(super) fn amount_seconds(parts_us: u128) -> f64 {
    parts_us as f64 / (scalems_protocol::Amount::PARTS as f64 * 1e6)
}

impl History {
    /// How long attempts ran that ended well, microseconds.
    pub fn run_times(&self) -> Distribution {
        let well = self
            .spans
            .iter()
            .filter(|span| span.outcome == super::Outcome::Done);
        let well = well.filter(|span| span.ran());
        distribution(
            well.map(|span| (span.mean_us(), u64::from(span.count())))
                .collect(),
        )
    }

    /// How long tasks waited for room, microseconds: from when they could have begun to when the first attempt did.
    pub fn waits(&self) -> Distribution {
        let ready = self.ready();
        let first = self.spans.iter().filter(|span| Self::is_first(span));
        let waits = first.map(|span| {
            let wait = span.begin_us.saturating_sub(ready.of(span));
            (wait, u64::from(span.count()))
        });
        distribution(waits.collect())
    }

    /// Sizes of values that have any, bytes.
    pub fn value_sizes(&self) -> Distribution {
        distribution(self.sizes.iter().map(|(size, count)| (*size, *count)).collect())
    }

    /// The attempts that ran longest, the slowest first, as places in [`History::spans`].
    pub fn slowest(&self, most: usize) -> Vec<u32> {
        let ran = |place: &u32| self.spans[*place as usize].mean_us();
        self.top(most, |span| span.ran_us > 0, ran)
    }

    fn top(&self, most: usize, wanted: impl Fn(&Span) -> bool, by: impl Fn(&u32) -> u64) -> Vec<u32> {
        let all = self.spans.iter().enumerate();
        let mut places: Vec<u32> = all
            .filter(|(_, span)| wanted(span))
            .map(|(place, _)| place as u32)
            .collect();
        let order = |place: &u32| (std::cmp::Reverse(by(place)), *place);
        if places.len() > most && most > 0 {
            places.select_nth_unstable_by_key(most - 1, order);
        }
        places.truncate(most);
        places.sort_by_key(order);
        places
    }
}
