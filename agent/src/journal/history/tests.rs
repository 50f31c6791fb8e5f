use scalems_core::task::Indices;
use scalems_protocol::client::SessionKind;
use scalems_protocol::group::Data;
use scalems_protocol::id::Origin;
use scalems_protocol::task::{After, Needs, Policy};
use scalems_protocol::{Amount, Code, Role};

use super::lanes::{Kind, Slice, joined};
use super::*;

const SECOND: u64 = 1_000_000;

/// A history that is told record by record.
#[derive(Default)]
pub(in super::super) struct Told(pub(in super::super) History);

impl Told {
    pub(in super::super) fn worker(&mut self, worker: u32, name: &str) -> &mut Self {
        self.take(Record::Worker {
            worker,
            name: name.to_owned(),
            host: format!("node{worker}"),
            pid: 100 + worker,
            process: String::new(),
        })
    }

    pub(in super::super) fn take(&mut self, record: Record) -> &mut Self {
        let bytes = match &record {
            Record::Ended(ended) => ended.data.bytes.len() as u64,
            _ => 0,
        };
        self.0.take(record, bytes);
        self
    }

    pub(in super::super) fn submit(
        &mut self,
        submission: u64,
        count: u32,
        at: u64,
        template: Template,
    ) -> &mut Self {
        self.take(Record::Submitted(Submitted {
            submission,
            origin: Origin {
                session: 7,
                request: submission + 100,
            },
            template: Arc::new(template),
            count,
            indices: Indices::even(10, 2),
            data: Data::default(),
            push: None,
            at,
            open: false,
            again: None,
        }))
    }

    /// Tasks `lo..hi` of a submission ended on a worker.
    pub(in super::super) fn end(
        &mut self,
        (submission, lo, hi): (u64, u32, u32),
        at: u64,
        ran_us: u64,
        worker: u32,
        error: Option<TaskError>,
    ) -> &mut Self {
        let ending = match &error {
            None => Ending::Done,
            Some(error) if error.code == Code::Canceled => Ending::Canceled,
            Some(_) => Ending::Failed,
        };
        let run = Run {
            submission,
            lo,
            hi,
            attempt: 1,
        };
        self.take(Record::Ended(Ended {
            run,
            ending,
            data: Data::default(),
            exit_code: error.as_ref().map(|_| 3),
            ran_us,
            error,
            variant: 0,
            worker,
            at,
        }))
    }
}

pub(in super::super) fn template(name: &str, cores: u32) -> Template {
    Template {
        mode: SHELL.to_owned(),
        name: Some(name.to_owned()),
        needs: Needs::cores(cores),
        ..Template::default()
    }
}

pub(in super::super) fn failed(message: &str) -> TaskError {
    TaskError::new(Code::ExitCode, message)
}

#[test]
fn who_owns_a_submission_is_told() {
    let mut told = Told::default();
    told.take(Record::Session {
        session: 3,
        name: "campaign".to_owned(),
        kind: SessionKind::Shared,
    })
    .take(Record::Seat {
        seat: 7,
        session: 3,
        role: Role::Client,
        holder: 8,
        cancel_after: 0,
    })
    .submit(1, 3, 5, template("sim", 1));
    let submission = told.0.submission(1).unwrap();
    assert_eq!(submission.session.as_deref(), Some("campaign"));
    assert_eq!((submission.name(), submission.unfinished()), ("sim", 3));
    assert_eq!(submission.tasks(0, 3), "1.10 to 1.14");
    assert_eq!(told.0.tasks(), (3, 3));
}

#[test]
fn attempts_are_spans_and_what_came_before_is_fitted_in() {
    let mut told = Told::default();
    let mut retried = template("sim", 2);
    retried.policy = Policy {
        retries: 3,
        backoff_ms: 500,
        ..Policy::default()
    };
    let fault = |attempt, crash, ran_us| Record::Fault {
        run: Run {
            submission: 1,
            lo: 0,
            hi: 1,
            attempt,
        },
        crash,
        ran_us,
        variant: 0,
    };
    told.worker(1, "w")
        .submit(1, 2, SECOND, retried)
        .take(fault(1, false, SECOND))
        .take(fault(2, true, SECOND / 2))
        .end(
            (1, 1, 2),
            20 * SECOND,
            10 * SECOND,
            1,
            Some(failed("task 1.12: \"sh\" ended with exit code 3")),
        )
        .end((1, 0, 1), 30 * SECOND, 4 * SECOND, 1, None);
    let spans: Vec<_> = told
        .0
        .spans()
        .iter()
        .map(|span| (span.outcome, span.begin_us, span.end_us, span.about, span.worker))
        .collect();
    assert_eq!(
        spans,
        [
            // Until 20 s, when something else ended; and the one before until a second before it began: that was its back-off.
            (Outcome::Retried, 18 * SECOND, 19 * SECOND, true, None),
            (Outcome::Lost, 19 * SECOND + SECOND / 2, 20 * SECOND, true, None),
            (Outcome::Failed, 10 * SECOND, 20 * SECOND, false, Some(0)),
            (Outcome::Done, 26 * SECOND, 30 * SECOND, false, Some(0)),
        ]
    );
    let usage = told.0.usage();
    let cores = |outcome: Outcome| usage.by_outcome[outcome as usize].cores_s as u64;
    assert_eq!(Outcome::ALL.map(cores), [8, 20, 2, 1, 0], "two cores each");
    assert!((usage.wasted().cores_s - 23.0).abs() < 1e-9);
    let worker = usage
        .workers
        .iter()
        .find(|worker| worker.worker == Some(0))
        .unwrap();
    assert_eq!(worker.peak.0, Amount::whole(2));
    // From 10 s to 20 s and from 26 s to 30 s both cores were in use, and in between they were not.
    assert!((worker.idle.cores_s - 12.0).abs() < 1e-9, "{worker:?}");
    let (groups, all) = told.0.failures(10);
    assert_eq!(all, 3);
    assert_eq!(
        (groups[0].code, groups[0].exit_code, groups[0].failed),
        ("exit_code", Some(3), 1)
    );
    assert_eq!(groups[0].message, "\"sh\" ended with exit code 3");
    let again: Vec<_> = groups[1..]
        .iter()
        .map(|group| (group.code, group.retried))
        .collect();
    assert_eq!(again, [("lost", 1), ("retried", 1)]);
}

#[test]
fn a_million_tasks_that_ended_alike_are_one_span() {
    let mut told = Told::default();
    let count = 1_000_000;
    told.worker(1, "w")
        .submit(1, count, SECOND, template("noop", 1))
        .end((1, 0, count), 3 * SECOND, 0, 1, None);
    let history = &told.0;
    assert_eq!(history.spans().len(), 1);
    assert_eq!(history.run_times().count, u64::from(count));
    let by_worker = history.by_worker();
    let lanes = history.lanes(&by_worker[&Some(0)]);
    let slices = &lanes.slices[&Kind::Instant];
    assert_eq!((slices.len(), slices[0].count()), (1, u64::from(count)));
    let end = Timeline::new(history).at(3 * SECOND);
    assert_eq!((end.done, end.waiting, end.running), (u64::from(count), 0, 0));
}

#[test]
fn quick_tasks_of_one_report_ran_after_each_other() {
    let mut told = Told::default();
    // 40 tasks of a millisecond each, in a report of 20 ms: two at a time.
    told.worker(1, "w")
        .submit(1, 40, 0, template("quick", 1))
        .end((1, 0, 40), SECOND, 40_000, 1, None);
    let span = told.0.spans()[0];
    assert_eq!(
        (span.begin_us, span.width(), span.mean_us()),
        (SECOND - 20_000, 2, 1_000)
    );
    // Those that did not end alike too: two of 8 ms after each other, and one beside them for which there was no time.
    told.submit(2, 3, SECOND, template("quick", 1));
    for offset in 0..3 {
        told.end((2, offset, offset + 1), 2 * SECOND, 8_000, 1, None);
    }
    let ends: Vec<_> = told.0.spans()[1..].iter().map(|span| span.end_us).collect();
    assert_eq!(ends, [2 * SECOND, 2 * SECOND - 8_000, 2 * SECOND]);
}

#[test]
fn quick_tasks_take_no_more_lanes_than_there_were_cores() {
    let mut told = Told::default();
    told.worker(1, "w").submit(1, 40_000, 0, template("quick", 1));
    // Four cores for a second, in reports of different delays: of a millisecond each, alike or not.
    for nth in 0..100_u32 {
        let at = SECOND + u64::from(nth) * 10_000 + u64::from(nth % 7) * 1_300;
        if nth % 2 == 0 {
            told.end((1, nth * 40, nth * 40 + 40), at, 40_000, 1, None);
        } else {
            for offset in nth * 40..nth * 40 + 40 {
                told.end((1, offset, offset + 1), at, 1_000, 1, None);
            }
        }
    }
    // And one that runs beside them all the time.
    told.submit(2, 1, SECOND, template("long", 1))
        .end((2, 0, 1), 2 * SECOND, SECOND, 1, None);
    let places = told.0.by_worker().remove(&Some(0)).unwrap();
    let usage = told.0.usage();
    assert!(
        (4..=6).contains(&usage.workers[0].peak.0.ceil()),
        "five at a time: {usage:?}"
    );
    let laid = told.0.lanes(&places);
    assert!((4..=6).contains(&laid.lanes[&Kind::Cores]), "{:?}", laid.lanes);
    let tasks: u64 = laid.slices[&Kind::Cores].iter().map(Slice::count).sum();
    assert_eq!(tasks, 4_001);
    for pair in joined(&laid.slices[&Kind::Cores], 0, true).windows(2) {
        assert!(
            pair[0].lane < pair[1].lane || pair[0].end_us <= pair[1].begin_us,
            "{pair:?}"
        );
    }
}

/// Tasks of all kinds on one worker, by a rule and not by chance.
fn busy() -> Told {
    let mut told = Told::default();
    let mut wide = template("wide", 3);
    wide.needs.gpus_per_rank = Amount::whole(1);
    told.worker(1, "w")
        .submit(1, 200, 0, template("one", 1))
        .submit(2, 50, 0, wide)
        .submit(3, 50, 0, template("none", 0));
    for nth in 0..200_u32 {
        let at = u64::from(nth) * 77_000 + 100_000;
        told.end((1, nth, nth + 1), at, u64::from(nth % 13) * 31_000, 1, None);
        if nth % 4 == 0 {
            let error = (nth % 3 == 0).then(|| failed("no"));
            told.end((2, nth / 4, nth / 4 + 1), at + 5_000, 90_000, 1, error);
            told.end((3, nth / 4, nth / 4 + 1), at + 6_000, 200_000, 1, None);
        }
    }
    told
}

#[test]
fn slices_of_a_lane_never_overlap_joined_or_not() {
    let told = busy();
    let places = told.0.by_worker().remove(&Some(0)).unwrap();
    let lanes = told.0.lanes(&places);
    assert_eq!(lanes.left_out, 0);
    assert_eq!(lanes.lanes[&Kind::Gpus], 1);
    for (kind, slices) in &lanes.slices {
        let mut last = (0, Vec::new());
        for grain_us in [0, 1_000, 50_000, 1_000_000, 100 * SECOND] {
            let joined = joined(slices, grain_us, true);
            for pair in joined.windows(2) {
                assert!(
                    pair[0].lane < pair[1].lane || pair[0].end_us <= pair[1].begin_us,
                    "{kind:?} {grain_us}: {pair:?}"
                );
            }
            let tasks: u64 = joined.iter().map(Slice::count).sum();
            assert_eq!(
                tasks,
                slices.iter().map(Slice::count).sum::<u64>(),
                "{kind:?}: none is lost"
            );
            assert!(last.1.is_empty() || joined.len() <= last.0);
            last = (joined.len(), joined);
        }
        let worst: Vec<_> = last.1.iter().map(Slice::outcome).collect();
        // What failed stays apart from what did not.
        assert!(
            *kind != Kind::Gpus || worst.contains(&Outcome::Failed),
            "{worst:?}"
        );
    }
}

#[test]
fn a_moment_is_what_was_submitted_began_and_ended_until_then() {
    let told = busy();
    let timeline = Timeline::new(&told.0);
    for time in (0..20 * SECOND).step_by(137_000) {
        let moment = timeline.at(time);
        let spans = told.0.spans().iter();
        let now: Vec<_> = spans
            .clone()
            .filter(|span| span.begin_us <= time && time < span.end_us)
            .collect();
        let over = spans.clone().filter(|span| span.end_us <= time);
        let over: u64 = over.map(|span| u64::from(span.count())).sum();
        assert_eq!(moment.running, now.len() as u64, "{time}");
        assert_eq!(moment.done + moment.failed, over);
        assert_eq!(moment.submitted, 300);
        assert_eq!(moment.waiting, 300 - over - now.len() as u64);
        let mut running: Vec<_> = timeline.running(time, usize::MAX);
        running.sort_by_key(|one| one.place);
        assert_eq!(running.iter().map(|one| one.span).collect::<Vec<_>>(), now);
        assert_eq!(timeline.running(time, 1).len(), now.len().min(1));
    }
    let first = timeline.next_fault(0).unwrap();
    assert_eq!(timeline.at(first).failed, 1);
    assert_eq!(timeline.next_fault(20 * SECOND), None);
}

#[test]
fn loads_add_up_to_what_was_used() {
    let told = busy();
    let (from, upto) = (0, told.0.end_us());
    for count in [1, 7, 400] {
        let loads = told.0.load((from, upto), count, None);
        assert_eq!(loads.len(), count);
        assert_eq!((loads[0].from_us, loads[count - 1].upto_us), (from, upto));
        let seconds = |load: &sums::Load| (load.upto_us - load.from_us) as f64 / 1e6;
        let cores: f64 = loads
            .iter()
            .map(|load| load.cores.iter().sum::<f64>() * seconds(load))
            .sum();
        let usage = told.0.usage();
        let used: f64 = usage.by_outcome.iter().map(|spent| spent.cores_s).sum();
        assert!((cores - used).abs() < 1e-3, "{count}: {cores} of {used}");
    }
}

#[test]
fn waiting_counts_from_what_was_waited_for() {
    let mut told = Told::default();
    let mut second = template("second", 1);
    second.after = vec![After {
        // By the request that brought the first.
        request: Some(101),
        ..After::default()
    }];
    let mut third = template("third", 1);
    third.after = vec![After {
        submission: Some(1),
        each: true,
        ..After::default()
    }];
    told.worker(1, "w")
        .submit(1, 2, 0, template("first", 1))
        .submit(2, 1, 0, second)
        .submit(3, 2, 0, third)
        .end((1, 0, 1), 5 * SECOND, SECOND, 1, None)
        .end((3, 0, 1), 7 * SECOND, SECOND, 1, None)
        .end((1, 1, 2), 10 * SECOND, SECOND, 1, None)
        .end((2, 0, 1), 12 * SECOND, SECOND, 1, None);
    let dependencies: Vec<_> = told
        .0
        .dependencies()
        .iter()
        .map(|found| (found.waiting, found.on, found.each, found.until_us))
        .collect();
    assert_eq!(
        dependencies,
        [(2, 1, false, Some(10 * SECOND)), (3, 1, true, Some(10 * SECOND))]
    );
    let waits = told.0.waits();
    // 4 s and 9 s for room, and then a second each after what they waited for had ended.
    assert_eq!((waits.count, waits.sum), (4, u128::from(15 * SECOND)));
}

#[test]
fn the_last_of_what_failed_tasks_wrote_is_kept() {
    let mut told = Told::default();
    told.worker(1, "w").submit(1, 9, 0, template("sim", 1));
    for offset in 0..9_u32 {
        let result = ProgramResult {
            stderr: format!("{}no such file {offset}", "x".repeat(5_000)).into_bytes(),
            stderr_bytes: 9_000,
            ..ProgramResult::default()
        };
        let value = rmp_serde::to_vec_named(&result).unwrap();
        told.take(Record::Ended(Ended {
            data: Data::shared(value.into()),
            worker: 1,
            at: SECOND,
            exit_code: Some(1),
            ..Ended::bare(
                Run {
                    submission: 1,
                    lo: offset,
                    hi: offset + 1,
                    attempt: 1,
                },
                Ending::Failed,
                TaskError::new(Code::ExitCode, format!("task 1.{offset}: it failed")),
            )
        }));
    }
    let (groups, _) = told.0.failures(10);
    assert_eq!(groups.len(), 1, "names of tasks tell no reason from another");
    assert_eq!((groups[0].failed, groups[0].host), (9, Some("node1")));
    let tails = told.0.tails_of(&groups[0], 10);
    assert_eq!(tails.len(), TAILS_EACH as usize);
    assert_eq!(
        (tails[0].of, tails[0].before),
        ("stderr", 9_000 - TAIL_BYTES as u64)
    );
    assert!(tails[0].text.ends_with("no such file 0"));
    assert_eq!(told.0.value_sizes().count, 9);
}

#[test]
fn what_is_not_known_does_no_harm() {
    let mut told = Told::default();
    told.end((9, 0, 1), SECOND, SECOND, 4, None)
        .take(Record::Forgotten { submission: 9 })
        .take(Record::WorkerGone { worker: 4 })
        .take(Record::Wasted {
            submission: 9,
            ran_us: 5,
            variant: 0,
        });
    let history = &told.0;
    assert_eq!((history.spans().len(), history.tasks()), (0, (0, 0)));
    assert_eq!(Timeline::new(history).at(SECOND), Moment::default());
    assert_eq!(Timeline::new(history).running(SECOND, 5), []);
    assert_eq!(history.waits(), sums::Distribution::default());
    assert!(history.ended_in_order());
}
