//! Input and output: kept, counted, capped, and never in the way of others.

use std::fs;

use bytes::Bytes;
use nix::sys::resource::{UsageWho, getrusage};
use scalems_agent::executor::{
    Capture, DEFAULT_TAIL, Exit, FileMade, LogFile, LogFileState, ProgramEvent, ProgramSpec, Stderr, Stdin,
    Stop,
};

use scalems_protocol::program::{Keep, Written};

use super::rig::{Rig, alone, shell, text};

#[test]
fn both_streams_are_kept_apart() {
    let outcome = Rig::new().run(shell("echo out; echo err >&2"));
    assert_eq!(
        (outcome.stdout.tail.as_slice(), outcome.stderr.tail.as_slice()),
        (&b"out\n"[..], &b"err\n"[..])
    );
    assert_eq!(
        (
            outcome.stdout.total_bytes,
            outcome.stdout.truncated,
            outcome.stdout.cut_off
        ),
        (4, false, false)
    );
}

#[test]
fn merged_streams_keep_their_order() {
    let mut spec = shell("for i in 1 2 3; do echo out $i; echo err $i >&2; done");
    spec.stderr = Stderr::Merged;
    let outcome = Rig::new().run(spec);
    assert_eq!(text(&outcome), "out 1\nerr 1\nout 2\nerr 2\nout 3\nerr 3\n");
    assert_eq!(outcome.stderr.total_bytes, 0);
}

#[test]
fn the_tail_is_the_end_and_says_what_is_missing() {
    let mut spec = shell("seq 100000");
    spec.stdout = Capture {
        tail_cap: 14,
        file: None,
    };
    let outcome = Rig::new().run(spec);
    assert_eq!(text(&outcome), "\n99999\n100000\n");
    assert_eq!(
        (outcome.stdout.total_bytes, outcome.stdout.truncated),
        (588_895, true)
    );
}

#[test]
fn a_log_file_holds_the_beginning_up_to_its_cap() {
    let directory = tempfile::tempdir().unwrap();
    let log = |name: &str, cap, made| Capture {
        tail_cap: 7,
        file: Some(LogFile {
            path: directory.path().join(name),
            cap,
            made,
            keep: Keep::All,
        }),
    };
    let mut spec = shell("seq 100000; echo one >&2");
    spec.stdout = log("out", 10, FileMade::AtStart);
    spec.stderr = Stderr::Separate(log("deep/err", 1000, FileMade::WhenUsed));
    let mut rig = Rig::new();
    let outcome = rig.run(spec);
    assert_eq!(
        fs::read(directory.path().join("out")).unwrap(),
        b"1\n2\n3\n4\n5\n"
    );
    assert_eq!(
        outcome.stdout.file,
        Some(LogFileState::Written {
            bytes: 10,
            capped: true
        })
    );
    assert_eq!(fs::read(directory.path().join("deep/err")).unwrap(), b"one\n");
    assert_eq!(
        outcome.stderr.file,
        Some(LogFileState::Written {
            bytes: 4,
            capped: false
        })
    );

    let mut spec = shell("exit 0");
    spec.stdout = log("empty", 10, FileMade::AtStart);
    spec.stderr = Stderr::Separate(log("never", 10, FileMade::WhenUsed));
    let outcome = rig.run(spec);
    assert_eq!(fs::read(directory.path().join("empty")).unwrap(), b"");
    assert!(!directory.path().join("never").exists());
    assert_eq!(outcome.stderr.file, Some(LogFileState::NotMade));
}

#[test]
fn large_input_passes_through_unharmed() {
    let data: Vec<u8> = (0..=255).cycle().take(32 << 20).collect();
    let mut spec = shell("cksum; cksum < /dev/null");
    spec.stdin = Stdin::Data(Bytes::from(data.clone()));
    let mut rig = Rig::new();
    let said = text(&rig.run(spec));
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("same"), &data).unwrap();
    let mut spec = shell("cksum < same; cksum < /dev/null");
    spec.cwd = Some(directory.path().to_owned());
    assert_eq!(said, text(&rig.run(spec)));
}

#[test]
fn input_and_output_at_once_do_not_block_each_other() {
    let mut spec = ProgramSpec::new(["/bin/cat"]);
    spec.stdin = Stdin::Data(Bytes::from(vec![b'x'; 8 << 20]));
    let outcome = Rig::new().run(spec);
    assert_eq!(
        (outcome.exit, outcome.stdout.total_bytes),
        (Exit::Exited(0), 8 << 20)
    );
}

#[test]
fn input_that_nobody_reads_is_no_fault() {
    let mut rig = Rig::new();
    for size in [0, 10, 10 << 20] {
        for script in ["exit 0", "exec 0<&-; echo closed", "head -c 5 >/dev/null"] {
            let mut spec = shell(script);
            spec.stdin = Stdin::Data(Bytes::from(vec![b'x'; size]));
            assert_eq!(rig.run(spec).exit, Exit::Exited(0), "{size} bytes, {script}");
        }
    }
}

#[test]
fn a_program_that_closes_its_output_is_still_waited_for() {
    let outcome = Rig::new().run(shell("echo before; exec 0<&- 1>&- 2>&-; sleep 0.3; exit 7"));
    assert_eq!(
        (outcome.exit, outcome.stdout.tail.as_slice()),
        (Exit::Exited(7), &b"before\n"[..])
    );
    assert!(outcome.wall_seconds > 0.25 && !outcome.stdout.cut_off);
}

#[test]
fn output_right_before_the_end_is_all_there() {
    let mut rig = Rig::new();
    for _ in 0..50 {
        let outcome = rig.run(shell("seq 10000"));
        assert_eq!(
            (outcome.stdout.total_bytes, outcome.stdout.cut_off),
            (48_894, false)
        );
    }
}

#[test]
fn a_flood_is_counted_and_takes_no_memory() {
    alone(|| {
        let mut rig = Rig::new();
        assert_eq!(rig.run(shell("exit 0")).exit, Exit::Exited(0));
        let before = getrusage(UsageWho::RUSAGE_SELF).unwrap().max_rss();
        let outcome = rig.run(shell("head -c 1073741824 /dev/zero; echo end"));
        let after = getrusage(UsageWho::RUSAGE_SELF).unwrap().max_rss();
        assert_eq!(outcome.stdout.total_bytes, (1 << 30) + 4);
        assert_eq!(outcome.stdout.tail.len(), 64 * 1024);
        assert!(outcome.stdout.tail.ends_with(b"\0end\n"));
        assert!(after - before < 4 * 1024, "{} KiB more", after - before);
    });
}

#[test]
fn a_flood_does_not_stall_others() {
    let mut rig = Rig::new();
    // More than there are spawners, so that each has one.
    let floods: Vec<u64> = (0..5)
        .map(|_| rig.start(ProgramSpec::new(["/usr/bin/yes"])))
        .collect();
    for flood in &floods {
        rig.started(*flood);
    }
    for number in 0..30 {
        assert_eq!(rig.output(&format!("echo {number}")), format!("{number}\n"));
    }
    for flood in floods {
        assert!(!rig.has_ended(flood));
        assert!(rig.executor.stop_program(flood, Stop::Kill, "enough"));
        let outcome = rig.ended(flood);
        assert_eq!(outcome.exit, Exit::Signaled(libc::SIGKILL));
        assert!(outcome.stdout.total_bytes > 1 << 20);
    }
}

/// The next answer to a reading: what was written, errors, and whether that is all.
fn said(rig: &mut Rig, reading: u64) -> (Written, Written, bool) {
    rig.wait_for("output", |event| match event {
        ProgramEvent::Output {
            id,
            stdout,
            stderr,
            over,
        } if *id == reading => Some((stdout.clone(), stderr.clone(), *over)),
        _ => None,
    })
}

#[test]
fn what_is_written_can_be_read_while_the_program_runs() {
    let mut rig = Rig::new();
    let key = rig.start(shell("echo one; echo wrong >&2; sleep 600"));
    rig.started(key);
    assert!(rig.executor.read_output(key, 1, (0, u64::MAX)));
    let (out, _, over) = said(&mut rig, 1);
    assert_eq!(
        (out.from, &out.bytes[..], out.total, over),
        (0, &b"one\n"[..], 4, false)
    );
    assert!(rig.executor.read_output(key, 2, (u64::MAX, 2)));
    let (out, err, _) = said(&mut rig, 2);
    assert_eq!(
        (&out.bytes[..], err.from, &err.bytes[..]),
        (&b""[..], 2, &b"ong\n"[..])
    );
    // Nothing more comes: it is told of the end.
    assert!(rig.executor.read_output(key, 3, (4, 6)));
    rig.executor.stop_program(key, Stop::Kill, "enough");
    let (out, err, over) = said(&mut rig, 3);
    assert_eq!((out.total, err.total, over), (4, 6, true));
    rig.ended(key);
    assert!(!rig.executor.read_output(key, 4, (0, 0)));
}

#[test]
fn of_a_flood_the_last_can_be_read() {
    let mut rig = Rig::new();
    let key = rig.start(shell("seq 100000; sleep 600"));
    let mut from = 0;
    let mut end = Vec::new();
    for reading in 1.. {
        assert!(rig.executor.read_output(key, reading, (from, u64::MAX)));
        let (out, ..) = said(&mut rig, reading);
        assert!(out.from >= from && out.bytes.len() <= DEFAULT_TAIL);
        from = out.from + out.bytes.len() as u64;
        assert_eq!(from, out.total);
        end.extend_from_slice(&out.bytes);
        if end.ends_with(b"\n100000\n") {
            break;
        }
    }
    assert_eq!(from, 588_895);
    rig.executor.stop_program(key, Stop::Kill, "enough");
    rig.ended(key);
}

#[test]
fn of_many_readings_the_oldest_are_answered_with_nothing() {
    let mut rig = Rig::new();
    let key = rig.start(shell("sleep 600"));
    rig.started(key);
    for reading in 1..=17 {
        assert!(rig.executor.read_output(key, reading, (0, 0)));
    }
    let (out, _, over) = said(&mut rig, 1);
    assert_eq!((out.total, over), (0, false));
    rig.executor.stop_program(key, Stop::Kill, "enough");
    for reading in 2..=17 {
        assert!(said(&mut rig, reading).2);
    }
    rig.ended(key);
}
