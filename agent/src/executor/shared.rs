//! What the executor's threads have in common.

use std::collections::HashMap;
use std::fs::File;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::inbox::Inbox;
use super::kin::Kin;
use super::memory::Memory;
use super::packed::PackedLog;
use super::queue::EventQueue;
use super::spawner::Command;
use super::sweeper::Sweep;
use super::sys::SharedCells;

/// Shared by the handle, the spawners and the sweeper.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) events: EventQueue,
    pub(super) kin: Kin,
    pub(super) memory: Memory,
    pub(super) sweeper: Inbox<Sweep>,
    pub(super) log: Arc<PackedLog>,
    pub(super) spawners: Vec<Inbox<Command>>,
    /// Process ids of running programs, for the guard.
    pub(super) cells: SharedCells,
    /// `/dev/null`.
    pub(super) null: File,
    /// Programs that are not over, and which spawner has each.
    pub(super) open: Mutex<Open>,
    /// Told when a thread ends.
    pub(super) ended: Condvar,
}

/// See [`Shared::open`].
#[derive(Debug, Default)]
pub(super) struct Open {
    pub(super) spawner_of: HashMap<u64, usize>,
    /// Programs per spawner that wait for their start.
    pub(super) waiting: Vec<usize>,
    /// Which CPUs the last program of each spawner has.
    pub(super) cpus: Vec<Vec<usize>>,
    /// Where the search for a spawner begins.
    pub(super) turn: usize,
    /// No more programs are taken.
    pub(super) closed: bool,
    /// Threads that run, the sweeper among them.
    pub(super) threads: usize,
    /// All that were started.
    pub(super) handles: Vec<JoinHandle<()>>,
}

impl Shared {
    pub(super) fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A program of this spawner waits for its start no longer.
    pub(super) fn waits_no_longer(&self, spawner: usize) {
        if let Some(waiting) = self.open().waiting.get_mut(spawner) {
            *waiting -= 1;
        }
    }
}
