use std::path::PathBuf;
use std::sync::Barrier;

use scalems_core::record::{Again, Appended, Ended, Record, Submitted};
use scalems_core::task::Indices;
use scalems_protocol::client::SessionKind;
use scalems_protocol::group::{Data, Run};
use scalems_protocol::id::Origin;
use scalems_protocol::state::{Ending, Strength};
use scalems_protocol::task::Template;
use scalems_protocol::{Code, Role, TaskError};

use super::*;

const PILOT: PilotId = PilotId([7; 16]);

struct Place {
    path: PathBuf,
    _directory: tempfile::TempDir,
}

fn place() -> Place {
    let directory = tempfile::tempdir().unwrap();
    Place {
        path: directory.path().join("journal.sqlite"),
        _directory: directory,
    }
}

/// One record of each kind.
fn records() -> Vec<Record> {
    let run = Run {
        submission: 5,
        lo: 1,
        hi: 3,
        attempt: 2,
    };
    let template = Template {
        mode: "task.shell".into(),
        name: Some("dock".into()),
        meta: vec![0xc0],
        ..Template::default()
    };
    vec![
        Record::Numbers { submissions: 1 << 20 },
        Record::Session {
            session: 1,
            name: "campaign".into(),
            kind: SessionKind::Shared,
        },
        Record::Seat {
            seat: 2,
            session: 1,
            role: Role::Client,
            holder: 3,
            cancel_after: 4_000_000,
        },
        Record::Submitted(Submitted {
            submission: 5,
            origin: Origin {
                session: 2,
                request: 9,
            },
            template: template.into(),
            count: 3,
            indices: Indices::even(10, 5).part(&[(0, 1), (3, 6)]),
            again: Some(Again {
                submission: 4,
                offsets: vec![(0, 1), (3, 6)],
            }),
            data: Data {
                bytes: b"abbccc"[..].into(),
                ends: vec![1, 3, 6],
            },
            push: Some(2),
            at: 1_000_000,
            open: false,
        }),
        Record::Fault {
            run,
            crash: true,
            ran_us: 1_000,
            variant: 1,
        },
        Record::Wasted {
            submission: 5,
            ran_us: 9,
            variant: 2,
        },
        Record::CancelAsked {
            submission: 5,
            lo: 0,
            hi: 1,
            strength: Strength::Kill,
        },
        Record::Ended(Ended {
            run,
            ending: Ending::Failed,
            data: Data::shared(b"value"[..].into()),
            exit_code: Some(-1),
            ran_us: 77,
            variant: 3,
            error: Some(TaskError {
                class: Some("ValueError".into()),
                ..TaskError::new(Code::TaskFailed, "it failed")
            }),
            worker: 65_537,
            at: 2_500_000,
        }),
        Record::Worker {
            worker: 65_537,
            name: "node-17".into(),
            host: "node-17.cluster".into(),
            pid: 4_711,
            process: "boot 1 2:3".into(),
        },
        Record::WorkerGone { worker: 65_537 },
        Record::Appended(Appended {
            submission: 5,
            origin: Origin {
                session: 2,
                request: 10,
            },
            first: 3,
            count: 2,
            data: Data {
                bytes: b"dee"[..].into(),
                ends: vec![1, 3],
            },
        }),
        Record::Closed {
            submission: 5,
            at: 2_600_000,
        },
        Record::Collected { runs: vec![run, run] },
        Record::Forgotten { submission: 5 },
        Record::SeatGone { seat: 2 },
        Record::SessionGone { session: 1 },
    ]
}

fn write(store: &mut Store, records: &[Record]) {
    for record in records {
        store.add(record).unwrap();
    }
    store.commit().unwrap();
}

/// A file that is nobody else's.
fn private(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

fn read(path: &Path) -> Result<(Vec<Record>, Life), JournalError> {
    let mut found = Vec::new();
    let (_, life) = Store::resume(path, |record| found.push(record))?;
    Ok((found, life))
}

#[test]
fn a_journal_that_fell_behind_is_gone_on_with_only_after_its_loss_is_accepted() {
    let place = place();
    let (mut store, _) = Store::create(&place.path, PILOT, [9; 32]).unwrap();
    write(&mut store, &records());
    store.fell_behind(7).unwrap();
    drop(store);
    for _ in 0..2 {
        let refused = read(&place.path).unwrap_err();
        assert!(matches!(refused, JournalError::Behind { .. }), "{refused}");
    }
    // It can be read, and what is salvaged of it is known to nobody either.
    Store::inspect(&place.path, drop).unwrap();
    let copy = place.path.with_extension("copy");
    Store::salvage(&place.path, &copy).unwrap();
    let (found, life) = read(&copy).unwrap();
    assert_eq!((found, life.incarnation), (records(), 8));
    assert_ne!(life.secret, [9; 32]);
    let mut found = Vec::new();
    let (store, life) = Store::resume_after_loss(&place.path, [8; 32], |record| found.push(record)).unwrap();
    assert_eq!((found, life.incarnation, life.secret), (records(), 8, [8; 32]));
    drop(store);
    let (_, life) = read(&place.path).unwrap();
    assert_eq!((life.incarnation, life.secret), (9, [8; 32]));
}

#[test]
fn what_is_written_is_read_in_every_later_life() {
    let place = place();
    let (mut store, life) = Store::create(&place.path, PILOT, [9; 32]).unwrap();
    assert_eq!((life.incarnation, life.pilot, life.secret), (1, PILOT, [9; 32]));
    for part in records().chunks(4) {
        write(&mut store, part);
    }
    assert_eq!(store.last(), 16);
    drop(store);
    for incarnation in 2..=3 {
        let (found, life) = read(&place.path).unwrap();
        assert_eq!(found, records());
        assert_eq!(
            (life.incarnation, life.pilot, life.secret),
            (incarnation, PILOT, [9; 32])
        );
    }
}

#[test]
fn a_wall_clock_that_was_put_right_makes_no_pilot_older() {
    const HOUR: u64 = 3_600_000_000;
    let place = place();
    drop(Store::create(&place.path, PILOT, [9; 32]).unwrap());
    // As if the wall clock had been far behind.
    let db = Connection::open(&place.path).unwrap();
    let begun = Mark {
        wall: 0,
        ..Mark::first()
    };
    meta::put(&db, "begun", &begun.to_bytes()).unwrap();
    drop(db);
    let young = |path: &Path| read(path).unwrap().1.age < Duration::from_mins(1);
    assert!(young(&place.path));
    // Journals of before know the wall clock alone.
    let db = Connection::open(&place.path).unwrap();
    db.execute("DELETE FROM meta WHERE key = 'begun'", []).unwrap();
    let created = super::age::wall() - HOUR;
    meta::put(&db, "created_us", &created.to_le_bytes()).unwrap();
    drop(db);
    assert!(!young(&place.path));
    // From then on it is noted.
    assert!(!young(&place.path));
}

#[test]
fn a_journal_is_not_made_twice_nor_used_twice_nor_made_by_resuming() {
    let place = place();
    assert!(matches!(read(&place.path), Err(JournalError::Missing { .. })));
    let (store, _) = Store::create(&place.path, PILOT, [9; 32]).unwrap();
    assert!(matches!(
        Store::create(&place.path, PILOT, [9; 32]),
        Err(JournalError::Exists { .. })
    ));
    assert!(matches!(read(&place.path), Err(JournalError::InUse { .. })));
    drop(store);
    read(&place.path).unwrap();
}

#[test]
fn those_that_come_at_once_to_a_dead_agents_journal_do_not_hold_each_other_up() {
    for round in 0..50 {
        let (lived, place) = (place(), place());
        let (mut store, _) = Store::create(&lived.path, PILOT, [9; 32]).unwrap();
        write(&mut store, &records());
        // As a dead process leaves it: its log beside it.
        for end in ["", "-wal"] {
            let bytes = std::fs::read(super::beside(&lived.path, end)).unwrap();
            std::fs::write(super::beside(&place.path, end), &bytes).unwrap();
        }
        private(&place.path, &std::fs::read(&place.path).unwrap());
        let together = Barrier::new(3);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    together.wait();
                    let opened = Store::open_kept(&place.path, drop);
                    assert!(opened.is_ok(), "round {round}: {opened:?}");
                });
            }
        });
    }
}

#[test]
fn what_is_no_journal_of_ours_is_left_alone() {
    let place = place();
    for wrong in [&b"some text that is no database at all"[..], b""] {
        private(&place.path, wrong);
        assert!(matches!(read(&place.path), Err(JournalError::NoJournal { .. })));
    }
    // A database of somebody else's is not even set to another mode.
    std::fs::remove_file(&place.path).unwrap();
    let foreign = Connection::open(&place.path).unwrap();
    foreign.execute_batch("CREATE TABLE mine (x)").unwrap();
    drop(foreign);
    let before = std::fs::read(&place.path).unwrap();
    private(&place.path, &before);
    assert!(matches!(read(&place.path), Err(JournalError::NoJournal { .. })));
    assert_eq!(std::fs::read(&place.path).unwrap(), before);
    std::fs::remove_file(&place.path).unwrap();
    let (store, _) = Store::create(&place.path, PILOT, [9; 32]).unwrap();
    store.db.pragma_update(None, "user_version", SCHEMA + 1).unwrap();
    drop(store);
    assert!(matches!(
        read(&place.path),
        Err(JournalError::Newer { schema, .. }) if schema == SCHEMA + 1
    ));
}

#[test]
fn damage_in_the_middle_is_found_and_named() {
    let spoil: [(&str, &str); 4] = [
        (
            "UPDATE batches SET records = CAST(x'00' || substr(records, 2) AS BLOB) WHERE last = 8",
            "not what was written",
        ),
        ("DELETE FROM batches WHERE last = 8", "then comes a batch"),
        (
            "UPDATE batches SET count = 3 WHERE last = 8",
            "then comes a batch",
        ),
        ("UPDATE batches SET records = 'text' WHERE last = 8", "Invalid"),
    ];
    for (change, why) in spoil {
        let place = place();
        let (mut store, _) = Store::create(&place.path, PILOT, [9; 32]).unwrap();
        for part in records().chunks(4) {
            write(&mut store, part);
        }
        store.db.execute_batch(change).unwrap();
        drop(store);
        match read(&place.path) {
            Err(JournalError::Damaged { record: 4, what, .. }) => {
                assert!(what.contains(why), "{change}: {what}");
            }
            other => panic!("{change}: {other:?}"),
        }
    }
}

#[test]
fn a_journal_may_be_named_without_a_directory() {
    values::sync_name(Path::new("journal.sqlite")).unwrap();
    let place = place();
    values::sync_name(&place.path).unwrap();
    assert!(values::sync_name(&place.path.join("below a file")).is_err());
}

#[test]
fn what_is_said_of_the_pilot_is_what_was_written() {
    let place = place();
    let (mut store, _) = Store::create(&place.path, PILOT, [9; 32]).unwrap();
    store.keep_identity(b"keys").unwrap();
    drop(store);
    read(&place.path).unwrap();
    let whole = std::fs::read(&place.path).unwrap();
    for key in ["pilot", "secret", "created_us", "incarnation", "identity"] {
        let spoil = Connection::open(&place.path).unwrap();
        let change =
            format!("UPDATE meta SET value = CAST(x'5a' || substr(value, 2) AS BLOB) WHERE key = '{key}'");
        assert_eq!(spoil.execute(&change, []).unwrap(), 1);
        drop(spoil);
        assert!(
            matches!(read(&place.path), Err(JournalError::Damaged { record: 0, .. })),
            "{key}"
        );
        private(&place.path, &whole);
    }
    // One of the first schema need not have one yet, and gets one.
    let change = |change: &str| {
        let db = Connection::open(&place.path).unwrap();
        db.execute_batch(change).unwrap();
    };
    change("DELETE FROM meta WHERE key = 'crc'");
    assert!(matches!(read(&place.path), Err(JournalError::Damaged { .. })));
    change("DROP TABLE snapshot; PRAGMA user_version = 1");
    Store::inspect(&place.path, drop).unwrap();
    let (mut store, _) = Store::resume(&place.path, drop).unwrap();
    assert!(store.meta::<4>("crc").is_ok());
    write(&mut store, &records());
    store.compact().unwrap();
    drop(store);
    assert_eq!(read(&place.path).unwrap().1.incarnation, 4);
}

#[test]
fn a_page_that_hides_the_last_batch_is_found() {
    let place = place();
    let (mut store, _) = Store::create(&place.path, PILOT, [9; 32]).unwrap();
    for record in records() {
        write(&mut store, &[record]);
    }
    let query = "SELECT rootpage FROM sqlite_schema WHERE name = 'batches'";
    let page: usize = store.db.query_row(query, [], |row| row.get(0)).unwrap();
    drop(store);
    // The count of rows in the head of the page.
    let mut spoiled = std::fs::read(&place.path).unwrap();
    let count = (page - 1) * 4_096 + 4;
    assert_eq!(usize::from(spoiled[count]), records().len());
    spoiled[count] -= 1;
    private(&place.path, &spoiled);
    assert!(matches!(
        read(&place.path),
        Err(JournalError::Damaged { record: 15, .. })
    ));
}

#[test]
fn every_cut_of_the_log_leaves_a_prefix_or_nothing() {
    let whole = place();
    let (mut store, _) = Store::create(&whole.path, PILOT, [9; 32]).unwrap();
    // What was made first is in the database; the records lie in the log.
    store
        .db
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .unwrap();
    for record in records() {
        write(&mut store, &[record]);
    }
    let log = |path: &Path| {
        let mut name = path.as_os_str().to_owned();
        name.push("-wal");
        PathBuf::from(name)
    };
    let (database, bytes) = (
        std::fs::read(&whole.path).unwrap(),
        std::fs::read(log(&whole.path)).unwrap(),
    );
    let cut = place();
    let mut longest = 0;
    // Every frame's boundary, and some bytes around and between.
    for length in (0..bytes.len()).filter(|length| length % 509 == 0 || length % 4_120 < 40) {
        private(&cut.path, &database);
        std::fs::write(log(&cut.path), &bytes[..length]).unwrap();
        let (found, _) = read(&cut.path).unwrap();
        assert_eq!(
            found,
            records()[..found.len()],
            "cut at {length} of {}",
            bytes.len()
        );
        assert!(found.len() >= longest, "a longer log has no fewer records");
        longest = found.len();
    }
    assert!(longest >= records().len() - 1, "{longest}");
}

#[test]
fn it_is_nobody_elses_and_must_not_be() {
    let place = place();
    let (mut store, _) = Store::create(&place.path, PILOT, [9; 32]).unwrap();
    write(&mut store, &records());
    for file in std::fs::read_dir(place.path.parent().unwrap()).unwrap() {
        let mode = file.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    drop(store);
    std::fs::set_permissions(&place.path, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(read(&place.path), Err(JournalError::Open { .. })));
    let nowhere = place.path.join("below a file");
    assert!(matches!(
        Store::create(&nowhere, PILOT, [9; 32]),
        Err(JournalError::Unusable { .. })
    ));
}

/// A submission with so many bytes of data.
fn large(bytes: usize) -> Record {
    let Record::Submitted(submitted) = records().swap_remove(3) else {
        unreachable!("the fourth is a submission")
    };
    Record::Submitted(Submitted {
        data: Data::shared(vec![7; bytes].into()),
        ..submitted
    })
}

/// A submission that takes so many bytes in the database.
fn long(bytes: usize) -> Record {
    let Record::Submitted(submitted) = large(1) else {
        unreachable!("a large one is a submission")
    };
    let template = Template {
        meta: vec![7; bytes],
        ..Template::clone(&submitted.template)
    };
    Record::Submitted(Submitted {
        template: template.into(),
        ..submitted
    })
}

fn bound(store: &Store, pages: u32) {
    store.db.pragma_update(None, "max_page_count", pages).unwrap();
}

#[test]
fn what_finds_no_room_is_not_written_and_can_be_once_there_is_some() {
    let place = place();
    let (mut store, _) = Store::create(&place.path, PILOT, [9; 32]).unwrap();
    write(&mut store, &records());
    bound(&store, 20);
    store.add(&long(1 << 20)).unwrap();
    assert!(matches!(store.commit(), Err(JournalError::Full { .. })));
    assert_eq!(store.last(), 16);
    bound(&store, 1_000);
    store.commit().unwrap();
    drop(store);
    assert_eq!(read(&place.path).unwrap().0.len(), 17);
}

#[test]
fn a_file_that_could_not_be_begun_is_not_in_the_way_of_the_next() {
    let place = place();
    let (mut store, _) = Store::create(&place.path, PILOT, [9; 32]).unwrap();
    let directory = store.values.directory().to_owned();
    std::fs::create_dir(&directory).unwrap();
    std::fs::write(
        directory.join("1"),
        "left when something failed after it was made",
    )
    .unwrap();
    assert!(store.add(&large(100_000)).is_err());
    store.add(&large(100_000)).unwrap();
    store.commit().unwrap();
    drop(store);
    assert_eq!(read(&place.path).unwrap().0, [large(100_000)]);
}

#[test]
fn a_full_disk_holds_what_is_durable_and_nobody_up() {
    let place = place();
    let (store, _) = Store::create(&place.path, PILOT, [9; 32]).unwrap();
    bound(&store, 20);
    let (woken, wakes) = std::sync::mpsc::channel();
    let journal = crate::journal::Journal::start(store, move || woken.send(()).unwrap_or_default()).unwrap();
    let patience = Duration::from_secs(20);
    journal.append(&mut records());
    wakes.recv_timeout(patience).unwrap();
    assert_eq!((journal.durable().unwrap(), journal.is_full()), (16, false));
    journal.append(&mut vec![long(1 << 20)]);
    wakes.recv_timeout(patience).unwrap();
    assert_eq!((journal.durable().unwrap(), journal.is_full()), (16, true));
    // What waits behind it is bounded: the bus takes nothing in then.
    assert!(!journal.is_backlogged());
    journal.append(&mut vec![large(150 << 20)]);
    assert!(journal.is_backlogged());
    drop(journal);
    assert_eq!(read(&place.path).unwrap().0, records());
}

#[test]
fn there_are_only_so_many_lives() {
    let place = place();
    let (store, _) = Store::create(&place.path, PILOT, [9; 32]).unwrap();
    meta::put(&store.db, "incarnation", &(MOST_LIVES - 1).to_le_bytes()).unwrap();
    drop(store);
    assert_eq!(read(&place.path).unwrap().1.incarnation, MOST_LIVES);
    assert!(matches!(read(&place.path), Err(JournalError::WornOut { .. })));
}

/// The files of values, by number.
fn beside(place: &Place) -> Vec<PathBuf> {
    let mut directory = place.path.as_os_str().to_owned();
    directory.push(".values");
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory)
        .map(|files| files.map(|file| file.unwrap().path()).collect())
        .unwrap_or_default();
    files.sort();
    files
}

/// The end of a task of `submission` with so many bytes as its value.
fn ended(submission: u64, offset: u32, bytes: usize) -> Record {
    Record::Ended(Ended {
        run: Run {
            submission,
            lo: offset,
            hi: offset + 1,
            attempt: 1,
        },
        ending: Ending::Done,
        data: Data::shared(vec![offset as u8; bytes].into()),
        exit_code: None,
        ran_us: 1,
        variant: 0,
        error: None,
        worker: 1,
        at: 1,
    })
}

fn collected(submission: u64, lo: u32, hi: u32) -> Record {
    let attempt = 1;
    let run = Run {
        submission,
        lo,
        hi,
        attempt,
    };
    Record::Collected { runs: vec![run] }
}

#[test]
fn large_values_lie_beside_and_are_read_as_long_as_somebody_needs_them() {
    let place = place();
    let (mut store, _) = Store::create(&place.path, PILOT, [9; 32]).unwrap();
    let submitted = large(100_000);
    // Three tasks, of which two have ended; the value of one was collected.
    let all = [
        submitted,
        ended(5, 0, 20_000),
        ended(5, 1, 16_384),
        ended(5, 2, 30_000),
        collected(5, 0, 1),
    ];
    write(&mut store, &all[..3]);
    drop(store);
    let [file] = &beside(&place)[..] else {
        panic!("one file of values")
    };
    assert_eq!(
        file.metadata().unwrap().len(),
        120_000,
        "what is small is in the database"
    );
    let (found, _) = read(&place.path).unwrap();
    assert_eq!(found, all[..3]);
    // The last task ends: nobody needs the data any more. What is needed is read, by the life after too.
    let (mut store, _) = Store::resume(&place.path, drop).unwrap();
    write(&mut store, &all[3..]);
    drop(store);
    let (found, _) = read(&place.path).unwrap();
    let bytes = |record: &Record| values::value(record).map_or(0, bytes::Bytes::len);
    assert_eq!(found.iter().map(bytes).collect::<Vec<_>>(), [0, 0, 0, 30_000, 0]);
    assert_eq!(found[2..], all[2..]);
    assert_eq!(beside(&place).len(), 1, "of the first file nothing was needed");
    // In the end nothing is.
    let (mut store, _) = Store::resume(&place.path, drop).unwrap();
    write(&mut store, &[Record::Forgotten { submission: 5 }]);
    assert_eq!(beside(&place), Vec::<PathBuf>::new());
}

#[test]
fn a_value_that_is_not_what_was_written_is_refused() {
    let place = place();
    let (mut store, _) = Store::create(&place.path, PILOT, [9; 32]).unwrap();
    write(&mut store, &[large(100_000), ended(5, 0, 20_000)]);
    drop(store);
    let file = beside(&place).remove(0);
    let whole = std::fs::read(&file).unwrap();
    let damaged = |bytes: &[u8]| {
        std::fs::write(&file, bytes).unwrap();
        matches!(read(&place.path), Err(JournalError::Damaged { .. }))
    };
    for at in [0, 50_000, 99_999, 100_000, 119_999] {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        assert!(damaged(&flipped), "byte {at}");
    }
    assert!(damaged(&whole[..119_999]));
    // More than was named does no harm: it was not acknowledged.
    assert!(!damaged(&[&whole[..], b"more"].concat()));
    std::fs::remove_file(&file).unwrap();
    assert!(matches!(read(&place.path), Err(JournalError::Damaged { .. })));
}

#[test]
fn values_go_when_their_submission_does() {
    let place = place();
    let (mut store, _) = Store::create(&place.path, PILOT, [9; 32]).unwrap();
    write(
        &mut store,
        &[large(100_000), ended(5, 0, 20_000), ended(6, 0, 20_000)],
    );
    write(&mut store, &[Record::Forgotten { submission: 5 }]);
    drop(store);
    let (found, _) = read(&place.path).unwrap();
    let bytes = |record: &Record| values::value(record).map_or(0, bytes::Bytes::len);
    assert_eq!(found.iter().map(bytes).collect::<Vec<_>>(), [0, 0, 20_000, 0]);
}

mod looking;
mod open;
mod shortening;
