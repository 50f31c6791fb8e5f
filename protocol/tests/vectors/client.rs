//! Between clients and the agent.

use scalems_protocol::client::{
    Accepted, Acknowledge, AgentToClient, Answer, Ask, Cancel, CancelDone, ClientHello, ClientToAgent,
    ClientWelcome, Counts, Detached, Durable, Explanation, Forget, ForgetDone, Goodbye, Listing,
    NamedClientToAgent, Page, Question, Refused, Reply, Results, Resume, SessionKind, Status, Stop,
    SubmissionRow, Submit, TaskRow, Version, WorkerRow,
};
use scalems_protocol::event::Body;
use scalems_protocol::select::{Pick, Selector};
use scalems_protocol::state::Strength;
use scalems_protocol::{Code, Refusal, Role, TaskState, VERSION};

use crate::event::alarm;
use crate::samples::{PILOT, done, echo, failed, full_template, labels, place, raised, run, token};
use crate::{Sample, check_direction, plain, with_blobs};

fn hello(session: &str) -> ClientHello {
    ClientHello { v: VERSION, type_: "hello".into(), session: session.into(), ..ClientHello::default() }
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
    }
}

fn ask(name: &'static str, id: u64, question: Question) -> Sample<ClientToAgent> {
    plain(name, Ask { id, question })
}

fn page(select: Selector) -> Page {
    Page { select, after: None, rows: 100 }
}

/// A selector with everything in it.
fn full_selector() -> Selector {
    Selector {
        all: true,
        last: true,
        picks: vec![
            Pick { first: 2, last: 10, step: 2, indices: None },
            Pick { first: 5, last: 5, step: 1, indices: Some((0, 90, 10)) },
        ],
        label: Some(("project".into(), "a".into())),
        name: Some("dock*".into()),
        state: Some(TaskState::Failed),
    }
}

fn sessions() -> Vec<Sample<ClientToAgent>> {
    let back = ClientHello {
        software: "scalems 0.1.0".into(),
        resume: Some(Resume { peer: 12, token: token(Role::Client, 12) }),
        pilot: Some(PILOT),
        deliveries: 56,
        cancel_after_ms: 600_000,
        ..hello("campaign")
    };
    let takeover = ClientHello { takeover: true, ..hello("campaign") };
    vec![
        plain("hello of an unnamed session", hello("")),
        plain("hello of the shell", ClientHello { kind: SessionKind::Shared, ..hello("shell") }),
        plain("hello of a process that comes back", back),
        plain("hello that takes a session over", takeover),
        plain("results were taken in", Acknowledge { delivery: 57 }),
        plain("the client goes", Goodbye { reason: "done".into() }),
        plain("what is served", Version { id: 1 }),
        plain("the pilot is to end", Stop { id: 9, worker: None, drain_ms: 60_000 }),
        plain("a worker is to end", Stop { id: 10, worker: Some(9), drain_ms: 0 }),
    ]
}

fn requests() -> Vec<Sample<ClientToAgent>> {
    vec![
        plain("one task without data", submit(1)),
        with_blobs("one task with data", submit(2), &[b"hello"]),
        with_blobs(
            "a batch of three",
            Submit { low_water: 2, count: 3, ends: vec![1, 3, 6], streaming: true, ..submit(3) },
            &[b"abbccc"],
        ),
        with_blobs(
            "an array that shares its data",
            Submit { count: 1_000, first: 10, step: 2, task: full_template(), ..submit(4) },
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
        plain("tasks are forgotten", Forget { request: 7, low_water: 5, select: Selector::submission(5) }),
    ]
}

fn reads() -> Vec<Sample<ClientToAgent>> {
    let wait = Question::Wait { select: Selector::submission(5), timeout_ms: 60_000 };
    vec![
        ask("asks for the status", 1, Question::Status),
        ask("asks for the workers", 2, Question::Workers),
        ask("asks for submissions", 3, Question::Submissions(page(Selector::all()))),
        ask(
            "asks for more tasks",
            4,
            Question::Tasks(Page { after: Some((5, 16)), ..page(Selector::submission(5)) }),
        ),
        ask("asks why a task waits", 5, Question::Explain(Selector::task(5, 7))),
        ask(
            "asks for results",
            6,
            Question::Results(page(Selector { last: true, ..Selector::default() })),
        ),
        ask("waits", 7, wait),
        ask("asks for a snapshot", 8, Question::Snapshot("submission/5".into())),
    ]
}

pub(crate) fn worker_row() -> WorkerRow {
    WorkerRow {
        worker: 9,
        name: "node-17".into(),
        host: "node-17.cluster".into(),
        pid: 4_711,
        state: "active".into(),
        resources: vec![("cores".into(), 32, 24), ("gpus".into(), 4, 0)],
        leases: (10, 6),
        ended: 84,
        silent_ms: 350,
        beats: (36, 0),
    }
}

fn answers_to_requests() -> Vec<Sample<AgentToClient>> {
    let welcome = ClientWelcome {
        pilot_name: "demo".into(),
        pilot: PILOT,
        incarnation: 1,
        session: 3,
        resume: Resume { peer: 12, token: token(Role::Client, 12) },
        request_high: 6,
        delivery_next: 57,
        window: (16_384, 64 << 20),
        modes: vec!["scalems.echo".into(), "task.executable".into()],
        software: "scalems 0.1.0".into(),
        journal: false,
    };
    let refusal = |code, message: &str| Refusal::new(code, message);
    vec![
        plain("the answer to hello", welcome),
        plain("accepted", Accepted { request: 3, submission: 5, count: 3, note: None }),
        plain(
            "accepted, though nobody serves it yet",
            Accepted {
                request: 4,
                submission: 6,
                count: 1_000,
                note: Some("no worker serves task.executable yet".into()),
            },
        ),
        plain(
            "a request is refused",
            Refused { request: Some(8), id: None, refusal: refusal(Code::UnknownMode, "no worker serves mode \"x\"") },
        ),
        plain(
            "a read is refused",
            Refused { request: None, id: Some(7), refusal: refusal(Code::TimedOut, "3 tasks have not ended after 60 s") },
        ),
        plain(
            "what could not be read is refused",
            Refused { request: None, id: None, refusal: refusal(Code::Malformed, "malformed header: the header is not a map") },
        ),
        plain("what a cancel did", CancelDone { request: 6, withdrawn: 10, told: 4, running: 0, ended: 86 }),
        plain("what a forget did", ForgetDone { request: 7, forgotten: 86, kept: 14 }),
        plain(
            "the attachment ends",
            Detached { refusal: refusal(Code::TakenOver, "another process took session \"campaign\" over") },
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
            },
            &[b"abbccc", b"oops"],
        ),
        plain(
            "results that are on disk",
            Results { delivery: 58, durable: Durable::Yes, groups: vec![raised(run(6, 0, 1, 2))] },
        ),
    ]
}

fn answer(name: &'static str, id: u64, reply: Reply) -> Sample<AgentToClient> {
    plain(name, Answer { id, reply })
}

fn answers_to_reads() -> Vec<Sample<AgentToClient>> {
    let counts = Counts { waiting: 1, ready: 2, leased: 3, running: 4, done: 5, failed: 6, canceled: 7 };
    let status = Status {
        pilot_name: "demo".into(),
        incarnation: 1,
        up_ms: 73_500,
        tasks: counts,
        submissions: 5,
        clients: 2,
        workers: (2, 0, 1, 0),
        resources: vec![("cores".into(), 64, 24)],
        modes: vec!["scalems.echo".into()],
        stopping: false,
        counters: vec![("superseded".into(), 1)],
    };
    let submission = SubmissionRow {
        submission: 6,
        mode: "task.executable".into(),
        name: Some("docking of ligands".into()),
        labels: labels(&[("project", "a")]),
        session: "shell".into(),
        indices: (10, 2, 1_000),
        tasks: counts,
        age_ms: 12_000,
    };
    let row = TaskRow {
        run: run(6, 0, 16, 1),
        indices: (10, 2),
        state: TaskState::Failed,
        worker: Some("node-17".into()),
        exit_code: Some(2),
        error: failed(run(6, 0, 16, 1), place(0, 0, 0, &[])).error,
        ran_us: 1_500_000,
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
        answer("the workers", 2, Reply::Workers(vec![worker_row()])),
        answer(
            "the submissions",
            3,
            Reply::Submissions(Listing { rows: vec![submission], next: Some((7, 0)) }),
        ),
        answer("the tasks", 4, Reply::Tasks(Listing { rows: vec![row, waiting], next: Some((6, 17)) })),
        answer("why a task waits", 5, Reply::Explain(Box::new(explanation))),
        results,
        answer("all have ended", 7, Reply::Ended(counts)),
        answer(
            "the state of a topic",
            8,
            snapshot("alarms", 41, Body::Alarms { alarms: vec![alarm()] }),
        ),
        answer("the pilot ends", 9, Reply::Stopping),
        answer("what is served", 10, Reply::Version { software: "scalems 0.1.0".into(), protocol: (1, 1) }),
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
        &["hello", "submit", "cancel", "ack", "ask", "forget", "stop", "goodbye", "version"],
        &samples,
        encode,
        ClientToAgent::decode,
    );
}

#[test]
fn agent_to_client() {
    let samples: Vec<_> = [answers_to_requests(), answers_to_reads()].into_iter().flatten().collect();
    check_direction(
        "agent_to_client",
        &[
            "welcome", "accepted", "refused", "cancel_done", "forget_done", "results", "answer", "detached",
        ],
        &samples,
        AgentToClient::encode,
        AgentToClient::decode,
    );
}
