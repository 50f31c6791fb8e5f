//! Journals of each schema that there was: they are gone on with. Of one that is to come, and of what is no journal,
//! nothing is changed.
//!
//! Those of the past lie in `tests/corpus/journals`. `SCALEMS_WRITE_JOURNAL=1` puts the one there that the program
//! writes now, for a schema that has none yet.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rusqlite::config::DbConfig;
use scalems_client::protocol::TaskState;
use scalems_client::protocol::client::Page;
use scalems_client::protocol::select::{Pick, Selector};
use scalems_client::protocol::state::Strength;
use scalems_client::{HeldResult, Session, Task};
use scalems_tests::pilot::{Home, PATIENCE, Pilot, quoted};

use super::left::{LARGE, Left, NAME, copy, facts, private};

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/journals")
}

/// The journals of the past: files that are called as their schema is.
fn past() -> Vec<(i32, PathBuf)> {
    let entries = std::fs::read_dir(corpus()).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut past: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "sqlite"))
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().parse().unwrap(), path))
        .collect();
    past.sort();
    past
}

fn named(name: &str) -> Selector {
    Selector {
        name: Some(name.to_owned()),
        ..Selector::default()
    }
}

fn page(select: Selector) -> Page {
    Page {
        select,
        after: None,
        rows: 0,
    }
}

fn campaign(directory: PathBuf) -> Session {
    let options = Session::options().name("campaign").takeover(true);
    options.connect(directory).unwrap()
}

/// A journal as the program writes it now, with what [`check`] looks for.
fn made() -> Left {
    let mut pilot = Pilot::start("");
    let session = campaign(pilot.directory());
    let echo = |name: &str, bytes: Vec<u8>| Task::new("scalems.echo").name(name).data(bytes);
    let pushed = session.submit(echo("pushed", vec![1])).unwrap();
    assert_eq!(pushed.wait(PATIENCE).unwrap().value[..], [1]);
    let forgotten = session.submit_held(echo("forgotten", vec![2]), 0..1).unwrap();
    session
        .submit_held(Task::shell("echo single").name("single"), 0..1)
        .unwrap();
    let array = echo("array", Vec::new()).label("kind", "many");
    session
        .submit_held_each(&array, 10, &[b"a".as_slice(), b"bb", b"ccc"])
        .unwrap();
    let failed = Task::shell("exit 3").name("failed").retries(1);
    session.submit_held(failed, 0..1).unwrap();
    session.submit_held(echo("large", vec![7; LARGE]), 0..1).unwrap();
    session.ask_wait(Selector::all(), PATIENCE).unwrap();
    session
        .forget(Selector::submission(forgotten.submission))
        .unwrap();
    // Nobody says farewell, and in the next life there is nobody who would do what is left.
    std::mem::forget(session);
    pilot.kill_all();
    pilot.resume("--no-workers --lost-after 500ms");
    let session = campaign(pilot.directory());
    session
        .submit_held(Task::shell("echo late").name("unfinished"), 0..1)
        .unwrap();
    let open = session
        .submit_open(&echo("open", Vec::new()), 0, &["a", "bb"])
        .unwrap();
    let added = session.append(open.submission, &["ccc"]).unwrap();
    assert_eq!(added.wait(PATIENCE).unwrap(), 2);
    let canceled = session.submit_held(echo("canceled", Vec::new()), 0..3).unwrap();
    let canceled = Selector::submission(canceled.submission);
    session
        .cancel(canceled.clone(), Strength::Withdraw, "enough")
        .unwrap();
    let mut some = Selector {
        state: Some(TaskState::Canceled),
        ..canceled
    };
    some.picks[0].indices = Some((1, 2, 1));
    assert_eq!(session.retry(some, false).unwrap().count, 2);
    std::mem::forget(session);
    pilot.kill_agent();
    Left::of(&pilot.directory().join(NAME)).without_log()
}

/// The last submission of this name.
fn rows_of(session: &Session, name: &str) -> Pick {
    let rows = session.ask_submissions(page(named(name))).unwrap().rows;
    let number = rows.last().unwrap().submission;
    Selector::submission(number).picks[0]
}

/// All of it is found, and what had not ended ends. The first two schemas know no open submissions, the third no tasks
/// that are submitted again.
fn check(schema: i32, journal: &Path) {
    let (knows_open, knows_again) = (schema > 2, schema > 3);
    let (submissions, unfinished) = match (knows_open, knows_again) {
        (false, _) => (7, 1),
        (true, false) => (8, 4),
        (true, true) => (9, 6),
    };
    let home = Home::new();
    let directory = home.of_pilot("old");
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&directory)
        .unwrap();
    let there = directory.join(NAME);
    copy(journal, &there);
    let said = home.sh(&format!(
        "scalems --output json journal verify {}",
        quoted(&there)
    ));
    let said = said.well().json();
    assert_eq!(
        (said["submissions"].as_u64(), said["unfinished"].as_u64()),
        (Some(submissions), Some(unfinished))
    );
    let rows = home
        .sh(&format!("scalems journal export {}", quoted(&there)))
        .well()
        .jsonl();
    let count = |state: &str| rows.iter().filter(|row| row["state"] == state).count();
    assert_eq!(
        ["done", "failed", "canceled", "unfinished"].map(count),
        [7, 1, 3, unfinished as usize]
    );
    let failed = rows.iter().find(|row| row["state"] == "failed").unwrap();
    assert_eq!(
        (failed["exit_code"].as_i64(), failed["failures"].as_u64()),
        (Some(3), Some(1))
    );
    let mut agent = home.spawn("scalems --output jsonl pilot start --name old --resume --lost-after 500ms");
    agent.written_or_ended("}\n").expect("the pilot goes on");
    let session = campaign(directory);
    assert_eq!(session.ask_wait(named("unfinished"), PATIENCE).unwrap().done, 1);
    let results = |select| -> Vec<HeldResult> { session.ask_results(page(select)).unwrap().results };
    let program = |name: &str| {
        let result = results(named(name)).remove(0).result;
        result.program().unwrap().stdout
    };
    assert_eq!(program("unfinished"), b"late\n");
    assert_eq!(program("single"), b"single\n");
    let values = |select| -> Vec<Vec<u8>> {
        let results = results(select).into_iter();
        results.map(|held| held.result.value.to_vec()).collect()
    };
    let array = [b"a".to_vec(), b"bb".to_vec(), b"ccc".to_vec()];
    assert_eq!(values(named("array")), array);
    let labelled = Selector {
        label: Some(("kind".to_owned(), "many".to_owned())),
        ..Selector::default()
    };
    assert_eq!(values(labelled), array);
    assert_eq!(values(named("large")), [vec![7; LARGE]]);
    let failed = &results(named("failed"))[0].result;
    assert_eq!((failed.exit_code, failed.attempt), (Some(3), 2));
    if knows_open {
        let rows = session.ask_submissions(page(named("open"))).unwrap().rows;
        let (number, is_open) = (rows[0].submission, rows[0].open);
        assert!(is_open);
        let added = session.append(number, &["dddd"]).unwrap();
        assert_eq!(added.wait(PATIENCE).unwrap(), 3);
        assert_eq!(session.close_submissions(named("open")).unwrap(), (1, 0));
        assert_eq!(session.ask_wait(named("open"), PATIENCE).unwrap().done, 4);
        let all = [b"a".to_vec(), b"bb".to_vec(), b"ccc".to_vec(), b"dddd".to_vec()];
        assert_eq!(values(named("open")), all);
    }
    let canceled = Selector {
        state: Some(TaskState::Canceled),
        ..Selector::default()
    };
    if knows_again {
        let again = Selector {
            picks: vec![rows_of(&session, "canceled")],
            ..Selector::default()
        };
        assert_eq!(session.ask_wait(again.clone(), PATIENCE).unwrap().done, 2);
        let row = &session.ask_tasks(page(again)).unwrap().rows[0];
        assert_eq!((row.run.count(), row.indices), (2, (1, 1)));
        // Those that were submitted again are known, and the data of the others is there.
        let rest = session.retry(
            Selector {
                name: Some("canceled".to_owned()),
                ..canceled.clone()
            },
            false,
        );
        assert_eq!(rest.unwrap().count, 1);
    }
    let rows = session.ask_tasks(page(canceled)).unwrap().rows;
    assert_eq!(rows.iter().map(|row| row.run.count()).sum::<u32>(), 3);
    assert!(
        session.ask_tasks(page(named("forgotten"))).is_err(),
        "it was forgotten"
    );
    // Numbers of before are not given again.
    let known = session.ask_submissions(page(Selector::all())).unwrap().rows;
    let next = session
        .submit_held(Task::new("scalems.noop"), 0..1)
        .unwrap()
        .submission;
    assert!(known.iter().all(|row| row.submission < next));
    session.stop(None, std::time::Duration::ZERO).unwrap();
    drop(session);
    let status = agent.status();
    assert!(status.success(), "{status}");
}

#[test]
fn journals_of_every_schema_are_gone_on_with() {
    let now = made();
    let schema: i32 = {
        let now = Left::of(&now.path());
        let db = Connection::open(now.path()).unwrap();
        db.pragma_query_value(None, "user_version", |row| row.get(0))
            .unwrap()
    };
    check(schema, &now.path());
    let past = past();
    if std::env::var_os("SCALEMS_WRITE_JOURNAL").is_some() && past.iter().all(|(known, _)| *known != schema) {
        copy(&now.path(), &corpus().join(format!("{schema}.sqlite")));
    }
    for (schema, path) in &past {
        println!("schema {schema}");
        check(*schema, path);
    }
    let expected: Vec<i32> = (1..=past.len() as i32).collect();
    assert!(past.iter().map(|(schema, _)| *schema).eq(expected), "{past:?}");
    assert_eq!(
        past.len() as i32,
        schema,
        "SCALEMS_WRITE_JOURNAL=1 adds the one of now"
    );
}

/// Changes a database, with what was changed left in its log if so wanted.
fn change(path: &Path, in_log: bool, sql: &str) {
    let db = Connection::open(path).unwrap();
    let keep = DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
    db.set_db_config(keep, in_log).unwrap();
    db.execute_batch(&format!(
        "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; {sql}"
    ))
    .unwrap();
}

#[test]
fn what_is_refused_is_left_as_it_is() {
    let (_, path) = past().pop().unwrap();
    let home = Home::new();
    let directory = home.of_pilot("old");
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&directory)
        .unwrap();
    let there = directory.join(NAME);
    let newer = "PRAGMA user_version = 99";
    let damaged = "UPDATE batches SET crc = crc + 1 WHERE last = (SELECT max(last) FROM batches)";
    let foreign = "CREATE TABLE mine (x); INSERT INTO mine VALUES (1)";
    let none = "is not a journal of scalems";
    let all: [(&str, &dyn Fn(), &str); 8] = [
        (
            "newer",
            &|| change(&there, false, newer),
            "has schema 99, and this program knows up to",
        ),
        (
            "newer, in its log",
            &|| change(&there, true, newer),
            "has schema 99, and this program knows up to",
        ),
        (
            "damaged",
            &|| change(&there, false, damaged),
            "is damaged at record",
        ),
        (
            "damaged, in its log",
            &|| change(&there, true, damaged),
            "is damaged at record",
        ),
        (
            "text",
            &|| private(&there, b"some text that is no database at all"),
            none,
        ),
        ("nothing", &|| private(&there, b""), none),
        (
            "another's",
            &|| {
                private(&there, b"");
                change(&there, false, foreign);
            },
            none,
        ),
        (
            "another's, in its log",
            &|| {
                private(&there, b"");
                change(&there, true, foreign);
            },
            none,
        ),
    ];
    for (what, spoil, told) in all {
        for (path, _) in facts(&there) {
            std::fs::remove_file(path).unwrap();
        }
        copy(&path, &there);
        spoil();
        let before = facts(&there);
        let quoted = quoted(&there);
        for command in [
            "pilot start --name old --resume --no-workers".to_owned(),
            format!("journal verify {quoted}"),
            format!("journal export {quoted}"),
        ] {
            let output = home.sh(&format!("scalems {command}")).fails(1, &[told]);
            assert_eq!(output.out, "", "{what}: {command}");
            let names = |facts: &std::collections::BTreeMap<PathBuf, Vec<u8>>| {
                facts.keys().cloned().collect::<Vec<_>>()
            };
            let after = facts(&there);
            assert!(
                after == before,
                "{what}: {command}: {:?}, then {:?}",
                names(&before),
                names(&after)
            );
        }
    }
}
