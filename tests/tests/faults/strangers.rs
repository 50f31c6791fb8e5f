//! Strangers by the thousand at the doors of a pilot whose clients go on working.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use scalems_client::Task;
use scalems_client::protocol::Role;
use scalems_tests::pilot::{PATIENCE, Pilot, process};
use scalems_tests::sim::random::Random;
use scalems_transport::{ConnectionEvent, ConnectionFile, Context, CurveClient, Dealer, Endpoint, KeyPair};
use scalems_transport::{Source, poll};

use crate::measure;

const GOOD: usize = 10;
const HALF_OPEN: usize = 1_000;
const STRANGE_KEYS: usize = 50;

/// What a stranger says first.
fn greeting(mechanism: &[u8]) -> Vec<u8> {
    let mut greeting = vec![0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 0];
    greeting.extend_from_slice(mechanism);
    greeting.resize(64, 0);
    greeting
}

/// Frames as they follow a greeting where nobody asks for keys: a command, and a message.
fn frames(command: &[u8]) -> Vec<u8> {
    let mut frames = vec![4, command.len() as u8];
    frames.extend_from_slice(command);
    frames.extend_from_slice(b"\x00\x14\x82\xa1v\x01\xa4type\xa5hello\xa1x\x01\xa1y");
    frames
}

fn bad_words(random: &mut Random) -> Vec<Vec<u8>> {
    let noise = (0..4_096).flat_map(|_| random.next().to_le_bytes()).collect();
    let null = [
        greeting(b"NULL"),
        frames(b"\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER"),
    ]
    .concat();
    let plain = [greeting(b"PLAIN"), frames(b"\x05HELLO\x05admin\x05admin")].concat();
    let curve = [greeting(b"CURVE"), frames(b"\x05HELLO\x01\x00")].concat();
    vec![
        noise,
        null,
        plain,
        curve,
        greeting(b"CURVE"),
        b"GET / HTTP/1.0\r\n\r\n".to_vec(),
    ]
}

fn connect(at: &Endpoint) -> TcpStream {
    let address = at.to_string();
    let stream = TcpStream::connect(address.trim_start_matches("tcp://")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Reads to the end, which the agent makes. A reset is one as well.
fn until_closed(mut stream: TcpStream) {
    let mut heard = Vec::new();
    let _ended = stream.read_to_end(&mut heard);
    assert!(
        heard.len() <= 64 + 64,
        "{} bytes were said to a stranger",
        heard.len()
    );
}

fn until_denied(at: &Endpoint, server: &CurveClient) {
    let context = Context::new().unwrap();
    let strange = CurveClient {
        server: server.server,
        keys: KeyPair::generate().unwrap(),
    };
    let mut dealer = Dealer::connect(&context, at, Some(&strange)).unwrap();
    let until = Instant::now() + PATIENCE;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        assert!(!left.is_zero(), "a stranger was not turned down");
        poll([Source::connections(&dealer)], Some(left)).unwrap();
        while let Some(event) = dealer.connection_event().unwrap() {
            match event {
                ConnectionEvent::Opened => panic!("a stranger was let in"),
                ConnectionEvent::Denied { .. } => return,
                // At a door for another kind of socket nobody gets as far as that.
                ConnectionEvent::Failed => return,
                ConnectionEvent::Closed => {}
            }
        }
    }
}

fn besiege(doors: &[Endpoint], server: &CurveClient) {
    let mut random = Random::new(super::seed(), 83);
    let mut doomed = Vec::new();
    for at in 0..HALF_OPEN {
        let mut stream = connect(&doors[at % doors.len()]);
        // Half of them say something that is right as far as it goes.
        if at % 2 == 0 {
            stream.write_all(&greeting(b"CURVE")[..at % 64]).unwrap();
        }
        doomed.push(stream);
    }
    for door in doors {
        for words in bad_words(&mut random) {
            let mut stream = connect(door);
            // It may be shut before all is said.
            let _said = stream.write_all(&words);
            doomed.push(stream);
        }
    }
    for at in 0..STRANGE_KEYS {
        until_denied(&doors[at % doors.len()], server);
    }
    doomed.into_iter().for_each(until_closed);
}

/// The time that 99 of 100 take at most.
fn most(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() * 99 / 100]
}

#[test]
fn strangers_at_the_door_do_not_disturb_who_is_inside() {
    super::raise_own_limit();
    let pilot = Pilot::start("--tcp --tcp-only");
    let [client, worker] = [Role::Client, Role::Worker]
        .map(|role| ConnectionFile::read(&pilot.directory().join(ConnectionFile::file_name(role))).unwrap());
    let doors: Vec<_> = [&client.requests, &client.stream, &worker.requests, &worker.stream]
        .map(|addresses| addresses.tcp.clone().unwrap())
        .into();
    let good: Vec<_> = (0..GOOD).map(|_| pilot.session()).collect();
    let work = |session: &scalems_client::Session| {
        let begin = Instant::now();
        let task = session.submit(Task::new("scalems.noop")).unwrap();
        assert!(task.wait(PATIENCE).unwrap().is_done());
        begin.elapsed()
    };
    let before = most(good.iter().cycle().take(1_000).map(work).collect());
    let status = good[0].ask_status().unwrap();
    let base = measure::descriptors(pilot.pid());
    let over = AtomicBool::new(false);
    let begin = Instant::now();
    let times: Vec<_> = std::thread::scope(|scope| {
        let over = &over;
        let workers: Vec<_> = good
            .iter()
            .map(|session| {
                scope.spawn(move || {
                    let mut times = Vec::new();
                    while times.len() < 100 || !over.load(Ordering::Relaxed) {
                        times.push(work(session));
                    }
                    times
                })
            })
            .collect();
        let siege = scope.spawn(|| besiege(&doors, client.curve.as_ref().unwrap()));
        let sieged = siege.join();
        over.store(true, Ordering::Relaxed);
        sieged.unwrap();
        workers
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    });
    println!(
        "{} tasks in {:?}; 99 of 100 took at most {:?}, and {before:?} one by one before",
        times.len(),
        begin.elapsed(),
        most(times.clone())
    );
    let until = Instant::now() + PATIENCE;
    loop {
        let now = measure::descriptors(pilot.pid());
        if now <= base {
            break;
        }
        assert!(Instant::now() < until, "{now} descriptors, and {base} before");
        process::wait_gone(pilot.pid(), Instant::now() + Duration::from_millis(20));
    }
    let after = good[0].ask_status().unwrap();
    assert_eq!(
        (&after.counters, after.clients, after.workers, after.tasks.done),
        (
            &status.counters,
            status.clients,
            status.workers,
            1_000 + times.len() as u64
        )
    );
    drop(good);
    pilot.stop();
}
