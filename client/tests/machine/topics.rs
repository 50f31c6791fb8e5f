//! Following topics.

use scalems_client::machine::{Config, Input, Output, Update};
use scalems_protocol::client::{Answer, Question, Refused, Reply};
use scalems_protocol::event::{Alarm, Body, Event, Topic};
use scalems_protocol::{Code, Refusal, client};

use crate::script::*;

fn body(text: &str) -> Body {
    let alarm = Alarm {
        alarm: text.into(),
        about: String::new(),
        message: String::new(),
        at_ms: 0,
    };
    Body::Alarms { alarms: vec![alarm] }
}

fn event(incarnation: u64, seq: u64) -> Input {
    let body = body(&format!("{incarnation}.{seq}"));
    Input::Event(Event {
        incarnation,
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

fn snapshot(id: u64, incarnation: u64, seq: u64) -> Input {
    let reply = Reply::Snapshot {
        incarnation,
        topic: "alarms".into(),
        seq,
        state: Box::new(body(&format!("state {seq}"))),
    };
    said(Answer { id, reply })
}

fn asked(id: u64) -> Output {
    let question = Question::Snapshot("alarms".into());
    Output::Send(client::Ask { id, question }.into(), Vec::new())
}

fn happened(incarnation: u64, seq: u64) -> Output {
    Output::Update(
        Topic::Alarms,
        Update::Event(body(&format!("{incarnation}.{seq}"))),
    )
}

fn state(seq: u64) -> Output {
    Output::Update(Topic::Alarms, Update::Snapshot(body(&format!("state {seq}"))))
}

fn listening() -> Script {
    let mut script = Script::attached(Config::default());
    assert_eq!(
        script.step(Input::Listen(Topic::Alarms)),
        [Output::Subscribe(Topic::Alarms)]
    );
    script
}

#[test]
fn open_snapshot_events() {
    let mut script = listening();
    assert_eq!(script.step(event(1, 3)), [], "nothing before open");
    assert_eq!(script.step(open(3)), [asked(1)]);
    assert_eq!(script.steps([event(1, 4), event(1, 5), event(1, 6)]), []);
    assert_eq!(script.step(snapshot(1, 1, 5)), [state(5), happened(1, 6)]);
    assert_eq!(script.steps([event(1, 6), event(1, 7)]), [happened(1, 7)]);
    assert_eq!(
        script.step(Input::Unlisten(Topic::Alarms)),
        [Output::Unsubscribe(Topic::Alarms)]
    );
    assert_eq!(script.step(event(1, 8)), []);
}

#[test]
fn gaps_are_filled_by_another_snapshot() {
    let mut script = listening();
    script.step(open(0));
    script.step(snapshot(1, 1, 0));
    assert_eq!(script.step(event(1, 2)), [asked(2)]);
    assert_eq!(script.step(event(1, 4)), []);
    // The gap between 2 and 4 is still there after it.
    assert_eq!(
        script.step(snapshot(2, 1, 1)),
        [state(1), happened(1, 2), asked(3)]
    );
    assert_eq!(script.step(snapshot(3, 1, 3)), [state(3), happened(1, 4)]);
    // An agent that was restarted numbers anew.
    assert_eq!(script.step(event(2, 1)), [asked(4)]);
    assert_eq!(script.step(snapshot(4, 2, 0)), [state(0), happened(2, 1)]);
    // So does the user's own gap.
    assert_eq!(script.step(Input::Refresh(Topic::Alarms)), [asked(5)]);
    // And a publisher that begins anew says so.
    script.step(snapshot(5, 2, 1));
    assert_eq!(script.step(open(1)), [asked(6)]);
}

#[test]
fn a_snapshot_that_does_not_come_is_asked_for_again() {
    let mut script = listening();
    script.step(open(0));
    assert_eq!(script.later(10_000_000), [asked(2)]);
    assert_eq!(script.step(snapshot(2, 1, 0)), [state(0)]);
}

#[test]
fn a_refused_topic_is_told() {
    let mut script = listening();
    script.step(open(0));
    let refusal = Refusal::new(Code::NothingSelected, "no such");
    let out = script.step(said(Refused {
        request: None,
        id: Some(1),
        refusal: refusal.clone(),
    }));
    let expected = [
        Output::Update(Topic::Alarms, Update::Refused(refusal)),
        Output::Unsubscribe(Topic::Alarms),
    ];
    assert_eq!(out, expected);
}
