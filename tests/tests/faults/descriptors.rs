//! Descriptors that run out: whoever comes then is turned away or waits, and nobody ends.

use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use scalems_client::protocol::Code;
use scalems_client::protocol::Role;
use scalems_client::{ClientError, Session, Task, wait_all};
use scalems_tests::pilot::{Fifo, PATIENCE, Pilot, process, quoted, until_workers};
use scalems_transport::{ConnectionFile, Context, Dealer, Endpoint};

use crate::measure;

/// Sockets that connect and say nothing.
const STRANGERS: usize = 1_000;
/// Sockets that connect as they should, come back when they are turned away, and say nothing.
const PEERS: usize = 200;
/// Bytes that the journal keeps in a file of their own.
const LARGE: usize = 100 << 10;

fn knock(at: &Endpoint) -> Option<Box<dyn std::any::Any>> {
    let address = at.to_string();
    match address.split_once("://")? {
        ("tcp", address) => Some(Box::new(TcpStream::connect(address).ok()?)),
        (_, path) => Some(Box::new(UnixStream::connect(path).ok()?)),
    }
}

fn crowd(limit: usize, tcp: bool) {
    let options = if tcp { "--tcp --tcp-only" } else { "" };
    let options = format!("--no-workers {options}");
    let pilot = Pilot::start_under(&format!("prlimit --nofile={limit}"), &options);
    let worker = |name| {
        let line = format!("scalems worker start --name {name} --cores 2");
        pilot.home.spawn(&line)
    };
    let mut workers = vec![worker("before")];
    let session = pilot.session();
    until_workers(&session, |rows| rows.len() == 1);
    let base = measure::descriptors(pilot.pid());
    let file =
        ConnectionFile::read(&pilot.directory().join(ConnectionFile::file_name(Role::Client))).unwrap();
    let requests = file.requests.nearest(true).unwrap();
    let context = Context::new().unwrap();
    let peers: Vec<_> = (0..PEERS)
        .map(|_| Dealer::connect(&context, requests, file.curve.as_ref()).unwrap())
        .collect();
    let begin = (Instant::now(), measure::processor(pilot.pid()));
    let strangers: Vec<_> = (0..STRANGERS).filter_map(|_| knock(requests)).collect();
    until(&pilot, "its descriptors run out", |now| now + 4 > limit);
    // Who was there is served. While the journal waits for a descriptor, what comes is refused.
    let noop = Task::new("scalems.noop");
    let small: Vec<_> = (0..500).map(|_| session.submit(&noop).unwrap()).collect();
    let mut served = 0;
    for task in &small {
        match task.wait(PATIENCE) {
            Ok(result) if result.is_done() => served += 1,
            Err(ClientError::Refused { refusal, .. }) if refusal.code == Code::AgentFull => {}
            other => panic!("{other:?}"),
        }
    }
    session.ask_status().unwrap();
    // What is kept in a file of its own waits, or is refused.
    let task = Task::new("scalems.echo").data(vec![7; LARGE]);
    let large = session.submit(&task).unwrap();
    let done = match large.wait(PATIENCE) {
        Ok(result) => u64::from(result.is_done()),
        Err(ClientError::Refused { refusal, .. }) if refusal.code == Code::AgentFull => 0,
        Err(error) => panic!("{error}"),
    };
    // Who comes now waits.
    workers.push(worker("during"));
    until(&pilot, "its descriptors run out again", |now| now + 4 > limit);
    println!(
        "{limit} descriptors, {base} of them in use before; {} of {STRANGERS} knocked, {served} of 500 tasks were taken, and \
         the agent took {:?} of {:?}; its journal {} waited",
        strangers.len(),
        measure::processor(pilot.pid()).saturating_sub(begin.1),
        begin.0.elapsed(),
        if pilot.log().contains("no descriptors are left") {
            "has"
        } else {
            "has not"
        },
    );
    drop((strangers, peers, context));
    until_workers(&session, |rows| {
        rows.iter().filter(|row| row.state == "active").count() == 2
    });
    let other = pilot.session();
    taken(&other, &task);
    assert_eq!(other.ask_status().unwrap().tasks.finished(), served + done + 1);
    drop((session, other));
    // One worker more than before, with two connections.
    until(&pilot, "its descriptors are free again", |now| now <= base + 4);
    let mut pilot = pilot;
    pilot.sh("scalems pilot stop").well();
    for worker in &mut workers {
        worker.status();
    }
    pilot.expect_end();
}

/// Submits until it is taken: the journal looks again every second.
fn taken(session: &Session, task: &Task) {
    let until = Instant::now() + PATIENCE;
    loop {
        match session.submit(task).unwrap().wait(PATIENCE) {
            Ok(result) => return assert_eq!(result.value[..], vec![7; LARGE]),
            Err(error) => assert!(Instant::now() < until, "{error}"),
        }
    }
}

/// Waits until the agent has as many descriptors as wanted.
#[track_caller]
fn until(pilot: &Pilot, what: &str, wanted: impl Fn(usize) -> bool) {
    let until = Instant::now() + PATIENCE;
    loop {
        let now = measure::descriptors(pilot.pid());
        if wanted(now) {
            return;
        }
        assert!(Instant::now() < until, "not: {what}, but {now} are open");
        let soon = Instant::now() + Duration::from_millis(20);
        assert!(!process::wait_gone(pilot.pid(), soon), "the agent has ended");
    }
}

#[test]
fn an_agent_without_descriptors_turns_away_and_goes_on() {
    super::raise_own_limit();
    for limit in [64, 128, 256] {
        crowd(limit, false);
        crowd(limit, true);
    }
}

#[test]
fn a_worker_without_descriptors_goes_on() {
    super::raise_own_limit();
    for limit in [64, 128, 256] {
        let pilot = Pilot::start_alone("--no-workers");
        let worker = pilot.home.spawn(&format!(
            "prlimit --nofile={limit} scalems worker start --name narrow --cores 200"
        ));
        let session = pilot.session();
        until_workers(&session, |rows| rows.len() == 1);
        programs(&pilot, &session, limit);
        let rows = session.ask_workers().unwrap();
        assert!(rows.len() == 1 && rows[0].pid == worker.pid(), "{rows:?}");
        drop(session);
        pilot.stop_with(|| drop(worker));
    }
}

/// Two hundred programs that would all run at once.
fn programs(pilot: &Pilot, session: &Session, limit: usize) {
    let mut begun = Fifo::new(&pilot.home.work(), "begun");
    let mut gate = Fifo::new(&pilot.home.work(), "gate");
    let line = format!(
        "echo begun > {}; read line < {}; echo $SCALEMS_TASK",
        quoted(begun.path()),
        quoted(gate.path())
    );
    let task = pilot
        .line(&line)
        .retries(1_000)
        .backoff(Duration::from_millis(50));
    let tasks: Vec<_> = (0..200).map(|_| session.submit(&task).unwrap()).collect();
    // As many as there are descriptors for begin; then there are none.
    let some = (limit - 40) / 4;
    (0..some).for_each(|_| assert_eq!(begun.line(), "begun"));
    gate.release(some);
    for _ in some..200 {
        assert_eq!(begun.line(), "begun");
        gate.release(1);
    }
    wait_all(&tasks, PATIENCE).unwrap();
    let attempts: Vec<_> = tasks
        .iter()
        .map(|task| task.wait(PATIENCE).unwrap())
        .inspect(|result| assert!(result.is_done(), "{result:?}"))
        .map(|result| result.attempt)
        .collect();
    let again = attempts.iter().filter(|attempt| **attempt > 1).count();
    println!("{limit} descriptors: {again} of 200 programs began at a later attempt");
    assert!(again > 0, "the descriptors were enough");
}
