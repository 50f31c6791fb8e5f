//! Clocks: each process measures time with one of its own, and the wall clock may be wrong.

use std::collections::BTreeMap;

use scalems_core::Micros;

use super::network::Party;
use super::plan::Fault;
use super::world::{Actor, World};

/// An hour.
pub(super) const HOUR: i64 = 3_600_000_000;

/// How clocks differ from the world's time.
#[derive(Debug, Default)]
pub(super) struct Clocks {
    /// How far the clock of a process is ahead.
    ahead: BTreeMap<Actor, i64>,
    /// How far the wall clock of the agent's host is.
    wall: i64,
    /// When the agent's life began: its age then, the world's time, and how far the wall clock was ahead.
    begun: (Micros, Micros, i64),
    /// By so much the agent may take more time to have passed than has.
    excused: i64,
}

impl Clocks {
    /// Clocks of a world in which each host was started at another time.
    pub(super) fn new(workers: usize, clients: usize) -> Self {
        let workers = (0..workers).map(Party::Worker);
        let parties = workers.chain((0..clients).map(Party::Client));
        let ahead = (1..)
            .zip(parties)
            .map(|(at, party)| (Actor::Party(party), at * HOUR));
        Self {
            ahead: ahead.collect(),
            ..Self::default()
        }
    }

    fn ahead(&self, actor: Actor) -> i64 {
        self.ahead.get(&actor).copied().unwrap_or(0)
    }
}

impl World {
    /// The time as a process has it.
    pub(super) fn clock(&self, actor: Actor) -> Micros {
        self.now.saturating_add_signed(self.clocks.ahead(actor))
    }

    /// When the clock of a process shows this.
    pub(super) fn when(&self, actor: Actor, shows: Micros) -> Micros {
        shows.saturating_add_signed(-self.clocks.ahead(actor))
    }

    /// The time that the agent may take it to be at most.
    pub(super) fn excused_time(&self) -> Micros {
        self.now.saturating_add_signed(self.clocks.excused)
    }

    /// The wall clock leaps. Whoever runs does not look at it.
    pub(super) fn leap_wall(&mut self) {
        let back = self.random.percent(50);
        self.clocks.wall += if back { -HOUR } else { HOUR };
        self.happened(Fault::WallLeap);
    }

    /// The clock of one process leaps ahead.
    pub(super) fn leap(&mut self, actor: Actor) {
        let by = self.random.within(1_000_000, HOUR as u64) as i64;
        *self.clocks.ahead.entry(actor).or_default() += by;
        if actor == Actor::Agent {
            self.clocks.excused += by;
        }
        self.happened(Fault::ClockLeap);
        self.wake(actor, self.now);
    }

    /// Some stand still, and may or may not see by their clocks that they did.
    pub(super) fn suspend(&mut self, actors: &[Actor]) {
        let long = self.random.within(1_000_000, 300_000_000);
        let counts = self.random.percent(50);
        for actor in actors {
            let before = self.paused.get(actor).copied().unwrap_or(0).max(self.now);
            self.pause(*actor, long);
            if !counts {
                let stands = (self.now + long).saturating_sub(before);
                *self.clocks.ahead.entry(*actor).or_default() -= stands as i64;
            }
        }
        self.happened(Fault::Suspend);
    }

    /// How old its pilot is for a life of the agent that begins now: by the clock of its host, or by the wall clock
    /// since the life before began, if the host was started in between.
    pub(super) fn age(&mut self) -> Micros {
        let (age, then, wall) = self.clocks.begun;
        let mut now = self.clock(Actor::Agent);
        if self.random.percent(30) {
            let passed = (self.now - then).saturating_add_signed(self.clocks.wall - wall);
            self.clocks.excused += (age + passed).saturating_sub(now) as i64;
            now = age + passed;
        }
        self.clocks.begun = (now, self.now, self.clocks.wall);
        self.clocks
            .ahead
            .insert(Actor::Agent, now as i64 - self.now as i64);
        now
    }
}
