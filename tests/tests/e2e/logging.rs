//! What agent and workers say of themselves: where to, how, how much, and changed while they run.

use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use scalems_tests::pilot::{Home, Pilot, Running};
use serde_json::Value;

/// The own logs of a pilot by name.
fn logs(home: &Home, pilot: &str) -> Vec<(String, PathBuf)> {
    let entries = std::fs::read_dir(home.of_pilot(pilot).join("own-logs")).unwrap();
    let mut all: Vec<_> = entries
        .map(|entry| {
            let entry = entry.unwrap();
            (entry.file_name().into_string().unwrap(), entry.path())
        })
        .collect();
    all.sort();
    all
}

fn lines(path: &PathBuf) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        // A thread writes them: the last may not be whole yet.
        .filter(|line| line.ends_with('}'))
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

/// Follows a log from its beginning.
fn follow(home: &Home, path: &Path) -> Running {
    home.spawn(&format!("tail -n +1 -F {}", path.display()))
}

/// Waits until a line of a log has this message.
#[track_caller]
fn until(log: &Running, message: &str) -> Value {
    let has = format!("\"message\":\"{message}\"");
    let text = log.until_written(&has);
    let line = text.lines().find(|line| line.contains(&has)).unwrap();
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

#[test]
fn a_pilot_behind_logs_to_files_of_its_own() {
    let home = Home::new();
    home.sh("scalems pilot start --detach --restart --workers 2 --log-format json")
        .well();
    home.sh("scalems pilot wait --workers 2 --timeout 60s").well();
    home.sh("scalems submit --wait -- true").well();
    let all = logs(&home, "default");
    let names: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names.len(), 4, "{names:?}");
    assert_eq!(names[..2], ["agent.log", "parent.log"], "{names:?}");
    assert!(
        names[2..].iter().all(|name| name.starts_with("worker-")),
        "{names:?}"
    );
    let agent = &all[0].1;
    let followed = follow(&home, agent);
    assert_eq!(until(&followed, "the agent serves")["pilot"], "default");
    let joined = until(&followed, "a worker has joined, or has come back");
    assert_eq!(joined["level"], "INFO");
    assert_eq!(joined["target"], "scalems_agent::bus::notes");
    assert!(joined["worker"].is_u64(), "{joined}");
    assert!(joined["timestamp"].as_str().unwrap().ends_with('Z'), "{joined}");
    drop(followed);
    home.sh("scalems pilot stop").well();
    home.until_empty();
    // What was said last is there too.
    for (end, log) in [
        ("the agent has ended in order", agent),
        ("the worker has ended", &all[2].1),
    ] {
        assert!(lines(log).iter().any(|line| line["message"] == end), "{end}");
    }
    home.sh("scalems pilot remove default").well();
    assert!(
        !home.of_pilot("default").exists(),
        "something of the pilot is left"
    );
}

#[test]
fn levels_change_while_a_pilot_runs() {
    let home = Home::new();
    home.sh("scalems pilot start --detach --log-format json").well();
    home.sh("scalems pilot wait --workers 1 --timeout 60s").well();
    let all = logs(&home, "default");
    let (agent, worker) = (&all[0].1, &all[1].1);
    let leased = "leases are granted";
    home.sh("scalems submit --wait -- true").well();
    let said = home
        .sh("scalems pilot log-level info,scalems_agent::bus=trace,scalems_agent::worker=debug")
        .well();
    assert!(said.out.contains("the agent and 1 workers"), "{}", said.out);
    home.sh("scalems submit --wait -- true").well();
    let followed = follow(&home, agent);
    until(&followed, leased);
    assert_eq!(until(&follow(&home, worker), "starting")["level"], "DEBUG");
    // One that joins later is told the same.
    let second = home.spawn("scalems worker start --name second --cores 1 --log-to files --log-format json");
    home.sh("scalems pilot wait --workers 2 --timeout 60s").well();
    let second_log = logs(&home, "default")
        .into_iter()
        .find(|(name, _)| name == "worker-second.log")
        .unwrap()
        .1;
    home.sh("scalems submit --array 0-20 --cores 1 --wait -- true")
        .well();
    let said = home
        .sh("scalems --output json pilot log-level --reset")
        .well()
        .json();
    assert_eq!(
        said,
        serde_json::json!({"agent": true, "workers": 2, "levels": ""})
    );
    followed.until_written("\"levels\":\"info\"");
    follow(&home, &second_log).until_written("\"levels\":\"info,scalems_agent::bus=trace");
    let count = || {
        lines(agent)
            .iter()
            .filter(|line| line["message"] == leased)
            .count()
    };
    let before = count();
    home.sh("scalems submit --wait -- true").well();
    home.sh("scalems pilot log-level error --worker 1").well();
    home.sh("scalems pilot stop").well();
    second.output().well();
    drop(followed);
    home.until_empty();
    assert_eq!(count(), before, "more is logged than there should be");
}

#[test]
fn levels_that_are_none_are_refused_and_change_nothing() {
    let pilot = Pilot::start("");
    for (levels, why) in [
        (
            "loud",
            "\"loud\" is no level of a log: write off, error, warn, info, debug, trace",
        ),
        ("a-b=info", "names no target of a log"),
        ("'x[{y}]=info'", "names no target of a log"),
    ] {
        pilot
            .sh(&format!("scalems pilot log-level {levels}"))
            .fails(2, &[why]);
    }
    pilot
        .sh("scalems pilot log-level info --worker 99")
        .fails(1, &["no worker 99 can be told", "scalems worker list"]);
    // By the library no check comes before the agent's.
    let error = pilot
        .session()
        .set_log_levels(None, "info,[")
        .unwrap_err()
        .to_string();
    assert!(error.contains("no level of a log"), "{error}");
    pilot
        .sh("scalems pilot start --name other --log-level 'a=b=c'")
        .fails(2, &["does not say what to log"]);
    pilot.stop();
}

#[test]
fn in_front_a_log_is_at_standard_error_unless_it_is_to_be_in_files() {
    let home = Home::new();
    let agent = home.spawn("scalems pilot start --log-level info --log-format json");
    agent.until_written("Ctrl-C");
    home.sh("scalems pilot wait --workers 1 --timeout 60s").well();
    assert!(!home.of_pilot("default").join("own-logs").exists());
    assert_eq!(until(&agent, "the agent serves")["level"], "INFO");
    // The workers' processes say theirs in the same form.
    agent.until_written("\"message\":\"joined pilot ");
    agent.signal(Signal::SIGINT);
    agent.output().well();
    home.until_empty();
}
