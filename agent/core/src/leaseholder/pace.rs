//! How long tasks take, by what they need.

use crate::interface::Micros;
use crate::resources::Amounts;

/// So many kinds of needs are remembered, the last ones.
const KINDS: usize = 16;

/// Moving means, newest needs last.
#[derive(Clone, Debug, Default)]
pub(super) struct Pace {
    means: Vec<(Amounts, Micros)>,
}

impl Pace {
    /// A task with these needs ran so long.
    pub(super) fn ran(&mut self, amounts: &Amounts, time: Micros) {
        if let Some((_, mean)) = self.means.iter_mut().find(|(known, _)| known == amounts) {
            *mean = (3 * *mean + time) / 4;
            return;
        }
        if self.means.len() == KINDS {
            self.means.remove(0);
        }
        self.means.push((amounts.clone(), time));
    }

    /// How many tasks with these needs are over in this time, one after another; none if that is not known.
    pub(super) fn fit(&self, amounts: &Amounts, into: Micros) -> u64 {
        let known = self.means.iter().find(|(known, _)| known == amounts);
        known.map_or(0, |(_, mean)| into.checked_div(*mean).unwrap_or(u64::MAX))
    }

    /// Whether tasks with these needs run no longer than this, as far as is known.
    pub(super) fn is_quicker(&self, amounts: &Amounts, than: Micros) -> bool {
        self.fit(amounts, than) > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ran_lately_counts() {
        let mut pace = Pace::default();
        let none = Amounts::default();
        assert!(!pace.is_quicker(&none, 10_000), "nothing is known");
        assert_eq!(pace.fit(&none, 10_000), 0);
        pace.ran(&none, 1_000);
        assert!(pace.is_quicker(&none, 10_000));
        assert_eq!([3_500, 900].map(|time| pace.fit(&none, time)), [3, 0]);
        pace.ran(&none, 1_000_000);
        assert!(!pace.is_quicker(&none, 10_000));
        for _ in 0..20 {
            pace.ran(&none, 1_000);
        }
        assert!(pace.is_quicker(&none, 10_000));
    }
}
