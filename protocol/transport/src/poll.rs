//! Waiting for several sockets and descriptors at once, by the thread that owns them.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

use crate::error::{Errno, TransportError};
use crate::raw::Handle;
use crate::socket::Socket;
use crate::waker::WakeReceiver;

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
    what: What<'a>,
    /// It is readable whatever is found.
    pending: bool,
}

enum What<'a> {
    Socket {
        socket: &'a Handle,
        readable: bool,
        writable: bool,
    },
    Descriptor(BorrowedFd<'a>),
    Nothing,
}

impl<'a> Source<'a> {
    /// A message to be read.
    pub fn readable(socket: &'a impl Pollable) -> Self {
        Self::of(&socket.socket().inner, true, false)
    }

    /// A message to be read, or room to send one; for a [`crate::Dealer`], room means a finished connection.
    pub fn readable_or_writable(socket: &'a impl Pollable) -> Self {
        Self::of(&socket.socket().inner, true, true)
    }

    /// Room to send a message.
    pub fn writable(socket: &'a impl Pollable) -> Self {
        Self::of(&socket.socket().inner, false, true)
    }

    /// Events of the socket's connections. Without a watch over them this is never ready.
    pub fn connections(socket: &'a impl Pollable) -> Self {
        Self::events_of(socket.socket())
    }

    /// Something to be read from a descriptor.
    pub fn descriptor(descriptor: &'a impl AsFd) -> Self {
        Self {
            what: What::Descriptor(descriptor.as_fd()),
            pending: false,
        }
    }

    /// A wake-up by another thread.
    pub fn wake(receiver: &'a WakeReceiver) -> Self {
        Self::descriptor(receiver)
    }

    pub(crate) fn events_of(socket: &'a Socket) -> Self {
        let Some(monitor) = socket.monitor() else {
            return Self {
                what: What::Nothing,
                pending: false,
            };
        };
        Self {
            pending: monitor.has_events(),
            ..Self::of(monitor.reader(), true, false)
        }
    }

    pub(crate) fn of(socket: &'a Handle, readable: bool, writable: bool) -> Self {
        let what = What::Socket {
            socket,
            readable,
            writable,
        };
        Self { what, pending: false }
    }

    /// What is known of it without waiting.
    fn before(&self) -> Result<Ready, Errno> {
        let mut ready = match &self.what {
            What::Socket {
                socket,
                readable,
                writable,
            } if *writable || !socket.is_quiet() => Ready::of(socket, *readable, *writable)?,
            _ => Ready::default(),
        };
        ready.readable |= self.pending;
        Ok(ready)
    }

    /// What is the case now that its descriptor says something.
    fn after(&self, said: PollFlags) -> Result<Ready, Errno> {
        match &self.what {
            What::Socket {
                socket,
                readable,
                writable,
            } if !said.is_empty() => Ready::of(socket, *readable, *writable),
            What::Descriptor(_) => Ok(Ready {
                readable: said.contains(PollFlags::POLLIN),
                writable: false,
                failed: said.intersects(PollFlags::POLLERR | PollFlags::POLLHUP | PollFlags::POLLNVAL),
            }),
            _ => Ok(Ready::default()),
        }
    }

    fn descriptor_of(&self) -> Option<BorrowedFd<'_>> {
        match &self.what {
            What::Socket { socket, .. } => Some(socket.as_fd()),
            What::Descriptor(descriptor) => Some(*descriptor),
            What::Nothing => None,
        }
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

    fn of(socket: &Handle, readable: bool, writable: bool) -> Result<Self, Errno> {
        let (to_read, room) = socket.look()?;
        Ok(Self {
            readable: readable && to_read,
            writable: writable && room,
            failed: false,
        })
    }
}

/// Waits until one of the sources is ready or the time is over, and says which are; `None` is without end.
///
/// What was not read comes up again in the next call. A signal ends the wait with nothing ready.
///
/// Done here since libzmq's own way asks each socket twice and each time by calls of the system. A socket that was
/// read to its end is not asked at all before its descriptor says something.
#[allow(clippy::needless_pass_by_value, reason = "sources are made for one wait")]
pub fn poll<const N: usize>(
    sources: [Source<'_>; N],
    wait: Option<Duration>,
) -> Result<[Ready; N], TransportError> {
    let mut ready = [Ready::default(); N];
    wait_for(&sources, wait, &mut ready)?;
    Ok(ready)
}

fn wait_for(
    sources: &[Source<'_>],
    wait: Option<Duration>,
    ready: &mut [Ready],
) -> Result<(), TransportError> {
    let until = wait.and_then(|wait| Instant::now().checked_add(wait));
    loop {
        for (source, ready) in sources.iter().zip(&mut *ready) {
            *ready = source.before().map_err(TransportError::Poll)?;
        }
        let known = ready.iter().any(|ready| ready.any());
        let left = match until {
            _ if known => Some(Duration::ZERO),
            None => None,
            Some(until) => Some(until.saturating_duration_since(Instant::now())),
        };
        let mut places = Vec::with_capacity(sources.len());
        let mut items = Vec::with_capacity(sources.len());
        for (place, source) in sources.iter().enumerate() {
            if let Some(descriptor) = source.descriptor_of() {
                places.push(place);
                items.push(PollFd::new(descriptor, PollFlags::POLLIN));
            }
        }
        match ppoll(&mut items, left.map(TimeSpec::from_duration), None) {
            Ok(_) => {}
            Err(nix::errno::Errno::EINTR) => return Ok(()),
            Err(errno) => return Err(TransportError::Poll(Errno::from(errno))),
        }
        for (place, item) in places.iter().zip(&items) {
            let said = item.revents().unwrap_or(PollFlags::POLLERR);
            let found = sources[*place].after(said).map_err(TransportError::Poll)?;
            ready[*place] = ready[*place].or(found);
        }
        // A descriptor may speak of what is neither to be read nor room.
        if ready.iter().any(|ready| ready.any()) || left == Some(Duration::ZERO) {
            return Ok(());
        }
    }
}
