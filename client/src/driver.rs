//! The thread that owns a session's sockets.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use scalems_protocol::client::AgentToClient;
use scalems_protocol::event::AgentToSubscriber;
use scalems_transport::connection_file::Writer;
use scalems_transport::{
    ConnectionEvent, ConnectionFile, Context, Dealer, Endpoint, Message, Ready, SendError, Source,
    Subscriber, TransportError, WakeReceiver, poll,
};

use crate::carrier::{Carried, Carrier};
use crate::locate::{Located, host_name};
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
    /// Where that came from: another life of the agent may have other addresses.
    path: PathBuf,
    wake: WakeReceiver,
    began: Instant,
    inputs: Vec<Input>,
    carried: Vec<Carried>,
    /// What could not be sent, as the connection was not quite there.
    unsent: VecDeque<Message>,
    connected: bool,
    /// When it was last looked for the agent.
    looked: Option<Instant>,
}

impl Driver {
    pub(crate) fn new(
        carrier: Carrier,
        located: &Located,
        endpoints: (&Endpoint, &Endpoint),
        wake: WakeReceiver,
        began: Instant,
    ) -> Result<Self, TransportError> {
        let context = Context::new()?;
        let file = &located.file;
        let (requests, events) = endpoints;
        let dealer = Dealer::connect(&context, requests, file.curve.as_ref())?;
        Ok(Self {
            carrier,
            context,
            dealer,
            subscriber: None,
            events: events.clone(),
            file: file.clone(),
            path: located.path.clone(),
            wake,
            began,
            inputs: Vec::new(),
            carried: Vec::new(),
            unsent: VecDeque::new(),
            connected: false,
            looked: None,
        })
    }

    /// Callbacks run on the session's own thread: others that steer leave them to it.
    pub(crate) fn hold_callbacks(&mut self, hold: bool) {
        self.carrier.hold_callbacks(hold);
    }

    /// Whether the session is over: then nothing is left to do but to drop this.
    pub(crate) fn is_over(&self) -> bool {
        self.carrier.machine().over().is_some()
    }

    fn now(&self) -> Micros {
        self.began.elapsed().as_micros() as Micros
    }

    /// Waits for something to happen, at most until `limit`, and sees to it.
    pub(crate) fn round(&mut self, limit: Option<Instant>) {
        let heard = self.hear(limit);
        self.survive(heard);
        self.work();
    }

    /// Takes up what was submitted, works off what has come, and sends what is to be sent. If the session is
    /// over by that, goodbye was the last word; libzmq goes on sending it for a bounded time.
    pub(crate) fn work(&mut self) {
        let now = self.now();
        let inputs = std::mem::take(&mut self.inputs);
        self.carrier.step(now, inputs, &mut self.carried);
        let listened = self.listen();
        self.send();
        self.survive(listened);
    }

    /// Sockets that fail end the session.
    fn survive(&mut self, result: Result<(), TransportError>) {
        if let Err(error) = result {
            tracing::error!(%error, "a session's sockets failed");
            self.inputs
                .push(Input::End(SessionEnd::Failed(error.to_string())));
        }
    }

    fn hear(&mut self, limit: Option<Instant>) -> Result<(), TransportError> {
        let [connections, wake, messages] = self.wait(limit)?;
        if wake.any() {
            self.wake.reset();
        }
        if connections.any() {
            self.connection()?;
        }
        self.look()?;
        if messages.any() {
            self.receive()?;
        }
        Ok(())
    }

    /// Waits; says whether there is something of connections, of other threads, and of the agent.
    fn wait(&self, limit: Option<Instant>) -> Result<[Ready; 3], TransportError> {
        let now = self.now();
        let due = self.carrier.deadline(now);
        let due = due.map(|due| Duration::from_micros(due.saturating_sub(now)));
        let limit = limit.map(|limit| limit.saturating_duration_since(Instant::now()));
        let look = (!self.connected).then_some(LOOK);
        let more = (!self.inputs.is_empty()).then_some(Duration::ZERO);
        let left = [due, limit, look, more].into_iter().flatten().min();
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
        let Some(subscriber) = &self.subscriber else {
            return poll(common, left);
        };
        let [connections, wake, messages, events, stream] = {
            let [connections, wake, messages] = common;
            let (events, stream) = (Source::readable(subscriber), Source::connections(subscriber));
            poll([connections, wake, messages, events, stream], left)?
        };
        Ok([connections.or(stream), wake, messages.or(events)])
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

    /// Without a connection: whether there is anybody to wait for. An agent with a journal may be started
    /// again; without one its death is the pilot's.
    fn look(&mut self) -> Result<(), TransportError> {
        if self.connected || self.looked.is_some_and(|at| at.elapsed() < LOOK) {
            return Ok(());
        }
        self.looked = Some(Instant::now());
        if !self.carrier.keeps_no_journal() {
            return self.look_elsewhere();
        }
        if self.file.writer(&host_name()) == Writer::Gone {
            let (pid, host) = (self.file.pid, self.file.host.clone());
            self.inputs.push(Input::End(SessionEnd::PilotEnded { pid, host }));
        }
        Ok(())
    }

    /// Connects to where the connection file says now, if that is elsewhere. While the agent is away the file may be
    /// as well.
    fn look_elsewhere(&mut self) -> Result<(), TransportError> {
        let Ok(file) = ConnectionFile::read(&self.path) else {
            return Ok(());
        };
        let same = |a: &ConnectionFile, b: &ConnectionFile| {
            (&a.requests, &a.stream, &a.curve) == (&b.requests, &b.stream, &b.curve)
        };
        if file.role != self.file.role || same(&file, &self.file) {
            return Ok(());
        }
        let here = file.host == host_name();
        let Some((requests, events)) = file.requests.nearest(here).zip(file.stream.nearest(here)) else {
            return Ok(());
        };
        tracing::info!(host = file.host, "the agent is reached at another address now");
        self.dealer = Dealer::connect(&self.context, requests, file.curve.as_ref())?;
        self.events = events.clone();
        if let Some(before) = self.subscriber.take() {
            let mut subscriber = Subscriber::connect(&self.context, events, file.curve.as_ref())?;
            for topic in self.carrier.topics() {
                subscriber.subscribe(topic.name().as_bytes())?;
            }
            drop(before);
            self.subscriber = Some(subscriber);
        }
        self.file = file;
        self.unsent.clear();
        Ok(())
    }

    /// Takes in what has come, up to a round's share. Returns whether there may be more of the agent's.
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
            match AgentToClient::decode_frames(&message.header, message.blobs) {
                Ok((decoded, blobs)) => self.inputs.push(Input::Message(decoded, blobs)),
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
                let scalems_protocol::client::ClientToAgent::Named(message) = message else {
                    unreachable!("the machine names its messages")
                };
                let (header, blobs) = message.encode_frames(&blobs);
                self.unsent.push_back(Message {
                    header: header.into(),
                    blobs: blobs.to_vec(),
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
