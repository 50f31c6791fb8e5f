//! Attempts after a task's own failure, and after workers lost under it.

use scalems_core::{Input, Peer};
use scalems_protocol::group::ResultGroup;
use scalems_protocol::task::Policy;
use scalems_protocol::worker::Report;
use scalems_protocol::{Code, Ending, TaskError};

use crate::say::{RUN, With, done, failed, group, joins, report, run, started, submit};
use crate::world::World;

fn retries(retries: u32, backoff_ms: u64) -> Policy {
    Policy {
        retries,
        backoff_ms,
        ..Policy::default()
    }
}

#[test]
fn each_retry_waits_twice_as_long() {
    let mut world = World::small(1);
    world.lives(1, true);
    world
        .client(1, submit(1, 1, RUN).streaming().policy(retries(2, 500)))
        .begins(&["c1< accepted 1", "w1< lease 1 recorded 0: 1.0@1 run"]);
    world.worker(1, failed(1, run(1, 0, 1, 1))).is(&[]);
    assert_eq!(world.agent.counts().waiting, 1);
    world.wait(499).is(&[]);
    world.wait(1).is(&["w1< lease 2 recorded 1: 1.0@2 run"]);
    world.worker(1, failed(2, run(1, 0, 1, 2))).is(&[]);
    world.wait(999).is(&[]);
    world.wait(1).is(&["w1< lease 3 recorded 2: 1.0@3 run"]);
    world
        .worker(1, failed(3, run(1, 0, 1, 3)))
        .is(&["c1< results 1 None: 1.0@3 failed exit_code"]);
}

#[test]
fn what_another_attempt_would_meet_again_is_not_retried() {
    let mut world = World::small(1);
    world
        .client(1, submit(1, 1, RUN).streaming().policy(retries(5, 0)))
        .begins(&["c1< accepted", "w1< lease"]);
    let error = Some(TaskError::new(Code::WrongData, "not a program"));
    let result = ResultGroup {
        error,
        ..group(run(1, 0, 1, 1), Ending::Failed)
    };
    world
        .worker(
            1,
            Report {
                results: vec![result],
                ..report(1)
            },
        )
        .is(&["c1< results 1 None: 1.0@1 failed wrong_data"]);
}

#[test]
fn a_run_of_failures_is_retried_task_by_task() {
    let mut world = World::small(4);
    world
        .client(1, submit(1, 4, RUN).policy(retries(1, 0)))
        .begins(&["c1< accepted", "w1< lease 1 recorded 0: 1.0-4@1"]);
    world
        .worker(1, failed(1, run(1, 1, 3, 1)))
        .is(&["w1< lease 2 recorded 1: 1.1@2 run; 1.2@2 run"]);
    world
        .worker(1, failed(2, run(1, 0, 1, 1)))
        .is(&["w1< lease 3 recorded 2: 1.0@2 run"]);
    world.worker(1, done(3, run(1, 1, 3, 2))).is(&[]);
    world.worker(1, failed(4, run(1, 0, 1, 2))).is(&[]);
    world.worker(1, done(5, run(1, 3, 4, 1))).is(&[]);
    let counts = world.agent.counts();
    assert_eq!((counts.done, counts.failed), (3, 1));
}

#[test]
fn only_tasks_that_ran_are_charged_for_a_lost_worker_until_the_crash_limit() {
    let mut world = World::new();
    world
        .client(1, crate::say::hello("s"))
        .begins(&["c1< welcome session 2"]);
    let policy = Policy {
        crash_limit: 2,
        ..Policy::default()
    };
    world
        .client(1, submit(1, 2, RUN).streaming().policy(policy))
        .begins(&["c1< accepted 1"]);
    for (worker, attempt) in [(1, 1), (2, 2)] {
        world.worker(worker, joins("w", 2)).begins(&[
            &format!("w{worker}< welcome"),
            &format!("w{worker}< lease 1 recorded 0: 1.0"),
        ]);
        world.worker(worker, started(1, run(1, 0, 1, attempt))).is(&[]);
        world.round(vec![Input::WorkerGone(Peer(worker))]).is(&[]);
        world.wait(10_000).begins(if attempt == 1 {
            &[]
        } else {
            &["c1< results 1 None: 1.0@2 failed crash_limit"]
        });
    }
    assert_eq!(world.counter("workers_lost"), 2);
    world
        .worker(3, joins("w", 2))
        .begins(&["w3< welcome", "w3< lease 1 recorded 0: 1.1@3 run"]);
}
