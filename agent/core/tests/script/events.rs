//! Events: made for who listens, numbered by topic, with snapshots to begin from.

use scalems_core::Input;
use scalems_protocol::client::{Ask, Question, Reply};
use scalems_protocol::event::Topic;
use scalems_protocol::progress::Progress;
use scalems_protocol::select::Selector;
use scalems_protocol::worker::TasksProgress;

use crate::say::{QUICK, RUN, done, joins, run, submit};
use crate::world::World;

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
