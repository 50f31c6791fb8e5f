//! Messages of all shapes, and peers that break the rules.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::{LONG, World, closed, deadline, handmade_peer, incoming, message, received, round_trip};
use scalems_protocol::{Role, limits};
use scalems_transport::{
    Context, Dealer, Endpoint, FRAMES, Incoming, IpcDomain, Message, PrivateDir, Refusal, Router, SendError,
    Source, TcpDomain, TransportError, poll,
};

fn listening(world: &World) -> (Router, Endpoint) {
    let mut router = world.router();
    let endpoint = router
        .bind_ipc(&world.zap, IpcDomain::Worker, &world.directory)
        .unwrap();
    (router, endpoint)
}

/// Bytes that differ with their place, so that a cut or shifted copy is seen.
fn pattern(length: usize) -> Bytes {
    (0..length).map(|at| (at % 251) as u8).collect()
}

#[test]
fn frames_of_all_sizes_come_back_the_same() {
    let world = World::new();
    let (mut router, endpoint) = listening(&world);
    let mut dealer = world.dealer(&endpoint);
    // Around libzmq's own thresholds (33, 8192) and ours.
    let sizes = [
        0,
        1,
        32,
        33,
        34,
        1_023,
        1_024,
        1_025,
        8_191,
        8_192,
        8_193,
        16_384,
        16_385,
        1 << 20,
        0,
    ];
    let blobs: Vec<_> = sizes.into_iter().map(pattern).collect();
    for header in [pattern(0), pattern(100), pattern(1 << 20)] {
        let whole = Message {
            header,
            blobs: blobs.clone(),
        };
        dealer.send_message(&whole).unwrap();
        let there = received(&mut router);
        assert_eq!(there.message, whole);
        // Back from the very memory that it came in.
        router.send_message(there.peer, &there.message).unwrap();
        assert_eq!(dealer.recv_until(deadline()).unwrap(), Some(whole));
    }
}

#[test]
fn large_frames_pass_through_curve() {
    let world = World::new();
    let mut router = world.router();
    let endpoint = world.listen_tcp(&mut router, TcpDomain::Frontend);
    let mut dealer = world.dealer_tcp(&endpoint, &world.keys(Some(Role::Client)));
    let whole = Message {
        header: pattern(10),
        blobs: vec![pattern(1 << 20), pattern(0)],
    };
    dealer.send_message(&whole).unwrap();
    let there = received(&mut router);
    assert_eq!(there.message, whole);
    router.send_message(there.peer, &there.message).unwrap();
    assert_eq!(dealer.recv_until(deadline()).unwrap(), Some(whole));
}

/// Bytes that say when they are let go.
struct Watched(Vec<u8>, Sender<()>);

impl AsRef<[u8]> for Watched {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.1.send(()).expect("the test listens");
    }
}

#[test]
fn large_frames_are_shared_and_let_go_once() {
    let world = World::new();
    let (mut router, endpoint) = listening(&world);
    let mut dealer = world.dealer(&endpoint);
    let (dropped, drops) = channel();
    let blob = Bytes::from_owner(Watched(vec![7; 1 << 20], dropped));
    dealer.send(b"shared", &[blob.clone(), blob.clone()]).unwrap();
    let there = received(&mut router);
    assert_eq!(there.message.blobs, [blob.clone(), blob.clone()]);
    assert!(drops.try_recv().is_err(), "it is still ours");
    drop(blob);
    // Now only libzmq has it, until its thread is through with the frames.
    drops.recv_timeout(LONG).unwrap();
    assert_eq!(there.message.blobs[1][..3], [7; 3]);
    assert!(drops.try_recv().is_err(), "it went twice");
}

#[test]
fn what_could_not_be_sent_is_let_go() {
    let context = Context::new().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let nobody = Endpoint::ipc(&directory.path().join("nobody.sock")).unwrap();
    let mut dealer = Dealer::connect(&context, &nobody, None).unwrap();
    let (dropped, drops) = channel();
    let blob = Bytes::from_owner(Watched(vec![7; 1 << 20], dropped));
    let message = Message {
        header: blob.clone(),
        blobs: vec![blob],
    };
    // Nobody is there: it does not wait, and says so.
    assert_eq!(dealer.send_message(&message), Err(SendError::Full));
    drop(message);
    drops.recv_timeout(LONG).unwrap();
}

#[test]
fn received_frames_outlive_their_socket() {
    let world = World::new();
    let (mut router, endpoint) = listening(&world);
    let mut dealer = world.dealer(&endpoint);
    let blob = pattern(1 << 20);
    dealer.send(b"keep", std::slice::from_ref(&blob)).unwrap();
    let there = received(&mut router).message;
    drop((router, dealer, world));
    assert_eq!(there, message(b"keep", &[blob]));
}

#[test]
fn a_peer_that_left_is_gone() {
    let world = World::new();
    let (mut router, endpoint) = listening(&world);
    let mut dealer = world.dealer(&endpoint);
    let peer = round_trip(&mut router, &mut dealer, Role::Worker);
    drop(dealer);
    closed(&mut router);
    // libzmq tells of the connection a moment before it takes the peer away.
    let deadline = deadline();
    while router.send(peer, b"are you there", &[pattern(10)]) == Ok(()) {
        assert!(Instant::now() < deadline, "the peer is never gone");
        poll([Source::readable(&router)], Some(Duration::from_millis(2))).unwrap();
    }
    assert_eq!(router.send(peer, b"", &[]), Err(SendError::Gone));
    // And the router is as good as before.
    let mut dealer = world.dealer(&endpoint);
    assert_ne!(round_trip(&mut router, &mut dealer, Role::Worker), peer);
}

#[test]
fn too_many_frames_are_dropped_and_told() {
    let world = World::new();
    let (mut router, endpoint) = listening(&world);
    let mut good = world.dealer(&endpoint);
    let mut bad = world.dealer(&endpoint);
    let peer = round_trip(&mut router, &mut bad, Role::Worker);

    // Ours does not even send it.
    let blob = Bytes::new();
    assert_eq!(
        bad.send(b"", &vec![blob.clone(); FRAMES]),
        Err(SendError::TooLarge)
    );
    let most = vec![blob; FRAMES - 1];
    bad.send(b"", &most).unwrap();
    assert_eq!(received(&mut router).message.blobs, most);

    let mut by_hand = handmade_peer(&endpoint, &[("Socket-Type", b"DEALER"), ("Identity", b"")]);
    for frame in 0..=FRAMES {
        let more = u8::from(frame < FRAMES);
        by_hand.write_all(&[more, 1, b'x']).unwrap();
    }
    by_hand.write_all(&[0, 4, b'n', b'e', b'x', b't']).unwrap();
    let refusal = Refusal::TooManyFrames { frames: FRAMES + 1 };
    let Incoming::Refused {
        peer: Some(sender),
        refusal: told,
    } = incoming(&mut router)
    else {
        panic!("it was not refused")
    };
    assert_eq!(told, refusal);
    // The next message of the same peer is whole.
    let next = received(&mut router);
    assert_eq!((next.peer, next.message), (sender, message(b"next", &[])));
    assert_eq!(router.refused(), 1);
    round_trip(&mut router, &mut good, Role::Worker);
    assert_eq!(round_trip(&mut router, &mut bad, Role::Worker), peer);
}

#[test]
fn an_oversized_frame_cuts_its_sender_off_and_nobody_else() {
    let world = World::new();
    let (mut router, endpoint) = listening(&world);
    let mut good = world.dealer(&endpoint);
    let good_peer = round_trip(&mut router, &mut good, Role::Worker);

    let mut ours = world.dealer(&endpoint);
    let over = Bytes::from(vec![0; limits::WIRE_FRAME_BYTES + 1]);
    assert_eq!(ours.send(b"", &[over]), Err(SendError::TooLarge));

    let mut bad = handmade_peer(&endpoint, &[("Socket-Type", b"DEALER"), ("Identity", b"")]);
    // A long frame: its length is enough, the bytes need not come.
    bad.write_all(&[2]).unwrap();
    bad.write_all(&(limits::WIRE_FRAME_BYTES as u64 + 1).to_be_bytes())
        .unwrap();
    closed(&mut router);
    // What the other side had sent before it closed is its READY.
    let mut rest = Vec::new();
    bad.read_to_end(&mut rest).unwrap();

    assert_eq!(round_trip(&mut router, &mut good, Role::Worker), good_peer);
    round_trip(&mut router, &mut ours, Role::Worker);
}

#[test]
fn the_largest_frame_passes() {
    let world = World::new();
    let (mut router, endpoint) = listening(&world);
    let mut dealer = world.dealer(&endpoint);
    let most = Bytes::from(vec![9; limits::WIRE_FRAME_BYTES]);
    dealer.send(b"largest", std::slice::from_ref(&most)).unwrap();
    assert!(received(&mut router).message.blobs == [most]);
}

#[test]
fn half_open_connections_and_garbage_harm_nobody() {
    const EACH: usize = 100;
    let world = World::new();
    let mut router = world.router();
    let endpoint = world.listen_tcp(&mut router, TcpDomain::Frontend);
    let mut good = world.dealer_tcp(&endpoint, &world.keys(Some(Role::Client)));
    let peer = round_trip(&mut router, &mut good, Role::Client);

    let Endpoint::Tcp { host, port } = &endpoint else {
        panic!("{endpoint}")
    };
    let mut strangers = Vec::new();
    for number in 0..EACH {
        for kind in 0..4 {
            let mut stream = TcpStream::connect((host.as_str(), *port)).unwrap();
            stream.set_read_timeout(Some(LONG)).unwrap();
            let garbage: &[u8] = match kind {
                // Says nothing; begins well; a web browser; noise.
                0 => b"",
                1 => b"\xff\0\0\0\0\0\0\0\x01\x7f\x03",
                2 => b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
                _ => &pattern(4_096)[number..],
            };
            // It may be cut off while it still talks.
            let _said = stream.write_all(garbage);
            strangers.push(stream);
        }
        assert_eq!(round_trip(&mut router, &mut good, Role::Client), peer);
    }
    // Each is cut off after the handshake's time, and none of them got a word through.
    for stream in &mut strangers {
        let mut buffer = [0; 256];
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => {
                    assert_eq!(
                        error.kind(),
                        std::io::ErrorKind::ConnectionReset,
                        "it is still open"
                    );
                    break;
                }
            }
        }
    }
    assert_eq!(round_trip(&mut router, &mut good, Role::Client), peer);
    assert_eq!(router.recv().unwrap(), None);
}

#[test]
fn a_dealer_waits_until_its_deadline_only() {
    let world = World::new();
    let (_router, endpoint) = listening(&world);
    let mut dealer = world.dealer(&endpoint);
    let begin = Instant::now();
    let wait = Duration::from_millis(30);
    assert_eq!(dealer.recv_until(begin + wait).unwrap(), None);
    assert!(begin.elapsed() >= wait);

    let nobody = Endpoint::ipc(&world.directory.path().join("nobody.sock")).unwrap();
    let mut dealer = Dealer::connect(&world.context, &nobody, None).unwrap();
    assert!(!dealer.wait_connected(Instant::now() + wait).unwrap());
}

#[test]
fn sockets_lie_in_private_directories_with_short_names() {
    let world = World::new();
    let deep = world.directory.path().join("d".repeat(100));
    let directory = PrivateDir::ensure(&deep).unwrap();
    let bound = world.router().bind_ipc(&world.zap, IpcDomain::Client, &directory);
    let error = bound.unwrap_err();
    assert!(matches!(error, TransportError::Endpoint(_)), "{error}");
    assert!(
        error.to_string().contains("choose a shorter directory"),
        "{error}"
    );
}
