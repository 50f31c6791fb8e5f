//! The client's or worker's end of requests: a DEALER with one connection.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::context::Context;
use crate::endpoint::Endpoint;
use crate::error::{SendError, TransportError};
use crate::keys::CurveClient;
use crate::message::{self, Large, Message, Part, Taken};
use crate::monitor::ConnectionEvent;
use crate::options::Use;
use crate::poll::{Pollable, Source, poll, sealed::HasSocket};
use crate::raw::Frame;
use crate::shelf::{End, Shelf};
use crate::socket::Socket;

/// A DEALER. It connects, and after a break connects again, by itself. Nothing is queued while there is no
/// connection, and what was queued when one broke is gone: the first message of a connection is a hello.
pub struct Dealer {
    socket: Socket,
    endpoint: Endpoint,
    shelf: Option<Shelf>,
    /// The agent was not told yet that we take what lies on the shelf.
    announce: bool,
    /// Something was not there: from then on everything goes through the socket.
    without_shelf: bool,
}

impl Dealer {
    /// A dealer that connects to `endpoint`, which nobody needs to listen at yet. TCP needs `curve`.
    pub fn connect(
        context: &Context,
        endpoint: &Endpoint,
        curve: Option<&CurveClient>,
    ) -> Result<Self, TransportError> {
        let mut socket = Socket::open(context, Use::Dealer)?;
        // Before it connects, so that the first connection is told as well.
        socket.watch()?;
        socket.connect(endpoint, curve)?;
        Ok(Self {
            socket,
            endpoint: endpoint.clone(),
            shelf: None,
            announce: false,
            without_shelf: false,
        })
    }

    /// Sends a message as a whole or not at all, without waiting. Without a finished connection that is
    /// [`SendError::Full`].
    pub fn send(&mut self, header: &[u8], blobs: &[Bytes]) -> Result<(), SendError> {
        self.send_parts(&Part::Borrowed(header), blobs)
    }

    /// As [`Self::send`]; a large header is not copied.
    pub fn send_message(&mut self, message: &Message) -> Result<(), SendError> {
        self.send_parts(&Part::Counted(&message.header), &message.blobs)
    }

    fn send_parts(&mut self, header: &Part<'_>, blobs: &[Bytes]) -> Result<(), SendError> {
        message::check(header, blobs)?;
        let large = match &self.shelf {
            Some(place) => Large::put(place, End::AGENT, self.announce, blobs),
            None => Large::none(),
        };
        message::send(&mut self.socket.inner, header, blobs, large)?;
        self.announce = false;
        Ok(())
    }

    /// The next message, if one is there. [`TransportError::TooManyFrames`] leaves the dealer usable.
    pub fn recv(&mut self) -> Result<Option<Message>, TransportError> {
        let socket = &mut self.socket.inner;
        let Some(first) = Frame::receive(socket).map_err(TransportError::Receive)? else {
            return Ok(None);
        };
        match message::take_rest(socket, first, self.shelf.as_ref()).map_err(TransportError::Receive)? {
            Taken::Message(message, _) => Ok(Some(message)),
            Taken::TooMany(frames) => Err(TransportError::TooManyFrames { frames }),
            Taken::NotThere | Taken::Lost => {
                self.connect_again()?;
                Ok(None)
            }
        }
    }

    /// A message is missing, of ours or of the agent's. As with a connection that broke, both find that out when they say
    /// hello again.
    fn connect_again(&mut self) -> Result<(), TransportError> {
        self.without_shelf = true;
        self.shelf = None;
        self.announce = false;
        self.socket.connect_again(&self.endpoint)
    }

    /// A connection is new: so may be the agent, and its shelf.
    fn look_for_shelf(&mut self) {
        let Endpoint::Ipc { path } = &self.endpoint else {
            return;
        };
        if !self.without_shelf {
            self.shelf = path.parent().and_then(Shelf::beside);
            self.announce = self.shelf.is_some();
        }
    }

    /// The next message, waited for until the deadline.
    pub fn recv_until(&mut self, deadline: Instant) -> Result<Option<Message>, TransportError> {
        loop {
            if let Some(message) = self.recv()? {
                return Ok(Some(message));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left == Duration::ZERO {
                return Ok(None);
            }
            poll([Source::readable(self)], Some(left))?;
        }
    }

    /// Whether there is a connection before the deadline.
    pub fn wait_connected(&mut self, deadline: Instant) -> Result<bool, TransportError> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let [ready] = poll([Source::writable(self)], Some(left))?;
            if ready.writable || left == Duration::ZERO {
                return Ok(ready.writable);
            }
        }
    }

    /// The next thing that became of the connection, if there is one: opened (hello is due), closed, denied
    /// (this key will not do). To be asked whenever [`Source::connections`] is ready.
    pub fn connection_event(&mut self) -> Result<Option<ConnectionEvent>, TransportError> {
        let event = self.socket.connection_event()?;
        if event == Some(ConnectionEvent::Opened) {
            self.look_for_shelf();
        }
        Ok(event)
    }
}

impl HasSocket for Dealer {
    fn socket(&self) -> &Socket {
        &self.socket
    }
}

impl Pollable for Dealer {}
