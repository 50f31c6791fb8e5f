//! Cancel in its three strengths.

use scalems_tests::pilot::{Fifo, Pilot, until_tasks};

/// A task that runs and says when it is asked to end, and one behind it that does not fit beside it.
fn one_runs_and_one_waits(pilot: &Pilot) -> (u64, u64) {
    let mut ready = Fifo::new(&pilot.home.work(), "ready");
    let runs = pilot.submit(
        "-- sh -c 'trap \"echo asked; exit 5\" TERM; echo up > ready; while :; do sleep 600 & wait $!; done'",
    );
    ready.line();
    let waits = pilot.submit("-- touch started");
    let session = pilot.session();
    until_tasks(&session, runs, |counts| counts.running == 1);
    (runs, waits)
}

fn counts(pilot: &Pilot, line: &str) -> [u64; 4] {
    let said = pilot
        .sh(&format!("scalems --output json task cancel {line}"))
        .well()
        .json();
    ["withdrawn", "told", "running", "ended"].map(|what| said[what].as_u64().unwrap())
}

#[test]
fn withdrawing_leaves_what_runs() {
    let pilot = Pilot::start("--cores 1");
    let (runs, waits) = one_runs_and_one_waits(&pilot);
    assert_eq!(
        counts(&pilot, "all --withdraw")[2],
        1,
        "the one that runs is left"
    );
    pilot
        .sh(&format!("scalems wait {waits} --timeout 60s"))
        .fails(1, &["1 canceled"]);
    let session = pilot.session();
    assert_eq!(until_tasks(&session, runs, |_| true).running, 1);
    assert!(!pilot.home.work().join("started").exists());
    pilot.sh(&format!("scalems task cancel {runs} --kill")).well();
    pilot
        .sh(&format!("scalems wait {runs} --timeout 60s"))
        .fails(1, &["1 canceled"]);
    pilot.stop();
}

#[test]
fn asking_lets_a_program_end_by_itself() {
    let pilot = Pilot::start("--cores 1");
    let (runs, _) = one_runs_and_one_waits(&pilot);
    let counted = counts(&pilot, &format!("{runs} --reason 'enough of it'"));
    assert_eq!(counted, [0, 1, 0, 0]);
    pilot
        .sh(&format!("scalems wait {runs} --timeout 60s"))
        .fails(1, &["1 canceled", "enough of it", "[canceled]"]);
    assert_eq!(pilot.sh(&format!("scalems logs {runs}")).well().text(), "asked");
    assert_eq!(counts(&pilot, &runs.to_string()), [0, 0, 0, 1]);
    pilot.sh("scalems wait all --timeout 60s");
    pilot.stop();
}

#[test]
fn killing_does_not_ask() {
    let pilot = Pilot::start("--cores 1");
    let (runs, waits) = one_runs_and_one_waits(&pilot);
    pilot.sh(&format!("scalems task cancel {runs} --kill")).well();
    pilot
        .sh(&format!("scalems wait {runs} --timeout 60s"))
        .fails(1, &["1 canceled"]);
    assert_eq!(pilot.sh(&format!("scalems logs {runs}")).well().text(), "");
    // The room is given to the next.
    pilot.sh(&format!("scalems wait {waits} --timeout 60s")).well();
    assert!(pilot.home.work().join("started").exists());
    pilot.stop();
}

#[test]
fn a_part_of_an_array() {
    let pilot = Pilot::start("--cores 1");
    let mut gate = Fifo::new(&pilot.home.work(), "gate");
    let number = pilot.submit("--array 0-9 -- sh -c 'read go < gate; echo %{INDEX} >> ran'");
    let session = pilot.session();
    until_tasks(&session, number, |counts| counts.running == 1);
    let counted = counts(&pilot, &format!("{number}.5-9"));
    assert_eq!(counted.iter().sum::<u64>(), 5);
    gate.release(5);
    pilot
        .sh(&format!("scalems wait {number} --timeout 60s"))
        .fails(1, &["5 done", "5 canceled"]);
    assert_eq!(pilot.home.read("ran"), "0\n1\n2\n3\n4\n");
    pilot.stop();
}

#[test]
fn what_has_ended_can_be_forgotten() {
    let pilot = Pilot::start("--cores 1");
    pilot.sh("scalems submit --wait --array 0-2 -- echo hello").well();
    let (runs, waits) = one_runs_and_one_waits(&pilot);
    let said = pilot.sh("scalems --output json task forget all").well().json();
    assert_eq!(
        (said["forgotten"].as_u64(), said["kept"].as_u64()),
        (Some(3), Some(2))
    );
    let listed = pilot.sh("scalems --output json task list").well().json();
    let numbers: Vec<u64> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["submission"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, [runs, waits]);
    pilot.sh("scalems task cancel all --kill").well();
    pilot.stop();
}
