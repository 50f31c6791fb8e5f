//! Sessions: attaching, leaving, coming back, taking over.

use scalems_core::{Input, Peer};
use scalems_protocol::PilotId;
use scalems_protocol::client::{Acknowledge, Ask, ClientHello, Goodbye, Question};
use scalems_protocol::token::Token;

use crate::say::{QUICK, RUN, With, done, hello, run, shared, started, submit};
use crate::world::World;

#[test]
fn an_exclusive_session_has_one_client_at_a_time() {
    let mut world = World::small(1);
    world.client(2, hello("s")).is(&["c2< refused: session_in_use"]);
    world
        .client(
            2,
            Ask {
                id: 1,
                question: Question::Status,
            },
        )
        .is(&["c2< refused read 1: hello_first"]);
    let takes = ClientHello {
        takeover: true,
        ..hello("s")
    };
    world.client(2, takes).is(&[
        "c1< detached: taken_over",
        "c2< welcome session 2, requests 0, next delivery 1",
    ]);
    world
        .client(1, submit(1, 1, RUN))
        .is(&["c1< refused request 1: hello_first"]);
    world
        .client(2, submit(1, 1, RUN))
        .begins(&["c2< accepted 1", "w1< lease 1"]);
    // Once it is detached the name is enough.
    world.round(vec![Input::ClientGone(Peer(2))]).is(&[]);
    world
        .client(3, hello("s"))
        .is(&["c3< welcome session 2, requests 1, next delivery 1"]);
    world.client(4, shared("s")).is(&["c4< refused: session_kind"]);
}

#[test]
fn a_client_that_comes_back_gets_what_it_has_not_taken_in() {
    let mut world = World::small(1);
    world
        .client(1, hello("t"))
        .is(&["c1< welcome session 5, requests 0, next delivery 1"]);
    let resume = world.resume();
    world
        .client(1, submit(1, 3, QUICK).streaming())
        .begins(&["c1< accepted 1", "w1< lease 1"]);
    let result = |number, offset| {
        let mut report = done(number, run(1, offset, offset + 1, 1));
        report.results[0].origin.session = 5;
        report
    };
    world
        .worker(1, result(1, 0))
        .is(&["c1< results 1 None: 1.0@1 done"]);
    world
        .worker(1, result(2, 1))
        .is(&["c1< results 2 None: 1.1@1 done"]);
    world.round(vec![Input::ClientGone(Peer(1))]).is(&[]);
    world.worker(1, result(3, 2)).is(&[]);
    world
        .client(
            2,
            ClientHello {
                incarnation: 1,
                deliveries: 1,
                ..resume.clone()
            },
        )
        .is(&[
            "c2< welcome session 5, requests 1, next delivery 2",
            "c2< results 2 None: 1.1@1 done",
            "c2< results 3 None: 1.2@1 done",
        ]);
    // The same again, from a process that knows nothing but the name, after one delivery was taken in.
    world.client(2, Acknowledge { delivery: 2 }).is(&[]);
    world.round(vec![Input::ClientGone(Peer(2))]).is(&[]);
    world.client(3, hello("t")).is(&[
        "c3< welcome session 5, requests 1, next delivery 3",
        "c3< results 3 None: 1.2@1 done",
    ]);
    // The one before has no seat any more.
    world.client(4, resume).is(&["c4< refused: taken_over"]);
}

#[test]
fn the_same_client_may_come_back_before_its_old_connection_is_seen_to_be_gone() {
    let mut world = World::small(1);
    world.client(1, hello("t")).begins(&["c1< welcome"]);
    let resume = world.resume();
    world
        .client(
            1,
            Ask {
                id: 1,
                question: Question::Wait {
                    select: "all".parse().unwrap(),
                    timeout_ms: 1_000,
                },
            },
        )
        .is(&["c1< refused read 1: nothing_selected"]);
    world
        .client(2, resume)
        .is(&["c2< welcome session 5, requests 0, next delivery 1"]);
    world.round(vec![Input::ClientGone(Peer(1))]).is(&[]);
    world
        .client(2, submit(1, 1, RUN))
        .begins(&["c2< accepted 1", "w1< lease"]);
}

/// A client whose welcome takes long asks again before it has a token.
#[test]
fn hello_may_be_said_twice() {
    let mut world = World::small(1);
    world
        .client(1, hello("s"))
        .is(&["c1< welcome session 2, requests 0, next delivery 1"]);
    let resume = world.resume();
    world
        .client(1, hello("s"))
        .is(&["c1< welcome session 2, requests 0, next delivery 1"]);
    let latest = world.resume();
    world.client(2, resume).is(&["c2< refused: taken_over"]);
    world
        .client(2, latest)
        .is(&["c2< welcome session 2, requests 0, next delivery 1"]);
}

#[test]
fn tokens_and_pilots_have_to_be_the_right_ones() {
    let mut world = World::small(1);
    world.client(1, hello("t")).begins(&["c1< welcome"]);
    let resume = world.resume();
    let mut forged = resume.clone();
    if let Some(resume) = &mut forged.resume {
        resume.token = Token::derive(&[9; 32], scalems_protocol::Role::Client, resume.peer);
    }
    world.client(2, forged).is(&["c2< refused: wrong_token"]);
    world
        .client(
            2,
            ClientHello {
                pilot: Some(PilotId([1; 16])),
                ..resume
            },
        )
        .is(&["c2< refused: other_pilot"]);
    world
        .client(2, hello(&"x".repeat(257)))
        .is(&["c2< refused: too_large"]);
}

#[test]
fn a_shared_session_takes_any_number_each_with_its_own_requests() {
    let mut world = World::small(1);
    world
        .client(2, shared("shell"))
        .is(&["c2< welcome session 5, requests 0, next delivery 1"]);
    world
        .client(3, shared("shell"))
        .is(&["c3< welcome session 7, requests 0, next delivery 1"]);
    world
        .client(2, submit(1, 1, RUN))
        .begins(&["c2< accepted 1: submission 1", "w1< lease 1"]);
    world
        .client(3, submit(1, 1, RUN))
        .begins(&["c3< accepted 1: submission 2"]);
    // The session's latest submission is the same for all.
    assert!(matches!(world.ask(2, Question::Explain("last".parse().unwrap())),
        scalems_protocol::client::Reply::Explain(told) if told.row.run.submission == 2));
    world.client(2, Goodbye::default()).is(&[]);
    world
        .client(
            2,
            Ask {
                id: 1,
                question: Question::Status,
            },
        )
        .is(&["c2< refused read 1: hello_first"]);
    // What it brought is there still.
    assert_eq!(world.agent.counts().unfinished(), 2);
}

#[test]
fn a_uid_of_a_terminal_that_is_gone_is_free_once_its_task_is_forgotten() {
    let mut world = World::small(1);
    let named = |request| {
        let mut submit = submit(request, 1, QUICK);
        submit.task.uid = Some("mine".into());
        submit
    };
    world
        .client(2, shared("shell"))
        .begins(&["c2< welcome session 5"]);
    world
        .client(2, named(1))
        .begins(&["c2< accepted 1", "w1< lease 1"]);
    world.client(2, Goodbye::default()).is(&[]);
    world.client(3, shared("shell")).begins(&["c3< welcome"]);
    world
        .client(3, named(1))
        .is(&["c3< refused request 1: duplicate_uid"]);
    let mut report = done(1, run(1, 0, 1, 1));
    report.results[0].origin = scalems_protocol::Origin {
        session: 5,
        request: 1,
    };
    world.worker(1, report).is(&[]);
    world
        .client(3, crate::say::forget(2, 1))
        .is(&["c3< forget_done 2: forgotten 1 kept 0"]);
    world
        .client(3, named(3))
        .begins(&["c3< accepted 3: submission 2", "w1< lease 2"]);
}

#[test]
fn a_private_session_ends_with_its_client() {
    let mut world = World::small(1);
    world.client(2, hello("")).begins(&["c2< welcome session 5"]);
    world
        .client(2, submit(1, 2, RUN))
        .begins(&["c2< accepted", "w1< lease 1 recorded 0: 1.0@1"]);
    world.worker(1, started(1, run(1, 0, 1, 1))).is(&[]);
    world
        .client(2, Goodbye::default())
        .is(&["w1< revoke 2 request: 1.0@1"]);
    assert_eq!(world.agent.counts().canceled, 1);
    // Or some time after its connection is gone without a word.
    world.lives(1, true);
    world.client(3, hello("")).begins(&["c3< welcome"]);
    let resume = world.resume();
    world.client(3, submit(1, 1, RUN)).begins(&["c3< accepted"]);
    world.round(vec![Input::ClientGone(Peer(3))]).is(&[]);
    world.wait(599_000).begins(&["w1< recorded"]);
    world.client(4, resume).begins(&["c4< welcome"]);
    world.round(vec![Input::ClientGone(Peer(4))]).is(&[]);
    assert_eq!(world.agent.counts().canceled, 1);
    world.wait(600_000).is(&[]);
    assert_eq!(world.agent.counts().canceled, 2);
}

#[test]
fn a_session_may_ask_to_be_canceled_when_it_is_left() {
    let mut world = World::small(1);
    world.lives(1, true);
    world
        .client(
            2,
            ClientHello {
                cancel_after_ms: 3_000,
                ..hello("t")
            },
        )
        .begins(&["c2< welcome"]);
    world
        .client(2, submit(1, 1, RUN))
        .begins(&["c2< accepted", "w1< lease"]);
    world.round(vec![Input::ClientGone(Peer(2))]).is(&[]);
    world.wait(2_999).is(&[]);
    world.wait(1).is(&["w1< revoke 2 request: 1.0@1"]);
    // A time beyond all measure is no time at all.
    world
        .client(
            3,
            ClientHello {
                cancel_after_ms: u64::MAX,
                ..hello("u")
            },
        )
        .begins(&["c3< welcome"]);
    world.round(vec![Input::ClientGone(Peer(3))]).is(&[]);
}

/// Terminals are often closed without a goodbye, and must not be kept for ever.
#[test]
fn seats_of_terminals_that_are_gone_are_dropped() {
    let mut world = World::small(1);
    world.lives(1, true);
    world.client(2, shared("shell")).begins(&["c2< welcome"]);
    let resume = world.resume();
    world.round(vec![Input::ClientGone(Peer(2))]).is(&[]);
    world.wait(599_000).is(&[]);
    world.client(3, resume.clone()).begins(&["c3< welcome"]);
    world.round(vec![Input::ClientGone(Peer(3))]).is(&[]);
    world.wait(601_000).is(&[]);
    world.client(4, resume).is(&["c4< refused: taken_over"]);
}
