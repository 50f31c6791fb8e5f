//! Large blobs that lie in shared memory instead of going through a socket file.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use bytes::Bytes;
use common::{LONG, World, deadline, incoming, message, received, round_trip};
use scalems_protocol::Role;
use scalems_transport::{
    AgentShelf, ConnectionEvent, Dealer, Endpoint, Incoming, IpcDomain, Refusal, Router, Source, TcpDomain,
    poll,
};

const LARGE: usize = 1 << 20;

fn large(of: u8) -> Bytes {
    (0..LARGE).map(|at| of ^ (at % 251) as u8).collect()
}

/// An agent with a shelf.
struct Agent {
    world: World,
    router: Router,
    endpoint: Endpoint,
    shelf: PathBuf,
    _shelf: AgentShelf,
}

impl Agent {
    fn new() -> Self {
        let world = World::new();
        let shelf = AgentShelf::make(&world.directory).unwrap();
        let mut router = world.router();
        router.use_shelf(&shelf);
        let endpoint = router
            .bind_ipc(&world.zap, IpcDomain::Worker, &world.directory)
            .unwrap();
        Self {
            router,
            endpoint,
            shelf: fs::read_link(world.directory.path().join("shelf")).unwrap(),
            world,
            _shelf: shelf,
        }
    }

    /// A peer that has heard of its connection, as all of ours have before they say hello.
    fn peer(&self) -> Dealer {
        let mut dealer = self.world.dealer(&self.endpoint);
        opened(&mut dealer);
        dealer
    }

    fn blobs(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.shelf).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths
            .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("blob-"))
            .collect()
    }
}

/// Waits for a new connection, and says whether one ended before.
fn opened(dealer: &mut Dealer) -> bool {
    let (deadline, mut ended) = (deadline(), false);
    loop {
        match dealer.connection_event().unwrap() {
            Some(ConnectionEvent::Opened) => break,
            Some(ConnectionEvent::Closed) => ended = true,
            Some(event) => panic!("{event:?}"),
            None => {
                assert!(Instant::now() < deadline, "no connection was opened");
                poll([Source::connections(dealer)], Some(LONG)).unwrap();
            }
        }
    }
    assert!(dealer.wait_connected(deadline).unwrap(), "no connection");
    ended
}

#[test]
fn large_blobs_go_by_the_shelf_and_leave_nothing_there() {
    let mut agent = Agent::new();
    let (mut one, mut two) = (agent.peer(), agent.peer());
    round_trip(&mut agent.router, &mut one, Role::Worker);
    let to = round_trip(&mut agent.router, &mut two, Role::Worker);
    let blobs = [large(1), Bytes::from_static(b"small"), large(2)];
    one.send(b"there", &blobs).unwrap();
    assert_eq!(agent.blobs().len(), 2, "on their way");
    let there = received(&mut agent.router);
    assert_eq!(there.message, message(b"there", &blobs));
    // On to another, from where it lies.
    agent.router.send(to, b"on", &there.message.blobs).unwrap();
    assert_eq!(agent.blobs().len(), 4);
    drop(there);
    let there = two.recv_until(deadline()).unwrap().unwrap();
    assert_eq!(there, message(b"on", &blobs));
    assert_eq!(agent.blobs().len(), 2);
    drop(there);
    assert_eq!(agent.blobs().len(), 0);
    // The agent's own, from its memory.
    agent.router.send(to, b"own", &[large(3)]).unwrap();
    assert_eq!(agent.blobs().len(), 1);
    assert_eq!(
        two.recv_until(deadline()).unwrap(),
        Some(message(b"own", &[large(3)]))
    );
    let shelf = agent.shelf.clone();
    drop((one, two, agent));
    assert!(!shelf.exists(), "it goes with its agent");
}

#[test]
fn who_did_not_say_so_gets_nothing_by_the_shelf() {
    let mut agent = Agent::new();
    // It has not looked.
    let mut peer = agent.world.dealer(&agent.endpoint);
    let to = round_trip(&mut agent.router, &mut peer, Role::Worker);
    agent.router.send(to, b"large", &[large(1)]).unwrap();
    assert_eq!(agent.blobs().len(), 0);
    assert_eq!(
        peer.recv_until(deadline()).unwrap(),
        Some(message(b"large", &[large(1)]))
    );
    peer.send(b"back", &[large(2)]).unwrap();
    assert_eq!(received(&mut agent.router).message, message(b"back", &[large(2)]));
}

#[test]
fn from_other_hosts_nothing_can_be_named() {
    let mut agent = Agent::new();
    let endpoint = agent.world.listen_tcp(&mut agent.router, TcpDomain::Backend);
    let mut peer = agent
        .world
        .dealer_tcp(&endpoint, &agent.world.keys(Some(Role::Worker)));
    opened(&mut peer);
    let to = round_trip(&mut agent.router, &mut peer, Role::Worker);
    // What would name something is a header that cannot be read.
    peer.send(b"\xc1\x01", &[Bytes::from_static(b"header")]).unwrap();
    let there = received(&mut agent.router).message;
    assert_eq!(there, message(b"\xc1\x01", &[Bytes::from_static(b"header")]));
    agent.router.send(to, b"large", &[large(1)]).unwrap();
    assert_eq!(agent.blobs().len(), 0);
    assert_eq!(
        peer.recv_until(deadline()).unwrap(),
        Some(message(b"large", &[large(1)]))
    );
}

#[test]
fn a_peer_whose_blob_is_not_there_connects_again_and_does_without() {
    let mut agent = Agent::new();
    let mut peer = agent.peer();
    let before = round_trip(&mut agent.router, &mut peer, Role::Worker);
    peer.send(b"there", &[large(1)]).unwrap();
    for blob in agent.blobs() {
        fs::remove_file(blob).unwrap();
    }
    let refusal = Refusal::NotThere;
    let refused = Incoming::Refused {
        peer: Some(before),
        refusal,
    };
    assert_eq!(incoming(&mut agent.router), refused);
    // What it sends before it knows would come behind a gap.
    peer.send(b"next", &[]).unwrap();
    assert_eq!(incoming(&mut agent.router), refused);
    until_it_connects_again(&mut peer);
    let to = round_trip(&mut agent.router, &mut peer, Role::Worker);
    assert_ne!(to, before);
    both_ways_by_socket(&mut agent, &mut peer);
}

#[test]
fn a_peer_that_does_not_find_a_blob_connects_again_and_does_without() {
    let mut agent = Agent::new();
    let mut peer = agent.peer();
    let to = round_trip(&mut agent.router, &mut peer, Role::Worker);
    agent.router.send(to, b"there", &[large(1)]).unwrap();
    for blob in agent.blobs() {
        fs::remove_file(blob).unwrap();
    }
    until_it_connects_again(&mut peer);
    both_ways_by_socket(&mut agent, &mut peer);
}

fn until_it_connects_again(peer: &mut Dealer) {
    let deadline = deadline();
    let connections = loop {
        assert_eq!(peer.recv().unwrap(), None);
        let sources = [Source::readable(peer), Source::connections(peer)];
        let [_, connections] = poll(sources, Some(LONG)).unwrap();
        if connections.readable {
            break connections;
        }
        assert!(Instant::now() < deadline, "it does not connect again");
    };
    assert!(
        connections.readable && opened(peer),
        "the old connection has ended"
    );
}

fn both_ways_by_socket(agent: &mut Agent, peer: &mut Dealer) {
    peer.send(b"again", &[large(1)]).unwrap();
    assert_eq!(agent.blobs().len(), 0);
    let there = received(&mut agent.router);
    assert_eq!(there.message, message(b"again", &[large(1)]));
    agent.router.send(there.peer, b"back", &[large(2)]).unwrap();
    assert_eq!(agent.blobs().len(), 0);
    assert_eq!(
        peer.recv_until(deadline()).unwrap(),
        Some(message(b"back", &[large(2)]))
    );
}

#[test]
fn what_cannot_be_read_is_a_header() {
    let mut agent = Agent::new();
    let mut peer = agent.peer();
    round_trip(&mut agent.router, &mut peer, Role::Worker);
    let rest = [Bytes::from_static(b"header"), Bytes::new()];
    for first in [&b"\xc1"[..], b"\xc1\x02", b"\xc1\x01\x00", b"\xc1\x00"] {
        peer.send(first, &rest).unwrap();
        let there = received(&mut agent.router).message;
        assert_eq!((&there.header[..], &there.blobs[..]), (first, &rest[..]));
    }
    let alone = [&b"\xc1\x01"[..], &[9; 8]].concat();
    peer.send(&alone, &[]).unwrap();
    assert_eq!(received(&mut agent.router).message.header, alone);
    // It names what is nowhere.
    let entry = [&[0; 4][..], &[7; 16], &(LARGE as u64).to_le_bytes()].concat();
    peer.send(&[alone, entry].concat(), &rest).unwrap();
    let refused = incoming(&mut agent.router);
    assert!(
        matches!(
            refused,
            Incoming::Refused {
                refusal: Refusal::NotThere,
                ..
            }
        ),
        "{refused:?}"
    );
}
