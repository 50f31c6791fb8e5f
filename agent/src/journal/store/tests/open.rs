//! Open submissions: what comes together has a value of its own.

use super::*;

const BYTES: usize = 20_000;

fn opened() -> Record {
    let Record::Submitted(submitted) = large(BYTES) else {
        unreachable!("a large one is a submission")
    };
    Record::Submitted(Submitted {
        submission: 1,
        count: 1,
        data: Data {
            ends: vec![BYTES as u32],
            ..submitted.data
        },
        push: None,
        open: true,
        ..submitted
    })
}

fn appended(first: u32, byte: u8) -> Record {
    Record::Appended(Appended {
        submission: 1,
        origin: Origin {
            session: 2,
            request: 10 + u64::from(first),
        },
        first,
        count: 2,
        data: Data {
            bytes: vec![byte; BYTES].into(),
            ends: vec![1, BYTES as u32],
        },
    })
}

/// How many bytes of data each record of tasks has that came, if it has any.
fn given(path: &Path) -> Vec<usize> {
    let mut given = Vec::new();
    let (_store, _) = Store::resume(path, |record| match record {
        Record::Submitted(from) => given.push(from.data.bytes.len()),
        Record::Appended(from) => {
            let data = &from.data.bytes;
            assert!(data.iter().all(|byte| u32::from(*byte) == from.first));
            given.push(data.len());
        }
        _ => {}
    })
    .unwrap();
    given
}

#[test]
fn a_value_is_needed_until_those_have_ended_that_came_with_it() {
    let place = place();
    let (mut store, _) = Store::create(&place.path, PILOT, [9; 32]).unwrap();
    write(&mut store, &[opened(), appended(1, 1), appended(3, 3)]);
    write(&mut store, &[ended(1, 1, 1), ended(1, 2, 1), ended(1, 3, 1)]);
    drop(store);
    assert_eq!(given(&place.path), [BYTES, 0, BYTES]);
    let (mut store, _) = Store::resume(&place.path, drop).unwrap();
    // Shortened it is the same.
    store.compact().unwrap();
    drop(store);
    assert_eq!(given(&place.path), [BYTES, 0, BYTES]);
    let (mut store, _) = Store::resume(&place.path, drop).unwrap();
    write(&mut store, &[Record::Closed { submission: 1, at: 9 }]);
    write(&mut store, &[ended(1, 0, 1), ended(1, 4, 1)]);
    drop(store);
    assert_eq!(given(&place.path), [0, 0, 0]);
}

#[test]
fn a_submission_of_which_a_part_cannot_be_read_is_not_salvaged() {
    let place = place();
    let (mut store, _) = Store::create(&place.path, PILOT, [9; 32]).unwrap();
    write(&mut store, &[opened(), appended(1, 1), appended(3, 3)]);
    write(&mut store, &[ended(1, 0, 1), ended(1, 3, 1)]);
    drop(store);
    let copy = place.path.with_file_name("copy.sqlite");
    let found = Store::salvage(&place.path, &copy).unwrap();
    assert!(found.lost.is_empty() && found.failed.is_empty() && found.again.is_empty());
    assert_eq!(given(&copy), [0, BYTES, BYTES]);
    std::fs::remove_file(&copy).unwrap();
    std::fs::remove_dir_all(copy.with_file_name("copy.sqlite.values")).unwrap();
    let file = beside(&place).remove(0);
    let mut flipped = std::fs::read(&file).unwrap();
    flipped[2 * BYTES + 100] ^= 1;
    std::fs::write(&file, flipped).unwrap();
    let found = Store::salvage(&place.path, &copy).unwrap();
    assert_eq!(found.lost.into_iter().collect::<Vec<_>>(), [1]);
    assert!(given(&copy).is_empty());
}

#[test]
fn what_is_open_is_not_pruned() {
    let place = place();
    let (mut store, _) = Store::create(&place.path, PILOT, [9; 32]).unwrap();
    write(&mut store, &[opened(), appended(1, 1)]);
    write(&mut store, &[ended(1, 0, 1), ended(1, 1, 1), ended(1, 2, 1)]);
    drop(store);
    assert_eq!(Store::prune(&place.path, Duration::ZERO).unwrap().submissions, 0);
    let (mut store, _) = Store::resume(&place.path, drop).unwrap();
    write(&mut store, &[Record::Closed { submission: 1, at: 9 }]);
    drop(store);
    assert_eq!(Store::prune(&place.path, Duration::ZERO).unwrap().submissions, 1);
}
