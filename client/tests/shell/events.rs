//! Events, over messages that the test carries.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use scalems_client::machine::Input;
use scalems_client::{Carried, Events, Update};
use scalems_protocol::event::{Body, Event, Topic};

use crate::fake::{Bench, alarm};

fn event(seq: u64) -> Input {
    let body = Body::Alarms {
        alarms: vec![alarm(seq)],
    };
    Input::Event(Event {
        incarnation: 1,
        topic: "alarms".into(),
        seq,
        body,
    })
}

fn open(seq: u64) -> Input {
    Input::Event(Event {
        incarnation: 1,
        topic: "alarms".into(),
        seq,
        body: Body::Open,
    })
}

/// Snapshots as the number of their alarms, events as the number of the one that they bring.
fn read(events: &mut Events) -> Vec<(&'static str, u64)> {
    let mut read = Vec::new();
    while let Some(update) = events.try_next() {
        read.push(match update {
            Update::Snapshot(Body::Alarms { alarms }) => ("all", alarms.len() as u64),
            Update::Event(Body::Alarms { alarms }) => ("one", alarms[0].about.parse().unwrap()),
            other => panic!("{other:?}"),
        });
    }
    read
}

#[test]
fn listening_and_falling_behind() {
    let mut bench = Bench::new();
    let mut events = bench.session.events(Topic::Alarms);
    bench.inputs([]);
    assert_eq!(bench.carried, [Carried::Subscribe(Topic::Alarms)]);
    bench.fake.alarms = 2;
    bench.inputs([open(2), event(3)]);
    bench.run();
    assert_eq!(read(&mut events), [("all", 2), ("one", 3)]);
    assert!(events.next_within(Duration::ZERO).is_err());
    // Another one gets the state too, and so does the first.
    bench.fake.alarms = 3;
    let mut second = bench.session.events(Topic::Alarms);
    bench.run();
    assert_eq!(
        (read(&mut events), read(&mut second)),
        (vec![("all", 3)], vec![("all", 3)])
    );
    // One that does not read gets the state instead of all that happened.
    bench.fake.alarms = 5_003;
    bench.inputs((4..=5_003).map(event));
    bench.run();
    assert_eq!(read(&mut events), [("all", 5_003)]);
    drop(events);
    bench.run();
    bench.inputs([event(5_004)]);
    assert_eq!(read(&mut second).last(), Some(&("one", 5_004)));
    drop(second);
    bench.carrier.step(0, [], &mut bench.carried);
    assert_eq!(bench.carried, [Carried::Unsubscribe(Topic::Alarms)]);
}

#[test]
fn calling_back() {
    let mut bench = Bench::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let cell = Arc::clone(&seen);
    let listening = bench.session.on_event(Topic::Alarms, move |update| {
        cell.lock().unwrap().push(matches!(update, Update::Snapshot(_)));
    });
    bench.inputs([]);
    bench.inputs([open(0), event(1)]);
    bench.run();
    assert_eq!(*seen.lock().unwrap(), [true, false]);
    drop(listening);
    bench.inputs([event(2)]);
    assert_eq!(seen.lock().unwrap().len(), 2);
}

#[test]
fn what_is_refused_and_what_is_over_ends() {
    let mut bench = Bench::new();
    let mut refused = bench.session.events(Topic::Submission(9));
    let mut events = bench.session.events(Topic::Alarms);
    bench.inputs([]);
    let open = Event {
        incarnation: 1,
        topic: "submission/9".into(),
        seq: 0,
        body: Body::Open,
    };
    bench.inputs([Input::Event(open)]);
    bench.run();
    assert!(matches!(refused.next(), Some(Update::Refused(_))));
    assert_eq!(refused.next(), None);
    bench.session.close("done");
    bench.run();
    assert_eq!(events.next_within(None).unwrap(), None);
    let mut late = bench.session.events(Topic::Alarms);
    bench.run();
    assert_eq!(late.next(), None);
    // Also when nobody drives the session any more.
    assert_eq!(bench.session.events(Topic::Alarms).next(), None);
}
