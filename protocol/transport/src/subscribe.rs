//! Sockets that subscribe: a client's to events, the agent's to beats (SUB).

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::context::Context;
use crate::directory::PrivateDir;
use crate::domain::{IpcDomain, TcpDomain};
use crate::endpoint::Endpoint;
use crate::error::{Errno, TransportError};
use crate::keys::{CurveClient, KeyPair};
use crate::message::{self, Message, Taken};
use crate::monitor::ConnectionEvent;
use crate::options::{self, Use};
use crate::poll::{Pollable, sealed::HasSocket};
use crate::raw::Frame;
use crate::socket::Socket;
use crate::zap::{TcpPermit, Zap};

/// A SUB. It gets what its publishers send under exactly the topics that it subscribed to, and it may miss
/// some; numbers in the messages show that, and what was missed is asked for elsewhere.
pub struct Subscriber {
    socket: Socket,
    topics: BTreeSet<Vec<u8>>,
    everything: bool,
    refused: u64,
}

impl Subscriber {
    fn open(context: &Context) -> Result<Self, TransportError> {
        Ok(Self {
            socket: Socket::open(context, Use::Subscriber)?,
            topics: BTreeSet::new(),
            everything: false,
            refused: 0,
        })
    }

    /// A subscriber that connects to the publisher at `endpoint`, and is subscribed to nothing yet. TCP needs
    /// `curve`.
    pub fn connect(
        context: &Context,
        endpoint: &Endpoint,
        curve: Option<&CurveClient>,
    ) -> Result<Self, TransportError> {
        let mut subscriber = Self::open(context)?;
        subscriber.socket.watch()?;
        subscriber.socket.connect(endpoint, curve)?;
        Ok(subscriber)
    }

    /// A subscriber to everything, that publishers connect to. It listens nowhere yet.
    pub fn for_publishers(context: &Context) -> Result<Self, TransportError> {
        let mut subscriber = Self::open(context)?;
        subscriber.set(true, b"")?;
        subscriber.everything = true;
        Ok(subscriber)
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

    /// Subscribes to a topic. Once more does nothing.
    pub fn subscribe(&mut self, topic: &[u8]) -> Result<(), TransportError> {
        if self.topics.insert(topic.to_vec()) {
            self.set(true, topic)?;
        }
        Ok(())
    }

    /// Ends the subscription to a topic.
    pub fn unsubscribe(&mut self, topic: &[u8]) -> Result<(), TransportError> {
        if self.topics.remove(topic) {
            self.set(false, topic)?;
        }
        Ok(())
    }

    fn set(&mut self, subscribe: bool, topic: &[u8]) -> Result<(), TransportError> {
        let socket = &self.socket.inner;
        let (name, set) = if subscribe {
            ("ZMQ_SUBSCRIBE", socket.set_subscribe(topic))
        } else {
            ("ZMQ_UNSUBSCRIBE", socket.set_unsubscribe(topic))
        };
        set.map_err(|error| options::refused(name, error.into()))
    }

    /// The next message, if one is there. Its header is the topic where the publisher has topics.
    pub fn recv(&mut self) -> Result<Option<Message>, TransportError> {
        self.receive().map_err(TransportError::Receive)
    }

    fn receive(&mut self) -> Result<Option<Message>, Errno> {
        let socket = &mut self.socket.inner;
        while let Some(first) = Frame::receive(socket)? {
            // libzmq goes by the beginning of topics, which may be another topic's.
            if !self.everything && !self.topics.contains(first.bytes()) {
                message::drain(socket, &first)?;
                continue;
            }
            match message::take_rest(socket, first, None)? {
                Taken::Message(message, _) => return Ok(Some(message)),
                Taken::TooMany(_) | Taken::NotThere | Taken::Lost => self.refused += 1,
            }
        }
        Ok(None)
    }

    /// How many messages were dropped, as such that had too many frames.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// The next thing that became of the connection, of a subscriber that connects. To be asked whenever
    /// [`crate::Source::connections`] is ready.
    pub fn connection_event(&mut self) -> Result<Option<ConnectionEvent>, TransportError> {
        self.socket.connection_event()
    }
}

impl HasSocket for Subscriber {
    fn socket(&self) -> &Socket {
        &self.socket
    }
}

impl Pollable for Subscriber {}
