//! Scratch: three-party ping-pong, wrappers against raw zmq.
#![allow(clippy::all, clippy::pedantic, clippy::unwrap_used, missing_docs)]
use std::time::{Duration, Instant};
use bytes::Bytes;
use scalems_transport::*;

const N: usize = 30_000;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    if args.len() == 1 { return drive(); }
    let dir = std::path::Path::new(&args[3]);
    match (args[1].as_str(), args[2].as_str()) {
        ("raw", "agent") => raw_agent(dir), ("raw", "worker") => raw_worker(dir), ("raw", "client") => raw_client(dir),
        ("ours", "agent") => agent(dir), ("ours", "worker") => worker(dir), ("ours", "client") => client(dir),
        _ => panic!(),
    }
}
fn drive() {
    let me = std::env::current_exe().unwrap();
    for round in 0..7 {
        for kind in ["raw", "ours"] {
            let dir = format!("/tmp/scalems-pp-{}-{round}-{kind}", std::process::id());
            let spawn = |role: &str| std::process::Command::new(&me).args([kind, role, &dir]).spawn().unwrap();
            let agent = spawn("agent"); let worker = spawn("worker"); let client = spawn("client");
            let cpu = |c: std::process::Child, kill: bool| unsafe {
                let pid = c.id() as i32; if kill { libc::kill(pid, 9); }
                let mut u: libc::rusage = std::mem::zeroed(); let mut s = 0; libc::wait4(pid, &mut s, 0, &mut u);
                let us = |t: libc::timeval| t.tv_sec as f64 * 1e6 + t.tv_usec as f64;
                (us(u.ru_utime) / N as f64, us(u.ru_stime) / N as f64) };
            let c = cpu(client, false); let a = cpu(agent, true); let w = cpu(worker, true);
            println!("{kind:5} CPU us a round trip, user+sys: client {:.1}+{:.1} agent {:.1}+{:.1} worker {:.1}+{:.1}", c.0, c.1, a.0, a.1, w.0, w.1);
            std::fs::remove_dir_all(&dir).unwrap();
        }
    }
}
fn report(mut t: Vec<u64>, rate: f64) {
    t.sort();
    println!("p50 {:.1} us  p90 {:.1}  p99 {:.1}   stream {:.0} k/s", t[t.len()/2] as f64/1e3, t[t.len()*9/10] as f64/1e3, t[t.len()*99/100] as f64/1e3, rate/1e3);
}
const HEADER: [u8; 60] = [7; 60];
const DATA: [u8; 100] = [9; 100];
const W: usize = 64;
const M: usize = 0;

fn raw_agent(dir: &std::path::Path) {
    std::fs::create_dir_all(dir).unwrap();
    let ctx = zmq::Context::new();
    let open = |name: &str| { let s = ctx.socket(zmq::ROUTER).unwrap(); s.set_sndhwm(0).unwrap(); s.set_rcvhwm(256).unwrap(); s.bind(&format!("ipc://{}/{name}.sock", dir.display())).unwrap(); s };
    let front = open("client"); let back = open("worker");
    let mut client = vec![]; let mut worker = vec![];
    let recv = |s: &zmq::Socket| -> Option<Vec<zmq::Message>> {
        let mut v = vec![]; let mut m = zmq::Message::new();
        if s.recv(&mut m, zmq::DONTWAIT).is_err() { return None; }
        loop { let more = m.get_more(); v.push(m); if !more { return Some(v); } m = zmq::Message::new(); s.recv(&mut m, zmq::DONTWAIT).unwrap(); }
    };
    loop {
        let mut items = [front.as_poll_item(zmq::POLLIN), back.as_poll_item(zmq::POLLIN)];
        zmq::poll(&mut items, 10_000).unwrap();
        while let Some(mut v) = recv(&front) { client = v[0].to_vec(); if worker.is_empty() { continue; } v[0] = zmq::Message::from(&worker[..]); back.send_multipart(v, zmq::DONTWAIT).unwrap(); }
        while let Some(mut v) = recv(&back) { worker = v[0].to_vec(); if client.is_empty() { continue; } v[0] = zmq::Message::from(&client[..]); front.send_multipart(v, zmq::DONTWAIT).unwrap(); }
    }
}
fn raw_worker(dir: &std::path::Path) {
    let ctx = zmq::Context::new(); let s = ctx.socket(zmq::DEALER).unwrap(); s.set_sndhwm(0).unwrap(); s.set_rcvhwm(0).unwrap();
    s.connect(&format!("ipc://{}/worker.sock", dir.display())).unwrap();
    s.send("hello", 0).unwrap();
    loop { let mut items = [s.as_poll_item(zmq::POLLIN)]; zmq::poll(&mut items, 10_000).unwrap();
        loop { let mut v = vec![]; let mut m = zmq::Message::new(); if s.recv(&mut m, zmq::DONTWAIT).is_err() { break; }
        loop { let more = m.get_more(); v.push(m); if !more { break; } m = zmq::Message::new(); s.recv(&mut m, zmq::DONTWAIT).unwrap(); }
        s.send_multipart(v, 0).unwrap(); } }
}
fn raw_client(dir: &std::path::Path) {
    let ctx = zmq::Context::new(); let s = ctx.socket(zmq::DEALER).unwrap(); s.set_sndhwm(0).unwrap(); s.set_rcvhwm(0).unwrap();
    s.connect(&format!("ipc://{}/client.sock", dir.display())).unwrap();
    let send = || s.send_multipart([&HEADER[..], &DATA[..]], 0).unwrap();
    let recv = |wait: i64| -> bool { let mut items = [s.as_poll_item(zmq::POLLIN)];
        let mut m = zmq::Message::new();
        loop { if s.recv(&mut m, zmq::DONTWAIT).is_ok() { break; } if zmq::poll(&mut items, wait).unwrap() == 0 { return false; } }
        while m.get_more() { m = zmq::Message::new(); s.recv(&mut m, zmq::DONTWAIT).unwrap(); } true };
    loop { send(); if recv(50) { break; } }
    while recv(100) {}
    let mut t = vec![];
    for i in 0..N + 2000 { let b = Instant::now(); send(); assert!(recv(10_000)); if i >= 2000 { t.push(b.elapsed().as_nanos() as u64); } }
    let b = Instant::now(); let (mut sent, mut got) = (0, 0);
    while got < M { while sent < M && sent - got < W { send(); sent += 1; } assert!(recv(10_000)); got += 1; }
    report(t, M as f64 / b.elapsed().as_secs_f64());
}
fn agent(dir: &std::path::Path) {
    let ctx = Context::new().unwrap(); let zap = Zap::start(&ctx).unwrap();
    let dir = PrivateDir::ensure(dir).unwrap();
    let mut front = Router::new(&ctx).unwrap(); front.watch().unwrap(); front.bind_ipc(&zap, IpcDomain::Client, &dir).unwrap();
    let mut back = Router::new(&ctx).unwrap(); back.watch().unwrap(); back.bind_ipc(&zap, IpcDomain::Worker, &dir).unwrap();
    let (_w, mut wake) = Waker::pair().unwrap();
    let mut client = None; let mut worker = None;
    loop {
        let [f, fe, b, be, w] = poll([Source::readable(&front), Source::connections(&front), Source::readable(&back), Source::connections(&back), Source::wake(&wake)], Some(Duration::from_secs(10))).unwrap();
        if w.any() { wake.reset(); }
        if fe.any() { while front.connection_event().unwrap().is_some() {} }
        if be.any() { while back.connection_event().unwrap().is_some() {} }
        if f.any() { while let Some(Incoming::Message(r)) = front.recv().unwrap() { client = Some(r.peer); if let Some(w) = worker { back.send_message(w, &r.message).unwrap(); } } }
        if b.any() { while let Some(Incoming::Message(r)) = back.recv().unwrap() { worker = Some(r.peer); if let Some(c) = client { front.send_message(c, &r.message).unwrap(); } } }
    }
}
fn worker(dir: &std::path::Path) {
    let ctx = Context::new().unwrap();
    let mut s = Dealer::connect(&ctx, &Endpoint::ipc(&dir.join("worker.sock")).unwrap(), None).unwrap();
    assert!(s.wait_connected(Instant::now() + Duration::from_secs(10)).unwrap());
    s.send(b"hello", &[]).unwrap();
    loop { poll([Source::readable(&s)], Some(Duration::from_secs(10))).unwrap(); while let Some(m) = s.recv().unwrap() { s.send_message(&m).unwrap(); } }
}
fn client(dir: &std::path::Path) {
    let ctx = Context::new().unwrap();
    let mut s = Dealer::connect(&ctx, &Endpoint::ipc(&dir.join("client.sock")).unwrap(), None).unwrap();
    assert!(s.wait_connected(Instant::now() + Duration::from_secs(10)).unwrap());
    let data = [Bytes::from_static(&DATA)];
    let ms = |n| Instant::now() + Duration::from_millis(n);
    loop { s.send(&HEADER, &data).unwrap(); if s.recv_until(ms(50)).unwrap().is_some() { break; } }
    while s.recv_until(ms(100)).unwrap().is_some() {}
    let mut t = vec![];
    for i in 0..N + 2000 { let b = Instant::now(); s.send(&HEADER, &data).unwrap(); assert!(s.recv_until(ms(10_000)).unwrap().is_some()); if i >= 2000 { t.push(b.elapsed().as_nanos() as u64); } }
    let b = Instant::now(); let (mut sent, mut got) = (0, 0);
    while got < M { while sent < M && sent - got < W { s.send(&HEADER, &data).unwrap(); sent += 1; } assert!(s.recv_until(ms(10_000)).unwrap().is_some()); got += 1; }
    report(t, M as f64 / b.elapsed().as_secs_f64());
}
