//! Workers that are requested, and that come in the place of others.

use std::time::Instant;

use nix::sys::signal::Signal;
use scalems_client::ClientError;
use scalems_client::protocol::Code;
use scalems_client::protocol::client::{Layout, RequestState, WorkerRow};
use scalems_tests::pilot::{Fifo, PATIENCE, Pilot, process, until_tasks, until_workers};

/// One CPU, whatever the machine has: the pilot's node has what its workers are told to offer.
const ONE: &str = "taskset -c 0";

fn cores(row: &WorkerRow) -> u64 {
    let mut kinds = row.resources.iter();
    kinds
        .find(|(kind, ..)| kind == "cores")
        .map_or(0, |(_, total, _)| *total)
}

/// The numbers and cores of those that live.
fn living(rows: &[WorkerRow]) -> Vec<(u64, u64)> {
    let living = rows.iter().filter(|row| row.state == "active");
    living.map(|row| (row.worker, cores(row))).collect()
}

#[test]
fn a_worker_is_requested_where_there_is_room_and_kept_until_it_is_stopped() {
    let pilot = Pilot::start_under(ONE, "--workers 2 --cores 1");
    pilot.sh("scalems pilot wait --workers 2 --timeout 60s").well();
    let session = pilot.session();
    pilot
        .sh("scalems worker request")
        .fails(1, &["no_room", "0 of 2 cores", "scalems worker replace"]);
    pilot
        .sh("scalems worker request --count 3 --cores 9")
        .fails(1, &["no_room", "room for 0 of 3 workers with 9 cores"]);
    pilot.sh("scalems worker request --gpus 1").fails(1, &["no_room"]);
    pilot.sh("scalems worker stop 2").well();
    until_workers(&session, |rows| living(rows) == [(1, 1)]);
    let said = pilot
        .sh("scalems worker request --resource licence=2 --wait")
        .well();
    assert!(said.out.contains("started as worker 3 on "), "{said:?}");
    let rows = pilot.sh("scalems --output json worker list").well().json();
    assert_eq!(
        (&rows[0]["requested_by"], &rows[1]["requested_by"]),
        (&serde_json::Value::Null, &"shell".into()),
        "{rows}"
    );
    let info = pilot.sh("scalems worker info 3").well().out;
    assert!(
        info.contains("licence 0/2") && info.contains("session shell"),
        "{info}"
    );
    // It is kept as those are that the pilot began with.
    let pid = rows[1]["pid"].as_u64().unwrap() as u32;
    process::signal(pid, Signal::SIGKILL);
    let rows = until_workers(&session, |rows| living(rows) == [(1, 1), (4, 1)]);
    let again = rows.iter().find(|row| row.worker == 4).unwrap();
    assert!(
        again
            .resources
            .iter()
            .any(|(kind, total, _)| kind == "licence" && *total == 2)
    );
    assert_eq!(again.requested_by.as_deref(), Some("shell"));
    // One that is stopped stays so, and its room is free again.
    pilot.sh("scalems worker stop 4").well();
    until_workers(&session, |rows| living(rows) == [(1, 1)]);
    let said = pilot.sh("scalems worker request --idle-timeout 1s --wait").well();
    assert!(said.out.contains("started as worker 5 on "), "{said:?}");
    // So does one that ends because it has nothing to do.
    until_workers(&session, |rows| living(rows) == [(1, 1)]);
    let said = pilot
        .sh("scalems --output json worker request --wait")
        .well()
        .json();
    assert_eq!(
        (&said["state"], &said["workers"][0]["worker"]),
        (&"started".into(), &6.into()),
        "{said}"
    );
    drop(session);
    pilot.stop();
}

#[test]
fn a_worker_is_replaced_while_tasks_run_and_nothing_is_lost() {
    let pilot = Pilot::start_under(ONE, "--cores 4");
    pilot.sh("scalems pilot wait --workers 1 --timeout 60s").well();
    let mut told = Fifo::new(&pilot.home.work(), "told");
    let mut gate = Fifo::new(&pilot.home.work(), "gate");
    let work = pilot.home.work().display().to_string();
    let number = pilot.submit(&format!(
        "--array 0-3 --own-dir --retries 0 -- sh -c 'echo %{{INDEX}}.%{{ATTEMPT}} >{work}/told; read go <{work}/gate'"
    ));
    let mut first: Vec<String> = (0..4).map(|_| told.line()).collect();
    first.sort();
    assert_eq!(first, ["0.1", "1.1", "2.1", "3.1"]);
    let said = pilot
        .sh("scalems worker replace 1 --count 2 --cores 2 --wait")
        .well();
    assert!(
        said.out.contains("started as worker 2 on ") && said.out.contains("started as worker 3 on "),
        "{said:?}"
    );
    let mut again: Vec<String> = (0..4).map(|_| told.line()).collect();
    again.sort();
    assert_eq!(
        again,
        ["0.2", "1.2", "2.2", "3.2"],
        "what ran there runs elsewhere"
    );
    let session = pilot.session();
    until_workers(&session, |rows| living(rows) == [(2, 2), (3, 2)]);
    gate.release(4);
    pilot.sh(&format!("scalems wait {number} --timeout 60s")).well();
    let counts = until_tasks(&session, number, |counts| counts.unfinished() == 0);
    assert_eq!(counts.done, 4, "that was no fault of the tasks: {counts:?}");
    // What runs may go on as long as it is let.
    let number = pilot.submit(&format!(
        "--retries 0 -- sh -c 'echo up >{work}/told; read go <{work}/gate'"
    ));
    told.line();
    let rows = session.ask_workers().unwrap();
    let busy = rows
        .iter()
        .find(|row| row.leases.1 == 1)
        .expect("it runs somewhere")
        .worker;
    let said = pilot
        .sh(&format!("scalems worker replace {busy} --count 2 --drain 60s"))
        .well();
    assert!(
        said.out.contains("2 workers requested") && said.out.contains("waits for the end of worker"),
        "{said:?}"
    );
    pilot
        .sh(&format!("scalems worker replace {busy}"))
        .fails(1, &["is ending already"]);
    // As long as it lives its cores are nobody else's.
    pilot.sh("scalems worker request").fails(1, &["no_room"]);
    gate.release(1);
    pilot.sh(&format!("scalems wait {number} --timeout 60s")).well();
    let rows = until_workers(&session, |rows| living(rows).len() == 3);
    let mut all: Vec<u64> = rows.iter().map(cores).collect();
    all.sort_unstable();
    assert_eq!(all, [1, 1, 2]);
    let info = pilot
        .sh(&format!("scalems --output json task info {number}.0"))
        .well()
        .json();
    assert_eq!(info["task"]["row"]["run"]["attempt"], 1, "{info}");
    drop(session);
    pilot.stop();
}

#[test]
fn workers_on_one_node_have_cores_of_their_own() {
    let pilot = Pilot::start("");
    let all = std::thread::available_parallelism().unwrap().get();
    if all < 2 {
        return pilot.stop();
    }
    pilot.sh("scalems worker replace 1 --count 2 --wait").well();
    let mut told = Fifo::new(&pilot.home.work(), "told");
    let mut gate = Fifo::new(&pilot.home.work(), "gate");
    pilot.submit("--array 0-1 -- sh -c 'echo cpu $SCALEMS_CPUS >told; read go <gate'");
    let mut cpus = [told.line(), told.line()];
    cpus.sort();
    assert!(cpus[0] != cpus[1] && cpus[0].len() > "cpu ".len(), "{cpus:?}");
    gate.release(2);
    pilot.stop();
}

#[test]
fn a_task_requests_workers_under_the_same_quota() {
    let pilot = Pilot::start_under(ONE, "--cores 1 --overcommit --max-workers 2");
    pilot.sh("scalems pilot wait --workers 1 --timeout 60s").well();
    let number = pilot.submit("-- sh -c 'scalems worker request --cores 3 --wait && scalems worker request'");
    pilot
        .sh(&format!("scalems wait {number} --timeout 60s"))
        .fails(1, &[]);
    let said = pilot.sh(&format!("scalems logs {number}")).well();
    assert!(said.out.contains("started as worker 2 on "), "{said:?}");
    let said = pilot.sh(&format!("scalems logs {number} --stderr")).well();
    assert!(
        said.err.contains("there are 2 workers")
            && said.err.contains("over 2, which is the pilot's --max-workers"),
        "{said:?}"
    );
    pilot.stop();
}

#[test]
fn a_library_requests_and_replaces() {
    let pilot = Pilot::start_under(ONE, "--cores 3");
    pilot.sh("scalems pilot wait --workers 1 --timeout 60s").well();
    let session = pilot.session();
    let layout = |cores| Layout {
        cores,
        ..Layout::default()
    };
    let refused = session.request_workers(1, layout(1)).unwrap_err();
    let ClientError::Refused { refusal, .. } = &refused else {
        panic!("{refused}");
    };
    assert_eq!(refusal.code, Code::NoRoom);
    let asked = session
        .replace_worker(1, 1, layout(2), std::time::Duration::ZERO)
        .unwrap();
    let row = session.wait_request(asked, PATIENCE).unwrap();
    assert_eq!(
        (row.state, row.replace),
        (RequestState::Started, Some(1)),
        "{row:?}"
    );
    let more = session.request_workers(1, layout(1)).unwrap();
    let row = session.wait_request(more, PATIENCE).unwrap();
    assert_eq!(row.workers[0].worker, 3, "{row:?}");
    let rows = session.ask_requests().unwrap();
    assert_eq!(
        rows.iter().map(|row| row.id).collect::<Vec<_>>(),
        [asked.id, more.id]
    );
    drop(session);
    pilot.stop();
}

#[test]
fn what_cannot_be_started_is_said_with_its_reason() {
    let pilot = Pilot::start_under(ONE, "--cores 1 --overcommit");
    pilot.sh("scalems pilot wait --workers 1 --timeout 60s").well();
    // What the starter writes cannot be written there.
    let log = pilot.directory().join("workers").join("2.log");
    std::fs::create_dir(&log).unwrap();
    pilot
        .sh("scalems worker request --wait")
        .fails(1, &["has failed", "its process cannot be started"]);
    // It starts, and finds no agent.
    let file = pilot.directory().join("worker.json");
    let aside = pilot.directory().join("aside.json");
    std::fs::rename(&file, &aside).unwrap();
    pilot.sh("scalems worker request --wait").fails(
        1,
        &[
            "0 of 1 workers have joined",
            "its process ended at once",
            "worker.json",
        ],
    );
    std::fs::rename(&aside, &file).unwrap();
    pilot.sh("scalems worker request --wait").well();
    let session = pilot.session();
    assert_eq!(
        living(&session.ask_workers().unwrap()).len(),
        2,
        "none was tried again"
    );
    drop(session);
    let closed = Pilot::start("--closed");
    closed
        .sh("scalems worker request")
        .fails(1, &["pilot_closed", "--closed"]);
    closed.stop();
    pilot.stop();
}

#[test]
fn an_agent_that_is_started_again_goes_on_with_the_same_workers() {
    let mut pilot = Pilot::start_under(ONE, "--cores 4");
    pilot.sh("scalems pilot wait --workers 1 --timeout 60s").well();
    pilot
        .sh("scalems worker replace 1 --count 2 --cores 2 --wait")
        .well();
    let pids = |rows: &[WorkerRow]| rows.iter().map(|row| row.pid).collect::<Vec<_>>();
    let session = pilot.session();
    let before = until_workers(&session, |rows| living(rows) == [(2, 2), (3, 2)]);
    drop(session);
    pilot.kill_agent();
    pilot.resume("--cores 4");
    let session = pilot.session();
    let rows = until_workers(&session, |rows| living(rows) == [(2, 2), (3, 2)]);
    assert_eq!(pids(&rows), pids(&before), "they came back by themselves");
    let who = |rows: &[WorkerRow]| {
        rows.iter()
            .all(|row| row.requested_by.as_deref() == Some("shell"))
    };
    until_workers(&session, who);
    pilot
        .sh("scalems worker request")
        .fails(1, &["no_room", "0 of 4 cores"]);
    drop(session);
    // What is started in the place of those that die with it is alike.
    pilot.kill_all();
    pilot.resume("--cores 4");
    let session = pilot.session();
    let rows = until_workers(&session, |rows| living(rows).len() == 2);
    let two: Vec<u64> = rows
        .iter()
        .filter(|row| row.state == "active")
        .map(cores)
        .collect();
    assert_eq!(two, [2, 2]);
    drop(session);
    pilot.stop();
}

#[test]
fn a_pilot_that_drains_rests() {
    let mut pilot = Pilot::start_under(ONE, "--cores 2");
    pilot.sh("scalems pilot wait --workers 1 --timeout 60s").well();
    let mut told = Fifo::new(&pilot.home.work(), "told");
    let mut gate = Fifo::new(&pilot.home.work(), "gate");
    pilot.submit("--shell -- 'echo up >told; read go <gate'");
    told.line();
    let session = pilot.session();
    // Who starts workers is the agent's first thread, and wakes whenever it is told something.
    let status = format!("/proc/{0}/task/{0}/status", pilot.pid());
    let wakes = || {
        let text = std::fs::read_to_string(&status).unwrap();
        let line = text.lines().find(|line| line.starts_with("voluntary_ctxt"));
        let count = line.and_then(|line| line.split_whitespace().last());
        count.unwrap().parse::<u64>().unwrap()
    };
    session.stop(None, PATIENCE).unwrap();
    assert!(session.ask_status().unwrap().stopping);
    let before = wakes();
    for _ in 0..500 {
        session.ask_status().unwrap();
    }
    let woke = wakes() - before;
    assert!(
        woke < 50,
        "it woke {woke} times while a client was answered 500 times"
    );
    gate.release(1);
    drop(session);
    pilot.expect_end();
}

#[test]
fn where_workers_share_cores_they_do_so_with_one_that_is_ending_too() {
    let pilot = Pilot::start_under(ONE, "--cores 1 --overcommit --max-workers 3");
    pilot.sh("scalems pilot wait --workers 1 --timeout 60s").well();
    let mut told = Fifo::new(&pilot.home.work(), "told");
    let mut gate = Fifo::new(&pilot.home.work(), "gate");
    pilot.submit("--shell -- 'echo up >told; read go <gate'");
    told.line();
    let said = pilot.sh("scalems worker replace 1 --drain 60s").well();
    assert!(said.out.contains("waits for the end of worker"), "{said:?}");
    let said = pilot.sh("scalems worker request --wait").well();
    assert!(said.out.contains("started as worker 2 on "), "{said:?}");
    pilot
        .sh("scalems worker request --count 2")
        .fails(1, &["over 3, which is the pilot's --max-workers"]);
    gate.release(1);
    pilot.stop();
}

#[test]
fn another_pilot_in_the_same_place_has_the_workers_of_its_options() {
    let mut pilot = Pilot::start_under(ONE, "--cores 2");
    pilot.sh("scalems pilot wait --workers 1 --timeout 60s").well();
    let noted = pilot.directory().join("workers").join("layout.json");
    pilot
        .sh("scalems worker replace 1 --count 2 --cores 1 --wait")
        .well();
    assert!(noted.exists());
    pilot.kill_all();
    pilot.anew("--cores 2");
    let session = pilot.session();
    until_workers(&session, |rows| living(rows) == [(1, 2)]);
    assert!(!noted.exists(), "it is of no use any more");
    drop(session);
    pilot.kill_agent();
    pilot.resume("--cores 2");
    let session = pilot.session();
    until_workers(&session, |rows| living(rows) == [(1, 2)]);
    pilot
        .sh("scalems worker request")
        .fails(1, &["no_room", "0 of 2 cores"]);
    drop(session);
    pilot.stop();
}

#[test]
fn a_worker_of_before_that_stands_still_is_killed_when_its_pilot_ends() {
    let mut pilot = Pilot::start("--cores 1");
    pilot.kill_agent();
    pilot.resume("--cores 1");
    let session = pilot.session();
    let rows = until_workers(&session, |rows| living(rows) == [(1, 1)]);
    drop(session);
    process::signal(rows[0].pid, Signal::SIGSTOP);
    pilot.sh("scalems pilot stop").well();
    pilot.expect_failure("did not end within 10s and was killed");
    assert!(process::wait_gone(rows[0].pid, Instant::now() + PATIENCE));
}
