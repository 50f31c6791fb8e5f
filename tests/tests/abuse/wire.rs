//! Raw frames to a live agent, by the real sockets.

use std::time::Instant;

use scalems_client::protocol::Bytes;
use scalems_client::protocol::client::{
    AgentToClient, Ask, ClientHello, ClientWelcome, NamedClientToAgent, Question, Reply,
};
use scalems_client::protocol::{Code, Refusal, Role};
use scalems_tests::pilot::{PATIENCE, Pilot};
use scalems_transport::{ConnectionFile, Context, CurveClient, Dealer, Endpoint};

/// The connection file of a role.
pub(crate) fn file(pilot: &Pilot, role: Role) -> ConnectionFile {
    ConnectionFile::read(&pilot.directory().join(ConnectionFile::file_name(role))).unwrap()
}

/// A client that says what it likes.
pub(crate) struct Raw {
    dealer: Dealer,
    _context: Context,
}

impl Raw {
    /// Connects as `role` does, and says nothing.
    pub(crate) fn open(pilot: &Pilot, role: Role) -> Self {
        let file = file(pilot, role);
        Self::to(file.requests.nearest(true).unwrap(), file.curve.as_ref())
    }

    /// Connects to an address.
    pub(crate) fn to(endpoint: &Endpoint, curve: Option<&CurveClient>) -> Self {
        let context = Context::new().unwrap();
        let mut dealer = Dealer::connect(&context, endpoint, curve).unwrap();
        assert!(
            dealer.wait_connected(Instant::now() + PATIENCE).unwrap(),
            "{endpoint} is not there"
        );
        Self {
            dealer,
            _context: context,
        }
    }

    /// Connects and is let in.
    pub(crate) fn client(pilot: &Pilot) -> Self {
        let mut raw = Self::open(pilot, Role::Client);
        raw.hello(&ClientHello::default()).unwrap();
        raw
    }

    /// Says hello and hears the answer.
    pub(crate) fn hello(&mut self, hello: &ClientHello) -> Result<ClientWelcome, Refusal> {
        self.send(&NamedClientToAgent::from(hello.clone()).encode(), &[]);
        match self.answer() {
            AgentToClient::ClientWelcome(welcome) => Ok(welcome),
            AgentToClient::Refused(refused) => Err(refused.refusal),
            AgentToClient::Detached(detached) => Err(detached.refusal),
            other => panic!("{other:?}"),
        }
    }

    /// Sends a message as it is.
    pub(crate) fn send(&mut self, header: &[u8], blobs: &[Bytes]) {
        self.dealer.send(header, blobs).unwrap();
    }

    /// What the agent says next, but for its looking whether we are there.
    pub(crate) fn answer(&mut self) -> AgentToClient {
        loop {
            let message = self.dealer.recv_until(Instant::now() + PATIENCE).unwrap();
            let header = message.expect("the agent does not answer").header;
            match AgentToClient::decode(&header).unwrap() {
                AgentToClient::ClientPing(_) => {}
                other => return other,
            }
        }
    }

    /// The bytes that come next.
    pub(crate) fn raw_answer(&mut self) -> Bytes {
        self.dealer
            .recv_until(Instant::now() + PATIENCE)
            .unwrap()
            .expect("the agent does not answer")
            .header
    }

    /// Sends what has to be refused, and the code that it is refused with.
    pub(crate) fn refusal(&mut self, header: &[u8], blobs: &[Bytes]) -> Refusal {
        self.send(header, blobs);
        match self.answer() {
            AgentToClient::Refused(refused) => refused.refusal,
            other => panic!("not refused: {other:?}"),
        }
    }

    /// Asks something, to see that the agent still serves this client. Answers that come before are passed
    /// over.
    pub(crate) fn still_served(&mut self) {
        const ID: u64 = 77_777;
        let ask = Ask {
            id: ID,
            question: Question::Status,
        };
        self.send(&NamedClientToAgent::from(ask).encode(), &[]);
        loop {
            match self.answer() {
                AgentToClient::Answer(answer) if answer.id == ID => {
                    assert!(matches!(answer.reply, Reply::Status(_)));
                    return;
                }
                AgentToClient::Refused(refused) => assert_ne!(refused.id, Some(ID), "{refused:?}"),
                _ => {}
            }
        }
    }

    /// Whether the connection is turned down, or closed, rather than standing.
    pub(crate) fn is_denied(endpoint: &Endpoint, curve: Option<&CurveClient>) -> bool {
        use scalems_transport::{ConnectionEvent, Source, poll};
        let context = Context::new().unwrap();
        let mut dealer = Dealer::connect(&context, endpoint, curve).unwrap();
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "nothing became of the connection");
            poll([Source::connections(&dealer)], Some(left)).unwrap();
            while let Some(event) = dealer.connection_event().unwrap() {
                match event {
                    ConnectionEvent::Opened => return false,
                    ConnectionEvent::Denied { .. } => return true,
                    _ => {}
                }
            }
        }
    }
}

/// A header as msgpack from JSON, which has all that is needed here.
pub(crate) fn header(value: &serde_json::Value) -> Vec<u8> {
    rmp_serde::to_vec_named(value).unwrap()
}

/// Checks that a refusal has its code, and says something.
#[track_caller]
pub(crate) fn expect(refusal: &Refusal, code: Code, text: &str) {
    assert!(
        refusal.code == code && refusal.message.contains(text),
        "{refusal:?} is not {code}: {text}"
    );
}

/// Checks that the pilot works as if nothing had happened: the same agent, the same worker, tasks run.
#[track_caller]
pub(crate) fn undisturbed(pilot: &Pilot) {
    assert_eq!(
        pilot.sh("scalems submit --wait -- echo well").well().text(),
        "well"
    );
    let workers = pilot.sh("scalems --output json worker list").well().json();
    let workers = workers.as_array().unwrap();
    assert!(
        workers.len() == 1 && workers[0]["worker"] == 1 && workers[0]["state"] == "active",
        "{workers:?}"
    );
}
