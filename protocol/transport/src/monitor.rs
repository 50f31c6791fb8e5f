//! What becomes of a socket's connections, as libzmq tells it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use zmq_sys as sys;

use crate::context::Context;
use crate::error::{Errno, TransportError};
use crate::message;
use crate::raw::{Frame, Handle};

/// Something that became of one of a socket's connections; libzmq does not say of whose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionEvent {
    /// A peer is through its handshake.
    Opened,
    /// A connection ended, of a peer or of one that never became one.
    Closed,
    /// A handshake ended because the authentication said no: the status code, 400 for an unknown key or a
    /// key of another role.
    Denied {
        /// The code of ZAP (RFC 27).
        status: u32,
    },
    /// A handshake ended otherwise: other mechanism, garbage, or the peer broke off.
    Failed,
}

impl ConnectionEvent {
    fn from_libzmq(event: u32, value: u32) -> Option<Self> {
        match event {
            sys::ZMQ_EVENT_HANDSHAKE_SUCCEEDED => Some(Self::Opened),
            sys::ZMQ_EVENT_DISCONNECTED => Some(Self::Closed),
            sys::ZMQ_EVENT_HANDSHAKE_FAILED_AUTH => Some(Self::Denied { status: value }),
            sys::ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | sys::ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL => {
                Some(Self::Failed)
            }
            _ => None,
        }
    }
}

const EVENTS: u32 = sys::ZMQ_EVENT_HANDSHAKE_SUCCEEDED
    | sys::ZMQ_EVENT_DISCONNECTED
    | sys::ZMQ_EVENT_HANDSHAKE_FAILED_AUTH
    | sys::ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL
    | sys::ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL;

/// The watch over one socket's connections: where its events come by.
pub(crate) struct Monitor {
    reader: Handle,
    /// What was read and not yet asked for.
    events: VecDeque<ConnectionEvent>,
}

impl Monitor {
    /// Starts the watch over `socket`.
    pub(crate) fn start(context: &Context, socket: &Handle) -> Result<Self, TransportError> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let endpoint = format!("inproc://scalems-monitor-{number}");
        let unwatched = |error: zmq::Error| TransportError::Monitor(error.into());
        let reader = context.open(zmq::PAIR)?;
        // No mark: libzmq's I/O thread waits, with all connections, while an event finds no room.
        reader.set_rcvhwm(0).map_err(unwatched)?;
        reader.set_linger(0).map_err(unwatched)?;
        socket.monitor(&endpoint, EVENTS as i32).map_err(unwatched)?;
        reader.connect(&endpoint).map_err(unwatched)?;
        let events = VecDeque::new();
        Ok(Self { reader, events })
    }

    pub(crate) fn reader(&self) -> &Handle {
        &self.reader
    }

    /// Whether there are events that were read and not asked for.
    pub(crate) fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// We ended the connection: libzmq tells of those that others end.
    pub(crate) fn ended(&mut self) {
        self.events.push_back(ConnectionEvent::Closed);
    }

    /// The next event, if there is one.
    pub(crate) fn next(&mut self) -> Result<Option<ConnectionEvent>, TransportError> {
        if self.events.is_empty() {
            self.read_all().map_err(TransportError::Monitor)?;
        }
        Ok(self.events.pop_front())
    }

    fn read_all(&mut self) -> Result<(), Errno> {
        while let Some(first) = Frame::receive(&mut self.reader)? {
            // The second frame names the address listened at, which one socket may have several of.
            message::drain(&mut self.reader, &first)?;
            if let Ok([a, b, value @ ..]) = <[u8; 6]>::try_from(first.bytes()) {
                let event = u32::from(u16::from_ne_bytes([a, b]));
                self.events
                    .extend(ConnectionEvent::from_libzmq(event, u32::from_ne_bytes(value)));
            }
        }
        Ok(())
    }
}
