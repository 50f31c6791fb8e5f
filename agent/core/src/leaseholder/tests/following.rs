//! Tasks that take no time are handed to the shell one behind another.

use scalems_protocol::worker::WorkerStop;

use super::*;

/// A worker with one core, which runs the first of so many tasks.
fn busy(count: u32) -> Rig {
    let mut rig = Rig::with(Settings {
        quick_us: 10_000,
        ..settings(1)
    })
    .join();
    let out = rig.say(lease(program(1), run(1, 0, count)));
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

/// The end of a task that ran so long.
fn ran(key: u64, ran_us: Micros) -> Input {
    over(key, Outcome { ran_us, ..done() })
}

#[test]
fn a_quick_task_waits_in_the_shell_for_the_one_before_it() {
    let mut rig = busy(4);
    let out = rig.at(1_000, [Input::Started { key: 1 }, ran(1, 6_000)]);
    assert_eq!(order(&out), [(2, 1, None), (3, 2, Some(2))]);
    assert!(starts(&out).iter().all(|lease| lease.cpus == [0]));
    let out = rig.at(2_000, [ran(2, 6_000), Input::Started { key: 3 }]);
    assert_eq!(order(&out), [(4, 3, Some(3))]);
    let out = rig.at(3_000, [over(3, done()), over(4, done())]);
    assert_eq!(order(&out), []);
    // The core is free again.
    let out = rig.say(lease(program(1), run(2, 0, 1)));
    assert_eq!(order(&out), [(5, 0, None)]);
}

#[test]
fn who_waits_for_too_long_goes_back_to_the_front() {
    let mut rig = busy(4);
    let out = rig.at(1_000, [Input::Started { key: 1 }, ran(1, 6_000)]);
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
    let out = rig.at(23_000, [ran(2, 6_000)]);
    assert_eq!(order(&out), [(4, 2, None), (5, 3, Some(4))]);
}

#[test]
fn a_worker_that_drains_takes_back_who_waits() {
    let mut rig = busy(4);
    rig.at(1_000, [Input::Started { key: 1 }, ran(1, 6_000)]);
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

#[test]
fn a_line_holds_what_is_over_soon_and_closes_up() {
    let mut rig = busy(6);
    let out = rig.at(1_000, [Input::Started { key: 1 }, ran(1, 3_000)]);
    let line = [(2, 1, None), (3, 2, Some(2)), (4, 3, Some(3)), (5, 4, Some(4))];
    assert_eq!(order(&out), line);
    // Who leaves it from the middle is followed by nobody, and there is room behind the last.
    rig.say(revoke(vec![run(1, 3, 4)], Strength::Request));
    let out = rig.at(2_000, [over(4, stopped())]);
    assert_eq!(order(&out), [(6, 5, Some(5))]);
    for key in [2, 3, 5] {
        assert_eq!(order(&rig.at(3_000, [ran(key, 3_000)])), []);
    }
    let out = rig.say(lease(program(1), run(2, 0, 1)));
    assert_eq!(order(&out), [(7, 0, Some(6))], "the core is the last one's");
}

#[test]
fn nobody_waits_behind_one_that_takes_long() {
    let mut rig = busy(5);
    let out = rig.at(1_000, [Input::Started { key: 1 }, ran(1, 4_000)]);
    assert_eq!(order(&out), [(2, 1, None), (3, 2, Some(2)), (4, 3, Some(3))]);
    let recalled = |out: &[Output]| {
        let keys = out.iter().filter_map(|output| match output {
            Output::Recall { key } => Some(*key),
            _ => None,
        });
        keys.collect::<Vec<u64>>()
    };
    assert_eq!(recalled(&rig.at(21_000, [Input::Started { key: 2 }])), [4, 3]);
    assert_eq!(
        order(&rig.at(22_000, [over(4, stopped()), over(3, stopped())])),
        []
    );
    let out = rig.at(23_000, [ran(2, 4_000)]);
    let offsets: Vec<u32> = order(&out).iter().map(|(_, offset, _)| *offset).collect();
    assert_eq!(offsets, [2, 3, 4]);
}

#[test]
fn functions_wait_in_longer_lines_and_beside_programs() {
    let settings = settings(1);
    let modes = ["task.function".to_owned(), MODE.to_owned()].into();
    let mut rig = Rig::with(Settings {
        quick_us: 10_000,
        modes,
        ..settings
    })
    .join();
    let out = rig.say(lease(template("task.function"), run(1, 0, 500)));
    assert_eq!(order(&out), [(1, 0, None)]);
    // It took no time that could be measured: as many as there may be stand behind the next one.
    let out = rig.at(1_000, [ran(1, 0)]);
    let all = order(&out);
    assert_eq!(all.len(), 1 + 256);
    assert!(all.windows(2).all(|two| two[1].2 == Some(two[0].0)), "{all:?}");
    assert!(starts(&out).iter().all(|lease| lease.cpus == [0]));
    // Each that is over makes room for another one.
    let out = rig.at(2_000, (2..52).map(|key| ran(key, 0)));
    assert_eq!(order(&out).len(), 50);
    // How quick functions are says nothing of programs, and nobody of them waits behind one.
    let more = lease(program(1), run(2, 0, 4));
    assert_eq!(order(&rig.say(more)), []);
}
