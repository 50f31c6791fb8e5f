//! What attempts took, and how much of that for nothing.

use scalems_protocol::TaskState::Running;
use scalems_protocol::client::{Page, Question, Reply};
use scalems_protocol::select::Selector;
use scalems_protocol::task::{Needs, Policy};
use scalems_protocol::worker::WorkerGoodbye;

use crate::restored::{first_life, second_life};
use crate::say::{RUN, With, back, canceled, done, failed, held, joins, returned, run, started, submit};
use crate::world::World;

/// Kinds of what the first submission took: used, wasted, microseconds.
fn spent(world: &mut World) -> Vec<(String, u64, u64)> {
    let page = Page {
        select: Selector::submission(1),
        after: None,
        rows: 0,
    };
    let Reply::Submissions(listing) = world.ask(1, Question::Submissions(page)) else {
        panic!("submissions were asked for");
    };
    listing.rows[0].spent.clone()
}

fn kinds(time: (u64, u64), cores: u64) -> Vec<(String, u64, u64)> {
    vec![
        ("time".into(), time.0, time.1),
        ("cores".into(), cores * time.0, cores * time.1),
    ]
}

#[test]
fn attempts_that_failed_are_wasted_and_what_ended_well_is_used() {
    let mut world = World::small(6);
    world.lives(1, true);
    let policy = Policy {
        retries: 1,
        ..Policy::default()
    };
    world
        .client(1, submit(1, 3, RUN).streaming().cores(2).policy(policy))
        .first("c1< accepted");
    assert_eq!(spent(&mut world), []);
    world.worker(1, failed(1, run(1, 0, 1, 1)));
    assert_eq!(spent(&mut world), kinds((0, 1_000), 2));
    world.worker(1, done(2, run(1, 1, 2, 1)));
    world.worker(1, done(3, run(1, 0, 1, 2)));
    world.worker(1, canceled(4, run(1, 2, 3, 1)));
    assert_eq!(spent(&mut world), kinds((2_000, 2_000), 2));
}

#[test]
fn what_ran_on_a_lost_worker_counts_since_it_began() {
    let mut world = World::new();
    world.worker(1, joins("w", 2));
    world.client(1, crate::say::hello("s"));
    world
        .client(1, submit(1, 2, RUN).streaming())
        .begins(&["c1< accepted", "w1< lease"]);
    world.lives(1, true);
    world.worker(1, started(1, run(1, 0, 1, 1)));
    world.wait(5_000);
    world.lives(1, false);
    world.wait(30_000);
    assert_eq!(world.counter("workers_lost"), 1);
    let spent = spent(&mut world);
    assert_eq!((spent[0].0.as_str(), spent[0].1), ("time", 0));
    // Its last word came up to a beat before it was silent, and it is lost ten seconds after that.
    assert!((13_000_000..=16_000_000).contains(&spent[0].2), "{spent:?}");
}

#[test]
fn what_a_worker_hands_back_ran_for_nothing_and_is_charged_to_nobody() {
    let mut world = World::new();
    world.worker(1, joins("w", 1));
    world.client(1, crate::say::hello("s"));
    world
        .client(1, submit(1, 1, RUN).streaming())
        .begins(&["c1< accepted", "w1< lease"]);
    world.lives(1, true);
    world.worker(1, started(1, run(1, 0, 1, 1)));
    world.wait(5_000);
    world.worker(1, returned(2, run(1, 0, 1, 1)));
    assert_eq!(spent(&mut world), kinds((0, 5_000_000), 1));
    // It ran again at once, and its worker goes.
    world.worker(1, started(3, run(1, 0, 1, 2)));
    world.wait(2_000);
    world.worker(1, WorkerGoodbye::default());
    assert_eq!(spent(&mut world), kinds((0, 7_000_000), 1));
    assert_eq!(world.counter("workers_lost"), 0);
}

#[test]
fn what_ran_before_the_agent_began_counts_since_then() {
    let (mut world, resume, welcome) = first_life();
    world
        .client(1, submit(1, 1, RUN))
        .begins(&["record", "w1< lease"]);
    world.worker(1, started(1, run(1, 0, 1, 1)));
    world.durable();
    let mut world = second_life(world);
    world.client(1, resume).first("c1< welcome");
    let list = [held(run(1, 0, 1, 1), Running)];
    world.worker(2, back(&welcome, 2, &list)).first("w2< welcome");
    world.wait(60_000);
    assert_eq!(world.counter("workers_lost"), 1);
    world.durable();
    let spent = spent(&mut world);
    assert!((10_000_000..=60_000_000).contains(&spent[0].2), "{spent:?}");
}

#[test]
fn each_way_to_run_counts_what_it_has() {
    let mut world = World::small(5);
    let needs = Needs {
        variants: vec![Needs::cores(1)],
        ..Needs::cores(4)
    };
    world
        .client(1, submit(1, 2, RUN).streaming().needs(needs))
        .first("c1< accepted");
    // The first has four cores, and the other the one that is left.
    world.worker(1, done(1, run(1, 0, 1, 1)));
    world.worker(1, done(2, run(1, 1, 2, 1)));
    let wanted = [("time", 2_000, 0), ("cores", 4_000 + 1_000, 0)];
    assert_eq!(
        spent(&mut world),
        wanted.map(|(kind, used, wasted)| (kind.to_owned(), used, wasted))
    );
}
