//! Which task goes where: priorities, room, credit, and big tasks among small ones.

use scalems_core::Input;
use scalems_protocol::Amount;
use scalems_protocol::client::{Question, Reply, WorkersPage};
use scalems_protocol::limits;
use scalems_protocol::select::Selector;
use scalems_protocol::state::Strength;
use scalems_protocol::task::Needs;
use scalems_protocol::worker::{WorkerHello, WorkerToAgent};

use crate::say::{QUICK, RUN, With, cancel, done, joins, returned, run, started, submit};
use crate::world::{World, from_client};

#[test]
fn higher_priority_goes_first_also_across_kinds_of_tasks() {
    let mut world = World::small(4);
    let inputs = [(1, 1, 0), (2, 2, 5), (3, 1, 10), (4, 1, 0)].map(|(request, cores, priority)| {
        from_client(1, submit(request, 1, RUN).cores(cores).priority(priority), &[])
    });
    // One core is left once the two of higher priority have theirs.
    world.round(inputs.into()).begins(&[
        "c1< accepted",
        "c1< accepted",
        "c1< accepted",
        "c1< accepted",
        "w1< lease 1 recorded 0: 3.0@1 run; 2.0@1 run; 1.0@1 run",
    ]);
}

#[test]
fn what_came_first_goes_first() {
    let mut world = World::small(1);
    world
        .client(1, submit(1, 3, RUN))
        .begins(&["c1< accepted", "w1< lease 1 recorded 0: 1.0@1"]);
    world.client(1, submit(2, 1, RUN)).begins(&["c1< accepted"]);
    world
        .client(1, submit(3, 1, RUN).priority(1))
        .begins(&["c1< accepted"]);
    // A second that a task takes is too long for another to wait behind it.
    let slow = |number, run| {
        let mut report = done(number, run);
        report.results[0].ran_us = 1_000_000;
        report
    };
    world
        .worker(1, slow(1, run(1, 0, 1, 1)))
        .is(&["w1< lease 2 recorded 1: 3.0@1 run"]);
    world
        .worker(1, slow(2, run(3, 0, 1, 1)))
        .is(&["w1< lease 3 recorded 2: 1.1@1 run"]);
    world
        .worker(1, slow(3, run(1, 1, 2, 1)))
        .is(&["w1< lease 4 recorded 3: 1.2@1 run"]);
    world
        .worker(1, slow(4, run(1, 2, 3, 1)))
        .is(&["w1< lease 5 recorded 4: 2.0@1 run"]);
}

#[test]
fn what_has_to_run_again_has_its_old_place() {
    let mut world = World::small(1);
    world
        .client(1, submit(1, 2, RUN))
        .begins(&["c1< accepted", "w1< lease 1 recorded 0: 1.0@1"]);
    world.client(1, submit(2, 5, RUN)).begins(&["c1< accepted"]);
    world
        .worker(1, returned(1, run(1, 0, 1, 1)))
        .begins(&["w1< lease 2 recorded 1: 1.1@1"]);
    world
        .worker(1, returned(2, run(1, 1, 2, 1)))
        .begins(&["w1< lease 3 recorded 2: 1.0@2"]);
}

/// A stream of small tasks goes on while a task waits that needs the whole worker: after a second the worker
/// is kept free for it.
#[test]
fn a_big_task_is_not_starved() {
    let mut world = World::small(2);
    world.lives(1, true);
    world
        .client(1, submit(1, 1_000, RUN))
        .begins(&["c1< accepted", "w1< lease 1 recorded 0: 1.0-2@1"]);
    world
        .client(1, submit(2, 1, RUN).cores(2))
        .begins(&["c1< accepted"]);
    let (mut offsets, mut number): (Vec<u32>, u64) = (vec![0, 1], 0);
    for round in 0..100 {
        world.wait(200);
        number += 1;
        let offset = offsets.remove(0);
        let mut report = done(number, run(1, offset, offset + 1, 1));
        report.results[0].ran_us = 200_000;
        let said = world.worker(1, report).0;
        if said.iter().any(|line| line.contains(" 2.0@1 run")) {
            assert!(round <= 8, "it had to wait for {round} rounds");
            return;
        }
        offsets.extend(said.iter().filter_map(|line| {
            let (_, offset) = line.split_once("1.").filter(|_| line.contains("lease"))?;
            offset.split('@').next()?.parse::<u32>().ok()
        }));
    }
    panic!("the big task never got its room");
}

/// A worker that is kept free for a task is free again when that is canceled.
#[test]
fn nothing_is_kept_free_for_what_is_canceled() {
    let mut world = World::small(2);
    world.lives(1, true);
    world
        .client(1, submit(1, 1, RUN))
        .begins(&["c1< accepted", "w1< lease 1"]);
    world.worker(1, started(1, run(1, 0, 1, 1))).is(&[]);
    world
        .client(1, submit(2, 1, RUN).cores(2).priority(-1))
        .begins(&["c1< accepted"]);
    world.wait(1_500).is(&[]);
    // What takes no room is not in the way.
    world
        .client(1, submit(3, 1, QUICK))
        .begins(&["c1< accepted", "w1< lease 2"]);
    world
        .client(1, submit(4, 1, RUN))
        .is(&["c1< accepted 4: submission 4, 1 tasks"]);
    world
        .client(1, cancel(5, Selector::submission(2), Strength::Withdraw))
        .begins(&[
            "c1< cancel_done 5: withdrawn 1",
            "w1< lease 3 recorded 1: 4.0@1 run",
        ]);
}

#[test]
fn short_tasks_are_granted_ahead_and_long_ones_are_not() {
    let mut world = World::small(2);
    world
        .client(1, submit(1, 500, RUN))
        .begins(&["c1< accepted", "w1< lease 1 recorded 0: 1.0-2@1"]);
    // They take 1 ms, so 50 for each core are on their way beyond those that run.
    world
        .worker(1, done(1, run(1, 0, 1, 1)))
        .is(&["w1< lease 2 recorded 1: 1.2@1 run; 1.3-103@1 run"]);
    let mut world = World::small(2);
    world
        .client(1, submit(1, 500, RUN))
        .begins(&["c1< accepted", "w1< lease 1 recorded 0: 1.0-2@1"]);
    let mut report = done(1, run(1, 0, 1, 1));
    report.results[0].ran_us = 60_000;
    world.worker(1, report).is(&["w1< lease 2 recorded 1: 1.2@1 run"]);
}

#[test]
fn credit_is_counted_in_tasks() {
    let mut world = World::small(1);
    let ends: Vec<u32> = (1..=1_024).collect();
    for request in 1..=5 {
        world.client_with(1, submit(request, 1_024, QUICK).ends(&ends), &[&[b'x'; 1_024]]);
    }
    assert_eq!(world.agent.counts().leased, u64::from(limits::CREDIT_TASKS));
    world
        .worker(1, done(1, run(1, 0, 24, 1)))
        .begins(&["w1< lease 5 recorded 1: 5.0-24@1 quick"]);
    // Arrays cost less, and go further.
    let mut world = World::small(1);
    world
        .client(1, submit(1, 100_000, QUICK))
        .begins(&["c1< accepted", "w1< lease 1"]);
    assert_eq!(world.agent.counts().leased, u64::from(limits::CREDIT_RANGE_TASKS));
    // What takes no room is counted as well, as it starts at once.
    let mut world = World::small(1);
    world
        .client(1, submit(1, 100_000, RUN).cores(0))
        .begins(&["c1< accepted", "w1< lease 1"]);
    assert_eq!(world.agent.counts().leased, u64::from(limits::CREDIT_TASKS));
}

#[test]
fn credit_is_counted_in_bytes_and_a_full_worker_does_not_keep_others_from_work() {
    let mut world = World::small(100);
    let data = vec![0; 24 << 20];
    for request in 1..=3 {
        world
            .client_with(1, submit(request, 1, RUN), &[&data])
            .0
            .truncate(0);
    }
    assert_eq!((world.agent.counts().leased, world.agent.counts().ready), (2, 1));
    // The other worker has fewer cores, and room in bytes.
    world
        .worker(2, joins("v", 1))
        .begins(&["w2< welcome", "w2< lease 1 recorded 0: 3.0@1"]);
    world
        .client_with(1, submit(4, 1, RUN), &[&data])
        .begins(&["c1< accepted"]);
    world
        .worker(1, done(1, run(1, 0, 1, 1)))
        .begins(&["w1< lease 3 recorded 1: 4.0@1"]);
}

#[test]
fn large_items_go_in_messages_of_their_own() {
    let mut world = World::small(3);
    let data = vec![0; limits::MESSAGE_BYTES];
    let inputs = (1..=3)
        .map(|request| from_client(1, submit(request, 1, RUN), &[&data]))
        .collect::<Vec<Input>>();
    world.round(inputs).begins(&[
        "c1< accepted",
        "c1< accepted",
        "c1< accepted",
        "w1< lease 1 recorded 0: 1.0@1 run all 1048576 bytes",
        "w1< lease 2 recorded 0: 2.0@1 run all 1048576 bytes",
        "w1< lease 3 recorded 0: 3.0@1 run all 1048576 bytes",
    ]);
}

#[test]
fn work_is_spread_over_workers() {
    let mut world = World::small(2);
    world.worker(2, joins("v", 3)).begins(&["w2< welcome"]);
    world.client(1, submit(1, 9, RUN)).is(&[
        "c1< accepted 1: submission 1, 9 tasks",
        "w1< lease 1 recorded 0: 1.3-5@1 run",
        "w2< lease 1 recorded 0: 1.0-3@1 run",
    ]);
    let bye: WorkerToAgent = scalems_protocol::worker::WorkerGoodbye::default().into();
    world.worker(2, bye).is(&[]);
    assert_eq!(world.agent.counts().ready, 7);
}

#[test]
fn what_takes_longer_than_its_worker_has_left_does_not_begin_there() {
    let long = |seconds: u64| Needs {
        min_time_ms: seconds * 1_000,
        ..Needs::default()
    };
    let mut world = World::small(2);
    let leaves = |name: &str, seconds: u64| WorkerHello {
        left_ms: Some(seconds * 1_000),
        ..joins(name, 2)
    };
    world
        .worker(2, leaves("short", 60))
        .begins(&["w2< welcome worker 2 short"]);
    world
        .worker(3, leaves("longer", 600))
        .begins(&["w3< welcome worker 3 longer"]);
    // Without an end that is known, all can begin; the other one has time enough for some.
    world.client(1, submit(1, 9, RUN).needs(long(300))).begins(&[
        "c1< accepted",
        "w1< lease 1 recorded 0: 1.0-2@1 run",
        "w3< lease 1 recorded 0: 1.2-4@1 run",
    ]);
    let why = world.ask(1, Question::Explain("1.8".parse().unwrap()));
    let Reply::Explain(why) = why else {
        panic!("{why:?}")
    };
    assert!(
        why.reasons
            .contains(&"worker short has 60 s left, one task needs 300 s".to_owned()),
        "{why:?}"
    );
    // Others begin, and nothing is kept free there for what would not be in time.
    world.lives(2, true);
    world.lives(3, true);
    world.lives(1, true);
    world.wait(2_000_000);
    world
        .client(1, submit(2, 2, RUN))
        .begins(&["c1< accepted", "w2< lease 1 recorded 0: 2.0-2@1 run"]);
    // Time passes, also where there was enough of it.
    world.wait(320_000_000);
    let mut slow = done(1, run(1, 2, 3, 1));
    slow.results[0].ran_us = 1;
    world.worker(3, slow).is(&[]);
    world
        .worker(1, done(1, run(1, 0, 1, 1)))
        .is(&["w1< lease 2 recorded 1: 1.4@1 run"]);
}

/// One with a GPU, or else with three cores.
fn either() -> Needs {
    Needs {
        gpus_per_rank: 1.into(),
        variants: vec![Needs::cores(3)],
        ..Needs::default()
    }
}

fn with_gpu(name: &str) -> WorkerHello {
    WorkerHello {
        offer: vec![("cores".into(), 1.into()), ("gpus".into(), 1.into())],
        ..joins(name, 1)
    }
}

#[test]
fn the_first_way_that_there_is_room_for_is_taken() {
    let mut world = World::small(3);
    world.worker(2, with_gpu("v")).begins(&["w2< welcome worker 2 v"]);
    world.client(1, submit(1, 3, RUN).needs(either())).is(&[
        "c1< accepted 1: submission 1, 3 tasks",
        "w1< lease 1 recorded 0: 1.1@1 run as variant 1",
        "w2< lease 1 recorded 0: 1.0@1 run",
    ]);
    let why = |world: &mut World, task: &str| match world.ask(1, Question::Explain(task.parse().unwrap())) {
        Reply::Explain(why) => *why,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        why(&mut world, "1.2").reasons,
        [
            "variant 0: worker w has 0 gpus, one task needs 1",
            "variant 1: worker w has 3 of 3 cores in use, one task needs 3",
            "variant 0: worker v has 1 of 1 cores in use, one task needs 1",
            "variant 1: worker v has 1 cores, one task needs 3",
        ]
    );
    let held = why(&mut world, "1.1");
    assert_eq!(held.row.variant, Some(1));
    assert!(
        held.reasons
            .contains(&"it has room for variant 1: 3 cores".to_owned()),
        "{held:?}"
    );
    // What one has of the other way it gives back: three cores, and not one with a GPU.
    world
        .worker(1, done(1, run(1, 1, 2, 1)))
        .is(&["w1< lease 2 recorded 1: 1.2@1 run as variant 1"]);
    world
        .client(1, submit(2, 1, RUN))
        .is(&["c1< accepted 2: submission 2, 1 tasks"]);
    world
        .worker(1, done(2, run(1, 2, 3, 1)))
        .is(&["w1< lease 3 recorded 2: 2.0@1 run"]);
    world.worker(2, done(1, run(1, 0, 1, 1))).is(&[]);
    let Reply::Workers(workers) = world.ask(1, Question::Workers(WorkersPage::default())) else {
        panic!("no answer")
    };
    let used: Vec<u64> = workers.rows.iter().map(|row| row.resources[0].2).collect();
    assert_eq!(used, [1, 0]);
}

#[test]
fn what_no_way_could_run_is_refused() {
    let mut world = World::small(2);
    world
        .client(1, submit(1, 1, RUN).needs(either()))
        .is(&["c1< refused request 1: impossible_needs"]);
    let needs = Needs {
        variants: vec![Needs::cores(2)],
        ..either()
    };
    world.client(1, submit(2, 1, RUN).needs(needs)).is(&[
        "c1< accepted 2: submission 1, 1 tasks",
        "w1< lease 1 recorded 0: 1.0@1 run as variant 1",
    ]);
    let nested = Needs {
        variants: vec![either()],
        ..Needs::default()
    };
    world
        .client(1, submit(3, 1, RUN).needs(nested))
        .is(&["c1< refused request 3: invalid_value"]);
}

#[test]
fn a_worker_that_does_not_know_a_word_gets_no_task_with_it() {
    let mut world = World::small(3);
    let old = WorkerHello {
        knows: Vec::new(),
        ..joins("old", 8)
    };
    world.worker(2, old).begins(&["w2< welcome worker 2 old"]);
    let half = Needs::cores("0.5".parse::<Amount>().unwrap());
    world.client(1, submit(1, 8, RUN).needs(half)).is(&[
        "c1< accepted 1: submission 1, 8 tasks",
        "w1< lease 1 recorded 0: 1.0-6@1 run",
    ]);
    let Reply::Explain(why) = world.ask(1, Question::Explain("1.7".parse().unwrap())) else {
        panic!("no answer")
    };
    assert_eq!(
        why.reasons,
        [
            "worker w has 3 of 3 cores in use, one task needs 0.5",
            "worker old is older and does not know fractions",
        ]
    );
    world.client(1, submit(2, 1, RUN)).is(&[
        "c1< accepted 2: submission 2, 1 tasks",
        "w2< lease 1 recorded 0: 2.0@1 run",
    ]);
}
