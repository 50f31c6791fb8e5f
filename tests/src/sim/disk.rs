//! The journal's disk: what is written takes its time, finds no room, or fails.

use scalems_core::{Input, Micros};

use super::plan::{Fault, Sabotage};
use super::world::{Event, World};

/// How long after the disk was full it is tried again, as the agent's writer does.
const FULL_PAUSE: Micros = 1_000_000;

/// What the journal's writer is doing.
#[derive(Debug, Default)]
pub(super) struct Disk {
    /// So many records will be on disk after this commit, and the number of the last one.
    writing: Option<(usize, u64)>,
    /// So many are on disk for sure.
    pub(super) durable: usize,
    /// There is no room until then.
    pub(super) full_until: Micros,
    /// Commits take seconds until then.
    pub(super) slow_until: Micros,
    /// Whether the agent knows that there is no room.
    told_full: bool,
    /// Whether the next commit fails.
    pub(super) breaks: bool,
}

impl Disk {
    /// The process that wrote is no more.
    pub(super) fn abandon(&mut self) {
        self.writing = None;
        self.told_full = false;
        self.breaks = false;
    }
}

impl World {
    /// Begins the next commit, with all records that there are, unless one is under way.
    pub(super) fn write(&mut self) {
        if self.disk.writing.is_some() || self.disk.durable == self.journal.len() {
            return;
        }
        self.disk.writing = Some((self.journal.len(), self.records));
        let slow = self.now < self.disk.slow_until;
        let takes = if slow {
            self.random.within(500_000, 6_000_000)
        } else {
            self.random.within(100, 20_000)
        };
        let life = self.life;
        self.at(self.now + takes, Event::Written { life });
    }

    /// A commit is over, in one way or another.
    pub(super) fn written(&mut self) {
        if self.disk.breaks {
            self.happened(Fault::DiskError);
            return self.kill_agent();
        }
        if self.now < self.disk.full_until {
            if !std::mem::replace(&mut self.disk.told_full, true) {
                self.to_agent(Input::DiskFull(true));
            }
            let life = self.life;
            return self.at(self.now + FULL_PAUSE, Event::Written { life });
        }
        if let Some((count, number)) = self.disk.writing.take() {
            // A disk that lies says the same.
            let wrote = self.plan.sabotage != Some(Sabotage::LyingDisk);
            self.disk.durable = if wrote { count } else { self.disk.durable };
            self.to_agent(Input::Durable(number));
        }
        if std::mem::take(&mut self.disk.told_full) {
            self.to_agent(Input::DiskFull(false));
        }
        self.write();
    }
}
