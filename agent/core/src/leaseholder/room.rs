//! What the worker offers, and which part of it each running task has.

use scalems_protocol::task::{CORES, GPUS, MEMORY, Needs};
use scalems_protocol::worker::Offer;

use super::interface::Settings;
use crate::resources::{Amounts, Kinds};

/// Counted resources, of which cores and GPUs also have numbers.
#[derive(Clone, Debug)]
pub(super) struct Room {
    kinds: Kinds,
    offered: Amounts,
    used: Amounts,
    cpus: Slots,
    gpus: Slots,
}

/// The numbered part of what one task was given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seat {
    pub(super) cpus: Vec<u32>,
    pub(super) gpus: Vec<u32>,
}

/// The kinds that have numbers are interned first, so theirs are fixed.
const CORES_KIND: usize = 0;
const GPUS_KIND: usize = 1;

impl Room {
    pub(super) fn new(settings: &Settings) -> Self {
        let mut kinds = Kinds::default();
        let offer = offer(settings);
        let pairs = offer.iter().map(|(kind, amount)| (kind.as_str(), *amount));
        let offered = kinds
            .amounts(pairs)
            .expect("the shell offers at most as many kinds as allowed");
        assert!(
            kinds.name(CORES_KIND) == CORES && kinds.name(GPUS_KIND) == GPUS,
            "they come first"
        );
        let (cpus, gpus) = (Slots::new(&settings.cpus), Slots::new(&settings.gpus));
        Self {
            kinds,
            offered,
            used: Amounts::default(),
            cpus,
            gpus,
        }
    }

    /// The amounts of `needs`, or the kind of which the worker never has enough.
    pub(super) fn amounts(&mut self, needs: &Needs) -> Result<Amounts, String> {
        let unknown = needs
            .totals()
            .find(|(kind, _)| !self.knows(kind))
            .map(|(kind, _)| kind.to_owned());
        if let Some(kind) = unknown {
            return Err(kind);
        }
        let amounts = self
            .kinds
            .amounts(needs.totals())
            .expect("all of these kinds are known");
        match self.offered.short_of(&Amounts::default(), &amounts) {
            Some(kind) => Err(self.kinds.name(kind).to_owned()),
            None => Ok(amounts),
        }
    }

    fn knows(&self, kind: &str) -> bool {
        (0..self.kinds.count()).any(|at| self.kinds.name(at) == kind)
    }

    /// How much of `kind` is offered.
    pub(super) fn offered(&self, kind: &str) -> u64 {
        let at = (0..self.kinds.count()).find(|at| self.kinds.name(*at) == kind);
        at.map_or(0, |at| self.offered.get(at))
    }

    /// Takes room for one task, if there is any.
    pub(super) fn take(&mut self, amounts: &Amounts) -> Option<Seat> {
        if self.offered.short_of(&self.used, amounts).is_some() {
            return None;
        }
        self.used.add(amounts, 1);
        let cpus = self.cpus.take(amounts.get(CORES_KIND) as usize);
        let gpus = self.gpus.take(amounts.get(GPUS_KIND) as usize);
        Some(Seat { cpus, gpus })
    }

    /// Gives back what [`Room::take`] gave for the same amounts.
    pub(super) fn give_back(&mut self, amounts: &Amounts, seat: &Seat) {
        self.used.sub(amounts, 1);
        self.cpus.give_back(&seat.cpus);
        self.gpus.give_back(&seat.gpus);
    }
}

/// What the worker says that it offers.
pub(super) fn offer(settings: &Settings) -> Offer {
    let mut offer = vec![
        (CORES.to_owned(), settings.cpus.len() as u64),
        (GPUS.to_owned(), settings.gpus.len() as u64),
        (MEMORY.to_owned(), settings.memory_mib),
    ];
    offer.extend(settings.named.iter().cloned());
    offer
}

/// Numbered things, each given to one task at most.
#[derive(Clone, Debug)]
struct Slots {
    /// Number, and whether a task has it; rising by number.
    slots: Vec<(u32, bool)>,
}

impl Slots {
    fn new(numbers: &[u32]) -> Self {
        let mut slots: Vec<_> = numbers.iter().map(|number| (*number, false)).collect();
        slots.sort_unstable();
        assert!(
            slots.windows(2).all(|pair| pair[0].0 < pair[1].0),
            "the shell names each number once"
        );
        Self { slots }
    }

    /// The lowest neighbours that are free, since neighbours share caches; else the lowest that are free.
    fn take(&mut self, count: usize) -> Vec<u32> {
        if count == 0 {
            return Vec::new();
        }
        let row = self
            .slots
            .windows(count)
            .position(|row| row.iter().all(|(_, taken)| !taken));
        let from = row.unwrap_or(0);
        let mut numbers = Vec::with_capacity(count);
        for (number, taken) in self
            .slots
            .iter_mut()
            .skip(from)
            .filter(|(_, taken)| !taken)
            .take(count)
        {
            *taken = true;
            numbers.push(*number);
        }
        assert_eq!(numbers.len(), count, "the count said that there are enough");
        numbers
    }

    fn give_back(&mut self, numbers: &[u32]) {
        for number in numbers {
            let at = self.slots.binary_search_by_key(number, |(number, _)| *number);
            let slot = &mut self.slots[at.expect("only what was taken is given back")];
            assert!(slot.1, "what is given back was taken before");
            slot.1 = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_preferred_and_the_lowest_taken() {
        let mut slots = Slots::new(&[4, 0, 1, 2, 3, 5]);
        assert_eq!(slots.take(1), [0]);
        assert_eq!(slots.take(2), [1, 2]);
        slots.give_back(&[0]);
        assert_eq!(slots.take(2), [3, 4]);
        assert_eq!(slots.take(0), [0; 0]);
        assert_eq!(slots.take(2), [0, 5]);
    }
}
