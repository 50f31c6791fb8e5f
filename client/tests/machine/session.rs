//! Hello, welcome, breaks, ends.

use scalems_client::machine::{
    Answered, Attached, Call, CallFault, CallKey, Config, Input, Output, SessionEnd,
};
use scalems_protocol::client::{
    Answer, ClientHello, ClientWelcome, Counts, Detached, Question, Reply, SessionKind,
};
use scalems_protocol::select::Selector;
use scalems_protocol::{Code, Ending, PilotId, Refusal, client, limits};

use crate::script::*;

fn config() -> Config {
    Config {
        session: "s".into(),
        software: "test".into(),
        ..Config::default()
    }
}

fn hello() -> ClientHello {
    ClientHello {
        session: "s".into(),
        software: "test".into(),
        ..ClientHello::default()
    }
}

#[test]
fn the_first_words() {
    let mut script = Script::new(Config {
        takeover: true,
        cancel_after_ms: 5,
        ..config()
    });
    assert_eq!(script.step(Input::Tick), []);
    let first = ClientHello {
        takeover: true,
        cancel_after_ms: 5,
        ..hello()
    };
    assert_eq!(
        script.step(Input::Connected),
        [Output::Send(first.into(), Vec::new())]
    );
    assert_eq!(script.step(Input::Tick), []);
    let attached = Attached {
        pilot_name: "demo".into(),
        pilot: PILOT,
        incarnation: 1,
        session: SESSION,
        modes: vec!["scalems.noop".into()],
        software: "model".into(),
        journal: false,
    };
    assert_eq!(script.step(said(welcome(0, 1))), [Output::Attached(attached)]);
    assert_eq!(script.machine.deadline(script.now), None);
}

#[test]
fn hello_is_said_again_until_there_is_a_welcome() {
    let mut script = Script::new(config());
    assert_eq!(sent(&script.step(Input::Connected)), ["hello"]);
    let wait = Config::default().hello_us;
    assert_eq!(sent(&script.wait(wait - 1)), [""; 0]);
    assert_eq!(sent(&script.wait(1)), ["hello"]);
    script.step(Input::Disconnected);
    assert_eq!(
        sent(&script.wait(10 * wait / 4)),
        [""; 0],
        "not without a connection"
    );
    assert_eq!(sent(&script.step(Input::Connected)), ["hello"]);
}

#[test]
fn without_any_welcome_the_session_ends() {
    let mut script = Script::new(config());
    script.step(Input::Submit(bare(1, 3)));
    let end = SessionEnd::Unreachable { after_us: 10_000_000 };
    assert_eq!(script.wait(10_000_000 - 1), []);
    let out = script.wait(1);
    assert_eq!(resolved(&out), [(1, 0, 3, None)]);
    assert_eq!(out.last(), Some(&Output::Over(end.clone())));
    assert_eq!(script.machine.over(), Some(&end));
    assert_eq!(script.machine.deadline(script.now), None);
    // What comes afterwards is answered at once.
    let out = script.steps([
        Input::Submit(bare(2, 1)),
        call(
            1,
            Call::Forget {
                select: Selector::all(),
            },
        ),
        Input::Connected,
    ]);
    assert_eq!(resolved(&out), [(2, 0, 1, None)]);
    assert_eq!(
        out[1..],
        [Output::Reply(
            CallKey(1),
            Box::new(Err(CallFault::SessionEnded(end)))
        )]
    );
}

#[test]
fn after_a_break_the_same_is_said_again_in_order() {
    let mut script = Script::attached(config());
    script.step(Input::Submit(bare(1, 2)));
    script.step(Input::Submit(array(2, 10, 5, 3)));
    script.step(call(
        5,
        Call::Forget {
            select: Selector::submission(3),
        },
    ));
    script.step(call(
        6,
        Call::Ask {
            question: Question::Status,
            timeout_us: 1_000_000,
        },
    ));
    script.step(accepted(1, 11, 2));
    script.step(results(1, 1, 0, 1, Ending::Done));
    assert_eq!(script.step(Input::Disconnected), []);
    let out = script.step(Input::Connected);
    let again = ClientHello {
        resume: Some(resume()),
        pilot: Some(PILOT),
        incarnation: 1,
        deliveries: 1,
        repeats: 3,
        ..hello()
    };
    assert_eq!(out, [Output::Send(again.into(), Vec::new())]);
    let out = script.step(said(welcome(2, 2)));
    assert_eq!(sent(&out), ["submit", "forget", "ask"]);
    assert_eq!(batches(&out), [(2, 3)]);
    assert_eq!(submits(&out)[0].0.low_water, 2);
    assert_eq!(script.machine.counters().attached, 2);
}

#[test]
fn an_agent_that_does_not_know_the_connection_is_greeted() {
    let mut script = Script::attached(config());
    assert_eq!(batches(&script.step(Input::Submit(bare(1, 1)))), [(1, 1)]);
    let out = script.steps([
        refused(None, Code::HelloFirst),
        refused(Some(1), Code::HelloFirst),
    ]);
    assert_eq!(sent(&out), ["hello"]);
    assert_eq!(batches(&script.step(said(welcome(0, 1)))), [(1, 1)]);
    assert_eq!(
        resolved(&script.step(results(1, 1, 0, 1, Ending::Done))),
        [(1, 0, 1, Some(Ending::Done))]
    );
}

#[test]
fn another_pilot_is_the_end_of_what_the_first_had() {
    let other = PilotId([8; 16]);
    let end = SessionEnd::OtherPilot {
        was: PILOT,
        is: Some(other),
    };
    let mut script = Script::attached(config());
    script.step(Input::Submit(bare(1, 2)));
    script.step(call(
        1,
        Call::Ask {
            question: Question::Status,
            timeout_us: 1_000_000,
        },
    ));
    script.step(Input::Connected);
    let out = script.step(said(ClientWelcome {
        pilot: other,
        ..welcome(0, 1)
    }));
    assert_eq!(resolved(&out), [(1, 0, 2, None)]);
    assert_eq!(
        out[1],
        Output::Reply(CallKey(1), Box::new(Err(CallFault::SessionEnded(end.clone()))))
    );
    assert_eq!(out[2..], [Output::Over(end)]);

    let mut script = Script::attached(config());
    script.step(Input::Connected);
    let out = script.step(refused(None, Code::OtherPilot));
    assert_eq!(
        out,
        [Output::Over(SessionEnd::OtherPilot { was: PILOT, is: None })]
    );

    let mut script = Script::new(Config {
        pilot: Some(other),
        ..config()
    });
    script.step(Input::Connected);
    let out = script.step(said(welcome(0, 1)));
    assert_eq!(
        out,
        [Output::Over(SessionEnd::OtherPilot {
            was: other,
            is: Some(PILOT)
        })]
    );
}

#[test]
fn a_session_that_others_used_meanwhile_is_not_gone_on_with() {
    for (name, changed) in [
        (
            "its number",
            ClientWelcome {
                session: SESSION + 1,
                ..welcome(0, 1)
            },
        ),
        ("its requests", welcome(1, 1)),
        ("its deliveries", welcome(0, 2)),
    ] {
        let mut script = Script::attached(config());
        script.step(Input::Connected);
        let out = script.step(said(changed));
        assert_eq!(out, [Output::Over(SessionEnd::Replaced)], "{name}");
    }
}

#[test]
fn a_second_welcome_to_a_first_hello_counts() {
    let mut script = Script::new(config());
    script.step(Input::Connected);
    assert_eq!(sent(&script.later(2_000_000)), ["hello"]);
    script.step(said(welcome(0, 1)));
    script.step(Input::Submit(bare(1, 1)));
    let second = ClientWelcome {
        session: 41,
        ..welcome(0, 1)
    };
    assert_eq!(script.step(said(second)), []);
    let mut ended = group(1, 0, 1, Ending::Done);
    ended.origin.session = 41;
    let out = script.step(said(client::Results {
        delivery: 1,
        durable: client::Durable::None,
        groups: vec![ended],
        accepted: Vec::new(),
    }));
    assert_eq!(resolved(&out), [(1, 0, 1, Some(Ending::Done))]);
}

#[test]
fn refusals_of_the_session_end_it() {
    for code in [
        Code::SessionInUse,
        Code::WrongToken,
        Code::Stopping,
        Code::UnsupportedVersion,
    ] {
        let mut script = Script::new(config());
        script.step(Input::Connected);
        let out = script.step(refused(None, code));
        assert_eq!(out, [Output::Over(SessionEnd::Refused(Refusal::new(code, "no")))]);
    }
    let mut script = Script::attached(config());
    script.step(Input::Submit(bare(1, 1)));
    let refusal = Refusal::new(Code::TakenOver, "another");
    let out = script.step(said(Detached {
        refusal: refusal.clone(),
    }));
    assert_eq!(resolved(&out), [(1, 0, 1, None)]);
    assert_eq!(out.last(), Some(&Output::Over(SessionEnd::Detached(refusal))));
    // Once it is let in, a refusal of nothing in particular ends nothing.
    let mut script = Script::attached(config());
    let out = script.step(refused(None, Code::Malformed));
    assert_eq!(out, [Output::Complaint(Refusal::new(Code::Malformed, "no"))]);
}

#[test]
fn requests_go_on_from_an_earlier_life() {
    let mut script = Script::new(Config {
        kind: SessionKind::Exclusive,
        ..config()
    });
    script.step(Input::Connected);
    script.step(said(welcome(17, 5)));
    assert_eq!(batches(&script.step(Input::Submit(bare(1, 1)))), [(18, 1)]);
    // What the earlier life did not take in comes now, and is nobody's here.
    let out = script.step(results(5, 17, 3, 4, Ending::Done));
    assert!(
        matches!(&out[..], [Output::Unclaimed { origin, .. }, ack5] if origin.request == 17 && *ack5 == ack(5))
    );
    let out = script.steps([
        results(4, 16, 3, 4, Ending::Done),
        results(6, 18, 0, 1, Ending::Done),
    ]);
    assert_eq!(resolved(&out), [(1, 0, 1, Some(Ending::Done))]);
    assert_eq!(out.last(), Some(&ack(6)));
}

#[test]
fn a_silent_agent_is_asked_and_then_given_up() {
    let mut script = Script::attached(config());
    assert_eq!(script.machine.deadline(0), None, "nothing is awaited");
    script.step(Input::Submit(bare(1, 1)));
    assert_eq!(script.machine.deadline(0), Some(30_000_000));
    assert_eq!(sent(&script.later(30_000_000)), ["ask"]);
    assert_eq!(sent(&script.later(30_000_000)), [""; 0], "one question at a time");
    let out = script.step(said(Answer {
        id: 1,
        reply: Reply::Ended(Counts::default()),
    }));
    assert_eq!(out, []);
    assert_eq!(sent(&script.later(30_000_000)), ["ask"]);
    let lost = SessionEnd::Lost {
        after_us: limits::ORPHAN_MS * 1_000,
    };
    let out = script.wait(limits::ORPHAN_MS * 1_000);
    assert_eq!(out.last(), Some(&Output::Over(lost)));
}

#[test]
fn time_that_only_the_clock_has_seen_is_not_the_agents() {
    const HOUR: u64 = 3_600_000_000;
    // Before the first welcome: there is a hello under way, and its answer may be.
    let mut script = Script::new(config());
    script.step(Input::Connected);
    assert_eq!(sent(&script.later(HOUR)), ["hello"]);
    let again = sent(&script.wait(10_000_000 - 1));
    assert!(again.iter().all(|name| *name == "hello") && script.machine.over().is_none());
    assert!(matches!(
        script.step(said(welcome(0, 1)))[..],
        [Output::Attached(_)]
    ));
    // And the same for the answer to a probe.
    script.step(Input::Submit(bare(1, 1)));
    assert_eq!(sent(&script.wait(30_000_000)), ["ask"]);
    assert_eq!(script.later(HOUR), []);
    let lost = SessionEnd::Lost {
        after_us: limits::ORPHAN_MS * 1_000,
    };
    assert_eq!(
        script.wait(limits::ORPHAN_MS * 1_000).last(),
        Some(&Output::Over(lost))
    );
}

#[test]
fn a_time_without_anything_to_say_is_no_silence() {
    let mut script = Script::attached(config());
    script.now = 100_000_000;
    let out = script.step(Input::Submit(bare(1, 1)));
    assert_eq!(sent(&out), ["submit"]);
    assert_eq!(script.machine.deadline(script.now), Some(130_000_000));
}

#[test]
fn an_agent_that_stays_away_is_given_up() {
    let mut script = Script::attached(Config {
        give_up_us: 50,
        ..config()
    });
    script.step(Input::Submit(bare(1, 1)));
    script.now = 10;
    script.step(Input::Disconnected);
    assert_eq!(script.machine.deadline(10), Some(60));
    let out = script.later(50);
    assert_eq!(resolved(&out), [(1, 0, 1, None)]);
    assert_eq!(out.last(), Some(&Output::Over(SessionEnd::Lost { after_us: 50 })));
}

#[test]
fn reads_have_deadlines_and_repeat_what_is_left_of_them() {
    let mut script = Script::attached(config());
    let wait = Question::Wait {
        select: Selector::all(),
        timeout_ms: 5_000,
    };
    script.step(call(
        1,
        Call::Ask {
            question: wait,
            timeout_us: 6_000_000,
        },
    ));
    script.now = 4_000_000;
    script.step(Input::Connected);
    let out = script.step(said(welcome(0, 1)));
    let left = Question::Wait {
        select: Selector::all(),
        timeout_ms: 2_000,
    };
    assert_eq!(
        out[1..],
        [Output::Send(
            client::Ask {
                id: 1,
                question: left
            }
            .into(),
            Vec::new()
        )]
    );
    let out = script.later(2_000_000);
    assert_eq!(
        out,
        [Output::Reply(
            CallKey(1),
            Box::new(Err(CallFault::TimedOut { after_us: 6_000_000 }))
        )]
    );
    // Its answer comes too late.
    assert_eq!(
        script.step(said(Answer {
            id: 1,
            reply: Reply::Ended(Counts::default())
        })),
        []
    );
    assert_eq!(script.machine.counters().strays, 1);

    script.step(call(
        2,
        Call::Stop {
            worker: None,
            drain_ms: 3,
            timeout_us: 1_000,
        },
    ));
    let out = script.step(said(Answer {
        id: 2,
        reply: Reply::Stopping,
    }));
    let answered = Ok(Answered::Reply(Reply::Stopping, Vec::new()));
    assert_eq!(out, [Output::Reply(CallKey(2), Box::new(answered))]);
}

#[test]
fn goodbye_is_the_last_word() {
    let mut script = Script::attached(config());
    script.step(Input::Submit(bare(1, 1)));
    let out = script.step(Input::Goodbye {
        reason: "done".into(),
    });
    assert_eq!(sent(&out), ["goodbye"]);
    assert_eq!(resolved(&out), [(1, 0, 1, None)]);
    assert_eq!(out.last(), Some(&Output::Over(SessionEnd::Closed)));
}

#[test]
fn what_was_not_on_disk_is_brought_back_to_another_life_in_messages_that_fit() {
    let mut script = Script::attached(config());
    script.step(Input::Submit(bare(1, 40)));
    // Each with as much text as a function's error may have.
    let results = client::Results {
        delivery: 1,
        durable: client::Durable::Pending,
        groups: (0..40)
            .map(|lo| {
                let mut group = group(1, lo, lo + 1, Ending::Failed);
                group.error.as_mut().unwrap().trace = Some("x".repeat(60 << 10));
                group
            })
            .collect(),
        accepted: Vec::new(),
    };
    script.step(said(results));
    script.step(Input::Disconnected);
    let out = script.step(Input::Connected);
    let [Output::Send(message, _)] = &out[..] else {
        panic!("{out:?}")
    };
    let client::ClientToAgent::Named(client::NamedClientToAgent::ClientHello(hello)) = message else {
        panic!("{message:?}")
    };
    assert!(hello.brings);
    let next_life = || ClientWelcome {
        incarnation: 2,
        journal: true,
        ..welcome(0, 1)
    };
    let brought = |out: &[Output]| -> (usize, usize) {
        let (mut groups, mut last) = (0, 0);
        for output in out {
            if let Output::Send(client::ClientToAgent::Named(named), _) = output
                && let client::NamedClientToAgent::BringBack(brought) = named
            {
                assert!(named.encode().len() < limits::HEADER_BYTES);
                groups += brought.groups.len();
                last += usize::from(!brought.more);
            }
        }
        (groups, last)
    };
    let out = script.step(said(next_life()));
    assert_eq!(sent(&out)[0], "submit");
    assert_eq!(brought(&out), (40, 1));
    // Again, until the agent has them; then never.
    script.step(Input::Disconnected);
    script.step(Input::Connected);
    assert_eq!(brought(&script.step(said(next_life()))), (40, 1));
    script.step(said(client::BroughtBack {}));
    script.step(Input::Disconnected);
    script.step(Input::Connected);
    assert_eq!(brought(&script.step(said(next_life()))), (0, 0));
}

#[test]
fn what_has_ended_is_brought_back_before_anything_that_could_cancel_it() {
    let mut script = Script::attached(config());
    script.step(Input::Submit(bare(1, 2)));
    script.step(said(client::Accepted {
        request: 1,
        submission: 1,
        count: 2,
        note: None,
        record: 0,
    }));
    script.step(said(client::Results {
        delivery: 1,
        durable: client::Durable::Pending,
        groups: vec![group(1, 0, 1, Ending::Done)],
        accepted: Vec::new(),
    }));
    let select = "1".parse().unwrap();
    let strength = scalems_protocol::state::Strength::Kill;
    let reason = String::new();
    script.step(call(
        1,
        Call::Cancel {
            select,
            strength,
            reason,
        },
    ));
    script.step(Input::Disconnected);
    script.step(Input::Connected);
    let out = script.step(said(ClientWelcome {
        incarnation: 2,
        journal: true,
        ..welcome(1, 1)
    }));
    assert_eq!(sent(&out), ["bring_back", "cancel", "bring_back"]);
}
