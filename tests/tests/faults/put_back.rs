//! A journal that was put back from a copy: whoever has seen more of it is told, nothing is run or taken in, and a person
//! decides.

use std::path::Path;

use scalems_client::protocol::Code;
use scalems_client::protocol::client::Page;
use scalems_client::protocol::select::Selector;
use scalems_client::protocol::state::Strength;
use scalems_client::{ClientError, Session, Task};
use scalems_tests::pilot::{Fifo, PATIENCE, Pilot, quoted, until_workers};

use super::left::{Left, NAME, copy, facts};

const OPTIONS: &str = "--no-workers --lost-after 500ms";

fn campaign(pilot: &Pilot) -> Session {
    let options = Session::options().name("campaign").takeover(true);
    options.connect(pilot.directory()).unwrap()
}

/// Puts a journal where another one is.
fn replace(journal: &Path, by: &Left) {
    for path in facts(journal).into_keys() {
        std::fs::remove_file(path).unwrap();
    }
    copy(&by.path(), journal);
}

fn is_behind(error: &ClientError) -> bool {
    let text = error.to_string();
    matches!(error, ClientError::Refused { refusal, .. } if refusal.code == Code::JournalBehind)
        || text.contains("it is a copy from before")
}

struct Stage {
    pilot: Pilot,
    session: Session,
    before: Left,
    gate: Fifo,
    begun: Fifo,
}

/// A pilot whose agent was killed twice; of the journal there is a copy from between.
fn stage() -> Stage {
    let mut pilot = Pilot::start_alone(OPTIONS);
    let session = campaign(&pilot);
    let first = session.submit_held(Task::new("scalems.noop"), 0..1).unwrap();
    assert_eq!(first.submission, 1);
    pilot.kill_agent();
    let before = Left::of(&pilot.directory().join(NAME));
    pilot.resume(OPTIONS);
    let begun = Fifo::new(&pilot.home.work(), "begun");
    let gate = Fifo::new(&pilot.home.work(), "gate");
    Stage {
        pilot,
        session,
        before,
        gate,
        begun,
    }
}

#[test]
fn a_journal_that_was_put_back_is_not_gone_on_with_unasked() {
    let Stage {
        mut pilot,
        session,
        before,
        mut gate,
        mut begun,
    } = stage();
    let worker = pilot.home.spawn("scalems worker start --name w --cores 2");
    until_workers(&session, |rows| rows.len() == 1);
    let line = pilot.line(&format!(
        "echo begun > {}; read line < {}; echo went on",
        quoted(begun.path()),
        quoted(gate.path())
    ));
    let task = session.submit_held(&line, 0..1).unwrap().submission;
    assert_eq!(begun.line(), "begun");
    pilot.kill_agent();
    let journal = pilot.directory().join(NAME);
    let right = Left::of(&journal);
    replace(&journal, &before);
    pilot.resume(OPTIONS);
    // The worker and the client come back, and both have seen more.
    let error = session
        .cancel(Selector::all(), Strength::Kill, "now")
        .unwrap_err();
    assert!(is_behind(&error), "{error}");
    drop(session);
    // What anybody asks for is refused, and reads are answered.
    let told = "the journal ended at record";
    pilot.sh("scalems submit --wait -- true").fails(1, &[told]);
    let status = pilot.sh("scalems --output json pilot info").well().json();
    assert_eq!(status["workers"], serde_json::json!([0, 0, 0, 0]), "{status}");
    assert!(status["trouble"].to_string().contains(told), "{status}");
    pilot.sh("scalems pilot stop").well();
    pilot.expect_failure(told);
    // The next one does not even begin.
    let resume = format!("scalems pilot start --resume {OPTIONS}");
    pilot.sh(&resume).fails(1, &["--resume --accept-loss"]);
    // With the right journal all goes on where it was: nobody has ended what ran.
    replace(&journal, &right);
    pilot.resume(OPTIONS);
    gate.release(1);
    let session = campaign(&pilot);
    let ended = session.ask_wait(Selector::submission(task), PATIENCE).unwrap();
    assert_eq!(ended.done, 1);
    let page = Page {
        select: Selector::submission(task),
        after: None,
        rows: 0,
    };
    let result = session.ask_results(page).unwrap().results.remove(0).result;
    assert_eq!(result.program().unwrap().stdout, b"went on\n");
    assert_eq!(result.attempt, 1);
    drop(session);
    pilot.stop_with(|| drop(worker));
}

#[test]
fn a_loss_that_is_accepted_makes_all_peers_strangers() {
    let Stage {
        mut pilot,
        session,
        before,
        begun,
        gate,
    } = stage();
    drop((begun, gate));
    let lost = session.submit_held(Task::new("scalems.noop"), 0..1).unwrap();
    pilot.kill_agent();
    replace(&pilot.directory().join(NAME), &before);
    pilot.resume(&format!("{OPTIONS} --accept-loss"));
    // It has no place there any more, and another one has the session by its name.
    let error = session.ask_status().unwrap_err();
    assert!(error.to_string().contains("token"), "{error}");
    drop(session);
    let session = campaign(&pilot);
    let worker = pilot.home.spawn("scalems worker start --name w --cores 2");
    let ended = session.ask_wait(Selector::all(), PATIENCE).unwrap();
    assert_eq!(ended.done, 1, "the first, but not {}", lost.submission);
    let next = session.submit_held(Task::new("scalems.noop"), 0..1).unwrap();
    session
        .ask_wait(Selector::submission(next.submission), PATIENCE)
        .unwrap();
    drop(session);
    // Nothing is left that would be in the way of the next one.
    pilot.kill_agent();
    pilot.resume(OPTIONS);
    pilot.stop_with(|| drop(worker));
}
