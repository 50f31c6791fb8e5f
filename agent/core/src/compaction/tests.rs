use proptest::prelude::*;
use scalems_protocol::Role;
use scalems_protocol::client::SessionKind;
use scalems_protocol::id::Origin;
use scalems_protocol::state::{Ending, Strength};
use scalems_protocol::task::Template;

use super::*;
use crate::record::{Again, Appended, Ended};
use crate::task::Indices;

fn session(session: u64, name: &str) -> Record {
    Record::Session {
        session,
        name: name.into(),
        kind: SessionKind::Exclusive,
    }
}

fn seat(seat: u64, session: u64, holder: u64) -> Record {
    Record::Seat {
        seat,
        session,
        role: Role::Client,
        holder,
        cancel_after: 0,
    }
}

fn data(count: u32) -> Data {
    Data {
        bytes: vec![7; count as usize].into(),
        ends: (1..=count).collect(),
    }
}

fn submitted(submission: u64, seat: u64, request: u64, count: u32) -> Record {
    Record::Submitted(Submitted {
        submission,
        origin: Origin {
            session: seat,
            request,
        },
        template: Template::default().into(),
        count,
        indices: Indices::even(0, 1),
        again: None,
        data: data(count),
        push: Some(seat),
        at: 5,
        open: false,
    })
}

fn opened(submission: u64, count: u32) -> Record {
    let Record::Submitted(from) = submitted(submission, 2, 1, count) else {
        unreachable!("it is one")
    };
    Record::Submitted(Submitted {
        push: None,
        open: true,
        ..from
    })
}

fn appended(submission: u64, first: u32, count: u32) -> Record {
    Record::Appended(Appended {
        submission,
        origin: Origin {
            session: 2,
            request: 2,
        },
        first,
        count,
        data: data(count),
    })
}

fn run(submission: u64, lo: u32, hi: u32) -> Run {
    Run {
        submission,
        lo,
        hi,
        attempt: 1,
    }
}

fn ended(run: Run, worker: u32) -> Record {
    Record::Ended(Ended {
        run,
        ending: Ending::Done,
        data: data(run.count()),
        exit_code: None,
        ran_us: 1,
        error: None,
        variant: 0,
        worker,
        at: 6,
    })
}

fn collected(runs: &[Run]) -> Record {
    Record::Collected { runs: runs.to_vec() }
}

fn worker(worker: u32) -> Record {
    Record::Worker {
        worker,
        name: format!("w{worker}"),
        host: "here".into(),
        pid: 1,
        process: String::new(),
    }
}

/// The record without its data.
fn bare(mut record: Record) -> Record {
    match &mut record {
        Record::Submitted(submitted) => submitted.data = Data::default(),
        Record::Appended(appended) => appended.data = Data::default(),
        Record::Ended(ended) => ended.data = Data::default(),
        _ => {}
    }
    record
}

#[test]
fn data_goes_when_all_tasks_have_ended_and_values_when_they_are_collected() {
    let begin = [session(1, "s"), seat(2, 1, 3), submitted(1, 2, 1, 3)];
    let half = [begin.to_vec(), vec![ended(run(1, 0, 2), 0)]].concat();
    assert_eq!(compacted(&half), half);
    let some = [half.clone(), vec![collected(&[run(1, 0, 1)])]].concat();
    let kept = Record::Collected {
        runs: vec![Run {
            attempt: 0,
            ..run(1, 0, 1)
        }],
    };
    assert_eq!(compacted(&some), [half.clone(), vec![kept]].concat());
    let all = [
        some,
        vec![ended(run(1, 2, 3), 0), collected(&[run(1, 1, 2), run(1, 2, 3)])],
    ]
    .concat();
    let runs = vec![Run {
        attempt: 0,
        ..run(1, 0, 3)
    }];
    assert_eq!(
        compacted(&all),
        [
            session(1, "s"),
            seat(2, 1, 3),
            bare(submitted(1, 2, 1, 3)),
            bare(ended(run(1, 0, 2), 0)),
            bare(ended(run(1, 2, 3), 0)),
            Record::Collected { runs },
        ]
    );
}

#[test]
fn of_an_open_submission_the_data_goes_of_those_that_came_together() {
    let begin = [session(1, "s"), seat(2, 1, 3)];
    let records = |first: Record, second: Record, third: Record| {
        let ended = [
            ended(run(1, 0, 2), 0),
            ended(run(1, 2, 4), 0),
            ended(run(1, 4, 5), 0),
        ];
        [begin.to_vec(), vec![first, second, third], ended.to_vec()].concat()
    };
    let mut whole = records(opened(1, 2), appended(1, 2, 2), appended(1, 4, 2));
    let mut left = records(bare(opened(1, 2)), bare(appended(1, 2, 2)), appended(1, 4, 2));
    assert_eq!(compacted(&whole), left);
    whole.extend([Record::Closed { submission: 1, at: 9 }, ended(run(1, 5, 6), 0)]);
    left[4] = bare(left[4].clone());
    left.extend([Record::Closed { submission: 1, at: 9 }, ended(run(1, 5, 6), 0)]);
    assert_eq!(compacted(&whole), left);
    whole.push(Record::Forgotten { submission: 1 });
    left.truncate(2);
    left.extend([bare(opened(1, 2)), Record::Forgotten { submission: 1 }]);
    assert_eq!(compacted(&whole), left);
}

#[test]
fn what_was_submitted_again_stays_so_when_that_is_forgotten() {
    let of = |submission, request, again| {
        let Record::Submitted(from) = submitted(submission, 2, request, 1) else {
            unreachable!("it is one")
        };
        Record::Submitted(Submitted { again, ..from })
    };
    let again = Some(Again {
        submission: 1,
        offsets: vec![(0, 1)],
    });
    let known = [
        session(1, ""),
        seat(2, 1, 3),
        of(1, 1, None),
        of(2, 2, again.clone()),
        ended(run(2, 0, 1), 0),
        Record::Forgotten { submission: 2 },
        Record::SeatGone { seat: 2 },
    ];
    let left = [
        session(1, ""),
        seat(2, 1, 3),
        of(1, 1, None),
        bare(of(2, 2, again)),
        Record::Forgotten { submission: 2 },
        Record::SeatGone { seat: 2 },
    ];
    assert_eq!(compacted(&known), left);
    // As long as it is known itself.
    let forgotten = [known.to_vec(), vec![Record::Forgotten { submission: 1 }]].concat();
    let submitted = |record: &Record| matches!(record, Record::Submitted(_));
    assert!(!compacted(&forgotten).iter().any(submitted));
}

#[test]
fn what_was_forgotten_leaves_the_number_of_its_request_while_somebody_may_repeat_it() {
    let over = [
        submitted(1, 2, 1, 1),
        ended(run(1, 0, 1), 9),
        Record::Fault {
            run: run(1, 0, 1),
            crash: true,
            ran_us: 5,
            variant: 0,
        },
        Record::CancelAsked {
            submission: 1,
            lo: 0,
            hi: 1,
            strength: Strength::Kill,
        },
        Record::Forgotten { submission: 1 },
    ];
    let records = [vec![session(1, "s"), seat(2, 1, 3), worker(9)], over.to_vec()].concat();
    assert_eq!(
        compacted(&records),
        [
            session(1, "s"),
            seat(2, 1, 3),
            bare(submitted(1, 2, 1, 1)),
            Record::Forgotten { submission: 1 },
            worker(9)
        ]
    );
    // It was the last of its session, which is what people mean by that.
    let left = [records.clone(), vec![Record::SeatGone { seat: 2 }]].concat();
    assert_eq!(
        compacted(&left),
        [
            session(1, "s"),
            seat(2, 1, 3),
            bare(submitted(1, 2, 1, 1)),
            Record::Forgotten { submission: 1 },
            Record::SeatGone { seat: 2 },
            worker(9)
        ]
    );
    // The highest number was somebody's: it is not given again.
    let over = [left.clone(), vec![Record::SessionGone { session: 1 }]].concat();
    assert_eq!(
        compacted(&over),
        [
            session(1, "s"),
            seat(2, 1, 3),
            Record::SeatGone { seat: 2 },
            Record::SessionGone { session: 1 },
            worker(9)
        ]
    );
    let later = [
        left,
        vec![
            session(4, ""),
            seat(5, 4, 6),
            Record::WorkerGone { worker: 9 },
            Record::SessionGone { session: 1 },
        ],
    ]
    .concat();
    assert_eq!(compacted(&later), [session(4, ""), seat(5, 4, 6)]);
}

#[test]
fn only_so_many_requests_of_a_seat_are_remembered() {
    let many = RESTORED_ANSWERS as u64 + 10;
    let mut records = vec![session(1, "s"), seat(2, 1, 3)];
    for number in 1..=many {
        records.extend([
            submitted(number, 2, number, 1),
            Record::Forgotten { submission: number },
        ]);
    }
    let left = compacted(&records);
    assert_eq!(left.len(), 2 + 2 * (RESTORED_ANSWERS + 1));
    assert_eq!(left[2], bare(submitted(10, 2, 10, 1)));
}

#[test]
fn who_ran_something_that_is_known_keeps_the_name() {
    let records = [
        Record::Numbers { submissions: 7 },
        worker(1),
        worker(2),
        worker(3),
        session(1, "s"),
        seat(2, 1, 3),
        submitted(1, 2, 1, 2),
        Record::Numbers { submissions: 9 },
        ended(run(1, 0, 1), 2),
        Record::WorkerGone { worker: 1 },
        Record::WorkerGone { worker: 2 },
        seat(2, 1, 4),
    ];
    assert_eq!(
        compacted(&records),
        [
            session(1, "s"),
            seat(2, 1, 4),
            submitted(1, 2, 1, 2),
            worker(2),
            ended(run(1, 0, 1), 2),
            Record::Numbers { submissions: 9 },
            Record::WorkerGone { worker: 2 },
            worker(3),
        ]
    );
}

proptest! {
    #[test]
    fn spans_are_the_set_of_their_offsets(spans in prop::collection::vec((0_u32..60, 0_u32..12), 0..30)) {
        let mut all = Spans::default();
        let mut set = std::collections::BTreeSet::new();
        for (lo, length) in spans {
            all.add(lo, lo + length);
            set.extend(lo..lo + length);
        }
        for lo in 0..72 {
            for hi in lo + 1..72 {
                prop_assert_eq!(all.has(lo, hi), (lo..hi).all(|offset| set.contains(&offset)));
            }
        }
        let said: Vec<u32> = all.all().flat_map(|(lo, hi)| lo..hi).collect();
        prop_assert_eq!(said, set.into_iter().collect::<Vec<_>>());
    }
}
