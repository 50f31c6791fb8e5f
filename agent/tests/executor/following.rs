//! Programs that start when others are over, without a way through the caller.

use scalems_agent::executor::{Exit, ProgramEvent, StartError, Stop};

use super::rig::{Fifo, Rig, shell};

/// Starts a shell script behind the program with the key `after`.
fn behind(rig: &mut Rig, key: u64, script: &str, after: u64) {
    rig.executor
        .start_program_after(key, shell(script), after)
        .unwrap();
}

fn stopped_before(exit: &Exit) -> bool {
    matches!(exit, Exit::NotStarted(StartError::StoppedBefore { .. }))
}

#[test]
fn one_starts_when_the_other_is_over_and_not_before() {
    let mut rig = Rig::new();
    let directory = tempfile::tempdir().unwrap();
    let mark = directory.path().join("mark");
    let mut fifo = Fifo::new(directory.path());
    let first = rig.start(shell(&format!(
        "echo > {}; sleep 0.2; echo over > {}",
        fifo.path.display(),
        mark.display()
    )));
    behind(&mut rig, 100, &format!("cat {}", mark.display()), first);
    behind(&mut rig, 101, &format!("cat {}", mark.display()), 100);
    fifo.line();
    let mut order = Vec::new();
    while order.len() < 6 {
        order.push(rig.wait_for("event", |event| match event {
            ProgramEvent::Started { key, .. } => Some((*key, "starts")),
            ProgramEvent::Ended { key, outcome } => {
                assert_eq!(outcome.exit, Exit::Exited(0));
                Some((*key, "ends"))
            }
            ProgramEvent::Stuck { .. } | ProgramEvent::Output { .. } => None,
        }));
    }
    let expected = [first, 100, 101].map(|key| [(key, "starts"), (key, "ends")]);
    assert_eq!(order, expected.concat());
}

#[test]
fn behind_what_is_over_one_starts_at_once() {
    let mut rig = Rig::new();
    let first = rig.start(shell("true"));
    rig.ended(first);
    behind(&mut rig, 100, "echo here", first);
    assert_eq!(rig.ended(100).stdout.tail, b"here\n");
    behind(&mut rig, 101, "echo here", 9_999);
    assert_eq!(rig.ended(101).stdout.tail, b"here\n");
}

#[test]
fn who_waits_behind_another_can_be_taken_back_and_stopped() {
    let mut rig = Rig::new();
    let directory = tempfile::tempdir().unwrap();
    let mut fifo = Fifo::new(directory.path());
    let first = rig.start(shell(&format!("echo > {}; exec sleep 1000", fifo.path.display())));
    fifo.line();
    behind(&mut rig, 100, "echo never", first);
    rig.executor.recall(100);
    assert!(stopped_before(&rig.ended(100).exit));
    behind(&mut rig, 101, "echo never", first);
    assert!(rig.executor.stop_program(101, Stop::Request, "by a test"));
    assert!(stopped_before(&rig.ended(101).exit));
    // What runs is not taken back.
    rig.executor.recall(first);
    behind(&mut rig, 102, "echo after all", first);
    assert!(rig.executor.stop_program(first, Stop::Kill, "by a test"));
    assert_eq!(rig.ended(first).exit, Exit::Signaled(9));
    assert_eq!(rig.ended(102).stdout.tail, b"after all\n");
}

#[test]
fn several_behind_one_start_one_after_the_other() {
    let mut rig = Rig::new();
    let directory = tempfile::tempdir().unwrap();
    let mut fifo = Fifo::new(directory.path());
    let first = rig.start(shell(&format!("echo > {}; sleep 0.2", fifo.path.display())));
    fifo.line();
    for key in 100..103 {
        behind(&mut rig, key, "sleep 0.05", first);
    }
    behind(&mut rig, 103, "true", 100);
    rig.executor.recall(101);
    assert!(stopped_before(&rig.ended(101).exit));
    let mut order = Vec::new();
    while order.len() < 6 {
        order.extend(rig.wait_for("event", |event| match event {
            ProgramEvent::Started { key, .. } if *key >= 100 => Some(Some((*key, "starts"))),
            ProgramEvent::Ended { key, .. } if *key >= 100 => Some(Some((*key, "ends"))),
            _ => Some(None),
        }));
    }
    let expected = [100, 102, 103].map(|key| [(key, "starts"), (key, "ends")]);
    assert_eq!(order, expected.concat());
}
