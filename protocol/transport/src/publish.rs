//! Sockets that publish: a worker's beats (PUB), the agent's events (XPUB).

use std::net::IpAddr;

use bytes::Bytes;

use crate::context::Context;
use crate::directory::PrivateDir;
use crate::domain::{IpcDomain, TcpDomain};
use crate::endpoint::Endpoint;
use crate::error::{SendError, TransportError};
use crate::keys::{CurveClient, KeyPair};
use crate::message::{self, Large, Part};
use crate::options::Use;
use crate::poll::{Pollable, sealed::HasSocket};
use crate::raw::Frame;
use crate::socket::Socket;
use crate::zap::{TcpPermit, Zap};

/// A PUB that connects to one subscriber. What nobody takes is dropped; sending never waits.
pub struct Publisher {
    socket: Socket,
}

impl Publisher {
    /// A publisher that connects to `endpoint`. TCP needs `curve`.
    pub fn connect(
        context: &Context,
        endpoint: &Endpoint,
        curve: Option<&CurveClient>,
    ) -> Result<Self, TransportError> {
        let mut socket = Socket::open(context, Use::Publisher)?;
        socket.connect(endpoint, curve)?;
        Ok(Self { socket })
    }

    /// Publishes a message.
    pub fn send(&mut self, header: &[u8], blobs: &[Bytes]) -> Result<(), SendError> {
        publish(&mut self.socket, header, blobs)
    }
}

/// A change in what is subscribed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// The topic, as the subscriber sent it.
    pub topic: Bytes,
    /// Whether somebody subscribed, told for every subscriber, or the last one left.
    pub subscribed: bool,
}

/// An XPUB: it publishes under topics and is told of each subscription.
pub struct EventPublisher {
    socket: Socket,
}

impl EventPublisher {
    /// A publisher that listens nowhere yet.
    pub fn new(context: &Context) -> Result<Self, TransportError> {
        let socket = Socket::open(context, Use::EventPublisher)?;
        Ok(Self { socket })
    }

    /// Listens at the socket file of `domain` in `directory`.
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

    /// Publishes a message under `topic`, which becomes its first frame.
    pub fn send(&mut self, topic: &[u8], frames: &[Bytes]) -> Result<(), SendError> {
        publish(&mut self.socket, topic, frames)
    }

    /// The next change of subscriptions, if there is one. What else subscribers send is dropped.
    pub fn subscription(&mut self) -> Result<Option<Subscription>, TransportError> {
        let socket = &mut self.socket.inner;
        while let Some(frame) = Frame::receive(socket).map_err(TransportError::Receive)? {
            message::drain(socket, &frame).map_err(TransportError::Receive)?;
            let subscribed = match frame.bytes().first() {
                Some(1) => true,
                Some(0) => false,
                _ => continue,
            };
            if !frame.more() {
                let topic = Bytes::copy_from_slice(&frame.bytes()[1..]);
                return Ok(Some(Subscription { topic, subscribed }));
            }
        }
        Ok(None)
    }
}

fn publish(socket: &mut Socket, first: &[u8], rest: &[Bytes]) -> Result<(), SendError> {
    let first = Part::Borrowed(first);
    message::check(&first, rest)?;
    Ok(message::send(&mut socket.inner, &first, rest, Large::none())?)
}

impl HasSocket for Publisher {
    fn socket(&self) -> &Socket {
        &self.socket
    }
}

impl Pollable for Publisher {}

impl HasSocket for EventPublisher {
    fn socket(&self) -> &Socket {
        &self.socket
    }
}

impl Pollable for EventPublisher {}
