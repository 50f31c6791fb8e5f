//! Workers that are started on other hosts by ssh: a real sshd on this one stands for them.

use std::time::Instant;

use nix::sys::signal::Signal;
use scalems_client::Session;
use scalems_tests::pilot::{Output, PATIENCE, Pilot, Running, Sshd, process, until_workers};

/// A pilot without workers, and hosts to start some on.
struct Hosts {
    sshd: Sshd,
    pilot: Pilot,
}

impl Hosts {
    #[track_caller]
    fn new(options: &str) -> Option<Self> {
        let pilot = Pilot::start(&format!("--no-workers {options}"));
        let Some(sshd) = Sshd::start(&pilot.home) else {
            pilot.stop();
            return None;
        };
        Some(Self { sshd, pilot })
    }

    #[track_caller]
    fn sh(&self, options: &str) -> Output {
        let before = self.sshd.before();
        self.pilot.sh(&format!("{before}scalems worker start {options}"))
    }

    #[track_caller]
    fn in_front(&self, options: &str) -> Running {
        let before = self.sshd.before();
        let line = format!("{before}exec scalems worker start {options}");
        self.pilot.home.spawn(&format!("sh -c '{line}'"))
    }

    fn stop(self) {
        self.sshd.end();
        self.pilot.stop();
    }
}

/// The names of the workers that are there, in order.
#[track_caller]
fn until_there(session: &Session, count: usize) -> Vec<String> {
    let rows = until_workers(session, |rows| {
        rows.iter().filter(|row| row.state == "active").count() == count
    });
    let mut names: Vec<String> = rows.into_iter().map(|row| row.name).collect();
    names.sort();
    names
}

#[test]
fn workers_on_other_hosts_live_as_long_as_the_command() {
    let Some(hosts) = Hosts::new("--tcp") else { return };
    let listed = hosts.pilot.home.write(
        "hosts",
        "# two of them\nn2.example.org\n\nroot@n3.example.org # here\n",
    );
    let mut workers = hosts.in_front(&format!(
        "--ssh n1.example.org --ssh-file {} --cores 1",
        listed.display()
    ));
    let said = workers.until_written("n3.example.org");
    assert_eq!(said.matches("joined").count(), 3, "{said}");
    let session = hosts.pilot.session();
    assert_eq!(
        until_there(&session, 3),
        ["n1.example.org", "n2.example.org", "n3.example.org"]
    );
    hosts.pilot.sh("scalems submit --array 0-5 --wait -- true").well();
    workers.signal(Signal::SIGINT);
    assert!(workers.status().success());
    until_there(&session, 0);
    drop(session);
    let left = hosts.pilot.sh("ls $TMPDIR | grep scalems-ssh");
    assert_eq!(left.out, "", "what was copied is gone");
    hosts.stop();
}

#[test]
fn workers_on_other_hosts_that_stay_end_with_the_pilot() {
    let Some(hosts) = Hosts::new("--tcp") else { return };
    let session = hosts.pilot.session();
    let before = hosts.sshd.before();
    let line = "scalems --output jsonl worker start --ssh n1.example.org --ssh n1.example.org --detach -- -o Compression=yes";
    let rows = hosts.pilot.sh(&format!("{before}{line}")).well().jsonl();
    assert_eq!(rows.len(), 2);
    for row in &rows {
        assert_eq!(
            (&row["host"], &row["state"]),
            (&"n1.example.org".into(), &"joined".into())
        );
        assert!(row["worker"].is_u64(), "{row}");
    }
    until_there(&session, 2);
    hosts.pilot.sh("scalems submit --array 0-5 --wait -- true").well();
    drop(session);
    hosts.stop();
}

#[test]
fn a_host_that_does_not_join_says_why() {
    let Some(hosts) = Hosts::new("--tcp") else { return };
    let some = hosts.sh("--ssh n1.example.org --ssh nosuch.invalid --detach");
    assert_eq!(some.code, 1, "{some:?}");
    assert!(
        some.out.contains("joined") && some.out.contains("failed") && some.out.contains("resolve"),
        "{some:?}"
    );
    let why = |options: &str, why: &str| {
        let said = hosts.sh(&format!("--ssh n1.example.org {options}"));
        assert!(said.code == 1 && said.out.contains(why), "{said:?}");
    };
    why("--remote-program /no/such/scalems", "there is no scalems");
    let stub = hosts
        .pilot
        .home
        .write("refuses", "#!/bin/sh\necho no licence here >&2; exit 3\n");
    hosts.pilot.sh(&format!("chmod +x {}", stub.display())).well();
    why(
        &format!("--remote-program {}", stub.display()),
        "no licence here (exit status: 3)",
    );
    why("-- -p 1", "Connection refused");
    let session = hosts.pilot.session();
    until_there(&session, 1);
    drop(session);
    hosts.sh("--ssh=-oProxyCommand=x").fails(2, &["is no host"]);
    hosts.sh("--detach").fails(2, &["--ssh"]);
    let listed = hosts.pilot.home.write("hosts", "n1\nn 2\n");
    hosts
        .sh(&format!("--ssh-file {}", listed.display()))
        .fails(2, &["hosts line 2", "is no host"]);
    hosts.stop();
}

#[test]
fn a_host_that_hangs_is_given_up_after_the_time_for_all() {
    let Some(hosts) = Hosts::new("--tcp") else { return };
    let stub = hosts.pilot.home.write("hangs", "#!/bin/sh\nexec sleep 1000\n");
    hosts.pilot.sh(&format!("chmod +x {}", stub.display())).well();
    let said = hosts.sh(&format!(
        "--ssh n1.example.org --remote-program {} --timeout 1s --detach",
        stub.display()
    ));
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.out.contains("has not joined within 1s"), "{said:?}");
    hosts.stop();
}

#[test]
fn only_a_pilot_that_other_hosts_reach_gets_workers_there() {
    let Some(hosts) = Hosts::new("") else { return };
    hosts
        .sh("--ssh n1.example.org")
        .fails(1, &["start it with --tcp=ADDRESS"]);
    hosts.stop();
}

#[test]
fn a_command_that_is_killed_takes_its_workers_along() {
    let Some(hosts) = Hosts::new("--tcp") else { return };
    let workers = hosts.in_front("--ssh n1.example.org");
    workers.until_written("joined");
    let session = hosts.pilot.session();
    until_there(&session, 1);
    workers.signal(Signal::SIGKILL);
    assert!(process::wait_gone(workers.pid(), Instant::now() + PATIENCE));
    until_there(&session, 0);
    drop((session, workers));
    hosts.stop();
}
