//! Another life of the agent, from the records of the one before.

use scalems_core::Config;
use scalems_protocol::client::{Acknowledge, ClientHello, Page, Question, Reply};
use scalems_protocol::state::Strength;
use scalems_protocol::task::{After, Policy};

use crate::say::{RUN, With, cancel, done, failed, hello, joins, run, started, submit};
use crate::world::{World, config};

fn life(incarnation: u64) -> Config {
    Config {
        journal: true,
        incarnation,
        ..config()
    }
}

/// A worker with two cores, a client in session "s" with seat 2, and everything on disk.
fn first_life() -> (World, ClientHello) {
    let mut world = World::with(life(1));
    world.worker(1, joins("w", 2)).begins(&["w1< welcome"]);
    world
        .client(1, hello("s"))
        .begins(&["record 1", "record 2", "record 3"]);
    world.durable().begins(&["c1< welcome session 2"]);
    let resume = world.resume();
    (world, resume)
}

/// As many records as there are are on disk when the agent dies.
fn second_life(world: World) -> World {
    let all = world.records.len();
    let (mut world, said) = world.reborn(life(2), all);
    said.is(&[&format!("record {}: numbers to 2097152", all + 1)]);
    world.durable().is(&[]);
    world
}

#[test]
fn what_had_ended_is_there_and_what_had_not_runs_again() {
    let (mut world, resume) = first_life();
    for request in 1..=2 {
        world
            .client(1, submit(request, 1, RUN))
            .begins(&["record", "w1< lease"]);
    }
    world
        .worker_with(1, done(1, run(1, 0, 1, 1)), &[])
        .is(&["record 6: ended 1.0@1 done"]);
    world.durable().begins(&["c1< accepted 1", "c1< accepted 2"]);
    let mut world = second_life(world);
    // The seat and the numbers of its requests are as they were.
    world
        .client(1, resume)
        .is(&["c1< welcome session 2, requests 2, next delivery 1"]);
    world
        .client(1, submit(2, 1, RUN))
        .is(&["c1< accepted 2: submission 2, 1 tasks"]);
    let held = Question::Results(Page {
        select: "1".parse().unwrap(),
        after: None,
        rows: 0,
    });
    assert!(matches!(world.ask(1, held), Reply::Results(listing) if listing.rows.len() == 1));
    // A worker of before is a new one. What is new starts at once, what may still run elsewhere later.
    world
        .worker(1, joins("w", 2))
        .begins(&["w1< welcome worker 65537"]);
    world.lives(1, true);
    world.client(1, submit(3, 1, RUN)).is(&[
        "record 8: submitted 1048577, 1 tasks",
        "w1< lease 1 recorded 0: 1048577.0@1 run",
    ]);
    world.wait(9_000).is(&[]);
    world.wait(1_000).is(&["w1< lease 2 recorded 0: 2.0@1 run"]);
}

#[test]
fn pushed_results_come_again_until_they_were_taken_in() {
    let (mut world, resume) = first_life();
    world
        .client(1, submit(1, 2, RUN).streaming())
        .begins(&["record", "w1< lease 1"]);
    for offset in 0..2 {
        let report = u64::from(offset) + 1;
        world
            .worker(1, done(report, run(1, offset, offset + 1, 1)))
            .begins(&["record", "c1< results"]);
    }
    world
        .client(1, Acknowledge { delivery: 1 })
        .is(&["record 7: collected 1.0@1"]);
    let mut world = second_life(world);
    world.client(1, resume).is(&[
        "c1< welcome session 2, requests 1, next delivery 1",
        "c1< results 1 Yes: 1.1@1 done",
    ]);
    world
        .client(1, Acknowledge { delivery: 1 })
        .is(&["record 9: collected 1.1@1"]);
}

#[test]
fn what_was_not_on_disk_has_not_been_and_its_number_is_not_given_again() {
    let (mut world, resume) = first_life();
    let before = world.records.len();
    world
        .client(1, submit(1, 1, RUN))
        .begins(&["record 4: submitted 1", "w1< lease 1"]);
    let (mut world, said) = world.reborn(life(2), before);
    said.is(&["record 4: numbers to 2097152"]);
    // Until that is on disk too, nobody is let in: its number would be given twice.
    world.client(1, resume).is(&[]);
    world
        .durable()
        .is(&["c1< welcome session 2, requests 0, next delivery 1"]);
    world
        .client(1, submit(1, 1, RUN))
        .is(&["record 5: submitted 1048577, 1 tasks"]);
}

#[test]
fn faults_cancels_and_dependencies_last() {
    let (mut world, resume) = first_life();
    let policy = Policy {
        retries: 1,
        ..Policy::default()
    };
    world
        .client(1, submit(1, 1, RUN).policy(policy))
        .begins(&["record", "w1< lease 1"]);
    world
        .worker(1, failed(1, run(1, 0, 1, 1)))
        .is(&["record 5: fault 1.0@1", "w1< lease 2 recorded 0: 1.0@2 run"]);
    let mut second = submit(2, 1, RUN);
    second.task.after = vec![After {
        request: Some(1),
        ..After::default()
    }];
    world.client(1, second).begins(&["record 6"]);
    world
        .client(1, submit(3, 1, RUN))
        .begins(&["record 7", "w1< lease 3"]);
    world.worker(1, started(2, run(3, 0, 1, 1))).is(&[]);
    let stop = || cancel(4, "3".parse().unwrap(), Strength::Request);
    world.client(1, stop()).begins(&["record 8", "w1< revoke"]);
    let all = world.records.len();
    let (mut world, said) = world.reborn(life(2), all);
    // No worker has it: it is canceled there and then.
    said.is(&["record 9: ended 3.0@0 canceled", "record 10: numbers to 2097152"]);
    world.durable().is(&[]);
    world
        .client(1, resume)
        .begins(&["c1< welcome session 2, requests 3"]);
    // The cancel has left no number: it is said again, and done again.
    world
        .client(1, stop())
        .is(&["c1< cancel_done 4: withdrawn 0 told 0 running 0 ended 1"]);
    world.worker(1, joins("w", 2)).begins(&["w1< welcome"]);
    world.lives(1, true);
    world.wait(10_000).is(&["w1< lease 1 recorded 0: 1.0@1 run"]);
    // A result of the life before is not taken. One failure was charged already.
    let mut report = failed(1, run(1, 0, 1, 1));
    world.worker(1, report.clone()).is(&[]);
    report.number = 2;
    report.results[0].incarnation = 2;
    world
        .worker(1, report)
        .is(&["record 11: ended 1.0@1 failed", "record 12: ended 2.0@0 canceled"]);
}

#[test]
fn numbers_that_left_no_record_may_be_missing_and_said_again() {
    let (mut world, resume) = first_life();
    world
        .client(1, submit(1, 1, RUN))
        .begins(&["record", "w1< lease"]);
    world.client(1, submit(2, 0, RUN)).is(&[]);
    world
        .client(1, submit(3, 1, RUN))
        .begins(&["record", "w1< lease"]);
    world.client(1, submit(4, 0, RUN)).is(&[]);
    world
        .durable()
        .begins(&["c1< accepted 1", "c1< refused", "c1< accepted 3", "c1< refused"]);
    let mut world = second_life(world);
    world
        .client(1, resume)
        .begins(&["c1< welcome session 2, requests 3"]);
    // 4 was answered and 2 was not taken in.
    world
        .client(1, submit(2, 0, RUN))
        .is(&["c1< refused request 2: invalid_value"]);
    world.client(1, submit(5, 1, RUN)).begins(&["record"]);
    world.durable().begins(&["c1< accepted 5"]);
    world
        .client(1, submit(4, 1, RUN))
        .begins(&["c1< refused request 4: request_number"]);
}
