//! Waking a thread that waits for sockets.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use common::{LONG, World, connected};
use scalems_transport::{ConnectionEvent, Dealer, Incoming, IpcDomain, Ready, Router, Source, Waker, poll};

const IDLE: Option<Duration> = Some(Duration::ZERO);

#[test]
fn a_wake_up_is_seen_once() {
    let (waker, mut receiver) = Waker::pair().unwrap();
    assert_eq!(poll([Source::wake(&receiver)], IDLE).unwrap(), [Ready::default()]);
    for _ in 0..10 {
        waker.clone().wake();
    }
    assert!(poll([Source::wake(&receiver)], IDLE).unwrap()[0].readable);
    receiver.reset();
    assert_eq!(poll([Source::wake(&receiver)], IDLE).unwrap(), [Ready::default()]);
    receiver.waker().wake();
    assert!(poll([Source::wake(&receiver)], IDLE).unwrap()[0].readable);
}

#[test]
fn no_wake_up_is_lost() {
    const THREADS: u64 = 8;
    const EACH: u64 = 50_000;
    let (waker, mut receiver) = Waker::pair().unwrap();
    let (sender, queue) = channel();
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let (sender, waker) = (sender.clone(), waker.clone());
            thread::spawn(move || {
                for item in 0..EACH {
                    sender.send(thread * EACH + item).unwrap();
                    waker.wake();
                }
            })
        })
        .collect();
    let (mut count, mut sum) = (0, 0);
    while count < THREADS * EACH {
        // A lost wake-up would leave items in the queue and nothing ready.
        let [ready] = poll([Source::wake(&receiver)], Some(LONG)).unwrap();
        assert!(
            ready.readable,
            "asleep with {} items to come",
            THREADS * EACH - count
        );
        receiver.reset();
        for item in queue.try_iter() {
            count += 1;
            sum += item;
        }
    }
    let all = THREADS * EACH;
    assert_eq!(sum, all * (all - 1) / 2);
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn a_wake_up_from_elsewhere_ends_a_wait() {
    let world = World::new();
    let router = world.router();
    let unwatched = Router::new(&world.context).unwrap();
    let (waker, receiver) = Waker::pair().unwrap();
    let thread = thread::spawn(move || waker.wake());
    let [message, event, never, woken] = poll(
        [
            Source::readable(&router),
            Source::connections(&router),
            Source::connections(&unwatched),
            Source::wake(&receiver),
        ],
        Some(LONG),
    )
    .unwrap();
    assert!(!message.any() && !event.any() && !never.any() && woken.readable);
    thread.join().unwrap();
}

#[test]
fn what_was_not_read_comes_up_again() {
    let world = World::new();
    let mut router = world.router();
    let endpoint = router
        .bind_ipc(&world.zap, IpcDomain::Client, &world.directory)
        .unwrap();
    let mut dealer = world.dealer(&endpoint);
    for _ in 0..3 {
        dealer.send(b"one", &[]).unwrap();
    }
    for _ in 0..3 {
        // Also with reads and sends in between, which take the descriptor's edge away.
        assert!(poll([Source::readable(&router)], Some(LONG)).unwrap()[0].readable);
        assert!(poll([Source::readable(&router)], Some(LONG)).unwrap()[0].readable);
        let peer = common::received(&mut router).peer;
        router.send(peer, b"got it", &[]).unwrap();
    }
    assert!(!poll([Source::readable(&router)], IDLE).unwrap()[0].readable);
}

#[test]
fn events_of_connections_that_were_not_asked_for_come_up_again() {
    let world = World::new();
    let mut router = world.router();
    let endpoint = router
        .bind_ipc(&world.zap, IpcDomain::Client, &world.directory)
        .unwrap();
    for _ in 0..3 {
        drop(world.dealer(&endpoint));
    }
    let mut events = Vec::new();
    while events.len() < 6 {
        // One at a time, with a wait before each.
        let [ready] = poll([Source::connections(&router)], Some(LONG)).unwrap();
        assert!(ready.readable, "after {events:?}");
        events.extend(router.connection_event().unwrap());
    }
    let closed = events.iter().filter(|event| **event == ConnectionEvent::Closed);
    assert_eq!(closed.count(), 3, "{events:?}");
    assert!(!poll([Source::connections(&router)], IDLE).unwrap()[0].readable);
}

#[test]
fn descriptors_and_no_sources_at_all() {
    let (mut far, near) = UnixStream::pair().unwrap();
    let (waker, receiver) = Waker::pair().unwrap();
    waker.wake();
    far.write_all(b"x").unwrap();
    let ready = poll([Source::descriptor(&near), Source::wake(&receiver)], IDLE).unwrap();
    assert!(ready.iter().all(|ready| ready.readable));
    drop(far);
    assert!(
        poll([Source::descriptor(&near)], IDLE).unwrap()[0].any(),
        "hung up"
    );
    let begin = Instant::now();
    assert_eq!(poll([], Some(Duration::from_micros(500))).unwrap(), []);
    assert!(begin.elapsed() >= Duration::from_micros(500));
}

#[test]
fn room_comes_with_the_connection() {
    let world = World::new();
    let endpoint = scalems_transport::Endpoint::ipc(&world.directory.path().join("client.sock")).unwrap();
    let dealer = Dealer::connect(&world.context, &endpoint, None).unwrap();
    let [ready] = poll([Source::readable_or_writable(&dealer)], IDLE).unwrap();
    assert!(!ready.any());
    let mut router = world.router();
    router
        .bind_ipc(&world.zap, IpcDomain::Client, &world.directory)
        .unwrap();
    connected(dealer);
}

/// Peers that come, ask a hundred times and go, beside each other, and a server that never waits in vain: each
/// question and each connection ends a wait, whatever was read and sent in between.
#[test]
fn nothing_that_has_come_is_waited_for() {
    const PEERS: usize = 6;
    const LIVES: usize = 20;
    const QUESTIONS: usize = 100;
    let world = World::new();
    let mut router = world.router();
    let endpoint = router
        .bind_ipc(&world.zap, IpcDomain::Client, &world.directory)
        .unwrap();
    let peers: Vec<_> = (0..PEERS)
        .map(|_| {
            let (context, endpoint) = (world.context.clone(), endpoint.clone());
            thread::spawn(move || {
                for _ in 0..LIVES {
                    let mut dealer = Dealer::connect(&context, &endpoint, None).unwrap();
                    assert!(dealer.wait_connected(Instant::now() + LONG).unwrap());
                    for _ in 0..QUESTIONS {
                        dealer.send(b"question", &[]).unwrap();
                        let answer = dealer.recv_until(Instant::now() + LONG).unwrap();
                        assert!(answer.is_some(), "an answer was not told of");
                    }
                }
            })
        })
        .collect();
    let (mut asked, mut opened, mut closed) = (0, 0, 0);
    while asked < PEERS * LIVES * QUESTIONS || closed < PEERS * LIVES {
        let [message, event] = poll(
            [Source::readable(&router), Source::connections(&router)],
            Some(LONG),
        )
        .unwrap();
        assert!(message.readable || event.readable, "{asked} {opened} {closed}");
        if message.readable {
            // Not always to the end.
            for _ in 0..2 {
                let Some(Incoming::Message(received)) = router.recv().unwrap() else {
                    break;
                };
                asked += 1;
                // One that has gone since needs no answer.
                let _gone = router.send(received.peer, b"answer", &[]);
            }
        }
        if event.readable {
            match router.connection_event().unwrap() {
                Some(ConnectionEvent::Opened) => opened += 1,
                Some(ConnectionEvent::Closed) => closed += 1,
                _ => {}
            }
        }
    }
    assert_eq!(opened, PEERS * LIVES);
    for peer in peers {
        peer.join().unwrap();
    }
}
