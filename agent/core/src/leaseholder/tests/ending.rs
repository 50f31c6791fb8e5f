//! How a worker ends.

use scalems_protocol::task::OnSilence;
use scalems_protocol::worker::{Report, WorkerRefused, WorkerStop};
use scalems_protocol::{Code, Refusal, TaskError};

use super::*;

fn goodbye(out: &[Output]) -> bool {
    out.iter()
        .any(|output| matches!(output, Output::Send(WorkerToAgent::WorkerGoodbye(_), _)))
}

fn busy() -> Rig {
    let mut rig = Rig::joined(1);
    rig.say(lease(program(1), run(1, 0, 3)));
    rig.round([Input::Started { key: 1 }]);
    rig
}

#[test]
fn a_stop_returns_what_waits_lets_run_what_runs_and_waits_for_the_record() {
    let mut rig = busy();
    let out = rig.say(WorkerStop {
        drain_ms: 1_000,
        reason: "enough".into(),
    });
    assert_eq!(report(&out).0.returned, [run(1, 1, 3)]);
    // What crosses the stop is handed back.
    let out = rig.say(lease(program(1), run(2, 0, 2)));
    assert_eq!(report(&out).0.returned, [run(2, 0, 2)]);
    let out = rig.at(
        SECOND / 2,
        [Input::Ended {
            key: 1,
            outcome: done(),
        }],
    );
    assert_eq!(report(&out).0.results[0].ending, Ending::Done);
    let out = rig.say(Recorded {
        recorded: 4,
        ..Recorded::default()
    });
    assert!(goodbye(&out));
    assert_eq!(end(&out), Some(&EndReason::Stopped("enough".into())));
    assert_eq!(rig.machine.deadline(), None);
    assert!(rig.round([Input::Connected]).is_empty());
}

#[test]
fn what_outlasts_the_drain_time_is_ended_and_handed_back() {
    let mut rig = busy();
    rig.say(WorkerStop {
        drain_ms: 1_000,
        reason: String::new(),
    });
    assert_eq!(rig.machine.deadline(), Some(SECOND));
    let out = rig.at(SECOND, []);
    assert_eq!(
        (stops(&out)[0].strength, stops(&out)[0].grace_ms),
        (Strength::Request, 5_000)
    );
    assert_eq!(stops(&rig.at(6 * SECOND, []))[0].strength, Strength::Kill);
    let out = rig.round([Input::Ended {
        key: 1,
        outcome: stopped(),
    }]);
    let [
        Output::Send(WorkerToAgent::Report(told), _),
        Output::Send(WorkerToAgent::WorkerGoodbye(_), _),
        Output::End(_),
    ] = &out[..]
    else {
        panic!("{out:?}")
    };
    assert_eq!((&told.returned[..], told.results.len()), (&[run(1, 0, 1)][..], 0));
}

#[test]
fn a_worker_that_is_stopped_here_offers_nothing_any_more() {
    let mut rig = busy();
    let out = rig.round([Input::Stop { drain_ms: 60_000 }]);
    let hello = hello(&out);
    assert!(hello.offer.is_empty() && hello.modes.is_empty());
    assert_eq!(hello.held, [held(run(1, 0, 1), TaskState::Running)]);
    rig.say(welcome(1, Vec::new()));
    assert_eq!(rig.hash(), term(run(1, 0, 1), TaskState::Running));
    // Once more: at once.
    let out = rig.round([Input::Stop { drain_ms: 0 }]);
    assert_eq!(stops(&out)[0].strength, Strength::Request);
    let out = rig.round([Input::Ended {
        key: 1,
        outcome: stopped(),
    }]);
    assert_eq!(end(&out), Some(&EndReason::Asked));
}

/// What is said of a task that ends like this in a worker that was asked to end.
fn told_of(end: impl FnOnce(&mut Rig), outcome: Outcome) -> Report {
    let mut rig = busy();
    end(&mut rig);
    let out = rig.round([Input::Ended { key: 1, outcome }]);
    let mut reports = out.into_iter().filter_map(|output| match output {
        Output::Send(WorkerToAgent::Report(report), _) => Some(report),
        _ => None,
    });
    reports.next().expect("it is told at once")
}

#[test]
fn what_fails_while_a_worker_is_stopped_here_is_handed_back() {
    let failed = || Outcome {
        ending: Ending::Failed,
        error: Some(TaskError::retryable(Code::Signal, "it was ended by signal 15")),
        ..done()
    };
    let here = |rig: &mut Rig| {
        rig.round([Input::Stop { drain_ms: 60_000 }]);
        rig.say(welcome(1, Vec::new()));
    };
    let told = told_of(here, failed());
    assert_eq!((&told.returned[..], told.results.len()), (&[run(1, 0, 1)][..], 0));
    assert_eq!(told_of(here, done()).results.len(), 1, "that has ended");
    let there = |rig: &mut Rig| {
        rig.say(WorkerStop {
            drain_ms: 60_000,
            reason: "enough".into(),
        });
    };
    assert_eq!(
        told_of(there, failed()).results.len(),
        1,
        "nobody asked it to end"
    );
}

#[test]
fn an_idle_worker_ends_at_once() {
    let mut rig = Rig::joined(1);
    let out = rig.round([Input::Stop { drain_ms: 60_000 }]);
    assert!(goodbye(&out) && end(&out) == Some(&EndReason::Asked));
}

#[test]
fn without_a_connection_results_are_waited_with_for_a_time() {
    let mut rig = busy();
    rig.round([
        Input::Disconnected,
        Input::Ended {
            key: 1,
            outcome: done(),
        },
    ]);
    assert!(rig.round([Input::Stop { drain_ms: 0 }]).is_empty());
    assert_eq!(rig.machine.deadline(), Some(5 * SECOND));
    let out = rig.at(5 * SECOND, []);
    assert!(!goodbye(&out) && end(&out) == Some(&EndReason::Asked));
}

#[test]
fn an_agent_that_is_about_to_answer_is_told_goodbye() {
    let mut rig = Rig::alone(1);
    rig.round([Input::Connected]);
    assert!(rig.round([Input::Stop { drain_ms: 0 }]).is_empty());
    let out = rig.say(welcome(1, Vec::new()));
    assert!(goodbye(&out) && end(&out) == Some(&EndReason::Asked));
}

#[test]
fn an_orphan_kills_and_ends() {
    let mut rig = busy();
    rig.round([Input::Disconnected]);
    assert_eq!(rig.machine.deadline(), Some(600 * SECOND));
    let out = rig.at(600 * SECOND, []);
    assert_eq!(stops(&out)[0].strength, Strength::Kill);
    let out = rig.at(
        601 * SECOND,
        [Input::Ended {
            key: 1,
            outcome: stopped(),
        }],
    );
    assert_eq!(end(&out), Some(&EndReason::Orphaned));
}

#[test]
fn nobody_answers() {
    let mut rig = Rig::alone(1);
    rig.round([Input::Connected]);
    for at in (5..60).step_by(5) {
        assert_eq!(end(&rig.at(at * SECOND, [])), None);
    }
    assert_eq!(end(&rig.at(60 * SECOND, [])), Some(&EndReason::NotWelcomed));
}

#[test]
fn a_pause_of_its_own_is_not_the_agents_silence() {
    let mut rig = busy();
    // It beats every 2 s, so it has not been silence that lasted so long.
    let out = rig.at(3_600 * SECOND, []);
    assert!(stops(&out).is_empty() && end(&out).is_none(), "{out:?}");
    rig.round([Input::Disconnected]);
    let out = rig.at(7_200 * SECOND, []);
    assert!(stops(&out).is_empty() && end(&out).is_none(), "{out:?}");
    // From then on it has the whole time again.
    assert_eq!(rig.machine.deadline(), Some((7_200 + 600) * SECOND));
    let out = rig.at((7_200 + 600) * SECOND, []);
    assert_eq!(stops(&out)[0].strength, Strength::Kill);
}

#[test]
fn a_refusal_kills_and_ends_even_what_does_not_die() {
    let mut rig = busy();
    let refusal = Refusal::new(Code::OtherPilot, "other");
    let out = rig.say(WorkerRefused {
        refusal: refusal.clone(),
    });
    assert_eq!(stops(&out)[0].strength, Strength::Kill);
    assert!(
        rig.round([Input::Connected]).is_empty(),
        "it is not greeted again"
    );
    assert_eq!(rig.machine.deadline(), Some(5 * SECOND));
    assert_eq!(end(&rig.at(5 * SECOND, [])), Some(&EndReason::Refused(refusal)));
}

#[test]
fn what_is_to_stop_in_silence_is_ended_and_not_held_any_more() {
    let mut rig = Rig::joined(2);
    let mut stopping = program(1);
    stopping.policy.on_silence = OnSilence::Stop;
    let out = rig.say(lease(stopping, run(1, 0, 1)));
    let key = starts(&out)[0].key;
    rig.say(lease(program(1), run(2, 0, 1)));
    rig.round([Input::Started { key }]);
    rig.round([Input::Disconnected]);
    assert_eq!(rig.machine.deadline(), Some(10 * SECOND));
    assert!(stops(&rig.at(10 * SECOND - 1, [])).is_empty());
    let out = rig.at(10 * SECOND, []);
    let [order] = stops(&out)[..] else {
        panic!("one of the two: {out:?}")
    };
    // It is over before the agent leases it again, 10 s later.
    assert_eq!(
        (order.key, order.strength, order.grace_ms),
        (key, Strength::Request, 5_000)
    );
    assert_eq!(stops(&rig.at(15 * SECOND, []))[0].strength, Strength::Kill);
    let ended = Input::Ended {
        key,
        outcome: stopped(),
    };
    rig.at(16 * SECOND, [ended]);
    assert_eq!(rig.machine.deadline(), Some(600 * SECOND));
    let out = rig.round([Input::Connected]);
    assert_eq!(hello(&out).held, [held(run(2, 0, 1), TaskState::Leased)]);
    // The hello has said that it is not held any more.
    let out = rig.say(welcome(1, Vec::new()));
    assert!(matches!(&out[..], [Output::PublishBeat(_)]), "{out:?}");
}

#[test]
fn one_that_has_nothing_to_do_ends_after_a_while() {
    let mut rig = Rig::with(Settings {
        idle_us: Some(3 * SECOND),
        ..settings(1)
    })
    .join();
    rig.at(2 * SECOND, []);
    rig.say(lease(program(1), run(1, 0, 1)));
    rig.round([Input::Started { key: 1 }]);
    // While it has something to do no time is counted, nor until that is recorded.
    assert_eq!(end(&rig.at(9 * SECOND, [])), None);
    let over = Input::Ended {
        key: 1,
        outcome: done(),
    };
    rig.round([over]);
    assert_eq!(end(&rig.at(9 * SECOND, [])), None);
    rig.say(Recorded {
        recorded: 2,
        ..Recorded::default()
    });
    let out = rig.at(11 * SECOND, []);
    assert_eq!(end(&out), None);
    assert_eq!(rig.machine.idle_timer(), Some(12 * SECOND));
    let out = rig.at(12 * SECOND, []);
    assert!(goodbye(&out));
    assert_eq!(end(&out), Some(&EndReason::Idle));
}
