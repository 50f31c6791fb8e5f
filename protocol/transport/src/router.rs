//! The server's end of requests: a ROUTER.

use std::collections::HashMap;
use std::net::IpAddr;

use bytes::Bytes;
use scalems_protocol::Role;

use crate::context::Context;
use crate::directory::PrivateDir;
use crate::domain::{IpcDomain, TcpDomain};
use crate::endpoint::Endpoint;
use crate::error::{Errno, SendError, TransportError};
use crate::keys::KeyPair;
use crate::message::{self, Large, Message, Part, Taken};
use crate::monitor::ConnectionEvent;
use crate::options::Use;
use crate::poll::{Pollable, sealed::HasSocket};
use crate::raw::Frame;
use crate::shelf::{AgentShelf, End, Shelf};
use crate::socket::Socket;
use crate::zap::{self, Admitted, TcpPermit, Zap};

/// Peers of which the connection is remembered, far more than an agent has. Over it all are forgotten, which
/// costs no more than the certainty that none of them chose its id itself.
const REMEMBERED: usize = 1 << 16;

/// One connection of a peer to a router. libzmq counts them up from a random number, so one comes again only
/// after four billion connections; a peer that reconnects has a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId(pub u32);

impl PeerId {
    /// libzmq's own routing ids are a zero byte and a number in network order.
    fn from_routing_id(id: &[u8]) -> Option<Self> {
        match *id {
            [0, a, b, c, d] => Some(Self(u32::from_be_bytes([a, b, c, d]))),
            _ => None,
        }
    }

    fn routing_id(self) -> [u8; 5] {
        let [a, b, c, d] = self.0.to_be_bytes();
        [0, a, b, c, d]
    }
}

/// A message and whom it is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The connection that it came by.
    pub peer: PeerId,
    /// The role that the connection's key or socket gives.
    pub role: Role,
    /// What came.
    pub message: Message,
}

/// Why a message was dropped. It is one peer's doing and no reason to end anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The message had more frames than [`crate::FRAMES`].
    #[error("a message of {frames} frames; {} are allowed", crate::FRAMES)]
    TooManyFrames {
        /// How many it had.
        frames: usize,
    },
    /// The peer chose its routing id itself, by which it could pass for another.
    #[error("the peer set its own routing id")]
    OwnRoutingId,
    /// The authentication gave the connection no role.
    #[error("the connection has no role")]
    NoRole,
    /// The message, or one before it, named what does not lie on the shelf. The peer was told, and connects again.
    #[error("what the message, or one before it, named is not in shared memory")]
    NotThere,
}

/// What a router has received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A message.
    Message(Received),
    /// A message that was dropped.
    Refused {
        /// From whom; nobody who can be answered if it set its own routing id.
        peer: Option<PeerId>,
        /// Why.
        refusal: Refusal,
    },
}

/// The connection that an id was first used by.
struct Known {
    user_id: Box<[u8]>,
    who: Admitted,
    /// Its end of the shelf, if it takes what lies there.
    end: Option<End>,
    /// A message of it is lost. What it sends after that is, too: it connects again, and says again what is missing.
    lost: bool,
}

/// A ROUTER: it knows its peers apart, and sending to one that left is an error.
pub struct Router {
    socket: Socket,
    /// Whose each routing id is that was used.
    known: HashMap<PeerId, Known>,
    refused: u64,
    shelf: Option<Shelf>,
}

impl Router {
    /// A router that listens nowhere yet.
    pub fn new(context: &Context) -> Result<Self, TransportError> {
        let socket = Socket::open(context, Use::Router)?;
        Ok(Self {
            socket,
            known: HashMap::new(),
            refused: 0,
            shelf: None,
        })
    }

    /// Large blobs may lie on the shelf, for peers that come by a socket file.
    pub fn use_shelf(&mut self, of_agent: &AgentShelf) {
        self.shelf = Some(of_agent.0.clone());
    }

    /// Listens at the socket file of `domain` in `directory`; several may be bound one after the other.
    pub fn bind_ipc(
        &mut self,
        zap: &Zap,
        domain: IpcDomain,
        directory: &PrivateDir,
    ) -> Result<Endpoint, TransportError> {
        self.socket.bind_ipc(zap, domain, directory)
    }

    /// Listens at a TCP port, any free one for 0, and says which.
    pub fn bind_tcp(
        &mut self,
        permit: &TcpPermit<'_>,
        domain: TcpDomain,
        address: IpAddr,
        port: u16,
        keys: &KeyPair,
    ) -> Result<u16, TransportError> {
        self.socket.bind_tcp(permit, domain, address, port, keys)
    }

    /// The next message, if one is there.
    pub fn recv(&mut self) -> Result<Option<Incoming>, TransportError> {
        self.receive().map_err(TransportError::Receive)
    }

    fn receive(&mut self) -> Result<Option<Incoming>, Errno> {
        self.shelf.iter().for_each(Shelf::sweep_if_due);
        let socket = &mut self.socket.inner;
        let Some(id) = Frame::receive(socket)? else {
            return Ok(None);
        };
        let (peer, who) = match self.sender(&id) {
            Ok(sender) => sender,
            Err((peer, refusal)) => {
                message::drain(&mut self.socket.inner, &id)?;
                return Ok(Some(self.refuse(peer, refusal)));
            }
        };
        if self.known.get(&peer).is_some_and(|known| known.lost) {
            message::drain(&mut self.socket.inner, &id)?;
            return Ok(Some(self.refuse(Some(peer), Refusal::NotThere)));
        }
        let socket = &mut self.socket.inner;
        let first = Frame::receive(socket)?.ok_or(Errno::AGAIN)?;
        let near = self.shelf.as_ref().filter(|_| who.by_file);
        match message::take_rest(socket, first, near)? {
            Taken::Message(message, end) => {
                if end.is_some()
                    && let Some(known) = self.known.get_mut(&peer)
                {
                    known.end = end;
                }
                let role = who.role;
                Ok(Some(Incoming::Message(Received { peer, role, message })))
            }
            Taken::TooMany(frames) => Ok(Some(self.refuse(Some(peer), Refusal::TooManyFrames { frames }))),
            // It learns by itself whether we have it: it connects again.
            Taken::NotThere | Taken::Lost => match self.tell_lost(peer) {
                Ok(()) | Err(Errno::HOST_UNREACHABLE) => Ok(Some(self.refuse(Some(peer), Refusal::NotThere))),
                Err(error) => Err(error),
            },
        }
    }

    fn tell_lost(&mut self, peer: PeerId) -> Result<(), Errno> {
        if let Some(known) = self.known.get_mut(&peer) {
            known.lost = true;
        }
        let socket = &mut self.socket.inner;
        Frame::copy(&peer.routing_id()).send(socket, true)?;
        message::send_lost(socket)
    }

    /// Who sent the message that begins with this routing id.
    ///
    /// A peer can choose its routing id, also one that libzmq gave to a peer that left. So the connection is
    /// asked of each message: its user id bears a number that no other has.
    fn sender(&mut self, id: &Frame) -> Result<(PeerId, Admitted), (Option<PeerId>, Refusal)> {
        let peer = PeerId::from_routing_id(id.bytes()).ok_or((None, Refusal::OwnRoutingId))?;
        // libzmq lets the authentication's word for `User-Id` stand over one that the peer says.
        let user_id = id.property(c"User-Id").ok_or((Some(peer), Refusal::NoRole))?;
        match self.known.get(&peer) {
            Some(known) if *known.user_id == *user_id => return Ok((peer, known.who)),
            Some(_) => return Err((None, Refusal::OwnRoutingId)),
            None => {}
        }
        // What the peer said its routing id is. It ends at the first zero byte, so one that looks like
        // libzmq's own seems empty, and passes here if nobody had it before.
        if id
            .property(c"Identity")
            .is_some_and(|identity| !identity.is_empty())
        {
            return Err((None, Refusal::OwnRoutingId));
        }
        let who = zap::admitted(user_id).ok_or((Some(peer), Refusal::NoRole))?;
        if self.known.len() >= REMEMBERED {
            self.known.clear();
        }
        let user_id = user_id.into();
        let known = Known {
            user_id,
            who,
            end: None,
            lost: false,
        };
        self.known.insert(peer, known);
        Ok((peer, who))
    }

    /// Forgets a peer that is gone, which frees some bytes. Until then nobody else can use its id; without it
    /// all are forgotten when there are too many.
    pub fn forget(&mut self, peer: PeerId) {
        self.known.remove(&peer);
        self.shelf.iter().for_each(Shelf::sweep);
    }

    fn refuse(&mut self, peer: Option<PeerId>, refusal: Refusal) -> Incoming {
        self.refused += 1;
        Incoming::Refused { peer, refusal }
    }

    /// How many messages were dropped so far.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Sends a message to one peer as a whole or not at all, without waiting.
    pub fn send(&mut self, peer: PeerId, header: &[u8], blobs: &[Bytes]) -> Result<(), SendError> {
        self.send_parts(peer, &Part::Borrowed(header), blobs)
    }

    /// As [`Self::send`]; a large header is not copied.
    pub fn send_message(&mut self, peer: PeerId, message: &Message) -> Result<(), SendError> {
        self.send_parts(peer, &Part::Counted(&message.header), &message.blobs)
    }

    fn send_parts(&mut self, peer: PeerId, header: &Part<'_>, blobs: &[Bytes]) -> Result<(), SendError> {
        message::check(header, blobs)?;
        let end = self.known.get(&peer).and_then(|known| known.end);
        let large = match self.shelf.as_ref().zip(end) {
            Some((place, end)) => Large::put(place, end, false, blobs),
            None => Large::none(),
        };
        let socket = &mut self.socket.inner;
        Frame::copy(&peer.routing_id()).send(socket, true)?;
        Ok(message::send(socket, header, blobs, large)?)
    }

    /// Begins to watch the connections. From then on [`Self::connection_event`] must be asked whenever
    /// [`crate::Source::connections`] is ready: events that nobody takes stay in memory.
    pub fn watch(&mut self) -> Result<(), TransportError> {
        self.socket.watch()
    }

    /// The next event of the connections, if there is one.
    pub fn connection_event(&mut self) -> Result<Option<ConnectionEvent>, TransportError> {
        self.socket.connection_event()
    }
}

impl HasSocket for Router {
    fn socket(&self) -> &Socket {
        &self.socket
    }
}

impl Pollable for Router {}
