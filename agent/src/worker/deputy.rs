//! A worker whose tasks somebody else ends, in another thread of its process: so a filter's keeper is a worker to the agent.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use scalems_core::leaseholder::{Input, Outcome, StopOrder, TaskLease};
use scalems_transport::Waker;

/// What who ends the tasks is told. It must not block: the worker's bus calls it.
type Tell = Box<dyn Fn(DeputyOrder) + Send + Sync>;

/// What is to be done with a task.
#[derive(Debug)]
pub enum DeputyOrder {
    /// It begins. Exactly one [`Deputy::end`] follows, whatever comes between.
    Begin(Box<TaskLease>),
    /// It is to end. May come for one that has ended meanwhile.
    Stop(StopOrder),
}

/// Who ends the tasks of a worker's only mode.
#[derive(Clone)]
pub struct Deputy {
    shared: Arc<Shared>,
}

struct Shared {
    mode: String,
    tell: Tell,
    /// Bounded by the leases of a worker: one end for each.
    ends: Mutex<Vec<Input>>,
    waker: OnceLock<Waker>,
}

impl fmt::Debug for Deputy {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Deputy({})", self.shared.mode)
    }
}

impl Deputy {
    /// One for tasks of this mode, who is told by `tell`.
    pub fn new(mode: impl Into<String>, tell: impl Fn(DeputyOrder) + Send + Sync + 'static) -> Self {
        Self {
            shared: Arc::new(Shared {
                mode: mode.into(),
                tell: Box::new(tell),
                ends: Mutex::default(),
                waker: OnceLock::new(),
            }),
        }
    }

    /// A task has ended. `key` is its lease's.
    pub fn end(&self, key: u64, outcome: Outcome) {
        let mut ends = self.shared.ends.lock().unwrap_or_else(PoisonError::into_inner);
        ends.push(Input::Ended { key, outcome });
        drop(ends);
        if let Some(waker) = self.shared.waker.get() {
            waker.wake();
        }
    }

    pub(super) fn mode(&self) -> &str {
        &self.shared.mode
    }

    /// Who is to be woken. A deputy is of one worker.
    pub(super) fn woken_by(&self, waker: Waker) {
        self.shared.waker.get_or_init(|| waker);
    }

    pub(super) fn tell(&self, order: DeputyOrder) {
        (self.shared.tell)(order);
    }

    pub(super) fn drain(&self, into: &mut Vec<Input>) {
        into.append(&mut self.shared.ends.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
