//! From clients to the agent.

use scalems_protocol::client::{
    Acknowledge, Append, Ask, BringBack, Cancel, ClientHello, ClientToAgent, Close, Forget, Goodbye, Layout,
    LogLevels, NamedClientToAgent, OutputPage, Page, Question, RequestWorkers, RequestsPage, Resume, Retry,
    SessionKind, StartFailed, Starter, StarterNode, StarterPlace, Stop, Submit, Version, WorkersPage,
};
use scalems_protocol::select::{Pick, Selector};
use scalems_protocol::state::Strength;
use scalems_protocol::{Role, TaskState, VERSION};

use crate::samples::{ORIGIN, PILOT, done, echo, full_template, mark, place, run, token};
use crate::{Sample, check_direction, plain, with_blobs};

fn hello(session: &str) -> ClientHello {
    ClientHello {
        v: VERSION,
        type_: "hello".into(),
        session: session.into(),
        ..ClientHello::default()
    }
}

fn submit(request: u64) -> Submit {
    Submit {
        request,
        low_water: 1,
        count: 1,
        task: echo(),
        first: 0,
        step: 1,
        ends: Vec::new(),
        streaming: false,
        open: false,
        total: None,
    }
}

fn ask(name: &'static str, id: u64, question: Question) -> Sample<ClientToAgent> {
    plain(name, Ask { id, question })
}

fn page(select: Selector) -> Page {
    Page {
        select,
        after: None,
        rows: 100,
    }
}

/// A selector with everything in it.
fn full_selector() -> Selector {
    Selector {
        all: true,
        last: true,
        picks: vec![
            Pick {
                first: 2,
                last: 10,
                step: 2,
                indices: None,
            },
            Pick {
                first: 5,
                last: 5,
                step: 1,
                indices: Some((0, 90, 10)),
            },
        ],
        label: Some(("project".into(), "a".into())),
        name: Some("dock*".into()),
        state: Some(TaskState::Failed),
    }
}

fn sessions() -> Vec<Sample<ClientToAgent>> {
    let back = ClientHello {
        software: "scalems 0.1.0".into(),
        resume: Some(Resume {
            peer: 12,
            token: token(Role::Client, 12),
        }),
        pilot: Some(PILOT),
        incarnation: 3,
        deliveries: 56,
        brings: true,
        seen: Some(mark(52)),
        repeats: 8,
        cancel_after_ms: 600_000,
        ..hello("campaign")
    };
    let takeover = ClientHello {
        takeover: true,
        ..hello("campaign")
    };
    vec![
        plain("hello of an unnamed session", hello("")),
        plain(
            "hello of the shell",
            ClientHello {
                kind: SessionKind::Shared,
                ..hello("shell")
            },
        ),
        plain("hello of a process that comes back", back),
        plain("hello that takes a session over", takeover),
        plain("results were taken in", Acknowledge { delivery: 57 }),
        with_blobs(
            "results are brought back",
            BringBack {
                groups: vec![done(run(5, 0, 3, 1), place(0, 0, 6, &[1, 3, 6]))],
                more: true,
            },
            &[b"abbccc"],
        ),
        plain(
            "no more are brought back",
            BringBack {
                groups: Vec::new(),
                more: false,
            },
        ),
        plain(
            "the client goes",
            Goodbye {
                reason: "done".into(),
            },
        ),
        plain("what is served", Version { id: 1 }),
        plain(
            "the pilot is to end",
            Stop {
                id: 9,
                worker: None,
                drain_ms: 60_000,
            },
        ),
        plain(
            "a worker is to end",
            Stop {
                id: 10,
                worker: Some(9),
                drain_ms: 0,
            },
        ),
        plain(
            "agent and workers are to log more",
            LogLevels {
                id: 11,
                levels: "warn,scalems_agent::bus=debug".into(),
                worker: None,
            },
        ),
        plain(
            "a worker is to log what it was started with",
            LogLevels {
                id: 12,
                levels: String::new(),
                worker: Some(9),
            },
        ),
    ]
}

fn requests() -> Vec<Sample<ClientToAgent>> {
    vec![
        plain("one task without data", submit(1)),
        with_blobs("one task with data", submit(2), &[b"hello"]),
        with_blobs(
            "a batch of three",
            Submit {
                low_water: 2,
                count: 3,
                ends: vec![1, 3, 6],
                streaming: true,
                ..submit(3)
            },
            &[b"abbccc"],
        ),
        with_blobs(
            "an array that shares its data",
            Submit {
                count: 1_000,
                first: 10,
                step: 2,
                task: full_template(),
                ..submit(4)
            },
            &[b"\x81\xa4argv\x92\xa6./dock\xa8%{INDEX}"],
        ),
        plain(
            "one task is withdrawn",
            Cancel {
                request: 5,
                low_water: 5,
                select: Selector::task(5, 7),
                strength: Strength::Withdraw,
                reason: String::new(),
            },
        ),
        plain(
            "tasks are killed",
            Cancel {
                request: 6,
                low_water: 5,
                select: full_selector(),
                strength: Strength::Kill,
                reason: "they diverged".into(),
            },
        ),
        with_blobs(
            "a batch that tasks may be added to",
            Submit {
                low_water: 5,
                count: 2,
                ends: vec![1, 3],
                open: true,
                ..submit(8)
            },
            &[b"abb"],
        ),
        with_blobs(
            "a part of a batch, whose tasks run each after one of others",
            Submit {
                count: 2,
                ends: vec![1, 3],
                open: true,
                total: Some(3_000),
                ..submit(9)
            },
            &[b"abb"],
        ),
        with_blobs(
            "tasks are added",
            Append {
                request: 9,
                low_water: 5,
                submission: 8,
                count: 2,
                ends: vec![3, 7],
            },
            &[b"cccdddd"],
        ),
        plain(
            "no more tasks will be added",
            Close {
                request: 10,
                low_water: 5,
                select: Selector::submission(8),
            },
        ),
        plain(
            "tasks that failed are submitted again",
            Retry {
                request: 11,
                low_water: 5,
                select: Selector::submission(8),
                repeat: false,
            },
        ),
        plain(
            "canceled tasks are submitted again, whether they were before or not",
            Retry {
                request: 12,
                low_water: 5,
                select: Selector {
                    state: Some(TaskState::Canceled),
                    ..Selector::submission(8)
                },
                repeat: true,
            },
        ),
        plain("workers are requested", workers_requested()),
        plain(
            "a worker is replaced by another one",
            RequestWorkers {
                request: 14,
                low_water: 5,
                count: 1,
                layout: Layout::default(),
                replace: Some(2),
                drain_ms: 30_000,
                deadline_ms: 60_000,
            },
        ),
        plain("who starts workers says what there is", starter()),
        plain(
            "tasks are forgotten",
            Forget {
                request: 7,
                low_water: 5,
                select: Selector::submission(5),
            },
        ),
    ]
}

fn workers_requested() -> RequestWorkers {
    RequestWorkers {
        request: 13,
        low_water: 5,
        count: 3,
        layout: Layout {
            cores: 4,
            gpus: 1,
            memory: Some(16_000),
            named: [("licence".into(), 1.into())].into(),
            idle_ms: 600_000,
            limit_ms: 3_600_000,
        },
        replace: None,
        drain_ms: 0,
        deadline_ms: 0,
    }
}

fn starter() -> Starter {
    let place = |place: &str, cores| StarterPlace {
        place: place.into(),
        offer: vec![("cores".into(), cores)],
        ..StarterPlace::default()
    };
    Starter {
        id: 6,
        nodes: vec![StarterNode {
            node: "node-17".into(),
            room: vec![("cores".into(), 32.into()), ("memory".into(), 256_000.into())],
            places: vec![
                StarterPlace {
                    left: true,
                    ..place("node-17", 28.into())
                },
                StarterPlace {
                    start: 0x1_0000_0001,
                    origin: Some(ORIGIN),
                    requested_by: Some("shell".into()),
                    joined: true,
                    ..place("node-17-1", 4.into())
                },
            ],
        }],
        failed: vec![StartFailed {
            start: 0x1_0000_0002,
            reason: "the worker's process ended: exit status: 1".into(),
        }],
        timeout_ms: 60_000,
    }
}

fn reads() -> Vec<Sample<ClientToAgent>> {
    let wait = Question::Wait {
        select: Selector::submission(5),
        timeout_ms: 60_000,
    };
    vec![
        ask("asks for the status", 1, Question::Status),
        ask(
            "asks for the workers",
            2,
            Question::Workers(WorkersPage {
                after: Some(3),
                rows: 10,
            }),
        ),
        ask(
            "asks for submissions",
            3,
            Question::Submissions(page(Selector::all())),
        ),
        ask(
            "asks for more tasks",
            4,
            Question::Tasks(Page {
                after: Some((5, 16)),
                ..page(Selector::submission(5))
            }),
        ),
        ask(
            "asks why a task waits",
            5,
            Question::Explain(Selector::task(5, 7)),
        ),
        ask(
            "asks for results",
            6,
            Question::Results(page(Selector {
                last: true,
                ..Selector::default()
            })),
        ),
        ask("waits", 7, wait),
        ask(
            "asks what a task writes",
            9,
            Question::Output(OutputPage {
                submission: 5,
                offset: 7,
                attempt: 1,
                from: (4, 0),
                timeout_ms: 10_000,
            }),
        ),
        ask(
            "waits for requested workers",
            10,
            Question::Requests(RequestsPage {
                id: Some(3),
                timeout_ms: 60_000,
                ..RequestsPage::default()
            }),
        ),
        ask(
            "asks for further requests for workers",
            10,
            Question::Requests(RequestsPage {
                after: 120,
                ..RequestsPage::default()
            }),
        ),
        ask(
            "asks for a snapshot",
            8,
            Question::Snapshot("submission/5".into()),
        ),
    ]
}

#[test]
fn client_to_agent() {
    let samples: Vec<_> = [sessions(), requests(), reads()].into_iter().flatten().collect();
    let encode = |message: &ClientToAgent| match message {
        ClientToAgent::Named(named) => NamedClientToAgent::encode(named),
        ClientToAgent::Envelope(_) => unreachable!("envelopes are in another file"),
    };
    check_direction(
        "client_to_agent",
        &[
            "hello",
            "submit",
            "append",
            "close",
            "cancel",
            "ack",
            "ask",
            "forget",
            "request_workers",
            "starter",
            "stop",
            "goodbye",
            "version",
            "bring_back",
        ],
        &samples,
        encode,
        ClientToAgent::decode,
    );
}
