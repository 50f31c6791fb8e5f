//! What a run was, from its journal: as a trace and as a page, of pilots that run, have ended, or were killed.

use std::collections::BTreeMap;

use scalems_client::Task;
use scalems_tests::pilot::{Home, PATIENCE, Pilot};
use serde_json::Value;

/// A trace's events of one phase.
fn events<'a>(trace: &'a Value, phase: &'a str) -> impl Iterator<Item = &'a Value> {
    let all = trace["traceEvents"].as_array().expect("it has events").iter();
    all.filter(move |event| event["ph"] == phase)
}

fn ended(trace: &Value) -> Value {
    let last = events(trace, "C")
        .filter(|event| event["name"] == "tasks ended")
        .last();
    last.map(|event| event["args"].clone()).unwrap_or_default()
}

fn read(home: &Home, name: &str) -> Value {
    serde_json::from_str(&home.read(name)).expect("it is JSON")
}

#[test]
fn a_run_is_told_while_it_goes_on_when_it_was_killed_and_when_it_has_ended() {
    let often = "--beat 100ms --lost-after 1s --orphan-time 5s";
    let mut pilot = Pilot::start(&format!("--cores 2 --overcommit {often}"));
    let first = pilot.submit("--name first --array 0-5 -- sleep 0.1");
    let second = pilot.submit(&format!(
        "--name second --after {first} -- sh -c 'echo bad input >&2; exit 3'"
    ));
    pilot.submit("--name again --retries 1 -- sh -c 'test $SCALEMS_ATTEMPT = 2'");
    pilot.sh("scalems wait all").fails(1, &[]);
    // The agent has the journal open, and goes on undisturbed.
    let said = pilot
        .sh("scalems --output json trace export --out live.json")
        .well()
        .json();
    assert_eq!(
        (said["slices"].as_u64(), said["flows"].as_u64()),
        (Some(9), Some(1)),
        "{said}"
    );
    let live = read(&pilot.home, "live.json");
    let wanted = serde_json::json!({"done": 7, "failed": 1, "canceled": 0});
    assert_eq!(
        (ended(&live), &live["otherData"]["live"]),
        (wanted.clone(), &Value::Bool(true))
    );
    pilot.sh("scalems report live.html").well();
    assert!(
        pilot
            .home
            .read("live.html")
            .contains("The pilot runs; all of its tasks so far have ended.")
    );
    pilot.submit("-- sleep 60");
    pilot
        .sh("scalems trace export --out live.json")
        .fails(1, &["live.json"]);
    pilot.kill_all();
    let killed = pilot.sh("scalems trace export").well().json();
    assert_eq!(
        (ended(&killed), &killed["otherData"]["live"]),
        (wanted, &Value::Bool(false))
    );
    assert_eq!(killed["otherData"]["unfinished"], 1);
    let mut rows: BTreeMap<(u64, u64), Vec<(u64, u64)>> = BTreeMap::new();
    for event in events(&killed, "X") {
        let number = |key: &str| event[key].as_u64().unwrap_or_else(|| panic!("{key} in {event}"));
        let row = rows.entry((number("pid"), number("tid"))).or_default();
        row.push((number("ts"), number("ts") + number("dur")));
    }
    for (row, mut slices) in rows {
        slices.sort_unstable();
        assert!(
            slices.windows(2).all(|pair| pair[0].1 <= pair[1].0),
            "{row:?}: {slices:?}"
        );
    }
    let failed: Vec<_> = events(&killed, "X")
        .filter(|event| event["cat"] == "failed")
        .collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0]["args"]["task"], format!("{second}.0"));
    assert_eq!(failed[0]["args"]["error"]["code"], "exit_code");
    // A page that is there is written anew; what is no page of ours is not.
    pilot.sh("scalems report --html live.html").well();
    let page = pilot.home.read("live.html");
    assert!(page.contains("did not end in order") && page.contains("1 task had not ended"));
    assert!(page.contains("bad input"), "the last of what it wrote is there");
    pilot.home.write("mine.html", "my own page");
    pilot
        .sh("scalems report mine.html")
        .fails(1, &["mine.html", "another name"]);
    assert_eq!(pilot.home.read("mine.html"), "my own page");
    // Nothing was changed: it goes on.
    pilot.resume(often);
    pilot.sh("scalems task cancel all").well();
    pilot.stop();
}

#[test]
fn what_there_is_no_journal_of_is_refused_with_what_to_do() {
    let pilot = Pilot::start("--journal none");
    pilot
        .sh("scalems trace export")
        .fails(1, &["runs without a journal", "--journal none"]);
    pilot
        .sh("scalems report run.html")
        .fails(1, &["runs without a journal"]);
    pilot
        .sh("scalems trace export --pilot other")
        .fails(1, &["no journal at", "--pilot NAME"]);
    pilot
        .sh("scalems trace export nowhere.sqlite")
        .fails(1, &["nowhere.sqlite"]);
    pilot.sh("echo text >text.sqlite; chmod 600 text.sqlite").well();
    pilot
        .sh("scalems trace export text.sqlite --out x.json")
        .fails(1, &["not a journal"]);
    pilot.sh("test ! -e x.json").well();
    pilot.sh("scalems trace export --slices 0").fails(2, &["slices"]);
    pilot
        .sh("scalems report --journal text.sqlite")
        .fails(2, &["run.html"]);
    pilot.sh("scalems report run.html --by mode").fails(2, &["--by"]);
    pilot.sh("scalems report 1 --html run.html").fails(2, &[]);
    pilot.stop();
}

#[test]
fn a_million_tasks_make_a_small_page_and_a_small_trace() {
    let pilot = Pilot::start("--cores 2 --overcommit");
    let session = pilot.session();
    let count = 1_000_000;
    let array = session.submit_array(Task::new("scalems.noop"), 0..count).unwrap();
    array.wait(PATIENCE).unwrap();
    drop(array);
    drop(session);
    let told = pilot.sh("scalems report run.html").well();
    assert!(told.out.contains("1,000,000"), "{told:?}");
    let page = pilot.home.read("run.html");
    assert!(page.len() < 150_000, "{} bytes", page.len());
    let place = pilot.directory();
    pilot
        .sh(&format!(
            "scalems trace export {} --out run.json",
            place.display()
        ))
        .well();
    let trace = pilot.home.read("run.json");
    assert!(trace.len() < 4_000_000, "{} bytes", trace.len());
    assert_eq!(ended(&serde_json::from_str(&trace).unwrap())["done"], count);
    pilot.stop();
}
