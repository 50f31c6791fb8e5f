//! Pilots: started, found, waited for, stopped.

use std::os::unix::fs::PermissionsExt as _;

use nix::sys::signal::Signal;
use scalems_client::protocol::Code;
use scalems_client::{ClientError, SessionEnd, Task};
use scalems_tests::pilot::{Fifo, Home, PATIENCE, Pilot, until_tasks};

#[test]
fn a_pilot_behind_from_start_to_stop() {
    let home = Home::new();
    let said = home.sh("scalems pilot start --detach").well();
    assert!(
        said.text().starts_with("pilot default runs behind (process "),
        "{}",
        said.out
    );
    let said = home.sh("scalems pilot wait --workers 1 --timeout 30s").well();
    assert!(said.out.contains("1 active"), "{}", said.out);
    let list = home.sh("scalems pilot list").well();
    assert_eq!(list.out.lines().count(), 2, "{}", list.out);
    assert!(
        list.out.lines().nth(1).unwrap().starts_with("default "),
        "{}",
        list.out
    );
    assert!(home.sh("scalems pilot info").well().out.contains("modes"));
    assert_eq!(
        home.sh("scalems submit --wait -- echo hello").well().out,
        "hello\n"
    );
    let said = home.sh("scalems pilot stop").well();
    assert_eq!(said.text(), "pilot default has ended");
    home.until_empty();
    assert_eq!(home.sh("scalems --output jsonl pilot list").well().out, "");
    home.sh("scalems pilot info")
        .fails(3, &["no pilot runs here", "scalems pilot start"]);
}

#[test]
fn a_name_is_taken_once() {
    let pilot = Pilot::start("--name one");
    for how in ["", "--detach"] {
        let said = pilot.sh(&format!("scalems pilot start --name one {how}"));
        said.fails(1, &["\"one\" runs already", "scalems pilot stop --pilot one"]);
    }
    assert_eq!(
        pilot.sh("scalems submit --wait -- echo still here").well().text(),
        "still here"
    );
    pilot.stop();
}

#[test]
fn with_several_pilots_one_is_named() {
    let pilot = Pilot::start("--name one");
    pilot.sh("scalems pilot start --name two --detach").well();
    pilot
        .sh("scalems submit -- true")
        .fails(3, &["several pilots run: one, two", "--pilot"]);
    assert_eq!(
        pilot
            .sh("scalems --output quiet --pilot two pilot info")
            .well()
            .text(),
        "two"
    );
    assert_eq!(
        pilot
            .sh("SCALEMS_PILOT=one scalems --output quiet pilot info")
            .well()
            .text(),
        "one"
    );
    pilot
        .sh("scalems --pilot three pilot info")
        .fails(3, &["no pilot \"three\"", "these run: one, two"]);
    pilot.sh("scalems pilot stop --pilot two").well();
    assert_eq!(pilot.sh("scalems --output quiet pilot info").well().text(), "one");
    pilot.stop();
}

#[test]
fn what_a_pilot_writes_is_for_its_user_alone() {
    let pilot = Pilot::start("--tcp");
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&pilot.directory()), 0o700);
    for role in ["client", "worker", "observer"] {
        assert_eq!(
            mode(&pilot.directory().join(format!("{role}.json"))),
            0o600,
            "{role}"
        );
    }
    let sockets: Vec<_> = std::fs::read_dir(pilot.home.sockets())
        .unwrap()
        .flatten()
        .collect();
    assert!(!sockets.is_empty() && sockets.iter().all(|entry| mode(&entry.path()) == 0o700));
    pilot.stop();
}

#[test]
fn without_a_pilot_every_command_says_so() {
    let home = Home::new();
    for line in [
        "submit -- true",
        "task list",
        "task info 1",
        "wait all",
        "logs 1",
        "worker list",
        "worker start",
        "pilot info",
        "pilot stop",
        "pilot wait --timeout 1s",
        "--pilot gone pilot info",
    ] {
        home.sh(&format!("scalems {line}")).fails(3, &["pilot"]);
    }
    assert_eq!(home.sh("scalems --output quiet pilot list").well().out, "");
    home.sh("env -u SCALEMS_HOME -u HOME scalems pilot info")
        .fails(3, &["SCALEMS_HOME"]);
}

#[test]
fn what_cannot_be_read_is_a_usage_error() {
    let home = Home::new();
    for line in [
        "",
        "nonsense",
        "submit",
        "submit -- ",
        "submit --array 5-1 -- true",
        "submit --array 0-5000000 -- true",
        "submit --time-limit soon -- true",
        "submit --after 1:never -- true",
        "submit --cwd /tmp --own-dir -- true",
        "submit --cores -1 -- true",
        "submit --timeout 5s -- true",
        "task info nonsense",
        "task cancel 1 --withdraw --kill",
        "wait",
        "wait 1 --timeout 1x",
        "--output odd pilot list",
        "pilot start --workers 1 --no-workers",
        "pilot start --tcp-only",
    ] {
        home.sh(&format!("scalems {line}"))
            .fails(2, &["--help"][..usize::from(!line.is_empty())]);
    }
    home.sh("scalems pilot start --name ../up")
        .fails(1, &["no name for a pilot"]);
}

#[test]
fn waiting_for_workers_that_do_not_come() {
    let pilot = Pilot::start("--no-workers");
    let said = pilot.sh("scalems pilot wait --workers 1 --timeout 100ms");
    said.fails(4, &["0 of 1 workers joined"]);
    pilot.sh("scalems pilot wait --workers 0").well();
    pilot.stop();
}

#[test]
fn stopping_lets_running_tasks_end_for_the_drain_time() {
    let mut pilot = Pilot::start("--cores 1");
    let mut ready = Fifo::new(&pilot.home.work(), "ready");
    let mut gate = Fifo::new(&pilot.home.work(), "gate");
    pilot.submit("-- sh -c 'echo up > ready; read go < gate; echo ended > mark'");
    pilot.submit("-- sh -c 'echo never > started-late'");
    assert_eq!(ready.line(), "up");
    let stop = pilot.home.spawn("scalems pilot stop --drain 1m");
    let session = pilot.session();
    until_stopping(&session);
    pilot.sh("scalems submit -- true").fails(1, &["[stopping]"]);
    drop(session);
    gate.release(1);
    assert_eq!(stop.output().well().text(), "pilot default has ended");
    pilot.expect_end();
    assert_eq!(pilot.home.read("mark"), "ended\n");
    assert!(!pilot.home.work().join("started-late").exists());
}

/// Waits until the agent says that it is ending.
fn until_stopping(session: &scalems_client::Session) {
    let mut events = session.events(scalems_client::protocol::event::Topic::Workers);
    while !session.ask_status().unwrap().stopping {
        events
            .next_within(PATIENCE)
            .unwrap()
            .expect("the pilot is still there");
    }
}

#[test]
fn stopping_without_a_drain_time_ends_what_runs() {
    let mut pilot = Pilot::start("");
    let mut ready = Fifo::new(&pilot.home.work(), "ready");
    pilot.submit("-- sh -c 'echo up > ready; exec sleep 600'");
    ready.line();
    pilot.sh("scalems pilot stop").well();
    pilot.expect_end();
}

#[test]
fn a_signal_drains_in_order() {
    let mut pilot = Pilot::start("--cores 1");
    let mut ready = Fifo::new(&pilot.home.work(), "ready");
    let mut gate = Fifo::new(&pilot.home.work(), "gate");
    let session = pilot.session();
    let running = pilot.line("echo up > ready; read go < gate; echo well");
    let running = session.submit(running).unwrap();
    ready.line();
    let queued = session.submit(pilot.line("echo late")).unwrap();
    session.wait_accepted(PATIENCE).unwrap();
    pilot.signal(Signal::SIGTERM);
    until_stopping(&session);
    let late = session.submit(Task::new("scalems.noop")).unwrap();
    let refused = late.wait(PATIENCE).unwrap_err();
    assert!(
        matches!(&refused, ClientError::Refused { refusal, .. } if refusal.code == Code::Stopping),
        "{refused}"
    );
    gate.release(1);
    // First what runs ends and its result is delivered, then the session is told to go.
    let result = running.wait(PATIENCE).unwrap();
    assert_eq!(result.program().unwrap().stdout, b"well\n");
    let told = queued.wait(PATIENCE);
    assert!(!matches!(&told, Ok(result) if result.is_done()), "{told:?}");
    pilot.expect_end();
    assert!(
        matches!(session.over(), Some(SessionEnd::Detached(_))),
        "{:?}",
        session.over()
    );
}

#[test]
fn a_second_signal_does_not_wait() {
    let mut pilot = Pilot::start("");
    let mut ready = Fifo::new(&pilot.home.work(), "ready");
    let number = pilot.submit("-- sh -c 'trap \"\" TERM; echo up > ready; while :; do sleep 600; done'");
    ready.line();
    let session = pilot.session();
    until_tasks(&session, number, |counts| counts.running == 1);
    pilot.signal(Signal::SIGTERM);
    until_stopping(&session);
    pilot.signal(Signal::SIGINT);
    pilot.expect_end();
}

#[test]
fn a_killed_agent_leaves_its_name_free() {
    let mut pilot = Pilot::start("--no-workers");
    pilot.kill_agent();
    pilot
        .sh("scalems --pilot default pilot info")
        .fails(3, &["pilot default is dead", "client.json"]);
    assert_eq!(pilot.sh("scalems --output quiet pilot list").well().out, "");
    pilot.sh("scalems pilot start --detach").well();
    assert_eq!(
        pilot.sh("scalems submit --wait -- echo again").well().text(),
        "again"
    );
    pilot.sh("scalems pilot stop").well();
}

#[test]
fn an_encrypted_pilot_has_no_socket_files() {
    let pilot = Pilot::start("--tcp --tcp-only");
    let file = std::fs::read_to_string(pilot.directory().join("client.json")).unwrap();
    let file: serde_json::Value = serde_json::from_str(&file).unwrap();
    assert!(
        file["frontend"]["tcp"]
            .as_str()
            .unwrap()
            .starts_with("tcp://127.0.0.1:"),
        "{file}"
    );
    assert!(
        file["frontend"].get("ipc").is_none() && file["curve"]["secret_key"].is_string(),
        "{file}"
    );
    crate::programs::battery(&pilot);
    pilot.stop();
}
