//! Waiting for several sockets and descriptors at once, by the thread that owns them.

use std::array;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::Duration;

use crate::error::{Errno, TransportError};
use crate::socket::Socket;
use crate::waker::WakeReceiver;

/// Longest wait in one call. Longer ones return early with nothing ready, which is no harm.
const LONGEST_MS: u128 = 24 * 60 * 60 * 1_000;

/// A socket of this crate that can be waited for.
pub trait Pollable: sealed::HasSocket {}

pub(crate) mod sealed {
    pub trait HasSocket {
        #[doc(hidden)]
        fn socket(&self) -> &crate::socket::Socket;
    }
}

/// One thing to wait for.
pub struct Source<'a> {
    item: zmq::PollItem<'a>,
    /// It is readable whatever its descriptor says.
    pending: bool,
}

impl<'a> Source<'a> {
    /// A message to be read.
    pub fn readable(socket: &'a impl Pollable) -> Self {
        Self::of(&socket.socket().inner, zmq::POLLIN)
    }

    /// A message to be read, or room to send one; for a [`crate::Dealer`], room means a finished connection.
    pub fn readable_or_writable(socket: &'a impl Pollable) -> Self {
        Self::of(&socket.socket().inner, zmq::POLLIN | zmq::POLLOUT)
    }

    /// Room to send a message.
    pub fn writable(socket: &'a impl Pollable) -> Self {
        Self::of(&socket.socket().inner, zmq::POLLOUT)
    }

    /// Events of the socket's connections. Without a watch over them this is never ready.
    pub fn connections(socket: &'a impl Pollable) -> Self {
        Self::events_of(socket.socket())
    }

    /// Something to be read from a descriptor.
    pub fn descriptor(descriptor: &'a impl AsFd) -> Self {
        Self::of_descriptor(descriptor.as_fd().as_raw_fd(), false)
    }

    /// A wake-up by another thread.
    pub fn wake(receiver: &'a WakeReceiver) -> Self {
        Self::descriptor(receiver)
    }

    pub(crate) fn events_of(socket: &'a Socket) -> Self {
        match socket.monitor() {
            Some(monitor) => Self::of_descriptor(monitor.descriptor(), monitor.has_events()),
            // A negative descriptor is passed over by the system.
            None => Self::of_descriptor(-1, false),
        }
    }

    pub(crate) fn of(socket: &'a zmq::Socket, events: zmq::PollEvents) -> Self {
        let (item, pending) = (socket.as_poll_item(events), false);
        Self { item, pending }
    }

    fn of_descriptor(descriptor: RawFd, pending: bool) -> Self {
        let item = zmq::PollItem::from_fd(descriptor, zmq::POLLIN);
        Self { item, pending }
    }
}

/// What is the case with a source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ready {
    /// There is something to read.
    pub readable: bool,
    /// There is room to send.
    pub writable: bool,
    /// A descriptor is broken or was hung up. Sockets have no such state.
    pub failed: bool,
}

impl Ready {
    /// Whether there is anything at all to see to.
    pub fn any(self) -> bool {
        self.readable || self.writable || self.failed
    }

    /// What is the case with one of two.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            readable: self.readable || other.readable,
            writable: self.writable || other.writable,
            failed: self.failed || other.failed,
        }
    }

    fn of(item: &zmq::PollItem<'_>, pending: bool) -> Self {
        Self {
            readable: item.is_readable() || pending,
            writable: item.is_writable(),
            failed: item.is_error(),
        }
    }
}

/// Waits until one of the sources is ready or the time is over, and says which are; `None` is without end.
///
/// What was not read comes up again in the next call: it goes by the sockets' state, not by the edges of
/// libzmq's descriptors. A signal ends the wait with nothing ready.
pub fn poll<const N: usize>(
    sources: [Source<'_>; N],
    wait: Option<Duration>,
) -> Result<[Ready; N], TransportError> {
    let pending = sources.each_ref().map(|source| source.pending);
    let mut items = sources.map(|source| source.item);
    wait_for(&mut items, &pending, wait)?;
    Ok(array::from_fn(|at| Ready::of(&items[at], pending[at])))
}

/// As [`poll`], for a number of sources that is known only when the program runs.
pub fn poll_all(sources: Vec<Source<'_>>, wait: Option<Duration>) -> Result<Vec<Ready>, TransportError> {
    let (mut items, pending): (Vec<_>, Vec<_>) = sources
        .into_iter()
        .map(|source| (source.item, source.pending))
        .unzip();
    wait_for(&mut items, &pending, wait)?;
    Ok(items
        .iter()
        .zip(pending)
        .map(|(item, pending)| Ready::of(item, pending))
        .collect())
}

fn wait_for(
    items: &mut [zmq::PollItem<'_>],
    pending: &[bool],
    wait: Option<Duration>,
) -> Result<(), TransportError> {
    let wait = if pending.contains(&true) {
        Some(Duration::ZERO)
    } else {
        wait
    };
    match zmq::poll(items, milliseconds(wait)) {
        Ok(_) | Err(zmq::Error::EINTR) => Ok(()),
        Err(error) => Err(TransportError::Poll(Errno::from(error))),
    }
}

/// Rounded up: a deadline half a millisecond away must not become a busy loop of waits of 0.
fn milliseconds(wait: Option<Duration>) -> i64 {
    let Some(wait) = wait else { return -1 };
    let rounded = wait.as_nanos().div_ceil(1_000_000).min(LONGEST_MS);
    i64::try_from(rounded).expect("invariant: a day in milliseconds fits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_rounded_up_to_milliseconds() {
        assert_eq!(milliseconds(None), -1);
        assert_eq!(milliseconds(Some(Duration::ZERO)), 0);
        assert_eq!(milliseconds(Some(Duration::from_nanos(1))), 1);
        assert_eq!(milliseconds(Some(Duration::from_millis(7))), 7);
        assert_eq!(milliseconds(Some(Duration::from_micros(7_001))), 8);
        assert_eq!(milliseconds(Some(Duration::MAX)), 86_400_000);
    }
}
