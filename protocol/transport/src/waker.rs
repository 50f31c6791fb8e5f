//! Waking the thread that waits for sockets from other threads.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::error::TransportError;

struct Shared {
    event: EventFd,
    /// Whether the event is set, or about to be by the one who set this.
    woken: AtomicBool,
}

/// Wakes the thread that has the [`WakeReceiver`]. Any number of wake-ups before that thread looks cost one
/// write. Who has put something into a queue wakes afterwards.
#[derive(Clone)]
pub struct Waker(Arc<Shared>);

/// What the woken thread waits for, with [`crate::Source::wake`].
pub struct WakeReceiver(Arc<Shared>);

impl Waker {
    /// A waker and what it wakes.
    pub fn pair() -> Result<(Self, WakeReceiver), TransportError> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let event = EventFd::from_flags(flags).map_err(|errno| TransportError::Start {
            what: "a wake-up descriptor",
            source: io::Error::from(errno),
        })?;
        let shared = Arc::new(Shared {
            event,
            woken: AtomicBool::new(false),
        });
        Ok((Self(Arc::clone(&shared)), WakeReceiver(shared)))
    }

    /// Wakes the receiver, now or in its next wait.
    pub fn wake(&self) {
        if self.0.woken.swap(true, Ordering::AcqRel) {
            return;
        }
        match self.0.event.write(1) {
            // Full is set, too; it takes 2^64 wake-ups.
            Ok(_) | Err(Errno::EAGAIN) => {}
            Err(errno) => panic!("invariant: an event descriptor of ours takes a write: {errno}"),
        }
    }
}

impl WakeReceiver {
    /// Makes ready for the next wake-up. Call it before looking into the queues, never after: what is put in
    /// later wakes again.
    pub fn reset(&mut self) {
        // In this order. The other way round, a wake-up in between would have its write taken away while it
        // keeps `woken` set, and nobody would write again.
        match self.0.event.read() {
            Ok(_) | Err(Errno::EAGAIN) => {}
            Err(errno) => panic!("invariant: an event descriptor of ours can be read: {errno}"),
        }
        // Acquires what was queued before the wake-up that this undoes.
        self.0.woken.swap(false, Ordering::AcqRel);
    }

    /// Another waker of this receiver.
    pub fn waker(&self) -> Waker {
        Waker(Arc::clone(&self.0))
    }
}

impl AsFd for WakeReceiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.event.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_wake_ups_are_one_write() {
        let (waker, mut receiver) = Waker::pair().unwrap();
        for _ in 0..1_000 {
            waker.wake();
        }
        assert_eq!(receiver.0.event.read(), Ok(1));
        receiver.reset();
        waker.wake();
        receiver.waker().wake();
        assert_eq!(receiver.0.event.read(), Ok(1));
        assert_eq!(receiver.0.event.read(), Err(Errno::EAGAIN));
    }
}
