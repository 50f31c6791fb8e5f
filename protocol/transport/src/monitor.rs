//! What becomes of a socket's connections, as libzmq tells it.

use std::sync::atomic::{AtomicU64, Ordering};

use zmq_sys as sys;

use crate::context::Context;
use crate::error::TransportError;
use crate::raw::Frame;

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

/// Starts the watch over `socket` and gives the socket that its events come by.
pub(crate) fn start(context: &Context, socket: &zmq::Socket) -> Result<zmq::Socket, TransportError> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let endpoint = format!(
        "inproc://scalems-monitor-{}",
        NUMBER.fetch_add(1, Ordering::Relaxed)
    );
    let unwatched = |error: zmq::Error| TransportError::Monitor(error.into());
    let reader = context.open(zmq::PAIR)?;
    // No mark: libzmq's I/O thread waits, with all connections, while an event finds no room.
    reader.set_rcvhwm(0).map_err(unwatched)?;
    reader.set_linger(0).map_err(unwatched)?;
    socket.monitor(&endpoint, EVENTS as i32).map_err(unwatched)?;
    reader.connect(&endpoint).map_err(unwatched)?;
    Ok(reader)
}

/// The next event, if there is one.
pub(crate) fn next(reader: &mut zmq::Socket) -> Result<Option<ConnectionEvent>, TransportError> {
    loop {
        let Some(first) = Frame::receive(reader).map_err(TransportError::Monitor)? else {
            return Ok(None);
        };
        // The second frame names the address listened at, which one socket may have several of.
        crate::message::drain(reader, &first).map_err(TransportError::Monitor)?;
        let Ok([a, b, value @ ..]) = <[u8; 6]>::try_from(first.bytes()) else {
            continue;
        };
        let event = u32::from(u16::from_ne_bytes([a, b]));
        if let Some(event) = ConnectionEvent::from_libzmq(event, u32::from_ne_bytes(value)) {
            return Ok(Some(event));
        }
    }
}
