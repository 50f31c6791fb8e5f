//! Hello, welcome, numbers, beats.

use scalems_protocol::worker::{ListHoldings, Ping, WorkerRefused};
use scalems_protocol::{Code, Refusal, program};

use super::*;

#[test]
fn the_first_hello_says_what_is_offered() {
    let mut rig = Rig::alone(2);
    assert!(rig.round([]).is_empty(), "nothing is said without a connection");
    let out = rig.round([Input::Connected]);
    let hello = hello(&out);
    let offer = [("cores", 2), ("gpus", 2), ("memory", 1_000), ("licence", 1)];
    assert_eq!(
        hello.offer,
        offer.map(|(kind, amount)| (kind.to_owned(), Amount::whole(amount)))
    );
    let modes: Vec<_> = hello
        .modes
        .iter()
        .map(|mode| (mode.name.as_str(), mode.instant))
        .collect();
    let built_in = [
        (program::NOOP, true),
        (program::ECHO, true),
        (program::FAIL, true),
        (program::SLEEP, false),
    ];
    assert_eq!(modes, [&built_in[..], &[(MODE, false)]].concat());
    assert!(hello.resume.is_none() && hello.held.is_empty());
}

#[test]
fn hello_is_asked_after_and_said_again_only_when_it_was_lost() {
    let mut rig = Rig::alone(1);
    let who = || WorkerRefused {
        refusal: Refusal::new(Code::HelloFirst, "who"),
    };
    let asks = |out: &[Output]| matches!(out, [Output::Send(WorkerToAgent::Pong(_), _)]);
    rig.round([Input::Connected]);
    assert_eq!(rig.machine.deadline(), Some(5 * SECOND));
    // A refusal of what was said before the hello does not make another.
    assert!(rig.say(who()).is_empty());
    assert!(rig.at(4 * SECOND, []).is_empty());
    assert!(asks(&rig.at(5 * SECOND, [])));
    assert!(
        asks(&rig.at(10 * SECOND, [])),
        "the agent says nothing, so it may have the hello"
    );
    // Nor does one that comes late, as long as the answer comes behind it.
    rig.now = 11 * SECOND;
    assert!(rig.say(who()).is_empty());
    assert_eq!(rig.machine.deadline(), Some(12 * SECOND));
    hello(&rig.at(12 * SECOND, []));
    rig.say(welcome(1, Vec::new()));
    assert_eq!(rig.machine.deadline(), Some(14 * SECOND));
}

/// Two hellos on one connection would be answered twice, and what is said between the answers counted twice.
#[test]
fn a_hello_that_may_be_under_way_is_not_said_again_on_the_next_connection() {
    let mut rig = Rig::alone(1);
    let out = rig.round([Input::Connected, Input::Disconnected, Input::Connected]);
    let [
        Output::Send(WorkerToAgent::WorkerHello(_), _),
        Output::Send(WorkerToAgent::Pong(_), _),
    ] = &out[..]
    else {
        panic!("{out:?}")
    };
    // It went over the connection that was lost, as the agent knows nothing of it.
    let refusal = Refusal::new(Code::HelloFirst, "who");
    assert!(rig.say(WorkerRefused { refusal }).is_empty());
    hello(&rig.at(SECOND, []));
}

#[test]
fn beats_come_on_time_and_say_where_both_streams_are() {
    let mut rig = Rig::joined(1);
    assert_eq!(rig.machine.deadline(), Some(2 * SECOND));
    rig.say(lease(template(program::NOOP), run(1, 0, 8)));
    rig.say(lease(program(2), run(2, 0, 1)));
    rig.say(lease(program(1), run(3, 0, 2)));
    rig.say(Ping {});
    let out = rig.at(2 * SECOND, []);
    let beat = beat(&out);
    assert_eq!(
        (beat.worker, beat.link, beat.beat, beat.applied, beat.sent),
        (3, 99, 2, 3, 2)
    );
    // Run 2 failed at once: it needs more cores than there are.
    assert_eq!(beat.hash, term(run(3, 0, 2), TaskState::Leased));
    assert_eq!(rig.machine.deadline(), Some(4 * SECOND));
}

#[test]
fn a_silent_agent_is_asked_over_the_reliable_way_and_nothing_starts() {
    let mut rig = Rig::joined(1);
    rig.say(lease(program(1), run(1, 0, 2)));
    rig.round([Input::Started { key: 1 }]);
    for second in [2, 4] {
        beat(&rig.at(second * SECOND, []));
    }
    let out = rig.at(
        6 * SECOND,
        [Input::Ended {
            key: 1,
            outcome: done(),
        }],
    );
    let [
        Output::Send(WorkerToAgent::Report(_), _),
        Output::Send(WorkerToAgent::Beat(asked), _),
        Output::PublishBeat(_),
    ] = &out[..]
    else {
        panic!("{out:?}")
    };
    assert_eq!(asked.hash, term(run(1, 1, 2), TaskState::Leased));
    assert_eq!(
        starts(&rig.say(Ping {})).len(),
        1,
        "a word from the agent, and work goes on"
    );
}

#[test]
fn a_gap_in_numbers_is_answered_with_hello_and_holdings() {
    let mut rig = Rig::joined(1);
    rig.say(lease(program(1), run(1, 0, 3)));
    rig.round([Input::Started { key: 1 }]);
    rig.number += 1;
    let out = rig.say(lease(program(1), run(2, 0, 3)));
    let hello = hello(&out);
    let resume = hello.resume.as_ref().unwrap();
    assert_eq!((resume.pilot, resume.worker), (PilotId([9; 16]), 3));
    let holds = [
        held(run(1, 0, 1), TaskState::Running),
        held(run(1, 1, 3), TaskState::Leased),
    ];
    assert_eq!(hello.held, holds);
    assert_eq!(rig.notes.pop(), Some(Note::Gap { expected: 2, got: 3 }));
    // What follows belongs to the old numbering.
    assert!(rig.say(lease(program(1), run(2, 0, 3))).is_empty());
    assert_eq!(beat(&rig.say(welcome(1, Vec::new()))).applied, 0);
    let sum = term(run(1, 0, 1), TaskState::Running).wrapping_add(term(run(1, 1, 3), TaskState::Leased));
    assert_eq!(rig.hash(), sum);
}

#[test]
fn a_welcome_of_a_hello_before_the_last_one_is_no_answer() {
    let mut rig = Rig::joined(1);
    rig.number += 1;
    let first = hello(&rig.say(lease(program(1), run(1, 0, 1)))).hello;
    // A second hello goes after it: the agent says that it does not know the worker, but has its hello by then.
    rig.at(6 * SECOND, []);
    let who = Refusal::new(Code::HelloFirst, "who");
    rig.say(WorkerRefused { refusal: who });
    let second = hello(&rig.at(8 * SECOND, [])).hello;
    assert_eq!(second, first + 1);
    let answer = |hello| WorkerWelcome {
        hello,
        ..welcome(1, Vec::new())
    };
    // What comes behind the first answer is granted again behind the second one.
    assert!(rig.say(answer(first)).is_empty());
    rig.number = 0;
    assert!(rig.say(lease(program(1), run(1, 0, 1))).is_empty());
    beat(&rig.say(answer(second)));
    assert_eq!(rig.hash(), 0, "it holds nothing");
}

#[test]
fn results_that_are_not_recorded_are_told_again() {
    let mut rig = Rig::joined(2);
    let (message, blobs) = lease_with(template(program::ECHO), run(1, 0, 2), b"ab", vec![1, 2]);
    rig.tell(message, blobs);
    rig.say(lease(template(program::NOOP), run(2, 0, 1)));
    rig.say(lease(program(1), run(3, 0, 3)));
    rig.round([Input::Started { key: 1 }]);
    rig.say(Recorded {
        recorded: 1,
        ..Recorded::default()
    });
    rig.round([Input::Disconnected]);
    assert!(
        rig.round([Input::Ended {
            key: 1,
            outcome: done()
        }])
        .is_empty(),
        "it is kept"
    );
    let out = rig.round([Input::Connected]);
    let holds = [
        held(run(3, 1, 2), TaskState::Leased),
        held(run(2, 0, 1), TaskState::Done),
        held(run(3, 0, 1), TaskState::Done),
        held(run(3, 2, 3), TaskState::Leased),
    ];
    assert_eq!(hello(&out).held, holds);
    // One more ends before the answer: the hash that begins with it counts what the list said.
    rig.round([Input::Ended {
        key: 2,
        outcome: done(),
    }]);
    let out = rig.say(welcome(1, Vec::new()));
    let [
        Output::Start(_),
        Output::Send(WorkerToAgent::Report(told), blobs),
        Output::PublishBeat(beat),
    ] = &out[..]
    else {
        panic!("{out:?}")
    };
    assert_eq!(told.number, 1);
    let runs: Vec<_> = told.results.iter().map(|group| group.run).collect();
    assert_eq!(runs, [run(2, 0, 1), run(3, 0, 1), run(3, 1, 2)]);
    assert_eq!(blobs, &[Bytes::from_static(b"valuevalue")]);
    assert!(told.started.is_empty());
    assert_eq!(beat.hash, term(run(3, 2, 3), TaskState::Leased));
}

#[test]
fn what_a_welcome_drops_is_killed_and_never_reported() {
    let mut rig = Rig::joined(2);
    rig.say(lease(template(program::NOOP), run(1, 0, 8)));
    rig.say(lease(program(1), run(2, 0, 4)));
    rig.round([Input::Started { key: 1 }, Input::Started { key: 2 }]);
    rig.round([Input::Disconnected]);
    rig.round([Input::Connected]);
    let out = rig.say(welcome(1, vec![run(1, 2, 6), run(2, 1, 3)]));
    assert_eq!(stops(&out).len(), 1);
    assert_eq!((stops(&out)[0].key, stops(&out)[0].strength), (2, Strength::Kill));
    let (told, _) = report(&out[1..2]);
    let runs: Vec<_> = told.results.iter().map(|group| group.run).collect();
    assert_eq!(runs, [run(1, 0, 2), run(1, 6, 8)]);
    let sum = term(run(2, 0, 1), TaskState::Running).wrapping_add(term(run(2, 3, 4), TaskState::Leased));
    assert_eq!(rig.hash(), sum);
    // Only when it is over is its core free.
    let out = rig.round([Input::Ended {
        key: 2,
        outcome: stopped(),
    }]);
    assert_eq!(
        starts(&out).iter().map(|lease| lease.offset).collect::<Vec<_>>(),
        [3]
    );
    assert_eq!(out.len(), 1);
}

#[test]
fn another_life_of_the_agent_adopts_leases_of_the_former() {
    let mut rig = Rig::joined(1);
    rig.say(lease(program(1), run(1, 0, 1)));
    rig.round([Input::Started { key: 1 }, Input::Disconnected]);
    rig.round([Input::Connected]);
    rig.say(welcome(2, Vec::new()));
    rig.say(lease(template(program::NOOP), run(2, 0, 1)));
    let out = rig.round([Input::Ended {
        key: 1,
        outcome: done(),
    }]);
    let (told, _) = report(&out);
    assert_eq!((told.number, told.results[0].incarnation), (2, 1));
}

#[test]
fn another_pilot_gets_nothing_of_the_former() {
    let mut rig = Rig::joined(1);
    rig.say(lease(program(1), run(1, 0, 2)));
    rig.say(lease(template(program::NOOP), run(2, 0, 1)));
    rig.round([Input::Disconnected]);
    rig.round([Input::Connected]);
    let out = rig.say(WorkerWelcome {
        pilot: PilotId([1; 16]),
        ..welcome(1, Vec::new())
    });
    assert_eq!(stops(&out).len(), 1);
    assert!(matches!(out[1..], [Output::PublishBeat(Beat { hash: 0, .. })]));
}

#[test]
fn holdings_and_beats_are_given_when_asked_and_follow_the_news() {
    let mut rig = Rig::joined(1);
    rig.say(lease(program(1), run(1, 0, 2)));
    let ask = ListHoldings { beat_only: false }.into();
    let out = rig.round([
        Input::Started { key: 1 },
        Input::Agent {
            message: ask,
            blobs: Vec::new(),
        },
    ]);
    let [
        Output::Send(WorkerToAgent::Report(_), _),
        Output::Send(WorkerToAgent::Holdings(holdings), _),
    ] = &out[..]
    else {
        panic!("{out:?}")
    };
    assert_eq!((holdings.applied, holdings.sent), (1, 1));
    let holds = [
        held(run(1, 0, 1), TaskState::Running),
        held(run(1, 1, 2), TaskState::Leased),
    ];
    assert_eq!(holdings.held, holds);
    assert!(matches!(
        rig.say(Ping {})[..],
        [Output::Send(WorkerToAgent::Pong(_), _)]
    ));
}

#[test]
fn an_agent_that_forgot_the_worker_is_greeted_again() {
    let mut rig = Rig::joined(1);
    let refusal = Refusal::new(Code::HelloFirst, "who");
    hello(&rig.say(WorkerRefused { refusal }));
    assert_eq!(rig.notes.pop(), Some(Note::HelloAgain));
}
