//! What the core alone costs: batches and an array through one agent and a worker that answers at once.
//!
//! `cargo run --release -p scalems-core --example throughput` prints nanoseconds for each task.

use std::time::Instant;

use bytes::Bytes;
use scalems_core::{Action, Agent, Config, Input, Peer};
use scalems_protocol::client::{Acknowledge, AgentToClient, ClientHello, ClientToAgent, Submit};
use scalems_protocol::group::{Place, ResultGroup};
use scalems_protocol::program::NOOP;
use scalems_protocol::task::Template;
use scalems_protocol::worker::{AgentToWorker, ModeOffer, Report, WorkerHello};
use scalems_protocol::{Ending, PilotId, Role};

const CLIENT: Peer = Peer(1);
const WORKER: Peer = Peer(1);

fn main() {
    for (name, batch, tasks) in [
        ("batches of 1,024", 1_024, 4_000_000_u32),
        ("single tasks", 1, 20_000),
        ("one array", 4_000_000, 4_000_000),
    ] {
        let begin = Instant::now();
        run(batch, tasks);
        let ns = begin.elapsed().as_nanos() as f64 / f64::from(tasks);
        println!("{name:18} {ns:8.1} ns a task");
    }
}

fn run(batch: u32, tasks: u32) {
    let mut agent = Agent::new(Config {
        pilot_name: "bench".into(),
        pilot: PilotId([1; 16]),
        incarnation: 1,
        secret: [2; 32],
        link_seed: 3,
        software: String::new(),
        journal: false,
        expected_workers: 0,
        open_to_workers: true,
        quota: scalems_core::Quota::default(),
        beat_ms: 2_000,
        lost_ms: 10_000,
        orphan_ms: 600_000,
        retain_us: 0,
        patience_us: 1_000,
        spill_over: u64::MAX,
        filters: Vec::new(),
        life: 1,
    });
    let mut out = Vec::new();
    let hello = WorkerHello {
        v: 1,
        type_: String::new(),
        must: vec![],
        name: "w".into(),
        host: "h".into(),
        pid: 1,
        process: String::new(),
        software: String::new(),
        offer: vec![("cores".into(), 2.into())],
        modes: vec![ModeOffer {
            name: NOOP.into(),
            instant: true,
        }],
        resume: None,
        held: vec![],
        hello: 1,
        left_ms: None,
        knows: Vec::new(),
        place: None,
    };
    agent.handle(
        0,
        Input::Worker {
            peer: WORKER,
            message: hello.into(),
            blobs: vec![],
        },
        &mut out,
    );
    client(&mut agent, ClientHello::default().into(), vec![], &mut out);
    agent.flush(0, &mut out);
    out.clear();
    let bytes = Bytes::from(vec![7; 100 * batch.min(1_024) as usize]);
    let (mut request, mut sent, mut got, mut report) = (0, 0, 0, 0);
    let mut leases = Vec::new();
    while got < tasks {
        while sent < tasks && sent - got + batch <= 16_384.max(batch) {
            request += 1;
            let array = batch > 1_024;
            let submit = Submit {
                request,
                low_water: request.saturating_sub(64),
                count: batch,
                task: Template {
                    mode: NOOP.into(),
                    ..Template::default()
                },
                first: 0,
                step: 1,
                ends: if array || batch == 1 {
                    vec![]
                } else {
                    (1..=batch).map(|i| i * 100).collect()
                },
                streaming: true,
                open: false,
                total: None,
            };
            let blobs = if array { vec![] } else { vec![bytes.clone()] };
            client(&mut agent, submit.into(), blobs, &mut out);
            sent += batch;
        }
        for (run, origin) in leases.drain(..) {
            report += 1;
            let result = ResultGroup {
                run,
                origin,
                incarnation: 1,
                ending: Ending::Done,
                place: Place::default(),
                exit_code: None,
                ran_us: 0,
                error: None,
            };
            let message = Report {
                number: report,
                results: vec![result],
                ..Report::default()
            }
            .into();
            agent.handle(
                0,
                Input::Worker {
                    peer: WORKER,
                    message,
                    blobs: vec![],
                },
                &mut out,
            );
        }
        agent.flush(0, &mut out);
        let mut delivered = 0;
        for action in out.drain(..) {
            match action {
                Action::ToWorker {
                    message: AgentToWorker::Lease(lease),
                    ..
                } => {
                    leases.extend(lease.groups.iter().map(|group| (group.run, group.origin)));
                }
                Action::ToClient {
                    message: AgentToClient::Results(results),
                    ..
                } => {
                    got += results.groups.iter().map(|group| group.run.count()).sum::<u32>();
                    delivered = results.delivery;
                }
                _ => {}
            }
        }
        if delivered > 0 {
            client(
                &mut agent,
                Acknowledge { delivery: delivered }.into(),
                vec![],
                &mut out,
            );
        }
    }
}

fn client(agent: &mut Agent, message: ClientToAgent, blobs: Vec<Bytes>, out: &mut Vec<Action>) {
    agent.handle(
        0,
        Input::Client {
            peer: CLIENT,
            role: Role::Client,
            message,
            blobs,
        },
        out,
    );
}
