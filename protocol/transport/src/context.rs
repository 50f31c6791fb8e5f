//! The libzmq context of a process.

use std::io;
use std::sync::{Arc, Once};

use crate::error::{Errno, TransportError};
use crate::raw;
use crate::raw::Handle;

/// The oldest libzmq with the fixes to CURVE that we rely on, and the one that is bundled.
const OLDEST: (i32, i32, i32) = (4, 3, 5);

/// One libzmq context: its I/O thread and the sockets opened in it. Clones share it.
///
/// It holds up to 1,023 sockets of this process, whatever the number of peers: an agent needs about a dozen.
/// What grows with the peers is the number of file descriptors, one a connection.
///
/// The last one to go (clone or socket) waits until what was sent is out, at most for the sockets' linger time.
#[derive(Clone)]
pub struct Context {
    pub(crate) inner: zmq::Context,
    identity: Arc<()>,
}

impl Context {
    /// A context with one I/O thread, which carries more than one bus thread can use (about a gigabyte a
    /// second). Fails if the linked libzmq is not fit, see [`check_build`].
    pub fn new() -> Result<Self, TransportError> {
        Self::with_io_threads(1)
    }

    /// A context with several I/O threads.
    pub fn with_io_threads(threads: u8) -> Result<Self, TransportError> {
        check_build()?;
        seed()?;
        let inner = zmq::Context::new();
        let set = inner.set_io_threads(i32::from(threads.max(1)));
        set.map_err(|error| TransportError::Option {
            option: "ZMQ_IO_THREADS",
            source: error.into(),
        })?;
        Ok(Self {
            inner,
            identity: Arc::new(()),
        })
    }

    pub(crate) fn open(&self, kind: zmq::SocketType) -> Result<Handle, TransportError> {
        let socket = self.inner.socket(kind).map_err(Errno::from);
        socket.and_then(Handle::new).map_err(TransportError::Open)
    }

    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.identity, &other.identity)
    }
}

/// Has the C library keep freed memory for what comes next, up to 128 MiB, where it is glibc: for processes that pass large messages.
///
/// libzmq allocates each message that it receives. Of the size of a mebibyte glibc gives them back to the system, and the time to get
/// new pages is longer than that to copy the bytes. Returns whether it does so; otherwise all is as before, and slower.
///
/// `in_one_arena`: all threads take from one place, where what one has freed is the next one's. That is for processes whose own code allocates
/// elsewhere, as `scalems` does: arenas of threads are given back as soon as nothing lies in them.
pub fn keep_freed_memory(in_one_arena: bool) -> bool {
    raw::keep_freed_memory(in_one_arena)
}

/// Seeds what libzmq draws from: the start of the routing ids, and the pauses before connecting again. libzmq
/// 4.3.5 leaves this out, so all processes would begin alike: a peer that sets the next routing id as its own
/// ends the process by an assertion, and a thousand workers would come back in the same millisecond.
fn seed() -> Result<(), TransportError> {
    static ONCE: Once = Once::new();
    let seed = getrandom::u32().map_err(|error| TransportError::Start {
        what: "the random numbers",
        source: io::Error::other(error),
    })?;
    ONCE.call_once(|| raw::seed(seed));
    Ok(())
}

/// Whether the linked libzmq is new enough and has CURVE. Without CURVE every curve option fails only when it
/// is used, which would be in front of the user.
pub fn check_build() -> Result<(), TransportError> {
    let found = zmq::version();
    if found < OLDEST {
        let found = format!("{}.{}.{}", found.0, found.1, found.2);
        return Err(TransportError::OldLibzmq { found });
    }
    if zmq::has("curve") == Some(true) {
        Ok(())
    } else {
        Err(TransportError::NoCurve)
    }
}
