//! The thread that owns a session's sockets.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use scalems_protocol::client::AgentToClient;
use scalems_protocol::event::AgentToSubscriber;
use scalems_protocol::frame::check_blobs;
use scalems_transport::connection_file::Writer;
use scalems_transport::{
    ConnectionEvent, ConnectionFile, Context, Dealer, Endpoint, Message, SendError, Source, Subscriber,
    TransportError, WakeReceiver, poll, poll_all,
};

use crate::carrier::{Carried, Carrier};
use crate::locate::host_name;
use crate::machine::{Input, Micros, SessionEnd};

/// Messages that are read before what they bring is worked off: more would only lengthen a round.
const ROUND: usize = 256;
/// How often it is looked whether the agent's process lives, while there is no connection.
const LOOK: Duration = Duration::from_secs(1);

/// The sockets of a session, and what drives them.
pub(crate) struct Driver {
    carrier: Carrier,
    context: Context,
    dealer: Dealer,
    subscriber: Option<Subscriber>,
    events: Endpoint,
    file: ConnectionFile,
    wake: WakeReceiver,
    began: Instant,
    inputs: Vec<Input>,
    carried: Vec<Carried>,
    /// What could not be sent, as the connection was not quite there.
    unsent: VecDeque<Message>,
    connected: bool,
}

impl Driver {
    pub(crate) fn new(
        carrier: Carrier,
        file: &ConnectionFile,
        endpoints: (&Endpoint, &Endpoint),
        wake: WakeReceiver,
        began: Instant,
    ) -> Result<Self, TransportError> {
        let context = Context::new()?;
        let (requests, events) = endpoints;
        let dealer = Dealer::connect(&context, requests, file.curve.as_ref())?;
        Ok(Self {
            carrier,
            context,
            dealer,
            subscriber: None,
            events: events.clone(),
            file: file.clone(),
            wake,
            began,
            inputs: Vec::new(),
            carried: Vec::new(),
            unsent: VecDeque::new(),
            connected: false,
        })
    }

    /// Runs until the session is over.
    pub(crate) fn run(mut self) {
        while self.carrier.machine().over().is_none() {
            if let Err(error) = self.round() {
                tracing::error!(%error, "a session's sockets failed");
                let now = self.now();
                self.carrier.step(
                    now,
                    [Input::End(SessionEnd::Failed(error.to_string()))],
                    &mut self.carried,
                );
            }
        }
        // Goodbye is the last word; libzmq goes on sending it for a bounded time.
        self.send();
    }

    fn now(&self) -> Micros {
        self.began.elapsed().as_micros() as Micros
    }

    fn round(&mut self) -> Result<(), TransportError> {
        self.wait()?;
        self.wake.reset();
        self.connection()?;
        self.look();
        self.receive()?;
        let now = self.now();
        let inputs = std::mem::take(&mut self.inputs);
        self.carrier.step(now, inputs, &mut self.carried);
        self.listen()?;
        self.send();
        Ok(())
    }

    fn wait(&self) -> Result<(), TransportError> {
        let now = self.now();
        let left = self
            .carrier
            .deadline(now)
            .map(|deadline| Duration::from_micros(deadline.saturating_sub(now)));
        let left = match left {
            _ if !self.inputs.is_empty() => Some(Duration::ZERO),
            left if self.connected => left,
            left => Some(left.map_or(LOOK, |left| left.min(LOOK))),
        };
        let dealer = if self.unsent.is_empty() {
            Source::readable(&self.dealer)
        } else {
            Source::readable_or_writable(&self.dealer)
        };
        let common = [
            Source::connections(&self.dealer),
            Source::wake(&self.wake),
            dealer,
        ];
        match &self.subscriber {
            None => {
                poll(common, left)?;
            }
            Some(subscriber) => {
                let mut sources = Vec::from(common);
                sources.extend([Source::readable(subscriber), Source::connections(subscriber)]);
                poll_all(sources, left)?;
            }
        }
        Ok(())
    }

    /// Takes in what became of the connections.
    fn connection(&mut self) -> Result<(), TransportError> {
        while let Some(event) = self.dealer.connection_event()? {
            match event {
                ConnectionEvent::Opened => {
                    self.connected = true;
                    self.unsent.clear();
                    self.inputs.push(Input::Connected);
                }
                ConnectionEvent::Closed => {
                    if std::mem::take(&mut self.connected) {
                        // What a connection brought comes before its end, such as the agent's last word.
                        while self.receive()? {}
                        self.unsent.clear();
                        self.inputs.push(Input::Disconnected);
                    }
                }
                ConnectionEvent::Denied { status } => {
                    let why =
                        format!("the agent does not accept the connection file's key (status {status})");
                    self.inputs.push(Input::End(SessionEnd::Failed(why)));
                }
                ConnectionEvent::Failed => tracing::debug!("a handshake with the agent failed; trying again"),
            }
        }
        if let Some(subscriber) = &mut self.subscriber {
            // Events may be lost; what became of their connection shows in their numbers.
            while subscriber.connection_event()?.is_some() {}
        }
        Ok(())
    }

    /// Takes in what has come, up to a round's share. Returns whether there may be more of the agent's.
    /// Without a connection: whether there is anybody to wait for. An agent with a journal may be started
    /// again; without one its death is the pilot's.
    fn look(&mut self) {
        let lost = !self.connected && self.carrier.keeps_no_journal();
        if lost && self.file.writer(&host_name()) == Writer::Gone {
            let (pid, host) = (self.file.pid, self.file.host.clone());
            self.inputs.push(Input::End(SessionEnd::PilotEnded { pid, host }));
        }
    }

    fn receive(&mut self) -> Result<bool, TransportError> {
        let mut more = true;
        for _ in 0..ROUND {
            let message = match self.dealer.recv() {
                Ok(Some(message)) => message,
                Ok(None) => {
                    more = false;
                    break;
                }
                Err(error @ TransportError::TooManyFrames { .. }) => {
                    tracing::warn!(%error, "dropped a message of the agent");
                    continue;
                }
                Err(error) => return Err(error),
            };
            let decoded = check_blobs(&message.blobs).and_then(|()| AgentToClient::decode(&message.header));
            match decoded {
                Ok(decoded) => self.inputs.push(Input::Message(decoded, message.blobs)),
                Err(error) => tracing::warn!(%error, "dropped a message of the agent that cannot be read"),
            }
        }
        let Some(subscriber) = &mut self.subscriber else {
            return Ok(more);
        };
        for _ in 0..ROUND {
            let Some(message) = subscriber.recv()? else { break };
            let [event] = &message.blobs[..] else {
                tracing::warn!(
                    frames = message.blobs.len(),
                    "dropped an event that has not two frames"
                );
                continue;
            };
            match AgentToSubscriber::decode(event) {
                Ok(AgentToSubscriber::Event(event)) => self.inputs.push(Input::Event(event)),
                Err(error) => tracing::warn!(%error, "dropped an event that cannot be read"),
            }
        }
        Ok(more)
    }

    /// Subscribes and unsubscribes as was asked; the socket for it is opened when it is first needed.
    fn listen(&mut self) -> Result<(), TransportError> {
        for carried in &self.carried {
            match carried {
                Carried::Send(..) => {}
                Carried::Subscribe(topic) => {
                    if self.subscriber.is_none() {
                        let curve = self.file.curve.as_ref();
                        self.subscriber = Some(Subscriber::connect(&self.context, &self.events, curve)?);
                    }
                    if let Some(subscriber) = &mut self.subscriber {
                        subscriber.subscribe(topic.name().as_bytes())?;
                    }
                }
                Carried::Unsubscribe(topic) => {
                    if let Some(subscriber) = &mut self.subscriber {
                        subscriber.unsubscribe(topic.name().as_bytes())?;
                    }
                }
            }
        }
        Ok(())
    }

    fn send(&mut self) {
        for carried in std::mem::take(&mut self.carried) {
            if let Carried::Send(message, blobs) = carried {
                let header = match message {
                    scalems_protocol::client::ClientToAgent::Named(named) => named.encode(),
                    scalems_protocol::client::ClientToAgent::Envelope(_) => {
                        unreachable!("the machine names its messages")
                    }
                };
                self.unsent.push_back(Message {
                    header: header.into(),
                    blobs,
                });
            }
        }
        while let Some(message) = self.unsent.pop_front() {
            match self.dealer.send_message(&message) {
                Ok(()) => {}
                Err(SendError::Full | SendError::Gone) => {
                    // The handshake was told of before the connection can be used, or the connection is gone
                    // and that will be told. Then all of these are cleared and said again.
                    self.unsent.push_front(message);
                    break;
                }
                Err(error @ (SendError::TooLarge | SendError::Failed(_))) => {
                    tracing::error!(%error, "a message to the agent could not be sent");
                    let why = format!("cannot send to the agent: {error}");
                    self.inputs.push(Input::End(SessionEnd::Failed(why)));
                }
            }
        }
    }
}
