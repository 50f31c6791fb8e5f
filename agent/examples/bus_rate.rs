//! The bus without the client library: a bare client, the agent and a worker, as threads with sockets of
//! their own. `cargo run --release -p scalems-agent --example bus_rate -- [ipc|tcp]`

use std::time::{Duration, Instant};

use bytes::Bytes;
use scalems_agent::pilot::{Pilot, PilotOptions};
use scalems_agent::worker::{self, Connection, Stopper, WorkerOptions};
use scalems_protocol::Role;
use scalems_protocol::client::{Acknowledge, AgentToClient, ClientHello, ClientToAgent, Submit};
use scalems_protocol::task::Template;
use scalems_transport::{ConnectionFile, Context, Dealer};

fn send(dealer: &mut Dealer, message: impl Into<ClientToAgent>, blobs: &[Bytes]) {
    let ClientToAgent::Named(named) = message.into() else {
        unreachable!("only named messages here")
    };
    let (header, blobs) = named.encode_frames(blobs);
    dealer.send(&header, blobs).expect("send");
}

fn receive(dealer: &mut Dealer) -> AgentToClient {
    let message = dealer
        .recv_until(Instant::now() + Duration::from_secs(10))
        .expect("receive")
        .expect("in time");
    AgentToClient::decode(&message.header).expect("decode")
}

fn main() {
    let tcp = std::env::args().any(|arg| arg == "tcp");
    let directory = std::env::temp_dir().join(format!("scalems-bus-rate-{}", std::process::id()));
    let mut options = PilotOptions::new("bench", &directory);
    if tcp {
        options = options.loopback_tcp();
        options.ipc = false;
    }
    let pilot = Pilot::open(&options).expect("open");
    let handle = pilot.handle();
    let agent = std::thread::spawn(move || pilot.run());
    let file = ConnectionFile::read(&directory.join("worker.json")).expect("worker file");
    let (_stopper, stop) = Stopper::pair().expect("stopper");
    let worker_options = WorkerOptions::new(Connection::Known(Box::new(file)), directory.join("tasks"));
    let worker = std::thread::spawn(move || worker::run(&worker_options, stop));
    let file = ConnectionFile::read(&directory.join(ConnectionFile::file_name(Role::Client))).expect("file");
    let context = Context::new().expect("context");
    let endpoint = file.requests.nearest(true).expect("address").clone();
    let mut dealer = Dealer::connect(&context, &endpoint, file.curve.as_ref()).expect("connect");
    dealer
        .wait_connected(Instant::now() + Duration::from_secs(5))
        .expect("connected");
    send(&mut dealer, ClientHello::default(), &[]);
    let AgentToClient::ClientWelcome(_) = receive(&mut dealer) else {
        panic!("no welcome")
    };
    let mut request = 0;
    for (name, batch, total, window) in [
        ("latency", 1_u32, 5_000_u32, 1_u32),
        ("noop K=1024", 1_024, 4_096_000, 16_384),
        ("noop K=64", 64, 640_000, 16_384),
        ("array", 1_000_000, 4_000_000, 1_000_000),
    ] {
        let array = batch > 1_024;
        let task = Template {
            mode: "scalems.noop".into(),
            ..Template::default()
        };
        let data = Bytes::from(vec![7; 100 * batch.min(1_024) as usize]);
        let blobs = if array { vec![] } else { vec![data] };
        let (mut sent, mut got) = (0, 0);
        let mut times = Vec::new();
        let begin = Instant::now();
        let mut last = begin;
        while got < total {
            while sent < total && sent - got + batch <= window {
                request += 1;
                let ends = if array || batch == 1 {
                    vec![]
                } else {
                    (1..=batch).map(|i| i * 100).collect()
                };
                let low_water = request.max(2_000) - 1_000;
                let submit = Submit {
                    request,
                    low_water,
                    count: batch,
                    task: task.clone(),
                    first: 0,
                    step: 1,
                    ends,
                    streaming: true,
                    open: false,
                    total: None,
                };
                send(
                    &mut dealer,
                    scalems_protocol::client::NamedClientToAgent::from(submit),
                    &blobs,
                );
                sent += batch;
            }
            match receive(&mut dealer) {
                AgentToClient::Results(results) => {
                    got += results.groups.iter().map(|group| group.run.count()).sum::<u32>();
                    send(
                        &mut dealer,
                        Acknowledge {
                            delivery: results.delivery,
                        },
                        &[],
                    );
                    if batch == 1 {
                        times.push(last.elapsed().as_micros());
                        last = Instant::now();
                    }
                }
                AgentToClient::Refused(refused) => panic!("{refused:?}"),
                _ => {}
            }
        }
        let rate = f64::from(total) / begin.elapsed().as_secs_f64();
        times.sort_unstable();
        println!("{name:14} {rate:12.0}/s  p50 {:?} us", times.get(times.len() / 2));
    }
    handle.stop(Duration::ZERO);
    println!(
        "{:?} {:?}",
        agent.join().expect("agent"),
        worker.join().expect("worker")
    );
    std::fs::remove_dir_all(&directory).expect("clean up");
}
