//! Another life of the agent, from the records of the one before.

use scalems_core::worker::Held;
use scalems_core::{Config, Input};
use scalems_protocol::client::{Acknowledge, ClientHello, Page, Question, Reply, WorkersPage};
use scalems_protocol::group::HeldRun;
use scalems_protocol::state::Strength;
use scalems_protocol::state::TaskState::{Done, Leased, Running};
use scalems_protocol::task::{After, Needs, OnSilence, Policy};
use scalems_protocol::worker::{Beat, WorkerHello, WorkerWelcome};

use crate::say::{RUN, With, back, beat, cancel, done, failed, held, hello, joins, run, started, submit};
use crate::world::{World, config};

pub(crate) fn life(incarnation: u64) -> Config {
    Config {
        journal: true,
        incarnation,
        life: incarnation,
        ..config()
    }
}

/// A worker with two cores, a client in session "s" with seat 2, and everything on disk.
pub(crate) fn first_life() -> (World, ClientHello, WorkerWelcome) {
    let mut world = World::with(life(1));
    world
        .worker(1, joins("w", 2))
        .begins(&["record 1: worker 1 w", "w1< welcome"]);
    let welcome = world.worker_welcome();
    world
        .client(1, hello("s"))
        .begins(&["record 2", "record 3", "record 4"]);
    world.durable().begins(&["c1< welcome session 2"]);
    let resume = world.resume();
    (world, resume, welcome)
}

/// As many records as there are are on disk when the agent dies.
pub(crate) fn second_life(world: World) -> World {
    let all = world.records.len();
    let (mut world, said) = world.reborn(life(2), all);
    said.is(&[&format!("record {}: numbers to 2097152", all + 1)]);
    world.durable().is(&[]);
    world
}

#[test]
fn what_had_ended_is_there_and_what_had_not_runs_again() {
    let (mut world, resume, welcome) = first_life();
    for request in 1..=2 {
        world
            .client(1, submit(request, 1, RUN))
            .begins(&["record", "w1< lease"]);
    }
    world
        .worker_with(1, done(1, run(1, 0, 1, 1)), &[])
        .is(&["record 7: ended 1.0@1 done"]);
    world.durable().begins(&["c1< accepted 1", "c1< accepted 2"]);
    let mut world = second_life(world);
    // The seat and the numbers of its requests are as they were.
    world
        .client(1, resume)
        .is(&["c1< welcome session 2, requests 2, next delivery 1"]);
    world
        .client(1, submit(2, 1, RUN))
        .is(&["c1< accepted 2: submission 2, 1 tasks"]);
    let results = Question::Results(Page {
        select: "1".parse().unwrap(),
        after: None,
        rows: 0,
    });
    assert!(matches!(world.ask(1, results), Reply::Results(listing) if listing.rows.len() == 1));
    // What is new starts at once; what the worker of before may still run starts when that is lost.
    world
        .worker(2, joins("v", 2))
        .begins(&["record 9: worker 65537 v", "w2< welcome worker 65537 v"]);
    world.lives(2, true);
    world.client(1, submit(3, 1, RUN)).is(&[
        "record 10: submitted 1048577, 1 tasks",
        "w2< lease 1 recorded 0: 1048577.0@1 run",
    ]);
    let why = world.ask(1, Question::Explain("2".parse().unwrap()));
    let Reply::Explain(why) = why else {
        panic!("{why:?}")
    };
    assert!(
        why.reasons[0].contains("1 workers of before are not back"),
        "{why:?}"
    );
    world.wait(9_000).is(&[]);
    world
        .wait(1_000)
        .is(&["record 11: worker 1 gone", "w2< lease 2 recorded 0: 2.0@1 run"]);
    // It comes back after all, with what another has begun: it has run it longer.
    let run = run(2, 0, 1, 1);
    world.worker(1, back(&welcome, 2, &[held(run, Running)])).is(&[
        "record 12: worker 1 w",
        "w2< revoke 3 kill silent: 2.0@1",
        "w1< welcome worker 1 w drop []",
    ]);
    world.worker(2, done(1, run)).is(&[]);
    world.worker(1, done(1, run)).is(&["record 13: ended 2.0@1 done"]);
}

#[test]
fn of_several_attempts_that_a_worker_of_before_lists_the_last_counts() {
    let (mut world, resume, welcome) = first_life();
    let retries = Policy {
        retries: 3,
        ..Policy::default()
    };
    world
        .client(1, submit(1, 1, RUN).policy(retries))
        .begins(&["record 5", "w1< lease 1 recorded 0: 1.0@1 run"]);
    world.durable().begins(&["c1< accepted 1"]);
    world
        .worker(1, failed(1, run(1, 0, 1, 1)))
        .begins(&["record 6: fault", "w1< lease 2 recorded 0: 1.0@2 run"]);
    // That the first attempt failed was not on disk.
    let (mut world, _) = world.reborn(life(2), 5);
    world.durable().is(&[]);
    world.client(1, resume).begins(&["c1< welcome"]);
    let list = [held(run(1, 0, 1, 1), Done), held(run(1, 0, 1, 2), Done)];
    world
        .worker(1, back(&welcome, 2, &list))
        .is(&["w1< welcome worker 1 w drop [1.0@1]"]);
    let begun = world.worker_welcome();
    world
        .worker(1, done(1, run(1, 0, 1, 2)))
        .is(&["record 7: ended 1.0@2 done"]);
    // Both know that it holds nothing.
    world.worker(1, beat(&begun, 0, 1, &[])).is(&[]);
    let Reply::Workers(rows) = world.ask(1, Question::Workers(WorkersPage::default())) else {
        panic!("workers are listed")
    };
    assert_eq!((rows.rows[0].beats, rows.rows[0].leases), ((1, 0), (0, 0)));
}

#[test]
fn a_clock_that_went_back_puts_no_deadline_off() {
    let mut world = World::with(life(1));
    world.now = 3_600_000_000;
    world
        .client(1, hello("s"))
        .begins(&["record 1", "record 2", "record 3"]);
    world.durable().begins(&["c1< welcome session 2"]);
    let deadline = Policy {
        deadline_ms: 1_500,
        ..Policy::default()
    };
    world
        .client(1, submit(1, 1, RUN).policy(deadline))
        .begins(&["record 4"]);
    world.now = 0;
    let mut world = second_life(world);
    world.wait(1_000).is(&[]);
    world.wait(1_000).is(&["record 6: ended 1.0@0 failed"]);
}

#[test]
fn a_worker_of_before_goes_on_with_what_it_has() {
    let (mut world, resume, welcome) = first_life();
    world
        .client(1, submit(1, 4, RUN))
        .begins(&["record 5", "w1< lease 1 recorded 0: 1.0-2@1 run"]);
    world.worker(1, started(1, run(1, 0, 2, 1))).is(&[]);
    world.durable().begins(&["c1< accepted 1"]);
    let mut world = second_life(world);
    // Nothing else is to come: what it does not list starts at once. The list says what had ended unheard.
    world.client(1, resume).begins(&["c1< welcome"]);
    let list = [held(run(1, 0, 1, 1), Done), held(run(1, 1, 2, 1), Running)];
    world
        .worker(1, back(&welcome, 2, &list))
        .is(&["w1< welcome worker 1 w drop []"]);
    let begun = world.worker_welcome();
    assert_eq!(begun.incarnation, 2);
    let mut again = done(1, run(1, 0, 1, 1));
    world.worker(1, again.clone()).is(&[
        "record 7: ended 1.0@1 done",
        "w1< lease 1 recorded 0: 1.2@1 run; 1.3@1 run",
    ]);
    // Both know what it holds, of both lives.
    let of = |run, incarnation, state| Held {
        run,
        incarnation,
        state,
        variant: 0,
    };
    let both = [of(run(1, 1, 2, 1), 1, Running), of(run(1, 2, 4, 1), 2, Leased)];
    let hash = both.iter().map(Held::sum).fold(0, u64::wrapping_add);
    let beat = Beat {
        hash,
        ..beat(&begun, 1, 1, &[])
    };
    world.round(vec![scalems_core::Input::Beat(beat)]).is(&[]);
    assert_eq!(world.counter("foreign_beats"), 0);
    let Reply::Workers(rows) = world.ask(1, Question::Workers(WorkersPage::default())) else {
        panic!("no list of workers")
    };
    assert_eq!(rows.rows[0].beats, (1, 0));
    // A result is taken from the life that granted it.
    again.number = 2;
    again.results[0].run = run(1, 2, 3, 1);
    world.worker(1, again.clone()).is(&[]);
    assert_eq!(world.counter("superseded_results"), 1);
    again.number = 3;
    again.results[0].run = run(1, 1, 2, 1);
    world.worker(1, again).is(&["record 8: ended 1.1@1 done"]);
}

#[test]
fn an_attempt_that_failed_in_an_earlier_life_is_over() {
    let (mut world, _, welcome) = first_life();
    let policy = Policy {
        retries: 1,
        ..Policy::default()
    };
    world
        .client(1, submit(1, 1, RUN).policy(policy))
        .begins(&["record 5", "w1< lease 1"]);
    world
        .worker(1, failed(1, run(1, 0, 1, 1)))
        .is(&["record 6: fault 1.0@1", "w1< lease 2 recorded 0: 1.0@2 run"]);
    let mut world = second_life(world);
    // The worker had not heard that it was recorded.
    world
        .worker(1, back(&welcome, 2, &[held(run(1, 0, 1, 1), Done)]))
        .is(&[
            "w1< welcome worker 1 w drop [1.0@1]",
            "w1< lease 1 recorded 0: 1.0@2 run",
        ]);
}

#[test]
fn a_worker_that_no_record_names_is_known_by_its_token() {
    let (mut world, _, welcome) = first_life();
    world
        .client(1, submit(1, 1, RUN))
        .begins(&["record 5", "w1< lease 1"]);
    world.records.remove(0);
    let all = world.records.len();
    let (mut world, said) = world.reborn(life(2), all);
    said.is(&["record 5: numbers to 2097152"]);
    world
        .worker(1, back(&welcome, 2, &[held(run(1, 0, 1, 1), Running)]))
        .is(&["record 6: worker 1 w", "w1< welcome worker 1 w drop []"]);
    // One that makes its token up is new.
    let mut forged = back(&welcome, 2, &[held(run(1, 0, 1, 1), Running)]);
    forged.resume.as_mut().unwrap().worker = 7;
    world.worker(2, forged).is(&[
        "record 7: worker 65537 w-65537",
        "w2< welcome worker 65537 w-65537 drop [1.0@1]",
    ]);
}

#[test]
fn pushed_results_come_again_until_they_were_taken_in() {
    let (mut world, resume, _) = first_life();
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
        .is(&["record 8: collected 1.0@1"]);
    let mut world = second_life(world);
    world.client(1, resume).is(&[
        "c1< welcome session 2, requests 1, next delivery 1",
        "c1< results 1 Yes: 1.1@1 done",
    ]);
    world
        .client(1, Acknowledge { delivery: 1 })
        .is(&["record 10: collected 1.1@1"]);
}

#[test]
fn what_was_not_on_disk_has_not_been_and_its_number_is_not_given_again() {
    let (mut world, resume, _) = first_life();
    let before = world.records.len();
    world
        .client(1, submit(1, 1, RUN))
        .begins(&["record 5: submitted 1", "w1< lease 1"]);
    let (mut world, said) = world.reborn(life(2), before);
    said.is(&["record 5: numbers to 2097152"]);
    // Until that is on disk too, nobody is let in: its number would be given twice.
    world.client(1, resume).is(&[]);
    world
        .durable()
        .is(&["c1< welcome session 2, requests 0, next delivery 1"]);
    world
        .client(1, submit(1, 1, RUN))
        .is(&["record 6: submitted 1048577, 1 tasks"]);
}

#[test]
fn faults_cancels_and_dependencies_last() {
    let (mut world, resume, welcome) = first_life();
    let policy = Policy {
        retries: 1,
        ..Policy::default()
    };
    world
        .client(1, submit(1, 1, RUN).policy(policy))
        .begins(&["record", "w1< lease 1"]);
    world
        .worker(1, failed(1, run(1, 0, 1, 1)))
        .is(&["record 6: fault 1.0@1", "w1< lease 2 recorded 0: 1.0@2 run"]);
    let mut second = submit(2, 1, RUN);
    second.task.after = vec![After {
        request: Some(1),
        ..After::default()
    }];
    world.client(1, second).begins(&["record 7"]);
    world
        .client(1, submit(3, 1, RUN))
        .begins(&["record 8", "w1< lease 3"]);
    world.worker(1, started(2, run(3, 0, 1, 1))).is(&[]);
    let stop = || cancel(4, "3".parse().unwrap(), Strength::Request);
    world.client(1, stop()).begins(&["record 9", "w1< revoke"]);
    let all = world.records.len();
    let (mut world, said) = world.reborn(life(2), all);
    said.is(&["record 10: numbers to 2097152"]);
    world.durable().is(&[]);
    world
        .client(1, resume)
        .begins(&["c1< welcome session 2, requests 3"]);
    // No worker has it any more: it is canceled once that is known.
    world
        .worker(1, back(&welcome, 2, &[held(run(1, 0, 1, 2), Running)]))
        .is(&[
            "record 11: ended 3.0@0 canceled",
            "w1< welcome worker 1 w drop []",
        ]);
    // The cancel has left no number: it is said again, and done again.
    world.durable().is(&[]);
    world
        .client(1, stop())
        .is(&["c1< cancel_done 4: withdrawn 0 told 0 running 0 ended 1"]);
    // One failure was charged already.
    world
        .worker(1, failed(1, run(1, 0, 1, 2)))
        .is(&["record 12: ended 1.0@2 failed", "record 13: ended 2.0@0 canceled"]);
}

/// A submission after another one; each may be tried twice. In the first life the one ended, the other began and failed,
/// and none of that is on disk.
fn one_after_another() -> World {
    let (mut world, resume, welcome) = first_life();
    let policy = Policy {
        retries: 1,
        ..Policy::default()
    };
    world
        .client(1, submit(1, 1, RUN))
        .begins(&["record 5", "w1< lease 1 recorded 0: 1.0@1 run"]);
    let mut second = submit(2, 1, RUN).policy(policy);
    second.task.after = vec![After {
        request: Some(1),
        ..After::default()
    }];
    world.client(1, second).begins(&["record 6"]);
    world.durable().begins(&["c1< accepted 1", "c1< accepted 2"]);
    world
        .worker(1, done(1, run(1, 0, 1, 1)))
        .begins(&["record 7: ended 1.0@1 done", "w1< lease 2 recorded 0: 2.0@1 run"]);
    let (mut world, said) = world.reborn(life(2), 6);
    said.is(&["record 7: numbers to 2097152"]);
    world.durable().is(&[]);
    world.client(1, resume).begins(&["c1< welcome"]);
    let list = [held(run(1, 0, 1, 1), Running), held(run(2, 0, 1, 1), Done)];
    world
        .worker(1, back(&welcome, 2, &list))
        .is(&["w1< welcome worker 1 w drop []"]);
    // Without a record of it what comes first has not ended.
    world
        .worker(1, failed(1, run(2, 0, 1, 1)))
        .is(&["record 8: fault 2.0@1"]);
    world
}

#[test]
fn another_attempt_waits_for_what_has_to_end_once_more() {
    let mut world = one_after_another();
    world.lives(1, true);
    world.wait(60_000).is(&[]);
    world
        .worker(1, done(2, run(1, 0, 1, 1)))
        .is(&["record 9: ended 1.0@1 done", "w1< lease 1 recorded 0: 2.0@2 run"]);
}

#[test]
fn another_attempt_is_canceled_with_what_ends_badly_once_more() {
    let mut world = one_after_another();
    world
        .worker(1, failed(2, run(1, 0, 1, 1)))
        .is(&["record 9: ended 1.0@1 failed", "record 10: ended 2.0@1 canceled"]);
}

#[test]
fn numbers_that_left_no_record_may_be_missing_and_said_again() {
    let (mut world, resume, _) = first_life();
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

/// Two workers come back after a life of which nothing is on disk: one has an attempt that ended, one runs a later attempt.
#[test]
fn an_attempt_that_has_ended_does_not_end_a_later_one_that_must_run_alone() {
    for on_silence in [OnSilence::Rerun, OnSilence::Stop] {
        let (mut world, resume, first) = first_life();
        world
            .worker(2, joins("v", 2))
            .begins(&["record 5: worker 2 v", "w2< welcome"]);
        let second = world.worker_welcome();
        let policy = Policy {
            on_silence,
            retries: 3,
            ..Policy::default()
        };
        world
            .client(1, submit(1, 1, RUN).policy(policy))
            .begins(&["record 6", "w1< lease 1 recorded 0: 1.0@1 run"]);
        world.durable().begins(&["c1< accepted 1"]);
        let (mut world, said) = world.reborn(life(2), 6);
        said.begins(&["record 7: numbers"]);
        world.durable().is(&[]);
        world.client(1, resume).begins(&["c1< welcome"]);
        world
            .worker(2, back(&second, 2, &[held(run(1, 0, 1, 2), Running)]))
            .is(&["w2< welcome worker 2 v drop []"]);
        let ended = back(&first, 2, &[held(run(1, 0, 1, 1), Done)]);
        if on_silence == OnSilence::Rerun {
            world.worker(1, ended).is(&[
                "w2< revoke 1 kill silent: 1.0@2",
                "w1< welcome worker 1 w drop []",
            ]);
        } else {
            world
                .worker(1, ended)
                .is(&["w1< welcome worker 1 w drop [1.0@1]"]);
            world
                .worker(2, done(1, run(1, 0, 1, 2)))
                .is(&["record 8: ended 1.0@2 done"]);
        }
    }
}

/// A task of a first life that ran with this policy, at a worker with a process that does not come back.
fn ran_elsewhere(on_silence: OnSilence) -> World {
    let mut world = World::with(life(1));
    let worker = scalems_protocol::worker::WorkerHello {
        process: "p".into(),
        ..joins("w", 2)
    };
    world
        .worker(1, worker)
        .begins(&["record 1: worker 1 w", "w1< welcome"]);
    world
        .client(1, hello("s"))
        .begins(&["record 2", "record 3", "record 4"]);
    world.durable().begins(&["c1< welcome session 2"]);
    let policy = Policy {
        on_silence,
        ..Policy::default()
    };
    world
        .client(1, submit(1, 1, RUN).policy(policy))
        .begins(&["record 5", "w1< lease"]);
    world.durable().begins(&["c1< accepted 1"]);
    let (mut world, said) = world.reborn(life(2), 5);
    said.is(&["look at worker 1: p", "record 6: numbers to 2097152"]);
    world.durable().is(&[]);
    world
        .worker(2, joins("v", 1))
        .begins(&["record 7: worker 65537 v", "w2< welcome"]);
    world.durable().is(&[]);
    world.lives(2, true);
    world
}

fn leases(said: crate::world::Said) -> Vec<String> {
    let leases = said.0.into_iter().filter(|line| line.contains("lease"));
    leases.collect()
}

#[test]
fn what_a_worker_of_before_may_still_run_waits_for_as_long_as_it_may() {
    let after = [
        (OnSilence::Rerun, 10_000),
        (OnSilence::Stop, 30_000),
        (OnSilence::Continue, 70_000),
    ];
    for (on_silence, milliseconds) in after {
        let mut world = ran_elsewhere(on_silence);
        assert_eq!(leases(world.wait(milliseconds - 1)), [""; 0], "{on_silence:?}");
        assert_eq!(
            leases(world.wait(2_001)),
            ["w2< lease 1 recorded 0: 1.0@1 run"],
            "{on_silence:?}"
        );
    }
}

#[test]
fn what_a_worker_of_before_ran_whose_process_is_over_runs_again_at_once() {
    for silence in [0, 30_000] {
        let mut world = ran_elsewhere(OnSilence::Continue);
        assert_eq!(leases(world.wait(silence)), [""; 0]);
        let gone = Input::ProcessGone { worker: 1 };
        assert_eq!(
            leases(world.round(vec![gone])),
            ["w2< lease 1 recorded 0: 1.0@1 run"],
            "{silence}"
        );
    }
}

#[test]
fn what_was_withheld_in_one_life_is_so_in_the_next() {
    let mut world = World::with(life(1));
    world
        .worker(1, joins("w", 2))
        .begins(&["record 1: worker 1 w", "w1< welcome"]);
    world
        .client(1, hello("s"))
        .begins(&["record 2", "record 3", "record 4"]);
    world.durable().begins(&["c1< welcome session 2"]);
    let policy = Policy {
        on_silence: OnSilence::Continue,
        ..Policy::default()
    };
    world
        .client(1, submit(1, 1, RUN).policy(policy))
        .begins(&["record 5", "w1< lease"]);
    world.durable().begins(&["c1< accepted 1"]);
    world
        .round(vec![Input::WorkerGone(scalems_core::Peer(1))])
        .is(&[]);
    // It is lost, and the next life has to know that it may still run something.
    world.wait(15_000).is(&[]);
    let mut world = second_life(world);
    world
        .worker(2, joins("v", 1))
        .begins(&["record 7: worker 65537 v", "w2< welcome"]);
    world.durable().is(&[]);
    world.lives(2, true);
    assert_eq!(leases(world.wait(69_999)), [""; 0]);
    let said = world.wait(2_001).0;
    assert_eq!(
        said,
        ["record 8: worker 1 gone", "w2< lease 1 recorded 0: 1.0@1 run"]
    );
}

/// Two workers are known to the next life, in which the second says that the first attempt has failed.
fn failed_before_the_other_came(on_silence: OnSilence) -> (World, WorkerWelcome) {
    let mut world = World::with(life(1));
    let mut welcomes = Vec::new();
    for (number, name) in [(1, "w"), (2, "v")] {
        world.worker(number, joins(name, 1));
        welcomes.push(world.worker_welcome());
    }
    world
        .client(1, hello("s"))
        .begins(&["record 3", "record 4", "record 5"]);
    world.durable().begins(&["c1< welcome session 2"]);
    let resume = world.resume();
    let policy = Policy {
        on_silence,
        retries: 3,
        ..Policy::default()
    };
    world
        .client(1, submit(1, 1, RUN).policy(policy))
        .begins(&["record 6", "w1< lease 1 recorded 0: 1.0@1 run"]);
    world.durable().begins(&["c1< accepted 1"]);
    let (mut world, _) = world.reborn(life(2), 6);
    world.durable().is(&[]);
    world.client(1, resume).begins(&["c1< welcome"]);
    let first = run(1, 0, 1, 1);
    world
        .worker(2, back(&welcomes[1], 1, &[held(first, Done)]))
        .begins(&["w2< welcome worker 2 v"]);
    world.worker(2, failed(1, first)).is(&["record 8: fault 1.0@1"]);
    world.durable().is(&[]);
    (world, welcomes.swap_remove(0))
}

#[test]
fn another_attempt_waits_for_workers_of_before_that_may_have_a_later_one() {
    for on_silence in [OnSilence::Rerun, OnSilence::Stop, OnSilence::Continue] {
        let (mut world, welcome) = failed_before_the_other_came(on_silence);
        world
            .worker(1, back(&welcome, 1, &[held(run(1, 0, 1, 2), Running)]))
            .begins(&["w1< welcome worker 1 w"]);
        world
            .worker(1, done(1, run(1, 0, 1, 2)))
            .is(&["record 9: ended 1.0@2 done"]);
    }
}

#[test]
fn another_attempt_waits_no_longer_than_workers_of_before_may_run_one() {
    let after = [
        (OnSilence::Rerun, 10_000),
        (OnSilence::Stop, 30_000),
        (OnSilence::Continue, 70_000),
    ];
    for (on_silence, milliseconds) in after {
        let (mut world, _) = failed_before_the_other_came(on_silence);
        world.lives(2, true);
        assert_eq!(leases(world.wait(milliseconds - 1)), [""; 0], "{on_silence:?}");
        let said = leases(world.wait(2_001));
        assert_eq!(said, ["w2< lease 1 recorded 1: 1.0@2 run"], "{on_silence:?}");
    }
}

/// What a worker says that it holds is counted as it was granted, in this life and in the next.
#[test]
fn which_way_a_task_runs_is_known_again() {
    let (mut world, resume, welcome) = first_life();
    let needs = Needs {
        gpus_per_rank: 1.into(),
        variants: vec![Needs::cores(2)],
        ..Needs::default()
    };
    world
        .worker(
            2,
            WorkerHello {
                offer: vec![("gpus".into(), 1.into())],
                ..joins("v", 0)
            },
        )
        .begins(&["record", "w2< welcome"]);
    world
        .client(1, submit(1, 1, RUN).needs(needs))
        .begins(&["record", "w1< lease 1 recorded 0: 1.0@1 run as variant 1"]);
    let holds = HeldRun {
        variant: 1,
        ..held(run(1, 0, 1, 1), Running)
    };
    let used = |world: &mut World| {
        let Reply::Workers(workers) = world.ask(1, Question::Workers(WorkersPage::default())) else {
            panic!("no answer")
        };
        workers.rows[0].resources.clone()
    };
    world
        .worker(1, back(&welcome, 2, std::slice::from_ref(&holds)))
        .begins(&["w1< welcome"]);
    assert_eq!(used(&mut world), [("cores".to_owned(), 2, 2)]);
    world.durable();
    let mut world = second_life(world);
    world.client(1, resume).begins(&["c1< welcome"]);
    world
        .worker(1, back(&welcome, 2, &[holds]))
        .begins(&["w1< welcome worker 1 w drop []"]);
    assert_eq!(used(&mut world), [("cores".to_owned(), 2, 2)]);
    world.worker(1, done(1, run(1, 0, 1, 1)));
    assert_eq!(used(&mut world), [("cores".to_owned(), 2, 0)]);
}
