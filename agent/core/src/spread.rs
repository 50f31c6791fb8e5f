//! How large measured values are: their middle, their large ones, their largest, in little memory.

use scalems_protocol::event::Spread as Told;

/// Each doubling is cut into so many parts, so that what is told is at most an eighth too large.
const PARTS: u64 = 8;

/// Counts of values by their size.
#[derive(Clone, Debug, Default)]
pub struct Spread {
    /// By [`place`]; empty as long as there is none.
    counts: Vec<u64>,
    total: u64,
    largest: u64,
}

impl Spread {
    /// Adds `times` values of this size.
    pub fn add(&mut self, value: u64, times: u64) {
        let place = place(value);
        if self.counts.len() <= place {
            self.counts.resize(place + 1, 0);
        }
        if let Some(count) = self.counts.get_mut(place) {
            *count += times;
        }
        self.total += times;
        if times > 0 {
            self.largest = self.largest.max(value);
        }
    }

    /// How many values there were.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// What half, 99 of 100, and all of the values are at most, and begins anew.
    pub fn take(&mut self) -> Told {
        let told = (self.at_most(50), self.at_most(99), self.largest);
        self.counts.fill(0);
        (self.total, self.largest) = (0, 0);
        told
    }

    fn at_most(&self, percent: u64) -> u64 {
        let mut missing = (self.total * percent).div_ceil(100);
        for (place, count) in self.counts.iter().enumerate() {
            missing = missing.saturating_sub(*count);
            if missing == 0 {
                return end(place).min(self.largest);
            }
        }
        self.largest
    }
}

/// Where values of this size are counted: each below [`PARTS`] for itself, then so many places for each doubling.
fn place(value: u64) -> usize {
    if value < PARTS {
        return value as usize;
    }
    let doubling = value.ilog2() - PARTS.ilog2();
    (u64::from(doubling) * PARTS + (value >> doubling)) as usize
}

/// The largest value that is counted there.
fn end(place: usize) -> u64 {
    let place = place as u64;
    if place < PARTS {
        return place;
    }
    let doubling = place / PARTS - 1;
    let part = place - doubling * PARTS;
    ((u128::from(part + 1) << doubling) - 1).min(u128::from(u64::MAX)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_follow_each_other_without_gaps() {
        for value in (0..5_000).chain([1 << 40, (1 << 40) - 1, u64::MAX - 1, u64::MAX]) {
            let place = place(value);
            assert!(end(place) >= value, "{value}");
            assert!(end(place) - value <= value / PARTS, "{value}: {}", end(place));
            assert!(place == 0 || end(place - 1) < value, "{value}");
        }
    }

    #[test]
    fn the_middle_the_large_ones_and_the_largest_are_told() {
        let mut spread = Spread::default();
        assert_eq!(spread.take(), (0, 0, 0));
        for value in 1..=7 {
            spread.add(value, 1);
        }
        assert_eq!(spread.take(), (4, 7, 7));
        assert_eq!((spread.take(), spread.total()), ((0, 0, 0), 0));
        spread.add(5, 98);
        spread.add(1_000, 1);
        spread.add(2_000, 1);
        assert_eq!(spread.take(), (5, 1_023, 2_000));
        spread.add(1_000_000, 3);
        assert_eq!(spread.take(), (1_000_000, 1_000_000, 1_000_000));
    }
}
