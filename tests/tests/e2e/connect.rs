//! A pilot of another machine, by way of a real sshd.

use std::net::TcpListener;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use scalems_tests::pilot::{Output, Pilot, Running, Sshd, process};
use scalems_transport::{ConnectionFile, Endpoint};

/// A pilot on a machine there, and a home here that has nothing to do with it.
struct Away {
    sshd: Option<Sshd>,
    pilot: Pilot,
    here: PathBuf,
}

impl Away {
    #[track_caller]
    fn new(options: &str) -> Option<Self> {
        let pilot = Pilot::start(options);
        let Some(sshd) = Sshd::start(&pilot.home) else {
            pilot.stop();
            return None;
        };
        let here = pilot.home.work().join("here");
        Some(Self {
            sshd: Some(sshd),
            pilot,
            here,
        })
    }

    /// What a command here begins with.
    fn before(&self) -> String {
        let ssh = self.sshd.as_ref().map(Sshd::before).unwrap_or_default();
        format!("{ssh} export SCALEMS_HOME={}; ", self.here.display())
    }

    #[track_caller]
    fn sh(&self, line: &str) -> Output {
        self.pilot.sh(&format!("{}{line}", self.before()))
    }

    /// Connects in front, and waits until the pilot is reached.
    #[track_caller]
    fn connect(&self, options: &str) -> Running {
        let before = self.before();
        let line = format!("sh -c '{before}exec scalems --output jsonl connect login.example.org {options}'");
        let tunnel = self.pilot.home.spawn(&line);
        tunnel.until_written("}\n");
        tunnel
    }

    fn file(&self, name: &str) -> PathBuf {
        self.here.join("pilots").join(name).join("client.json")
    }

    fn stop(mut self) {
        self.sshd.take().into_iter().for_each(Sshd::end);
        self.pilot.stop();
    }
}

fn port(file: &Path) -> u16 {
    let file = ConnectionFile::read(file).unwrap();
    match file.requests.tcp {
        Some(Endpoint::Tcp { port, .. }) => port,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_pilot_elsewhere_is_used_as_if_it_were_here() {
    let Some(away) = Away::new("--tcp") else { return };
    let mut tunnel = away.connect("");
    let file = away.file("default");
    assert_ne!(port(&file), port(&away.pilot.directory().join("client.json")));
    assert!(ConnectionFile::read(&file).unwrap().requests.ipc.is_none());
    assert!(
        file.with_file_name("observer.json").exists(),
        "what only looks is let in as well"
    );
    let said = away
        .sh("scalems submit --wait -- echo far && scalems logs last")
        .well();
    assert!(said.out.contains("far"), "{said:?}");
    away.sh("scalems worker list").well();
    away.sh("scalems connect login.example.org")
        .fails(1, &["is connected already, by process"]);
    // Under another name there may be a second way.
    let mut second = away.connect("--name other");
    away.sh("scalems --pilot other pilot info").well();
    for tunnel in [&mut tunnel, &mut second] {
        tunnel.signal(Signal::SIGINT);
        assert!(tunnel.status().success());
    }
    assert!(!file.parent().unwrap().exists(), "nothing of it is left");
    away.sh("scalems pilot info").fails(3, &["no pilot runs here"]);
    away.stop();
}

#[test]
fn a_tunnel_leads_to_where_the_agent_was_started_again() {
    let Some(mut away) = Away::new("--tcp") else {
        return;
    };
    let mut tunnel = away.connect("");
    let before = ConnectionFile::read(&away.pilot.directory().join("client.json")).unwrap();
    away.pilot.kill_agent();
    // Somebody else has the agent's ports now.
    let _taken: Vec<TcpListener> = [&before.requests, &before.stream]
        .into_iter()
        .filter_map(|addresses| match &addresses.tcp {
            Some(Endpoint::Tcp { host, port }) => TcpListener::bind((host.as_str(), *port)).ok(),
            _ => None,
        })
        .collect();
    away.pilot.resume("--tcp");
    tunnel.until_written("the tunnel leads there now");
    away.sh("scalems submit --wait -- true").well();
    // The pilot's end is the tunnel's.
    away.sh("scalems pilot stop").well();
    away.pilot.expect_end_of_agent();
    tunnel.until_written("pilot default has ended");
    assert!(tunnel.status().success());
    assert!(!away.file("default").exists());
    away.sshd.take().into_iter().for_each(Sshd::end);
    away.pilot.home.until_empty();
}

#[test]
fn a_tunnel_behind_stays_until_it_is_ended() {
    let Some(away) = Away::new("--tcp") else { return };
    let said = away
        .sh("scalems --output json connect login.example.org --detach -- -o Compression=yes")
        .well()
        .json();
    let pid = u32::try_from(said["pid"].as_u64().unwrap()).unwrap();
    away.sh("scalems submit --wait -- true").well();
    process::signal(pid, Signal::SIGTERM);
    assert!(process::wait_gone(
        pid,
        std::time::Instant::now() + scalems_tests::pilot::PATIENCE
    ));
    assert!(!away.file("default").exists());
    // One that is killed leaves a file that says so.
    let said = away
        .sh("scalems --output json connect login.example.org --detach")
        .well()
        .json();
    let pid = u32::try_from(said["pid"].as_u64().unwrap()).unwrap();
    process::signal(pid, Signal::SIGKILL);
    assert!(process::wait_gone(
        pid,
        std::time::Instant::now() + scalems_tests::pilot::PATIENCE
    ));
    away.sh("scalems pilot info").fails(3, &["no pilot runs here"]);
    let doctor = away.sh("scalems doctor");
    assert!(doctor.out.contains("the tunnel to it was killed"), "{doctor:?}");
    let mut again = away.connect("");
    again.signal(Signal::SIGTERM);
    assert!(again.status().success());
    away.stop();
}

#[test]
fn what_ssh_says_is_told() {
    let Some(away) = Away::new("") else { return };
    let connect = |options: &str| away.sh(&format!("scalems connect {options}"));
    connect("login.example.org").fails(1, &["listens on socket files only: start it with --tcp"]);
    connect("login.example.org --pilot nosuch").fails(1, &["no pilot called nosuch runs there"]);
    connect("login.example.org --dir /no/such").fails(1, &["no pilot in /no/such runs there"]);
    connect("-- -v").fails(2, &["HOST"]);
    connect("nosuch.invalid").fails(1, &["nosuch.invalid", "resolve"]);
    connect("login.example.org -- -p 1").fails(1, &["Connection refused"]);
    connect("login.example.org --detach -- -p 1").fails(1, &["Connection refused"]);
    away.sshd.as_ref().unwrap().forget_keys();
    connect("login.example.org").fails(1, &["ssh to login.example.org has ended", "Permission denied"]);
    assert!(!away.here.join("pilots").join("default").exists());
    away.stop();
}

#[test]
fn the_end_of_the_connection_is_the_end_of_the_tunnel() {
    let Some(mut away) = Away::new("--tcp") else {
        return;
    };
    let mut tunnel = away.connect("");
    away.sshd.take().into_iter().for_each(Sshd::cut);
    tunnel.until_written("ssh to login.example.org has ended");
    assert!(!tunnel.status().success());
    assert!(!away.file("default").exists(), "what leads nowhere is gone");
    away.stop();
}
