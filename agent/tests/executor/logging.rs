//! The packed log: all output of many programs in few files.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use scalems_agent::executor::{
    Config, Exit, LogPlace, PackedOutput, ProgramEvent, ProgramOutcome, ProgramSpec,
};
use scalems_protocol::TaskId;
use scalems_protocol::packed::{Attempt, FileStart, Look, Record, Stream, Why, look};
use scalems_protocol::program::{Keep, Log, Logged};

use super::rig::{Rig, shell};

fn rig(directory: &Path, limit: u64) -> Rig {
    Rig::with(Config {
        log: Some(LogPlace {
            directory: directory.join("logs"),
            name: "worker".into(),
            limit,
            about: FileStart::default(),
        }),
        ..Config::default()
    })
}

fn task(index: u32, log: Log, script: &str) -> ProgramSpec {
    let of = Attempt {
        task: TaskId { submission: 1, index },
        incarnation: 1,
        attempt: 1,
    };
    ProgramSpec {
        log: Some(PackedOutput { of, log }),
        ..shell(script)
    }
}

/// The records of all files, with their bodies, in order.
fn records(directory: &Path) -> Vec<(Record, Vec<u8>)> {
    let mut names: Vec<_> = fs::read_dir(directory.join("logs"))
        .map(|entries| entries.map(|entry| entry.unwrap().path()).collect())
        .unwrap_or_default();
    names.sort();
    let mut found = Vec::new();
    for name in names {
        let bytes = fs::read(name).unwrap();
        let mut at = 0;
        while at < bytes.len() {
            let Look::Found(here) = look(at as u64, &bytes[at..]) else {
                panic!("no record at {at}")
            };
            let body = &bytes[at + here.body_at..at + here.bytes()];
            assert!(here.is_body(body));
            at += here.bytes();
            found.push((here.record.unwrap(), body.to_vec()));
        }
    }
    found
}

/// What each task wrote on a stream.
fn output(directory: &Path, stream: Stream) -> BTreeMap<u32, Vec<u8>> {
    let mut all: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
    for (record, body) in records(directory) {
        if let Record::Bytes(piece) = record
            && piece.stream == stream
        {
            let output = all.entry(piece.of.task.index).or_default();
            assert_eq!(piece.from, output.len() as u64);
            output.extend(body);
        }
    }
    all
}

fn logged(outcome: &ProgramOutcome) -> &Logged {
    outcome.log.as_ref().expect("it was to be logged")
}

#[test]
fn all_output_of_many_programs_is_in_one_file() {
    let directory = tempfile::tempdir().unwrap();
    let mut rig = rig(directory.path(), 1 << 30);
    let keys: Vec<_> = (0..50)
        .map(|index| {
            let script = format!("seq {} ; echo {index} >&2; exit {}", 1000 * index, index % 3);
            rig.start(task(index, Log::default(), &script))
        })
        .collect();
    let outcomes: Vec<_> = keys.into_iter().map(|key| rig.ended(key)).collect();
    assert_eq!(fs::read_dir(directory.path().join("logs")).unwrap().count(), 1);
    let (out, err) = (
        output(directory.path(), Stream::Stdout),
        output(directory.path(), Stream::Stderr),
    );
    let records = records(directory.path());
    for (index, outcome) in (0..).zip(&outcomes) {
        let lines: String = (1..=1000 * index).map(|line| format!("{line}\n")).collect();
        assert_eq!(out.get(&index).cloned().unwrap_or_default(), lines.as_bytes());
        assert_eq!(err[&index], format!("{index}\n").as_bytes());
        let kept = logged(outcome);
        assert_eq!(kept.stdout, outcome.stdout.total_bytes);
        assert!(kept.lost.is_empty() && kept.from < kept.upto, "{kept:?}");
        let ends = records.iter().filter(|(record, _)| {
            matches!(record, Record::End(end) if end.of.task.index == index
                && end.exit_code == Some(index as i32 % 3) && end.stdout == kept.stdout)
        });
        assert_eq!(ends.count(), 1);
    }
}

#[test]
fn of_what_ends_well_nothing_is_left_if_only_failures_are_kept() {
    let directory = tempfile::tempdir().unwrap();
    let mut rig = rig(directory.path(), 1 << 30);
    let log = Log {
        keep: Keep::Failed,
        ..Log::default()
    };
    // Little, which waits in memory, and much, which does not.
    for (index, lines) in [(0, 10), (1, 200_000)] {
        let outcome = rig.run(task(index, log, &format!("seq {lines}")));
        assert_eq!(
            (outcome.exit.clone(), logged(&outcome)),
            (Exit::Exited(0), &Logged::default())
        );
    }
    assert!(records(directory.path()).is_empty());
    for (index, lines) in [(2, 10), (3, 200_000)] {
        let outcome = rig.run(task(index, log, &format!("seq {lines}; echo wrong >&2; exit 1")));
        assert_eq!(logged(&outcome).stdout, outcome.stdout.total_bytes);
    }
    let out = output(directory.path(), Stream::Stdout);
    assert_eq!(out.keys().copied().collect::<Vec<_>>(), [2, 3]);
    let lines: String = (1..=200_000).map(|line| format!("{line}\n")).collect();
    assert!(out[&3] == lines.as_bytes());
    assert_eq!(output(directory.path(), Stream::Stderr)[&3], b"wrong\n");
    assert_eq!(
        fs::read_dir(directory.path().join("logs")).unwrap().count(),
        1,
        "what waited is gone"
    );
}

#[test]
fn what_is_over_the_cap_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let mut rig = rig(directory.path(), 1 << 30);
    let log = Log {
        cap: 5,
        ..Log::default()
    };
    let outcome = rig.run(task(0, log, "echo 0123456789; echo ab >&2"));
    let kept = logged(&outcome);
    assert_eq!((kept.stdout, kept.stderr), (5, 3));
    assert_eq!(kept.lost, BTreeMap::from([(Why::Cap, 6)]));
    let lost = records(directory.path())
        .into_iter()
        .find_map(|(record, _)| match record {
            Record::Lost(lost) => Some((lost.stream, lost.from, lost.bytes, lost.why)),
            _ => None,
        });
    assert_eq!(lost, Some((Stream::Stdout, 5, 6, Why::Cap)));
    assert_eq!(outcome.stdout.tail, b"0123456789\n", "the tail has it");
}

#[test]
fn what_comes_too_fast_is_counted_and_keeps_nobody_up() {
    let directory = tempfile::tempdir().unwrap();
    let mut rig = rig(directory.path(), 1 << 30);
    let log = Log {
        rate: Some(1_000),
        ..Log::default()
    };
    let outcome = rig.run(task(0, log, "head -c 10000000 /dev/zero"));
    let kept = logged(&outcome);
    assert!(kept.stdout >= 1_000, "{kept:?}");
    assert_eq!(kept.stdout + kept.lost[&Why::Rate], 10_000_000);
    let bodies = records(directory.path());
    assert_eq!(
        bodies.iter().map(|(_, body)| body.len() as u64).sum::<u64>(),
        kept.stdout
    );
}

#[test]
fn over_the_bound_of_all_files_output_is_dropped_and_programs_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let mut rig = rig(directory.path(), 4 << 20);
    let outcomes: Vec<_> = (0..4)
        .map(|index| rig.run(task(index, Log::default(), "head -c 1600000 /dev/zero")))
        .collect();
    let names: Vec<_> = fs::read_dir(directory.path().join("logs")).unwrap().collect();
    let bytes: u64 = names
        .iter()
        .map(|name| name.as_ref().unwrap().metadata().unwrap().len())
        .sum();
    assert!(
        bytes <= (4 << 20) + 10_000 && names.len() > 1,
        "{bytes} in {names:?}"
    );
    let dropped = outcomes.iter().map(|outcome| {
        assert_eq!(outcome.exit, Exit::Exited(0));
        let kept = logged(outcome);
        let lost = kept.lost.get(&Why::Room).copied().unwrap_or(0);
        assert_eq!(kept.stdout + lost, 1_600_000);
        lost
    });
    assert!(dropped.sum::<u64>() > 2_000_000);
    // The first is spread over files, and its place says so.
    let first = logged(&outcomes[0]);
    assert!(first.file.ends_with("worker.0001.packed") && first.last == "worker.0002.packed");
}

#[test]
fn a_program_does_not_suffer_from_where_its_log_cannot_be() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("logs"), "no directory").unwrap();
    let mut rig = rig(directory.path(), 1 << 30);
    let outcome = rig.run(task(0, Log::default(), "echo hello"));
    assert_eq!(outcome.exit, Exit::Exited(0));
    let kept = logged(&outcome);
    assert_eq!(kept.lost, BTreeMap::from([(Why::Disk, 6)]));
    assert!(kept.problem.contains("Not a directory"), "{kept:?}");
    // Once it can be, what comes then is there.
    fs::remove_file(directory.path().join("logs")).unwrap();
    let outcome = rig.run(task(1, Log::default(), "echo again"));
    assert_eq!(logged(&outcome).stdout, 6);
    assert_eq!(output(directory.path(), Stream::Stdout)[&1], b"again\n");
}

#[test]
fn what_was_written_is_there_also_of_programs_that_end_with_the_worker() {
    let directory = tempfile::tempdir().unwrap();
    let mut rig = rig(directory.path(), 1 << 30);
    let key = rig.start(task(0, Log::default(), "echo begun; exec sleep 1000"));
    rig.started(key);
    assert!(rig.executor.read_output(key, 1, (0, 0)));
    rig.wait_for("its output", |event| {
        matches!(event, ProgramEvent::Output { stdout, .. } if !stdout.bytes.is_empty()).then_some(())
    });
    rig.executor
        .shutdown(Instant::now() + Duration::from_secs(20))
        .unwrap();
    let outcome = rig.ended(key);
    assert_eq!(logged(&outcome).stdout, 6);
    assert_eq!(output(directory.path(), Stream::Stdout)[&0], b"begun\n");
}
