//! Events and beats.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::collections::BTreeSet;
use std::time::Instant;

use bytes::Bytes;
use common::{LONG, World, deadline, message};
use scalems_protocol::Role;
use scalems_transport::{
    Endpoint, EventPublisher, FRAMES, IpcDomain, Message, Pollable, Publisher, SendError, Source, Subscriber,
    Subscription, TcpDomain, poll,
};

fn wait_readable(socket: &impl Pollable) {
    let [ready] = poll([Source::readable(socket)], Some(LONG)).unwrap();
    assert!(ready.readable, "nothing came");
}

fn subscription(events: &mut EventPublisher) -> Subscription {
    loop {
        if let Some(subscription) = events.subscription().unwrap() {
            return subscription;
        }
        wait_readable(events);
    }
}

fn event(subscriber: &mut Subscriber) -> Message {
    loop {
        if let Some(message) = subscriber.recv().unwrap() {
            return message;
        }
        wait_readable(subscriber);
    }
}

fn change(topic: &'static [u8], subscribed: bool) -> Subscription {
    Subscription {
        topic: Bytes::from_static(topic),
        subscribed,
    }
}

#[test]
fn each_subscription_is_told_and_topics_are_exact() {
    let world = World::new();
    let mut events = EventPublisher::new(&world.context).unwrap();
    let endpoint = events
        .bind_ipc(&world.zap, IpcDomain::Events, &world.directory)
        .unwrap();

    let mut first = Subscriber::connect(&world.context, &endpoint, None).unwrap();
    first.subscribe(b"task").unwrap();
    first.subscribe(b"task").unwrap();
    assert_eq!(subscription(&mut events), change(b"task", true));
    // A second one of the same topic is told, too: it needs its opening.
    let mut second = Subscriber::connect(&world.context, &endpoint, None).unwrap();
    second.subscribe(b"task").unwrap();
    assert_eq!(subscription(&mut events), change(b"task", true));

    let body = [Bytes::from_static(b"body"), Bytes::new()];
    events.send(b"task.more", &body).unwrap();
    events.send(b"other", &body).unwrap();
    events.send(b"task", &body).unwrap();
    for subscriber in [&mut first, &mut second] {
        assert_eq!(event(subscriber), message(b"task", &body));
    }

    // Only the last one to leave is told.
    first.unsubscribe(b"task").unwrap();
    drop(second);
    assert_eq!(subscription(&mut events), change(b"task", false));
    events.send(b"task", &body).unwrap();
    first.subscribe(b"end").unwrap();
    assert_eq!(subscription(&mut events), change(b"end", true));
    events.send(b"end", &[]).unwrap();
    assert_eq!(event(&mut first), message(b"end", &[]));
}

#[test]
fn events_pass_by_tcp_to_those_who_may_read() {
    let world = World::new();
    let mut events = EventPublisher::new(&world.context).unwrap();
    let permit = world.zap.self_test(LONG).unwrap();
    let port = events
        .bind_tcp(&permit, TcpDomain::Events, common::LOCALHOST, 0, &world.server)
        .unwrap();
    let endpoint = Endpoint::tcp("localhost", port).unwrap();

    let worker = world.keys(Some(Role::Worker));
    let mut refused = Subscriber::connect(&world.context, &endpoint, Some(&worker)).unwrap();
    refused.subscribe(b"summary").unwrap();
    let deadline = deadline();
    while refused.connection_event().unwrap()
        != Some(scalems_transport::ConnectionEvent::Denied { status: 400 })
    {
        assert!(Instant::now() < deadline);
        poll([Source::connections(&refused)], Some(LONG)).unwrap();
    }
    assert_eq!(events.subscription().unwrap(), None);

    let observer = world.keys(Some(Role::Observer));
    let mut subscriber = Subscriber::connect(&world.context, &endpoint, Some(&observer)).unwrap();
    subscriber.subscribe(b"summary").unwrap();
    assert_eq!(subscription(&mut events), change(b"summary", true));
    events.send(b"summary", &[Bytes::from(vec![3; 100_000])]).unwrap();
    assert_eq!(event(&mut subscriber).blobs, [Bytes::from(vec![3; 100_000])]);
}

#[test]
fn beats_arrive_and_a_bad_one_is_counted() {
    let world = World::new();
    let mut beats = Subscriber::for_publishers(&world.context).unwrap();
    let endpoint = beats
        .bind_ipc(&world.zap, IpcDomain::Beats, &world.directory)
        .unwrap();
    let mut worker = Publisher::connect(&world.context, &endpoint, None).unwrap();

    // A publisher drops what it sends before the subscription has come: send until one arrives.
    let deadline = deadline();
    let beat = loop {
        worker.send(b"beat", &[]).unwrap();
        if let Some(beat) = beats.recv().unwrap() {
            break beat;
        }
        assert!(Instant::now() < deadline, "no beat came");
        poll(
            [Source::readable(&beats)],
            Some(std::time::Duration::from_millis(5)),
        )
        .unwrap();
    };
    assert_eq!(beat, message(b"beat", &[]));

    assert_eq!(
        worker.send(b"", &vec![Bytes::new(); FRAMES]),
        Err(SendError::TooLarge)
    );
    let by_hand = world_socket(&endpoint);
    let frames = vec![zmq_frame(); FRAMES + 1];
    loop {
        by_hand.send_multipart(frames.iter(), zmq::DONTWAIT).unwrap();
        worker.send(b"beat", &[]).unwrap();
        wait_readable(&beats);
        while let Some(beat) = beats.recv().unwrap() {
            assert_eq!(beat, message(b"beat", &[]));
        }
        if beats.refused() > 0 {
            break;
        }
        assert!(Instant::now() < deadline, "the bad one was not seen");
    }
}

fn world_socket(endpoint: &Endpoint) -> zmq::Socket {
    let socket = zmq::Context::new().socket(zmq::PUB).unwrap();
    socket.set_linger(0).unwrap();
    socket.connect(&endpoint.to_string()).unwrap();
    socket
}

fn zmq_frame() -> Vec<u8> {
    b"x".to_vec()
}

#[test]
fn no_subscription_is_dropped_however_many_there_are() {
    const TOPICS: usize = 20_000;
    let world = World::new();
    let mut events = EventPublisher::new(&world.context).unwrap();
    let endpoint = events
        .bind_ipc(&world.zap, IpcDomain::Events, &world.directory)
        .unwrap();
    let mut subscriber = Subscriber::connect(&world.context, &endpoint, None).unwrap();
    let topics: BTreeSet<Bytes> = (0..TOPICS)
        .map(|number| Bytes::from(format!("submission/{number}")))
        .collect();
    for topic in &topics {
        subscriber.subscribe(topic).unwrap();
    }
    let told: BTreeSet<Bytes> = (0..TOPICS)
        .map(|_| subscription(&mut events))
        .filter(|change| change.subscribed)
        .map(|change| change.topic)
        .collect();
    assert_eq!(told, topics);
}
