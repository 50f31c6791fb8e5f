//! What workers say that is wrong, late, twice or for others.

use scalems_core::{Input, Peer};
use scalems_protocol::Ending;
use scalems_protocol::TaskState::{Leased, Running};
use scalems_protocol::group::{Place, ResultGroup};
use scalems_protocol::worker::Report;

use crate::say::{RUN, back, beat, done, group, held, hello, joins, report, run, started, submit};
use crate::world::World;

#[test]
fn a_gap_in_the_numbers_of_reports_begins_the_connection_anew() {
    let mut world = World::small(2);
    let mut late = World::small(2);
    for world in [&mut world, &mut late] {
        world
            .client(1, submit(1, 2, RUN))
            .begins(&["c1< accepted", "w1< lease 1 recorded 0: 1.0-2@1"]);
    }
    world
        .worker(1, started(2, run(1, 0, 1, 1)))
        .is(&["w1< refused: hello_first"]);
    world
        .worker(1, started(3, run(1, 1, 2, 1)))
        .is(&["w1< refused: hello_first"]);
    assert_eq!(world.counter("report_gaps"), 1);
    // A repeat is a gap as well.
    late.worker(1, started(1, run(1, 0, 1, 1))).is(&[]);
    late.worker(1, started(1, run(1, 0, 1, 1)))
        .is(&["w1< refused: hello_first"]);
}

#[test]
fn results_count_only_for_the_current_lease_of_their_worker() {
    let mut world = World::small(1);
    world.worker(2, joins("v", 1)).begins(&["w2< welcome"]);
    world
        .client(1, submit(1, 3, RUN))
        .begins(&["c1< accepted", "w1< lease", "w2< lease"]);
    let (mine, others) = (run(1, 0, 1, 1), run(1, 1, 2, 1));
    world.worker(1, done(1, others)).is(&[]);
    world.worker(1, done(2, run(1, 2, 3, 1))).is(&[]);
    world.worker(1, done(3, run(1, 0, 1, 2))).is(&[]);
    world.worker(1, done(4, run(9, 0, 1, 1))).is(&[]);
    world.worker(1, done(5, run(1, 0, 4_000, 1))).is(&[]);
    let foreign = |change: fn(&mut ResultGroup)| {
        let mut group = group(run(1, 0, 1, 1), Ending::Done);
        change(&mut group);
        group
    };
    let results = vec![
        foreign(|group| group.incarnation = 2),
        foreign(|group| group.origin.request = 9),
    ];
    world.worker(1, Report { results, ..report(6) }).is(&[]);
    assert_eq!(world.agent.counts().leased, 2);
    assert_eq!(world.counter("superseded_results"), 4_000 + 6);
    world
        .worker(1, done(7, mine))
        .begins(&["w1< lease 2 recorded 7: 1.2@1 run"]);
    // Twice is once.
    world.worker(1, done(8, mine)).is(&[]);
    assert_eq!(world.agent.counts().done, 1);
}

#[test]
fn results_that_cannot_be_read_are_counted() {
    let mut world = World::small(1);
    world
        .client(1, submit(1, 1, RUN))
        .begins(&["c1< accepted", "w1< lease"]);
    let place = Place {
        blob: Some(3),
        at: 0,
        length: 9,
        ends: Vec::new(),
    };
    let result = ResultGroup {
        place,
        ..group(run(1, 0, 1, 1), Ending::Done)
    };
    world
        .worker(
            1,
            Report {
                results: vec![result],
                ..report(1)
            },
        )
        .is(&[]);
    world.worker(1, done(2, run(1, 1, 1, 1))).is(&[]);
    assert_eq!(world.counter("malformed_results"), 2);
    // Times beyond all measure do no harm.
    let long = |offset| ResultGroup {
        ran_us: u64::MAX,
        ..group(run(2, offset, offset + 1, 1), Ending::Done)
    };
    world.worker(1, done(3, run(1, 0, 1, 1))).is(&[]);
    world
        .client(1, submit(2, 2, RUN))
        .begins(&["c1< accepted", "w1< lease"]);
    world
        .worker(
            1,
            Report {
                results: vec![long(0)],
                ..report(4)
            },
        )
        .is(&[]);
    world
        .worker(
            1,
            Report {
                results: vec![long(1)],
                ..report(5)
            },
        )
        .is(&[]);
    world.ask(
        1,
        scalems_protocol::client::Question::Results(scalems_protocol::client::Page {
            select: "all".parse().unwrap(),
            after: Some((u64::MAX, 0)),
            rows: 0,
        }),
    );
}

#[test]
fn a_lease_that_is_listed_twice_is_held_once() {
    let mut world = World::new();
    world.worker(1, joins("w", 2)).begins(&["w1< welcome"]);
    let welcome = world.worker_welcome();
    world.client(1, hello("s")).begins(&["c1< welcome session 2"]);
    world
        .client(1, submit(1, 2, RUN))
        .begins(&["c1< accepted", "w1< lease 1 recorded 0: 1.0-2@1"]);
    world.round(vec![Input::WorkerGone(Peer(1))]).is(&[]);
    let list = [
        held(run(1, 0, 2, 1), Leased),
        held(run(1, 1, 2, 1), Running),
        held(run(1, 0, 1, 1), Leased),
    ];
    world
        .worker(2, back(&welcome, 2, &list))
        .is(&["w2< welcome worker 1 w drop []"]);
    let welcome = world.worker_welcome();
    let believed = [(run(1, 0, 2, 1), Leased)];
    world
        .round(vec![Input::Beat(beat(&welcome, 0, 0, &believed))])
        .is(&[]);
    world.worker(2, done(1, run(1, 0, 2, 1))).is(&[]);
    // All room is free again.
    world
        .client(1, submit(2, 2, RUN))
        .begins(&["c1< accepted", "w2< lease 1 recorded 1: 2.0-2@1"]);
}

#[test]
fn runs_that_are_none_are_passed_over() {
    let mut world = World::small(1);
    world
        .client(1, submit(1, 1, RUN))
        .begins(&["c1< accepted", "w1< lease"]);
    for (number, odd) in [
        run(1, 5, 2, 1),
        run(1, 0, u32::MAX, 1),
        run(7, 0, 1, 1),
        run(1, 0, 1, 0),
    ]
    .into_iter()
    .enumerate()
    {
        let runs = vec![odd];
        let number = number as u64 + 1;
        world
            .worker(
                1,
                Report {
                    started: runs.clone(),
                    returned: runs,
                    ..report(number)
                },
            )
            .is(&[]);
    }
    assert_eq!(world.agent.counts().leased, 1);
}

#[test]
fn one_connection_belongs_to_one_worker() {
    let mut world = World::new();
    world.worker(1, joins("w", 1)).begins(&["w1< welcome worker 1"]);
    let first = world.worker_welcome();
    world.worker(2, joins("v", 1)).begins(&["w2< welcome worker 2"]);
    world
        .worker(2, back(&first, 1, &[]))
        .is(&["w2< welcome worker 1 w drop []"]);
    // The first connection of worker 1 is not its any more, and worker 2 has none.
    world
        .worker(1, scalems_protocol::worker::Pong {})
        .is(&["w1< refused: hello_first"]);
    world.client(1, hello("s")).begins(&["c1< welcome"]);
    let states = match world.ask(
        1,
        scalems_protocol::client::Question::Workers(scalems_protocol::client::WorkersPage::default()),
    ) {
        scalems_protocol::client::Reply::Workers(listing) => {
            listing.rows.into_iter().map(|row| row.state).collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(states, ["active", "suspect"]);
}
