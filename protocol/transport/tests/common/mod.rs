//! What the tests with real sockets share. Every wait has a deadline and ends by an event.
#![allow(dead_code, reason = "each test program uses some of it")]

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use bytes::Bytes;
use scalems_protocol::Role;
use scalems_transport::{
    ConnectionEvent, Context, CurveClient, Dealer, Endpoint, Incoming, KeyPair, Message, PeerId, PrivateDir,
    Ready, Received, Router, Source, TcpDomain, Zap, poll,
};

/// Far longer than anything here takes: it ends a test that would hang.
pub(crate) const LONG: Duration = Duration::from_secs(20);
pub(crate) const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// An agent's surroundings: context, authentication, private directory and keys.
pub(crate) struct World {
    pub(crate) zap: Zap,
    pub(crate) context: Context,
    pub(crate) directory: PrivateDir,
    pub(crate) server: KeyPair,
    _files: tempfile::TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        let context = Context::new().unwrap();
        let files = tempfile::tempdir().unwrap();
        Self {
            zap: Zap::start(&context).unwrap(),
            context,
            directory: PrivateDir::ensure(&files.path().join("pilot")).unwrap(),
            server: KeyPair::generate().unwrap(),
            _files: files,
        }
    }

    pub(crate) fn router(&self) -> Router {
        let mut router = Router::new(&self.context).unwrap();
        router.watch().unwrap();
        router
    }

    /// A client's keys of which the agent knows the role, or not.
    pub(crate) fn keys(&self, role: Option<Role>) -> CurveClient {
        let keys = KeyPair::generate().unwrap();
        if let Some(role) = role {
            self.zap.admit(keys.public, role);
        }
        CurveClient {
            server: self.server.public,
            keys,
        }
    }

    pub(crate) fn listen_tcp(&self, router: &mut Router, domain: TcpDomain) -> Endpoint {
        let permit = self.zap.self_test(LONG).unwrap();
        let port = router
            .bind_tcp(&permit, domain, LOCALHOST, 0, &self.server)
            .unwrap();
        Endpoint::tcp("127.0.0.1", port).unwrap()
    }

    pub(crate) fn dealer(&self, endpoint: &Endpoint) -> Dealer {
        connected(Dealer::connect(&self.context, endpoint, None).unwrap())
    }

    pub(crate) fn dealer_tcp(&self, endpoint: &Endpoint, keys: &CurveClient) -> Dealer {
        connected(Dealer::connect(&self.context, endpoint, Some(keys)).unwrap())
    }
}

pub(crate) fn connected(mut dealer: Dealer) -> Dealer {
    assert!(dealer.wait_connected(deadline()).unwrap(), "no connection");
    dealer
}

pub(crate) fn deadline() -> Instant {
    Instant::now() + LONG
}

/// What the router gets next.
pub(crate) fn incoming(router: &mut Router) -> Incoming {
    let deadline = deadline();
    loop {
        if let Some(incoming) = router.recv().unwrap() {
            return incoming;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        assert_ne!(left, Duration::ZERO, "nothing came");
        poll([Source::readable(router)], Some(left)).unwrap();
    }
}

pub(crate) fn received(router: &mut Router) -> Received {
    match incoming(router) {
        Incoming::Message(received) => received,
        refused @ Incoming::Refused { .. } => panic!("{refused:?}"),
    }
}

/// What becomes of a connection next, but for `Closed`, which may come late from another.
pub(crate) fn verdict(router: &mut Router) -> ConnectionEvent {
    let deadline = deadline();
    loop {
        match router.connection_event().unwrap() {
            Some(ConnectionEvent::Closed) => continue,
            Some(event) => return event,
            None => {}
        }
        let left = deadline.saturating_duration_since(Instant::now());
        assert_ne!(left, Duration::ZERO, "nothing became of the connection");
        let [Ready { .. }] = poll([Source::connections(router)], Some(left)).unwrap();
    }
}

/// Waits until a connection has ended.
pub(crate) fn closed(router: &mut Router) {
    let deadline = deadline();
    while router.connection_event().unwrap() != Some(ConnectionEvent::Closed) {
        let left = deadline.saturating_duration_since(Instant::now());
        assert_ne!(left, Duration::ZERO, "no connection was closed");
        poll([Source::connections(router)], Some(left)).unwrap();
    }
}

/// A message there and one back.
pub(crate) fn round_trip(router: &mut Router, dealer: &mut Dealer, role: Role) -> PeerId {
    dealer.send(b"there", &[]).unwrap();
    let received = received(router);
    assert_eq!(received.role, role);
    assert_eq!(received.message, message(b"there", &[]));
    router.send(received.peer, b"back", &[]).unwrap();
    let back = dealer.recv_until(deadline()).unwrap();
    assert_eq!(back, Some(message(b"back", &[])));
    received.peer
}

pub(crate) fn message(header: &'static [u8], blobs: &[Bytes]) -> Message {
    Message {
        header: Bytes::from_static(header),
        blobs: blobs.to_vec(),
    }
}

/// A peer that speaks ZMTP 3.0 with the NULL mechanism by hand and says of itself what it likes.
pub(crate) fn handmade_peer(endpoint: &Endpoint, properties: &[(&str, &[u8])]) -> UnixStream {
    let Endpoint::Ipc { path } = endpoint else {
        panic!("{endpoint} is not ipc")
    };
    let mut stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.set_write_timeout(Some(LONG)).unwrap();

    let mut greeting = [0; 64];
    greeting[0] = 0xff;
    greeting[9] = 0x7f;
    greeting[10] = 3;
    greeting[12..16].copy_from_slice(b"NULL");
    stream.write_all(&greeting).unwrap();
    stream.read_exact(&mut [0; 64]).unwrap();

    let mut ready = b"\x05READY".to_vec();
    for (name, value) in properties {
        ready.push(u8::try_from(name.len()).unwrap());
        ready.extend(name.as_bytes());
        ready.extend(u32::try_from(value.len()).unwrap().to_be_bytes());
        ready.extend(*value);
    }
    stream
        .write_all(&[4, u8::try_from(ready.len()).unwrap()])
        .unwrap();
    stream.write_all(&ready).unwrap();
    // Its answer comes once the authentication has agreed; what is sent before would break the handshake.
    let mut head = [0; 2];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(head[0], 4, "not a short command");
    stream.read_exact(&mut vec![0; head[1].into()]).unwrap();
    stream
}

/// Sends a short message of one frame from such a peer.
pub(crate) fn send_by_hand(stream: &mut UnixStream, header: &[u8]) {
    stream
        .write_all(&[0, u8::try_from(header.len()).unwrap()])
        .unwrap();
    stream.write_all(header).unwrap();
}
