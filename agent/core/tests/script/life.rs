//! The life of tasks that nothing happens to.

use scalems_protocol::client::{Envelope, Question};
use scalems_protocol::group::{Place, ResultGroup};
use scalems_protocol::task::Template;
use scalems_protocol::worker::Report;
use scalems_protocol::{Ending, limits};

use crate::say::{QUICK, RUN, With, done, group, hello, joins, report, run, started, submit};
use scalems_core::Config;

use crate::world::{World, config, from_client};

#[test]
fn one_task_from_submission_to_its_result() {
    let mut world = World::small(1);
    world
        .client_with(1, submit(1, 1, RUN).streaming(), &[b"in"])
        .is(&[
            "c1< accepted 1: submission 1, 1 tasks",
            "w1< lease 1 recorded 0: 1.0@1 run all \"in\"",
        ]);
    assert_eq!(world.agent.counts().leased, 1);
    world.worker(1, started(1, run(1, 0, 1, 1))).is(&[]);
    assert_eq!(world.agent.counts().running, 1);
    let place = Place {
        blob: Some(0),
        at: 0,
        length: 3,
        ends: Vec::new(),
    };
    let result = ResultGroup {
        place,
        ..group(run(1, 0, 1, 1), Ending::Done)
    };
    world
        .worker_with(
            1,
            Report {
                results: vec![result],
                ..report(2)
            },
            &[b"out"],
        )
        .is(&["c1< results 1 None: 1.0@1 done all \"out\""]);
    assert_eq!(world.agent.counts().done, 1);
    // With the next beat the worker is told that it need not keep its reports.
    world.lives(1, true);
    world.wait(2_000).is(&["w1< recorded 2"]);
}

#[test]
fn an_answer_waits_a_moment_for_results_to_go_with() {
    let mut world = World::with(Config {
        patience_us: 1_000,
        ..config()
    });
    world.worker(1, joins("w", 1)).begins(&["w1< welcome worker 1 w"]);
    world.client(1, hello("s")).begins(&["c1< welcome session 2"]);
    let first = submit(1, 1, RUN).streaming();
    world
        .client_with(1, first, &[b""])
        .is(&["w1< lease 1 recorded 0: 1.0@1 run"]);
    world
        .worker(1, done(1, run(1, 0, 1, 1)))
        .is(&["c1< results 1 None: 1.0@1 done, accepted 1: submission 1, 1 tasks"]);
    // No longer than a moment.
    let second = submit(2, 1, RUN).streaming();
    world
        .client_with(1, second, &[b""])
        .is(&["w1< lease 2 recorded 1: 2.0@1 run"]);
    world.wait(1).is(&["c1< accepted 2: submission 2, 1 tasks"]);
    // Whoever has to fetch the results does not wait, and who comes before does not with it.
    let third = submit(3, 1, RUN).streaming();
    world
        .client_with(1, third, &[b""])
        .is(&["w1< lease 3 recorded 1: 3.0@1 run"]);
    world.client_with(1, submit(4, 1, RUN), &[b""]).begins(&[
        "c1< accepted 3: submission 3, 1 tasks",
        "c1< accepted 4: submission 4, 1 tasks",
        "w1< lease 4",
    ]);
}

#[test]
fn an_envelope_is_one_held_task_under_the_next_number() {
    let mut world = World::small(1);
    let task = Template {
        mode: RUN.into(),
        ..Template::default()
    };
    let envelope = || {
        scalems_protocol::client::ClientToAgent::Envelope(Box::new(Envelope {
            task: task.clone(),
            data: None,
        }))
    };
    world.client_with(1, envelope(), &[b"x"]).is(&[
        "c1< accepted 1: submission 1, 1 tasks",
        "w1< lease 1 recorded 0: 1.0@1 run all \"x\"",
    ]);
    world
        .client(1, submit(2, 1, RUN))
        .is(&["c1< accepted 2: submission 2, 1 tasks"]);
    world
        .client(1, envelope())
        .is(&["c1< accepted 3: submission 3, 1 tasks"]);
}

#[test]
fn an_array_goes_out_in_ranges_and_comes_back_in_ranges() {
    let mut world = World::small(4);
    let count = 3 * limits::RANGE_TASKS + 5;
    world.client_with(1, submit(1, count, QUICK), &[b"all"]).is(&[
        "c1< accepted 1: submission 1, 49157 tasks",
        "w1< lease 1 recorded 0: 1.0-16384@1 quick all \"all\"; 1.16384-32768@1 quick all \"all\"; \
         1.32768-49152@1 quick all \"all\"; 1.49152-49157@1 quick all \"all\"",
    ]);
    world.worker(1, done(1, run(1, 0, count, 1))).is(&[]);
    assert_eq!(world.agent.counts().done, u64::from(count));
}

#[test]
fn the_columns_of_a_batch_are_split_over_workers() {
    let mut world = World::small(2);
    world.worker(2, joins("v", 1)).begins(&["w2< welcome worker 2 v"]);
    let batch = submit(1, 4, RUN).ends(&[1, 3, 3, 6]).streaming();
    world.client_with(1, batch, &[b"abbccc"]).is(&[
        "c1< accepted 1: submission 1, 4 tasks",
        "w1< lease 1 recorded 0: 1.0-2@1 run \"a\",\"bb\"",
        "w2< lease 1 recorded 0: 1.2@1 run",
    ]);
    // The last one goes to whoever is free first; results are the parts of their columns.
    let place = Place {
        blob: Some(0),
        at: 0,
        length: 3,
        ends: vec![2, 3],
    };
    let result = ResultGroup {
        place,
        ..group(run(1, 0, 2, 1), Ending::Done)
    };
    world
        .worker_with(
            1,
            Report {
                results: vec![result],
                ..report(1)
            },
            &[b"AAB"],
        )
        .is(&[
            "w1< lease 2 recorded 1: 1.3@1 run \"ccc\"",
            "c1< results 1 None: 1.0-2@1 done \"AA\",\"B\"",
        ]);
}

#[test]
fn what_comes_in_together_goes_out_together() {
    let mut world = World::small(8);
    let inputs = (1..=3)
        .map(|request| from_client(1, submit(request, 1, RUN), &[b"d"]))
        .collect();
    world.round(inputs).is(&[
        "c1< accepted 1: submission 1, 1 tasks",
        "c1< accepted 2: submission 2, 1 tasks",
        "c1< accepted 3: submission 3, 1 tasks",
        "w1< lease 1 recorded 0: 1.0@1 run all \"d\"; 2.0@1 run all \"d\"; 3.0@1 run all \"d\"",
    ]);
    let results = (1..=3)
        .map(|submission| group(run(submission, 0, 1, 1), Ending::Done))
        .collect();
    world.worker(1, Report { results, ..report(1) }).is(&[]);
    assert!(
        matches!(world.ask(1, Question::Status), scalems_protocol::client::Reply::Status(status)
        if status.tasks.done == 3 && status.resources[0] == ("cores".into(), 8, 0))
    );
}
