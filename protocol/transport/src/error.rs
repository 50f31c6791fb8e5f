//! What can go wrong with sockets, and who is to blame.

use std::{fmt, io};

use crate::{directory::DirectoryError, endpoint::EndpointError, zap::SelfTestError};

/// A C error number as libzmq left it: the system's, or one of the few that libzmq adds.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(i32);

impl Errno {
    /// The peer is not connected.
    pub(crate) const HOST_UNREACHABLE: Self = Self(libc::EHOSTUNREACH);
    /// Nothing there now, or no room now.
    pub(crate) const AGAIN: Self = Self(libc::EAGAIN);
    /// A signal came.
    pub(crate) const INTERRUPTED: Self = Self(libc::EINTR);

    /// The number of the call that failed last on this thread.
    pub(crate) fn last() -> Self {
        // libzmq keeps its error in the C library's `errno`, so the standard library reads it as well.
        Self(io::Error::last_os_error().raw_os_error().unwrap_or_default())
    }

    /// The number itself.
    pub fn number(self) -> i32 {
        self.0
    }
}

impl From<zmq::Error> for Errno {
    fn from(error: zmq::Error) -> Self {
        Self(error.to_raw())
    }
}

impl From<nix::errno::Errno> for Errno {
    fn from(errno: nix::errno::Errno) -> Self {
        Self(errno as i32)
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            zmq_sys::errno::ETERM => out.write_str("the ZeroMQ context was closed"),
            zmq_sys::errno::EFSM => out.write_str("the socket is not in a state for this"),
            zmq_sys::errno::ENOCOMPATPROTO => out.write_str("this socket type cannot use this transport"),
            zmq_sys::errno::EMTHREAD => out.write_str("no I/O thread is available"),
            number => io::Error::from_raw_os_error(number).fmt(out),
        }
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Errno({}: {self})", self.0)
    }
}

impl std::error::Error for Errno {}

/// Why a socket could not be opened or used. None of them is a single peer's doing.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The program was linked with another libzmq than the bundled one.
    #[error("libzmq {found} is linked, but 4.3.5 or newer is needed: build with the bundled one")]
    OldLibzmq {
        /// The version that was found.
        found: String,
    },
    /// The program was linked with a libzmq without CURVE.
    #[error("the linked libzmq cannot do CURVE: build with the bundled one")]
    NoCurve,
    /// libzmq refused a new socket: its context has 1,023 of them, or the process ran out of descriptors.
    #[error("cannot open a ZeroMQ socket: {0} (see `ulimit -n`)")]
    Open(#[source] Errno),
    /// libzmq refused an option.
    #[error("cannot set the ZeroMQ option {option}: {source}")]
    Option {
        /// The option's name in libzmq's manual.
        option: &'static str,
        /// What libzmq said.
        source: Errno,
    },
    /// An address could not be listened at.
    #[error("cannot listen at {endpoint}: {source}")]
    Bind {
        /// The address.
        endpoint: String,
        /// What libzmq said.
        source: Errno,
    },
    /// An address could not be connected to. That nobody listens there is not an error: libzmq goes on trying.
    #[error("cannot connect to {endpoint}: {source}")]
    Connect {
        /// The address.
        endpoint: String,
        /// What libzmq said.
        source: Errno,
    },
    /// An address is not one of ours.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The directory of an ipc socket is not private.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// A TCP address was to be used without keys.
    #[error("{endpoint} is TCP and is used with CURVE keys only, and there are none")]
    KeysMissing {
        /// The address.
        endpoint: String,
    },
    /// A socket was to be bound under the authentication of another context, where it would never be asked.
    #[error("the socket and its authentication belong to different ZeroMQ contexts")]
    OtherContext,
    /// A message had more frames than any of ours. It was dropped.
    #[error("dropped a message of {frames} frames; {} are allowed", crate::FRAMES)]
    TooManyFrames {
        /// How many it had.
        frames: usize,
    },
    /// Receiving failed.
    #[error("cannot receive: {0}")]
    Receive(#[source] Errno),
    /// Waiting failed.
    #[error("cannot wait for sockets: {0}")]
    Poll(#[source] Errno),
    /// A socket's connections cannot be watched.
    #[error("cannot watch the connections of a socket: {0}")]
    Monitor(#[source] Errno),
    /// The system refused a wake-up descriptor or a thread.
    #[error("cannot start {what}: {source}")]
    Start {
        /// What was to be started.
        what: &'static str,
        /// Why it was not.
        source: io::Error,
    },
    /// Authentication does not do what it must, so nothing listens on TCP.
    #[error(transparent)]
    SelfTest(#[from] SelfTestError),
}

/// Why a message was not sent. In each case none of it went out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// No peer of that id is connected any more.
    #[error("the peer is gone")]
    Gone,
    /// There is no room: the peer's queue is full or, for a socket that connects, there is no finished
    /// connection.
    #[error("no connection can take the message now")]
    Full,
    /// A frame or the number of frames is over what the other side lets in. Sending it would cut the
    /// connection.
    #[error("the message is over the limit of a frame or of the number of frames")]
    TooLarge,
    /// libzmq failed.
    #[error("cannot send: {0}")]
    Failed(Errno),
}

impl From<Errno> for SendError {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::HOST_UNREACHABLE => Self::Gone,
            Errno::AGAIN => Self::Full,
            other => Self::Failed(other),
        }
    }
}
