//! How one thread hands another something and wakes it.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};

/// A queue whose owner waits for its descriptor to become readable.
///
/// Bounded by what it carries: one start and few stops for each program that the caller has open.
#[derive(Debug)]
pub(crate) struct Inbox<T> {
    waiting: Mutex<Waiting<T>>,
    bell: EventFd,
}

#[derive(Debug)]
struct Waiting<T> {
    items: VecDeque<T>,
    rung: bool,
}

impl<T> Inbox<T> {
    pub(crate) fn new() -> io::Result<Self> {
        let bell = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Self {
            waiting: Mutex::new(Waiting {
                items: VecDeque::new(),
                rung: false,
            }),
            bell,
        })
    }

    pub(crate) fn send(&self, item: T) {
        let mut waiting = self.lock();
        waiting.items.push_back(item);
        if !std::mem::replace(&mut waiting.rung, true) {
            // The counter cannot overflow: it is emptied whenever the queue is.
            match self.bell.write(1) {
                Ok(_) | Err(Errno::EAGAIN) => {}
                Err(errno) => unreachable!("an eventfd takes a one: {errno}"),
            }
        }
    }

    /// As [`Self::send`], but the owner is not woken: it is known to look by itself, later, before it waits.
    pub(crate) fn leave(&self, item: T) {
        self.lock().items.push_back(item);
    }

    fn lock(&self) -> MutexGuard<'_, Waiting<T>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything that waits, oldest first.
    pub(crate) fn take(&self) -> VecDeque<T> {
        let mut waiting = self.lock();
        if std::mem::take(&mut waiting.rung) {
            match self.bell.read() {
                Ok(_) | Err(Errno::EAGAIN) => {}
                Err(errno) => unreachable!("an eventfd gives its count: {errno}"),
            }
        }
        std::mem::take(&mut waiting.items)
    }
}

impl<T> AsFd for Inbox<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}
