//! Journals that are shortened, pruned and salvaged.

use super::*;

/// Everything in the journal, and how many bytes its file has.
fn content(path: &Path) -> (Vec<Record>, u64) {
    let mut found = Vec::new();
    Store::inspect(path, |record| found.push(record)).unwrap();
    (found, path.metadata().unwrap().len())
}

#[test]
fn a_snapshot_stands_for_what_was_before_and_batches_follow_it() {
    let place = place();
    let (mut store, _) = Store::create(&place.path, PILOT, [9; 32]).unwrap();
    let [numbers, session, seat, ..] = &records()[..] else {
        panic!("three records")
    };
    write(&mut store, &[numbers.clone(), session.clone(), seat.clone()]);
    // Enough for several parts, with values beside.
    for submission in 1..=40 {
        let Record::Submitted(submitted) = long(60_000) else {
            unreachable!("a long one is a submission")
        };
        let submitted = Record::Submitted(Submitted {
            submission,
            count: 1,
            data: Data::shared(vec![submission as u8; 20_000].into()),
            ..submitted
        });
        write(&mut store, &[submitted]);
        if submission > 10 {
            write(&mut store, &[ended(submission, 0, 30_000)]);
        }
        if submission > 20 {
            write(&mut store, &[collected(submission, 0, 1)]);
        }
        if submission > 30 {
            write(&mut store, &[Record::Forgotten { submission }]);
        }
    }
    let last = store.last();
    assert!(store.is_long(1 << 20));
    store.compact().unwrap();
    assert!(!store.is_long(1));
    assert_eq!(store.last(), last);
    write(&mut store, &[ended(1, 0, 7)]);
    assert_eq!(store.last(), last + 1);
    let snapshot = store.snapshot().unwrap().unwrap();
    assert_eq!((snapshot.generation, snapshot.last), (1, last));
    assert!(snapshot.parts > 1, "{snapshot:?}");
    drop(store);
    let check = || {
        let (found, _) = content(&place.path);
        let data = |record: &Record| match record {
            Record::Submitted(from) => Some((from.submission, false, from.data.bytes.len())),
            Record::Ended(ended) => Some((ended.run.submission, true, ended.data.bytes.len())),
            _ => None,
        };
        let found: Vec<_> = found.iter().filter_map(data).collect();
        let mut expected = Vec::new();
        for submission in 1..=30 {
            let data = if (2..=10).contains(&submission) { 20_000 } else { 0 };
            expected.push((submission, false, data));
            if submission > 10 {
                expected.push((submission, true, if submission > 20 { 0 } else { 30_000 }));
            }
        }
        expected.push((1, true, 7));
        let mut sorted = found.clone();
        sorted.sort_by_key(|(submission, is_end, _)| (*submission == 1 && *is_end, *submission, *is_end));
        assert_eq!(
            sorted.iter().filter(|of| of.0 <= 30).copied().collect::<Vec<_>>(),
            expected
        );
    };
    check();
    // The next snapshot, in another life, replaces it.
    let (mut store, life) = Store::resume(&place.path, drop).unwrap();
    assert_eq!((life.incarnation, store.last()), (2, last + 1));
    store.compact().unwrap();
    let again = store.snapshot().unwrap().unwrap();
    assert_eq!((again.generation, again.last), (2, last + 1));
    let parts: u64 = store
        .db
        .query_row("SELECT count(*) FROM snapshot", [], |row| row.get(0))
        .unwrap();
    assert_eq!(parts, again.parts);
    drop(store);
    check();
}

#[test]
fn a_snapshot_that_is_not_what_was_written_is_refused() {
    let spoil = [
        (
            "DELETE FROM snapshot WHERE part = 3",
            "part 3 of the snapshot is missing",
        ),
        (
            "UPDATE snapshot SET part = 9 WHERE part = 2",
            "part 2 of the snapshot",
        ),
        (
            "UPDATE snapshot SET crc = crc + 1 WHERE part = 1",
            "part 1 of the snapshot",
        ),
        (
            "UPDATE meta SET value = zeroblob(24) WHERE key = 'snapshot'",
            "what it says of its pilot is not what was written",
        ),
        (
            "UPDATE meta SET value = zeroblob(16) WHERE key = 'pilot'",
            "what it says of its pilot is not what was written",
        ),
        (
            "DELETE FROM meta WHERE key = 'snapshot'",
            "what it says of its pilot is not what was written",
        ),
    ];
    for (change, why) in spoil {
        let place = place();
        let (mut store, _) = Store::create(&place.path, PILOT, [9; 32]).unwrap();
        for submission in 1..=3 {
            let Record::Submitted(submitted) = long(1 << 20) else {
                unreachable!("a long one is a submission")
            };
            let submitted = Submitted {
                submission,
                ..submitted
            };
            write(&mut store, &[Record::Submitted(submitted)]);
        }
        store.compact().unwrap();
        assert_eq!(store.snapshot().unwrap().unwrap().parts, 3);
        store.db.execute_batch(change).unwrap();
        drop(store);
        let refused = Store::inspect(&place.path, drop).unwrap_err();
        assert!(refused.to_string().contains(why), "{change}: {refused}");
        assert!(
            matches!(read(&place.path), Err(JournalError::Damaged { .. })),
            "{change}"
        );
    }
}

#[test]
fn a_compaction_without_room_changes_nothing() {
    let place = place();
    let (mut store, _) = Store::create(&place.path, PILOT, [9; 32]).unwrap();
    let all = [long(300_000)];
    write(&mut store, &all);
    bound(&store, 90);
    assert!(matches!(store.compact(), Err(JournalError::Full { .. })));
    assert_eq!(store.snapshot().unwrap(), None);
    bound(&store, 10_000);
    store.compact().unwrap();
    drop(store);
    assert_eq!(content(&place.path).0, all);
}

#[test]
fn what_is_long_is_shortened_by_itself_when_nothing_comes() {
    let place = place();
    let (store, _) = Store::create(&place.path, PILOT, [9; 32]).unwrap();
    let (woken, wakes) = std::sync::mpsc::channel();
    let journal = crate::journal::Journal::start(store, move || woken.send(()).unwrap_or_default()).unwrap();
    let patience = Duration::from_secs(20);
    for submission in 1..=70 {
        let Record::Submitted(submitted) = long(1 << 20) else {
            unreachable!("a long one is a submission")
        };
        let submitted = Submitted {
            submission,
            ..submitted
        };
        journal.append(&mut vec![
            Record::Submitted(submitted),
            Record::Forgotten { submission },
        ]);
    }
    while journal.durable().unwrap() < 140 {
        wakes.recv_timeout(patience).unwrap();
    }
    // It is said by nothing but the file.
    let until = std::time::Instant::now() + patience;
    while place.path.metadata().unwrap().len() > 1 << 20 {
        assert!(std::time::Instant::now() < until, "it is as long as ever");
        let _nothing = wakes.recv_timeout(Duration::from_millis(20));
    }
    journal.append(&mut vec![Record::Numbers { submissions: 9 }]);
    while journal.durable().unwrap() < 141 {
        wakes.recv_timeout(patience).unwrap();
    }
    drop(journal);
    assert_eq!(content(&place.path).0, [Record::Numbers { submissions: 9 }]);
}

#[test]
fn pruning_forgets_what_ended_and_packs_the_file() {
    let place = place();
    let (mut store, _) = Store::create(&place.path, PILOT, [9; 32]).unwrap();
    let one = |submission: u64, after: Option<u64>| {
        let Record::Submitted(submitted) = long(100_000) else {
            unreachable!("a long one is a submission")
        };
        let mut template = Template::clone(&submitted.template);
        template.after = after
            .map(|submission| scalems_protocol::task::After {
                submission: Some(submission),
                ..scalems_protocol::task::After::default()
            })
            .into_iter()
            .collect();
        Record::Submitted(Submitted {
            submission,
            count: 1,
            template: template.into(),
            ..submitted
        })
    };
    let all = [
        one(1, None),
        one(2, None),
        one(3, Some(2)),
        ended(1, 0, 20_000),
        ended(2, 0, 10),
    ];
    write(&mut store, &all);
    drop(store);
    let young = Store::prune(&place.path, Duration::from_hours(1)).unwrap();
    assert_eq!(young.submissions, 0);
    let old = Store::prune(&place.path, Duration::ZERO).unwrap();
    assert_eq!(old.submissions, 1, "the second is waited for");
    assert!(old.after < young.before - 100_000, "{young:?}, {old:?}");
    let (found, bytes) = content(&place.path);
    assert_eq!(bytes, old.after);
    let numbers: Vec<u64> = found
        .iter()
        .filter_map(|record| match record {
            Record::Submitted(submitted) => Some(submitted.submission),
            _ => None,
        })
        .collect();
    assert_eq!(numbers, [2, 3]);
    assert_eq!(beside(&place), Vec::<PathBuf>::new());
}

#[test]
fn what_can_be_read_of_a_damaged_journal_is_salvaged() {
    let place = place();
    let (mut store, _) = Store::create(&place.path, PILOT, [9; 32]).unwrap();
    store.keep_identity(b"keys").unwrap();
    let of = |submission: u64, bytes: usize| {
        let Record::Submitted(submitted) = large(bytes) else {
            unreachable!("a large one is a submission")
        };
        Record::Submitted(Submitted {
            submission,
            count: 2,
            ..submitted
        })
    };
    let (first, second, third) = (of(1, 20_000), of(2, 5), of(3, 5));
    write(&mut store, &[first.clone(), second.clone()]);
    write(&mut store, &[ended(2, 0, 30_000), ended(2, 1, 5)]);
    write(&mut store, std::slice::from_ref(&third));
    drop(store);
    let copy = place.path.with_file_name("copy.sqlite");
    let salvage = || {
        let found = Store::salvage(&place.path, &copy).unwrap();
        let (records, _) = content(&copy);
        let (_, life) = Store::resume(&copy, drop).unwrap();
        assert_eq!((life.pilot, life.incarnation), (PILOT, 2));
        std::fs::remove_file(&copy).unwrap();
        std::fs::remove_dir_all(copy.with_file_name("copy.sqlite.values")).unwrap_or_default();
        (found, records)
    };
    // All of one that is whole.
    let (found, records) = salvage();
    assert_eq!(
        (found.records, records.len(), found.damage.is_none()),
        (5, 5, true)
    );
    // Data that are damaged: the submission is missing. A result: nothing is left that its task could run with again.
    let file = beside(&place).remove(0);
    let whole = std::fs::read(&file).unwrap();
    for (at, lost, failed) in [(100, vec![1], vec![]), (20_100, vec![], vec![(2, 0)])] {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        std::fs::write(&file, flipped).unwrap();
        assert!(matches!(read(&place.path), Err(JournalError::Damaged { .. })));
        let (found, records) = salvage();
        assert_eq!(found.lost.iter().copied().collect::<Vec<_>>(), lost);
        assert_eq!((&found.failed, &found.again), (&failed, &vec![]));
        assert_eq!(records.len() as u64, found.records);
        assert_eq!(records.len(), 5 - lost.len());
        let endings = records.iter().filter_map(|record| match record {
            Record::Ended(ended) => Some(ended.ending),
            _ => None,
        });
        let first = if failed.is_empty() {
            Ending::Done
        } else {
            Ending::Failed
        };
        assert_eq!(endings.collect::<Vec<_>>(), [first, Ending::Done]);
    }
    std::fs::write(&file, &whole).unwrap();
    // A batch that is damaged: all before it.
    let db = Connection::open(&place.path).unwrap();
    db.execute("UPDATE batches SET crc = crc + 1 WHERE last = 4", [])
        .unwrap();
    drop(db);
    let before = std::fs::read(&place.path).unwrap();
    let (found, records) = salvage();
    assert!(matches!(
        found.damage,
        Some(JournalError::Damaged { record: 2, .. })
    ));
    assert_eq!(records, [first, second.clone()]);
    assert_eq!(std::fs::read(&place.path).unwrap(), before);
    assert!(matches!(
        Store::salvage(&place.path, &place.path),
        Err(JournalError::Exists { .. } | JournalError::InUse { .. })
    ));
    // As long as a task of its submission has not ended, one whose result is damaged can run again.
    let other = super::place();
    let (mut store, _) = Store::create(&other.path, PILOT, [9; 32]).unwrap();
    write(&mut store, &[second, ended(2, 0, 30_000)]);
    drop(store);
    std::fs::write(beside(&other).remove(0), "other").unwrap();
    let copy = other.path.with_file_name("copy.sqlite");
    let found = Store::salvage(&other.path, &copy).unwrap();
    assert_eq!(
        (found.again, found.failed, found.records),
        (vec![(2, 0)], vec![], 1)
    );
}
