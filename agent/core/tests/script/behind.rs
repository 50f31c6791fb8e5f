//! A journal that ends before what peers have seen (R4).

use scalems_protocol::client::{ClientHello, Question, Reply, Stop};
use scalems_protocol::select::Selector;
use scalems_protocol::state::Strength;
use scalems_protocol::state::TaskState::Running;
use scalems_protocol::token::Token;
use scalems_protocol::worker::WorkerWelcome;
use scalems_protocol::{JournalMark, Role};

use crate::restored::{first_life, life};
use crate::say::{QUICK, RUN, back, beat, cancel, done, held, hello, joins, run, shared, submit};
use crate::world::{Said, World};

/// Records of the first life that are in the journal with which the second begins.
const KEPT: usize = 4;

/// A submission was acknowledged in the first life, and the journal was put back from before.
fn put_back() -> (World, ClientHello, WorkerWelcome) {
    let (mut world, resume, welcome) = first_life();
    world
        .client(1, submit(1, 1, RUN))
        .begins(&["record 5", "w1< lease 1 recorded 0: 1.0@1 run"]);
    world.durable().begins(&["c1< accepted 1"]);
    let (mut world, said) = world.reborn(life(2), KEPT);
    said.is(&["record 5: numbers to 2097152"]);
    world.durable().is(&[]);
    (world, resume, welcome)
}

fn seen(record: u64) -> JournalMark {
    JournalMark {
        incarnation: 1,
        life: 1,
        record,
    }
}

/// Whether it says that the journal is behind.
fn fell(said: &Said) -> bool {
    said.0.iter().any(|line| line.starts_with("fell behind"))
}

const WHY: &str = "the journal ended at record 4 when agent 2 began, and a client of session \"\" has seen record 5 of \
                   agent 1";

#[test]
fn nothing_is_taken_in_any_more_and_reads_go_on() {
    let (mut world, resume, welcome) = put_back();
    let hello_again = ClientHello {
        seen: Some(seen(5)),
        ..resume
    };
    world
        .worker(2, joins("v", 1))
        .begins(&["record 6: worker 65537 v", "w2< welcome"]);
    world.client(3, hello("other")).begins(&["record 7", "record 8"]);
    world.durable().begins(&["c3< welcome"]);
    world.client(1, hello_again.clone()).begins(&[
        &format!("fell behind life 2: {WHY}"),
        "c3< detached: journal_behind",
        "w2< stop 0 ms",
        "c1< refused",
    ]);
    world.client(1, hello_again).begins(&["c1< refused"]);
    // Workers keep what they have, and nobody waits for them.
    let list = [held(run(1, 0, 1, 1), Running)];
    world.worker(1, back(&welcome, 2, &list)).is(&[]);
    world.worker(2, beat(&welcome, 0, 0, &[])).is(&[]);
    world.worker(2, done(1, run(1, 0, 1, 1))).is(&[]);
    world.worker(4, joins("late", 1)).is(&[]);
    world.wait(3_600_000).is(&[]);
    // Who was there is refused, and whoever has nothing may look.
    world.client(5, hello("s")).begins(&["c5< refused"]);
    world.client(5, shared("shell")).begins(&["c5< welcome"]);
    assert!(matches!(world.ask(5, Question::Status), Reply::Status(_)));
    for changing in [submit(1, 1, QUICK), submit(2, 1, QUICK)] {
        world.client(5, changing).begins(&["c5< refused"]);
    }
    world
        .client(5, cancel(3, Selector::submission(1), Strength::Request))
        .begins(&["c5< refused"]);
    let stop = Stop {
        id: 9,
        worker: None,
        drain_ms: 60_000,
    };
    world
        .client(5, stop)
        .begins(&["c5< answer 9", "c5< detached: stopping"]);
    world.wait(249).is(&[]);
    world.wait(1).is(&["exit"]);
    world.wait(3_600_000).is(&[]);
}

#[test]
fn a_worker_tells_it_too() {
    let (mut world, _, welcome) = put_back();
    let mut hello = back(&welcome, 2, &[held(run(1, 0, 1, 1), Running)]);
    hello.resume.as_mut().unwrap().seen = seen(5);
    let said = world.worker(1, hello);
    assert!(fell(&said) && said.0.len() == 1, "{said:?}");
}

#[test]
fn only_who_proves_to_have_been_there_is_believed() {
    let mark = |incarnation, life, record| JournalMark {
        incarnation,
        life,
        record,
    };
    let right = Token::derive(&[3; 32], Role::Client, 3);
    let wrong = Token::derive(&[4; 32], Role::Client, 3);
    for (mark, token, behind) in [
        (mark(1, 1, 4), right, false),
        (mark(1, 1, 5), right, true),
        (mark(1, 1, 5), wrong, false),
        (mark(1, 1, 0), right, false),
        // Another second life, and a third. What went on from a copy saw nothing that is missing here.
        (mark(2, 7, 4), right, false),
        (mark(2, 7, 5), right, true),
        (mark(3, 7, 5), right, true),
        (mark(3, 7, 5), wrong, false),
        // This one.
        (mark(2, 2, 5), right, false),
        (mark(2, 2, 6), right, true),
    ] {
        let (mut world, mut hello, _) = put_back();
        hello.resume.as_mut().unwrap().token = token;
        hello.seen = Some(mark);
        assert_eq!(fell(&world.client(1, hello)), behind, "{mark:?}");
    }
}

#[test]
fn who_may_change_nothing_is_not_believed_and_no_number_is_past_going_on() {
    let (mut world, hello, _) = put_back();
    let mark = JournalMark {
        incarnation: u64::MAX,
        life: 0,
        record: u64::MAX,
    };
    let seen = ClientHello {
        seen: Some(mark),
        ..hello
    };
    assert!(!fell(&world.observer(7, seen.clone())));
    let said = world.client(1, seen);
    assert!(said.0[0].starts_with("fell behind life 1002: "), "{said:?}");
    // Who reads on takes nothing along that would be believed elsewhere.
    world.client(5, shared("shell")).begins(&["c5< welcome"]);
    assert_eq!(world.seen(), 0);
}

#[test]
fn what_is_acknowledged_says_how_far_the_journal_goes() {
    let (mut world, _, welcome) = first_life();
    assert_eq!(welcome.mark, JournalMark { record: 0, ..seen(0) });
    assert_eq!(world.seen(), 4);
    world
        .client(1, submit(1, 1, QUICK))
        .begins(&["record 5", "w1< lease"]);
    world.durable().begins(&["c1< accepted 1"]);
    assert_eq!(world.seen(), 5);
    world
        .worker(1, done(1, run(1, 0, 1, 1)))
        .begins(&["record 6: ended"]);
    world.durable();
    // A lease says it too.
    world
        .client(1, submit(2, 1, QUICK))
        .begins(&["record 7", "w1< lease"]);
    assert_eq!(world.seen(), 6);
    world.durable().begins(&["c1< accepted 2"]);
    world
        .client(1, cancel(3, Selector::submission(1), Strength::Request))
        .begins(&["c1< cancel_done 3"]);
    assert_eq!(world.seen(), 7);
}
