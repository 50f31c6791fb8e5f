//! When the worker dies, its programs die, with all they have started.

use std::io::{BufRead, BufReader};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use scalems_agent::executor::Config;

use super::rig::{Fifo, Rig, pidfd, wait_readable};

const HELPER: &str = "SCALEMS_TEST_WORKER";

/// Not a test by itself: the worker that the test below kills.
#[test]
fn worker_that_is_killed() {
    if std::env::var_os(HELPER).is_none() {
        return;
    }
    let mark = format!("SCALEMS_WORKER=test-{}", std::process::id());
    let mut rig = Rig::with(Config {
        worker_mark: Some(mark.clone()),
        ..Config::default()
    });
    let directory = tempfile::tempdir().unwrap();
    let mut fifo = Fifo::new(directory.path());
    let path = fifo.path.display().to_string();
    let (name, value) = mark.split_once('=').unwrap();
    let scripts = [
        // The program itself.
        format!("echo $$ > {path}; exec sleep 1000"),
        // What a shell has started.
        format!("sh -c 'echo $$ > {path}; exec sleep 1000'; true"),
        // One that ignores everything it can.
        format!("trap '' TERM HUP INT; sh -c 'echo $$ > {path}; exec sleep 1000' & wait"),
        // A daemon.
        format!("(setsid sh -c 'echo $$ > {path}; exec sleep 1000' &); exec sleep 1000"),
    ];
    let count = scripts.len();
    for script in scripts {
        let mut spec = super::rig::shell(&script);
        spec.env.push((name.into(), value.into()));
        rig.start(spec);
    }
    let pids: Vec<String> = (0..count).map(|_| fifo.line()).collect();
    println!("programs: {}", pids.join(" "));
    // Nothing more ever comes: here it is killed. The test's own deadline is the limit.
    fifo.line();
}

fn dies_by(signal: Signal) {
    let mut worker = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "worker_death::worker_that_is_killed",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(HELPER, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(worker.stdout.take().unwrap()).lines();
    let pids = loop {
        let line = lines.next().expect("the worker says what it runs").unwrap();
        if let Some((_, pids)) = line.split_once("programs: ") {
            break pids
                .split(' ')
                .map(|pid| pid.parse().unwrap())
                .collect::<Vec<i32>>();
        }
    };
    assert_eq!(pids.len(), 4);
    let watched: Vec<OwnedFd> = pids.iter().map(|pid| pidfd(*pid)).collect();
    kill(Pid::from_raw(worker.id() as i32), signal).unwrap();
    wait_readable(&watched.iter().map(AsFd::as_fd).collect::<Vec<_>>());
    worker.wait().unwrap();
}

#[test]
fn programs_die_with_a_worker_that_is_killed() {
    dies_by(Signal::SIGKILL);
}

#[test]
fn programs_die_with_a_worker_that_crashes() {
    dies_by(Signal::SIGABRT);
}
