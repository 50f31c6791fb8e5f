//! Sets of places in a pack.

/// A set of numbers below a bound that its owner knows. Empty ones take no memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Bits {
    words: Vec<u64>,
}

impl Bits {
    fn word(&self, at: usize) -> u64 {
        self.words.get(at).copied().unwrap_or(0)
    }

    /// Whether `number` is in the set.
    pub(super) fn has(&self, number: u32) -> bool {
        self.word((number / 64) as usize) >> (number % 64) & 1 == 1
    }

    /// Adds `lo..hi` and says how many of them are new.
    pub(super) fn insert(&mut self, lo: u32, hi: u32) -> u32 {
        if lo >= hi {
            return 0;
        }
        let words = hi.div_ceil(64) as usize;
        if self.words.len() < words {
            self.words.resize(words, 0);
        }
        let mut new = 0;
        for at in lo / 64..hi.div_ceil(64) {
            let first = lo.max(64 * at) % 64;
            let count = hi.min(64 * at + 64) - lo.max(64 * at);
            let mask = (u64::MAX >> (64 - count)) << first;
            let word = &mut self.words[at as usize];
            new += (mask & !*word).count_ones();
            *word |= mask;
        }
        new
    }

    /// Where the run of numbers that are in the set, or are not, as `lo` is, ends; at most `hi`.
    pub(super) fn run_end(&self, lo: u32, hi: u32) -> u32 {
        let flip = if self.has(lo) { u64::MAX } else { 0 };
        let mut at = (lo / 64) as usize;
        let mut differing = (self.word(at) ^ flip) >> (lo % 64) << (lo % 64);
        loop {
            if differing != 0 {
                return hi.min(64 * at as u32 + differing.trailing_zeros());
            }
            at += 1;
            if 64 * at as u64 >= u64::from(hi) {
                return hi;
            }
            differing = self.word(at) ^ flip;
        }
    }

    /// Whether all of `lo..hi` are in the set.
    pub(super) fn all(&self, lo: u32, hi: u32) -> bool {
        lo >= hi || (self.has(lo) && self.run_end(lo, hi) == hi)
    }

    /// Whether any of `lo..hi` is in the set.
    pub(super) fn any(&self, lo: u32, hi: u32) -> bool {
        lo < hi && (self.has(lo) || self.run_end(lo, hi) < hi)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn they_are_sets(ranges in prop::collection::vec((0_u32..200, 0_u32..200), 0..8), lo in 0_u32..200, count in 0_u32..90) {
            let mut bits = Bits::default();
            let mut plain = [false; 400];
            for (lo, count) in ranges {
                let (lo, hi) = (lo, lo + count);
                let new = plain[lo as usize..hi as usize].iter().filter(|has| !**has).count();
                prop_assert_eq!(bits.insert(lo, hi) as usize, new);
                plain[lo as usize..hi as usize].fill(true);
            }
            let hi = lo + count;
            let range = &plain[lo as usize..hi as usize];
            prop_assert_eq!(bits.all(lo, hi), range.iter().all(|has| *has));
            prop_assert_eq!(bits.any(lo, hi), range.iter().any(|has| *has));
            if lo < hi {
                let run = range.iter().take_while(|has| **has == range[0]).count();
                prop_assert_eq!((bits.run_end(lo, hi) - lo) as usize, run);
            }
        }
    }
}
