//! Dependencies inside the session.

use scalems_client::machine::{Config, Dependency, Done, Input, Output, Pack, PackKey, TaskFault};
use scalems_protocol::task::{After, When};
use scalems_protocol::{Code, Ending};

use crate::script::*;

fn afters(out: &[Output]) -> Vec<Vec<After>> {
    submits(out)
        .into_iter()
        .map(|(submit, _)| submit.task.after.clone())
        .collect()
}

fn request(number: u64, offsets: Option<(u32, u32)>) -> After {
    After {
        request: Some(number),
        offsets,
        ..After::default()
    }
}

#[test]
fn what_is_at_the_agent_is_named_to_it() {
    let mut script = Script::attached(Config::default());
    let out = script.steps([
        Input::Submit(bare(1, 3)),
        Input::Submit(array(2, 0, 1, 4)),
        Input::Submit(after(bare(3, 1), 1, Some((1, 2)), When::Ok)),
        Input::Submit(after(bare(4, 1), 2, None, When::Ok)),
    ]);
    // What depends on what is sent overtakes what has not been sent.
    let expected = [
        vec![],
        vec![request(1, Some((1, 2)))],
        vec![],
        vec![request(3, None)],
    ];
    assert_eq!(afters(&out), expected);
    // With the same dependencies they go together, as with the same template.
    let out = script.steps([
        Input::Submit(after(bare(5, 1), 1, Some((1, 2)), When::Ok)),
        Input::Submit(after(bare(6, 2), 1, Some((1, 2)), When::Ok)),
    ]);
    assert_eq!(batches(&out), [(5, 3)]);
}

#[test]
fn what_has_ended_is_decided_here() {
    let mut script = Script::attached(Config::default());
    script.step(Input::Submit(bare(1, 2)));
    script.step(results(1, 1, 0, 1, Ending::Done));
    script.step(results(2, 1, 1, 2, Ending::Failed));
    let out = script.steps([
        Input::Submit(after(bare(2, 1), 1, Some((0, 1)), When::Ok)),
        Input::Submit(after(bare(3, 1), 1, None, When::Any)),
        Input::Submit(after(bare(4, 1), 1, None, When::Failed)),
    ]);
    assert_eq!(afters(&out), [vec![], vec![], vec![]] as [Vec<After>; 3]);
    let out = script.steps([
        Input::Submit(after(bare(5, 1), 1, None, When::Ok)),
        Input::Submit(after(bare(6, 1), 1, Some((0, 1)), When::Failed)),
    ]);
    let expected = [
        (5, 0, 1, Some(Ending::Canceled)),
        (6, 0, 1, Some(Ending::Canceled)),
    ];
    assert_eq!(resolved(&out), expected);
    let Output::Resolve {
        done: Done::Ended { group, .. },
        ..
    } = &out[0]
    else {
        panic!("{out:?}")
    };
    let error = group.error.as_ref().unwrap();
    assert_eq!(error.code, Code::DependencyFailed);
    assert_eq!(
        error.message,
        "submission 101 did not end well, which this task was to run after"
    );
    // And so are those that depend on those.
    let out = script.step(Input::Submit(after(bare(7, 2), 5, None, When::Ok)));
    assert_eq!(resolved(&out), [(7, 0, 2, Some(Ending::Canceled))]);
}

#[test]
fn what_depends_on_work_in_flight_goes_first() {
    let mut script = Script::attached(Config {
        window_tasks: 4,
        ..Config::default()
    });
    let out = script.steps([
        Input::Submit(bare(1, 4)),
        Input::Submit(bare(2, 100)),
        Input::Submit(after(bare(3, 2), 1, Some((0, 1)), When::Ok)),
    ]);
    assert_eq!(batches(&out), [(1, 4)]);
    let out = script.step(results(1, 1, 0, 2, Ending::Done));
    assert_eq!(batches(&out), [(2, 2)]);
    assert_eq!(
        afters(&out),
        [vec![]] as [Vec<After>; 1],
        "it has ended, so there is nothing to wait for"
    );
    let out = script.step(results(2, 2, 0, 2, Ending::Done));
    assert_eq!(resolved(&out), [(3, 0, 2, Some(Ending::Done))]);
    assert_eq!(batches(&out), [(3, 2)]);
}

#[test]
fn what_depends_on_what_is_here_waits_for_it() {
    let mut script = Script::attached(Config {
        window_tasks: 4,
        ..Config::default()
    });
    let out = script.steps([
        Input::Submit(bare(1, 6)),
        Input::Submit(after(bare(2, 1), 1, Some((5, 6)), When::Ok)),
        Input::Submit(after(bare(3, 1), 2, None, When::Ok)),
        Input::Submit(pack(4, &template("other"), &[b"x"])),
    ]);
    assert_eq!(batches(&out), [(1, 4)]);
    let out = script.step(results(1, 1, 0, 4, Ending::Done));
    // The rest of the first, then the chain, each named by the request before; then what depends on nothing.
    assert_eq!(batches(&out), [(2, 2), (3, 1), (4, 1)]);
    assert_eq!(
        afters(&out),
        [
            vec![],
            vec![request(2, Some((1, 2)))],
            vec![request(3, Some((0, 1)))]
        ]
    );
}

#[test]
fn one_failure_of_many_takes_waiting_when_they_are_apart() {
    let mut script = Script::attached(Config::default());
    let out = script.steps([
        Input::Submit(bare(1, 1_500)),
        Input::Submit(after(bare(2, 1), 1, None, When::Failed)),
        Input::Submit(after(bare(3, 1), 1, Some((0, 10)), When::Failed)),
    ]);
    assert_eq!(batches(&out), [(1, 1_024), (2, 1), (3, 476)]);
    let out = script.steps([
        results(1, 1, 0, 1_024, Ending::Done),
        results(2, 3, 0, 475, Ending::Done),
        results(3, 3, 475, 476, Ending::Failed),
    ]);
    assert_eq!(batches(&out), [(4, 1)]);
}

#[test]
fn arrays_go_task_by_task() {
    let each = |key, on| {
        let dependency = Dependency {
            on: PackKey(on),
            offsets: None,
            when: When::Ok,
            each: true,
        };
        Pack {
            after: vec![dependency],
            ..array(key, 0, 1, 10)
        }
    };
    let mut script = Script::attached(Config::default());
    let out = script.steps([
        Input::Submit(array(1, 0, 1, 10)),
        Input::Submit(each(2, 1)),
        Input::Submit(Pack {
            count: 9,
            ..each(3, 1)
        }),
    ]);
    assert_eq!(resolved(&out), [(3, 0, 9, None)]);
    assert_eq!(
        afters(&out),
        [
            vec![],
            vec![After {
                request: Some(1),
                each: true,
                ..After::default()
            }]
        ]
    );
    script.step(results(1, 1, 0, 10, Ending::Done));
    assert_eq!(
        afters(&script.step(Input::Submit(each(4, 1)))),
        [vec![]] as [Vec<After>; 1]
    );
}

#[test]
fn what_is_not_known_is_refused() {
    let mut script = Script::attached(Config::default());
    let out = script.step(Input::Submit(after(bare(2, 1), 1, None, When::Ok)));
    let Output::Resolve {
        done: Done::Failed(fault),
        ..
    } = &out[0]
    else {
        panic!("{out:?}")
    };
    assert!(matches!(&**fault, TaskFault::Refused(refusal) if refusal.code == Code::UnknownDependency));
    // A pack is remembered for those that wait for it, also when nobody holds it any more.
    let mut script = Script::attached(Config {
        window_tasks: 1,
        ..Config::default()
    });
    script.steps([
        Input::Submit(bare(1, 1)),
        Input::Submit(bare(2, 1)),
        Input::Submit(after(bare(3, 1), 2, None, When::Ok)),
        Input::Release(PackKey(2)),
    ]);
    script.step(results(1, 1, 0, 1, Ending::Done));
    let out = script.step(results(2, 2, 0, 1, Ending::Done));
    assert_eq!(resolved(&out), [(2, 0, 1, Some(Ending::Done))]);
    assert_eq!(batches(&out), [(3, 1)]);
    assert_eq!(script.machine.packs(), 2);
}

#[test]
fn a_refused_dependency_is_a_failed_one() {
    let mut script = Script::attached(Config {
        window_tasks: 1,
        ..Config::default()
    });
    script.steps([
        Input::Submit(bare(1, 1)),
        Input::Submit(after(bare(2, 1), 1, None, When::Ok)),
    ]);
    let out = script.step(refused(Some(1), Code::UnknownMode));
    assert_eq!(
        resolved(&out),
        [(1, 0, 1, None), (2, 0, 1, Some(Ending::Canceled))]
    );
}
