//! The socket options, each with its reason (`docs/spec/7-connection-file.md`, section "Socket options").

use scalems_protocol::limits;

use crate::error::{Errno, TransportError};
use crate::raw::{self, Handle};

/// Messages that wait at a ROUTER per peer until the bus takes them. A full one stops that peer's connection
/// and drops nothing.
const ROUTER_RECEIVE_MARK: i32 = 256;
/// No mark: what a peer may send or be sent is bounded by windows and credits. A mark would stall a DEALER
/// or drop silently at a ROUTER long before those.
const NO_MARK: i32 = 0;
/// Messages that wait for a subscriber before the rest is dropped: beats and events may be lost, memory not.
const PUBLISH_MARK: i32 = 10_000;
/// A connection that is not through its handshake by then is closed: half-open ones hold descriptors.
const HANDSHAKE_MS: i32 = 3_000;
/// How often a silent connection is asked whether it lives.
const HEARTBEAT_MS: i32 = 30_000;
/// How long the answer may take. It frees the queue of a peer that stopped; liveness is decided by beats.
const HEARTBEAT_TIMEOUT_MS: i32 = 30_000;
/// TCP gives up on unacknowledged data after that: a vanished node, without the kernel's quarter of an hour.
const TCP_UNACKNOWLEDGED_MS: i32 = 30_000;
/// Connections that may wait to be accepted: all workers of a large job start in one second.
const BACKLOG: i32 = 1_024;
/// The first pause before connecting again; it doubles.
const RECONNECT_MS: i32 = 100;
/// The longest pause: a restarted agent has all its peers back soon after.
const RECONNECT_MAX_MS: i32 = 2_000;
/// How long a closed socket goes on sending what it was given.
const LINGER_MS: i32 = 2_000;

/// What a socket is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    Router,
    Dealer,
    Publisher,
    EventPublisher,
    Subscriber,
}

impl Use {
    pub(crate) fn kind(self) -> zmq::SocketType {
        match self {
            Self::Router => zmq::ROUTER,
            Self::Dealer => zmq::DEALER,
            Self::Publisher => zmq::PUB,
            Self::EventPublisher => zmq::XPUB,
            Self::Subscriber => zmq::SUB,
        }
    }

    fn numbers(self) -> &'static [(&'static str, u32, i32)] {
        use zmq_sys as sys;
        match self {
            Self::Router => &[
                ("ZMQ_SNDHWM", sys::ZMQ_SNDHWM, NO_MARK),
                ("ZMQ_RCVHWM", sys::ZMQ_RCVHWM, ROUTER_RECEIVE_MARK),
                ("ZMQ_LINGER", sys::ZMQ_LINGER, LINGER_MS),
                // To a peer that left, sending is an error and not silence.
                ("ZMQ_ROUTER_MANDATORY", sys::ZMQ_ROUTER_MANDATORY, 1),
                // A second holder of a routing id takes nothing over.
                ("ZMQ_ROUTER_HANDOVER", sys::ZMQ_ROUTER_HANDOVER, 0),
            ],
            Self::Dealer => &[
                ("ZMQ_SNDHWM", sys::ZMQ_SNDHWM, NO_MARK),
                ("ZMQ_RCVHWM", sys::ZMQ_RCVHWM, NO_MARK),
                ("ZMQ_LINGER", sys::ZMQ_LINGER, LINGER_MS),
                // Nothing is queued into a connection that is not finished: after a restart of the agent the
                // first message must be a hello.
                ("ZMQ_IMMEDIATE", sys::ZMQ_IMMEDIATE, 1),
            ],
            Self::Publisher => &[
                ("ZMQ_SNDHWM", sys::ZMQ_SNDHWM, PUBLISH_MARK),
                ("ZMQ_LINGER", sys::ZMQ_LINGER, 0),
            ],
            Self::EventPublisher => &[
                ("ZMQ_SNDHWM", sys::ZMQ_SNDHWM, PUBLISH_MARK),
                ("ZMQ_LINGER", sys::ZMQ_LINGER, 0),
                // Every subscription is told, also of a topic that others have: each gets its `open`.
                ("ZMQ_XPUB_VERBOSE", sys::ZMQ_XPUB_VERBOSE, 1),
                // A slow subscriber loses events; it never stops the agent.
                ("ZMQ_XPUB_NODROP", sys::ZMQ_XPUB_NODROP, 0),
            ],
            Self::Subscriber => &[
                // What it sends is what it subscribes to, all at once when it connects: over a mark that is lost.
                ("ZMQ_SNDHWM", sys::ZMQ_SNDHWM, NO_MARK),
                ("ZMQ_RCVHWM", sys::ZMQ_RCVHWM, PUBLISH_MARK),
                ("ZMQ_LINGER", sys::ZMQ_LINGER, 0),
            ],
        }
    }
}

/// What every socket that has peers in other processes is set to.
const COMMON: &[(&str, u32, i32)] = &[
    ("ZMQ_HANDSHAKE_IVL", zmq_sys::ZMQ_HANDSHAKE_IVL, HANDSHAKE_MS),
    ("ZMQ_HEARTBEAT_IVL", zmq_sys::ZMQ_HEARTBEAT_IVL, HEARTBEAT_MS),
    (
        "ZMQ_HEARTBEAT_TIMEOUT",
        zmq_sys::ZMQ_HEARTBEAT_TIMEOUT,
        HEARTBEAT_TIMEOUT_MS,
    ),
    ("ZMQ_TCP_MAXRT", zmq_sys::ZMQ_TCP_MAXRT, TCP_UNACKNOWLEDGED_MS),
    ("ZMQ_BACKLOG", zmq_sys::ZMQ_BACKLOG, BACKLOG),
    ("ZMQ_RECONNECT_IVL", zmq_sys::ZMQ_RECONNECT_IVL, RECONNECT_MS),
    (
        "ZMQ_RECONNECT_IVL_MAX",
        zmq_sys::ZMQ_RECONNECT_IVL_MAX,
        RECONNECT_MAX_MS,
    ),
];

/// Sets what a socket of that use must have, before it is bound or connected.
pub(crate) fn apply(socket: &mut Handle, purpose: Use) -> Result<(), TransportError> {
    for &(name, option, value) in COMMON.iter().chain(purpose.numbers()) {
        number(socket, name, option as i32, value)?;
    }
    number(socket, "ZMQ_ZAP_ENFORCE_DOMAIN", raw::ZAP_ENFORCE_DOMAIN, 1)?;
    let largest = i64::try_from(limits::WIRE_FRAME_BYTES).expect("invariant: a frame's limit is below 2^63");
    let set = socket.set_maxmsgsize(largest);
    set.map_err(|error| refused("ZMQ_MAXMSGSIZE", error.into()))
}

/// Sets one option that is a whole number.
pub(crate) fn number(
    socket: &mut Handle,
    name: &'static str,
    option: i32,
    value: i32,
) -> Result<(), TransportError> {
    raw::set_number(socket, option, value).map_err(|errno| refused(name, errno))
}

/// The error for an option that libzmq did not take.
pub(crate) fn refused(option: &'static str, source: Errno) -> TransportError {
    TransportError::Option { option, source }
}
