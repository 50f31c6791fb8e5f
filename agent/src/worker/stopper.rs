//! Ending a worker from another thread.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use scalems_transport::{TransportError, WakeReceiver, Waker};

/// Asks a worker to end, from any thread: at SIGTERM, at Ctrl-C, before the walltime ends.
#[derive(Clone)]
pub struct Stopper {
    asked: Arc<Mutex<Option<Duration>>>,
    waker: Waker,
}

/// The worker's end of a [`Stopper`].
pub struct StopSignal {
    asked: Arc<Mutex<Option<Duration>>>,
    pub(super) wake: WakeReceiver,
}

impl Stopper {
    /// A stopper and what [`super::run`] takes.
    pub fn pair() -> Result<(Self, StopSignal), TransportError> {
        let (waker, wake) = Waker::pair()?;
        let asked = Arc::default();
        Ok((
            Self {
                asked: Arc::clone(&asked),
                waker,
            },
            StopSignal { asked, wake },
        ))
    }

    /// Has the worker hand back what has not started, let run what runs for `drain`, and end. Asked again, it
    /// ends at the earlier of both times.
    pub fn stop(&self, drain: Duration) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        *asked = Some(asked.map_or(drain, |before| before.min(drain)));
        drop(asked);
        self.waker.wake();
    }
}

impl StopSignal {
    pub(super) fn take(&self) -> Option<Duration> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
