//! Results that a client saw before they were on disk, and brings back to an agent that has lost them.

use scalems_protocol::client::{BringBack, ClientHello};
use scalems_protocol::select::Selector;
use scalems_protocol::state::TaskState::{Done, Running};
use scalems_protocol::state::{Ending, Strength};
use scalems_protocol::worker::WorkerWelcome;

use crate::restored::{first_life, life};
use crate::say::{RUN, With, back, done, failed, group, held, hello, run, submit};
use crate::world::World;

/// A streaming task has ended, its client has seen it and the agent dies with so many records on disk.
fn seen(durable: usize) -> (World, ClientHello, WorkerWelcome) {
    let (mut world, resume, welcome) = first_life();
    world
        .client(1, submit(1, 1, RUN).streaming())
        .begins(&["record 5", "w1< lease 1"]);
    world
        .worker(1, done(1, run(1, 0, 1, 1)))
        .is(&["record 6: ended 1.0@1 done", "c1< results 1 Pending: 1.0@1 done"]);
    let (mut world, said) = world.reborn(life(2), durable);
    said.is(&[&format!("record {}: numbers to 2097152", durable + 1)]);
    world.durable().is(&[]);
    let resume = ClientHello {
        brings: true,
        ..resume
    };
    (world, resume, welcome)
}

pub(crate) fn brings(attempt: u32) -> BringBack {
    BringBack {
        groups: vec![group(run(1, 0, 1, attempt), Ending::Done)],
        more: false,
    }
}

#[test]
fn clients_hear_when_their_results_last() {
    let (mut world, resume, _) = first_life();
    world
        .client(1, submit(1, 2, RUN).streaming())
        .begins(&["record 5", "w1< lease 1"]);
    world
        .worker(1, done(1, run(1, 0, 1, 1)))
        .is(&["record 6: ended 1.0@1 done", "c1< results 1 Pending: 1.0@1 done"]);
    world.durable().begins(&["c1< accepted 1"]);
    world.wait(99).is(&[]);
    world.wait(1).is(&["c1< lasts 1"]);
    world.wait(1_000).is(&[]);
    // After a break it may not have heard it.
    world
        .client(2, resume)
        .begins(&["c2< welcome", "c2< results 1 Pending"]);
    world.wait(100).is(&["c2< lasts 1"]);
}

#[test]
fn what_was_kept_is_told_to_its_worker_only_once_it_is_on_disk() {
    let (mut world, resume, welcome) = seen(5);
    let run = run(1, 0, 1, 1);
    world
        .worker(1, back(&welcome, 2, &[held(run, Done)]))
        .begins(&["w1< welcome"]);
    world.lives(1, true);
    // The client may have seen another result, so this one is not recorded yet.
    world.worker(1, done(1, run)).is(&[]);
    world
        .client(
            1,
            ClientHello {
                brings: false,
                ..resume
            },
        )
        .begins(&["record 7: ended 1.0@1 done"]);
    world.wait(4_000).is(&[]);
    world.durable().begins(&["c1< welcome", "c1< results 1 Yes"]);
    world.wait(2_000).is(&["w1< recorded 1"]);
}

#[test]
fn what_a_client_saw_is_the_result() {
    let (mut world, resume, welcome) = seen(5);
    // The worker has the result too, but another one might have been seen.
    world
        .worker(1, back(&welcome, 2, &[held(run(1, 0, 1, 1), Done)]))
        .begins(&["w1< welcome worker 1 w drop []"]);
    world.worker(1, failed(1, run(1, 0, 1, 1))).is(&[]);
    world
        .client(1, resume)
        .begins(&["c1< welcome session 2, requests 1"]);
    world
        .client(1, brings(1))
        .is(&["record 7: ended 1.0@1 done", "record 8: collected 1.0@1"]);
    // Both hear that it is on disk once it is; and it does not come again.
    world.lives(1, true);
    world.durable().is(&["c1< brought_back"]);
    world.wait(2_000).is(&["w1< recorded 1"]);
    assert_eq!(world.counter("brought_back"), 1);
}

#[test]
fn another_attempt_that_runs_is_ended_for_what_was_seen() {
    let (mut world, resume, _) = seen(5);
    // The worker did not come back in time, and another one has begun.
    world.wait(10_000).is(&[]);
    world.worker(2, crate::say::joins("v", 2)).is(&[
        "record 7: worker 65537 v",
        "w2< welcome worker 65537 v drop []",
        "w2< lease 1 recorded 0: 1.0@1 run",
    ]);
    world.lives(2, true);
    world.durable().is(&[]);
    world.client(1, resume).begins(&["c1< welcome"]);
    world.client(1, brings(1)).is(&[
        "w2< revoke 2 kill silent: 1.0@1",
        "record 8: ended 1.0@1 done",
        "record 9: collected 1.0@1",
    ]);
    // All clients are back, or were waited for: that worker is waited for no more.
    assert_eq!(world.wait(20_000).0.last().unwrap(), "record 10: worker 1 gone");
}

#[test]
fn a_client_that_does_not_come_is_not_waited_for_long() {
    let (mut world, resume, welcome) = seen(5);
    world
        .worker(1, back(&welcome, 2, &[held(run(1, 0, 1, 1), Running)]))
        .begins(&["w1< welcome worker 1 w drop []"]);
    world.lives(1, true);
    world.worker(1, done(1, run(1, 0, 1, 1))).is(&[]);
    world.wait(29_999).is(&[]);
    world.wait(1).is(&["record 7: ended 1.0@1 done"]);
    // What comes later is superseded.
    world.client(1, resume).is(&[]);
    world
        .durable()
        .begins(&["c1< welcome", "c1< results 1 Yes: 1.0@1 done"]);
    let mut other = brings(1);
    other.groups[0].ending = Ending::Failed;
    world.client(1, other).is(&["c1< brought_back"]);
    assert_eq!(world.counter("superseded_results"), 1);
}

#[test]
fn a_client_without_anything_to_bring_is_not_waited_for() {
    let (mut world, resume, welcome) = seen(5);
    world
        .worker(1, back(&welcome, 2, &[held(run(1, 0, 1, 1), Done)]))
        .begins(&["w1< welcome worker 1 w drop []"]);
    world.worker(1, done(1, run(1, 0, 1, 1))).is(&[]);
    let resume = ClientHello {
        brings: false,
        ..resume
    };
    world.client(1, resume).is(&["record 7: ended 1.0@1 done"]);
}

#[test]
fn what_is_brought_back_of_a_submission_that_was_lost_too_follows_it() {
    let (mut world, resume, _) = seen(4);
    world
        .client(1, resume)
        .begins(&["c1< welcome session 2, requests 0"]);
    // Its number is another one now.
    world
        .client(1, submit(1, 1, RUN).streaming())
        .is(&["record 6: submitted 1048577, 1 tasks"]);
    world.client(1, brings(1)).is(&[
        "record 7: ended 1048577.0@1 done",
        "record 8: collected 1048577.0@1",
    ]);
    world
        .durable()
        .begins(&["c1< accepted 1: submission 1048577, 1 tasks", "c1< brought_back"]);
    // Nobody brings back what is not theirs, or what does not fit.
    let mut wrong = brings(1);
    wrong.groups[0].origin.session = 7;
    world.client(1, wrong).begins(&["c1< brought_back"]);
    let mut wrong = brings(1);
    wrong.groups[0].run.hi = 9;
    world.client(1, wrong).begins(&["c1< brought_back"]);
    assert_eq!(world.counter("superseded_results"), 10);
}

#[test]
fn a_cancel_waits_for_what_a_client_may_have_seen() {
    for seen_before in [true, false] {
        let (mut world, resume, _) = seen(5);
        world.client(2, hello("t")).begins(&["record 7", "record 8"]);
        world.durable().begins(&["c2< welcome"]);
        let cancel = crate::say::cancel(1, Selector::submission(1), Strength::Kill);
        world
            .client(2, cancel)
            .is(&["c2< cancel_done 1: withdrawn 1 told 0 running 0 ended 0"]);
        let hello = ClientHello {
            brings: seen_before,
            ..resume
        };
        if seen_before {
            world.client(1, hello).begins(&["c1< welcome"]);
            world
                .client(1, brings(1))
                .is(&["record 9: ended 1.0@1 done", "record 10: collected 1.0@1"]);
        } else {
            world.client(1, hello).begins(&["record 9: ended 1.0@0 canceled"]);
        }
    }
}
