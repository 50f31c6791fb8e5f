//! The end of a worker, and of the pilot.

use scalems_core::{Input, Peer};
use scalems_protocol::TaskState::Running;
use scalems_protocol::client::{Acknowledge, Stop};
use scalems_protocol::worker::WorkerGoodbye;

use crate::say::{RUN, With, back, done, held, hello, joins, returned, run, started, submit};
use crate::world::World;

/// A worker that runs one task and has one more, and one that has not been granted.
fn busy() -> (World, scalems_protocol::worker::WorkerWelcome) {
    let mut world = World::new();
    world.worker(1, joins("w", 2)).begins(&["w1< welcome"]);
    let welcome = world.worker_welcome();
    world.client(1, hello("s")).begins(&["c1< welcome session 2"]);
    world
        .client(1, submit(1, 3, RUN).streaming())
        .begins(&["c1< accepted", "w1< lease 1 recorded 0: 1.0-2@1"]);
    world.worker(1, started(1, run(1, 0, 1, 1))).is(&[]);
    (world, welcome)
}

#[test]
fn the_pilot_drains_its_workers_then_results_go_out_then_it_ends() {
    let (mut world, _) = busy();
    world
        .client(
            1,
            Stop {
                id: 4,
                worker: None,
                drain_ms: 5_000,
            },
        )
        .is(&["c1< answer 4: stopping", "w1< stop 5000 ms", "w1< recorded 1"]);
    world
        .client(1, submit(2, 1, RUN))
        .is(&["c1< refused request 2: stopping"]);
    // It waits for nothing but this before it says goodbye.
    world
        .worker(1, returned(2, run(1, 1, 2, 1)))
        .is(&["w1< recorded 2"]);
    world
        .worker(1, done(3, run(1, 0, 1, 1)))
        .is(&["c1< results 1 None: 1.0@1 done", "w1< recorded 3"]);
    // Nothing new is granted, and nobody new is let in.
    assert_eq!(world.agent.counts().ready, 2);
    world.worker(5, joins("v", 2)).is(&["w5< refused: stopping"]);
    world.worker(1, WorkerGoodbye::default()).is(&[]);
    world
        .client(1, Acknowledge { delivery: 1 })
        .is(&["c1< detached: stopping"]);
    // The client goes first: it might lose what it was sent last if the connection ended under it.
    world.round(vec![Input::ClientGone(Peer(1))]).is(&["exit"]);
}

#[test]
fn what_takes_too_long_is_not_waited_for() {
    let (mut world, _) = busy();
    world.lives(1, true);
    world
        .round(vec![Input::Stop { drain_ms: 3_000 }])
        .is(&["w1< stop 3000 ms", "w1< recorded 1"]);
    // Sooner is sooner, later is not later.
    world
        .client(
            1,
            Stop {
                id: 1,
                worker: None,
                drain_ms: 1_000,
            },
        )
        .is(&["c1< answer 1: stopping", "w1< stop 1000 ms"]);
    world
        .client(
            1,
            Stop {
                id: 2,
                worker: None,
                drain_ms: u64::MAX,
            },
        )
        .is(&["c1< answer 2: stopping"]);
    world.wait(2_999).is(&[]);
    world.wait(1).is(&["c1< detached: stopping"]);
    world.wait(249).is(&[]);
    world.wait(1).is(&["exit"]);
    world.wait(5_000).is(&[]);
}

#[test]
fn a_worker_whose_connection_broke_may_come_back_to_end_what_runs() {
    let (mut world, welcome) = busy();
    world.round(vec![Input::WorkerGone(Peer(1))]).is(&[]);
    world.round(vec![Input::Stop { drain_ms: 60_000 }]).is(&[]);
    world.wait(1_000).is(&[]);
    world
        .worker(2, back(&welcome, 2, &[held(run(1, 0, 1, 1), Running)]))
        .is(&["w2< welcome worker 1 w drop []", "w2< stop 59000 ms"]);
    world
        .worker(2, done(1, run(1, 0, 1, 1)))
        .is(&["c1< results 1 None: 1.0@1 done", "w2< recorded 1"]);
}

#[test]
fn one_worker_is_ended_and_the_rest_goes_on() {
    let (mut world, _) = busy();
    world
        .worker(2, joins("v", 1))
        .begins(&["w2< welcome worker 2 v", "w2< lease 1 recorded 0: 1.2@1"]);
    world
        .client(
            1,
            Stop {
                id: 1,
                worker: Some(9),
                drain_ms: 0,
            },
        )
        .is(&["c1< refused read 1: nothing_selected"]);
    world
        .client(
            1,
            Stop {
                id: 2,
                worker: Some(1),
                drain_ms: 500,
            },
        )
        .is(&["w1< stop 500 ms", "c1< answer 2: stopping", "w1< recorded 1"]);
    world
        .worker(1, returned(2, run(1, 1, 2, 1)))
        .is(&["w1< recorded 2"]);
    world
        .worker(2, done(1, run(1, 2, 3, 1)))
        .begins(&["w2< lease 2 recorded 1: 1.1@2", "c1< results"]);
    world
        .worker(1, WorkerGoodbye::default())
        .is(&["w2< lease 3 recorded 1: 1.0@2 run"]);
    world
        .client(
            1,
            Stop {
                id: 3,
                worker: Some(1),
                drain_ms: 0,
            },
        )
        .is(&["c1< refused read 3: nothing_selected"]);
}
