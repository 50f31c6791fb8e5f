//! How one thread hands another something and wakes it.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};

/// A queue whose owner waits for its descriptor to become readable.
///
/// Bounded by what it carries: one start and few stops for each program that the caller has open.
#[derive(Debug)]
pub(super) struct Inbox<T> {
    waiting: Mutex<VecDeque<T>>,
    bell: EventFd,
}

impl<T> Inbox<T> {
    pub(super) fn new() -> io::Result<Self> {
        let bell = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Self {
            waiting: Mutex::new(VecDeque::new()),
            bell,
        })
    }

    pub(super) fn send(&self, item: T) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push_back(item);
        if waiting.len() == 1 {
            // The counter cannot overflow: it is emptied whenever the queue is.
            match self.bell.write(1) {
                Ok(_) | Err(Errno::EAGAIN) => {}
                Err(errno) => unreachable!("an eventfd takes a one: {errno}"),
            }
        }
    }

    /// Everything that waits, oldest first.
    pub(super) fn take(&self) -> VecDeque<T> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.is_empty() {
            return VecDeque::new();
        }
        match self.bell.read() {
            Ok(_) | Err(Errno::EAGAIN) => {}
            Err(errno) => unreachable!("an eventfd gives its count: {errno}"),
        }
        std::mem::take(&mut waiting)
    }
}

impl<T> AsFd for Inbox<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}
