//! The indices that people know a submission's tasks by.

use std::sync::Arc;

/// The index of each offset: rising, evenly but for some jumps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Indices {
    /// The index of offset 0.
    first: u32,
    /// From one index to the next, where nothing is left out.
    step: u32,
    /// Where some are left out: an offset, and its index.
    jumps: Arc<[(u32, u32)]>,
}

impl Indices {
    /// `first`, `first + step`, ….
    pub fn even(first: u32, step: u32) -> Self {
        Self {
            first,
            step,
            jumps: Arc::default(),
        }
    }

    /// As [`Indices::even`], with jumps: rising offsets from 1 on, with indices that rise more than evenly.
    pub fn with_jumps(first: u32, step: u32, jumps: Vec<(u32, u32)>) -> Option<Self> {
        let mut before = (0, first);
        for (offset, index) in &jumps {
            let evenly = before.0 < *offset && at(before, step, *offset).is_some_and(|even| even < *index);
            if !evenly {
                return None;
            }
            before = (*offset, *index);
        }
        Some(Self {
            first,
            step,
            jumps: jumps.into(),
        })
    }

    /// Those of the offsets in these ranges, which rise and do not touch.
    pub fn part(&self, ranges: &[(u32, u32)]) -> Self {
        let mut jumps: Vec<(u32, u32)> = Vec::new();
        let (mut count, mut last) = (0, None);
        for (from, to) in ranges {
            for (lo, hi, _) in self.even_parts(*from, *to) {
                let index = self.at(lo);
                if last.is_none_or(|last| index - last != self.step) {
                    jumps.push((count, index));
                }
                count += hi - lo;
                last = Some(self.at(hi - 1));
            }
        }
        let first = if jumps.is_empty() {
            self.first
        } else {
            jumps.remove(0).1
        };
        Self {
            first,
            step: self.step,
            jumps: jumps.into(),
        }
    }

    /// The index of the first task.
    pub const fn first(&self) -> u32 {
        self.first
    }

    /// From one index to the next, where nothing is left out.
    pub const fn step(&self) -> u32 {
        self.step
    }

    /// Where some are left out: offsets, with their indices.
    pub fn jumps(&self) -> &[(u32, u32)] {
        &self.jumps
    }

    /// The index of the task at `offset`.
    pub fn at(&self, offset: u32) -> u32 {
        let (from, index) = self.before(offset);
        index + self.step * (offset - from)
    }

    /// The index of the task at `offset`, if it fits.
    pub fn checked_at(&self, offset: u32) -> Option<u32> {
        at(self.before(offset), self.step, offset)
    }

    /// The last jump at or before an offset.
    fn before(&self, offset: u32) -> (u32, u32) {
        let place = self.jumps.partition_point(|(from, _)| *from <= offset);
        place
            .checked_sub(1)
            .map_or((0, self.first), |place| self.jumps[place])
    }

    /// `lo..hi`, cut where indices jump. Each part comes with what would be the index of offset 0 if indices were even.
    pub fn even_parts(&self, lo: u32, hi: u32) -> impl Iterator<Item = (u32, u32, u32)> + '_ {
        let mut next = lo;
        std::iter::from_fn(move || {
            let from = next;
            if from >= hi {
                return None;
            }
            let place = self.jumps.partition_point(|(jump, _)| *jump <= from);
            next = self.jumps.get(place).map_or(hi, |(jump, _)| hi.min(*jump));
            let (jump, index) = self.before(from);
            // Where some are left out, indices rise by more than the step.
            Some((from, next, index - self.step * jump))
        })
    }
}

fn at((offset, index): (u32, u32), step: u32, wanted: u32) -> Option<u32> {
    index.checked_add(step.checked_mul(wanted - offset)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(indices: &Indices, count: u32) -> Vec<u32> {
        (0..count).map(|offset| indices.at(offset)).collect()
    }

    #[test]
    fn some_of_them_keep_their_indices_however_often_some_are_taken() {
        let even = Indices::even(10, 5);
        assert_eq!(all(&even, 4), [10, 15, 20, 25]);
        let some = even.part(&[(1, 2), (3, 6), (9, 10)]);
        assert_eq!(all(&some, 5), [15, 25, 30, 35, 55]);
        assert_eq!(some.jumps(), [(1, 25), (4, 55)]);
        let parts: Vec<_> = some.even_parts(0, 5).collect();
        assert_eq!(parts, [(0, 1, 15), (1, 4, 20), (4, 5, 35)]);
        for (lo, hi, base) in parts {
            for offset in lo..hi {
                assert_eq!(base + 5 * offset, some.at(offset));
            }
        }
        assert_eq!(all(&some.part(&[(0, 1), (2, 5)]), 4), [15, 30, 35, 55]);
        assert_eq!(some.part(&[(1, 4)]), Indices::even(25, 5));
        assert_eq!(some.part(&[(0, 5)]), some);
        assert_eq!(some.even_parts(2, 4).collect::<Vec<_>>(), [(2, 4, 20)]);
    }

    #[test]
    fn jumps_from_elsewhere_are_checked() {
        let jumps = |jumps: &[(u32, u32)]| Indices::with_jumps(10, 5, jumps.to_vec());
        let good = jumps(&[(1, 25), (4, 55)]).expect("they rise");
        assert_eq!(good, Indices::even(10, 5).part(&[(0, 1), (3, 6), (9, 12)]));
        for wrong in [
            &[(0, 10)][..],
            &[(1, 15)],
            &[(1, 14)],
            &[(2, 25), (2, 30)],
            &[(2, 25), (1, 90)],
            &[(u32::MAX, 90)],
        ] {
            assert_eq!(jumps(wrong), None, "{wrong:?}");
        }
    }
}
