//! From the agent to clients.

use scalems_protocol::client::{
    Accepted, AgentToClient, Answer, Appended, BroughtBack, CancelDone, ClientPing, ClientWelcome, Closed,
    Counts, Detached, Durable, Explanation, ForgetDone, Lasts, Layout, Listing, Orders, OutputPart, Refused,
    Reply, RequestRow, RequestRows, RequestState, Results, Resume, Start, StartedWorker, Status,
    SubmissionRow, TaskRow, WorkerRow, WorkersRequested,
};
use scalems_protocol::event::Body;
use scalems_protocol::{Amount, Code, Refusal, Role, TaskState};

use crate::event::alarm;
use crate::samples::{
    ORIGIN, PILOT, done, failed, full_template, labels, mark, place, progress, raised, run, token, written,
};
use crate::{Sample, check_direction, plain, with_blobs};

fn counts() -> Counts {
    Counts {
        waiting: 1,
        ready: 2,
        leased: 3,
        running: 4,
        done: 5,
        failed: 6,
        canceled: 7,
    }
}

pub(crate) fn submission_row() -> SubmissionRow {
    SubmissionRow {
        submission: 6,
        mode: "task.executable".into(),
        name: Some("docking of ligands".into()),
        labels: labels(&[("project", "a")]),
        session: "shell".into(),
        indices: (10, 2, 1_000),
        sparse: true,
        tasks: counts(),
        age_ms: 12_000,
        open: true,
        spent: vec![
            ("time".into(), 90_000_000, 1_500_000),
            ("cores".into(), 360_000_000, 6_000_000),
        ],
    }
}

pub(crate) fn worker_row() -> WorkerRow {
    WorkerRow {
        worker: 9,
        name: "node-17".into(),
        host: "node-17.cluster".into(),
        pid: 4_711,
        state: "active".into(),
        resources: vec![("cores".into(), 32, 24), ("gpus".into(), 4, 1)],
        fractions: vec![("gpus".into(), 4.into(), Amount::from_parts(7_500))],
        leases: (10, 6),
        ended: 84,
        silent_ms: 350,
        beats: (36, 0),
        left_ms: Some(5_400_000),
        place: Some("node-17-1".into()),
        requested_by: Some("shell".into()),
    }
}

fn answers_to_requests() -> Vec<Sample<AgentToClient>> {
    let welcome = ClientWelcome {
        pilot_name: "demo".into(),
        pilot: PILOT,
        incarnation: 1,
        session: 3,
        resume: Resume {
            peer: 12,
            token: token(Role::Client, 12),
        },
        request_high: 6,
        delivery_next: 57,
        window: (16_384, 64 << 20),
        modes: vec!["scalems.echo".into(), "task.executable".into()],
        software: "scalems 0.1.0".into(),
        journal: true,
        mark: mark(40),
    };
    let refusal = |code, message: &str| Refusal::new(code, message);
    vec![
        plain("the answer to hello", welcome),
        plain(
            "accepted",
            Accepted {
                request: 3,
                submission: 5,
                count: 3,
                note: None,
                record: 41,
            },
        ),
        plain(
            "accepted, though nobody serves it yet",
            Accepted {
                request: 4,
                submission: 6,
                count: 1_000,
                note: Some("no worker serves task.executable yet".into()),
                record: 0,
            },
        ),
        plain(
            "a request is refused",
            Refused {
                request: Some(8),
                id: None,
                refusal: refusal(Code::UnknownMode, "no worker serves mode \"x\""),
            },
        ),
        plain(
            "a read is refused",
            Refused {
                request: None,
                id: Some(7),
                refusal: refusal(Code::TimedOut, "3 tasks have not ended after 60 s"),
            },
        ),
        plain(
            "what could not be read is refused",
            Refused {
                request: None,
                id: None,
                refusal: refusal(Code::Malformed, "malformed header: the header is not a map"),
            },
        ),
        plain(
            "what a cancel did",
            CancelDone {
                request: 6,
                withdrawn: 10,
                told: 4,
                running: 0,
                ended: 86,
                record: 44,
            },
        ),
        plain(
            "tasks were added",
            Appended {
                request: 9,
                submission: 8,
                first: 2,
                count: 2,
                record: 46,
            },
        ),
        plain(
            "workers were requested",
            WorkersRequested {
                request: 13,
                id: 3,
                record: 47,
            },
        ),
        plain(
            "submissions were closed",
            Closed {
                request: 10,
                closed: 1,
                before: 2,
                record: 47,
            },
        ),
        plain(
            "what a forget did",
            ForgetDone {
                request: 7,
                forgotten: 86,
                kept: 14,
                record: 45,
            },
        ),
        plain(
            "deliveries are on disk",
            Lasts {
                delivery: 57,
                record: 43,
            },
        ),
        plain("what was brought back is there", BroughtBack {}),
        plain("the agent looks who is there", ClientPing {}),
        plain(
            "the attachment ends",
            Detached {
                refusal: refusal(Code::TakenOver, "another process took session \"campaign\" over"),
            },
        ),
        with_blobs(
            "results",
            Results {
                delivery: 57,
                durable: Durable::None,
                groups: vec![
                    done(run(5, 0, 3, 1), place(0, 0, 6, &[1, 3, 6])),
                    failed(run(5, 3, 4, 1), place(1, 0, 4, &[])),
                ],
                accepted: Vec::new(),
            },
            &[b"abbccc", b"oops"],
        ),
        plain(
            "results that are on disk",
            Results {
                delivery: 58,
                durable: Durable::Yes,
                groups: vec![raised(run(6, 0, 1, 2))],
                accepted: vec![Accepted {
                    request: 9,
                    submission: 6,
                    count: 1,
                    note: None,
                    record: 52,
                }],
            },
        ),
    ]
}

fn answer(name: &'static str, id: u64, reply: Reply) -> Sample<AgentToClient> {
    plain(name, Answer { id, reply })
}

fn answers_to_reads() -> Vec<Sample<AgentToClient>> {
    let counts = counts();
    let status = Status {
        pilot_name: "demo".into(),
        incarnation: 1,
        up_ms: 73_500,
        tasks: counts,
        submissions: 5,
        clients: 2,
        workers: (2, 0, 1, 0),
        resources: vec![("cores".into(), 64, 24), ("fpga".into(), 1, 1)],
        fractions: vec![(
            "fpga".into(),
            Amount::from_parts(15_000),
            Amount::from_parts(3_333),
        )],
        modes: vec!["scalems.echo".into()],
        stopping: false,
        counters: vec![("superseded".into(), 1)],
        trouble: vec!["there is no room for the pilot's journal".into()],
    };
    let submission = submission_row();
    let row = TaskRow {
        run: run(6, 0, 16, 1),
        indices: (10, 2),
        state: TaskState::Failed,
        worker: Some("node-17".into()),
        exit_code: Some(2),
        error: failed(run(6, 0, 16, 1), place(0, 0, 0, &[])).error,
        ran_us: 1_500_000,
        variant: None,
    };
    let waiting = TaskRow {
        run: run(6, 16, 17, 0),
        state: TaskState::Waiting,
        worker: None,
        exit_code: None,
        error: None,
        ran_us: 0,
        ..row.clone()
    };
    let explanation = Explanation {
        row: waiting.clone(),
        task: full_template(),
        faults: (1, 0),
        reasons: vec!["it waits for submission 4, of which 3 tasks have not ended".into()],
        progress: None,
    };
    let running = Explanation {
        reasons: vec!["runs on worker node-17".into()],
        progress: Some(progress()),
        ..explanation.clone()
    };
    let results = with_blobs(
        "the results asked for",
        Answer {
            id: 6,
            reply: Reply::Results(Listing {
                rows: vec![done(run(5, 0, 2, 1), place(0, 0, 5, &[2, 5]))],
                next: None,
            }),
        },
        &[b"abcde"],
    );
    let snapshot = |topic: &str, seq, state| Reply::Snapshot {
        incarnation: 1,
        topic: topic.into(),
        seq,
        state: Box::new(state),
    };
    vec![
        answer("the status", 1, Reply::Status(Box::new(status))),
        answer(
            "the workers",
            2,
            Reply::Workers(Listing {
                rows: vec![worker_row()],
                next: Some(3),
            }),
        ),
        answer(
            "the submissions",
            3,
            Reply::Submissions(Listing {
                rows: vec![submission],
                next: Some((7, 0)),
            }),
        ),
        answer(
            "the tasks",
            4,
            Reply::Tasks(Listing {
                rows: vec![row, waiting],
                next: Some((6, 17)),
            }),
        ),
        answer("why a task waits", 5, Reply::Explain(Box::new(explanation))),
        answer("how far a task is", 13, Reply::Explain(Box::new(running))),
        results,
        answer("all have ended", 7, Reply::Ended(counts)),
        answer(
            "the state of a topic",
            8,
            snapshot(
                "alarms",
                41,
                Body::Alarms {
                    alarms: vec![alarm()],
                },
            ),
        ),
        answer(
            "what a task wrote",
            11,
            Reply::Output(Box::new(OutputPart {
                attempt: 1,
                runs: true,
                stdout: written(4, b"more\n"),
                stderr: written(0, b""),
            })),
        ),
        answer("requested workers", 12, Reply::Requests(requests())),
        answer(
            "what is to be done by who starts workers",
            13,
            Reply::Orders(orders()),
        ),
        answer("the pilot ends", 9, Reply::Stopping),
        answer("other levels are logged", 14, Reply::LogLevels { workers: 2 }),
        answer(
            "what is served",
            10,
            Reply::Version {
                software: "scalems 0.1.0".into(),
                protocol: (1, 1),
            },
        ),
    ]
}

fn requests() -> RequestRows {
    let row = RequestRow {
        id: 3,
        session: "shell".into(),
        count: 2,
        layout: Layout {
            cores: 4,
            ..Layout::default()
        },
        replace: Some(2),
        state: RequestState::Starting,
        workers: vec![StartedWorker {
            worker: 9,
            name: "node-17-1".into(),
            host: "node-17".into(),
        }],
        reason: "1 of 2 workers has joined".into(),
        age_ms: 1_500,
        left_ms: 118_500,
    };
    let over = RequestRow {
        id: 4,
        state: RequestState::Failed,
        workers: Vec::new(),
        reason: "the worker's process ended: exit status: 1".into(),
        replace: None,
        left_ms: 0,
        ..row.clone()
    };
    RequestRows {
        rows: vec![row, over],
        next: None,
    }
}

fn orders() -> Orders {
    Orders {
        leave: vec!["node-17".into()],
        stop: vec!["node-17-2".into()],
        joined: vec!["node-17-1".into()],
        over: vec!["node-17-3".into()],
        starts: vec![Start {
            start: 0x1_0000_0003,
            node: "node-18".into(),
            layout: Layout {
                memory: Some(32_000),
                ..Layout::default()
            },
            origin: ORIGIN,
            requested_by: "shell".into(),
        }],
    }
}

#[test]
fn agent_to_client() {
    let samples: Vec<_> = [answers_to_requests(), answers_to_reads()]
        .into_iter()
        .flatten()
        .collect();
    check_direction(
        "agent_to_client",
        &[
            "welcome",
            "accepted",
            "appended",
            "closed",
            "refused",
            "cancel_done",
            "forget_done",
            "workers_requested",
            "results",
            "answer",
            "ping",
            "lasts",
            "brought_back",
            "detached",
        ],
        &samples,
        AgentToClient::encode,
        AgentToClient::decode,
    );
}
