//! Events: made for who listens, numbered by topic, with snapshots to begin from.

use scalems_core::Input;
use scalems_protocol::client::{Ask, Question, Reply};
use scalems_protocol::event::{Body, Topic};
use scalems_protocol::limits::FAULT_GROUPS;
use scalems_protocol::progress::Progress;
use scalems_protocol::select::Selector;
use scalems_protocol::worker::TasksProgress;

use crate::say::{QUICK, RUN, done, failed, forget, joins, run, started, submit};
use crate::world::{World, from_worker};

fn snapshot(topic: &str) -> Ask {
    Ask {
        id: 9,
        question: Question::Snapshot(topic.into()),
    }
}

#[test]
fn the_tasks_of_a_submission_event_by_event() {
    let mut world = World::small(1);
    world
        .client(1, submit(1, 3, QUICK))
        .begins(&["c1< accepted", "w1< lease"]);
    world
        .listen(Topic::Submission(1))
        .is(&["event submission/1 0: open"]);
    world
        .client(1, snapshot("submission/1"))
        .is(&["c1< answer 9: snapshot submission/1 0: 1.0-3@1 leased"]);
    world
        .worker(1, done(1, run(1, 0, 1, 1)))
        .is(&["event submission/1 1: 1.0@1 done; 1.1-3@1 leased"]);
    // Who listens later begins where the numbers are, and everybody begins anew with that.
    world
        .listen(Topic::Submission(1))
        .is(&["event submission/1 1: open"]);
    world
        .worker(1, done(2, run(1, 1, 2, 1)))
        .is(&["event submission/1 2: 1.0-2@1 done; 1.2@1 leased"]);
    world
        .round(vec![Input::Unsubscribed(Topic::Submission(1))])
        .is(&[]);
    world.worker(1, done(3, run(1, 2, 3, 1))).is(&[]);
    // Numbers go on when somebody listens again.
    world
        .listen(Topic::Submission(1))
        .is(&["event submission/1 2: open"]);
    world
        .client(1, snapshot("submission/1"))
        .is(&["c1< answer 9: snapshot submission/1 2: 1.0-3@1 done"]);
    world
        .client(1, snapshot("submission/7"))
        .is(&["c1< refused read 9: invalid_value"]);
    world
        .client(1, snapshot("odd"))
        .is(&["c1< refused read 9: invalid_value"]);
}

#[test]
fn summaries_come_four_times_a_second_at_most_and_only_to_who_listens() {
    let mut world = World::small(1);
    world.lives(1, true);
    world
        .client(1, submit(1, 3, QUICK))
        .begins(&["c1< accepted", "w1< lease"]);
    world.listen(Topic::Summary).is(&["event summary 0: open"]);
    world
        .worker(1, done(1, run(1, 0, 1, 1)))
        .is(&["event summary 1: leased 2 done 1 workers (1, 0, 0, 0)"]);
    world.worker(1, done(2, run(1, 1, 2, 1))).is(&[]);
    world.wait(249).is(&[]);
    world.worker(1, done(3, run(1, 2, 3, 1))).is(&[]);
    world
        .wait(1)
        .is(&["event summary 2: done 3 workers (1, 0, 0, 0)"]);
    // A summary that is due when the last listener goes is not due for ever.
    world
        .client(1, submit(2, 1, QUICK))
        .begins(&["c1< accepted", "w1< lease"]);
    world.round(vec![Input::Unsubscribed(Topic::Summary)]).is(&[]);
    world.wait(1_000).is(&[]);
}

#[test]
fn workers_come_and_go() {
    let mut world = World::small(1);
    world.listen(Topic::Workers).is(&["event workers 0: open"]);
    world
        .worker(2, joins("v", 1))
        .is(&["w2< welcome worker 2 v drop []", "event workers 1: v active"]);
    world
        .round(vec![Input::WorkerGone(scalems_core::Peer(2))])
        .is(&["event workers 2: v suspect"]);
    world.lives(1, true);
    world.wait(12_000).is(&["event workers 3: v lost"]);
    world
        .client(1, snapshot("workers"))
        .is(&["c1< answer 9: snapshot workers 3: w active; v lost"]);
}

#[test]
fn an_alarm_is_told_once() {
    let mut world = World::small(1);
    world
        .client(1, submit(1, 1, RUN))
        .begins(&["c1< accepted", "w1< lease"]);
    world.listen(Topic::Alarms).is(&["event alarms 0: open"]);
    world
        .round(vec![Input::WorkerGone(scalems_core::Peer(1))])
        .is(&[]);
    // The snapshot is asked for in the very round that brings the alarm.
    let before = world.now + 12_000_000;
    world.now = before - 2_000_000;
    world.wait(0).is(&[]);
    world.now = before;
    world.wait(10_000).is(&["event alarms 1: worker_lost w"]);
    world
        .client(1, snapshot("alarms"))
        .is(&["c1< answer 9: snapshot alarms 1: worker_lost w"]);
}

#[test]
fn how_far_tasks_are_is_told_four_times_a_second_and_kept_while_they_run() {
    let said = |lo: u32, attempt: u32, fraction: f64| Progress {
        run: run(1, lo, lo + 1, attempt),
        fraction,
        text: "step".into(),
    };
    let tell = |tasks: Vec<Progress>| TasksProgress { tasks };
    let mut world = World::small(2);
    world.lives(1, true);
    world
        .client(1, submit(1, 3, RUN))
        .begins(&["c1< accepted", "w1< lease"]);
    // Nobody listens: it is kept for those who ask.
    world.worker(1, tell(vec![said(0, 1, 0.25)])).is(&[]);
    let explain = || Question::Explain(Selector::task(1, 0));
    let Reply::Explain(told) = world.ask(1, explain()) else {
        panic!("it is explained");
    };
    assert_eq!(told.progress, Some(said(0, 1, 0.25)));
    world
        .listen(Topic::Submission(1))
        .begins(&["event submission/1 0"]);
    world
        .worker(1, tell(vec![said(0, 1, 0.5), said(1, 1, 0.5)]))
        .is(&["event submission/1 1: 1.0@1 at 0.5 step; 1.1@1 at 0.5 step"]);
    // The last word counts. What cannot be so, and what is of no attempt here, is left out.
    world.worker(1, tell(vec![said(0, 1, 0.6)])).is(&[]);
    let wrong = vec![
        said(0, 1, 0.75),
        said(1, 2, 0.9),
        said(1, 1, f64::NAN),
        said(9, 1, 0.9),
        Progress {
            run: run(7, 0, 1, 1),
            ..said(0, 1, 0.9)
        },
        Progress {
            run: run(1, 0, 2, 1),
            ..said(0, 1, 0.9)
        },
    ];
    world.worker(1, tell(wrong)).is(&[]);
    world.wait(249).is(&[]);
    world.wait(1).is(&["event submission/1 2: 1.0@1 at 0.75 step"]);
    world
        .worker(1, done(1, run(1, 0, 1, 1)))
        .begins(&["w1< lease", "event submission/1 3: 1.0@1 done"]);
    let Reply::Explain(told) = world.ask(1, explain()) else {
        panic!("it is explained");
    };
    assert_eq!(told.progress, None);
}

#[test]
fn submissions_are_listed_twice_a_second_at_most() {
    let mut world = World::small(1);
    world.lives(1, true);
    world
        .listen(Topic::Submissions)
        .is(&["event submissions 0: open"]);
    world.client(1, submit(1, 3, QUICK)).begins(&[
        "c1< accepted",
        "w1< lease",
        "event submissions 1: 1 leased 3 of 1",
    ]);
    world.worker(1, done(1, run(1, 0, 1, 1))).is(&[]);
    world.wait(499).is(&[]);
    world
        .client(1, submit(2, 1, QUICK))
        .begins(&["c1< accepted", "w1< lease"]);
    world
        .wait(1)
        .is(&["event submissions 2: 1 leased 2 done 1; 2 leased 1 of 2"]);
    world.worker(1, done(2, run(1, 1, 3, 1))).is(&[]);
    world.client(1, forget(3, 1)).begins(&["c1< forget_done"]);
    world
        .client(1, snapshot("submissions"))
        .is(&["c1< answer 9: snapshot submissions 2: 2 leased 1 of 1"]);
    world.wait(500).is(&["event submissions 3: 1 gone of 1"]);
    world.round(vec![Input::Unsubscribed(Topic::Submissions)]).is(&[]);
    world.worker(1, done(3, run(2, 0, 1, 1))).is(&[]);
    world.wait(1_000).is(&["w1< recorded 3"]);
}

#[test]
fn failures_are_put_together_by_reason_and_host() {
    let mut world = World::small(1);
    world.lives(1, true);
    world
        .client(1, submit(1, 3, QUICK))
        .begins(&["c1< accepted", "w1< lease"]);
    // Also what nobody listened to.
    world.worker(1, failed(1, run(1, 0, 1, 1))).is(&[]);
    world.listen(Topic::Faults).is(&["event faults 0: open"]);
    world
        .client(1, snapshot("faults"))
        .is(&["c1< answer 9: snapshot faults 0: exit_code h w failed 1 retried 0 last 1.0"]);
    world
        .worker(1, failed(2, run(1, 1, 3, 1)))
        .is(&["event faults 1: exit_code h w failed 3 retried 0 last 1.2"]);
    let mut again = submit(2, 1, RUN);
    again.task.policy.retries = 1;
    world.client(1, again).begins(&["c1< accepted", "w1< lease"]);
    world.worker(1, failed(3, run(2, 0, 1, 1))).begins(&[
        "w1< lease",
        "event faults 2: exit_code h w failed 3 retried 1 last 2.0",
    ]);
    world.worker(1, started(4, run(2, 0, 1, 2))).is(&[]);
    world
        .round(vec![Input::WorkerGone(scalems_core::Peer(1))])
        .is(&[]);
    world
        .round(vec![Input::ProcessGone { worker: 1 }])
        .begins(&["event faults 3: worker_lost h w failed 0 retried 1 last 2.0"]);
}

#[test]
fn too_many_reasons_are_put_together_as_others() {
    let mut world = World::small(1);
    world.lives(1, true);
    let count = FAULT_GROUPS as u32 + 10;
    world
        .client(1, submit(1, count, QUICK))
        .begins(&["c1< accepted", "w1< lease"]);
    for offset in 0..count {
        let mut report = failed(u64::from(offset) + 1, run(1, offset, offset + 1, 1));
        report.results[0].exit_code = Some(offset as i32);
        world.round(vec![from_worker(1, report, &[])]);
    }
    let Reply::Snapshot { state, .. } = world.ask(1, Question::Snapshot("faults".into())) else {
        panic!("a snapshot was asked for");
    };
    let Body::Faults { groups } = *state else {
        panic!("{state:?} is of another topic");
    };
    assert_eq!(groups.len(), FAULT_GROUPS);
    let other = groups.iter().find(|group| group.code == "other").unwrap();
    assert_eq!((other.failed, other.last), (11, (1, count - 1)));
    assert_eq!(
        groups.iter().map(|group| group.failed).sum::<u64>(),
        u64::from(count)
    );
}

#[test]
fn health_is_told_to_who_listens() {
    let mut world = World::small(1);
    world.lives(1, true);
    let told = || Input::Health(Box::default());
    world.round(vec![told()]).is(&[]);
    world.listen(Topic::Health).is(&["event health 0: open"]);
    world
        .client(1, submit(1, 2, QUICK))
        .begins(&["c1< accepted", "w1< lease"]);
    let mut report = done(1, run(1, 0, 2, 1));
    report.results[0].ran_us = 6_000;
    world.worker(1, report).is(&[]);
    world.wait(1_000).is(&[]);
    world
        .round(vec![told()])
        .is(&["event health 1: 1000 ms: ended 2 waited (0, 0, 0) ran (3000, 3000, 3000)"]);
    world.wait(500).is(&[]);
    world
        .round(vec![told()])
        .is(&["event health 2: 500 ms: ended 2 waited (0, 0, 0) ran (0, 0, 0)"]);
    world
        .client(1, snapshot("health"))
        .is(&["c1< answer 9: snapshot health 2: 500 ms: ended 2 waited (0, 0, 0) ran (0, 0, 0)"]);
    world.round(vec![Input::Unsubscribed(Topic::Health)]).is(&[]);
    world.round(vec![told()]).is(&[]);
}
