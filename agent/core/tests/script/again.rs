//! Tasks that did not end well are submitted again, and keep their data and indices.

use scalems_core::record::Record;
use scalems_protocol::client::{Retry, Submit};
use scalems_protocol::state::Strength;
use scalems_protocol::task::{After, Policy, When};

use crate::journal::journaled;
use crate::restored::life;
use crate::say::{QUICK, RUN, With, cancel, close, done, failed, forget, open, run, submit};
use crate::world::World;

fn retry(request: u64, select: &str) -> Retry {
    Retry {
        request,
        low_water: 0,
        select: select.parse().expect("it is written well"),
        repeat: false,
    }
}

fn after(submission: u64, when: When) -> After {
    After {
        submission: Some(submission),
        when,
        ..After::default()
    }
}

/// A report of the request that a submission came with.
fn of(request: u64, mut report: scalems_protocol::worker::Report) -> scalems_protocol::worker::Report {
    for group in &mut report.results {
        group.origin.request = request;
    }
    report
}

/// The first index and the step of each group of the last leases.
fn indices(world: &World) -> Vec<(u32, u32, u32)> {
    use scalems_core::Action;
    use scalems_protocol::worker::AgentToWorker;
    let leases = world.last.iter().filter_map(|action| match action {
        Action::ToWorker {
            message: AgentToWorker::Lease(lease),
            ..
        } => Some(lease),
        _ => None,
    });
    let groups = leases.flat_map(|lease| &lease.groups);
    groups
        .map(|group| (group.run.lo, group.first, group.step))
        .collect()
}

#[test]
fn those_of_an_array_keep_their_indices() {
    let mut world = World::small(8);
    let array = Submit {
        first: 10,
        step: 5,
        ..submit(1, 6, QUICK)
    };
    world.client_with(1, array, &[b"x"]).first("c1< accepted 1");
    world.worker(1, done(1, run(1, 0, 1, 1))).is(&[]);
    world.worker(1, failed(2, run(1, 1, 2, 1))).is(&[]);
    world.worker(1, failed(3, run(1, 3, 5, 1))).is(&[]);
    // While others run. Which are meant is said by their indices.
    world.client(1, retry(2, "1.10-25")).is(&[
        "c1< accepted 2: submission 2, 2 tasks",
        "w1< lease 2 recorded 3: 2.0@1 quick all \"x\"; 2.1@1 quick all \"x\"",
    ]);
    assert_eq!(indices(&world), [(0, 15, 5), (1, 20, 5)]);
    world.worker(1, of(2, failed(4, run(2, 0, 2, 1)))).is(&[]);
    // Those are passed over now.
    world
        .client(1, retry(3, "1.15-25"))
        .is(&["c1< refused request 3: nothing_selected"]);
    world.client(1, retry(4, "1")).is(&[
        "c1< accepted 4: submission 3, 1 tasks",
        "w1< lease 3 recorded 4: 3.0@1 quick all \"x\"",
    ]);
    assert_eq!(indices(&world), [(0, 30, 5)]);
    let all = Retry {
        repeat: true,
        ..retry(5, "1")
    };
    world
        .client(1, all)
        .begins(&["c1< accepted 5: submission 4, 3 tasks", "w1< lease 4"]);
    // What was submitted again may fail again.
    world
        .client(1, retry(6, "2.25"))
        .begins(&["c1< accepted 6: submission 5, 1 tasks", "w1< lease 5"]);
    assert_eq!(indices(&world), [(0, 25, 5)]);
    world
        .client(1, retry(7, "2,3"))
        .is(&["c1< refused request 7: invalid_value"]);
    world
        .client(1, retry(8, "2,state:done"))
        .is(&["c1< refused request 8: invalid_value"]);
    world
        .client(1, retry(9, "9"))
        .is(&["c1< refused request 9: nothing_selected"]);
}

#[test]
fn each_has_its_own_data_again() {
    let mut world = World::small(8);
    world
        .client_with(1, submit(1, 4, QUICK).ends(&[1, 2, 4, 5]), &[b"abccd"])
        .first("c1< accepted 1");
    world.worker(1, failed(1, run(1, 0, 1, 1))).is(&[]);
    world.worker(1, done(2, run(1, 1, 2, 1))).is(&[]);
    world.worker(1, failed(3, run(1, 2, 4, 1))).is(&[]);
    world.client(1, retry(2, "1.2-3")).is(&[
        "c1< accepted 2: submission 2, 2 tasks",
        "w1< lease 2 recorded 3: 2.0-2@1 quick \"cc\",\"d\"",
    ]);
    world.client(1, retry(3, "1")).is(&[
        "c1< accepted 3: submission 3, 1 tasks",
        "w1< lease 3 recorded 3: 3.0@1 quick \"a\"",
    ]);
    // Of what the client has itself there is nothing here.
    world
        .client_with(1, submit(4, 1, QUICK).streaming(), &[b"a"])
        .first("c1< accepted 4");
    world
        .worker(1, of(4, failed(4, run(4, 0, 1, 1))))
        .first("c1< results");
    world
        .client(1, retry(5, "4"))
        .is(&["c1< refused request 5: not_kept"]);
}

#[test]
fn those_that_were_added_are_no_different() {
    let mut world = World::small(8);
    world
        .client_with(1, open(1, 2, QUICK), &[b"ab"])
        .first("c1< accepted 1");
    world
        .client_with(1, crate::say::append(2, 1, 3), &[b"cde"])
        .first("c1< appended 2");
    world.worker(1, done(1, run(1, 0, 2, 1))).is(&[]);
    world.worker(1, failed(2, run(1, 2, 4, 1))).is(&[]);
    world.worker(1, done(3, run(1, 4, 5, 1))).is(&[]);
    world.client(1, retry(3, "1.3")).is(&[
        "c1< accepted 3: submission 2, 1 tasks",
        "w1< lease 3 recorded 3: 2.0@1 quick \"d\"",
    ]);
    world.client(1, close(4, 1)).first("c1< closed 4");
    world.client(1, retry(5, "1")).is(&[
        "c1< accepted 5: submission 3, 1 tasks",
        "w1< lease 4 recorded 3: 3.0@1 quick \"c\"",
    ]);
}

#[test]
fn what_ran_after_them_runs_after_them_again() {
    let mut world = World::small(1);
    world.client(1, submit(1, 1, RUN)).first("c1< accepted 1");
    world
        .client(1, submit(2, 1, QUICK).after(after(1, When::Ok)))
        .is(&["c1< accepted 2: submission 2, 1 tasks"]);
    // The worker runs it, it fails, and with it goes what was to run after it.
    world.worker(1, failed(1, run(1, 0, 1, 1))).is(&[]);
    world
        .client(1, retry(3, "1"))
        .begins(&["c1< accepted 3: submission 3", "w1< lease 2"]);
    world
        .client(1, retry(4, "2"))
        .is(&["c1< refused request 4: nothing_selected"]);
    world
        .client(1, retry(5, "2,state:canceled"))
        .is(&["c1< accepted 5: submission 4, 1 tasks"]);
    world
        .worker(1, of(3, done(2, run(3, 0, 1, 1))))
        .is(&["w1< lease 3 recorded 2: 4.0@1 quick"]);
    // What it ran after has ended well by now: nothing is left to wait for.
    world.worker(1, of(5, failed(3, run(4, 0, 1, 1)))).is(&[]);
    world
        .client(1, retry(6, "4"))
        .begins(&["c1< accepted 6: submission 5, 1 tasks", "w1< lease 4"]);
}

#[test]
fn it_survives_the_agent() {
    let mut world = journaled();
    world
        .client_with(1, submit(1, 3, QUICK).ends(&[1, 2, 3]), &[b"abc"])
        .first("record 5: submitted 1");
    world
        .worker(1, failed(1, run(1, 1, 2, 1)))
        .first("record 6: ended 1.1@1");
    world.worker(1, done(2, run(1, 0, 1, 1))).first("record 7");
    world.worker(1, failed(3, run(1, 2, 3, 1))).first("record 8");
    world
        .client(1, retry(2, "1.1"))
        .begins(&["record 9: submitted 2, 1 tasks", "w1< lease 2"]);
    let durable = world.records.len();
    world.durable().first("c1< accepted 1");
    let (mut world, _) = world.reborn(life(2), durable);
    let again = |record: &&Record| matches!(record, Record::Submitted(from) if from.again.is_some());
    assert_eq!(world.records.iter().filter(again).count(), 1);
    world.client(1, crate::say::hello("s")).first("record 11");
    world
        .durable()
        .first("c1< welcome session 2, requests 8589934592, next delivery 1");
    // It knows what was submitted again, and has the data of what was not.
    let request = (2 << 32) + 1;
    world
        .client(1, retry(request, "1.1"))
        .is(&["c1< refused request 8589934593: nothing_selected"]);
    world.client(1, retry(request + 1, "1")).first("record");
    assert!(
        matches!(world.records.last(), Some(Record::Submitted(from))
            if from.data.bytes[..] == b"c"[..] && from.indices.at(0) == 2),
        "{:?}",
        world.records.last()
    );
}

#[test]
fn what_is_kept_for_it_goes_with_its_submission() {
    let mut world = World::small(8);
    let policy = Policy::default();
    world
        .client_with(1, submit(1, 2, RUN).policy(policy).ends(&[1, 2]), &[b"ab"])
        .first("c1< accepted 1");
    world
        .client(1, cancel(2, "1.1".parse().expect("well written"), Strength::Kill))
        .begins(&["w1< revoke", "c1< cancel_done 2"]);
    world.worker(1, failed(1, run(1, 0, 2, 1))).is(&[]);
    world
        .client(1, forget(3, 1))
        .first("c1< forget_done 3: forgotten 2");
    world
        .client(1, retry(4, "1"))
        .is(&["c1< refused request 4: nothing_selected"]);
}

#[test]
fn what_was_submitted_again_in_parts_is_waited_for_in_all_parts() {
    let mut world = World::small(8);
    world.client(1, submit(1, 2, RUN)).first("c1< accepted 1");
    world
        .client(1, submit(2, 1, QUICK).after(after(1, When::Ok)))
        .first("c1< accepted 2");
    world.worker(1, failed(1, run(1, 0, 2, 1))).is(&[]);
    world
        .client(1, retry(3, "1.0"))
        .begins(&["c1< accepted 3: submission 3", "w1< lease 2"]);
    world
        .client(1, retry(4, "1.1"))
        .begins(&["c1< accepted 4: submission 4", "w1< lease 3"]);
    world
        .client(1, retry(5, "2,state:canceled"))
        .is(&["c1< accepted 5: submission 5, 1 tasks"]);
    world.worker(1, of(4, done(2, run(4, 0, 1, 1)))).is(&[]);
    // That fails once more, and is submitted once more: what was to run after it goes, and then runs after that.
    world.worker(1, of(3, failed(3, run(3, 0, 1, 1)))).is(&[]);
    world
        .client(1, retry(6, "3"))
        .begins(&["c1< accepted 6: submission 6", "w1< lease 4"]);
    world
        .client(1, retry(7, "5,state:canceled"))
        .is(&["c1< accepted 7: submission 7, 1 tasks"]);
    // What asks for the first of all runs after the last.
    let whole = Retry {
        repeat: true,
        ..retry(8, "2,state:canceled")
    };
    world
        .client(1, whole)
        .is(&["c1< accepted 8: submission 8, 1 tasks"]);
    world
        .worker(1, of(6, done(4, run(6, 0, 1, 1))))
        .is(&["w1< lease 5 recorded 4: 7.0@1 quick; 8.0@1 quick"]);
}

#[test]
fn each_waits_only_for_the_one_in_its_place() {
    let mut world = World::small(8);
    let each = After {
        each: true,
        ..after(1, When::Ok)
    };
    world.client(1, submit(1, 4, RUN)).first("c1< accepted 1");
    world
        .client(1, submit(2, 4, QUICK).after(each))
        .first("c1< accepted 2");
    world
        .worker(1, done(1, run(1, 0, 1, 1)))
        .is(&["w1< lease 2 recorded 1: 2.0@1 quick"]);
    world.worker(1, of(2, failed(2, run(2, 0, 1, 1)))).is(&[]);
    world.worker(1, failed(3, run(1, 1, 3, 1))).is(&[]);
    // While others of what it ran after run, or have failed.
    world.client(1, retry(3, "2.0")).is(&[
        "c1< accepted 3: submission 3, 1 tasks",
        "w1< lease 3 recorded 3: 3.0@1 quick",
    ]);
    world
        .client(1, retry(4, "1.1-2"))
        .begins(&["c1< accepted 4: submission 4, 2 tasks", "w1< lease 4"]);
    world
        .client(1, retry(5, "2.1-2,state:canceled"))
        .is(&["c1< accepted 5: submission 5, 2 tasks"]);
    // One that fails takes only its own with it.
    world.worker(1, of(4, failed(4, run(4, 0, 1, 1)))).is(&[]);
    world
        .worker(1, of(4, done(5, run(4, 1, 2, 1))))
        .is(&["w1< lease 5 recorded 5: 5.1@1 quick"]);
}
