//! Tasks that wait for others.

use scalems_protocol::task::{After, When};

use crate::say::{QUICK, RUN, With, done, failed, forget, hello, run, submit};
use crate::world::{World, from_client, from_worker};

fn after(submission: u64) -> After {
    After {
        submission: Some(submission),
        ..After::default()
    }
}

#[test]
fn all_of_a_submission_has_to_end_well() {
    let mut world = World::small(1);
    world
        .client(1, submit(1, 2, QUICK))
        .begins(&["c1< accepted 1", "w1< lease 1 recorded 0: 1.0-2@1 quick"]);
    world
        .client(1, submit(2, 1, QUICK).after(after(1)))
        .begins(&["c1< accepted 2"]);
    assert_eq!(world.agent.counts().waiting, 1);
    world.worker(1, done(1, run(1, 0, 1, 1))).is(&[]);
    world
        .worker(1, done(2, run(1, 1, 2, 1)))
        .is(&["w1< lease 2 recorded 2: 2.0@1 quick"]);
}

#[test]
fn what_is_missed_ends_canceled_with_all_that_waits_for_it() {
    let mut world = World::small(1);
    world
        .client(1, submit(1, 2, QUICK))
        .begins(&["c1< accepted 1", "w1< lease 1"]);
    world
        .client(1, submit(2, 1, QUICK).streaming().after(after(1)))
        .begins(&["c1< accepted 2"]);
    world
        .client(1, submit(3, 1, QUICK).streaming().after(after(2)))
        .begins(&["c1< accepted 3"]);
    let any = After {
        when: When::Any,
        ..after(3)
    };
    world
        .client(1, submit(4, 1, QUICK).streaming().after(any))
        .begins(&["c1< accepted 4"]);
    // One of two failed: nothing can make it right any more.
    world.worker(1, failed(1, run(1, 0, 1, 1))).is(&[
        "w1< lease 2 recorded 1: 4.0@1 quick",
        "c1< results 1 None: 2.0@0 canceled dependency_failed; 3.0@0 canceled dependency_failed",
    ]);
}

#[test]
fn any_end_or_a_bad_end_can_be_asked_for() {
    let mut world = World::small(1);
    world
        .client(1, submit(1, 1, QUICK))
        .begins(&["c1< accepted 1", "w1< lease 1"]);
    world
        .client(1, submit(2, 1, QUICK))
        .begins(&["c1< accepted 2", "w1< lease 2"]);
    let when = |when, submission| After {
        when,
        ..after(submission)
    };
    world
        .client(1, submit(3, 1, QUICK).after(when(When::Any, 1)))
        .begins(&["c1< accepted 3"]);
    world
        .client(1, submit(4, 1, QUICK).after(when(When::Failed, 1)))
        .begins(&["c1< accepted 4"]);
    world
        .client(1, submit(5, 1, QUICK).streaming().after(when(When::Failed, 2)))
        .begins(&["c1< accepted 5"]);
    world
        .worker(1, failed(1, run(1, 0, 1, 1)))
        .is(&["w1< lease 3 recorded 1: 3.0@1 quick; 4.0@1 quick"]);
    world
        .worker(1, done(2, run(2, 0, 1, 1)))
        .is(&["c1< results 1 None: 5.0@0 canceled dependency_failed"]);
}

#[test]
fn task_by_task() {
    let mut world = World::small(2);
    let each = After {
        each: true,
        ..after(1)
    };
    world
        .client(1, submit(1, 3, RUN))
        .begins(&["c1< accepted 1", "w1< lease 1 recorded 0: 1.0-2@1 run"]);
    world
        .client(1, submit(2, 3, QUICK).streaming().after(each))
        .begins(&["c1< accepted 2"]);
    world
        .worker(1, done(1, run(1, 1, 2, 1)))
        .is(&["w1< lease 2 recorded 1: 1.2@1 run; 2.1@1 quick"]);
    world
        .worker(1, failed(2, run(1, 0, 1, 1)))
        .is(&["c1< results 1 None: 2.0@0 canceled dependency_failed"]);
    world
        .worker(1, done(3, run(1, 2, 3, 1)))
        .is(&["w1< lease 3 recorded 3: 2.2@1 quick"]);
}

#[test]
fn a_part_of_a_larger_submission() {
    let mut world = World::small(1);
    world
        .client(1, submit(1, 10, QUICK))
        .begins(&["c1< accepted 1", "w1< lease 1"]);
    let part = After {
        offsets: Some((2, 5)),
        ..after(1)
    };
    world
        .client(1, submit(2, 1, QUICK).after(part))
        .begins(&["c1< accepted 2"]);
    world.worker(1, done(1, run(1, 0, 4, 1))).is(&[]);
    // The rest of the submission has not ended.
    world
        .worker(1, done(2, run(1, 4, 5, 1)))
        .is(&["w1< lease 2 recorded 2: 2.0@1 quick"]);
    // What lies outside the part may end as it likes.
    world
        .client(
            1,
            submit(3, 1, QUICK).after(After {
                offsets: Some((0, 5)),
                ..after(1)
            }),
        )
        .begins(&["c1< accepted 3", "w1< lease 3 recorded 2: 3.0@1 quick"]);
}

#[test]
fn requests_name_earlier_submissions_of_the_same_numbering_and_numbers_those_of_all() {
    let mut world = World::small(1);
    world
        .client(1, submit(1, 1, QUICK))
        .begins(&["c1< accepted 1", "w1< lease 1"]);
    world
        .client(
            1,
            submit(2, 1, QUICK).after(After {
                request: Some(1),
                ..After::default()
            }),
        )
        .begins(&["c1< accepted 2"]);
    world
        .client(2, hello("other"))
        .is(&["c2< welcome session 5, requests 0, next delivery 1"]);
    world
        .client(2, submit(1, 1, QUICK).after(after(1)))
        .is(&["c2< accepted 1: submission 3, 1 tasks"]);
    world
        .client(
            2,
            submit(2, 1, QUICK).after(After {
                request: Some(7),
                ..After::default()
            }),
        )
        .is(&["c2< refused request 2: unknown_dependency"]);
    world
        .worker(1, done(1, run(1, 0, 1, 1)))
        .is(&["w1< lease 2 recorded 1: 2.0@1 quick; 3.0@1 quick"]);
}

/// The end and the forgetting of what others wait for, in one round.
#[test]
fn what_was_waited_for_may_be_forgotten_at_once() {
    let mut world = World::small(1);
    world
        .client(1, submit(1, 1, QUICK))
        .begins(&["c1< accepted 1", "w1< lease 1"]);
    world
        .client(1, submit(2, 1, QUICK).after(after(1)))
        .begins(&["c1< accepted 2"]);
    let inputs = vec![
        from_worker(1, done(1, run(1, 0, 1, 1)), &[]),
        from_client(1, forget(3, 1), &[]),
    ];
    world.round(inputs).is(&[
        "c1< forget_done 3: forgotten 1 kept 0",
        "w1< lease 2 recorded 1: 2.0@1 quick",
    ]);
}
