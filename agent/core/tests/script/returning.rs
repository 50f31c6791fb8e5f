//! Submissions that left no record in the life before, and what workers have of them (R4).

use scalems_protocol::client::{BringBack, ClientHello, Goodbye, Question};
use scalems_protocol::state::Ending;
use scalems_protocol::state::TaskState::{Done, Leased, Running};
use scalems_protocol::task::{After, OnSilence, Policy};
use scalems_protocol::worker::WorkerWelcome;

use crate::bringing::brings;
use crate::restored::{first_life, life};
use crate::say::{QUICK, RUN, With, back, done, failed, forget, group, held, hello, joins, run, submit};
use crate::world::{Said, World};

/// A submission has begun, and neither it nor its acknowledgement reached the disk when the agent died.
fn unknown(policy: Policy) -> (World, ClientHello, WorkerWelcome) {
    let (mut world, resume, welcome) = first_life();
    world
        .client(1, submit(1, 1, RUN).policy(policy))
        .begins(&["record 5", "w1< lease 1 recorded 0: 1.0@1 run"]);
    let (mut world, said) = world.reborn(life(2), 4);
    said.is(&["record 5: numbers to 2097152"]);
    world.durable().is(&[]);
    let again = ClientHello {
        incarnation: 1,
        repeats: 1,
        ..resume
    };
    (world, again, welcome)
}

fn rerun() -> Policy {
    Policy::default()
}

fn alone() -> Policy {
    Policy {
        on_silence: OnSilence::Continue,
        ..Policy::default()
    }
}

fn leases(said: Said) -> Vec<String> {
    let leases = said.0.into_iter().filter(|line| line.contains("lease"));
    leases.collect()
}

#[test]
fn what_is_said_again_has_its_number_again_and_goes_on() {
    for client_first in [false, true] {
        let (mut world, again, welcome) = unknown(rerun());
        let list = [held(run(1, 0, 1, 1), Running)];
        let back = back(&welcome, 2, &list);
        let resumed = ["record 6: submitted 1, 1 tasks", "w1< welcome worker 1 w drop []"];
        if client_first {
            world.client(1, again).begins(&["c1< welcome"]);
            world.client(1, submit(1, 1, RUN)).is(&[]);
            world.worker(1, back).is(&["w1< ping", resumed[0], resumed[1]]);
        } else {
            world.worker(1, back.clone()).is(&["w1< ping"]);
            // Nothing else of it is looked at, and it may say it again.
            world.worker(1, done(1, run(1, 0, 1, 1))).is(&[]);
            world.worker(1, back).is(&["w1< ping"]);
            world.client(1, again).begins(&["c1< welcome"]);
            world.client(1, submit(1, 1, RUN)).is(&resumed);
        }
        world.durable().begins(&["c1< accepted 1: submission 1"]);
        world
            .worker(1, done(1, run(1, 0, 1, 1)))
            .is(&["record 7: ended 1.0@1 done"]);
        world.lives(1, true);
        assert_eq!(leases(world.wait(60_000)), [""; 0]);
    }
}

#[test]
fn what_has_ended_there_is_the_result() {
    let (mut world, again, welcome) = unknown(rerun());
    world
        .worker(1, back(&welcome, 2, &[held(run(1, 0, 1, 1), Done)]))
        .is(&["w1< ping"]);
    world.client(1, again).begins(&["c1< welcome"]);
    world
        .client(1, submit(1, 1, RUN))
        .begins(&["record 6: submitted 1", "w1< welcome worker 1 w drop []"]);
    world
        .worker(1, done(1, run(1, 0, 1, 1)))
        .is(&["record 7: ended 1.0@1 done"]);
}

/// What came after something that has ended badly meanwhile would be canceled, but its client has seen another end.
#[test]
fn what_a_client_has_seen_of_it_is_the_result_whatever_it_would_come_to() {
    let (mut world, resume, welcome) = first_life();
    world
        .client(1, submit(1, 1, RUN))
        .begins(&["record 5", "w1< lease 1"]);
    world.durable().begins(&["c1< accepted 1"]);
    let second = || {
        let mut second = submit(2, 1, RUN).streaming();
        second.task.after = vec![After {
            request: Some(1),
            ..After::default()
        }];
        second.task.policy.deadline_ms = 1_000;
        second
    };
    world.client(1, second()).begins(&["record 6"]);
    world.lives(1, true);
    assert_eq!(
        world.wait(1_000).0,
        [
            "record 7: ended 2.0@0 failed",
            "c1< results 1 Pending: 2.0@0 failed deadline"
        ]
    );
    let (mut world, said) = world.reborn(life(2), 5);
    said.is(&["record 6: numbers to 2097152"]);
    world.durable().is(&[]);
    world
        .worker(1, back(&welcome, 2, &[held(run(1, 0, 1, 1), Running)]))
        .is(&["w1< welcome worker 1 w drop []"]);
    world
        .worker(1, failed(1, run(1, 0, 1, 1)))
        .is(&["record 7: ended 1.0@1 failed"]);
    world.durable();
    let again = ClientHello {
        brings: true,
        repeats: 2,
        ..resume
    };
    world.client(1, again).begins(&["c1< welcome"]);
    world
        .client(1, second())
        .is(&["record 8: submitted 1048577, 1 tasks"]);
    let seen = BringBack {
        groups: vec![group(run(2, 0, 1, 0), Ending::Failed)],
        more: false,
    };
    world.client(1, seen).is(&[
        "record 9: ended 1048577.0@0 failed",
        "record 10: collected 1048577.0@0",
    ]);
}

#[test]
fn what_nobody_says_again_is_ended_after_a_while() {
    for (state, milliseconds) in [(Running, 30_000), (Done, 14_000), (Leased, 14_000)] {
        let (mut world, _, welcome) = unknown(rerun());
        let list = [held(run(1, 0, 1, 1), state)];
        world.worker(1, back(&welcome, 2, &list)).is(&["w1< ping"]);
        world.lives(1, true);
        world.wait(milliseconds - 1).is(&[]);
        world.wait(1).is(&["w1< welcome worker 1 w drop [1.0@1]"]);
    }
}

#[test]
fn a_worker_that_waits_is_not_lost_until_its_connection_is() {
    let (mut world, _, welcome) = unknown(rerun());
    let list = [held(run(1, 0, 1, 1), Running)];
    world.worker(1, back(&welcome, 2, &list)).is(&["w1< ping"]);
    world
        .round(vec![scalems_core::Input::WorkerGone(scalems_core::Peer(1))])
        .is(&[]);
    world.wait(9_999).is(&[]);
    // The next life has to wait for it, as long as somebody may say something again.
    world.wait(2_001).is(&[]);
    // It is known by its token all the same.
    world.worker(1, back(&welcome, 2, &list)).is(&["w1< ping"]);
    world.lives(1, true);
    let said = world.wait(20_000).0;
    assert_eq!(
        said,
        ["record 6: worker 1 w", "w1< welcome worker 1 w drop [1.0@1]"]
    );
}

/// What a worker that waits lists goes on elsewhere once it is over, in whatever order that is noticed.
#[test]
fn what_a_worker_that_died_while_it_waited_had_goes_on_elsewhere() {
    use scalems_core::{Input, Peer};
    let gone = [Input::WorkerGone(Peer(1)), Input::ProcessGone { worker: 1 }];
    for order in [[0, 1], [1, 0]] {
        let (mut world, _, welcome) = first_life();
        world
            .client(1, submit(1, 1, RUN))
            .begins(&["record 5", "w1< lease"]);
        world.durable().begins(&["c1< accepted 1"]);
        world
            .client(1, submit(2, 1, RUN))
            .begins(&["record 6", "w1< lease"]);
        let (mut world, _) = world.reborn(life(2), 5);
        world.durable().is(&[]);
        let list = [held(run(1, 0, 1, 1), Running), held(run(2, 0, 1, 1), Running)];
        world.worker(1, back(&welcome, 2, &list)).is(&["w1< ping"]);
        world
            .worker(2, joins("v", 1))
            .begins(&["record 7: worker 65537 v", "w2< welcome"]);
        world.durable().is(&[]);
        let mut said = Vec::new();
        for at in order {
            said.extend(leases(world.round(vec![gone[at].clone()])));
        }
        assert_eq!(said, ["w2< lease 1 recorded 0: 1.0@1 run"], "{order:?}");
    }
}

#[test]
fn strangers_are_not_waited_for() {
    let (mut world, _, welcome) = unknown(rerun());
    let list = [held(run(1, 0, 1, 1), Running)];
    let stranger = scalems_protocol::worker::WorkerHello {
        resume: None,
        ..back(&welcome, 2, &list)
    };
    world
        .worker(7, stranger)
        .begins(&["record 6: worker 65537 w-65537", "w7< welcome worker 65537"]);
}

#[test]
fn numbers_that_left_a_record_are_not_given_again() {
    let (mut world, _, welcome) = first_life();
    world
        .client(1, submit(1, 1, QUICK))
        .begins(&["record 5", "w1< lease"]);
    world
        .worker(1, done(1, run(1, 0, 1, 1)))
        .is(&["record 6: ended 1.0@1 done"]);
    world.durable().begins(&["c1< accepted 1"]);
    world.client(1, forget(2, 1)).begins(&["record 7: forgotten 1"]);
    world.durable().begins(&["c1< forget_done 2"]);
    let (mut world, _) = world.reborn(life(2), 7);
    world.durable().is(&[]);
    let mut forged = held(run(1, 0, 1, 1), Running);
    forged.origin.request = 9;
    world
        .worker(1, back(&welcome, 2, &[forged]))
        .begins(&["w1< welcome worker 1 w drop [1.0@1]"]);
}

#[test]
fn another_client_of_the_session_says_nothing_again() {
    let (mut world, _, welcome) = unknown(rerun());
    let list = [held(run(1, 0, 1, 1), Running)];
    world.worker(1, back(&welcome, 2, &list)).is(&["w1< ping"]);
    world.client(2, hello("s")).is(&[
        "record 6: seat 2 of 1, holder 4294967297",
        "w1< welcome worker 1 w drop [1.0@1]",
    ]);
    world.durable().begins(&["c2< welcome session 2"]);
    // Its first request is another one, with a number that the one before cannot have given.
    world.client(2, submit((2 << 32) + 1, 1, RUN)).begins(&[
        "record 7: submitted 1048577",
        "w1< lease 1 recorded 0: 1048577.0@1 run",
    ]);
}

#[test]
fn the_first_request_of_another_client_is_said_again_as_any_other() {
    let (mut world, _, _) = unknown(rerun());
    world
        .client(2, hello("s"))
        .is(&["record 6: seat 2 of 1, holder 4294967297"]);
    world.durable().begins(&["c2< welcome session 2"]);
    let again = world.resume();
    let (mut world, _) = world.reborn(life(3), 6);
    world.durable().is(&[]);
    let again = ClientHello {
        incarnation: 2,
        repeats: (2 << 32) + 1,
        ..again
    };
    world.client(2, again).begins(&["c2< welcome"]);
    // Some worker of before may have it.
    world.client(2, submit((2 << 32) + 1, 1, RUN)).is(&[]);
}

#[test]
fn what_a_client_has_does_not_come_again_if_it_says_so() {
    let (mut world, again, welcome) = unknown(rerun());
    let list = [held(run(1, 0, 1, 1), Running)];
    world.worker(1, back(&welcome, 2, &list)).is(&["w1< ping"]);
    let nothing = ClientHello { repeats: 0, ..again };
    world
        .client(1, nothing)
        .begins(&["w1< welcome worker 1 w drop [1.0@1]", "c1< welcome"]);
}

#[test]
fn what_is_behind_it_waits_with_it() {
    let (mut world, again, welcome) = unknown(rerun());
    world.client(1, again).begins(&["c1< welcome"]);
    let again = world.resume();
    world.client(1, submit(1, 1, RUN)).is(&[]);
    world.client(1, submit(2, 1, RUN)).is(&[]);
    let ask = scalems_protocol::client::Ask {
        id: 1,
        question: Question::Status,
    };
    world.client(1, ask).is(&[]);
    // Over another connection all of it is said again, and what was said stays said.
    world
        .round(vec![scalems_core::Input::ClientGone(scalems_core::Peer(1))])
        .is(&[]);
    let again = ClientHello {
        incarnation: 2,
        repeats: 2,
        ..again
    };
    world.client(2, again).begins(&["c2< welcome"]);
    world.client(2, submit(1, 1, RUN)).is(&[]);
    world.client(2, submit(2, 1, RUN)).is(&[]);
    world.worker(1, back(&welcome, 2, &[])).begins(&[
        "w1< welcome worker 1 w drop []",
        "record 6: submitted 1048577",
        "record 7: submitted 1048578",
        "w1< lease 1 recorded 0: 1048577.0@1 run; 1048578.0@1 run",
    ]);
}

#[test]
fn what_takes_too_much_memory_waits_no_longer() {
    let (mut world, again, _) = unknown(rerun());
    let again = ClientHello { repeats: 10, ..again };
    world.client(1, again).begins(&["c1< welcome"]);
    let data = vec![0; 60 << 20];
    for request in 1..=4 {
        world.client_with(1, submit(request, 1, RUN), &[&data]).is(&[]);
    }
    world.client_with(1, submit(5, 1, RUN), &[&data]).begins(&[
        "record 6: submitted 1048577",
        "record 7: submitted 1048578",
        "record 8: submitted 1048579",
        "record 9: submitted 1048580",
        "record 10: submitted 1048581",
    ]);
}

#[test]
fn who_leaves_has_said_what_it_said() {
    let (mut world, again, _) = unknown(rerun());
    world.client(1, again).begins(&["c1< welcome"]);
    world.client(1, submit(1, 1, RUN)).is(&[]);
    world
        .client(1, Goodbye::default())
        .begins(&["record 6: submitted 1048577"]);
}

#[test]
fn what_must_run_alone_waits_for_workers_that_did_not_come() {
    for (policy, milliseconds) in [(rerun(), 10_000), (alone(), 70_000)] {
        let (mut world, again, _) = unknown(policy.clone());
        world.client(1, again).begins(&["c1< welcome"]);
        world.client(1, submit(1, 1, RUN).policy(policy.clone())).is(&[]);
        world
            .worker(2, joins("v", 1))
            .begins(&["record 6: worker 65537 v", "w2< welcome"]);
        world.durable().is(&[]);
        world.lives(2, true);
        assert_eq!(leases(world.wait(milliseconds - 2_000)), [""; 0], "{policy:?}");
        assert_eq!(
            leases(world.wait(4_001)),
            ["w2< lease 1 recorded 0: 1048577.0@1 run"],
            "{policy:?}"
        );
    }
}

#[test]
fn what_was_said_in_time_is_not_late_because_it_waited() {
    let (mut world, resume, _) = first_life();
    let deadline = Policy {
        deadline_ms: 20_000,
        ..Policy::default()
    };
    world
        .client(1, submit(1, 1, RUN).streaming().policy(deadline))
        .begins(&["record 5", "w1< lease"]);
    world.durable().begins(&["c1< accepted 1"]);
    let (mut world, _) = world.reborn(life(2), 5);
    world.durable().is(&[]);
    let again = ClientHello {
        incarnation: 1,
        brings: true,
        repeats: 2,
        ..resume
    };
    world.client(1, again).begins(&["c1< welcome"]);
    // It waits behind a submission that is not known, and its worker does not come.
    world.client(1, submit(2, 1, RUN)).is(&[]);
    world.client(1, brings(1)).is(&[]);
    // The agent stands still for longer than it waits for either.
    world.now += 40_000_000;
    let said = world.round(Vec::new()).0;
    let ended: Vec<&String> = said.iter().filter(|line| line.contains("ended 1.0")).collect();
    assert!(
        ended.len() == 1 && ended[0].ends_with("ended 1.0@1 done"),
        "{said:#?}"
    );
}
