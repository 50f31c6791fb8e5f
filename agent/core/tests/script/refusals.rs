//! What is refused at the edge.

use scalems_core::Config;
use scalems_protocol::client::{Ask, LogLevels, Question, Stop, Version};
use scalems_protocol::limits;
use scalems_protocol::select::Selector;
use scalems_protocol::state::Strength;
use scalems_protocol::task::{After, Needs};
use scalems_protocol::worker::{Pong, WorkerGoodbye};

use crate::say::{QUICK, RUN, With, cancel, hello, joins, shared, submit};
use crate::world::{World, config};

#[test]
fn what_no_worker_can_serve() {
    let mut world = World::small(4);
    world
        .client(1, submit(1, 1, "odd"))
        .is(&["c1< refused request 1: unknown_mode"]);
    world
        .client(1, submit(2, 1, RUN).cores(5))
        .is(&["c1< refused request 2: impossible_needs"]);
    let named = Needs {
        named: [("licenses".to_owned(), 1.into())].into(),
        ..Needs::default()
    };
    world
        .client(1, submit(3, 1, RUN).needs(named))
        .is(&["c1< refused request 3: impossible_needs"]);
    world
        .client(1, submit(4, 1, RUN).cores(4))
        .begins(&["c1< accepted 4", "w1< lease 1"]);
}

#[test]
fn what_a_worker_may_still_come_for_waits() {
    let mut world = World::new();
    world.client(1, hello("s")).begins(&["c1< welcome"]);
    world
        .client(1, submit(1, 1, RUN).cores(5))
        .begins(&["c1< accepted 1: submission 1, 1 tasks, note waiting_for_worker: "]);
    world.worker(1, joins("w", 4)).begins(&["w1< welcome"]);
    world
        .client(1, submit(2, 1, "odd"))
        .is(&["c1< refused request 2: unknown_mode"]);
    let mut world = World::with(Config {
        expected_workers: 2,
        ..config()
    });
    world.worker(1, joins("w", 4)).begins(&["w1< welcome"]);
    world.client(1, hello("s")).begins(&["c1< welcome"]);
    world
        .client(1, submit(1, 1, "odd"))
        .begins(&["c1< accepted 1: submission 1, 1 tasks, note waiting_for_worker: "]);
}

#[test]
fn what_a_worker_could_do_that_is_gone_waits_for_another_like_it() {
    for (open_to_workers, said) in [
        (
            true,
            "accepted 1: submission 1, 1 tasks, note waiting_for_worker: ",
        ),
        (false, "refused request 1: unknown_mode"),
    ] {
        let mut world = World::with(Config {
            open_to_workers,
            ..config()
        });
        world.worker(1, joins("w", 4)).begins(&["w1< welcome"]);
        world.worker(1, WorkerGoodbye::default()).is(&[]);
        world.client(1, hello("s")).begins(&["c1< welcome"]);
        world
            .client(1, submit(1, 1, RUN).cores(4))
            .begins(&[&format!("c1< {said}")]);
        // What nobody ever could is refused in any case.
        world
            .client(1, submit(2, 1, "odd"))
            .is(&["c1< refused request 2: unknown_mode"]);
        world
            .client(1, submit(3, 1, RUN).cores(5))
            .is(&["c1< refused request 3: impossible_needs"]);
    }
}

#[test]
fn dependencies_that_are_not_there() {
    let mut world = World::small(1);
    world
        .client(1, submit(1, 2, RUN))
        .begins(&["c1< accepted", "w1< lease"]);
    let after = |after: After, code: &str, world: &mut World, request: u64| {
        let refused = format!("c1< refused request {request}: {code}");
        world
            .client(1, submit(request, 1, RUN).after(after))
            .is(&[&refused]);
    };
    let on = |submission| After {
        submission: Some(submission),
        ..After::default()
    };
    after(on(7), "unknown_dependency", &mut world, 2);
    after(
        After {
            offsets: Some((0, 3)),
            ..on(1)
        },
        "unknown_dependency",
        &mut world,
        3,
    );
    after(After { each: true, ..on(1) }, "invalid_value", &mut world, 4);
    after(After::default(), "invalid_value", &mut world, 5);
    after(
        After {
            request: Some(6),
            ..After::default()
        },
        "unknown_dependency",
        &mut world,
        6,
    );
}

#[test]
fn shapes_that_are_none() {
    let mut world = World::small(1);
    let refused = |world: &mut World, request: u64, code: &str, submit, blobs: &[&[u8]]| {
        let line = format!("c1< refused request {request}: {code}");
        world.client_with(1, submit, blobs).is(&[&line]);
    };
    refused(
        &mut world,
        1,
        "invalid_value",
        submit(1, limits::SUBMISSION_TASKS + 1, QUICK),
        &[],
    );
    refused(
        &mut world,
        2,
        "malformed",
        submit(2, 2, QUICK).ends(&[1]),
        &[b"ab"],
    );
    refused(
        &mut world,
        3,
        "malformed",
        submit(3, 2, QUICK).ends(&[2, 1]),
        &[b"ab"],
    );
    refused(
        &mut world,
        4,
        "malformed",
        submit(4, 2, QUICK).ends(&[1, 3]),
        &[b"ab"],
    );
    refused(&mut world, 5, "invalid_value", submit(5, 1, QUICK), &[b"a", b"b"]);
    let mut steps = submit(6, 3, QUICK);
    (steps.first, steps.step) = (u32::MAX - 2, 1);
    refused(&mut world, 6, "invalid_value", steps, &[]);
    refused(&mut world, 7, "invalid_value", submit(7, 1, ""), &[]);
}

#[test]
fn a_uid_comes_once_in_a_session() {
    let mut world = World::small(1);
    let named = |request| {
        let mut submit = submit(request, 1, RUN);
        submit.task.uid = Some("mine".into());
        submit
    };
    world.client(1, named(1)).begins(&["c1< accepted", "w1< lease"]);
    world
        .client(1, named(2))
        .is(&["c1< refused request 2: duplicate_uid"]);
    world.client(2, hello("other")).begins(&["c2< welcome"]);
    world.client(2, named(1)).begins(&["c2< accepted 1"]);
}

#[test]
fn a_full_window_and_a_full_agent() {
    let mut world = World::small(1);
    let tasks = limits::WINDOW_TASKS as u32;
    for request in 1..=u64::from(tasks / 1_024) {
        let ends: Vec<u32> = (1..=1_024).collect();
        world.client_with(
            1,
            submit(request, 1_024, RUN).ends(&ends).streaming(),
            &[&[b'x'; 1_024]],
        );
    }
    assert_eq!(world.agent.counts().unfinished(), u64::from(tasks));
    world
        .client(1, submit(17, 1, RUN).streaming())
        .is(&["c1< refused request 17: window_full"]);
    // What the agent holds, and arrays, do not count.
    world.client(1, submit(18, 1, RUN)).begins(&["c1< accepted 18"]);
    world
        .client(
            1,
            submit(19, limits::SUBMISSION_TASKS - tasks - 1, RUN).streaming(),
        )
        .begins(&["c1< accepted 19"]);
    world
        .client(1, submit(20, 1, RUN))
        .is(&["c1< refused request 20: agent_full"]);
}

#[test]
fn a_window_is_full_of_bytes_too_but_one_large_item_goes_alone() {
    let mut world = World::small(1);
    let large = vec![0; limits::BLOB_BYTES];
    world
        .client_with(1, submit(1, 1, RUN).streaming(), &[&large])
        .begins(&["c1< accepted", "w1< lease"]);
    world
        .client_with(1, submit(2, 1, RUN).streaming(), &[b"x"])
        .is(&["c1< refused request 2: window_full"]);
}

#[test]
fn observers_change_nothing() {
    let mut world = World::small(1);
    world.observer(2, hello("")).begins(&["c2< welcome"]);
    world
        .observer(2, submit(1, 1, RUN))
        .is(&["c2< refused request 1: not_allowed"]);
    world
        .observer(2, cancel(1, Selector::all(), Strength::Kill))
        .is(&["c2< refused request 1: not_allowed"]);
    world
        .observer(
            2,
            Stop {
                id: 3,
                ..Stop::default()
            },
        )
        .is(&["c2< refused read 3: not_allowed"]);
    world
        .observer(
            2,
            Ask {
                id: 4,
                question: Question::Status,
            },
        )
        .is(&["c2< answer 4: status"]);
    // Nor do they sit down in somebody's place.
    world
        .round(vec![scalems_core::Input::ClientGone(scalems_core::Peer(1))])
        .is(&[]);
    world
        .observer(2, LogLevels::default())
        .is(&["c2< refused read 0: not_allowed"]);
    world.observer(3, hello("s")).is(&["c3< refused: not_allowed"]);
    world.observer(3, hello("new")).is(&["c3< refused: not_allowed"]);
    world.observer(3, shared("shell")).begins(&["c3< welcome"]);
}

#[test]
fn strangers_say_hello_first() {
    let mut world = World::new();
    world
        .client(1, submit(1, 1, RUN))
        .is(&["c1< refused request 1: hello_first"]);
    world.client(1, Version { id: 3 }).is(&["c1< answer 3: version"]);
    world.worker(1, Pong {}).is(&["w1< refused: hello_first"]);
    let mut hello = joins("w", 1);
    hello.modes = (0..300)
        .map(|at| scalems_protocol::worker::ModeOffer {
            name: at.to_string(),
            instant: false,
        })
        .collect();
    world.worker(1, hello).is(&["w1< refused: too_large"]);
    assert_eq!(world.counter("refused"), 2);
}
