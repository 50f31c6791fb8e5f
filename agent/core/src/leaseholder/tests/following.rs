//! Tasks that take no time are handed to the shell one behind another.

use scalems_protocol::worker::WorkerStop;

use super::*;

/// A worker with one core, which runs the first of four tasks.
fn busy() -> Rig {
    let mut rig = Rig::with(Settings {
        quick_us: 10_000,
        ..settings(1)
    })
    .join();
    let out = rig.say(lease(program(1), run(1, 0, 4)));
    // How long such a task takes is not known yet.
    assert_eq!(order(&out), [(1, 0, None)]);
    rig
}

/// Keys, offsets, and which task each waits for.
fn order(out: &[Output]) -> Vec<(u64, u32, Option<u64>)> {
    let starts = starts(out).into_iter();
    starts
        .map(|lease| (lease.key, lease.offset, lease.after))
        .collect()
}

fn over(key: u64, outcome: Outcome) -> Input {
    Input::Ended { key, outcome }
}

#[test]
fn a_quick_task_waits_in_the_shell_for_the_one_before_it() {
    let mut rig = busy();
    let out = rig.at(1_000, [Input::Started { key: 1 }, over(1, done())]);
    assert_eq!(order(&out), [(2, 1, None), (3, 2, Some(2))]);
    assert!(starts(&out).iter().all(|lease| lease.cpus == [0]));
    let out = rig.at(2_000, [over(2, done()), Input::Started { key: 3 }]);
    assert_eq!(order(&out), [(4, 3, Some(3))]);
    let out = rig.at(3_000, [over(3, done()), over(4, done())]);
    assert_eq!(order(&out), []);
    // The core is free again.
    let out = rig.say(lease(program(1), run(2, 0, 1)));
    assert_eq!(order(&out), [(5, 0, None)]);
}

#[test]
fn who_waits_for_too_long_goes_back_to_the_front() {
    let mut rig = busy();
    let out = rig.at(1_000, [Input::Started { key: 1 }, over(1, done())]);
    assert_eq!(order(&out), [(2, 1, None), (3, 2, Some(2))]);
    let hash = rig.hash();
    let out = rig.at(21_000, [Input::Started { key: 2 }]);
    assert!(
        out.iter()
            .any(|output| matches!(output, Output::Recall { key: 3 })),
        "{out:?}"
    );
    // Nobody waits for that one any more.
    assert_eq!(order(&rig.at(22_000, [over(3, stopped())])), []);
    assert_ne!(rig.hash(), hash, "the other was told to run");
    let out = rig.at(23_000, [over(2, done())]);
    assert_eq!(order(&out), [(4, 2, None), (5, 3, Some(4))]);
}

#[test]
fn a_worker_that_drains_takes_back_who_waits() {
    let mut rig = busy();
    rig.at(1_000, [Input::Started { key: 1 }, over(1, done())]);
    let out = rig.say(WorkerStop {
        drain_ms: 60_000,
        reason: String::new(),
    });
    assert!(
        out.iter()
            .any(|output| matches!(output, Output::Recall { key: 3 })),
        "{out:?}"
    );
    let out = rig.at(2_000, [over(3, stopped())]);
    assert_eq!(report(&out).0.returned, [run(1, 2, 3)]);
}
