//! Submissions that make no sense.

use scalems_client::protocol::Code;
use scalems_client::{ClientError, Task};
use scalems_tests::pilot::{PATIENCE, Pilot};
use serde_json::json;

use crate::wire::{Raw, expect, header, undisturbed};

#[test]
fn envelopes_that_are_refused() {
    let pilot = Pilot::start("--closed");
    let mut raw = Raw::client(&pilot);
    for (envelope, code, text) in [
        (json!({"mode": "no.such.mode"}), Code::UnknownMode, "no.such.mode"),
        (
            json!({"mode": "scalems.noop", "colour": "red"}),
            Code::UnknownField,
            "colour",
        ),
        (
            json!({"mode": "scalems.noop", "needs": {"corse": 1}}),
            Code::UnknownField,
            "corse",
        ),
        (
            json!({"mode": "scalems.noop", "policy": {"retrys": 1}}),
            Code::UnknownField,
            "retrys",
        ),
        (
            json!({"mode": "scalems.noop", "needs": {"cores_per_rank": 4000}}),
            Code::ImpossibleNeeds,
            "4000",
        ),
        (
            json!({"mode": "scalems.noop", "needs": {"gpus_per_rank": 1}}),
            Code::ImpossibleNeeds,
            "gpus",
        ),
        (
            json!({"mode": "scalems.noop", "needs": {"ranks": 0}}),
            Code::InvalidValue,
            "ranks",
        ),
        (
            json!({"mode": "scalems.noop", "after": [{"submission": 99}]}),
            Code::UnknownDependency,
            "99",
        ),
        (json!({"mode": ""}), Code::InvalidValue, "mode"),
        (json!({"mode": 5}), Code::Malformed, ""),
        (
            json!({"mode": "scalems.noop", "policy": {"crash_limit": 0}}),
            Code::InvalidValue,
            "crash_limit",
        ),
    ] {
        expect(&raw.refusal(&header(&envelope), &[]), code, text);
    }
    // An envelope that is right is taken by the same client.
    raw.send(&header(&json!({"mode": "scalems.noop"})), &[]);
    let answer = raw.answer();
    assert!(
        matches!(
            answer,
            scalems_client::protocol::client::AgentToClient::Accepted(_)
        ),
        "{answer:?}"
    );
    drop(raw);
    undisturbed(&pilot);
    pilot.stop();
}

#[test]
fn what_the_command_refuses_or_notes() {
    let pilot = Pilot::start("--closed");
    pilot
        .sh("scalems submit --cores 999 -- true")
        .fails(1, &["999 cores", "[impossible_needs]"]);
    pilot
        .sh("scalems submit --gpus 1 -- true")
        .fails(1, &["gpus", "[impossible_needs]"]);
    pilot
        .sh("scalems submit --memory 99999999 -- true")
        .fails(1, &["99999999", "[impossible_needs]"]);
    pilot
        .sh("scalems submit -- echo '%{INDEXX}'")
        .fails(2, &["%{INDEXX}", "[wrong_placeholder]", "%{INDEX}"]);
    pilot
        .sh("scalems submit -- echo '%{INDEX'")
        .fails(2, &["[wrong_placeholder]"]);
    pilot
        .sh("scalems submit --label novalue -- true")
        .fails(2, &["novalue", "KEY=VALUE"]);
    let long = "x".repeat(300);
    pilot
        .sh(&format!("scalems submit --name {long} -- true"))
        .fails(1, &["[too_large]"]);
    for select in [
        "''",
        "x",
        "5-1",
        "1:2",
        "state:odd",
        "label:x",
        "99999999999999999999",
    ] {
        pilot
            .sh(&format!("scalems task list {select}"))
            .fails(2, &["selector"]);
    }
    for line in [
        "task list 99",
        "task info 99",
        "task explain 99",
        "task cancel 99",
        "wait 99",
        "logs name:none",
    ] {
        pilot
            .sh(&format!("scalems {line}"))
            .fails(1, &["[nothing_selected]"]);
    }
    // Nothing of all that became a submission.
    assert_eq!(pilot.sh("scalems --output quiet task list").well().out, "");
    undisturbed(&pilot);
    pilot.stop();
}

#[test]
fn a_pilot_that_is_open_waits_for_who_can() {
    let pilot = Pilot::start("--no-workers");
    let said = pilot.sh("scalems submit --cores 2 -- echo at last").well();
    assert!(said.err.contains("waiting_for_worker"), "{}", said.err);
    let explained = pilot.sh("scalems task explain 1.0").well().out;
    assert!(explained.contains("ready"), "{explained}");
    let worker = pilot.home.spawn("scalems worker start --cores 2");
    pilot.sh("scalems wait 1 --timeout 60s").well();
    pilot.sh("scalems worker stop 1").well();
    worker.output().well();
    pilot.stop();
}

#[test]
fn data_that_is_not_what_its_mode_takes() {
    let pilot = Pilot::start("");
    let session = pilot.session();
    for (mode, data) in [
        ("task.executable", &b"\xc1"[..]),
        ("task.executable", b""),
        ("task.executable", b"\x80"),
        ("task.executable", b"\x81\xa4argv\x90"),
        ("task.executable", b"\x82\xa4argv\x91\xa4true\xa5shell\xc3"),
        ("task.shell", b"\x81\xa4argv\x92\xa1a\xa1b"),
        ("scalems.sleep", b"soon"),
    ] {
        let handle = session.submit(Task::new(mode).data(data.to_vec())).unwrap();
        let result = handle.wait(PATIENCE).unwrap();
        let error = result.error.unwrap_or_else(|| panic!("{mode} took {data:?}"));
        assert_eq!(error.code, Code::WrongData, "{mode} {data:?}: {error}");
    }
    let refused = session
        .submit(Task::new("x".repeat(300)))
        .unwrap()
        .wait(PATIENCE)
        .unwrap_err();
    assert!(
        matches!(&refused, ClientError::Refused { refusal, .. } if refusal.code == Code::TooLarge),
        "{refused}"
    );
    drop(session);
    undisturbed(&pilot);
    pilot.stop();
}
