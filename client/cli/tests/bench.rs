//! `scalems bench` runs, prints what it documents, and leaves nothing behind. No figure is judged: that is not
//! for a machine that does something else besides.

#![allow(clippy::unwrap_used, reason = "a test may fail here")]

use std::process::{Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// Fields of every measurement; the value of some is null.
const FIELDS: [&str; 17] = [
    "workload",
    "n",
    "transport",
    "curve",
    "journal",
    "seconds",
    "rate",
    "p50_ms",
    "p99_ms",
    "limit",
    "limit_rate",
    "limit_p50_ms",
    "ratio",
    "agent_cpu_s",
    "worker_cpu_s",
    "client_cpu_s",
    "agent_peak_rss_mb",
];

/// What a measurement puts into a temporary directory, this one's own.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_scalems"));
        command
            .arg("bench")
            .args(args)
            .env("TMPDIR", self.0.path())
            .stdin(Stdio::null());
        command
    }

    fn bench(&self, args: &[&str]) -> Value {
        let output = self.command(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", errors(&output));
        assert_eq!(errors(&output), "");
        self.nothing_is_left();
        let row: Value = serde_json::from_slice(&output.stdout).unwrap();
        for field in FIELDS {
            assert!(row.get(field).is_some(), "{field} is not in {row}");
        }
        row
    }

    fn nothing_is_left(&self) {
        let left: Vec<_> = std::fs::read_dir(self.0.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        assert!(left.is_empty(), "{left:?}");
        let mine = self.0.path().to_str().unwrap();
        for process in std::fs::read_dir("/proc").unwrap().flatten() {
            // A process that has ended meanwhile has no command line.
            let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
            assert!(
                !String::from_utf8_lossy(&line).contains(mine),
                "{} still runs",
                process.path().display()
            );
        }
    }
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn number(row: &Value, field: &str) -> f64 {
    row[field]
        .as_f64()
        .unwrap_or_else(|| panic!("{field} is no number in {row}"))
}

#[test]
fn latency_is_measured_beside_raw_sockets() {
    let row = Place::new().bench(&["latency", "-n", "20", "--output", "json"]);
    assert_eq!(row["workload"], "latency");
    assert_eq!(row["n"], 20);
    assert_eq!(row["transport"], "ipc");
    assert_eq!(row["curve"], false);
    assert_eq!(row["journal"], "none");
    assert_eq!(row["limit"], "libzmq-3-party-ping-pong");
    assert!(number(&row, "p50_ms") <= number(&row, "p99_ms"));
    let ratio = number(&row, "p50_ms") / number(&row, "limit_p50_ms");
    assert!((ratio - number(&row, "ratio")).abs() < 0.01 * ratio, "{row}");
    assert!(number(&row, "agent_peak_rss_mb") > 0.0);
}

#[test]
fn noop_is_measured_beside_raw_sockets() {
    let row = Place::new().bench(&["noop", "-n", "2000", "--output", "jsonl"]);
    assert_eq!(row["workload"], "noop");
    assert_eq!(row["n"], 2000);
    assert_eq!(row["limit"], "libzmq-3-party-1-per-message");
    assert!(row["p50_ms"].is_null());
    // As printed, the seconds have four decimals: they may be off by half of the last.
    let exact = 2000.0 / number(&row, "rate");
    assert!((exact - number(&row, "seconds")).abs() <= 0.0001, "{row}");
    assert!(number(&row, "limit_rate_64") > 0.0);
}

#[test]
fn the_other_workloads_run_encrypted_as_well() {
    let place = Place::new();
    for (workload, n) in [
        ("array", "100"),
        ("spawn", "10"),
        ("payload", "3"),
        ("startup", "1"),
        ("memory", "2000"),
    ] {
        let row = place.bench(&[workload, "-n", n, "--transport", "tcp", "--output", "json"]);
        assert_eq!(row["workload"], workload);
        assert_eq!(row["curve"], true);
        assert_eq!(row["transport"], "tcp");
        assert!(number(&row, "seconds") > 0.0);
    }
}

#[test]
fn people_see_a_table() {
    let output = Place::new().command(&["array", "-n", "10"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(lines[0].starts_with("workload"));
    assert!(lines[1].starts_with("array"));
}

#[test]
fn an_interrupted_measurement_leaves_nothing_behind() {
    let place = Place::new();
    // Without work to wait for: the measurement itself lasts longer than any test.
    let mut child = place
        .command(&["idle", "-n", "3600", "--output", "json"])
        .spawn()
        .unwrap();
    // What it has begun by then does not matter, once it is past its own beginning.
    while std::fs::read_dir(place.0.path()).unwrap().next().is_none() {
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        std::thread::yield_now();
    }
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    place.nothing_is_left();
}

#[test]
fn usage_errors_start_nothing() {
    let place = Place::new();
    for args in [
        &["all", "-n", "5"][..],
        &["noop", "-n", "0"],
        &["noop", "--transport", "udp"],
    ] {
        let output = place.command(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", errors(&output));
    }
}
