//! Canceling: three strengths, each in each state; deadlines.

use scalems_core::{Input, Peer};
use scalems_protocol::TaskState::{Leased, Running};
use scalems_protocol::select::Selector;
use scalems_protocol::state::Strength::{Kill, Request, Withdraw};
use scalems_protocol::task::{After, Policy};

use crate::say::{RUN, With, back, cancel, canceled, done, failed, held, returned, run, started, submit};
use crate::world::World;

/// Submission 1 runs, 2 is leased, 3 is ready and 4 waits; 5 is done.
fn one_in_each_state() -> World {
    let mut world = World::small(3);
    world
        .client(1, submit(1, 1, RUN).streaming())
        .begins(&["c1< accepted", "w1< lease 1"]);
    world
        .client(1, submit(2, 1, RUN).streaming())
        .begins(&["c1< accepted", "w1< lease 2"]);
    world
        .client(1, submit(3, 1, RUN).streaming().cores(2))
        .begins(&["c1< accepted 3"]);
    let after = After {
        submission: Some(3),
        ..After::default()
    };
    world
        .client(1, submit(4, 1, RUN).streaming().after(after))
        .begins(&["c1< accepted 4"]);
    world
        .client(1, submit(5, 1, RUN))
        .begins(&["c1< accepted", "w1< lease 3"]);
    world.worker(1, started(1, run(1, 0, 1, 1))).is(&[]);
    world.worker(1, done(2, run(5, 0, 1, 1))).is(&[]);
    world
}

#[test]
fn withdraw_ends_only_what_has_not_started() {
    let mut world = one_in_each_state();
    world.client(1, cancel(6, Selector::all(), Withdraw)).is(&[
        "w1< revoke 4 withdraw: 2.0@1",
        "c1< cancel_done 6: withdrawn 2 told 1 running 1 ended 1",
        "c1< results 1 None: 3.0@0 canceled canceled; 4.0@0 canceled canceled",
    ]);
    world
        .worker(1, returned(3, run(2, 0, 1, 1)))
        .is(&["c1< results 2 None: 2.0@1 canceled canceled"]);
    world
        .worker(1, done(4, run(1, 0, 1, 1)))
        .is(&["c1< results 3 None: 1.0@1 done"]);
}

/// One task of them is withdrawn, and has begun before its worker heard of that.
fn one_withdrawn_too_late() -> World {
    let mut world = one_in_each_state();
    world
        .client(1, cancel(6, Selector::submission(2), Withdraw))
        .is(&[
            "w1< revoke 4 withdraw: 2.0@1",
            "c1< cancel_done 6: withdrawn 0 told 1 running 0 ended 0",
        ]);
    world.worker(1, started(3, run(2, 0, 1, 1))).is(&[]);
    world
}

#[test]
fn what_started_while_it_was_withdrawn_runs_on() {
    let mut world = one_withdrawn_too_late();
    world.worker(1, done(4, run(2, 0, 1, 1))).is(&[
        "w1< lease 5 recorded 4: 3.0@1 run",
        "c1< results 1 None: 2.0@1 done",
    ]);
}

#[test]
fn what_failed_while_it_was_withdrawn_has_failed() {
    let mut world = one_withdrawn_too_late();
    world.worker(1, failed(4, run(2, 0, 1, 1))).is(&[
        "w1< lease 5 recorded 4: 3.0@1 run",
        "c1< results 1 None: 2.0@1 failed exit_code",
    ]);
}

#[test]
fn request_and_kill_reach_what_runs() {
    for (strength, name) in [(Request, "request"), (Kill, "kill")] {
        let mut world = one_in_each_state();
        world.client(1, cancel(6, Selector::all(), strength)).is(&[
            &format!("w1< revoke 4 {name}: 1.0@1"),
            &format!("w1< revoke 5 {name}: 2.0@1"),
            "c1< cancel_done 6: withdrawn 2 told 2 running 0 ended 1",
            "c1< results 1 None: 3.0@0 canceled canceled; 4.0@0 canceled canceled",
        ]);
        world
            .worker(1, canceled(3, run(2, 0, 1, 1)))
            .is(&["c1< results 2 None: 2.0@1 canceled canceled"]);
        // It ended badly as it was asked to end: that is how a canceled task ends. It is not retried.
        world
            .worker(1, failed(4, run(1, 0, 1, 1)))
            .is(&["c1< results 3 None: 1.0@1 canceled canceled"]);
    }
}

#[test]
fn what_ends_well_before_it_is_told_has_ended_well() {
    let mut world = one_in_each_state();
    world
        .client(1, cancel(6, Selector::submission(1), Kill))
        .begins(&["w1< revoke 4 kill: 1.0@1", "c1< cancel_done 6"]);
    world.worker(1, done(3, run(1, 0, 1, 1))).is(&[
        "w1< lease 5 recorded 3: 3.0@1 run",
        "c1< results 1 None: 1.0@1 done",
    ]);
}

#[test]
fn some_tasks_of_an_array_by_their_indices() {
    let mut world = World::small(2);
    let mut array = submit(1, 6, RUN).streaming();
    (array.first, array.step) = (10, 5);
    world
        .client(1, array)
        .begins(&["c1< accepted", "w1< lease 1 recorded 0: 1.0-2@1"]);
    let select: Selector = "1.15-25:10".parse().unwrap();
    world.client(1, cancel(2, select, Withdraw)).is(&[
        "w1< revoke 2 withdraw: 1.1@1",
        "c1< cancel_done 2: withdrawn 1 told 1 running 0 ended 0",
        "c1< results 1 None: 1.3@0 canceled canceled",
    ]);
    world
        .client(1, cancel(3, Selector::submission(9), Withdraw))
        .is(&["c1< refused request 3: nothing_selected"]);
}

#[test]
fn a_lost_worker_ends_what_was_to_end() {
    let mut world = one_in_each_state();
    world
        .client(1, cancel(6, "1-2".parse().unwrap(), Request))
        .begins(&["w1< revoke", "w1< revoke", "c1< cancel_done"]);
    world.round(vec![Input::WorkerGone(Peer(1))]).is(&[]);
    world
        .wait(12_000)
        .is(&["c1< results 1 None: 1.0@1 canceled canceled; 2.0@1 canceled canceled"]);
}

/// Nothing that was said before a connection broke needs to have arrived.
#[test]
fn a_worker_that_comes_back_is_told_again_what_is_to_end() {
    let mut world = World::small(3);
    world
        .worker(1, crate::say::joins("w", 3))
        .begins(&["w1< welcome worker 2"]);
    let welcome = world.worker_welcome();
    world
        .client(1, submit(1, 3, RUN).streaming())
        .begins(&["c1< accepted", "w1< lease 1 recorded 0: 1.0-3@1"]);
    world.worker(1, started(1, run(1, 0, 1, 1))).is(&[]);
    world.round(vec![Input::WorkerGone(Peer(1))]).is(&[]);
    // Nobody can be told just now.
    world
        .client(1, cancel(2, "1.0-1".parse().unwrap(), Request))
        .is(&["c1< cancel_done 2: withdrawn 0 told 2 running 0 ended 0"]);
    world
        .client(1, cancel(3, "1.2".parse().unwrap(), Withdraw))
        .is(&["c1< cancel_done 3: withdrawn 0 told 1 running 0 ended 0"]);
    let list = [
        held(run(1, 0, 1, 1), Running),
        held(run(1, 1, 2, 1), Leased),
        held(run(1, 2, 3, 1), Running),
    ];
    world.worker(2, back(&welcome, 3, &list)).is(&[
        "w2< welcome worker 2 w-2 drop []",
        "w2< revoke 1 request: 1.0@1",
        "w2< revoke 2 request: 1.1@1",
    ]);
}

#[test]
fn a_deadline_ends_what_has_not_ended() {
    let mut world = World::small(1);
    world.lives(1, true);
    let policy = Policy {
        deadline_ms: 1_500,
        ..Policy::default()
    };
    world
        .client(1, submit(1, 2, RUN).streaming().policy(policy))
        .begins(&["c1< accepted", "w1< lease"]);
    world.worker(1, started(1, run(1, 0, 1, 1))).is(&[]);
    world.wait(1_499).is(&[]);
    world.wait(1).is(&[
        "w1< revoke 2 request: 1.0@1",
        "c1< results 1 None: 1.1@0 failed deadline",
    ]);
    world
        .worker(1, canceled(2, run(1, 0, 1, 1)))
        .is(&["c1< results 2 None: 1.0@1 canceled canceled"]);
}

#[test]
fn when_too_many_have_failed_the_others_are_canceled() {
    let mut world = World::small(1);
    world.lives(1, true);
    let mut tasks = submit(1, 4, RUN).streaming();
    tasks.task.max_failures = Some(1);
    world.client(1, tasks).begins(&["c1< accepted", "w1< lease"]);
    world.worker(1, started(1, run(1, 0, 1, 1))).is(&[]);
    world
        .worker(1, failed(2, run(1, 0, 1, 1)))
        .begins(&["w1< lease 2", "c1< results 1 None: 1.0@1 failed exit_code"]);
    world.worker(1, started(3, run(1, 1, 2, 1))).is(&[]);
    world.worker(1, failed(4, run(1, 1, 2, 1))).is(&[
        "w1< revoke 3 request: 1.2-4@1",
        "c1< results 2 None: 1.1@1 failed exit_code",
    ]);
}

#[test]
fn what_waits_for_its_next_attempt_is_canceled_at_once() {
    let mut world = World::small(1);
    world.lives(1, true);
    let policy = Policy {
        retries: 3,
        backoff_ms: 1_000,
        ..Policy::default()
    };
    world
        .client(1, submit(1, 1, RUN).streaming().policy(policy))
        .begins(&["c1< accepted", "w1< lease"]);
    world.worker(1, failed(1, run(1, 0, 1, 1))).is(&[]);
    world.client(1, cancel(2, Selector::all(), Withdraw)).is(&[
        "c1< cancel_done 2: withdrawn 1 told 0 running 0 ended 0",
        "c1< results 1 None: 1.0@1 canceled canceled",
    ]);
    world.wait(2_000).is(&["w1< recorded 1"]);
}
