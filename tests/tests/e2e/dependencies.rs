//! Submissions that run after others.

use scalems_tests::pilot::{Fifo, Pilot, until_tasks};

#[test]
fn after_a_good_end() {
    let pilot = Pilot::start("");
    let mut gate = Fifo::new(&pilot.home.work(), "gate");
    let first = pilot.submit("-- sh -c 'read go < gate; echo first >> log'");
    let second = pilot.submit(&format!("--after {first} -- sh -c 'echo second >> log'"));
    let session = pilot.session();
    until_tasks(&session, second, |counts| counts.waiting == 1);
    let said = pilot.sh(&format!("scalems task explain {second}")).well();
    assert!(
        said.out.contains("waiting") && said.out.contains(&format!("{first}")),
        "{}",
        said.out
    );
    gate.release(1);
    pilot.sh(&format!("scalems wait {second} --timeout 60s")).well();
    assert_eq!(pilot.home.read("log"), "first\nsecond\n");
    pilot.stop();
}

#[test]
fn after_a_bad_end() {
    let pilot = Pilot::start("");
    let bad = pilot.submit("-- false");
    let ok = pilot.submit(&format!("--after {bad} -- touch ok"));
    let any = pilot.submit(&format!("--after {bad}:any -- touch any"));
    let failed = pilot.submit(&format!("--after {bad}:failed -- touch failed"));
    let chained = pilot.submit(&format!("--after {ok} -- touch chained"));
    pilot
        .sh("scalems wait all --timeout 60s")
        .fails(1, &["2 done", "[dependency_failed]"]);
    let state = |number| {
        let rows = pilot
            .sh(&format!("scalems --output json task list {number}"))
            .well()
            .json();
        (
            rows[0]["state"].as_str().unwrap().to_owned(),
            rows[0]["error"]["code"].as_str().unwrap_or("").to_owned(),
        )
    };
    let missed = || ("canceled".to_owned(), "dependency_failed".to_owned());
    let missed_or_failed = [missed(), ("failed".to_owned(), "dependency_failed".to_owned())];
    for number in [ok, chained] {
        assert!(missed_or_failed.contains(&state(number)), "{:?}", state(number));
    }
    for number in [any, failed] {
        assert_eq!(state(number), ("done".to_owned(), String::new()));
    }
    let there = |name: &str| pilot.home.work().join(name).exists();
    assert!(there("any") && there("failed") && !there("ok") && !there("chained"));
    // What waits for a failure that does not come does not run either.
    let good = pilot.submit("-- true");
    let never = pilot.submit(&format!("--after {good}:failed -- touch never"));
    pilot
        .sh(&format!("scalems wait {never} --timeout 60s"))
        .fails(1, &["[dependency_failed]"]);
    pilot.stop();
}

#[test]
fn task_by_task() {
    let pilot = Pilot::start("--cores 2");
    let mut gates: Vec<_> = (0..2)
        .map(|index| Fifo::new(&pilot.home.work(), &format!("gate{index}")))
        .collect();
    let mut told = Fifo::new(&pilot.home.work(), "told");
    let first = pilot.submit("--array 0-1 -- sh -c 'read go < gate%{INDEX}'");
    let second = pilot.submit(&format!(
        "--array 0-1 --after {first}:each -- sh -c 'echo %{{INDEX}} > told'"
    ));
    gates[1].release(1);
    assert_eq!(told.line(), "1", "it waits for its own, not for all");
    gates[0].release(1);
    assert_eq!(told.line(), "0");
    pilot.sh(&format!("scalems wait {second} --timeout 60s")).well();
    pilot
        .sh(&format!(
            "scalems submit --array 0-4 --after {first}:each -- true"
        ))
        .fails(1, &["submission"]);
    pilot
        .sh("scalems submit --after 99 -- true")
        .fails(1, &["[unknown_dependency]", "99"]);
    pilot.stop();
}
