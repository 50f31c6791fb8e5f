//! Leases that are taken back or ended early.

use scalems_protocol::{Code, program};

use super::*;

/// Cores for one; offset 0 runs and is reported, 1 to 9 wait.
fn busy() -> Rig {
    let mut rig = Rig::joined(1);
    let policy = Policy {
        grace_ms: 700,
        ..Policy::default()
    };
    rig.say(lease(Template { policy, ..program(1) }, run(1, 0, 10)));
    rig.round([Input::Started { key: 1 }]);
    rig
}

#[test]
fn withdrawing_takes_only_what_has_not_started() {
    let mut rig = busy();
    let out = rig.say(revoke(
        vec![run(1, 0, 3), run(1, 5, 7), run(2, 0, 9)],
        Strength::Withdraw,
    ));
    assert_eq!(
        report(&out).0,
        &Report {
            number: 2,
            returned: vec![run(1, 1, 3), run(1, 5, 7)],
            ..Report::default()
        }
    );
    let left = [
        term(run(1, 0, 1), TaskState::Running),
        term(run(1, 3, 5), TaskState::Leased),
        term(run(1, 7, 10), TaskState::Leased),
    ];
    assert_eq!(rig.hash(), left.into_iter().fold(0, u64::wrapping_add));
    let out = rig.round([Input::Ended {
        key: 1,
        outcome: done(),
    }]);
    assert_eq!(starts(&out)[0].offset, 3);
}

#[test]
fn a_withdrawn_part_leaves_the_data_of_the_rest_in_place() {
    let mut rig = Rig::joined(1);
    let (message, blobs) = lease_with(program(1), run(1, 0, 6), b"abcdef", (1..=6).collect());
    rig.tell(message, blobs);
    rig.say(revoke(vec![run(1, 2, 4)], Strength::Withdraw));
    let mut seen = Vec::new();
    for key in 1..=3 {
        let out = rig.round([Input::Ended { key, outcome: done() }]);
        seen.extend(
            starts(&out)
                .iter()
                .map(|lease| (lease.offset, lease.data.clone())),
        );
    }
    assert_eq!(seen, [(1, "b".into()), (4, "e".into()), (5, "f".into())]);
}

#[test]
fn a_request_asks_what_runs_and_cancels_what_waits() {
    let mut rig = busy();
    let out = rig.say(revoke(vec![run(1, 0, 4)], Strength::Request));
    let order = StopOrder {
        key: 1,
        strength: Strength::Request,
        grace_ms: 700,
        reason: "so".into(),
    };
    assert_eq!(stops(&out), [&order]);
    let (told, _) = report(&out[1..]);
    let error = told.results[0].error.as_ref().unwrap();
    assert_eq!(
        (told.results[0].run, told.results[0].ending),
        (run(1, 1, 4), Ending::Canceled)
    );
    assert_eq!(
        (error.code, error.message.as_str()),
        (Code::Canceled, "the task was canceled: so")
    );
    assert!(
        rig.say(revoke(vec![run(1, 0, 1)], Strength::Request)).is_empty(),
        "once is enough"
    );
    let out = rig.at(700_000, []);
    assert_eq!(stops(&out)[0].strength, Strength::Kill);
    let out = rig.round([Input::Ended {
        key: 1,
        outcome: stopped(),
    }]);
    let (told, _) = report(&out[1..]);
    assert_eq!(
        (told.results[0].run, told.results[0].ending),
        (run(1, 0, 1), Ending::Canceled)
    );
}

#[test]
fn a_kill_goes_over_a_request() {
    let mut rig = busy();
    rig.say(revoke(vec![run(1, 0, 1)], Strength::Request));
    let out = rig.say(revoke(vec![run(1, 0, 1)], Strength::Kill));
    assert_eq!(stops(&out)[0].strength, Strength::Kill);
    assert!(rig.say(revoke(vec![run(1, 0, 1)], Strength::Kill)).is_empty());
}

#[test]
fn what_is_dropped_in_silence_leaves_the_hash_by_a_report_and_its_room_when_it_is_over() {
    let mut rig = busy();
    let message = Revoke {
        silent: true,
        ..revoke(vec![run(1, 0, 4)], Strength::Kill)
    };
    let out = rig.say(message.clone());
    assert_eq!(
        stops(&out).iter().map(|order| order.strength).collect::<Vec<_>>(),
        [Strength::Kill]
    );
    assert_eq!(report(&out[1..]).0.returned, [run(1, 1, 4), run(1, 0, 1)]);
    assert_eq!(rig.hash(), term(run(1, 4, 10), TaskState::Leased));
    assert!(rig.say(message).is_empty());
    let out = rig.round([Input::Ended {
        key: 1,
        outcome: stopped(),
    }]);
    assert_eq!(out.len(), 1);
    assert_eq!(starts(&out)[0].offset, 4);
}

#[test]
fn a_sleep_ends_as_soon_as_it_is_asked() {
    let mut rig = Rig::joined(1);
    let (message, blobs) = lease_with(template(program::SLEEP), run(1, 0, 1), b"60", Vec::new());
    rig.tell(message, blobs);
    rig.now = SECOND;
    let out = rig.say(revoke(vec![run(1, 0, 1)], Strength::Request));
    let (told, _) = report(&out);
    assert_eq!(
        (told.results[0].ending, told.results[0].ran_us),
        (Ending::Canceled, SECOND)
    );
    assert_eq!(rig.machine.deadline(), Some(2 * SECOND));
}

#[test]
fn what_ended_by_itself_before_the_stop_reached_it_is_no_cancellation() {
    let mut rig = busy();
    rig.say(revoke(vec![run(1, 0, 1)], Strength::Request));
    let out = rig.round([Input::Ended {
        key: 1,
        outcome: done(),
    }]);
    assert_eq!(report(&out[1..]).0.results[0].ending, Ending::Done);
}
