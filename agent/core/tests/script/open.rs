//! Open submissions: tasks are added, and one day there will be no more.

use scalems_core::Input;
use scalems_protocol::state::Strength;
use scalems_protocol::task::{After, When};
use scalems_protocol::worker::Report;

use crate::journal::journaled;
use crate::say::{QUICK, RUN, With, append, cancel, close, done, failed, open, run, submit};
use crate::world::World;

const THREE: &[&[u8]] = &[b"abc"];

fn after(submission: u64) -> After {
    After {
        submission: Some(submission),
        ..After::default()
    }
}

/// The report, of tasks that came with this request: it is another number than their submission's.
fn of_request(request: u64, mut report: Report) -> Report {
    for group in &mut report.results {
        group.origin.request = request;
    }
    report
}

#[test]
fn tasks_are_added_and_run_with_the_data_that_they_came_with() {
    let mut world = World::small(1);
    world.client_with(1, open(1, 2, QUICK), &[b"ab"]).is(&[
        "c1< accepted 1: submission 1, 2 tasks",
        "w1< lease 1 recorded 0: 1.0-2@1 quick \"a\",\"b\"",
    ]);
    // Those that came together travel together, and no others with them.
    let inputs = vec![
        crate::world::from_client(1, append(2, 1, 3), &[b"cde"]),
        crate::world::from_client(1, append(3, 1, 1), &[b"f"]),
    ];
    world.round(inputs).is(&[
        "c1< appended 2: 3 tasks to submission 1 from 2",
        "c1< appended 3: 1 tasks to submission 1 from 5",
        "w1< lease 2 recorded 0: 1.2-5@1 quick \"c\",\"d\",\"e\"; 1.5@1 quick \"f\"",
    ]);
    world
        .client(1, append(3, 1, 1))
        .is(&["c1< appended 3: 1 tasks to submission 1 from 5"]);
    world.worker(1, done(1, run(1, 0, 6, 1))).is(&[]);
    world
        .client(1, close(4, 1))
        .is(&["c1< closed 4: closed 1 before 0"]);
    world
        .client(1, close(5, 1))
        .is(&["c1< closed 5: closed 0 before 1"]);
    world
        .client_with(1, append(6, 1, 3), THREE)
        .is(&["c1< refused request 6: not_open"]);
}

#[test]
fn what_cannot_be_added_is_refused_and_changes_nothing() {
    let mut world = World::small(1);
    world.client(1, submit(1, 2, QUICK)).first("c1< accepted 1");
    world
        .client_with(1, append(2, 1, 3), THREE)
        .is(&["c1< refused request 2: not_open"]);
    world
        .client_with(1, append(3, 7, 3), THREE)
        .is(&["c1< refused request 3: nothing_selected"]);
    world
        .client_with(1, open(4, 3, QUICK), THREE)
        .first("c1< accepted 4: submission 2");
    for (request, wrong) in [
        (5, append(5, 2, 0)),
        (6, append(6, 2, 4)),
        (
            7,
            scalems_protocol::client::Append {
                ends: Vec::new(),
                ..append(7, 2, 3)
            },
        ),
    ] {
        let said = world.client_with(1, wrong, THREE);
        assert!(
            ["invalid_value", "malformed"]
                .iter()
                .any(|code| said.0 == [format!("c1< refused request {request}: {code}")]),
            "{:?}",
            said.0
        );
    }
    let streaming = open(8, 3, QUICK).streaming();
    world
        .client_with(1, streaming, THREE)
        .is(&["c1< refused request 8: invalid_value"]);
    let array = scalems_protocol::client::Submit {
        ends: Vec::new(),
        ..open(9, 3, QUICK)
    };
    world
        .client_with(1, array, THREE)
        .is(&["c1< refused request 9: invalid_value"]);
    let each = open(10, 3, QUICK).after(After {
        each: true,
        ..after(2)
    });
    world
        .client_with(1, each, THREE)
        .is(&["c1< refused request 10: invalid_value"]);
    let each = submit(11, 3, QUICK).after(After {
        each: true,
        ..after(2)
    });
    world
        .client(1, each)
        .is(&["c1< refused request 11: invalid_value"]);
    world
        .client_with(1, append(12, 2, 3), THREE)
        .first("c1< appended 12: 3 tasks to submission 2 from 3");
}

#[test]
fn what_comes_after_an_open_one_waits_until_it_is_closed() {
    let mut world = World::small(1);
    world
        .client_with(1, open(1, 1, QUICK), &[b"a"])
        .first("c1< accepted 1");
    world
        .client(1, submit(2, 1, QUICK).after(after(1)))
        .is(&["c1< accepted 2: submission 2, 1 tasks"]);
    world.worker(1, done(1, run(1, 0, 1, 1))).is(&[]);
    world
        .client_with(1, append(3, 1, 1), &[b"b"])
        .first("c1< appended 3");
    world
        .client(1, close(4, 1))
        .is(&["c1< closed 4: closed 1 before 0"]);
    world
        .worker(1, done(2, run(1, 1, 2, 1)))
        .is(&["w1< lease 3 recorded 2: 2.0@1 quick"]);
    // When nothing is left of it, closing is what lets the next one go.
    world
        .client_with(1, open(5, 1, QUICK), &[b"a"])
        .first("c1< accepted 5");
    world
        .client(
            1,
            submit(6, 1, QUICK).after(After {
                when: When::Any,
                ..after(3)
            }),
        )
        .begins(&["c1< accepted 6"]);
    world.worker(1, of_request(5, done(3, run(3, 0, 1, 1)))).is(&[]);
    world.client(1, close(7, 3)).is(&[
        "c1< closed 7: closed 1 before 0",
        "w1< lease 5 recorded 3: 4.0@1 quick",
    ]);
}

#[test]
fn whatever_ends_a_submission_closes_it() {
    let mut world = World::small(1);
    world
        .client_with(1, open(1, 1, QUICK), &[b"a"])
        .first("c1< accepted 1");
    let select = |text: &str| text.parse().unwrap();
    // Some of its tasks, or only what has not begun: others may be added.
    world
        .client(1, cancel(2, select("1.0"), Strength::Request))
        .begins(&["w1< revoke", "c1< cancel_done 2"]);
    world
        .client(1, cancel(3, select("1"), Strength::Withdraw))
        .begins(&["w1< revoke", "c1< cancel_done 3"]);
    world
        .client_with(1, append(4, 1, 1), &[b"b"])
        .first("c1< appended 4");
    world
        .client(1, cancel(5, select("1"), Strength::Request))
        .begins(&["w1< revoke", "c1< cancel_done 5"]);
    world
        .client_with(1, append(6, 1, 1), &[b"b"])
        .is(&["c1< refused request 6: not_open"]);

    let mut tasks = open(7, 1, QUICK);
    tasks.task.max_failures = Some(0);
    world.client_with(1, tasks, &[b"a"]).first("c1< accepted 7");
    world.worker(1, of_request(7, failed(1, run(2, 0, 1, 1)))).is(&[]);
    world
        .client_with(1, append(8, 2, 1), &[b"b"])
        .is(&["c1< refused request 8: not_open"]);

    // What it comes after ended otherwise: what would be added could not run.
    world
        .client_with(1, open(9, 1, QUICK).after(after(2)), &[b"a"])
        .is(&["c1< accepted 9: submission 3, 1 tasks"]);
    world
        .client_with(1, append(10, 3, 1), &[b"b"])
        .is(&["c1< refused request 10: not_open"]);
}

#[test]
fn what_is_added_waits_for_the_disk() {
    let mut world = journaled();
    world.client_with(1, open(1, 1, QUICK), &[b"a"]).begins(&[
        "record 5: submitted 1, 1 tasks",
        "w1< lease 1 recorded 0: 1.0@1 quick \"a\"",
    ]);
    world
        .client_with(1, append(2, 1, 1), &[b"b"])
        .is(&["record 6: appended 1, 1 tasks from 1"]);
    world.client(1, close(3, 1)).is(&["record 7: closed 1"]);
    world
        .round(vec![Input::Durable(5)])
        .is(&["c1< accepted 1: submission 1, 1 tasks"]);
    world.round(vec![Input::Durable(6)]).is(&[
        "c1< appended 2: 1 tasks to submission 1 from 1",
        "w1< lease 2 recorded 0: 1.1@1 quick \"b\"",
    ]);
    world
        .round(vec![Input::Durable(7)])
        .is(&["c1< closed 3: closed 1 before 0"]);
}

#[test]
fn what_will_be_as_many_runs_each_after_one_of_others() {
    let mut world = World::small(2);
    let each = || After {
        each: true,
        ..after(1)
    };
    let of = |request, count, total| scalems_protocol::client::Submit {
        total: Some(total),
        ..open(request, count, QUICK).after(each())
    };
    world
        .client(1, submit(1, 4, RUN))
        .begins(&["c1< accepted 1", "w1< lease 1 recorded 0: 1.0-2@1 run"]);
    // As many as the others, and not fewer than there are.
    for (request, total) in [(2, 3), (3, 5), (4, 1)] {
        world
            .client_with(1, of(request, 2, total), &[b"ab"])
            .is(&[&format!("c1< refused request {request}: invalid_value")]);
    }
    let closed = scalems_protocol::client::Submit {
        total: Some(2),
        ..submit(5, 2, QUICK)
    };
    world
        .client(1, closed)
        .is(&["c1< refused request 5: invalid_value"]);
    world
        .client_with(1, of(6, 2, 4), &[b"ab"])
        .is(&["c1< accepted 6: submission 2, 2 tasks"]);
    // The first of them ended before the second of these came, the others after.
    world
        .worker(1, done(1, run(1, 1, 2, 1)))
        .is(&["w1< lease 2 recorded 1: 1.2@1 run; 1.3@1 run; 2.1@1 quick \"b\""]);
    world
        .client_with(1, append(7, 2, 3), THREE)
        .is(&["c1< refused request 7: invalid_value"]);
    world
        .client_with(1, append(8, 2, 2), &[b"cd"])
        .is(&["c1< appended 8: 2 tasks to submission 2 from 2"]);
    world
        .client(1, close(9, 2))
        .is(&["c1< closed 9: closed 1 before 0"]);
    world.worker(1, failed(2, run(1, 0, 1, 1))).is(&[]);
    world
        .worker(1, done(3, run(1, 3, 4, 1)))
        .is(&["w1< lease 3 recorded 3: 2.3@1 quick \"d\""]);
}
