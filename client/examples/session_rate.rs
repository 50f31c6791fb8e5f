//! What the client side of a task costs, without sockets: from the call to the encoded batch, and from the
//! encoded results to the resolved handle. `cargo run --release -p scalems-client --example session_rate [ROUND]`
//!
//! The agent here is a stub whose time does not count. One core does everything, in rounds of some thousand
//! tasks, as a session's thread and a user's thread do when both are busy. Times are CPU times of the thread,
//! so that what else runs on the machine counts little.

use std::time::Duration;

use scalems_client::machine::{Config, Input};
use scalems_client::{Carried, Carrier, Session, Task, TaskHandle};
use scalems_protocol::client::{
    Accepted, AgentToClient, ClientToAgent, ClientWelcome, Durable, NamedClientToAgent as Named, Results,
    Resume,
};
use scalems_protocol::group::{Data, Gather, ResultGroup, Run};
use scalems_protocol::token::Token;
use scalems_protocol::{Bytes, Ending, JournalMark, Origin, PilotId, Role, limits};

const TASKS: usize = 1_000_000;
/// Tasks submitted between two rounds.
const ROUND: usize = 4_096;
const DATA: [u8; 100] = [7; 100];
const VALUE_BYTES: u32 = 8;
const REPEATS: usize = 5;

type Frames = (Vec<u8>, Vec<Bytes>);

/// Accepts everything, and ends it with a value of 8 bytes each.
#[derive(Default)]
struct Stub {
    delivered: u64,
}

impl Stub {
    fn answer(&mut self, header: &[u8]) -> Vec<Frames> {
        let said = match ClientToAgent::decode(header).expect("the client writes what can be read") {
            ClientToAgent::Named(Named::ClientHello(_)) => vec![(welcome(), Vec::new())],
            ClientToAgent::Named(Named::Submit(submit)) => {
                let (request, count) = (submit.request, submit.count);
                let accepted = Accepted {
                    request,
                    submission: request,
                    count,
                    note: None,
                    record: 0,
                };
                let mut gather = Gather::default();
                let ends: Vec<u32> = (1..=count).map(|i| i * VALUE_BYTES).collect();
                let data = Data {
                    bytes: vec![1; (count * VALUE_BYTES) as usize].into(),
                    ends,
                };
                let group = ResultGroup {
                    run: Run {
                        submission: request,
                        lo: 0,
                        hi: count,
                        attempt: 1,
                    },
                    origin: Origin { session: 1, request },
                    incarnation: 1,
                    ending: Ending::Done,
                    place: gather.add(&data),
                    exit_code: None,
                    ran_us: 1,
                    error: None,
                };
                self.delivered += 1;
                let results = Results {
                    delivery: self.delivered,
                    durable: Durable::None,
                    groups: vec![group],
                    accepted: Vec::new(),
                };
                vec![(accepted.into(), Vec::new()), (results.into(), gather.finish())]
            }
            _ => Vec::new(),
        };
        said.into_iter()
            .map(|(message, blobs): (AgentToClient, Vec<Bytes>)| {
                let (header, blobs) = message.encode_frames(&blobs);
                (header, blobs.to_vec())
            })
            .collect()
    }
}

fn welcome() -> AgentToClient {
    let welcome = ClientWelcome {
        pilot_name: "stub".into(),
        pilot: PilotId([1; 16]),
        incarnation: 1,
        session: 1,
        resume: Resume {
            peer: 1,
            token: Token::derive(&[1; 32], Role::Client, 1),
        },
        request_high: 0,
        delivery_next: 1,
        window: (limits::WINDOW_TASKS, limits::WINDOW_BYTES),
        modes: Vec::new(),
        software: "stub".into(),
        journal: false,
        mark: JournalMark::default(),
    };
    welcome.into()
}

/// Where the time went.
#[derive(Clone, Copy, Default)]
struct Spent {
    submit: Duration,
    send: Duration,
    receive: Duration,
    read: Duration,
    drop: Duration,
    batches: usize,
}

/// Does `what` and adds its time to `spent`.
fn timed<T>(spent: &mut Duration, what: impl FnOnce() -> T) -> T {
    let began = cpu_time();
    let done = what();
    *spent += cpu_time().saturating_sub(began);
    done
}

/// The CPU time that this thread has used.
fn cpu_time() -> Duration {
    let clock = nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID;
    nix::time::clock_gettime(clock)
        .expect("every Linux has this clock")
        .into()
}

/// What reading the clock twice adds to a measurement.
fn clock_cost() -> Duration {
    let mut spent = Duration::ZERO;
    for _ in 0..100_000 {
        timed(&mut spent, || {});
    }
    spent / 100_000
}

fn encode(carried: &mut Vec<Carried>) -> Vec<Frames> {
    let messages = carried.drain(..).filter_map(|carried| match carried {
        Carried::Send(ClientToAgent::Named(named), blobs) => {
            let (header, blobs) = named.encode_frames(&blobs);
            Some((header, blobs.to_vec()))
        }
        _ => None,
    });
    messages.collect()
}

fn take_in(carrier: &mut Carrier, now: u64, said: Vec<Frames>, out: &mut Vec<Carried>) {
    let decoded = said.into_iter().map(|(header, blobs)| {
        let decoded = AgentToClient::decode_frames(&header, blobs);
        let (message, blobs) = decoded.expect("the stub writes what can be read");
        Input::Message(message, blobs)
    });
    carrier.step(now, decoded.collect::<Vec<_>>(), out);
}

fn run(round: usize) -> Spent {
    let mut spent = Spent::default();
    let mut stub = Stub::default();
    let (session, mut carrier) = Session::carried(Config::default());
    let mut out = Vec::new();
    let mut now = 0;
    carrier.step(now, [Input::Connected], &mut out);
    let said: Vec<Frames> = encode(&mut out)
        .iter()
        .flat_map(|(header, _)| stub.answer(header))
        .collect();
    take_in(&mut carrier, now, said, &mut out);
    let task = Task::new("scalems.echo").cores(1);
    let mut done = 0;
    while done < TASKS {
        now += 1_000;
        let handles: Vec<TaskHandle> = timed(&mut spent.submit, || {
            (0..round)
                .map(|_| session.submit_data(&task, &DATA).expect("there is room"))
                .collect()
        });
        let messages = timed(&mut spent.send, || {
            carrier.step(now, [], &mut out);
            encode(&mut out)
        });
        spent.batches += messages.len();
        let said: Vec<Frames> = messages
            .iter()
            .flat_map(|(header, _)| stub.answer(header))
            .collect();
        timed(&mut spent.receive, || take_in(&mut carrier, now, said, &mut out));
        let bytes: usize = timed(&mut spent.read, || {
            let values = handles.iter().map(|handle| {
                let result = handle
                    .try_result()
                    .expect("it has ended")
                    .expect("it has a result");
                result.value.len()
            });
            values.sum()
        });
        assert_eq!(bytes, round * VALUE_BYTES as usize);
        timed(&mut spent.drop, || drop(handles));
        done += round;
    }
    spent
}

fn main() {
    let only = std::env::args()
        .nth(1)
        .map(|round| round.parse().expect("a number of tasks"));
    for round in only.map_or_else(|| vec![1, 16, 256, ROUND], |round| vec![round]) {
        let tasks = TASKS.div_ceil(round) * round;
        let clock = clock_cost().as_nanos() as f64 / round as f64;
        let per_task = |time: Duration| time.as_nanos() as f64 / tasks as f64 - clock;
        let mut runs: Vec<Spent> = (0..REPEATS).map(|_| run(round)).collect();
        runs.sort_by_key(|spent| spent.submit + spent.send + spent.receive);
        let spent = runs[REPEATS / 2];
        let there = per_task(spent.submit) + per_task(spent.send);
        println!(
            "rounds of {round:>4}, {:>6.0} tasks a batch: submit {:>6.1} ns, machine and encoding {:>6.1} ns (there \
             {there:>6.1}); decoding, machine and handles {:>6.1} ns (back); both {:>6.1} ns a task; reading the \
             value {:>5.1} ns, dropping {:>5.1} ns",
            tasks as f64 / spent.batches as f64,
            per_task(spent.submit),
            per_task(spent.send),
            per_task(spent.receive),
            there + per_task(spent.receive),
            per_task(spent.read),
            per_task(spent.drop),
        );
    }
}
