//! What the worker offers, and which part of it each running task has.

use scalems_protocol::Amount;
use scalems_protocol::task::{CORES, GPUS, MEMORY, Needs, Placement};
use scalems_protocol::worker::Offer;

use super::interface::Settings;
use super::slots::{Seat, Slots};
use crate::resources::{self, Amounts, Kinds};

/// Counted resources, of which cores and GPUs also have numbers.
#[derive(Clone, Debug)]
pub(super) struct Room {
    kinds: Kinds,
    offered: Amounts,
    used: Amounts,
    slots: Slots,
}

impl Room {
    pub(super) fn new(settings: &Settings) -> Self {
        let mut kinds = Kinds::default();
        let offer = offer(settings);
        let pairs = offer.iter().map(|(kind, amount)| (kind.as_str(), *amount));
        let offered = kinds
            .amounts(pairs)
            .expect("the shell offers at most as many kinds as allowed");
        Self {
            kinds,
            offered,
            used: Amounts::default(),
            slots: Slots::new(settings),
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
    pub(super) fn offered(&self, kind: &str) -> Amount {
        let at = (0..self.kinds.count()).find(|at| self.kinds.name(*at) == kind);
        at.map_or(Amount::ZERO, |at| self.offered.amount(at))
    }

    /// Takes room for one task, if there is any in a way that suits it.
    pub(super) fn take(&mut self, amounts: &Amounts, placement: Placement) -> Option<Seat> {
        if self.offered.short_of(&self.used, amounts).is_some() {
            return None;
        }
        let (cores, gpus) = (amounts.get(resources::CORES), amounts.get(resources::GPUS));
        let seat = self.slots.take(cores, gpus, placement)?;
        self.used.add(amounts, 1);
        Some(seat)
    }

    /// Gives back what [`Room::take`] gave for the same amounts.
    pub(super) fn give_back(&mut self, amounts: &Amounts, seat: &Seat) {
        self.used.sub(amounts, 1);
        self.slots.give_back(seat);
    }
}

/// What the worker says that it offers.
pub(super) fn offer(settings: &Settings) -> Offer {
    let mut offer = vec![
        (CORES.to_owned(), Amount::whole(settings.cpus.len() as u64)),
        (GPUS.to_owned(), Amount::whole(settings.gpus.len() as u64)),
        (MEMORY.to_owned(), Amount::whole(settings.memory_mib)),
    ];
    offer.extend(settings.named.iter().cloned());
    offer
}
