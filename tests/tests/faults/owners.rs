//! A journal has one owner: whoever else wants it is told so, changes nothing, and has it once the owner is dead.

use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use scalems_client::protocol::client::Page;
use scalems_client::protocol::select::Selector;
use scalems_client::{Session, Task};
use scalems_tests::pilot::{Home, PATIENCE, Pilot, quoted};

use super::left::{NAME, facts};

fn submit(session: &Session) -> u64 {
    let task = Task::new("scalems.noop");
    session.submit_held(&task, 0..1).unwrap().submission
}

/// Whether the pilot of this session knows them all.
fn knows(session: &Session, submissions: &[u64]) -> bool {
    let page = Page {
        select: Selector::all(),
        after: None,
        rows: 0,
    };
    let rows = session.ask_submissions(page).unwrap().rows;
    submissions
        .iter()
        .all(|submission| rows.iter().any(|row| row.submission == *submission))
}

#[test]
fn a_living_pilot_keeps_its_journal_from_everybody_else() {
    let mut pilot = Pilot::start_alone("--name one --no-workers");
    let session = pilot.session();
    let first = submit(&session);
    let journal = pilot.directory().join(NAME);
    let there = quoted(&journal);
    let before = facts(&journal);
    let link = pilot.home.work().join("link.sqlite");
    std::fs::hard_link(&journal, &link).unwrap();
    // All at once: who finds it in use waits for some seconds.
    let others = [
        (
            "pilot start --name one --resume".to_owned(),
            "\"one\" runs already",
        ),
        ("pilot start --name one".to_owned(), "\"one\" runs already"),
        (
            format!(
                "pilot start --name two --resume --dir {}",
                quoted(&pilot.directory())
            ),
            "runs already",
        ),
        (
            format!("pilot start --name three --resume --journal={there}"),
            "is in use by another process",
        ),
        (
            format!("pilot start --name four --journal={there}"),
            "is in use by another process",
        ),
        (
            format!("pilot start --name five --resume --journal={}", quoted(&link)),
            "is in use by another process",
        ),
        (format!("journal export {there}"), "is in use by another process"),
    ];
    let others = others.map(|(how, told)| (pilot.home.spawn(&format!("scalems {how}")), told));
    for (running, told) in others {
        running.output().fails(1, &[told]);
    }
    assert!(facts(&journal) == before, "it was changed");
    // The pilot has not noticed anything, and what it says lasts.
    let second = submit(&session);
    drop(session);
    std::fs::remove_file(&link).unwrap();
    pilot.kill_agent();
    pilot.resume("--name one --no-workers");
    let session = pilot.session();
    assert!(knows(&session, &[first, second]));
    drop(session);
    pilot.stop();
}

#[test]
fn of_two_that_come_after_a_dead_agent_one_goes_on() {
    let rounds = super::rounds(5, 200);
    let begun = Instant::now();
    let home = Home::new();
    let journal = home.work().join(NAME);
    let start = |name: &str, how: &str| {
        let options = format!("--no-workers {how} --journal={}", quoted(&journal));
        home.spawn(&format!(
            "scalems --output jsonl pilot start --name {name} {options}"
        ))
    };
    let mut agent = start("one", "");
    agent.written_or_ended("}\n").expect("the first serves");
    let mut name = "one";
    let mut known = Vec::new();
    let mut longest = Duration::ZERO;
    for round in 0..rounds {
        let session = Session::connect(home.of_pilot(name)).unwrap();
        assert!(known.is_empty() || knows(&session, &known), "round {round}");
        known.push(submit(&session));
        // Who is dead says no farewell.
        agent.signal(Signal::SIGKILL);
        agent.status();
        home.note_killed();
        drop(session);
        // The name's lock parts them, or the journal's, which is waited for.
        let other = match (round % 4 == 1, name) {
            (false, name) => name,
            (true, "one") => "two",
            (true, _) => "one",
        };
        let again = Instant::now();
        let both = [name, other].map(|name| (name, start(name, "--resume")));
        let mut serving = Vec::new();
        for (who, running) in both {
            if running.written_or_ended("}\n").is_some() {
                if name == other {
                    longest = longest.max(again.elapsed());
                }
                serving.push((who, running));
            } else {
                let output = running.output();
                let told = ["runs already", "is in use by another process"];
                assert!(
                    output.code == 1 && told.iter().any(|told| output.err.contains(told)),
                    "round {round}: {output:?}"
                );
            }
        }
        assert_eq!(serving.len(), 1, "round {round}");
        (name, agent) = serving.remove(0);
    }
    let session = Session::connect(home.of_pilot(name)).unwrap();
    assert!(knows(&session, &known));
    drop(session);
    agent.signal(Signal::SIGTERM);
    assert!(agent.status().success());
    println!(
        "{rounds} rounds; serving again after at most {longest:?}; {:?}",
        begun.elapsed()
    );
}

#[test]
fn a_copy_does_not_go_on_beside_the_pilot_that_it_was_made_of() {
    let mut pilot = Pilot::start_alone("--name one --no-workers");
    let session = pilot.session();
    let first = submit(&session);
    let copy = pilot.home.of_pilot("two");
    let run = Command::new("cp")
        .arg("-a")
        .args([pilot.directory(), copy.clone()])
        .status();
    assert!(run.unwrap().success());
    let start = "scalems pilot start --name two --resume --no-workers";
    pilot.sh(start).fails(1, &["is in use by another process"]);
    // Without the file that says so as well.
    std::fs::remove_file(copy.join("journal.sqlite.owner")).unwrap();
    pilot
        .sh(start)
        .fails(1, &["the pilot of this journal runs already on this host"]);
    // The first one is still reached by those that come new.
    let second = submit(&pilot.session());
    assert!(knows(&session, &[first, second]));
    drop(session);
    // Once that pilot is dead its copy is a pilot as of that time.
    pilot.kill_agent();
    let copied = pilot
        .home
        .spawn("scalems --output jsonl pilot start --name two --resume --no-workers");
    copied.written_or_ended("}\n").expect("the copy serves");
    let session = Session::connect(&copy).unwrap();
    assert!(knows(&session, &[first]) && !knows(&session, &[second]));
    drop(session);
    pilot.sh("scalems pilot stop --pilot two").well();
    assert!(copied.output().code == 0);
    pilot.resume("--name one --no-workers");
    let session = pilot.session();
    assert!(knows(&session, &[first, second]));
    drop(session);
    pilot.stop();
}

#[test]
fn an_agent_whose_journal_was_taken_over_ends_before_it_writes() {
    let home = Home::new();
    let start = "scalems --output jsonl pilot start --name one --no-workers";
    let mut agent = home.spawn(start);
    agent.until_written("}\n");
    let directory = home.of_pilot("one");
    let first = submit(&Session::connect(directory.clone()).unwrap());
    let owner = directory.join("journal.sqlite.owner");
    let ours = std::fs::read(&owner).unwrap();
    // As an agent on another host does it, to which this one seemed dead.
    let theirs = r#"{"host":"node-17","process":"boot pid:[1] 4711:1","nonce":1}"#;
    let draft = directory.join("draft");
    std::fs::write(&draft, theirs).unwrap();
    std::fs::rename(&draft, &owner).unwrap();
    // It looks once a second, if there is something to be written.
    let until = Instant::now() + PATIENCE;
    while !agent.has_ended() {
        assert!(Instant::now() < until, "it goes on");
        let options = Session::options()
            .answer_timeout(Duration::from_millis(200))
            .give_up_after(Duration::from_millis(200));
        if let Ok(session) = options.connect(directory.clone()) {
            let _lost = session.submit_held(Task::new("scalems.noop"), 0..1);
        }
    }
    agent
        .output()
        .fails(1, &["was taken over by an agent on node-17"]);
    home.note_killed();
    // The file is still the other's, which may live.
    assert_eq!(std::fs::read(&owner).unwrap(), theirs.as_bytes());
    let verify = format!("scalems journal verify {}", quoted(&directory.join(NAME)));
    home.sh(&verify).fails(1, &["belongs to an agent on node-17"]);
    std::fs::write(&owner, ours).unwrap();
    home.sh(&verify).well();
    let again = home.spawn(&format!("{start} --resume"));
    again.until_written("}\n");
    assert!(knows(&Session::connect(directory).unwrap(), &[first]));
    again.signal(Signal::SIGTERM);
    again.output().well();
}
