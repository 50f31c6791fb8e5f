//! Amounts of counted kinds of resources.
//!
//! Kinds are an open list: cores, GPUs and memory (MiB) come first, others as workers and tasks name them.

/// Kinds by number.
#[derive(Clone, Debug, Default)]
pub struct Kinds {
    names: Vec<String>,
}

/// Amounts by kind; kinds past the end are 0.
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
    pub fn amounts<'a>(&mut self, pairs: impl Iterator<Item = (&'a str, u64)>) -> Option<Amounts> {
        let mut amounts = Amounts::default();
        for (name, amount) in pairs {
            let at = self.intern(name)?;
            amounts.add_to(at, amount);
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
    pub fn fits(&self, used: &Self, one: &Self) -> Option<u64> {
        one.0
            .iter()
            .enumerate()
            .filter(|(_, amount)| **amount > 0)
            .map(|(kind, amount)| self.get(kind).saturating_sub(used.get(kind)) / amount)
            .min()
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
        (0..one.0.len()).find(|kind| used.get(*kind) + one.get(*kind) > self.get(*kind) && one.get(*kind) > 0)
    }

    /// Kinds with their amounts.
    pub fn iter(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        self.0.iter().copied().enumerate()
    }
}
