//! Clients that die between what they say and the answer.

use std::time::Instant;

use scalems_client::protocol::client::{
    AgentToClient, ClientHello, ClientWelcome, NamedClientToAgent, Submit,
};
use scalems_client::protocol::task::Template;
use scalems_client::protocol::{Bytes, Role};
use scalems_tests::pilot::{PATIENCE, Pilot};
use scalems_tests::sim::random::Random;
use scalems_transport::{ConnectionFile, Context, Dealer};

/// A client's process, as far as the agent can tell.
struct Client {
    dealer: Dealer,
    // Dropped after its socket, with nothing left to say.
    _context: Context,
}

impl Client {
    /// Opens the session, and says which requests the agent knows.
    fn begin(pilot: &Pilot) -> (Self, ClientWelcome) {
        let file =
            ConnectionFile::read(&pilot.directory().join(ConnectionFile::file_name(Role::Client))).unwrap();
        let context = Context::new().unwrap();
        let mut dealer = Dealer::connect(&context, file.requests.nearest(true).unwrap(), None).unwrap();
        assert!(dealer.wait_connected(Instant::now() + PATIENCE).unwrap());
        let mut client = Self {
            dealer,
            _context: context,
        };
        client.say(ClientHello {
            session: "shaky".into(),
            takeover: true,
            ..ClientHello::default()
        });
        loop {
            let message = client
                .dealer
                .recv_until(Instant::now() + PATIENCE)
                .unwrap()
                .unwrap();
            match AgentToClient::decode_frames(&message.header, message.blobs)
                .unwrap()
                .0
            {
                AgentToClient::ClientWelcome(welcome) => return (client, welcome),
                AgentToClient::ClientPing(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn say(&mut self, message: impl Into<NamedClientToAgent>) {
        let message = message.into();
        self.dealer.send(&message.encode(), &[] as &[Bytes]).unwrap();
    }
}

fn template(uid: String) -> Template {
    let task = scalems_client::Task::new("scalems.noop").uid(uid);
    task.template().clone()
}

#[test]
fn a_client_that_dies_before_the_answer_submits_once() {
    let count = super::rounds(200, 5_000);
    let pilot = Pilot::start("--cores 2");
    let mut random = Random::new(3, 78);
    let mut next = 1;
    let mut lives = 0;
    while next <= u64::from(count) {
        lives += 1;
        assert!(lives <= 20 * count, "{lives} lives for {next} requests");
        let (mut client, welcome) = Client::begin(&pilot);
        assert!(
            welcome.request_high + 1 == next || welcome.request_high == next,
            "request {next}, and {} is known",
            welcome.request_high
        );
        next = welcome.request_high + 1;
        if next > u64::from(count) {
            break;
        }
        client.say(Submit {
            request: next,
            low_water: 0,
            count: 1,
            task: template(format!("u-{next}")),
            first: 0,
            step: 1,
            ends: Vec::new(),
            streaming: random.percent(50),
            open: false,
            total: None,
        });
        // It may die at once, or hear something first.
        if random.percent(50) {
            let until = Instant::now() + std::time::Duration::from_micros(random.within(0, 3_000));
            let _heard = client.dealer.recv_until(until).unwrap();
        }
    }
    let session = pilot.session();
    let tasks = session.ask_status().unwrap();
    assert_eq!(
        (tasks.submissions, tasks.tasks.finished() <= count.into()),
        (count.into(), true)
    );
    drop(session);
    pilot.stop();
}
