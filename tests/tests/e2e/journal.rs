//! With a journal: the agent dies, comes back, and has lost nothing.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use scalems_client::protocol::event::Topic;
use scalems_client::{Session, Task};
use scalems_tests::pilot::{Fifo, Home, PATIENCE, Pilot, process, until_tasks, until_workers};

#[test]
fn the_agent_dies_and_its_pilot_goes_on() {
    // Who is silent for long is lost soon, so what it had runs again soon.
    let often = "--beat 100ms --lost-after 1s --orphan-time 5s";
    let mut pilot = Pilot::start(often);
    let options = Session::options().name("campaign");
    let session = options.connect(pilot.directory()).unwrap();
    // One that has ended and is held, one whose result is pushed, one that runs, one that waits for that.
    let held = pilot.submit("-- echo held");
    pilot.sh(&format!("scalems wait {held}")).well();
    let early = session.submit(pilot.line("echo early")).unwrap();
    assert_eq!(
        early.wait(PATIENCE).unwrap().program().unwrap().stdout,
        b"early\n"
    );
    let mut told = Fifo::new(&pilot.home.work(), "told");
    let mut gate = Fifo::new(&pilot.home.work(), "gate");
    let late = session
        .submit(pilot.line("echo runs > told; read go < gate; echo late"))
        .unwrap();
    assert_eq!(told.line(), "runs");
    // It runs before it is on disk, and has its name after.
    session.wait_accepted(PATIENCE).unwrap();
    let after = pilot.submit(&format!(
        "--after {} -- echo after",
        late.id().unwrap().submission
    ));
    let array = session
        .submit_array(Task::new("scalems.noop"), 0..10_000)
        .unwrap();
    array.wait(PATIENCE).unwrap();
    let worker = pilot.sh("scalems --output quiet worker list").well().out;
    pilot.kill_agent();
    // It goes on without an agent, and has ended when there is one again.
    gate.release(1);
    pilot.resume(often);
    assert_eq!(late.wait(PATIENCE).unwrap().program().unwrap().stdout, b"late\n");
    assert_eq!(pilot.sh(&format!("scalems wait {after}")).well().text(), "");
    assert_eq!(pilot.sh(&format!("scalems logs {after}")).well().out, "after\n");
    assert_eq!(pilot.sh(&format!("scalems logs {held}")).well().out, "held\n");
    // Numbers of before are not given again.
    let next = pilot.submit("-- echo next");
    assert!(next > after, "{next}");
    until_tasks(&session, next, |counts| counts.done == 1);
    // The worker is the same one, and the only one.
    assert_eq!(pilot.sh("scalems --output quiet worker list").well().out, worker);
    // Once more, with nothing to do, and without workers.
    pilot.kill_all();
    pilot.resume(often);
    assert_eq!(pilot.sh(&format!("scalems logs {next}")).well().out, "next\n");
    let again = session.submit(pilot.line("echo again")).unwrap();
    assert_eq!(
        again.wait(PATIENCE).unwrap().program().unwrap().stdout,
        b"again\n"
    );
    pilot.stop();
}

#[test]
fn what_ran_runs_again_when_its_worker_died_too() {
    let often = "--beat 100ms --lost-after 1s --orphan-time 5s";
    let mut pilot = Pilot::start(often);
    let session = Session::options().connect(pilot.directory()).unwrap();
    let mut told = Fifo::new(&pilot.home.work(), "told");
    let mut gate = Fifo::new(&pilot.home.work(), "gate");
    let handle = session
        .submit(pilot.line("echo runs > told; read go < gate; echo done"))
        .unwrap();
    assert_eq!(told.line(), "runs");
    session.wait_accepted(PATIENCE).unwrap();
    pilot.kill_all();
    pilot.resume(often);
    assert_eq!(told.line(), "runs");
    gate.release(1);
    assert_eq!(
        handle.wait(PATIENCE).unwrap().program().unwrap().stdout,
        b"done\n"
    );
    drop(session);
    pilot.stop();
}

/// The port of a pilot's frontend.
fn frontend(pilot: &Pilot) -> u16 {
    let file = std::fs::read_to_string(pilot.directory().join("client.json")).unwrap();
    let file: serde_json::Value = serde_json::from_str(&file).unwrap();
    let endpoint = file["frontend"]["tcp"].as_str().unwrap_or_default();
    let port = endpoint.rsplit(':').next().and_then(|port| port.parse().ok());
    port.unwrap_or_else(|| panic!("no TCP address in {file}"))
}

#[test]
fn over_tcp_the_agent_comes_back_with_its_keys_and_is_found_at_another_port() {
    let often = "--tcp=127.0.0.1 --tcp-only --beat 100ms --lost-after 2s --orphan-time 20s";
    let mut pilot = Pilot::start(often);
    let session = Session::options()
        .name("campaign")
        .connect(pilot.directory())
        .unwrap();
    let mut gate = Fifo::new(&pilot.home.work(), "gate");
    let mut told = Fifo::new(&pilot.home.work(), "told");
    let task = |name: &str| pilot.line(&format!("echo runs > told; read go < gate; echo {name}"));
    let (first, second) = (task("first"), task("second"));
    let first = session.submit(first).unwrap();
    assert_eq!(told.line(), "runs");
    session.wait_accepted(PATIENCE).unwrap();
    let port = frontend(&pilot);
    pilot.kill_agent();
    pilot.resume(often);
    assert_eq!(frontend(&pilot), port);
    gate.release(1);
    assert_eq!(
        first.wait(PATIENCE).unwrap().program().unwrap().stdout,
        b"first\n"
    );
    // Now somebody else has taken the port.
    let second = session.submit(second).unwrap();
    assert_eq!(told.line(), "runs");
    session.wait_accepted(PATIENCE).unwrap();
    pilot.kill_agent();
    let taken = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    pilot.resume(often);
    assert_ne!(frontend(&pilot), port);
    gate.release(1);
    assert_eq!(
        second.wait(PATIENCE).unwrap().program().unwrap().stdout,
        b"second\n"
    );
    drop(taken);
    drop(session);
    pilot.stop();
}

#[test]
fn a_client_that_died_with_the_agent_collects_by_its_name() {
    let mut pilot = Pilot::start("--beat 100ms --lost-after 1s --orphan-time 5s");
    let options = Session::options().name("campaign");
    let session = options.connect(pilot.directory()).unwrap();
    let mut told = Fifo::new(&pilot.home.work(), "told");
    let handle = session
        .submit(pilot.line("echo over > told; echo result"))
        .unwrap();
    assert_eq!(told.line(), "over");
    handle.wait(PATIENCE).unwrap();
    pilot.kill_all();
    // Whoever forgets its sockets at once has not said that it took the result in.
    std::mem::forget(session);
    pilot.resume("--beat 100ms --lost-after 1s --orphan-time 5s");
    let options = Session::options().name("campaign").takeover(true);
    let session = options.connect(pilot.directory()).unwrap();
    let next = session.submit(pilot.line("echo next")).unwrap();
    assert_eq!(next.wait(PATIENCE).unwrap().program().unwrap().stdout, b"next\n");
    drop(session);
    pilot.stop();
}

/// The agent's process, as its connection file has it.
fn agent(pilot: &Pilot) -> u32 {
    let file = std::fs::read_to_string(pilot.directory().join("client.json")).unwrap();
    let file: serde_json::Value = serde_json::from_str(&file).unwrap();
    file["pid"].as_u64().unwrap() as u32
}

#[test]
fn an_agent_that_dies_is_started_again_by_its_parent() {
    let pilot = Pilot::start("--restart --beat 100ms --lost-after 1s --orphan-time 20s");
    let session = Session::options()
        .name("campaign")
        .connect(pilot.directory())
        .unwrap();
    let mut told = Fifo::new(&pilot.home.work(), "told");
    let mut gate = Fifo::new(&pilot.home.work(), "gate");
    let handle = session
        .submit(pilot.line("echo runs > told; read go < gate; echo over"))
        .unwrap();
    assert_eq!(told.line(), "runs");
    session.wait_accepted(PATIENCE).unwrap();
    for life in 2..=4 {
        let before = agent(&pilot);
        process::signal(before, Signal::SIGKILL);
        assert!(process::wait_gone(before, Instant::now() + PATIENCE));
        // It is the next one that answers.
        assert_eq!(session.ask_status().unwrap().incarnation, life);
        assert_ne!(agent(&pilot), before);
    }
    gate.release(1);
    assert_eq!(
        handle.wait(PATIENCE).unwrap().program().unwrap().stdout,
        b"over\n"
    );
    drop(session);
    pilot.home.note_killed();
    pilot.stop();
}

#[test]
fn a_parent_that_waits_to_start_the_agent_again_ends_when_it_is_told_to() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut pilot = Pilot::start_alone("--restart --no-workers --beat 100ms --lost-after 1s");
        for life in 1..=4 {
            let session = pilot.session();
            assert_eq!(session.ask_status().unwrap().incarnation, life);
            let before = agent(&pilot);
            process::signal(before, Signal::SIGKILL);
            assert!(process::wait_gone(before, Instant::now() + PATIENCE));
            if life < 4 {
                // It is the next one that answers.
                assert_eq!(session.ask_status().unwrap().incarnation, life + 1);
            }
        }
        // It waits for 0.8 s now.
        pilot.signal(signal);
        pilot.expect_failure("is started again in 400ms");
        pilot.home.until_empty();
    }
}

#[test]
fn a_worker_that_outlived_its_agent_and_ends_in_order_is_not_replaced() {
    let often = "--beat 100ms --lost-after 1s --orphan-time 20s";
    let mut pilot = Pilot::start(often);
    pilot.kill_agent();
    pilot.resume(often);
    pilot.sh("scalems pilot wait --workers 1 --timeout 60s").well();
    pilot.sh("scalems worker stop 1 --drain 5s").well();
    let session = pilot.session();
    until_workers(&session, <[_]>::is_empty);
    pilot
        .sh("scalems pilot wait --workers 1 --timeout 1s")
        .fails(4, &[]);
    drop(session);
    pilot.stop();
}

#[test]
fn an_agent_that_cannot_begin_is_not_started_again() {
    let pilot = Pilot::start_alone("--name one --no-workers");
    pilot
        .sh("scalems pilot start --name one --restart")
        .fails(1, &["runs already", "it is not started again"]);
    pilot.stop();
}

#[test]
fn a_journal_that_is_missing_or_none_is_refused() {
    let pilot = Pilot::start("--name one");
    pilot
        .sh("scalems pilot start --name two --resume")
        .fails(1, &["there is no journal at", "without --resume"]);
    let file = pilot.home.work().join("text");
    std::fs::write(&file, "no journal").unwrap();
    for how in ["", "--resume"] {
        pilot.sh("chmod 644 text").well();
        let start = format!("scalems pilot start --name three {how} --journal text");
        pilot
            .sh(&start)
            .fails(1, &["is open to other users", "chmod 600"]);
        pilot.sh("chmod 600 text").well();
        pilot.sh(&start).fails(1, &["is not a journal of scalems"]);
    }
    assert_eq!(std::fs::read(&file).unwrap(), b"no journal");
    pilot
        .sh("scalems pilot start --name three --restart --journal none")
        .fails(1, &["without a journal there is nothing"]);
    pilot.stop();
}

#[test]
fn a_pilot_of_before_goes_on_or_begins_anew() {
    let home = Home::new();
    let start = "scalems pilot start --name night --orphan-time 200ms --detach";
    let directory = home.of_pilot("night");
    home.sh(start).well();
    home.sh("scalems submit --wait -- echo first").well();
    home.sh("scalems pilot stop").well();
    home.until_empty();
    // All has ended: it goes on, and knows what was.
    home.sh(start).well();
    assert_eq!(home.sh("scalems logs 1").well().out, "first\n");
    let mut told = Fifo::new(&home.work(), "told");
    let waits = home
        .sh("scalems --output quiet submit -- sh -c 'echo up > told; exec sleep 600'")
        .well();
    assert_eq!(told.line(), "up");
    home.sh("scalems pilot remove night").fails(1, &["runs already"]);
    home.sh("scalems pilot stop --drain 0s").well();
    home.until_empty();
    // Something has not ended: it is not taken up, nor left behind, unasked.
    for again in [start, "scalems pilot start --name night"] {
        home.sh(again)
            .fails(1, &["1 unfinished tasks", "--resume", "--fresh"]);
    }
    home.sh("scalems pilot remove night")
        .fails(1, &["1 unfinished tasks", "--force"]);
    home.sh(&format!("{start} --fresh")).well();
    home.sh("scalems task list 1").fails(1, &["nothing_selected"]);
    home.sh("scalems submit --wait -- echo anew").well();
    home.sh("scalems pilot stop").well();
    home.until_empty();
    let before = directory.join("journal.1.sqlite");
    let tasks = home
        .sh(&format!("scalems journal export {}", before.display()))
        .well()
        .jsonl();
    let states: Vec<_> = tasks.iter().map(|row| row["state"].as_str().unwrap()).collect();
    assert_eq!((waits.text(), &states[..]), ("2", &["done", "unfinished"][..]));
    // With what is not its own, its directory stays.
    std::fs::write(directory.join("mine"), "").unwrap();
    home.sh("scalems pilot remove night").well();
    let left: Vec<_> = std::fs::read_dir(&directory)
        .unwrap()
        .map(|file| file.unwrap().file_name())
        .collect();
    assert_eq!(left, ["mine"]);
    std::fs::remove_file(directory.join("mine")).unwrap();
    home.sh(start).well();
    home.sh("scalems pilot stop").well();
    home.until_empty();
    home.sh("scalems --output quiet pilot remove --pilot night")
        .well();
    assert!(!directory.exists());
    home.sh("scalems pilot remove night")
        .fails(1, &["there is no pilot in"]);
}

#[test]
fn pilots_that_nobody_needs_any_more_are_removed_together() {
    let home = Home::new();
    for name in ["old", "open", "runs", "young"] {
        home.sh(&format!("scalems pilot start --name {name} --detach"))
            .well();
        home.sh(&format!("scalems --pilot {name} submit --wait -- echo {name}"))
            .well();
    }
    home.sh("scalems --pilot open submit -- sleep 600").well();
    for name in ["old", "open", "young"] {
        home.sh(&format!("scalems pilot stop --pilot {name} --drain 0s"))
            .well();
    }
    for name in ["old", "open", "runs"] {
        let directory = home.of_pilot(name);
        home.sh(&format!("touch -d '10 days ago' {}/*", directory.display()))
            .well();
    }
    let expected = [
        ("old", true, ""),
        ("open", false, "1 unfinished tasks"),
        ("runs", false, "runs already"),
        ("young", false, "was used "),
    ];
    for options in ["--dry-run", ""] {
        let rows = home
            .sh(&format!("scalems --output json pilot prune {options}"))
            .well()
            .json();
        for (row, (name, removed, why)) in rows.as_array().unwrap().iter().zip(expected) {
            assert_eq!(
                (&row["pilot"], &row["removed"]),
                (&name.into(), &removed.into()),
                "{rows}"
            );
            assert!(row["why"].as_str().unwrap_or_default().contains(why), "{rows}");
            assert_eq!(
                home.of_pilot(name).exists(),
                !removed || !options.is_empty(),
                "{name}"
            );
        }
    }
    // What is damaged of one hides no other.
    std::fs::write(home.of_pilot("young").join("job.json"), "{").unwrap();
    let listed = home.sh("scalems pilot list").well();
    assert!(listed.out.contains("runs"), "{listed:?}");
    assert!(listed.err.contains("job.json"), "{listed:?}");
    home.sh("scalems pilot stop --pilot runs").well();
}

#[test]
fn a_journal_is_pruned_and_salvaged() {
    let home = Home::new();
    home.sh("scalems pilot start --name night --detach").well();
    home.sh("scalems submit --wait --array 1-50 -- echo some").well();
    home.sh("scalems submit --wait -- echo other").well();
    home.sh("scalems journal prune --pilot night")
        .fails(1, &["in use by another process"]);
    home.sh("scalems pilot stop").well();
    home.until_empty();
    let journal = home.of_pilot("night").join("journal.sqlite");
    let verified = || {
        home.sh("scalems --output json journal verify --pilot night")
            .well()
            .json()
    };
    assert_eq!(verified()["submissions"], 2);
    let copy = format!(
        "scalems --output json journal verify {} --salvage copy.sqlite",
        journal.display()
    );
    let salvaged = home.sh(&copy).well().json();
    assert_eq!(
        (&salvaged["damage"], &salvaged["records"]),
        (&serde_json::Value::Null, &verified()["records"])
    );
    home.sh(&copy).fails(1, &["there is a journal at", "copy.sqlite"]);
    let kept = home.work().join("kept.sqlite");
    std::fs::copy(&journal, &kept).unwrap();
    let pruned = home
        .sh("scalems --output json journal prune --older-than 1d --pilot night")
        .well()
        .json();
    assert_eq!(pruned["forgotten"], 0);
    let pruned = home
        .sh("scalems --output json journal prune --older-than 0s --pilot night")
        .well()
        .json();
    assert_eq!(
        (&pruned["forgotten"], verified()["submissions"].as_u64()),
        (&2.into(), Some(0))
    );
    // Damaged, it is refused by all, and what can be read of the copy goes on.
    home.sh(&format!("cp {} damaged.sqlite", kept.display())).well();
    let flip = "import sqlite3; db = sqlite3.connect('damaged.sqlite'); \
        db.execute('UPDATE batches SET crc = crc + 1 WHERE last = (SELECT max(last) FROM batches)'); db.commit()";
    home.sh(&format!("python3 -c \"{flip}\"")).well();
    for what in [
        "journal verify",
        "journal prune",
        "journal export",
        "pilot start --resume --journal",
    ] {
        home.sh(&format!("scalems {what} damaged.sqlite"))
            .fails(1, &["is damaged at record"]);
    }
    home.sh("scalems journal verify damaged.sqlite --salvage second.sqlite")
        .well();
    home.sh("scalems pilot start --resume --journal second.sqlite --detach")
        .well();
    assert_eq!(home.sh("scalems logs 1.7").well().out, "some\n");
    home.sh("scalems pilot stop").well();
    home.until_empty();
}

#[test]
fn what_ended_long_ago_is_forgotten() {
    let pilot = Pilot::start("--retain 1s");
    let first = pilot.submit("-- echo first");
    pilot.sh(&format!("scalems wait {first}")).well();
    let session = pilot.session();
    let mut events = session.events(Topic::Summary);
    let until = Instant::now() + PATIENCE;
    while session.ask_status().unwrap().submissions > 0 {
        let left = until.saturating_duration_since(Instant::now());
        assert!(!left.is_zero(), "it is known for ever");
        let _next = events.next_within(left.min(Duration::from_millis(200)));
    }
    drop(session);
    pilot
        .sh(&format!("scalems logs {first}"))
        .fails(1, &["nothing_selected"]);
    pilot.stop();
}

#[test]
fn an_agent_that_fails_leaves_its_workers_to_the_next() {
    let home = Home::new();
    let start =
        "scalems --output jsonl pilot start --name one --beat 100ms --lost-after 2s --orphan-time 60s";
    let mut agent = home.spawn(start);
    agent.until_written("}\n");
    home.sh("scalems pilot wait --workers 1 --timeout 60s").well();
    let worker = home.sh("scalems --output json worker list").well().json()[0].clone();
    let mut told = Fifo::new(&home.work(), "told");
    let mut gate = Fifo::new(&home.work(), "gate");
    let submission = home
        .sh("scalems --output quiet submit -- sh -c 'echo up > told; read go < gate; echo %{ATTEMPT}'")
        .well();
    assert_eq!(told.line(), "up");
    // Its journal is another's, so it must not go on.
    let owner = home.of_pilot("one").join("journal.sqlite.owner");
    std::fs::write(
        &owner,
        r#"{"host":"node-17","process":"boot pid:[1] 2:3","nonce":1}"#,
    )
    .unwrap();
    let until = Instant::now() + PATIENCE;
    while !agent.has_ended() {
        assert!(Instant::now() < until, "it goes on");
        let options = Session::options()
            .answer_timeout(Duration::from_millis(200))
            .give_up_after(Duration::from_millis(200));
        if let Ok(session) = options.connect(home.of_pilot("one")) {
            let _lost = session.submit_held(Task::new("scalems.noop"), 0..1);
        }
    }
    assert_eq!(agent.status().code(), Some(1));
    agent.until_written("was taken over");
    home.note_killed();
    std::fs::remove_file(&owner).unwrap();
    // The worker goes on with what it has, and the next agent with the worker.
    gate.release(1);
    let agent = home.spawn(&format!("{start} --resume"));
    agent.until_written("}\n");
    let workers = || home.sh("scalems --output json worker list").well().json();
    assert_eq!(workers()[0]["pid"], worker["pid"]);
    home.sh(&format!("scalems wait {} --timeout 60s", submission.text()))
        .well();
    let logs = home.sh(&format!("scalems logs {}", submission.text())).well();
    assert_eq!(logs.out, "1\n");
    home.sh("scalems pilot stop").well();
    agent.output().well();
    home.until_empty();
}

/// The queries that the guide shows, in their order.
fn queries() -> Vec<String> {
    let guide = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/guide/journal.md");
    let guide = std::fs::read_to_string(guide).unwrap();
    let blocks = guide.split("```sql\n").skip(1);
    blocks
        .map(|block| block.split("```").next().unwrap().to_owned())
        .collect()
}

#[test]
fn what_a_pilot_has_written_down_can_be_asked() {
    let mut pilot = Pilot::start("--cores 2");
    let good = pilot.submit("--name dock --array 0-3 -- sleep 0.05");
    let bad = pilot.submit("-- sh -c 'exit 3'");
    pilot.sh(&format!("scalems wait {good}")).well();
    pilot.sh(&format!("scalems wait {bad}")).fails(1, &[]);
    // It is the agent's as long as that runs.
    pilot
        .sh("scalems journal verify --pilot default")
        .fails(1, &["in use by another process"]);
    pilot.sh("scalems pilot stop").well();
    pilot.expect_end();
    let home = &pilot.home;
    let said = home.sh("scalems journal verify").well().out;
    assert!(
        said.contains("is whole") && said.contains("2 submissions, 0 unfinished"),
        "{said}"
    );
    let lines = home.sh("scalems journal export").well().jsonl();
    assert_eq!(lines.len(), 5);
    assert_eq!(
        (lines[4]["exit_code"].as_i64(), lines[4]["state"].as_str()),
        (Some(3), Some("failed"))
    );
    let table = home.sh("scalems journal export --format csv").well().out;
    assert_eq!(table.lines().count(), 6, "{table}");
    assert!(table.starts_with("submission,index,state,"), "{table}");
    home.sh("scalems journal export --format sqlite --to tasks.db")
        .well();
    home.sh("scalems journal export --format sqlite --to tasks.db")
        .fails(1, &["tasks.db"]);
    let db = rusqlite::Connection::open(home.work().join("tasks.db")).unwrap();
    let [failed, times, wasted, places] = &queries()[..] else {
        panic!("the guide asks four questions")
    };
    let row = |query: &str| -> Vec<String> {
        let mut query = db.prepare(query).unwrap();
        let columns = query.column_count();
        let mut rows = query.query([]).unwrap();
        let row = rows.next().unwrap().expect("an answer");
        let text = |at| match row.get_ref(at).unwrap() {
            rusqlite::types::ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
            rusqlite::types::ValueRef::Integer(number) => number.to_string(),
            rusqlite::types::ValueRef::Real(number) => format!("{number:.0}"),
            _ => String::new(),
        };
        (0..columns).map(text).collect()
    };
    assert_eq!(row(failed)[..2], [format!("{bad}.0"), "exit_code".to_owned()]);
    assert_eq!(row(times)[..2], ["dock", "4"]);
    let [name, used, wasted] = &row(wasted)[..] else {
        panic!("the name, and two times")
    };
    assert_eq!(
        (name.as_str(), used.as_str(), wasted.as_str()),
        ("dock", "0", "0")
    );
    assert_eq!(row(places)[2], "5");
}
