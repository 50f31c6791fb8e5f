//! Looks at a journal that is written to.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

use super::*;

/// A submission of this number, with so much data that the log is soon put into the database.
fn numbered(number: u64) -> Record {
    let Record::Submitted(submitted) = large(8_000) else {
        unreachable!("a large one is a submission")
    };
    Record::Submitted(Submitted {
        submission: number,
        at: number,
        ..submitted
    })
}

/// The numbers of all submissions, and whether it was a copy.
fn seen(path: &Path) -> (Vec<u64>, bool) {
    let mut numbers = Vec::new();
    let seen = Store::look(path, |record, _| {
        if let Record::Submitted(submitted) = record {
            numbers.push(submitted.submission);
        }
    });
    let seen = seen.expect("a look works while somebody writes");
    assert_eq!((seen.pilot, seen.lives), (PILOT, 1));
    (numbers, seen.live)
}

#[test]
fn a_look_sees_all_that_was_on_disk_while_it_is_written_to() {
    let place = place();
    let (mut store, _) = Store::create(&place.path, PILOT, [1; 32]).unwrap();
    // So the log begins anew several times during each look.
    store.db.pragma_update(None, "wal_autocheckpoint", 60).unwrap();
    let written = AtomicU64::new(0);
    // How many may be written: so a look ends at last.
    let (more, may) = mpsc::channel::<u64>();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut number = 0;
            for _ in may.into_iter().flat_map(|more| 0..more) {
                number += 1;
                store.add(&numbered(number)).unwrap();
                store.commit().unwrap();
                written.store(number, Ordering::SeqCst);
            }
            drop(store);
            number
        });
        for _ in 0..40 {
            let before = written.load(Ordering::SeqCst);
            more.send(100).unwrap();
            let (numbers, live) = seen(&place.path);
            assert!(live, "somebody writes to it");
            let upto = numbers.len() as u64;
            assert!(before <= upto, "{upto} of {before} that were on disk");
            assert!(numbers.into_iter().eq(1..=upto), "none is missing in between");
        }
        drop(more);
        let all = writer.join().unwrap();
        assert_eq!((all, seen(&place.path)), (4_000, ((1..=4_000).collect(), false)));
    });
}

#[test]
fn a_look_changes_nothing() {
    let place = place();
    let (mut store, _) = Store::create(&place.path, PILOT, [1; 32]).unwrap();
    for record in records().into_iter().chain([large(50_000)]) {
        store.add(&record).unwrap();
    }
    store.commit().unwrap();
    // As an agent that was killed leaves it.
    store.keep_log(true).unwrap();
    drop(store);
    let files = || {
        let directory = place.path.parent().unwrap();
        let mut files: Vec<_> = std::fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_file())
            .map(|path| (std::fs::read(&path).unwrap(), path))
            .collect();
        files.sort();
        files
    };
    let before = files();
    assert!(
        before
            .iter()
            .any(|(bytes, path)| path.to_string_lossy().ends_with("-wal") && !bytes.is_empty())
    );
    let mut sizes = Vec::new();
    let look = Store::look(&place.path, |record, bytes| {
        if let Record::Submitted(submitted) = record {
            sizes.push((bytes, submitted.data.bytes.len()));
        }
    });
    assert!(!look.unwrap().live);
    // Of data beside the database only the size is told.
    assert_eq!(sizes.last(), Some(&(50_000, 0)));
    assert_eq!(files(), before);
    let missing = Store::look(&place.path.with_extension("none"), |_, _| ());
    assert!(matches!(missing, Err(JournalError::Missing { .. })));
}
