//! How far tasks are: the last words, now and then.

use scalems_protocol::Progress;
use scalems_protocol::worker::TasksProgress;

use super::*;

fn said(out: &[Output]) -> Vec<Progress> {
    let mut told = out.iter().filter_map(|output| match output {
        Output::Send(WorkerToAgent::TasksProgress(TasksProgress { tasks }), _) => Some(tasks.clone()),
        _ => None,
    });
    told.next().unwrap_or_default()
}

#[test]
fn last_words_are_told_four_times_a_second_at_most() {
    let mut rig = Rig::joined(2);
    let out = rig.say(lease(program(1), run(1, 0, 2)));
    let keys: Vec<u64> = starts(&out).iter().map(|lease| lease.key).collect();
    let is_at = |key, fraction, text: &str| Input::Progress {
        key,
        fraction,
        text: text.into(),
    };
    let progress = |lo, fraction, text: &str| Progress {
        run: run(1, lo, lo + 1),
        fraction,
        text: text.into(),
    };
    let out = rig.round([
        is_at(keys[0], 0.1, "a"),
        is_at(keys[0], 0.2, "b"),
        is_at(99, 0.5, ""),
    ]);
    assert_eq!(said(&out), [progress(0, 0.2, "b")]);
    let out = rig.round([
        is_at(keys[1], 0.3, ""),
        is_at(keys[0], 0.4, "c"),
        is_at(keys[1], 1.5, ""),
    ]);
    assert_eq!(said(&out), []);
    assert_eq!(rig.machine.deadline(), Some(250_000));
    let out = rig.at(250_000, []);
    assert_eq!(said(&out), [progress(0, 0.4, "c"), progress(1, 0.3, "")]);
    // Of one that is over nothing is told.
    let out = rig.at(300_000, [is_at(keys[0], 0.9, "late")]);
    assert_eq!(said(&out), []);
    let out = rig.at(
        600_000,
        [Input::Ended {
            key: keys[0],
            outcome: done(),
        }],
    );
    assert_eq!(said(&out), []);
    let long = "é".repeat(1_000);
    let out = rig.at(900_000, [is_at(keys[1], 1.0, &long)]);
    assert_eq!(said(&out)[0].text, "é".repeat(128));
}
