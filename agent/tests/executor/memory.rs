//! Programs that use more memory than they asked for, and those beside them that do not.

use std::fs;
use std::process::Command;

use scalems_agent::executor::{
    Exit, MemoryCap, MemoryRule, MemoryWay, ProgramOutcome, ProgramSpec, Stop, StoppedBy, memory_rule,
};

use crate::rig::{Fifo, Rig, alone, shell};

const MIB: u64 = 1 << 20;

/// Holds so many MiB from then on, and says so where that is wanted.
const HOLD: &str = r#"hold() { exec perl -e 'my $n = shift; my $x = "x" x ($n << 20); if ($ENV{SAYS}) { open F, ">>", $ENV{SAYS}; print F "holds\n"; close F } sleep 600' "$1"; };"#;

fn capped(script: &str, mib: u64, way: MemoryWay) -> ProgramSpec {
    ProgramSpec {
        memory: Some(MemoryCap {
            bytes: mib * MIB,
            way,
        }),
        ..shell(&format!("{HOLD} {script}"))
    }
}

/// Says to this pipe once it holds what it is to hold.
fn saying(fifo: &Fifo, mut spec: ProgramSpec) -> ProgramSpec {
    spec.env.push(("SAYS".into(), fifo.path.clone().into()));
    spec
}

/// The ways that there are here: both, or only one where no control groups can be made.
fn ways() -> Vec<MemoryWay> {
    match memory_rule() {
        MemoryRule::Groups { .. } => vec![MemoryWay::Watched, MemoryWay::Enforced],
        MemoryRule::Watched { why } => {
            eprintln!("not enforced here: {why}");
            vec![MemoryWay::Watched]
        }
    }
}

#[track_caller]
fn ended_for_memory(outcome: &ProgramOutcome, mib: u64, way: MemoryWay) {
    let Some(StoppedBy::Memory { limit, used }) = outcome.stopped_by else {
        panic!("{way:?}: {outcome:?}");
    };
    assert_eq!(limit, mib * MIB, "{way:?}");
    if way == MemoryWay::Watched {
        let used = used.expect("it was looked at");
        assert!(used > limit && outcome.peak_memory_bytes >= used, "{outcome:?}");
    } else {
        assert!(outcome.peak_memory_bytes >= limit - MIB, "{outcome:?}");
    }
    assert_eq!(outcome.leftovers.remaining, 0, "{way:?}");
}

/// The control groups of this process that are not removed.
fn groups_left() -> Vec<String> {
    let MemoryRule::Groups { below, .. } = memory_rule() else {
        return Vec::new();
    };
    let own = format!("scalems-{}-", std::process::id());
    let all = fs::read_dir(below).unwrap();
    let names = all.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with(&own)).collect()
}

fn threads() -> Vec<String> {
    let all = fs::read_dir("/proc/self/task").unwrap();
    all.map(|entry| fs::read_to_string(entry.unwrap().path().join("comm")).unwrap_or_default())
        .collect()
}

#[test]
fn one_that_has_too_much_is_ended() {
    alone(|| {
        let mut rig = Rig::new();
        for way in ways() {
            let outcome = rig.run(capped("hold 300", 64, way));
            ended_for_memory(&outcome, 64, way);
            assert_eq!(outcome.exit, Exit::Signaled(9), "{way:?}");
        }
        assert_eq!(groups_left(), [""; 0]);
    });
}

#[test]
fn several_processes_have_too_much_together() {
    alone(|| {
        let mut rig = Rig::new();
        for way in ways() {
            // None of them has by itself, and the shell that waits for them has nothing.
            let script = "(hold 60) & (hold 60) & (setsid sh -c \"$(echo \"$HOLD\") hold 60\") & wait";
            let mut spec = capped(script, 140, way);
            spec.env.push(("HOLD".into(), HOLD.into()));
            let outcome = rig.run(spec);
            ended_for_memory(&outcome, 140, way);
        }
        assert_eq!(groups_left(), [""; 0]);
    });
}

#[test]
fn what_processes_share_is_counted_once() {
    let mut rig = Rig::new();
    let directory = tempfile::tempdir().unwrap();
    let mut fifo = Fifo::new(directory.path());
    // Five processes with the same 60 MiB, or with twice as much while it is copied.
    let script = r#"exec perl -e 'my $n = 60; my $x = "x" x ($n << 20); for (1..4) { if (!fork) { sleep 600; exit } } open F, ">>", $ENV{SAYS}; print F "holds\n"; close F; sleep 600'"#;
    for way in ways() {
        let key = rig.start(saying(&fifo, capped(script, 200, way)));
        assert_eq!(fifo.line(), "holds", "{way:?}");
        // The watcher has looked at it again by the time that another, which began later, was ended.
        let other = rig.run(capped("hold 300", 32, MemoryWay::Watched));
        ended_for_memory(&other, 32, MemoryWay::Watched);
        assert!(rig.executor.stop_program(key, Stop::Kill, "seen"));
        let outcome = rig.ended(key);
        assert!(
            matches!(outcome.stopped_by, Some(StoppedBy::Kill { .. })),
            "{way:?}: {outcome:?}"
        );
    }
}

#[test]
fn a_neighbour_is_not_harmed() {
    let mut rig = Rig::new();
    let directory = tempfile::tempdir().unwrap();
    let mut fifo = Fifo::new(directory.path());
    for way in ways() {
        let neighbour = rig.start(saying(&fifo, capped("hold 40", 150, way)));
        let free = rig.start(saying(&fifo, shell(&format!("{HOLD} hold 200"))));
        for _ in [neighbour, free] {
            assert_eq!(fifo.line(), "holds", "{way:?}");
        }
        for _ in 0..3 {
            ended_for_memory(&rig.run(capped("hold 200", 50, way)), 50, way);
        }
        for key in [neighbour, free] {
            assert!(rig.executor.stop_program(key, Stop::Kill, "seen"), "{way:?}");
            let outcome = rig.ended(key);
            assert!(
                matches!(outcome.stopped_by, Some(StoppedBy::Kill { .. })),
                "{way:?}: {outcome:?}"
            );
        }
    }
}

#[test]
fn the_kernel_misses_no_spike() {
    alone(|| {
        if !ways().contains(&MemoryWay::Enforced) {
            return;
        }
        let mut rig = Rig::new();
        let spike = r#"perl -e 'my $n = 300; my $x = "x" x ($n << 20);'; echo "code $?"; sleep 600"#;
        // The shell itself has done nothing wrong, and ends with what it started.
        let outcome = rig.run(capped(spike, 64, MemoryWay::Enforced));
        ended_for_memory(&outcome, 64, MemoryWay::Enforced);
        let swallowed = rig.run(capped(
            r#"perl -e 'my $n = 300; my $x = "x" x ($n << 20);'; exit 0"#,
            64,
            MemoryWay::Enforced,
        ));
        ended_for_memory(&swallowed, 64, MemoryWay::Enforced);
        assert_eq!(groups_left(), [""; 0]);
    });
}

#[test]
fn one_with_room_ends_as_without_a_cap() {
    alone(|| {
        let mut rig = Rig::new();
        for way in ways() {
            let outcome = rig.run(capped("echo well; exit 3", 500, way));
            assert_eq!(
                (outcome.exit, outcome.stdout.tail.as_slice()),
                (Exit::Exited(3), &b"well\n"[..])
            );
            assert_eq!(outcome.stopped_by, None, "{way:?}");
        }
        // As many at once as there is work for.
        let keys: Vec<u64> = (0..40)
            .map(|number| rig.start(capped(&format!("echo {number}"), 100, *ways().last().unwrap())))
            .collect();
        for key in keys {
            assert_eq!(rig.ended(key).exit, Exit::Exited(0));
        }
        assert_eq!(groups_left(), [""; 0]);
    });
}

#[test]
fn without_a_cap_nobody_watches() {
    alone(|| {
        let mut rig = Rig::new();
        let outcome = rig.run(shell("true"));
        assert_eq!((outcome.exit, outcome.peak_memory_bytes), (Exit::Exited(0), 0));
        let watches = |threads: Vec<String>| threads.iter().any(|name| name.starts_with("scalems-memory"));
        assert!(!watches(threads()));
        rig.run(capped("hold 300", 64, MemoryWay::Watched));
        assert!(watches(threads()));
    });
}

#[test]
fn groups_of_a_worker_that_is_gone_are_dropped() {
    let MemoryRule::Groups { below, .. } = memory_rule() else {
        return;
    };
    // A process that has ended, and one that runs: this one's may be in use.
    let mut gone = Command::new("true").spawn().unwrap();
    gone.wait().unwrap();
    let old = below.join(format!("scalems-{}-1-7", gone.id()));
    fs::create_dir(&old).unwrap();
    let mut rig = Rig::new();
    rig.run(capped("true", 100, MemoryWay::Enforced));
    assert!(!old.exists());
}
