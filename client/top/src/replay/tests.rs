use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use proptest::prelude::*;
use scalems_protocol::client::{Counts, Page};
use scalems_protocol::select::Selector;
use scalems_protocol::state::TaskState;
use scalems_protocol::task::{Needs, Template};
use scalems_protocol::{Amount, Code};

use super::*;
use crate::source::Cursor;

const S: u64 = 1_000_000;

fn template(name: &str, cores: u64) -> Arc<Template> {
    Arc::new(Template {
        name: Some(name.to_owned()),
        mode: "shell".to_owned(),
        needs: Needs {
            cores_per_rank: Amount::whole(cores),
            ..Needs::default()
        },
        ..Template::default()
    })
}

fn submission(number: u64, count: u32, at_us: u64, cores: u64) -> Submission {
    Submission {
        number,
        template: template(&format!("name{number}"), cores),
        session: "me".to_owned(),
        count,
        indices: (10, 2),
        jumps: Vec::new(),
        at_us,
    }
}

fn worker(number: u64, joined_us: u64, gone_us: Option<u64>) -> Worker {
    Worker {
        number,
        name: format!("w{number}"),
        host: format!("node{}", number % 2),
        pid: 100,
        joined_us,
        gone_us,
    }
}

fn span(
    submission: u32,
    (lo, hi): (u32, u32),
    attempt: u32,
    (begin, end): (u64, u64),
    outcome: Outcome,
) -> Span {
    Span {
        submission,
        lo,
        hi,
        attempt,
        begin_us: begin,
        end_us: end,
        ran_us: (end - begin) * u64::from(hi - lo),
        waited_us: if attempt == 1 { S / 2 } else { 0 },
        worker: Some(0),
        reason: (outcome == Outcome::Failed).then_some(0),
        exit_code: (outcome == Outcome::Failed).then_some(3),
        way: 0,
        outcome,
    }
}

/// Two submissions on two workers, of which one is lost: tasks end well, badly, are tried again and canceled.
pub(super) fn recording() -> Recording {
    let elsewhere = |span: Span| Span {
        worker: Some(1),
        ..span
    };
    let canceled = Span {
        worker: None,
        ran_us: 0,
        waited_us: 0,
        ..span(1, (2, 3), 0, (9 * S, 9 * S), Outcome::Canceled)
    };
    Recording {
        pilot: "night".to_owned(),
        begin_us: S,
        end_us: 20 * S,
        ended_in_order: false,
        submissions: vec![submission(1, 8, S, 1), submission(4, 3, 2 * S, 2)],
        workers: vec![worker(1, 0, None), worker(2, 2 * S, Some(7 * S))],
        reasons: vec![Reason {
            code: Code::TaskFailed,
            class: None,
            message: "it exited with 3".to_owned(),
        }],
        spans: vec![
            span(0, (0, 4), 1, (2 * S, 4 * S), Outcome::Done),
            elsewhere(span(0, (4, 6), 1, (3 * S, 7 * S), Outcome::Lost)),
            span(0, (6, 7), 1, (4 * S, 5 * S), Outcome::Failed),
            span(0, (4, 6), 2, (8 * S, 10 * S), Outcome::Done),
            elsewhere(span(1, (0, 1), 1, (3 * S, 6 * S), Outcome::Retried)),
            span(1, (0, 1), 2, (8 * S, 12 * S), Outcome::Failed),
            canceled,
        ],
        tails: vec![Tail {
            span: 2,
            is_output: false,
            text: "no such file\n".to_owned(),
            before: 0,
        }],
    }
}

fn at(timeline: &mut Timeline, seconds: u64) -> Counts {
    timeline.go(seconds * S);
    timeline.state.counts
}

fn counts([ready, running, done, failed, canceled]: [u64; 5]) -> Counts {
    Counts {
        ready,
        running,
        done,
        failed,
        canceled,
        ..Counts::default()
    }
}

#[test]
fn what_was_at_a_time_is_the_same_from_wherever_one_comes() {
    let expected = [
        (0, [0, 0, 0, 0, 0]),
        (1, [8, 0, 0, 0, 0]),
        (2, [7, 4, 0, 0, 0]),
        (3, [4, 7, 0, 0, 0]),
        (4, [3, 4, 4, 0, 0]),
        (5, [3, 3, 4, 1, 0]),
        (6, [4, 2, 4, 1, 0]),
        (7, [6, 0, 4, 1, 0]),
        (8, [3, 3, 4, 1, 0]),
        (9, [2, 3, 4, 1, 1]),
        (10, [2, 1, 6, 1, 1]),
        (12, [2, 0, 6, 2, 1]),
        (99, [2, 0, 6, 2, 1]),
    ];
    let mut timeline = Timeline::new(recording());
    for (seconds, expected) in expected.iter().chain(expected.iter().rev()) {
        assert_eq!(at(&mut timeline, *seconds), counts(*expected), "{seconds}");
        // Submissions add up to the whole.
        let mut sum = Counts::default();
        for place in 0..2 {
            if timeline.state.submissions[place].is_there {
                sum += timeline.submission(place as u32).tasks;
            }
        }
        assert_eq!(sum, counts(*expected), "{seconds}");
    }
}

fn rows(timeline: &Timeline, select: &str) -> Vec<String> {
    let page = Page {
        select: select.parse().unwrap(),
        after: None,
        rows: 0,
    };
    let shown = timeline.tasks(&page).rows.into_iter().map(|row| {
        let (first, step) = row.indices;
        let index = |offset: u32| first + step * offset;
        let run = row.run;
        let worker = row.worker.unwrap_or_else(|| "-".to_owned());
        format!(
            "{}.{}-{} {} #{} {worker}",
            run.submission,
            index(run.lo),
            index(run.hi - 1),
            row.state.name(),
            run.attempt
        )
    });
    shown.collect()
}

#[test]
fn tasks_are_rows_of_what_was_alike() {
    let mut timeline = Timeline::new(recording());
    timeline.go(3 * S);
    assert_eq!(
        rows(&timeline, "all"),
        [
            "1.10-16 running #1 w1",
            "1.18-20 running #1 w2",
            "1.22-22 ready #0 -",
            "1.24-24 ready #0 -",
            "4.10-10 running #1 w2",
            "4.12-12 ready #0 -",
            "4.14-14 ready #0 -",
        ]
    );
    timeline.go(7 * S);
    assert_eq!(
        rows(&timeline, "1"),
        [
            "1.10-16 done #1 w1",
            "1.18-20 ready #1 -",
            "1.22-22 failed #1 w1",
            "1.24-24 ready #0 -"
        ]
    );
    timeline.go(20 * S);
    assert_eq!(
        rows(&timeline, "state:failed"),
        ["1.22-22 failed #1 w1", "4.10-10 failed #2 w1"]
    );
    assert_eq!(rows(&timeline, "1.18-20"), ["1.18-20 done #2 w1"]);
    assert_eq!(
        rows(&timeline, "1.18,1.20"),
        ["1.18-18 done #2 w1", "1.20-20 done #2 w1"]
    );
    assert_eq!(rows(&timeline, "1.10-24:4").len(), 4);
    assert_eq!(rows(&timeline, "name:name4"), rows(&timeline, "last"));
    assert_eq!(rows(&timeline, "label:a=b"), Vec::<String>::new());
    // Page by page it is the same.
    let (mut paged, mut after) = (Vec::new(), None);
    loop {
        let page = Page {
            select: Selector::all(),
            after,
            rows: 2,
        };
        let listing = timeline.tasks(&page);
        paged.extend(listing.rows);
        after = listing.next;
        if after.is_none() {
            break;
        }
    }
    let page = Page {
        select: Selector::all(),
        after: None,
        rows: 0,
    };
    assert_eq!(paged, timeline.tasks(&page).rows);
}

#[test]
fn indices_that_jump_are_told() {
    let mut recording = recording();
    recording.submissions[0].jumps = vec![(2, 100)];
    let mut timeline = Timeline::new(recording);
    timeline.go(20 * S);
    assert_eq!(
        rows(&timeline, "1"),
        [
            "1.10-12 done #1 w1",
            "1.100-102 done #1 w1",
            "1.104-106 done #2 w1",
            "1.108-108 failed #1 w1",
            "1.110-110 ready #0 -"
        ]
    );
    assert_eq!(rows(&timeline, "1.108"), ["1.108-108 failed #1 w1"]);
    assert_eq!(rows(&timeline, "1.50"), Vec::<String>::new());
}

#[test]
fn a_task_has_its_story() {
    let mut timeline = Timeline::new(recording());
    let story = |timeline: &Timeline, submission, index| {
        let found = timeline.explain(&Selector::task(submission, index));
        found.map(|found| (found.row.state, found.faults, found.reasons))
    };
    timeline.go(4 * S);
    assert_eq!(
        story(&timeline, 4, 10),
        Some((
            TaskState::Running,
            (0, 0),
            vec!["attempt 1 has run for 1.00s on w2 (node0)".to_owned()]
        ))
    );
    assert_eq!(story(&timeline, 4, 11), None);
    timeline.go(20 * S);
    assert_eq!(
        story(&timeline, 4, 10),
        Some((
            TaskState::Failed,
            (2, 0),
            vec![
                "attempt 2 ran for 4.00s on w1 (node1): failed: it exited with 3".to_owned(),
                "attempt 1 ran for 3.00s on w2 (node0): it ended badly and there was another attempt; a journal does not say why"
                    .to_owned(),
            ]
        ))
    );
    assert_eq!(story(&timeline, 1, 18).unwrap().1, (0, 1));
    assert_eq!(
        timeline.last_words(1, 6),
        Ok((Vec::new(), b"no such file\n".to_vec()))
    );
    assert!(
        timeline
            .last_words(1, 0)
            .unwrap_err()
            .contains("a few failed tasks")
    );
    timeline.go(S);
    assert_eq!(timeline.last_words(1, 6).unwrap_err(), "it has not ended yet");
    assert_eq!(
        timeline.last_words(4, 0).unwrap_err(),
        "it has not been submitted yet"
    );
}

#[test]
fn faults_are_gone_to() {
    let timeline = Timeline::new(recording());
    let mut forward = Vec::new();
    let mut now = 0;
    while let Some(next) = timeline.fault(now, true) {
        forward.push(next / S);
        now = next;
    }
    assert_eq!(forward, [5, 6, 7, 12]);
    assert_eq!(timeline.fault(6 * S, false), Some(5 * S));
    assert_eq!(timeline.fault(5 * S, false), None);
    let marks = timeline.faults(19);
    assert_eq!(marks.iter().filter(|mark| **mark).count(), 4);
    assert!(marks[4] && marks[5] && marks[6] && marks[11]);
}

/// What a screen would know from the news.
#[derive(Default)]
struct Seen {
    now: Duration,
    tasks: Counts,
    submissions: BTreeMap<u64, Counts>,
    workers: BTreeMap<u64, (String, u64)>,
    faults: BTreeMap<(String, String, String), (u64, u64)>,
    ended: u64,
    alarms: Vec<String>,
    times: u32,
    anew: u32,
    answers: Vec<Result<Answer, String>>,
}

impl Seen {
    fn take(&mut self, news: Vec<News>) {
        for news in news {
            match news {
                News::Anew => {
                    *self = Self {
                        anew: self.anew + 1,
                        ..Self::default()
                    };
                }
                News::At(at) => {
                    self.now = at;
                    self.times += 1;
                }
                News::Update(topic, Update::Snapshot(body) | Update::Event(body)) => {
                    assert_eq!(super::topic(&body), topic);
                    self.body(body);
                }
                News::Answer(_, answer) => self.answers.push(answer),
                other => panic!("{other:?}"),
            }
        }
    }

    fn body(&mut self, body: Body) {
        match body {
            Body::Summary { tasks, .. } => self.tasks = tasks,
            Body::Submissions { rows, total, .. } => {
                self.submissions
                    .extend(rows.into_iter().map(|row| (row.submission, row.tasks)));
                assert!(total >= self.submissions.len() as u64);
            }
            Body::Workers { rows } => {
                self.workers.extend(
                    rows.into_iter()
                        .map(|row| (row.worker, (row.state, row.leases.1))),
                );
            }
            Body::Faults { groups } => {
                for group in groups {
                    self.faults.insert(
                        (group.code, group.what, group.host),
                        (group.failed, group.retried),
                    );
                }
            }
            Body::Health(health) => self.ended = health.ended,
            Body::Alarms { alarms } => self.alarms.extend(alarms.into_iter().map(|alarm| alarm.alarm)),
            other => panic!("{other:?}"),
        }
    }
}

fn replay(recording: Recording) -> (Replay, Rc<Cell<u64>>) {
    let clock = Rc::new(Cell::new(0));
    let read = Rc::clone(&clock);
    (
        Replay::with_clock(recording, Box::new(move || Duration::from_millis(read.get()))),
        clock,
    )
}

#[test]
fn a_replay_says_what_an_agent_would() {
    let (mut replay, _) = replay(recording());
    let mut seen = Seen::default();
    seen.take(replay.news());
    // It begins at the end.
    assert_eq!((seen.anew, seen.now), (1, Duration::from_secs(20)));
    assert_eq!(seen.tasks, counts([2, 0, 6, 2, 1]));
    assert_eq!(seen.submissions.get(&1), Some(&counts([1, 0, 6, 1, 0])));
    assert_eq!(seen.submissions.get(&4), Some(&counts([1, 0, 0, 1, 1])));
    assert_eq!(seen.workers.get(&2), Some(&("gone".to_owned(), 0)));
    assert_eq!(seen.ended, 9);
    assert_eq!(seen.alarms, ["no_end"]);
    let faults: Vec<_> = seen
        .faults
        .iter()
        .map(|((code, what, host), (failed, retried))| format!("{code} {what} {host}: {failed} {retried}"))
        .collect();
    assert_eq!(
        faults,
        [
            "retried  node0: 0 1",
            "task_failed exit 3 node1: 2 0",
            "worker_lost  node0: 0 2"
        ]
    );
    assert!(replay.news().is_empty());
}

#[test]
fn the_cursor_is_moved_and_plays() {
    let (mut replay, clock) = replay(recording());
    let mut seen = Seen::default();
    replay.step(Step::To(false));
    seen.take(replay.news());
    assert_eq!(
        (seen.now, seen.tasks),
        (Duration::from_secs(1), counts([8, 0, 0, 0, 0]))
    );
    // To the faults.
    replay.step(Step::Fault(true));
    seen.take(replay.news());
    assert_eq!(
        (seen.now, seen.tasks),
        (Duration::from_secs(5), counts([3, 3, 4, 1, 0]))
    );
    replay.ask(
        For::Tasks,
        Asked::Question(Question::Tasks(Page {
            select: "state:failed".parse().unwrap(),
            after: None,
            rows: 0,
        })),
    );
    assert!(replay.is_asked(For::Tasks));
    seen.take(replay.news());
    assert!(!replay.is_asked(For::Tasks));
    match seen.answers.pop() {
        Some(Ok(Answer::Reply(answer))) => match *answer {
            Reply::Tasks(listing) => assert_eq!(listing.rows.len(), 1),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
    // It plays at the speed that it has, and stands still at the end.
    let Link::Replay(cursor) = replay.link() else {
        panic!("no replay")
    };
    assert!((cursor.speed - 0.25).abs() < 1e-9, "{}", cursor.speed);
    for _ in 0..4 {
        replay.step(Step::Speed(2.0));
    }
    let anew = seen.anew;
    replay.news();
    replay.step(Step::Toggle);
    clock.set(500);
    seen.take(replay.news());
    assert_eq!(seen.now, Duration::from_secs(7));
    assert_eq!(seen.tasks, counts([6, 0, 4, 1, 0]));
    assert_eq!(seen.anew, anew, "what goes on needs nothing anew");
    clock.set(60_000);
    seen.take(replay.news());
    assert_eq!(seen.now, Duration::from_secs(20));
    assert!(matches!(
        replay.link(),
        Link::Replay(Cursor { playing: false, .. })
    ));
    // Once more from the beginning.
    replay.step(Step::Toggle);
    seen.take(replay.news());
    assert_eq!(seen.now, Duration::from_secs(1));
    // Nothing can be done to what was.
    replay.act(Action::StopPilot(Duration::ZERO));
    assert!(matches!(replay.news().pop(), Some(News::Done(Err(_)))));
}

#[test]
fn a_recording_that_makes_no_sense_does_no_harm() {
    let mut bad = recording();
    bad.spans[0].submission = 99;
    bad.spans[1].worker = Some(99);
    bad.spans[2].reason = Some(99);
    bad.spans[3].hi = 1_000;
    bad.spans[4].begin_us = u64::MAX;
    bad.begin_us = u64::MAX;
    let (mut replay, _) = replay(bad);
    let mut seen = Seen::default();
    seen.take(replay.news());
    for step in [
        Step::Fault(false),
        Step::By(-3),
        Step::By(2),
        Step::Speed(f64::NAN),
        Step::To(false),
        Step::Toggle,
    ] {
        replay.step(step);
        seen.take(replay.news());
    }
    let (mut empty, _) = self::replay(Recording::default());
    seen.take(empty.news());
    assert_eq!(seen.tasks, Counts::default());
    empty.step(Step::Toggle);
    empty.step(Step::Fault(true));
    seen.take(empty.news());
}

#[test]
fn no_jump_walks_far_however_long_the_run_was() {
    let spans = (0..100_000_u32).map(|nth| {
        let begin = u64::from(nth) * 1_000;
        span(0, (nth, nth + 1), 1, (begin, begin + 50_000), Outcome::Done)
    });
    let long = Recording {
        submissions: vec![submission(1, 100_000, 0, 1)],
        spans: spans.collect(),
        ..recording()
    };
    let mut timeline = Timeline::new(long);
    assert!(
        timeline.longest_walk() <= 200_001_usize.div_ceil(64),
        "{}",
        timeline.longest_walk()
    );
    timeline.go(50 * S);
    assert_eq!(timeline.state.counts.running, 50);
    assert_eq!(timeline.state.counts.done, 49_951);
    // Many rows: fewer states are kept.
    let many = Recording {
        submissions: (0..100_000).map(|nth| submission(nth + 1, 1, nth, 1)).collect(),
        spans: Vec::new(),
        ..recording()
    };
    assert!(Timeline::new(many).kept_rows() <= 600_000);
}

fn any_recording() -> impl Strategy<Value = Recording> {
    let span = (
        0_u32..3,
        0_u32..20,
        1_u32..8,
        0_u64..50,
        0_u64..20,
        0_usize..5,
        prop::option::of(0_u32..3),
    );
    prop::collection::vec(span, 0..60).prop_map(|spans| {
        let mut next = BTreeMap::new();
        let spans = spans
            .into_iter()
            .map(|(submission, lo, long, begin, ran, outcome, worker)| {
                let outcome = [
                    Outcome::Done,
                    Outcome::Failed,
                    Outcome::Canceled,
                    Outcome::Retried,
                    Outcome::Lost,
                ][outcome];
                let attempt = next
                    .entry(submission)
                    .and_modify(|nth| *nth += 1)
                    .or_insert(1_u32);
                Span {
                    worker,
                    ..super::tests::span(
                        submission,
                        (lo, lo + long),
                        *attempt,
                        (begin * S, (begin + ran) * S),
                        outcome,
                    )
                }
            });
        Recording {
            submissions: (0..3)
                .map(|nth| submission(nth + 1, 30, nth * S, nth + 1))
                .collect(),
            workers: (0..3)
                .map(|nth| worker(nth + 1, nth * S, (nth == 2).then_some(40 * S)))
                .collect(),
            spans: spans.collect(),
            ..recording()
        }
    })
}

proptest! {
    #[test]
    fn any_way_through_time_comes_to_the_same(recording in any_recording(), ways in prop::collection::vec(0_u64..80, 1..20)) {
        let mut walked = Timeline::new(recording.clone());
        for seconds in ways {
            walked.go(seconds * S);
            let mut fresh = Timeline::new(recording.clone());
            fresh.go(seconds * S);
            prop_assert_eq!(&walked.state, &fresh.state);
        }
    }

    #[test]
    fn pages_have_every_task_once(recording in any_recording(), seconds in 0_u64..80, rows in 1_u32..7) {
        let mut timeline = Timeline::new(recording);
        timeline.go(seconds * S);
        let (mut after, mut next) = (None, (0, 0));
        loop {
            let listing = timeline.tasks(&Page { select: Selector::all(), after, rows });
            for row in &listing.rows {
                let run = row.run;
                if run.submission != next.0 {
                    prop_assert!(next.1 == 30 || next.0 == 0);
                    next = (run.submission, 0);
                }
                prop_assert_eq!(run.lo, next.1);
                prop_assert!(run.hi > run.lo);
                next.1 = run.hi;
            }
            prop_assert!(listing.next > after || listing.next.is_none());
            after = listing.next;
            if after.is_none() {
                break;
            }
        }
        prop_assert!(next.1 == 30 || next.0 == 0);
    }
}
