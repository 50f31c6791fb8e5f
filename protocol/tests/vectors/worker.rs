//! Between workers and the agent.

use scalems_protocol::group::{HeldRun, LeaseGroup, Place};
use scalems_protocol::state::Strength;
use scalems_protocol::worker::{
    AgentToWorker, Beat, Holdings, Lease, ListHoldings, ModeOffer, OutputRead, Ping, Pong, ReadOutput,
    Recorded, Report, Revoke, TasksProgress, WorkerGoodbye, WorkerHello, WorkerLogLevels, WorkerRefused,
    WorkerResume, WorkerStop, WorkerToAgent, WorkerWelcome,
};
use scalems_protocol::{Amount, Code, Refusal, Role, TaskState, VERSION};

use crate::samples::{
    ORIGIN, PILOT, done, echo, failed, full_template, held, mark, place, progress, raised, run, token,
    written,
};
use crate::{Sample, check_direction, plain, with_blobs};

fn hello() -> WorkerHello {
    let mode = |name: &str, instant| ModeOffer {
        name: name.into(),
        instant,
    };
    WorkerHello {
        v: VERSION,
        type_: "hello".into(),
        must: Vec::new(),
        name: "node-17".into(),
        host: "node-17.cluster".into(),
        pid: 4_711,
        process: "0f1e2d3c-4b5a-4697-8879-6a5b4c3d2e1f pid:[4026531836] 4711:880 4719:881".into(),
        software: "scalems 0.1.0".into(),
        offer: vec![
            ("cores".into(), 32.into()),
            ("gpus".into(), 4.into()),
            ("memory".into(), 256_000.into()),
            ("fpga".into(), Amount::from_parts(5_000)),
        ],
        modes: vec![mode("task.executable", false), mode("scalems.echo", true)],
        resume: None,
        held: Vec::new(),
        hello: 1,
        left_ms: None,
        knows: ["placement", "fractions", "variants"].map(str::to_owned).into(),
        place: None,
    }
}

fn from_worker() -> Vec<Sample<WorkerToAgent>> {
    let back = WorkerHello {
        resume: Some(WorkerResume {
            pilot: PILOT,
            worker: 9,
            token: token(Role::Worker, 9),
            seen: mark(46),
        }),
        held: vec![
            held(run(5, 8, 16, 1), TaskState::Leased),
            HeldRun {
                variant: 1,
                ..held(run(5, 4, 8, 1), TaskState::Running)
            },
            held(run(5, 0, 4, 1), TaskState::Done),
        ],
        hello: 2,
        left_ms: Some(5_400_000),
        place: Some("node-17-1".into()),
        ..hello()
    };
    let report = |number| Report {
        number,
        ..Report::default()
    };
    let beat = Beat {
        worker: 9,
        link: 0xfeed_face_cafe_beef,
        beat: 12,
        applied: 4,
        sent: 6,
        hash: u64::MAX,
    };
    vec![
        plain("hello of a new worker", hello()),
        plain("hello of a worker that comes back", back),
        plain(
            "tasks run",
            Report {
                started: vec![run(5, 0, 4, 1), run(6, 0, 1, 2)],
                ..report(1)
            },
        ),
        with_blobs(
            "results whose values lie in one frame",
            Report {
                results: vec![
                    done(run(5, 0, 3, 1), place(0, 0, 6, &[1, 3, 6])),
                    failed(run(5, 3, 4, 1), place(0, 6, 4, &[])),
                    raised(run(6, 0, 1, 2)),
                    done(run(7, 0, 1_000, 1), Place::default()),
                ],
                ..report(2)
            },
            &[b"abbcccoops"],
        ),
        plain(
            "unstarted tasks come back",
            Report {
                returned: vec![run(5, 8, 16, 1)],
                ..report(3)
            },
        ),
        plain(
            "all leases held",
            Holdings {
                applied: 4,
                sent: 3,
                held: vec![held(run(5, 4, 8, 1), TaskState::Running)],
            },
        ),
        plain("a beat", beat),
        plain("a sign of life", Pong {}),
        plain(
            "what a program wrote",
            OutputRead {
                id: 3,
                stdout: written(4, b"more\n"),
                stderr: written(0, b""),
                over: false,
            },
        ),
        plain(
            "how far tasks are",
            TasksProgress {
                tasks: vec![progress()],
            },
        ),
        plain(
            "the worker ends",
            WorkerGoodbye {
                reason: "drained".into(),
            },
        ),
    ]
}

fn to_worker() -> Vec<Sample<AgentToWorker>> {
    let group = |submission, lo, hi, template, place| LeaseGroup {
        run: run(submission, lo, hi, 1),
        origin: ORIGIN,
        template,
        first: 0,
        step: 1,
        place,
        variant: 0,
    };
    vec![
        plain(
            "the answer to hello",
            WorkerWelcome {
                pilot: PILOT,
                pilot_name: "demo".into(),
                incarnation: 1,
                worker: 9,
                name: "node-17".into(),
                token: token(Role::Worker, 9),
                link: 0xfeed_face_cafe_beef,
                beat_ms: 2_000,
                orphan_ms: 600_000,
                lost_ms: 10_000,
                mark: mark(40),
                drop: vec![run(5, 0, 2, 1)],
                hello: 2,
            },
        ),
        with_blobs(
            "a batch and an array",
            Lease {
                number: 1,
                recorded: 0,
                record: 0,
                templates: vec![echo(), full_template()],
                groups: vec![
                    group(5, 0, 3, 0, place(0, 0, 6, &[1, 3, 6])),
                    LeaseGroup {
                        first: 10,
                        step: 2,
                        variant: 2,
                        ..group(6, 0, 16_384, 1, place(0, 6, 4, &[]))
                    },
                    group(7, 3, 4, 0, Place::default()),
                ],
            },
            &[b"abbcccdata"],
        ),
        with_blobs(
            "a large item in a frame of its own",
            Lease {
                number: 2,
                recorded: 5,
                record: 45,
                templates: vec![echo()],
                groups: vec![group(8, 0, 1, 0, place(1, 0, 5, &[]))],
            },
            &[b"", b"large"],
        ),
        plain(
            "unstarted tasks are asked back",
            Revoke {
                number: 3,
                runs: vec![run(5, 1, 3, 1)],
                strength: Strength::Withdraw,
                silent: false,
                reason: String::new(),
            },
        ),
        plain(
            "running tasks are killed without a result",
            Revoke {
                number: 4,
                runs: vec![run(6, 0, 8, 1), run(7, 3, 4, 1)],
                strength: Strength::Kill,
                silent: true,
                reason: "a newer attempt runs elsewhere".into(),
            },
        ),
        plain(
            "reports were recorded",
            Recorded {
                recorded: 6,
                record: 46,
            },
        ),
        plain("a sign of life is asked for", Ping {}),
        plain(
            "what a program writes is asked for",
            ReadOutput {
                id: 3,
                run: run(5, 7, 8, 1),
                from: (4, 0),
            },
        ),
        plain("all leases are asked for", ListHoldings { beat_only: false }),
        plain("a beat is asked for", ListHoldings { beat_only: true }),
        plain(
            "the worker is to end",
            WorkerStop {
                drain_ms: 30_000,
                reason: "the pilot ends".into(),
            },
        ),
        plain(
            "the worker is to log more",
            WorkerLogLevels {
                levels: "debug".into(),
            },
        ),
        plain(
            "hello has to come again",
            WorkerRefused {
                refusal: Refusal::new(Code::HelloFirst, "report 9 came where 8 was due; say hello again"),
            },
        ),
    ]
}

#[test]
fn worker_to_agent() {
    check_direction(
        "worker_to_agent",
        &[
            "hello", "report", "holdings", "beat", "pong", "output", "progress", "goodbye",
        ],
        &from_worker(),
        WorkerToAgent::encode,
        WorkerToAgent::decode,
    );
}

#[test]
fn agent_to_worker() {
    check_direction(
        "agent_to_worker",
        &[
            "welcome",
            "lease",
            "revoke",
            "recorded",
            "ping",
            "list",
            "read_output",
            "stop",
            "refused",
        ],
        &to_worker(),
        AgentToWorker::encode,
        AgentToWorker::decode,
    );
}
