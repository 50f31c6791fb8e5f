//! A map from every offset of a submission to a small value, stored as runs.
//!
//! An array of a million tasks in one state costs a few kilobytes, and moving a whole block of it is one
//! step; only where neighbours differ are they told apart. Blocks bound what one change can shift.

/// Offsets in one block: a full batch.
const BLOCK: u32 = 1_024;

#[derive(Clone, Debug)]
enum Block<S> {
    /// All offsets of the block have this value.
    One(S),
    /// Where each run begins, relative to the block, and its value. Neighbours differ; the first is 0.
    Many(Vec<(u16, S)>),
}

/// Values of the offsets `0..len`.
#[derive(Clone, Debug)]
pub struct RunMap<S> {
    len: u32,
    blocks: Vec<Block<S>>,
}

/// A run of offsets with one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch<S> {
    /// The first offset.
    pub lo: u32,
    /// One past the last.
    pub hi: u32,
    /// What they have in common.
    pub value: S,
}

impl<S: Copy + Eq> RunMap<S> {
    /// `len` offsets that all have `value`.
    pub fn new(len: u32, value: S) -> Self {
        Self {
            len,
            blocks: vec![Block::One(value); len.div_ceil(BLOCK) as usize],
        }
    }

    /// How many offsets there are.
    pub const fn len(&self) -> u32 {
        self.len
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds `more` offsets that all have `value`.
    pub fn grow(&mut self, more: u32, value: S) {
        let (lo, hi) = (self.len, self.len + more);
        let (last, size) = (lo / BLOCK, lo % BLOCK);
        self.len = hi;
        self.blocks.resize(hi.div_ceil(BLOCK) as usize, Block::One(value));
        if size > 0 && more > 0 {
            let runs = match &mut self.blocks[last as usize] {
                Block::One(old) if *old == value => return,
                Block::One(old) => vec![(0, *old), (size as u16, value)],
                Block::Many(runs) => {
                    let mut runs = std::mem::take(runs);
                    if runs.last().is_none_or(|(_, last)| *last != value) {
                        runs.push((size as u16, value));
                    }
                    runs
                }
            };
            self.blocks[last as usize] = Block::Many(runs);
        }
    }

    /// The value of one offset.
    pub fn get(&self, at: u32) -> S {
        match &self.blocks[(at / BLOCK) as usize] {
            Block::One(value) => *value,
            Block::Many(runs) => {
                let inside = (at % BLOCK) as u16;
                runs[runs.partition_point(|(start, _)| *start <= inside) - 1].1
            }
        }
    }

    /// Gives the offsets `lo..hi` one value.
    pub fn set(&mut self, lo: u32, hi: u32, value: S) {
        assert!(lo <= hi && hi <= self.len, "a change lies within the submission");
        let mut at = lo;
        while at < hi {
            let block = at / BLOCK;
            let (start, end) = (block * BLOCK, ((block + 1) * BLOCK).min(self.len));
            let until = hi.min(end);
            let slot = &mut self.blocks[block as usize];
            if at == start && until == end {
                *slot = Block::One(value);
            } else {
                Self::set_in_block(
                    slot,
                    (at - start) as u16,
                    (until - start) as u16,
                    (end - start) as u16,
                    value,
                );
            }
            at = until;
        }
    }

    fn set_in_block(slot: &mut Block<S>, lo: u16, hi: u16, size: u16, value: S) {
        let runs = match slot {
            Block::One(old) if *old == value => return,
            Block::One(old) => {
                let old = *old;
                *slot = Block::Many(vec![(0, old)]);
                let Block::Many(runs) = slot else {
                    unreachable!("it was just made")
                };
                runs
            }
            Block::Many(runs) => runs,
        };
        // The runs that lie wholly or partly in lo..hi are replaced by at most three.
        let first = runs.partition_point(|(start, _)| *start < lo);
        let end = runs.partition_point(|(start, _)| *start < hi);
        let before = first.checked_sub(1).map(|at| runs[at].1);
        let after =
            (hi < size && runs.get(end).is_none_or(|(start, _)| *start > hi)).then(|| runs[end - 1].1);
        let mut new = [None, None];
        if before != Some(value) {
            new[0] = Some((lo, value));
        }
        if let Some(after) = after.filter(|after| *after != value) {
            new[1] = Some((hi, after));
        }
        let mut end = end;
        if after.is_none() && runs.get(end).is_some_and(|(_, next)| *next == value) {
            end += 1;
        }
        runs.splice(first..end, new.into_iter().flatten());
        if let [(_, only)] = runs[..] {
            *slot = Block::One(only);
        }
    }

    /// The runs within `lo..hi`, in order; neighbours differ.
    pub fn stretches(&self, lo: u32, hi: u32) -> Vec<Stretch<S>> {
        let mut found: Vec<Stretch<S>> = Vec::new();
        let mut push = |lo: u32, hi: u32, value: S| match found.last_mut() {
            Some(last) if last.value == value => last.hi = hi,
            _ => found.push(Stretch { lo, hi, value }),
        };
        let hi = hi.min(self.len);
        let mut at = lo;
        while at < hi {
            let block = at / BLOCK;
            let start = block * BLOCK;
            let until = hi.min(start + BLOCK);
            match &self.blocks[block as usize] {
                Block::One(value) => push(at, until, *value),
                Block::Many(runs) => {
                    let mut next = runs.partition_point(|(begin, _)| start + u32::from(*begin) <= at);
                    while at < until {
                        let end = runs
                            .get(next)
                            .map_or(until, |(begin, _)| until.min(start + u32::from(*begin)));
                        push(at, end, runs[next - 1].1);
                        at = end;
                        next += 1;
                    }
                }
            }
            at = until;
        }
        found
    }

    /// All runs.
    pub fn all(&self) -> Vec<Stretch<S>> {
        self.stretches(0, self.len)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against the obvious model: a vector with one value for each offset.
        #[test]
        fn behaves_as_a_plain_vector(
            len in 1_u32..3_000,
            changes in prop::collection::vec((0_u32..3_000, 0_u32..1_500, 0_u8..3), 0..60),
        ) {
            let mut map = RunMap::new(len, 0_u8);
            let mut plain = vec![0_u8; len as usize];
            for (lo, count, value) in changes {
                let lo = lo.min(len);
                let hi = (lo + count).min(len);
                map.set(lo, hi, value);
                plain[lo as usize..hi as usize].fill(value);
            }
            for at in 0..len {
                prop_assert_eq!(map.get(at), plain[at as usize]);
            }
            let (lo, hi) = (len / 3, len);
            let mut at = lo;
            let mut last = None;
            for stretch in map.stretches(lo, hi) {
                prop_assert_eq!(stretch.lo, at);
                prop_assert!(stretch.hi > stretch.lo);
                prop_assert_ne!(last, Some(stretch.value));
                prop_assert!(plain[stretch.lo as usize..stretch.hi as usize].iter().all(|v| *v == stretch.value));
                last = Some(stretch.value);
                at = stretch.hi;
            }
            prop_assert_eq!(at, hi);
        }
    }

    proptest! {
        #[test]
        fn what_is_added_lies_behind(
            steps in prop::collection::vec((0_u32..3_000, any::<bool>(), 0_u8..3), 1..12),
        ) {
            let mut map = RunMap::new(1, 9_u8);
            let mut plain = vec![9_u8];
            for (at, grows, value) in steps {
                let len = plain.len() as u32;
                if grows {
                    map.grow(at, value);
                    plain.resize((len + at) as usize, value);
                } else {
                    let lo = at % len;
                    map.set(lo, len, value);
                    plain[lo as usize..].fill(value);
                }
            }
            let told = map.stretches(0, map.len()).into_iter();
            let told: Vec<u8> = told.flat_map(|run| vec![run.value; (run.hi - run.lo) as usize]).collect();
            prop_assert_eq!(&told, &plain);
            for (at, value) in plain.iter().enumerate() {
                prop_assert_eq!(map.get(at as u32), *value);
            }
        }
    }

    #[test]
    fn a_uniform_block_folds_back_to_one_value() {
        let mut map = RunMap::new(1_024, 0_u8);
        map.set(3, 9, 1);
        map.set(0, 3, 1);
        map.set(9, 1_024, 1);
        assert!(matches!(map.blocks[0], Block::One(1)));
    }
}
