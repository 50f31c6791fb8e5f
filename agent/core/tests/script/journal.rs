//! With a journal: answers wait for the disk, work does not (R4).

use scalems_core::{Config, Input};

use scalems_protocol::task::{OnSilence, Policy};

use crate::restored::life;
use crate::say::{QUICK, RUN, With, cancel, done, failed, hello, joins, run, shared, submit};
use crate::world::{World, config, from_client, from_worker};

pub(crate) fn journaled() -> World {
    let mut world = World::with(Config {
        journal: true,
        ..config()
    });
    world
        .worker(1, joins("w", 1))
        .begins(&["record 1: worker 1 w", "w1< welcome"]);
    // The token of a seat that is not on disk would be worth another's in the next life.
    world.client(1, hello("s")).is(&[
        "record 2: session 1 s",
        "record 3: numbers to 1048576",
        "record 4: seat 2 of 1, holder 3",
    ]);
    world.round(vec![Input::Durable(3)]).is(&[]);
    world
        .round(vec![Input::Durable(4)])
        .is(&["c1< welcome session 2, requests 0, next delivery 1"]);
    world
}

#[test]
fn work_goes_out_at_once_and_answers_once_they_last() {
    let mut world = journaled();
    world.client(1, submit(1, 1, RUN).streaming()).is(&[
        "record 5: submitted 1, 1 tasks",
        "w1< lease 1 recorded 0: 1.0@1 run",
    ]);
    // A result is delivered before it lasts, and says so; the worker keeps it until it does.
    world
        .worker(1, done(1, run(1, 0, 1, 1)))
        .is(&["record 6: ended 1.0@1 done", "c1< results 1 Pending: 1.0@1 done"]);
    world.lives(1, true);
    world.wait(3_000).is(&[]);
    world
        .round(vec![Input::Durable(5)])
        .is(&["c1< accepted 1: submission 1, 1 tasks"]);
    world.round(vec![Input::Durable(6)]).is(&[]);
    world.wait(2_000).is(&["c1< lasts 1", "w1< recorded 1"]);
    // A repeat of what does not last yet waits as well.
    world
        .client(1, submit(2, 0, RUN))
        .is(&["c1< refused request 2: invalid_value"]);
    world.client(1, submit(3, 1, RUN)).is(&[
        "record 7: submitted 2, 1 tasks",
        "w1< lease 2 recorded 1: 2.0@1 run",
    ]);
    world.client(1, submit(3, 1, RUN)).is(&[]);
    world.round(vec![Input::Durable(7)]).is(&[
        "c1< accepted 3: submission 2, 1 tasks",
        "c1< accepted 3: submission 2, 1 tasks",
    ]);
}

#[test]
fn each_lasting_change_is_a_record() {
    let mut world = journaled();
    let policy = scalems_protocol::task::Policy {
        retries: 1,
        crash_limit: 9,
        ..Default::default()
    };
    world
        .client(1, submit(1, 2, QUICK).policy(policy))
        .begins(&["record 5: submitted 1, 2 tasks", "w1< lease"]);
    world
        .worker(1, failed(1, run(1, 0, 1, 1)))
        .is(&["record 6: fault 1.0@1", "w1< lease 2 recorded 0: 1.0@2 quick"]);
    world.worker(1, crate::say::started(2, run(1, 1, 2, 1))).is(&[]);
    world
        .client(
            1,
            cancel(
                2,
                "1.0".parse().unwrap(),
                scalems_protocol::state::Strength::Request,
            ),
        )
        .is(&["record 7: cancel asked 1.0-1", "w1< revoke 3 request: 1.0@2"]);
    world.wait(14_000).begins(&[
        "w1< ping",
        "w1< ping",
        "w1< ping",
        "w1< ping",
        "record 8: worker 1 gone",
        "record 9: ended 1.0@2 canceled",
        "record 10: crash 1.1@1",
    ]);
    world
        .client(
            1,
            cancel(
                3,
                "1".parse().unwrap(),
                scalems_protocol::state::Strength::Request,
            ),
        )
        .is(&["record 11: ended 1.1@1 canceled"]);
    world
        .client(1, crate::say::forget(4, 1))
        .is(&["record 12: forgotten 1"]);
    world.round(vec![Input::Durable(12)]).is(&[
        "c1< accepted 1: submission 1, 2 tasks",
        "c1< cancel_done 2: withdrawn 0 told 1 running 0 ended 0",
        "c1< cancel_done 3: withdrawn 1 told 0 running 0 ended 1",
        "c1< forget_done 4: forgotten 2 kept 0",
    ]);
}

/// Numbers of records have no gaps, also where the agent forgets by itself: acks wait for every number.
#[test]
fn what_is_forgotten_for_room_is_recorded() {
    let mut world = journaled();
    let half = (scalems_protocol::limits::ENDED_TASKS / 2 + 1) as u32;
    let mut number = 0;
    for request in 1..=2 {
        world.client(1, submit(request, half, QUICK));
        for lo in (0..half).step_by(65_536) {
            number += 1;
            let hi = (lo + 65_536).min(half);
            world.round(vec![from_worker(1, done(number, run(request, lo, hi, 1)), &[])]);
        }
    }
    let records: Vec<u64> = world
        .last
        .iter()
        .filter_map(|action| match action {
            scalems_core::Action::Record { number, .. } => Some(*number),
            _ => None,
        })
        .collect();
    assert_eq!(
        records.len(),
        2,
        "the last end, and the first submission forgotten"
    );
    world.round(vec![Input::Durable(records[1])]);
    let input = from_client(1, submit(3, 1, QUICK).streaming(), &[]);
    let next = format!("record {}: submitted 3, 1 tasks", records[1] + 1);
    world.round(vec![input]).begins(&[&next, "w1< lease"]);
    world
        .round(vec![Input::Durable(records[1] + 1)])
        .is(&["c1< accepted 3: submission 3, 1 tasks"]);
}

#[test]
fn a_full_disk_is_said_also_while_answers_wait_for_it() {
    let mut world = journaled();
    world
        .client(1, submit(1, 1, QUICK))
        .begins(&["record 5: submitted 1", "w1< lease 1"]);
    world
        .worker(1, done(1, run(1, 0, 1, 1)))
        .is(&["record 6: ended 1.0@1 done"]);
    let wait = scalems_protocol::client::Question::Wait {
        select: "1".parse().unwrap(),
        timeout_ms: 1_000,
    };
    let ask = scalems_protocol::client::Ask {
        id: 7,
        question: wait,
    };
    // What is asked for waits for the disk as well, since it could not be taken back.
    world.client(1, ask).is(&[]);
    world
        .round(vec![Input::DiskFull(true)])
        .is(&["c1< answer 7: ended done 1"]);
    world
        .client(1, submit(2, 1, RUN))
        .is(&["c1< refused request 2: agent_full"]);
    world.round(vec![Input::DiskFull(false)]).is(&[]);
    world.durable().is(&["c1< accepted 1: submission 1, 1 tasks"]);
}

#[test]
fn with_a_full_disk_nothing_new_is_taken_in() {
    let mut world = journaled();
    world
        .listen(scalems_protocol::event::Topic::Alarms)
        .is(&["event alarms 0: open"]);
    world
        .round(vec![Input::DiskFull(true)])
        .is(&["event alarms 1: disk_full p"]);
    world
        .client(1, submit(1, 1, RUN))
        .begins(&["c1< refused request 1: agent_full"]);
    assert!(matches!(
        world.ask(1, scalems_protocol::client::Question::Status),
        scalems_protocol::client::Reply::Status(_)
    ));
    world.round(vec![Input::DiskFull(false)]).is(&[]);
    world
        .client(1, submit(2, 1, RUN))
        .begins(&["record 5: submitted 1", "w1< lease 1"]);
}

#[test]
fn with_a_full_disk_whoever_comes_can_read() {
    let mut world = journaled();
    world
        .client(2, shared("shell"))
        .is(&["record 5: session 4 shell", "record 6: seat 5 of 4, holder 6"]);
    // One that might have to go on with what it is given waits for the disk.
    world.client(3, hello("other")).begins(&["record 7", "record 8"]);
    world
        .round(vec![Input::DiskFull(true)])
        .is(&["c2< welcome session 5, requests 0, next delivery 1"]);
    assert_eq!(world.seen(), 4, "it has seen no more than is on disk");
    world
        .client(2, submit(1, 1, RUN))
        .is(&["c2< refused request 1: agent_full"]);
    world.round(vec![Input::DiskFull(false)]).is(&[]);
    world
        .durable()
        .is(&["c3< welcome session 8, requests 0, next delivery 1"]);
}

#[test]
fn what_ended_long_ago_is_forgotten_in_this_life_or_the_next() {
    let retaining = |incarnation| Config {
        retain_us: 10_000_000,
        ..life(incarnation)
    };
    let mut world = World::with(retaining(1));
    world
        .worker(1, joins("w", 2))
        .begins(&["record 1: worker 1 w", "w1< welcome"]);
    world.lives(1, true);
    world
        .client(1, hello("s"))
        .begins(&["record 2", "record 3", "record 4"]);
    world.durable().begins(&["c1< welcome session 2"]);
    for request in 1..=2 {
        world
            .client(1, submit(request, 1, RUN))
            .begins(&["record", "w1< lease"]);
        world
            .worker(1, done(request, run(request, 0, 1, 1)))
            .begins(&["record"]);
        world.durable().begins(&["c1< accepted"]);
        world.wait(4_000).is(&[&format!("w1< recorded {request}")]);
    }
    world.wait(1_999).is(&[]);
    world.wait(1).is(&["record 9: forgotten 1"]);
    assert_eq!(world.counter("forgotten_old"), 1);
    // What had ended before counts from then.
    let records = world.records.len();
    let (mut world, said) = world.reborn(retaining(2), records);
    said.is(&["record 10: numbers to 2097152"]);
    world.durable().is(&[]);
    world.wait(2_999).is(&[]);
    world.wait(1).begins(&["record 11: forgotten 2"]);
}

#[test]
fn what_must_run_alone_begins_at_workers_that_the_next_life_knows() {
    let mut world = journaled();
    world
        .worker(2, joins("v", 1))
        .begins(&["record 5: worker 2 v", "w2< welcome"]);
    let alone = Policy {
        on_silence: OnSilence::Continue,
        ..Policy::default()
    };
    for (request, on) in [(1, "w1< lease 1 recorded 0: 1.0@1 run"), (2, "")] {
        let record = format!("record {}: submitted {request}", request + 5);
        let expected: Vec<&str> = [&*record, on]
            .into_iter()
            .filter(|line| !line.is_empty())
            .collect();
        world
            .client(1, submit(request, 1, RUN).policy(alone.clone()))
            .begins(&expected);
    }
    world
        .round(vec![Input::Durable(5)])
        .begins(&["w2< lease 1 recorded 0: 2.0@1 run"]);
}
