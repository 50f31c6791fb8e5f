//! The small agent behind real sockets, with a thread of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use scalems_protocol::client::ClientToAgent;
use scalems_protocol::event::{AgentToSubscriber, Body, Event};
use scalems_protocol::{Bytes, Role};
use scalems_transport::connection_file::{Addresses, start_time};
use scalems_transport::{
    ConnectionFile, Context, CurveClient, Endpoint, EventPublisher, Incoming, IpcDomain, KeyPair, Message,
    PeerId, PrivateDir, Router, Source, TcpDomain, WakeReceiver, Waker, Zap, poll,
};

use crate::fake::{Fake, Said, alarm};

/// What the test wants of the agent.
enum Order {
    /// End what is held.
    Release,
    /// Publish an alarm.
    Alarm,
    /// Close the sockets and hand the state back.
    Stop(Sender<Fake>),
    /// The same once a goodbye was heard.
    StopAfterGoodbye(Sender<Fake>),
}

/// An agent that runs.
pub(crate) struct Server {
    orders: Sender<Order>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
    directory: PathBuf,
}

struct Sockets {
    router: Router,
    publisher: EventPublisher,
    fake: Fake,
    peer: Option<PeerId>,
    orders: Receiver<Order>,
    wake: WakeReceiver,
    // Last, so that the sockets go first.
    _zap: Zap,
}

/// How clients come in.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Door {
    Ipc,
    /// With keys; those in the file are known to the agent, or not.
    Tcp {
        known: bool,
    },
}

impl Server {
    pub(crate) fn start(directory: &Path, fake: Fake, door: Door) -> Self {
        Self::start_as(directory, fake, door, std::process::id())
    }

    /// A server that says in its file that it is process `pid`.
    pub(crate) fn start_as(directory: &Path, fake: Fake, door: Door, pid: u32) -> Self {
        let (orders, receiver) = mpsc::channel();
        let (waker, wake) = Waker::pair().unwrap();
        let private = PrivateDir::ensure(directory).unwrap();
        let context = Context::new().unwrap();
        let zap = Zap::start(&context).unwrap();
        let mut router = Router::new(&context).unwrap();
        let mut publisher = EventPublisher::new(&context).unwrap();
        let mut curve = None;
        let (requests, stream) = match door {
            Door::Ipc => {
                let requests = router.bind_ipc(&zap, IpcDomain::Client, &private).unwrap();
                let stream = publisher.bind_ipc(&zap, IpcDomain::Events, &private).unwrap();
                (
                    Addresses {
                        ipc: Some(requests),
                        tcp: None,
                    },
                    Addresses {
                        ipc: Some(stream),
                        tcp: None,
                    },
                )
            }
            Door::Tcp { known } => {
                let server = KeyPair::generate().unwrap();
                let keys = KeyPair::generate().unwrap();
                if known {
                    zap.admit(keys.public, Role::Client);
                }
                let permit = zap.self_test(Duration::from_secs(20)).unwrap();
                let host = std::net::IpAddr::from([127, 0, 0, 1]);
                let requests = router
                    .bind_tcp(&permit, TcpDomain::Frontend, host, 0, &server)
                    .unwrap();
                let stream = publisher
                    .bind_tcp(&permit, TcpDomain::Events, host, 0, &server)
                    .unwrap();
                curve = Some(CurveClient {
                    server: server.public,
                    keys,
                });
                let tcp = |port| Addresses {
                    ipc: None,
                    tcp: Some(Endpoint::tcp("127.0.0.1", port).unwrap()),
                };
                (tcp(requests), tcp(stream))
            }
        };
        let file = ConnectionFile {
            pilot: "fake".into(),
            pilot_id: fake.pilot,
            incarnation: 1,
            host: hostname::get().unwrap().into_string().unwrap(),
            pid,
            start_time: start_time(pid),
            role: Role::Client,
            requests,
            stream,
            curve,
        };
        file.write(&private).unwrap();
        let sockets = Sockets {
            router,
            publisher,
            fake,
            peer: None,
            orders: receiver,
            wake,
            _zap: zap,
        };
        let thread = std::thread::spawn(move || sockets.run());
        Self {
            orders,
            waker,
            thread: Some(thread),
            directory: directory.to_owned(),
        }
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    fn order(&self, order: Order) {
        self.orders.send(order).unwrap();
        self.waker.wake();
    }

    pub(crate) fn release(&self) {
        self.order(Order::Release);
    }

    pub(crate) fn alarm(&self) {
        self.order(Order::Alarm);
    }

    /// Closes the sockets and gives the state back.
    pub(crate) fn stop(self) -> Fake {
        self.stop_by(Order::Stop)
    }

    /// The same once a goodbye was heard: whoever is told that its session is over may hear so before it has come.
    pub(crate) fn stop_after_goodbye(self) -> Fake {
        self.stop_by(Order::StopAfterGoodbye)
    }

    fn stop_by(mut self, order: impl FnOnce(Sender<Fake>) -> Order) -> Fake {
        let (sender, receiver) = mpsc::channel();
        self.order(order(sender));
        let fake = receiver.recv_timeout(Duration::from_secs(20)).unwrap();
        self.thread.take().unwrap().join().unwrap();
        fake
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            let (sender, _receiver) = mpsc::channel();
            self.order(Order::Stop(sender));
            thread.join().unwrap();
        }
    }
}

impl Sockets {
    fn run(mut self) {
        let (mut stopped, mut leaving) = (None, None);
        while stopped.is_none() {
            let sources = [
                Source::readable(&self.router),
                Source::readable(&self.publisher),
                Source::wake(&self.wake),
            ];
            poll(sources, Some(Duration::from_mins(1))).unwrap();
            self.wake.reset();
            let orders: Vec<Order> = self.orders.try_iter().collect();
            for order in orders {
                match order {
                    Order::Release => {
                        let said = self.fake.release();
                        self.say(said);
                    }
                    Order::Alarm => {
                        self.fake.alarms += 1;
                        let seq = self.fake.alarms;
                        self.publish(Body::Alarms {
                            alarms: vec![alarm(seq)],
                        });
                    }
                    Order::Stop(sender) => stopped = Some(sender),
                    Order::StopAfterGoodbye(sender) => leaving = Some(sender),
                }
            }
            while let Some(incoming) = self.router.recv().unwrap() {
                let Incoming::Message(received) = incoming else {
                    panic!("{incoming:?}")
                };
                if self.peer != Some(received.peer) {
                    self.fake.detach();
                    self.peer = Some(received.peer);
                }
                let Message { header, blobs } = received.message;
                let (message, blobs) = ClientToAgent::decode_frames(&header, blobs).unwrap();
                let said = self.fake.take(&message, &blobs);
                self.say(said);
            }
            if self.fake.heard.contains(&"goodbye") {
                stopped = stopped.or(leaving.take());
            }
            while let Some(subscription) = self.publisher.subscription().unwrap() {
                if subscription.subscribed {
                    assert_eq!(&subscription.topic[..], b"alarms");
                    self.publish(Body::Open);
                }
            }
        }
        let Self {
            fake,
            router,
            publisher,
            ..
        } = self;
        drop((router, publisher));
        if let Some(stopped) = stopped {
            // A server that is dropped does not want it back.
            drop(stopped.send(fake));
        }
    }

    fn say(&mut self, said: Vec<Said>) {
        let Some(peer) = self.peer else { return };
        for (message, blobs) in said {
            let (header, blobs) = message.encode_frames(&blobs);
            let sent = self.router.send(peer, &header, blobs);
            // The client may be gone already.
            if sent.is_err() {
                self.fake.detach();
            }
        }
    }

    fn publish(&mut self, body: Body) {
        let event = Event {
            incarnation: 1,
            topic: "alarms".into(),
            seq: self.fake.alarms,
            body,
        };
        let frame = Bytes::from(AgentToSubscriber::from(event).encode());
        self.publisher.send(b"alarms", &[frame]).unwrap();
    }
}

/// How often each message was heard.
pub(crate) fn tally(fake: &Fake) -> BTreeMap<&'static str, usize> {
    let mut tally = BTreeMap::new();
    for name in &fake.heard {
        *tally.entry(*name).or_default() += 1;
    }
    tally
}
