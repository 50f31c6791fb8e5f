//! `scalems events`: what is known, what happens, and how it ends.

use nix::sys::signal::Signal;
use scalems_tests::pilot::{Fifo, Home, Pilot, Running, process};
use serde_json::Value;

/// The lines that have come so far, without one that is not whole yet.
fn lines(text: &str) -> Vec<Value> {
    text.split_inclusive('\n')
        .filter(|line| line.ends_with('\n') && line.starts_with('{'))
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

/// Waits for the first line of this topic and kind.
#[track_caller]
fn until(events: &Running, topic: &str, kind: &str) -> Value {
    let has = format!("\"topic\":\"{topic}\",\"kind\":\"{kind}\",");
    let text = events.until_written(&has);
    // The rest of the line comes in the same write, which may be read in two.
    let text = if lines(&text).iter().any(|line| is(line, topic, kind)) {
        text
    } else {
        events.until_written(&format!("{}\n", text.lines().last().unwrap()))
    };
    lines(&text)
        .into_iter()
        .find(|line| is(line, topic, kind))
        .unwrap()
}

fn is(line: &Value, topic: &str, kind: &str) -> bool {
    line["topic"] == topic && line["kind"] == kind
}

/// What every line has.
#[track_caller]
fn well_formed(line: &Value) {
    let at = line["at"].as_str().unwrap();
    assert!(
        at.len() == 24 && at.starts_with("20") && at.ends_with('Z'),
        "{line}"
    );
    assert!(line["at_ms"].is_u64(), "{line}");
    assert!(line["topic"].is_string() && line["kind"].is_string(), "{line}");
}

#[test]
fn what_is_known_now_is_told_and_that_is_all() {
    let pilot = Pilot::start("--workers 2");
    let number = pilot.submit("--array 0-9 --wait -- true");
    let rows = pilot
        .sh("scalems --output jsonl events --topic summary --topic workers last")
        .well()
        .jsonl();
    rows.iter().for_each(well_formed);
    let of = |topic: &str| -> Vec<&Value> { rows.iter().filter(|row| row["topic"] == topic).collect() };
    assert_eq!(rows.len(), 4, "{rows:?}");
    assert_eq!(of("workers").len(), 2);
    for row in of("workers") {
        assert_eq!((&row["kind"], &row["state"]), (&"state".into(), &"active".into()));
        assert!(
            row["worker"].is_u64() && row["name"].is_string() && row["pid"].is_u64(),
            "{row}"
        );
    }
    assert_eq!(of("summary")[0]["tasks"]["done"], 10);
    assert_eq!(of("summary")[0]["workers"]["active"], 2);
    let submission = of(&format!("submission/{number}"))[0];
    assert_eq!(submission["kind"], "state");
    assert_eq!(submission["submission"], number);
    assert_eq!(submission["tasks"]["done"], 10);
    // What went wrong, and how the agent is.
    pilot.sh("scalems submit --wait -- sh -c 'exit 3'").fails(1, &[]);
    let rows = pilot
        .sh("scalems --output jsonl events --topic submissions --topic faults --topic health")
        .well()
        .jsonl();
    rows.iter().for_each(well_formed);
    let of = |topic: &str| -> Vec<&Value> { rows.iter().filter(|row| row["topic"] == topic).collect() };
    assert_eq!(of("submissions").len(), 2, "{rows:?}");
    assert_eq!(
        (&of("faults")[0]["what"], &of("faults")[0]["failed"]),
        (&"exit 3".into(), &1.into())
    );
    assert_eq!(of("health")[0]["ended"], 11);
    // For people, without what is not asked for.
    let said = pilot.sh("scalems events").well().out;
    assert_eq!(said.lines().count(), 2, "{said}");
    assert!(said.contains("is active"), "{said}");
    pilot
        .sh("scalems --output json events")
        .fails(2, &["--output jsonl"]);
    pilot
        .sh("scalems events 77")
        .fails(1, &["no task that is known here matches"]);
    pilot.stop();
}

#[test]
fn who_follows_a_submission_hears_its_end() {
    let pilot = Pilot::start("");
    let mut gate = Fifo::new(&pilot.home.work(), "gate");
    let number = pilot.submit("--array 1-3 -- sh -c 'read go < gate; test $SCALEMS_INDEX != 2'");
    let mut events = pilot.home.spawn("scalems --output jsonl events -f last");
    let state = until(&events, &format!("submission/{number}"), "state");
    assert_eq!(state["tasks"]["done"], 0);
    gate.release(3);
    assert!(events.status().success());
    let rows = lines(&events.output().out);
    rows.iter().for_each(well_formed);
    assert_eq!(rows[0]["topic"], "agent");
    assert_eq!(rows[0]["kind"], "connected");
    let last = rows.last().unwrap();
    assert!(is(last, &format!("submission/{number}"), "ended"), "{last}");
    assert_eq!(
        (&last["tasks"]["done"], &last["tasks"]["failed"]),
        (&2.into(), &1.into())
    );
    // What has ended already is over at once.
    let said = pilot.sh(&format!("scalems events -f {number}")).well().out;
    assert!(
        said.contains(&format!("submission {number} has ended: 2 done, 1 failed")),
        "{said}"
    );
    pilot.stop();
}

#[test]
fn a_lost_worker_and_another_agent_are_told_of() {
    let home = Home::new();
    home.sh("scalems pilot start --detach --restart --lost-after 2s")
        .well();
    home.sh("scalems pilot wait --workers 1 --timeout 60s").well();
    let events = home.spawn("scalems --output jsonl events -f");
    until(&events, "workers", "state");
    let worker = &home.sh("scalems --output json worker list").well().json()[0];
    process::signal(worker["pid"].as_u64().unwrap() as u32, Signal::SIGKILL);
    let lost = until(&events, "workers", "lost");
    assert_eq!(lost["worker"], worker["worker"]);
    let alarm = until(&events, "alarms", "worker_lost");
    well_formed(&alarm);
    assert_eq!(alarm["about"], worker["name"]);
    // Its keeper starts another one.
    until(&events, "workers", "joined");
    let agent = home.sh("scalems --output json pilot list").well().json()[0]["pid"]
        .as_u64()
        .unwrap();
    home.note_killed();
    process::signal(agent as u32, Signal::SIGKILL);
    let lost = until(&events, "agent", "lost");
    let restarted = until(&events, "agent", "restarted");
    assert_eq!(
        restarted["incarnation"].as_u64().unwrap(),
        lost["incarnation"].as_u64().unwrap() + 1
    );
    // A worker that is on its way back would look for the agent for two minutes more.
    home.sh("scalems pilot wait --workers 1 --timeout 60s").well();
    home.sh("scalems pilot stop").well();
    let ended = until(&events, "agent", "ended");
    assert!(ended["reason"].as_str().unwrap().contains("stopping"), "{ended}");
    events.output().well();
    home.until_empty();
}

#[test]
fn an_observer_s_file_is_enough() {
    let pilot = Pilot::start("");
    let file = pilot.directory().join("observer.json");
    let said = pilot
        .sh(&format!(
            "mkdir mine && chmod 700 mine && cp {0} mine/ && SCALEMS_CONNECTION=mine/observer.json scalems events",
            file.display()
        ))
        .well();
    assert!(said.out.contains("is active"), "{}", said.out);
    pilot.stop();
}

#[test]
fn a_reader_that_goes_ends_it_quietly() {
    let pilot = Pilot::start("");
    let events = pilot
        .home
        .spawn("sh -c 'scalems events -f --topic summary | head -n 1'");
    events.until_written("listening to pilot");
    // It notices with its next line.
    pilot.submit("--wait -- true");
    let said = events.output().well();
    assert_eq!(said.err, "");
    let mut events = pilot.home.spawn("scalems events -f");
    events.until_written("is active");
    events.signal(Signal::SIGINT);
    assert_eq!(events.status().code(), Some(130));
    pilot.stop();
}
