//! Events on their way to the caller.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::outcome::ProgramEvent;

/// Called when events wait where none did, from a thread of the executor: it must be quick and not block.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// Bounded by construction: at most three events for each program that was started and not yet reported over.
pub(super) struct EventQueue {
    waiting: Mutex<Vec<ProgramEvent>>,
    wake: Wake,
}

impl EventQueue {
    pub(super) fn new(wake: Wake) -> Self {
        Self {
            waiting: Mutex::new(Vec::new()),
            wake,
        }
    }

    /// Moves all of `batch` in.
    pub(super) fn push_all(&self, batch: &mut Vec<ProgramEvent>) {
        if batch.is_empty() {
            return;
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let was_empty = waiting.is_empty();
        waiting.append(batch);
        drop(waiting);
        if was_empty {
            (self.wake)();
        }
    }

    /// Moves all that waits to the end of `into`.
    pub(super) fn drain(&self, into: &mut Vec<ProgramEvent>) {
        into.append(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl fmt::Debug for EventQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventQueue").finish_non_exhaustive()
    }
}
