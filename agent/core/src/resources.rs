//! Amounts of counted kinds of resources.
//!
//! Kinds are an open list: cores and GPUs come first, others as workers and tasks name them.

use scalems_protocol::Amount;
use scalems_protocol::task;

/// Kinds by number.
#[derive(Clone, Debug)]
pub struct Kinds {
    names: Vec<String>,
}

/// The kind that cores are, and the one that GPUs are: of these there are single ones, and a part of one spans no two.
pub const CORES: usize = 0;
/// See [`CORES`].
pub const GPUS: usize = 1;

impl Default for Kinds {
    fn default() -> Self {
        let names = [task::CORES, task::GPUS].map(str::to_owned);
        Self {
            names: names.to_vec(),
        }
    }
}

/// Amounts by kind, in ten-thousandths ([`Amount::parts`]); kinds past the end are 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Amounts(Vec<u64>);

impl Kinds {
    /// The number of `name`, which is new if it was not known; `None` when there are as many as allowed.
    pub fn intern(&mut self, name: &str) -> Option<usize> {
        if let Some(at) = self.names.iter().position(|known| known == name) {
            return Some(at);
        }
        if self.names.len() == scalems_protocol::limits::RESOURCE_KINDS {
            return None;
        }
        self.names.push(name.to_owned());
        Some(self.names.len() - 1)
    }

    /// The amounts that `pairs` name; `None` when there are too many kinds.
    pub fn amounts<'a>(&mut self, pairs: impl Iterator<Item = (&'a str, Amount)>) -> Option<Amounts> {
        let mut amounts = Amounts::default();
        for (name, amount) in pairs {
            let at = self.intern(name)?;
            amounts.add_to(at, amount.parts());
        }
        Some(amounts)
    }

    /// The name of a kind.
    pub fn name(&self, kind: usize) -> &str {
        self.names.get(kind).map_or("?", String::as_str)
    }

    /// How many kinds are known.
    pub fn count(&self) -> usize {
        self.names.len()
    }
}

impl Amounts {
    /// The amount of one kind, as people read it.
    pub fn amount(&self, kind: usize) -> Amount {
        Amount::from_parts(self.get(kind))
    }

    /// The amount of one kind.
    pub fn get(&self, kind: usize) -> u64 {
        self.0.get(kind).copied().unwrap_or(0)
    }

    /// Adds to the amount of one kind.
    pub fn add_to(&mut self, kind: usize, amount: u64) {
        if self.0.len() <= kind {
            self.0.resize(kind + 1, 0);
        }
        self.0[kind] = self.0[kind].saturating_add(amount);
    }

    /// Adds `times` of `other`.
    pub fn add(&mut self, other: &Self, times: u64) {
        for (kind, amount) in other.0.iter().enumerate() {
            self.add_to(kind, amount.saturating_mul(times));
        }
    }

    /// Takes `times` of `other` away, which is there.
    pub fn sub(&mut self, other: &Self, times: u64) {
        for (kind, amount) in other.0.iter().enumerate() {
            let taken = amount * times;
            let left = self.get(kind).checked_sub(taken);
            if taken > 0 {
                self.0[kind] = left.expect("what is given back was taken before");
            }
        }
    }

    /// How many of `one` fit into `self` beside `used`; `None`: any number.
    ///
    /// Of single things with parts in use it is a guess: what is left of several is not one.
    pub fn fits(&self, used: &Self, one: &Self) -> Option<u64> {
        let fits = |(kind, amount): (usize, &u64)| {
            let (all, taken) = (self.get(kind), used.get(kind));
            let free = all.saturating_sub(taken) / amount;
            if kind > GPUS || amount.is_multiple_of(Amount::PARTS) {
                return free;
            }
            free.min(beside(all / Amount::PARTS, *amount).saturating_sub(taken / amount))
        };
        let asked = one.0.iter().enumerate().filter(|(_, amount)| **amount > 0);
        asked.map(fits).min()
    }

    /// How many of `one` are held beyond what `self` has; 0 when all that is used fits.
    pub fn overhang(&self, used: &Self, one: &Self) -> u64 {
        one.0
            .iter()
            .enumerate()
            .filter(|(_, amount)| **amount > 0)
            .map(|(kind, amount)| used.get(kind).saturating_sub(self.get(kind)).div_ceil(*amount))
            .max()
            .unwrap_or(0)
    }

    /// Which kind of `one` is short, if any is.
    pub fn short_of(&self, used: &Self, one: &Self) -> Option<usize> {
        (0..one.0.len()).find(|kind| {
            used.get(*kind).saturating_add(one.get(*kind)) > self.get(*kind) && one.get(*kind) > 0
        })
    }

    /// Kinds with their amounts.
    pub fn iter(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        self.0.iter().copied().enumerate()
    }
}

/// How many tasks that take `parts` of single things, not only whole ones, `count` of these are enough for.
fn beside(count: u64, parts: u64) -> u64 {
    let (whole, part) = (parts / Amount::PARTS, parts % Amount::PARTS);
    let sharing = Amount::PARTS / part;
    // So many of them share one, and have their whole ones besides.
    let together = sharing * whole + 1;
    let (full, rest) = (count / together, count % together);
    let more = rest.saturating_sub(1).checked_div(whole).unwrap_or(0);
    full * sharing + more.min(sharing)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Puts one after another into the first place that has room for it.
    fn tried(count: u64, parts: u64) -> u64 {
        let mut free = vec![Amount::PARTS; count as usize];
        let (whole, part) = (parts / Amount::PARTS, parts % Amount::PARTS);
        for fit in 0.. {
            let begun = free.iter().position(|free| (part..Amount::PARTS).contains(free));
            let at = begun.or_else(|| free.iter().position(|free| *free == Amount::PARTS));
            let Some(at) = at else { return fit };
            free[at] -= part;
            for _ in 0..whole {
                let Some(at) = free.iter().position(|free| *free == Amount::PARTS) else {
                    return fit;
                };
                free[at] = 0;
            }
        }
        unreachable!("it ends when nothing is free")
    }

    #[test]
    fn parts_of_one_thing_do_not_span_two() {
        for count in 0..9 {
            for parts in [
                1, 2_500, 3_000, 5_000, 6_000, 9_999, 10_001, 12_500, 15_000, 17_000, 25_000,
            ] {
                assert_eq!(beside(count, parts), tried(count, parts), "{parts} of {count}");
            }
        }
    }

    #[test]
    fn what_fits_is_counted_by_kind() {
        let mut kinds = Kinds::default();
        let mut of = |pairs: &[(&str, &str)]| {
            let pairs = pairs
                .iter()
                .map(|(kind, amount)| (*kind, amount.parse().unwrap()));
            kinds.amounts(pairs).unwrap()
        };
        let all = of(&[("cores", "4"), ("gpus", "2"), ("fpga", "1.5")]);
        let none = Amounts::default();
        for (one, used, fits) in [
            (&[("gpus", "0.6")][..], &[][..], 2),
            (&[("gpus", "0.6")], &[("gpus", "0.6")], 1),
            (&[("gpus", "0.5"), ("cores", "1")], &[], 4),
            (&[("fpga", "0.4")], &[], 3),
            (&[("fpga", "0.1")], &[("fpga", "1.2")], 3),
            (&[("cores", "1.5")], &[], 2),
        ] {
            let (one, used) = (of(one), of(used));
            assert_eq!(all.fits(&used, &one), Some(fits), "{one:?} beside {used:?}");
        }
        assert_eq!(all.fits(&none, &none), None);
    }
}
