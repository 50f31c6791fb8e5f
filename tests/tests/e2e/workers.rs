//! Workers: that die, that come, that go.

use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use scalems_agent::worker::crowd::Crowd;
use scalems_tests::pilot::{Fifo, PATIENCE, Pilot, process, until_tasks, until_workers};
use scalems_transport::ConnectionFile;

#[test]
fn a_killed_worker_is_replaced_and_its_tasks_run_again() {
    let pilot = Pilot::start("--cores 2 --lost-after 3s");
    let mut told = Fifo::new(&pilot.home.work(), "told");
    let mut gate = Fifo::new(&pilot.home.work(), "gate");
    let work = pilot.home.work().display().to_string();
    let number = pilot.submit(&format!(
        "--array 0-1 --own-dir -- sh -c 'echo %{{INDEX}}.%{{ATTEMPT}} > {work}/told; read go < {work}/gate; \
         echo %{{ATTEMPT}}'"
    ));
    let mut first = [told.line(), told.line()];
    first.sort();
    assert_eq!(first, ["0.1", "1.1"]);
    let rows = pilot.sh("scalems --output json worker list").well().json();
    let pid = rows[0]["pid"].as_u64().unwrap() as u32;
    process::signal(pid, Signal::SIGKILL);
    // Its programs die with it, another worker comes, and the same tasks begin again.
    let mut again = [told.line(), told.line()];
    again.sort();
    assert_eq!(again, ["0.2", "1.2"]);
    gate.release(2);
    pilot.sh(&format!("scalems wait {number} --timeout 60s")).well();
    assert_eq!(pilot.sh(&format!("scalems logs {number}")).well().out, "2\n2\n");
    let session = pilot.session();
    let rows = until_workers(&session, |rows| rows.iter().any(|row| row.state == "active"));
    let active: Vec<_> = rows.iter().filter(|row| row.state == "active").collect();
    assert!(active.len() == 1 && active[0].pid != pid, "{rows:#?}");
    let info = pilot.sh(&format!("scalems task info {number}.0")).well().out;
    assert!(info.contains("1 lost workers"), "{info}");
    pilot.stop();
}

#[test]
fn a_worker_whose_time_is_over_ends_and_what_it_ran_runs_elsewhere() {
    let pilot = Pilot::start("--name night --no-workers");
    let mut told = Fifo::new(&pilot.home.work(), "told");
    let mut first = pilot
        .home
        .spawn("scalems worker start --cores 2 --time-limit 12s");
    let number = pilot.submit("--retries 0 -- sh -c 'echo %{ATTEMPT} >told; sleep 600'");
    assert_eq!(told.line(), "1");
    // There is room, and not enough time.
    let long = pilot.submit("--min-time 1m -- sh -c 'echo long >told'");
    let session = pilot.session();
    let rows = until_workers(&session, |rows| rows.iter().any(|row| row.left_ms.is_some()));
    assert!(rows[0].left_ms.unwrap() <= 12_000, "{rows:?}");
    let why = pilot.sh(&format!("scalems task explain {long}")).well();
    assert!(why.out.contains("s left, one task needs 60 s"), "{why:?}");
    assert!(first.status().success(), "it ends in order");
    let counts = until_tasks(&session, number, |counts| counts.ready == 1);
    assert_eq!(counts.failed, 0, "that was no fault of the task: {counts:?}");
    let mut second = pilot.home.spawn("scalems worker start --cores 2");
    let mut lines = [told.line(), told.line()];
    lines.sort();
    assert_eq!(lines, ["2", "long"]);
    pilot.sh(&format!("scalems task cancel {number} --kill")).well();
    pilot.sh(&format!("scalems wait {long} --timeout 60s")).well();
    pilot.stop();
    assert!(second.status().success());
}

#[test]
fn many_workers_that_leave_at_once_are_all_heard() {
    // More than the bus reads in several rounds.
    const MANY: usize = 700;
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    // If one of their goodbyes were passed over, it would be waited for for longer than this test does.
    let pilot = Pilot::start_alone("--name night --no-workers --lost-after 5m");
    let file = ConnectionFile::read(&pilot.directory().join("worker.json")).unwrap();
    let descriptors = || {
        std::fs::read_dir(format!("/proc/{}/fd", pilot.pid()))
            .unwrap()
            .count()
    };
    let alone = descriptors();
    let mut crowd = Crowd::connect(&file, MANY).unwrap();
    let until = Instant::now() + PATIENCE;
    while crowd.joined() < MANY {
        assert!(Instant::now() < until, "{} of {MANY} joined", crowd.joined());
        crowd.drive(Duration::from_millis(20)).unwrap();
    }
    // While the bus stands still, and what is around it does not, all of them say goodbye and go: it finds their words and
    // their ends at once.
    let bus = process::thread(pilot.pid(), "scalems-bus");
    let halted = process::halt_thread(bus);
    crowd.leave();
    // Beside theirs it has some more than in the beginning.
    while crowd.left() > 0 || descriptors() > alone + MANY / 10 {
        assert!(
            Instant::now() < until,
            "{} of {MANY} have not ended",
            crowd.left()
        );
        crowd.drive(Duration::from_millis(20)).unwrap();
    }
    drop(halted);
    let session = pilot.session();
    until_workers(&session, <[_]>::is_empty);
    pilot.stop();
}

#[test]
fn workers_come_and_go_by_hand() {
    let pilot = Pilot::start("--name night --no-workers");
    let waits = pilot.submit("-- echo served");
    let mut one = pilot.home.spawn("scalems worker start --name one --cores 1");
    pilot.sh("scalems pilot wait --workers 1 --timeout 60s").well();
    pilot.sh(&format!("scalems wait {waits} --timeout 60s")).well();
    let directory = pilot.directory();
    let file = directory.join("worker.json");
    let mut two = pilot.home.spawn(&format!(
        "scalems worker start --connection {} --name two --cores 1",
        file.display()
    ));
    pilot.sh("scalems pilot wait --workers 2 --timeout 60s").well();
    // Both are used.
    let mut gate = Fifo::new(&pilot.home.work(), "gate");
    let both = pilot.submit("--array 0-1 -- sh -c 'read go < gate'");
    let session = pilot.session();
    until_tasks(&session, both, |counts| counts.running == 2);
    let rows = pilot.sh("scalems --output json worker list").well().json();
    let names: Vec<_> = rows
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["one", "two"]);
    assert!(pilot.sh("scalems worker info 2").well().out.contains("two"));
    gate.release(2);
    pilot.sh(&format!("scalems wait {both} --timeout 60s")).well();
    pilot.sh("scalems worker stop 1 --drain 10s").well();
    assert!(one.status().success());
    until_workers(&session, |rows| {
        rows.iter().filter(|row| row.state == "active").count() == 1
    });
    assert_eq!(
        pilot.sh("scalems submit --wait -- echo on two").well().text(),
        "on two"
    );
    pilot
        .sh("scalems worker stop 9")
        .fails(1, &["no worker 9", "[nothing_selected]"]);
    pilot.sh("scalems worker info 9").fails(1, &["no worker 9"]);
    // A signal to a worker drains it as well.
    two.signal(Signal::SIGTERM);
    assert!(two.status().success());
    until_workers(&session, |rows| rows.iter().all(|row| row.state != "active"));
    pilot.stop();
}

#[test]
fn a_worker_that_drains_ends_what_it_runs() {
    let pilot = Pilot::start("--cores 1");
    let mut ready = Fifo::new(&pilot.home.work(), "ready");
    let mut gate = Fifo::new(&pilot.home.work(), "gate");
    let number = pilot.submit("-- sh -c 'echo up > ready; read go < gate; echo well'");
    ready.line();
    let mut other = pilot.home.spawn("scalems worker start --cores 1");
    pilot.sh("scalems pilot wait --workers 2 --timeout 60s").well();
    pilot.sh("scalems worker stop 1 --drain 1m").well();
    let session = pilot.session();
    until_workers(&session, |rows| {
        rows.iter().any(|row| row.worker == 1 && row.state == "draining")
    });
    // What is new goes to the other.
    assert_eq!(
        pilot.sh("scalems submit --wait -- echo elsewhere").well().text(),
        "elsewhere"
    );
    gate.release(1);
    pilot.sh(&format!("scalems wait {number} --timeout 60s")).well();
    assert_eq!(pilot.sh(&format!("scalems logs {number}")).well().text(), "well");
    until_workers(&session, |rows| {
        rows.iter().all(|row| row.worker != 1 || row.state == "gone")
    });
    pilot.sh("scalems worker stop 2").well();
    assert!(other.status().success());
    pilot.stop();
}

#[test]
fn several_workers_share_the_cores() {
    let pilot = Pilot::start("--workers 2");
    let rows = pilot.sh("scalems --output json worker list").well().json();
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len(), 2);
    let names: std::collections::BTreeSet<_> = rows.iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names.len(), 2, "{rows:?}");
    crate::programs::battery_of(&pilot, "2 active");
    pilot.stop();
}
