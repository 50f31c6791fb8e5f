//! Memory is bounded (R10).

use scalems_core::Action;
use scalems_protocol::client::{Acknowledge, AgentToClient, Page, Question, Reply};
use scalems_protocol::select::Selector;
use scalems_protocol::worker::Report;
use scalems_protocol::{Ending, limits};

use crate::say::{QUICK, RUN, With, done, forget, group, large, report, run, submit};
use crate::world::{World, from_client};

#[test]
fn nothing_is_granted_while_results_fill_the_memory() {
    let mut world = World::small(1);
    let blob = vec![0; limits::BLOB_BYTES];
    for submission in 1..=6 {
        world.client(1, submit(submission, 1, RUN)).0.truncate(0);
    }
    for number in 1..=4 {
        assert_eq!(world.agent.counts().leased, 1, "until the memory is full");
        world
            .worker_with(1, large(number, number), &[&blob])
            .0
            .truncate(0);
    }
    // 256 MiB are full, which is as much as may be; with one more it is more.
    world.worker_with(1, large(5, 5), &[&blob]).0.truncate(0);
    assert_eq!((world.agent.counts().leased, world.agent.counts().ready), (0, 1));
    assert!(world.counter("credit_stopped") > 0);
    assert!(matches!(world.ask(1, Question::Explain("6".parse().unwrap())),
        Reply::Explain(told) if told.reasons[0].starts_with("results that nobody has collected take 320 MiB")));
    world.client(1, forget(7, 1)).is(&[
        "c1< forget_done 7: forgotten 1 kept 0",
        "w1< lease 6 recorded 5: 6.0@1 run",
    ]);
}

#[test]
fn a_client_that_does_not_acknowledge_stops_its_results_and_then_the_work() {
    let mut world = World::small(1);
    let blob = vec![0; limits::BLOB_BYTES];
    for number in 1..=4 {
        world
            .client(1, submit(number, 1, RUN).streaming())
            .begins(&["c1< accepted", "w1< lease"]);
        // The first fills what may be unacknowledged.
        let recorded = format!("w1< recorded {number}");
        let delivered = ["c1< results 1 None: 1.0@1 done all 67108864 bytes"];
        let delivered: &[&str] = if number == 1 { &delivered } else { &[] };
        world
            .worker_with(1, large(number, number), &[&blob])
            .is(&[delivered, &[recorded.as_str()]].concat());
    }
    world
        .client(1, submit(5, 1, RUN))
        .is(&["c1< accepted 5: submission 5, 1 tasks"]);
    world.client(1, Acknowledge { delivery: 1 }).is(&[
        "w1< lease 5 recorded 4: 5.0@1 run",
        "c1< results 2 None: 2.0@1 done all 67108864 bytes",
    ]);
}

/// Results without a value take memory as well.
#[test]
fn empty_results_that_nobody_acknowledges_are_bounded() {
    let mut world = World::small(1);
    let mut delivered = 0;
    for request in 1..=80 {
        world
            .client(1, submit(request, 4_000, QUICK).streaming().low(request))
            .begins(&["c1< accepted", "w1< lease"]);
        // Each ends apart from its neighbours.
        let apart = |at| group(run(request, at, at + 1, 1), Ending::Done);
        world.worker(
            1,
            Report {
                results: (0..4_000).rev().map(apart).collect(),
                ..report(request)
            },
        );
        let groups = world.last.iter().map(|action| match action {
            Action::ToClient {
                message: AgentToClient::Results(results),
                ..
            } => results.groups.len() as u64,
            _ => 0,
        });
        delivered += groups.sum::<u64>();
    }
    // 64 MiB at 256 bytes each, and what was in the last message.
    let most = limits::WINDOW_BYTES / 256;
    assert!(
        (most..most + limits::GROUPS as u64).contains(&delivered),
        "{delivered}"
    );
    let resumed = world.client(1, Acknowledge { delivery: 100 }).0;
    assert!(resumed.len() > 50, "{resumed:?}");
}

#[test]
fn the_oldest_that_ended_are_forgotten() {
    let mut world = World::small(1);
    let half = (limits::ENDED_TASKS / 2) as u32;
    for request in 1..=3_u64 {
        world.client(1, submit(request, half, QUICK)).0.truncate(0);
        let mut number = (request - 1) * 100;
        let mut lo = 0;
        while lo < half {
            let hi = (lo + limits::CREDIT_RANGE_TASKS).min(half);
            number += 1;
            let at = number - (request - 1) * 100
                + (request - 1) * u64::from(half.div_ceil(limits::CREDIT_RANGE_TASKS));
            world.worker(1, done(at, run(request, lo, hi, 1))).0.truncate(0);
            lo = hi;
        }
    }
    assert_eq!(world.agent.counts().total(), 2 * u64::from(half));
    let page = Page {
        select: Selector::all(),
        after: None,
        rows: 0,
    };
    assert!(
        matches!(world.ask(1, Question::Submissions(page)), Reply::Submissions(listing)
        if listing.rows.iter().map(|row| row.submission).eq([2, 3]))
    );
    world
        .client(
            1,
            submit(4, 1, QUICK).after(scalems_protocol::task::After {
                submission: Some(1),
                ..Default::default()
            }),
        )
        .is(&["c1< refused request 4: unknown_dependency"]);
}

#[test]
fn waits_that_were_answered_leave_nothing_behind() {
    let mut world = World::small(1);
    world
        .client(1, submit(1, 1, QUICK))
        .begins(&["c1< accepted", "w1< lease"]);
    world.worker(1, done(1, run(1, 0, 1, 1))).is(&[]);
    let before = world.agent.deadline();
    let question = || Question::Wait {
        select: "1".parse().unwrap(),
        timeout_ms: 100,
    };
    let inputs = (0..50)
        .map(|id| {
            from_client(
                1,
                scalems_protocol::client::Ask {
                    id,
                    question: question(),
                },
                &[],
            )
        })
        .collect();
    assert_eq!(world.round(inputs).0.len(), 50);
    assert_eq!(world.agent.deadline(), before);
}
