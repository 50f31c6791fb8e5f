//! A journal on a disk that is full: acknowledgements stop, reads go on, and all goes on when there is room.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use scalems_client::protocol::Code;
use scalems_client::{ClientError, Session, Task};
use scalems_tests::pilot::{PATIENCE, Pilot};
use tempfile::TempDir;

/// A small disk of its own.
struct Disk {
    directory: TempDir,
}

impl Disk {
    /// One of so many KiB; none where this may not be.
    fn new(kib: u32) -> Option<Self> {
        let directory = tempfile::Builder::new().prefix("scalems-d").tempdir().unwrap();
        let size = format!("size={kib}k");
        let mounted = mount(&["-t", "tmpfs", "-o", &size, "scalems-test"], directory.path());
        mounted.then_some(Self { directory })
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("journal.sqlite")
    }

    fn grow(&self, kib: u32) {
        let size = format!("remount,size={kib}k");
        assert!(mount(&["-o", &size], self.directory.path()));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let gone = Command::new("umount")
            .arg("--lazy")
            .arg(self.directory.path())
            .status();
        assert!(
            gone.is_ok_and(|status| status.success()),
            "a disk of a test stays"
        );
    }
}

fn mount(options: &[&str], at: &Path) -> bool {
    let run = Command::new("mount").args(options).arg(at).output();
    run.is_ok_and(|output| output.status.success())
}

/// Submits until nothing more is taken. Gives the submissions that were acknowledged.
fn fill(session: &Session, bytes: usize) -> Vec<u64> {
    let task = Task::new("scalems.echo").data(vec![7; bytes]);
    let until = Instant::now() + PATIENCE;
    let mut acknowledged = Vec::new();
    loop {
        assert!(Instant::now() < until, "{} were taken", acknowledged.len());
        match session.submit_held(&task, 0..1) {
            Ok(held) => acknowledged.push(held.submission),
            Err(ClientError::Refused { refusal, .. }) => {
                assert_eq!(refusal.code, Code::AgentFull, "{refusal}");
                return acknowledged;
            }
            // One that is on its way when the disk is full is neither taken nor refused.
            Err(ClientError::TimedOut { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_full_disk_stops_acknowledgements_and_nothing_else() {
    let may_skip = std::env::var("SCALEMS_NO_SKIP").unwrap_or_default().is_empty();
    for size in 2..=super::rounds(9, 64) {
        // In the database, or beside it.
        let bytes = if size % 2 == 0 { 8 << 10 } else { 60 << 10 };
        let Some(disk) = Disk::new(512 * size) else {
            assert!(may_skip, "a disk cannot be mounted here");
            return eprintln!("skipped: a disk cannot be mounted here");
        };
        let journal = format!("--journal={}", disk.path().display());
        let mut pilot = Pilot::start_alone(&format!("{journal} --no-workers"));
        let session = Session::options()
            .name("full")
            .answer_timeout(Duration::from_millis(500))
            .connect(pilot.directory())
            .unwrap();
        let before = fill(&session, bytes);
        assert!(
            before.len() >= 3,
            "{} of {bytes} bytes on {size} half MiB",
            before.len()
        );
        // Reads go on.
        let status = session.ask_status().unwrap();
        assert!(status.submissions >= before.len() as u64);
        disk.grow(64 << 10);
        let until = Instant::now() + PATIENCE;
        let task = Task::new("scalems.echo").data(vec![7; bytes]);
        let after = loop {
            match session.submit_held(&task, 0..1) {
                Ok(held) => break held.submission,
                Err(error) => assert!(Instant::now() < until, "with room: {error}"),
            }
        };
        drop(session);
        // Nothing that was acknowledged is missing, for another agent either.
        pilot.kill_agent();
        pilot.resume(&format!("{journal} --no-workers"));
        let listed = pilot.sh("scalems --output jsonl task list all").well().jsonl();
        let known: BTreeSet<u64> = listed
            .iter()
            .filter_map(|row| row["run"]["submission"].as_u64())
            .collect();
        let missing: Vec<_> = before
            .iter()
            .chain([&after])
            .filter(|submission| !known.contains(submission))
            .collect();
        assert!(missing.is_empty(), "{missing:?} of {}: {listed:?}", before.len());
        pilot.stop();
    }
}

#[test]
fn tasks_do_not_suffer_from_a_full_disk_of_their_logs() {
    let may_skip = std::env::var("SCALEMS_NO_SKIP").unwrap_or_default().is_empty();
    let Some(disk) = Disk::new(256) else {
        assert!(may_skip, "a disk cannot be mounted here");
        return eprintln!("skipped: a disk cannot be mounted here");
    };
    let pilot = Pilot::start(&format!(
        "--cores 1 --log-dir {}",
        disk.directory.path().display()
    ));
    let number = pilot.submit("--log --array 0-3 --shell -- 'seq 40000; echo end >&2'");
    pilot.sh(&format!("scalems wait {number} --timeout 60s")).well();
    let lost = |index: u32| {
        let result = pilot
            .sh(&format!("scalems task info {number}.{index} --output json"))
            .well()
            .json();
        let log = &result["result"]["log"];
        let lost = log["lost"]["disk"].as_u64().unwrap_or(0);
        assert_eq!(log["problem"].is_string(), lost > 0, "{log}");
        lost
    };
    assert!(lost(3) > 0, "all of it has no room");
    let warned = |pilot: &Pilot| pilot.log().matches("what tasks write cannot be logged").count();
    assert_eq!(warned(&pilot), 1, "{}", pilot.log());
    let said = pilot.sh(&format!("scalems logs {number}")).well();
    assert!(
        said.err.contains("the system refused to write it"),
        "{}",
        said.err
    );
    // What comes once there is room is whole, behind what could not be written.
    disk.grow(10_000);
    let number = pilot.submit("--log -- seq 40000");
    pilot.sh(&format!("scalems wait {number} --timeout 60s")).well();
    let all: String = (1..=40_000).map(|line| format!("{line}\n")).collect();
    assert!(pilot.sh(&format!("scalems logs {number}")).well().out == all);
    let from = format!("scalems logs --from {}", disk.directory.path().display());
    let sum = pilot.sh(&format!("{from} --summary --output json")).well().json();
    assert_eq!((&sum["damaged"], &sum["torn"]), (&0.into(), &0.into()));
    pilot.stop();
}
