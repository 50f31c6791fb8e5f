//! The replay of a run, from the journal of a pilot that was killed: what it shows is what the journal says.

use std::collections::BTreeMap;

use scalems_tests::pilot::Pilot;
use scalems_tests::terminal::{Terminal, has_terminal};

/// A pilot that had something of everything, and was killed with its agent, workers and tasks.
fn killed() -> Pilot {
    let mut pilot = Pilot::start("--cores 4 --overcommit --beat 100ms --lost-after 1s --orphan-time 5s");
    pilot.submit("--name docking --array 0-19 -- sh -c 'test $SCALEMS_INDEX -lt 17'");
    pilot.submit("--name broken -- sh -c 'echo went in; echo fell over >&2; exit 3'");
    pilot.submit("--name again --retries 2 -- sh -c 'test $SCALEMS_ATTEMPT = 3'");
    pilot.sh("scalems wait all").fails(1, &[]);
    let left = pilot.submit("--name left --array 0-2 -- sleep 60");
    pilot.sh(&format!("scalems task cancel {left}.1")).well();
    pilot.kill_all();
    pilot
}

/// Tasks by submission and state, as the journal's export has them.
fn exported(pilot: &Pilot) -> BTreeMap<u64, BTreeMap<String, u64>> {
    let mut counts: BTreeMap<u64, BTreeMap<String, u64>> = BTreeMap::new();
    for row in pilot.sh("scalems journal export").well().jsonl() {
        let (Some(submission), Some(state)) = (row["submission"].as_u64(), row["state"].as_str()) else {
            continue;
        };
        *counts
            .entry(submission)
            .or_default()
            .entry(state.to_owned())
            .or_default() += 1;
    }
    counts
}

#[test]
fn what_a_replay_ends_with_is_what_the_journal_has() {
    let pilot = killed();
    let shown = pilot
        .sh("scalems --output json top --replay --once")
        .well()
        .json();
    let mut counts: BTreeMap<u64, BTreeMap<String, u64>> = BTreeMap::new();
    for row in shown["submissions"].as_array().expect("there are submissions") {
        let of = counts
            .entry(row["submission"].as_u64().expect("it has a number"))
            .or_default();
        for (state, count) in row["tasks"].as_object().expect("it has counts") {
            let count = count.as_u64().expect("a count is a number");
            let state = if ["done", "failed", "canceled"].contains(&state.as_str()) {
                state
            } else {
                "unfinished"
            };
            if count > 0 {
                *of.entry(state.to_owned()).or_default() += count;
            }
        }
    }
    assert_eq!(counts, exported(&pilot));
    assert_eq!(
        counts[&1],
        BTreeMap::from([("done".to_owned(), 17), ("failed".to_owned(), 3)])
    );
    assert_eq!(shown["pilot"]["tasks"]["failed"], 4);
    assert_eq!(shown["alarms"][0]["alarm"], "no_end");
    let failed = shown["faults"].as_array().expect("there are faults").iter();
    let failed: u64 = failed.filter_map(|group| group["failed"].as_u64()).sum();
    assert_eq!(failed, 4);
    // It is named by its directory or its file, too, and nothing of it was changed.
    let by_path = format!(
        "scalems --output json top --once --replay {}",
        pilot.directory().display()
    );
    assert_eq!(pilot.sh(&by_path).well().json()["pilot"], shown["pilot"]);
    pilot
        .sh("scalems top --once --replay nowhere.sqlite")
        .fails(1, &["no journal at nowhere.sqlite"]);
    let screen = pilot
        .sh("scalems top --once --screen submissions --replay")
        .well();
    assert!(screen.text().contains("docking"), "{}", screen.text());
}

#[test]
fn a_crashed_run_is_gone_through_by_keys() {
    if !has_terminal() {
        return;
    }
    let pilot = killed();
    let mut terminal = Terminal::start(&pilot.home, (100, 30), &[]);
    terminal.line("scalems top --replay --no-settings");
    terminal.until_all(&["replay", "standing", "no_end"]);
    // At the beginning nothing has happened yet; the first fault is one of the array's.
    terminal.keys(&["3", "Home"]);
    terminal.until("standing");
    terminal.text("/state=failed");
    terminal.keys(&["Enter"]);
    terminal.until("There are no tasks");
    terminal.keys(&["n"]);
    let has = |screen: &str, tasks: &[&str]| tasks.iter().any(|task| screen.contains(&format!(" {task} ")));
    terminal.until_screen("the first that failed, and no later one", |screen| {
        has(screen, &["1.17", "1.18", "1.19", "1.17-18", "1.18-19", "1.17-19"]) && !has(screen, &["2.0"])
    });
    // Through all of them, to the one that printed why.
    terminal.text("5");
    terminal.keys(&["End"]);
    terminal.until_all(&["exit 3", "exit 1", "what had gone wrong"]);
    terminal.keys(&["3"]);
    terminal.until_screen("all that failed", |screen| has(screen, &["2.0"]));
    // Nothing can be done to it.
    terminal.keys(&["c"]);
    terminal.keys(&["?"]);
    let help = terminal.until("Keys");
    assert!(!help.contains("Sure?"), "{help}");
    terminal.keys(&["/"]);
    terminal.text("fault");
    terminal.until_all(&["To the next fault.", "To the fault before."]);
    terminal.keys(&["C-c"]);
    terminal.until_back("scalems top --replay");
}
