//! Workers that are suspect, lost, back again, or gone.

use scalems_core::{Input, Peer};
use scalems_protocol::TaskState::{Leased, Running};
use scalems_protocol::client::{Question, Reply};
use scalems_protocol::select::Selector;
use scalems_protocol::state::Strength;
use scalems_protocol::task::{OnSilence, Policy};
use scalems_protocol::worker::WorkerGoodbye;

use crate::say::{RUN, With, back, beat, done, failed, held, joins, run, started, submit};
use crate::world::World;

/// One worker with a running and a leased task of an array of two, whose connection is then gone.
fn broken() -> (World, scalems_protocol::worker::WorkerWelcome) {
    let mut world = World::new();
    world.worker(1, joins("w", 2)).begins(&["w1< welcome"]);
    let welcome = world.worker_welcome();
    world
        .client(1, crate::say::hello("s"))
        .begins(&["c1< welcome session 2"]);
    let policy = Policy {
        retries: 1,
        ..Policy::default()
    };
    world
        .client(1, submit(1, 2, RUN).streaming().policy(policy))
        .begins(&["c1< accepted", "w1< lease 1 recorded 0: 1.0-2@1"]);
    world.worker(1, started(1, run(1, 0, 1, 1))).is(&[]);
    world.round(vec![Input::WorkerGone(Peer(1))]).is(&[]);
    (world, welcome)
}

#[test]
fn a_suspect_gets_nothing_new_and_goes_on_when_it_is_back() {
    let (mut world, welcome) = broken();
    world.client(1, submit(2, 1, RUN)).begins(&["c1< accepted 2"]);
    assert!(
        matches!(world.ask(1, scalems_protocol::client::Question::Workers(scalems_protocol::client::WorkersPage::default())),
        scalems_protocol::client::Reply::Workers(listing) if listing.rows[0].state == "suspect")
    );
    let list = [held(run(1, 0, 1, 1), Running), held(run(1, 1, 2, 1), Leased)];
    world.worker(11, back(&welcome, 3, &list)).is(&[
        "w11< welcome worker 1 w drop []",
        "w11< lease 1 recorded 0: 2.0@1 run",
    ]);
    // It is heard under its new connection only, and the numbers of reports begin again.
    world
        .worker(1, started(2, run(1, 1, 2, 1)))
        .is(&["w1< refused: hello_first"]);
    world
        .worker(11, done(1, run(1, 0, 1, 1)))
        .is(&["c1< results 1 None: 1.0@1 done"]);
    assert_eq!(world.counter("workers_lost"), 0);
}

#[test]
fn what_a_worker_does_not_have_any_more_is_leased_again() {
    let (mut world, welcome) = broken();
    // The lease that had not started was lost on the way; nobody is charged for it.
    world
        .worker(11, back(&welcome, 2, &[held(run(1, 0, 1, 1), Running)]))
        .is(&[
            "w11< welcome worker 1 w drop []",
            "w11< lease 1 recorded 0: 1.1@2 run",
        ]);
}

#[test]
fn a_silent_worker_is_lost_and_its_tasks_go_to_others() {
    let (mut world, welcome) = broken();
    world.wait(1_000).is(&[]);
    world.worker(2, joins("v", 1)).begins(&["w2< welcome worker 2 v"]);
    world.lives(2, true);
    world.wait(8_000).is(&[]);
    world.wait(2_000).is(&["w2< lease 1 recorded 0: 1.0@2 run"]);
    assert_eq!(world.counter("workers_lost"), 1);
    // What it says under the connection that it had, and what it publishes, only gets it to say hello.
    world
        .worker(1, done(2, run(1, 0, 1, 1)))
        .is(&["w1< refused: hello_first"]);
    world.round(vec![Input::Beat(beat(&welcome, 1, 1, &[]))]).is(&[]);
}

#[test]
fn a_lost_worker_that_runs_an_older_attempt_goes_on_and_the_newer_one_is_killed() {
    let (mut world, welcome) = broken();
    world.worker(2, joins("v", 1)).begins(&["w2< welcome worker 2 v"]);
    world.lives(2, true);
    world.wait(12_000).is(&["w2< lease 1 recorded 0: 1.0@2 run"]);
    world.worker(2, started(1, run(1, 0, 1, 2))).is(&[]);
    let list = [held(run(1, 0, 1, 1), Running), held(run(1, 1, 2, 1), Leased)];
    world.worker(11, back(&welcome, 2, &list)).is(&[
        "w2< revoke 2 kill silent: 1.0@2",
        "w11< welcome worker 1 w drop []",
    ]);
    assert_eq!(world.counter("adopted_older"), 1);
    world
        .worker(11, done(1, run(1, 0, 1, 1)))
        .is(&["c1< results 1 None: 1.0@1 done"]);
    // The newer attempt was as good as done: it is refused.
    world.worker(2, done(2, run(1, 0, 1, 2))).is(&[]);
    assert_eq!(world.counter("superseded_results"), 1);
    // The numbers of attempts go on behind the highest that there was.
    world
        .worker(11, failed(2, run(1, 1, 2, 1)))
        .begins(&["w11< lease 1 recorded 2: 1.1@2 run"]);
}

#[test]
fn an_older_attempt_that_has_not_started_gives_way_to_the_newer_one() {
    let (mut world, welcome) = broken();
    world.worker(2, joins("v", 2)).begins(&["w2< welcome worker 2 v"]);
    world.lives(2, true);
    world
        .wait(12_000)
        .is(&["w2< lease 1 recorded 0: 1.0@2 run; 1.1@2 run"]);
    world
        .worker(11, back(&welcome, 2, &[held(run(1, 0, 2, 1), Leased)]))
        .is(&["w11< welcome worker 1 w drop [1.0-2@1]"]);
}

/// Attempts are numbered apart also after an older one was adopted and lost in turn.
#[test]
fn numbers_of_attempts_never_come_back() {
    let (mut world, welcome) = broken();
    world.worker(2, joins("v", 1)).begins(&["w2< welcome worker 2 v"]);
    world.lives(2, true);
    world.wait(12_000).is(&["w2< lease 1 recorded 0: 1.0@2 run"]);
    world
        .worker(2, failed(1, run(1, 0, 1, 2)))
        .is(&["w2< lease 2 recorded 1: 1.1@2 run; 1.0@3 run"]);
    world
        .worker(2, failed(2, run(1, 0, 1, 3)))
        .is(&["c1< results 1 None: 1.0@3 failed exit_code"]);
    world
        .worker(2, failed(3, run(1, 1, 2, 2)))
        .is(&["w2< lease 3 recorded 3: 1.1@3 run"]);
    let list = [held(run(1, 0, 2, 1), Running)];
    world.worker(11, back(&welcome, 2, &list)).is(&[
        "w2< revoke 4 kill silent: 1.1@3",
        "w11< welcome worker 1 w drop [1.0@1]",
    ]);
    world.round(vec![Input::WorkerGone(Peer(11))]).is(&[]);
    world.wait(12_000).is(&["w2< lease 5 recorded 3: 1.1@4 run"]);
}

/// A result that led to another attempt must not lead to one more when its worker lists it again.
#[test]
fn a_failure_that_was_taken_in_is_not_taken_in_again() {
    let (mut world, welcome) = broken();
    let list = [held(run(1, 0, 1, 1), Running), held(run(1, 1, 2, 1), Leased)];
    world
        .worker(11, back(&welcome, 2, &list))
        .begins(&["w11< welcome worker 1 w drop []"]);
    world
        .worker(11, failed(1, run(1, 0, 1, 1)))
        .is(&["w11< lease 1 recorded 1: 1.0@2 run"]);
    world.round(vec![Input::WorkerGone(Peer(11))]).is(&[]);
    // The lease of the second attempt and the word that the first was recorded were lost on the way.
    let list = [
        held(run(1, 0, 1, 1), scalems_protocol::TaskState::Done),
        held(run(1, 1, 2, 1), Leased),
    ];
    world.worker(12, back(&welcome, 2, &list)).is(&[
        "w12< welcome worker 1 w drop [1.0@1]",
        "w12< lease 1 recorded 0: 1.0@3 run",
    ]);
    world
        .worker(12, done(1, run(1, 0, 1, 3)))
        .is(&["c1< results 1 None: 1.0@3 done"]);
}

#[test]
fn what_was_lost_and_back_can_be_lost_again() {
    let (mut world, welcome) = broken();
    for attempt in 1..=2_u32 {
        world.wait(12_000).is(&[]);
        assert_eq!(world.agent.counts().ready, 2);
        let list = [held(run(1, 0, 2, 1), Running)];
        let peer = 10 + attempt;
        world
            .worker(peer, back(&welcome, 2, &list))
            .begins(&[&format!("w{peer}< welcome worker 1 w drop []")]);
        assert_eq!(world.agent.counts().running, 2);
        world.round(vec![Input::WorkerGone(Peer(peer))]).is(&[]);
    }
}

#[test]
fn a_worker_that_says_goodbye_gives_everything_back_at_once() {
    let mut world = World::small(2);
    world
        .client(1, submit(1, 2, RUN))
        .begins(&["c1< accepted", "w1< lease 1 recorded 0: 1.0-2@1"]);
    world.worker(1, started(1, run(1, 0, 1, 1))).is(&[]);
    world.worker(1, WorkerGoodbye::default()).is(&[]);
    assert_eq!(world.agent.counts().ready, 2);
    // It was not lost, so nobody is charged, and its name is free.
    world.worker(2, joins("w", 2)).begins(&[
        "w2< welcome worker 2 w",
        "w2< lease 1 recorded 0: 1.0@2 run; 1.1@2 run",
    ]);
    world.worker(1, WorkerGoodbye::default()).is(&[]);
}

#[test]
fn a_worker_with_a_foreign_token_is_a_new_one() {
    let (mut world, welcome) = broken();
    let mut forged = back(&welcome, 2, &[held(run(1, 0, 1, 1), Running)]);
    if let Some(resume) = &mut forged.resume {
        resume.token = scalems_protocol::token::Token::derive(&[9; 32], scalems_protocol::Role::Worker, 1);
    }
    world
        .worker(5, forged)
        .begins(&["w5< welcome worker 2 w-2 drop [1.0@1]"]);
}

#[test]
fn a_pause_of_the_agent_is_not_the_workers_silence() {
    let mut world = World::small(1);
    world
        .client(1, submit(1, 1, RUN))
        .begins(&["c1< accepted", "w1< lease"]);
    world.now += 60_000_000;
    world
        .client(1, submit(2, 1, RUN))
        .begins(&["w1< ping", "c1< accepted"]);
    assert_eq!(
        (world.counter("workers_lost"), world.agent.counts().leased),
        (0, 1)
    );
    // Somebody should know of it.
    let told: Vec<_> = world.agent.alarms_after(0).collect();
    assert!(told[0].message.contains("did nothing for 60.0 s"), "{told:?}");
    // But what is silent from then on is lost, also where beats are rare.
    world.wait(12_000);
    assert_eq!(world.counter("workers_lost"), 1);
    let mut world = World::with(scalems_core::Config {
        lost_ms: 3_000,
        ..crate::world::config()
    });
    world.worker(1, joins("w", 1)).begins(&["w1< welcome"]);
    world.wait(4_000);
    assert_eq!(world.counter("workers_lost"), 1);
}

#[test]
fn when_somebodys_connection_is_gone_all_are_pinged() {
    let mut world = World::small(1);
    world.worker(2, joins("v", 1)).begins(&["w2< welcome"]);
    world
        .round(vec![Input::SomeWorkerGone])
        .is(&["w1< ping", "w2< ping"]);
    world.round(vec![Input::SomeClientGone]).is(&["c1< ping"]);
}

/// A worker with a process, which runs the first of two tasks of an array with this policy; then its connection is gone.
fn silent(on_silence: OnSilence) -> (World, scalems_protocol::worker::WorkerWelcome) {
    let mut world = World::new();
    let hello = scalems_protocol::worker::WorkerHello {
        process: "p".into(),
        ..joins("w", 2)
    };
    world.worker(1, hello).begins(&["w1< welcome"]);
    let welcome = world.worker_welcome();
    world
        .client(1, crate::say::hello("s"))
        .begins(&["c1< welcome session 2"]);
    let policy = Policy {
        on_silence,
        ..Policy::default()
    };
    world
        .client(1, submit(1, 2, RUN).streaming().policy(policy))
        .begins(&["c1< accepted", "w1< lease 1 recorded 0: 1.0-2@1"]);
    world.worker(1, started(1, run(1, 0, 1, 1))).is(&[]);
    world.worker(2, joins("v", 2)).begins(&["w2< welcome worker 2 v"]);
    world.lives(2, true);
    world.round(vec![Input::WorkerGone(Peer(1))]).is(&[]);
    (world, welcome)
}

/// What was said, without the looks at a process.
fn besides_looks(said: crate::world::Said) -> Vec<String> {
    let others = said
        .0
        .into_iter()
        .filter(|line| !line.starts_with("look at worker"));
    others.collect()
}

#[test]
fn what_may_still_write_somewhere_is_not_leased_again_before_the_orphan_time() {
    let (mut world, _) = silent(OnSilence::Continue);
    // Looked at ten times in a second, as long as it is away.
    assert_eq!(world.wait(1_000).0, vec!["look at worker 1: p"; 10]);
    // 60 s of orphan time, and 10 s of silence.
    assert_eq!(besides_looks(world.wait(68_999)), [""; 0]);
    assert_eq!(world.counter("workers_lost"), 1);
    assert_eq!(world.counter("withheld_leases"), 2);
    assert_eq!(
        besides_looks(world.wait(2_000)),
        ["w2< lease 1 recorded 0: 1.0@2 run; 1.1@2 run"]
    );
}

#[test]
fn what_is_ended_by_its_worker_is_leased_again_after_three_times_the_time() {
    let (mut world, _) = silent(OnSilence::Stop);
    assert_eq!(besides_looks(world.wait(29_999)), [""; 0]);
    assert_eq!(
        besides_looks(world.wait(2_000)),
        ["w2< lease 1 recorded 0: 1.0@2 run; 1.1@2 run"]
    );
}

#[test]
fn once_a_process_is_known_to_be_over_nothing_is_waited_for() {
    for on_silence in [OnSilence::Rerun, OnSilence::Stop, OnSilence::Continue] {
        for silence in [100, 15_000] {
            let (mut world, _) = silent(on_silence);
            let before = besides_looks(world.wait(silence));
            let gone = Input::ProcessGone { worker: 1 };
            let said = [before, world.round(vec![gone]).0].concat();
            assert_eq!(
                said,
                ["w2< lease 1 recorded 0: 1.0@2 run; 1.1@2 run"],
                "{on_silence:?} {silence}"
            );
            assert_eq!(besides_looks(world.wait(5_000)), [""; 0]);
        }
    }
}

#[test]
fn a_lost_worker_that_comes_back_goes_on_with_what_was_withheld() {
    let (mut world, welcome) = silent(OnSilence::Continue);
    assert_eq!(besides_looks(world.wait(30_000)), [""; 0]);
    // The second had not started, and was lost on the way.
    world
        .worker(11, back(&welcome, 2, &[held(run(1, 0, 1, 1), Running)]))
        .is(&[
            "w11< welcome worker 1 w drop []",
            "w2< lease 1 recorded 0: 1.1@2 run",
        ]);
    world
        .worker(11, done(1, run(1, 0, 1, 1)))
        .is(&["c1< results 1 None: 1.0@1 done"]);
}

#[test]
fn what_is_canceled_of_a_lost_worker_ends_at_once() {
    let (mut world, _) = silent(OnSilence::Continue);
    assert_eq!(besides_looks(world.wait(30_000)), [""; 0]);
    world
        .client(1, crate::say::cancel(2, Selector::all(), Strength::Kill))
        .begins(&["c1< cancel_done 2: withdrawn 0 told 2", "c1< results 1"]);
    let Reply::Status(status) = world.ask(1, Question::Status) else {
        panic!("a status")
    };
    assert_eq!((status.tasks.canceled, status.tasks.finished()), (2, 2));
}
