//! Tasks that failed are submitted again, and nothing else.

use scalems_tests::pilot::{Fifo, Pilot};

/// Fails for these indices until there is a file `fixed`.
const SOME_FAIL: &str = "test -e fixed || case %{INDEX} in 12|17|18) exit 3;; esac; echo %{INDEX}";

#[test]
fn only_what_failed_and_with_its_index() {
    let pilot = Pilot::start("--cores 2");
    pilot
        .sh(&format!(
            "scalems submit --array 10-19 --name dock --shell --wait -- '{SOME_FAIL}'"
        ))
        .fails(1, &["3 failed"]);
    pilot.home.write("fixed", "");
    let said = pilot
        .sh("scalems --output json task retry state:failed --wait")
        .well()
        .json();
    assert_eq!(
        said["submissions"],
        serde_json::json!([{"submission": 2, "tasks": 3, "again": 1}])
    );
    assert_eq!(said["tasks"]["done"], 3);
    assert_eq!(pilot.sh("scalems logs 2").well().out, "12\n17\n18\n");
    assert_eq!(pilot.sh("scalems logs 2.17").well().out, "17\n");
    assert_eq!(pilot.sh("scalems logs -f 2.18").well().out, "18\n");
    let lines = pilot.sh("scalems --output jsonl logs 2").well().jsonl();
    let tasks: Vec<_> = lines.iter().map(|line| line["task"].as_str().unwrap()).collect();
    assert_eq!(tasks, ["2.12", "2.17", "2.18"]);
    let listed = pilot.sh("scalems task list 2").well().out;
    assert!(
        ["2.12 ", "2.17 ", "2.18 "]
            .iter()
            .all(|task| listed.contains(task)),
        "{listed}"
    );
    let why = pilot.sh("scalems task explain 1.17").well().out;
    assert!(why.contains("submitted again, as 2.17"), "{why}");
    // What was submitted again is not again unless that is wanted.
    pilot
        .sh("scalems task retry state:failed")
        .fails(1, &["was not submitted again before", "--repeat"]);
    pilot
        .sh("scalems task retry 1")
        .fails(1, &["was not submitted again before"]);
    let said = pilot
        .sh("scalems --output quiet task retry 1.10-17 --repeat")
        .well();
    assert_eq!(said.out, "3\n");
    pilot.sh("scalems wait 3").well();
    assert_eq!(pilot.sh("scalems logs 3").well().out, "12\n17\n");
    pilot
        .sh("scalems task retry 1,state:done")
        .fails(1, &["not those that are done"]);
    pilot
        .sh("scalems task retry 9")
        .fails(1, &["no task that is known here matches"]);
    pilot.stop();
}

#[test]
fn each_with_its_line_also_after_the_agent_died() {
    let mut pilot = Pilot::start("--cores 2");
    // More than go together, so that they are added to one another.
    let fails = "test -e fixed || test $(({} % 500)) -ne 7 || exit 1; echo {}".replace("{}", "%{LINE}");
    pilot
        .sh(&format!(
            "seq 3000 | scalems submit --each-line - --wait --shell -- '{fails}' >/dev/null"
        ))
        .fails(1, &["6 failed"]);
    pilot.kill_all();
    pilot.resume("--cores 2");
    pilot.home.write("fixed", "");
    let said = pilot
        .sh("scalems --output jsonl task retry last --wait")
        .well()
        .jsonl();
    assert_eq!((&said[0]["tasks"], &said[1]["done"]), (&6.into(), &6.into()));
    assert_eq!(
        pilot.sh("scalems logs last").well().out,
        "7\n507\n1007\n1507\n2007\n2507\n"
    );
    // Lines are counted from 0.
    let rows = pilot.sh("scalems --output jsonl task list last").well().jsonl();
    let indices: Vec<u64> = rows
        .iter()
        .map(|row| row["indices"][0].as_u64().unwrap())
        .collect();
    assert_eq!(rows.len(), 6, "{indices:?}");
    pilot.stop();
}

#[test]
fn what_comes_after_comes_after_them_again() {
    let pilot = Pilot::start("--cores 2");
    pilot.sh("scalems submit --name first -- test -e fixed").well();
    pilot
        .sh("scalems submit --name second --after 1 --wait -- echo second")
        .fails(1, &["1 canceled"]);
    let mut gate = Fifo::new(&pilot.home.work(), "gate");
    pilot.home.write("fixed", "");
    // It waits for what failed, which is there again.
    pilot
        .sh("scalems submit --name other --cores 2 --shell -- 'read line <gate'")
        .well();
    pilot.sh("scalems --output quiet task retry 1").well();
    pilot
        .sh("scalems --output quiet task retry 2,state:canceled")
        .well();
    let why = pilot.sh("scalems task explain 5.0").well().out;
    assert!(why.contains("waits for submission 4"), "{why}");
    gate.release(1);
    pilot.sh("scalems wait 4-5").well();
    assert_eq!(pilot.sh("scalems logs 5").well().out, "second\n");
    pilot.stop();
}

#[test]
fn one_that_is_refused_does_not_keep_the_others() {
    let mut pilot = Pilot::start("--cores 2");
    for needs in ["1", "2", "1"] {
        pilot
            .sh(&format!("scalems submit --cores {needs} --wait -- false"))
            .fails(1, &["1 failed"]);
    }
    pilot.kill_all();
    // No worker will have two cores any more.
    pilot.resume("--cores 1 --closed");
    pilot.sh("scalems pilot wait --workers 1 --timeout 60s").well();
    let said = pilot
        .sh("scalems --output json task retry all")
        .fails(1, &["submission 2: ", "one task needs 2 cores"]);
    let rows = said.json();
    let again: Vec<_> = rows.as_array().unwrap().iter().map(|row| &row["again"]).collect();
    assert_eq!(again, [1, 3]);
    pilot.stop();
}
