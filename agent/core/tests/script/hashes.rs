//! State hashes: compared only at points that both sides know (DESIGN 6), and what a difference leads to.

use scalems_core::Input;
use scalems_protocol::TaskState::{Leased, Running};
use scalems_protocol::client::{Question, Reply};
use scalems_protocol::worker::{Beat, Holdings, WorkerWelcome};

use crate::say::{RUN, beat, done, held, hello, joins, returned, run, started, submit};
use crate::world::World;

/// A worker with room for two and leases of an array of three.
fn leased() -> (World, WorkerWelcome) {
    let mut world = World::new();
    world.worker(1, joins("w", 2)).begins(&["w1< welcome"]);
    let welcome = world.worker_welcome();
    world.client(1, hello("s")).begins(&["c1< welcome session 2"]);
    world
        .client(1, submit(1, 3, RUN))
        .begins(&["c1< accepted", "w1< lease 1 recorded 0: 1.0-2@1"]);
    (world, welcome)
}

fn beats(world: &mut World) -> (u64, u64) {
    match world.ask(
        1,
        Question::Workers(scalems_protocol::client::WorkersPage::default()),
    ) {
        Reply::Workers(listing) => listing.rows[0].beats,
        other => panic!("{other:?}"),
    }
}

#[test]
fn equal_at_every_point_of_both_streams() {
    let (mut world, welcome) = leased();
    let both = run(1, 0, 2, 1);
    let said = |world: &mut World, beat: Beat| world.round(vec![Input::Beat(beat)]).is(&[]);
    // Before the lease was applied, after it, after the first report, and over the reliable way.
    said(&mut world, beat(&welcome, 0, 0, &[]));
    said(&mut world, beat(&welcome, 1, 0, &[(both, Leased)]));
    world.worker(1, started(1, run(1, 0, 1, 1))).is(&[]);
    said(
        &mut world,
        beat(
            &welcome,
            1,
            1,
            &[(run(1, 0, 1, 1), Running), (run(1, 1, 2, 1), Leased)],
        ),
    );
    world
        .worker(1, done(2, run(1, 0, 1, 1)))
        .is(&["w1< lease 2 recorded 2: 1.2@1 run"]);
    world
        .worker(1, beat(&welcome, 1, 2, &[(run(1, 1, 2, 1), Leased)]))
        .is(&[]);
    said(&mut world, beat(&welcome, 2, 2, &[(run(1, 1, 3, 1), Leased)]));
    assert_eq!(beats(&mut world), (5, 0));
}

#[test]
fn a_beat_ahead_of_its_report_waits_for_it() {
    let (mut world, welcome) = leased();
    world
        .round(vec![Input::Beat(beat(
            &welcome,
            1,
            2,
            &[(run(1, 1, 2, 1), Leased)],
        ))])
        .is(&[]);
    assert_eq!(beats(&mut world), (0, 0));
    world.worker(1, started(1, run(1, 0, 1, 1))).is(&[]);
    assert_eq!(beats(&mut world), (0, 0));
    world
        .worker(1, done(2, run(1, 0, 1, 1)))
        .is(&["w1< lease 2 recorded 2: 1.2@1 run"]);
    assert_eq!(beats(&mut world), (1, 0));
}

#[test]
fn beats_that_never_meet_their_reports_are_asked_for() {
    let (mut world, welcome) = leased();
    for _ in 0..9 {
        world.round(vec![Input::Beat(beat(&welcome, 1, 7, &[]))]).is(&[]);
    }
    world
        .round(vec![Input::Beat(beat(&welcome, 1, 7, &[]))])
        .is(&["w1< list beat"]);
}

#[test]
fn what_a_worker_lost_is_leased_again() {
    let (mut world, welcome) = leased();
    world
        .listen(scalems_protocol::event::Topic::Alarms)
        .is(&["event alarms 0: open"]);
    let has = run(1, 1, 2, 1);
    world
        .round(vec![Input::Beat(beat(&welcome, 1, 0, &[(has, Leased)]))])
        .is(&["w1< list", "event alarms 1: hash_differs w"]);
    // Nothing is granted while its list is awaited, so that it is of now.
    world.worker(1, returned(1, has)).is(&[]);
    world
        .worker(
            1,
            Holdings {
                applied: 1,
                sent: 1,
                held: vec![],
            },
        )
        .is(&["w1< lease 2 recorded 1: 1.2@1 run; 1.1@2 run"]);
    world
        .round(vec![Input::Beat(beat(
            &welcome,
            2,
            1,
            &[(run(1, 2, 3, 1), Leased), (run(1, 1, 2, 2), Leased)],
        ))])
        .is(&[]);
    assert_eq!(beats(&mut world), (1, 1));
}

#[test]
fn what_a_worker_should_not_have_is_killed() {
    let (mut world, welcome) = leased();
    let (known, odd) = (run(1, 0, 2, 1), run(1, 2, 3, 1));
    world
        .round(vec![Input::Beat(beat(
            &welcome,
            1,
            0,
            &[(known, Leased), (odd, Running)],
        ))])
        .is(&["w1< list"]);
    let list = Holdings {
        applied: 1,
        sent: 0,
        held: vec![held(known, Leased), held(odd, Running)],
    };
    world
        .worker(1, list.clone())
        .is(&["w1< revoke 2 kill silent: 1.2@1"]);
    // A list that nobody asked for says nothing.
    world.worker(1, list).is(&[]);
    // The hash counts it until the worker says that it is gone.
    world
        .round(vec![Input::Beat(beat(
            &welcome,
            2,
            0,
            &[(known, Leased), (odd, Running)],
        ))])
        .is(&[]);
    world.worker(1, returned(1, odd)).is(&[]);
    world
        .round(vec![Input::Beat(beat(&welcome, 2, 1, &[(known, Leased)]))])
        .is(&[]);
    assert_eq!(beats(&mut world), (2, 1));
}

#[test]
fn a_list_that_crossed_a_message_is_asked_for_again() {
    let (mut world, welcome) = leased();
    world
        .round(vec![Input::Beat(beat(&welcome, 1, 0, &[]))])
        .is(&["w1< list"]);
    let cancel = crate::say::cancel(
        2,
        "1".parse().unwrap(),
        scalems_protocol::state::Strength::Withdraw,
    );
    world
        .client(1, cancel)
        .begins(&["w1< revoke 2", "c1< cancel_done"]);
    world
        .worker(
            1,
            Holdings {
                applied: 1,
                sent: 0,
                held: vec![],
            },
        )
        .is(&["w1< list"]);
    world
        .worker(
            1,
            Holdings {
                applied: 2,
                sent: 0,
                held: vec![],
            },
        )
        .is(&[]);
    assert_eq!(world.agent.counts().canceled, 3);
}

#[test]
fn a_beat_without_the_secret_of_the_connection_is_nobodys() {
    let (mut world, welcome) = leased();
    let forged = Beat {
        link: welcome.link ^ 1,
        ..beat(&welcome, 1, 0, &[])
    };
    world.round(vec![Input::Beat(forged)]).is(&[]);
    let odd = Beat {
        worker: u64::MAX,
        ..beat(&welcome, 1, 0, &[])
    };
    world.round(vec![Input::Beat(odd)]).is(&[]);
    assert_eq!(world.counter("foreign_beats"), 2);
    assert_eq!(beats(&mut world), (0, 0));
}
