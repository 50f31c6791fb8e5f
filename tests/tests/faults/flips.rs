//! A journal in which something is not what was written: that is found, or does no harm.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use rusqlite::Connection;
use scalems_core::record::Record;
use scalems_tests::sim::random::Random;

use super::left::{Found, Left, private, same};

/// What became of a journal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// It is refused, with this message.
    Refused(String),
    /// All in it is what was written, and it can be gone on with.
    Harmless,
    /// Nobody noticed.
    Wrong(String),
}

/// What was written.
struct Written {
    found: Found,
    /// When the pilot was created, microseconds since 1970, at the earliest and at the latest.
    created: (u64, u64),
}

fn wall() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64
}

fn created(found: &Found, asked: u64) -> (u64, u64) {
    let age = found.life.age.as_micros() as u64;
    (asked.saturating_sub(age), wall().saturating_sub(age))
}

impl Written {
    fn of(left: &Left) -> Self {
        let asked = wall();
        let found = left.read().unwrap();
        Self {
            created: created(&found, asked),
            found,
        }
    }

    /// What an agent makes of a journal that may have been spoiled.
    fn outcome(&self, left: &Left) -> Outcome {
        let asked = wall();
        let found = match left.read() {
            Ok(found) => found,
            Err(error) => return Outcome::Refused(error.to_string()),
        };
        let created = created(&found, asked);
        let (life, other) = (&self.found.life, &found.life);
        let what = if !same(&self.found.records, &found.records) {
            format!("{} records, of {}", found.records.len(), self.found.records.len())
        } else if found.identity != self.found.identity {
            "other keys".to_owned()
        } else if (life.pilot, life.secret) != (other.pilot, other.secret) {
            "another pilot".to_owned()
        } else if life.incarnation != other.incarnation {
            format!("life {}, not {}", other.incarnation, life.incarnation)
        } else if created.0 > self.created.1 || created.1 < self.created.0 {
            "another time".to_owned()
        } else {
            return self.goes_on(left);
        };
        Outcome::Wrong(what)
    }

    /// What is harmless today has to be after more was written.
    fn goes_on(&self, left: &Left) -> Outcome {
        let gone = |worker: u32| Record::WorkerGone { worker };
        // Of many pages, so that some are made.
        let many: Vec<Record> = (1..=1_000).map(gone).collect();
        if let Err(error) = left.add(&many) {
            return Outcome::Refused(error.to_string());
        }
        match left.read() {
            Ok(found) => {
                let (before, after) = found
                    .records
                    .split_at(self.found.records.len().min(found.records.len()));
                if same(before, &self.found.records) && after == many {
                    Outcome::Harmless
                } else {
                    Outcome::Wrong(format!("{} more records, not {}", after.len(), many.len()))
                }
            }
            Err(error) => Outcome::Wrong(format!("after more was written: {error}")),
        }
    }
}

/// Counts of what became of spoiled journals, and those that nobody noticed.
#[derive(Default)]
struct Count {
    refused: BTreeMap<String, u32>,
    harmless: u32,
    wrong: Vec<String>,
}

impl Count {
    fn add(&mut self, what: impl FnOnce() -> String, outcome: Outcome) {
        match outcome {
            Outcome::Refused(message) => {
                // Without what is of this place and this flip: the kinds of messages.
                let kind: String = message
                    .split_whitespace()
                    .filter(|word| !word.contains('/'))
                    .collect::<Vec<_>>()
                    .join(" ");
                let kind = kind.chars().filter(|c| !c.is_ascii_digit()).take(70).collect();
                *self.refused.entry(kind).or_default() += 1;
            }
            Outcome::Harmless => self.harmless += 1,
            Outcome::Wrong(how) => self.wrong.push(format!("{}: {how}", what())),
        }
    }

    fn refused(&self) -> u32 {
        self.refused.values().sum()
    }
}

/// Whether a byte of a database is in the head of it or of a page.
fn is_head(byte: u64) -> bool {
    byte < 112 || byte % 4_096 < 32
}

#[test]
fn a_flipped_bit_is_found_or_harmless() {
    let begun = Instant::now();
    let seed = std::env::var("SCALEMS_FAULT_SEED").ok();
    let mut random = Random::new(seed.map_or(1, |seed| seed.parse().unwrap()), 80);
    // Of so many batches that they lie in a tree of pages.
    let left = Left::behind(5).without_log();
    let copy = Left::of(&left.path());
    let database = std::fs::read(left.path()).unwrap();
    assert!(database.len() > 3 * 4_096, "{} bytes", database.len());
    let written = Written::of(&copy);
    let values = left.values();
    // The bits of the database, and of each file beside it.
    let mut files: Vec<(Option<PathBuf>, Vec<u8>)> = vec![(None, database.clone())];
    for path in values {
        let bytes = std::fs::read(&path).unwrap();
        files.push((Some(path), bytes));
    }
    let mut bits: Vec<(usize, u64)> = Vec::new();
    let mut pick = |file: usize, from: Vec<u64>, push: u32, night: u32| {
        let some = super::rounds(push, night) as usize;
        if from.len() <= some {
            bits.extend(from.into_iter().map(|bit| (file, bit)));
        } else {
            bits.extend((0..some).map(|_| (file, from[random.within(0, from.len() as u64) as usize])));
        }
    };
    for (file, (path, bytes)) in files.iter().enumerate() {
        let all = 0..bytes.len() as u64 * 8;
        if path.is_some() {
            pick(file, all.collect(), 100, 10_000);
        } else {
            // What says where all the rest is, and the rest.
            let (heads, rest) = all.partition(|bit| is_head(bit / 8));
            pick(file, heads, 700, u32::MAX);
            pick(file, rest, 700, 100_000);
        }
    }
    let all: usize = files.iter().map(|(_, bytes)| bytes.len() * 8).sum();
    let mut count = Count::default();
    for (file, bit) in &bits {
        let (path, bytes) = &files[*file];
        let mut flipped = bytes.clone();
        flipped[(bit / 8) as usize] ^= 1 << (bit % 8);
        match path {
            None => copy.become_like(&left, &flipped, None),
            Some(path) => {
                copy.become_like(&left, &database, None);
                let name = path.file_name().unwrap();
                let theirs = copy
                    .values()
                    .into_iter()
                    .find(|path| path.file_name() == Some(name))
                    .unwrap();
                // A file of its own, not the one that both have.
                std::fs::remove_file(&theirs).unwrap();
                private(&theirs, &flipped);
            }
        }
        let what = || format!("file {file}, byte {}, bit {}", bit / 8, bit % 8);
        count.add(what, written.outcome(&copy));
    }
    println!(
        "{} of {all} bits flipped: {} refused, {} harmless, {} wrong; {:?}\n{:#?}",
        bits.len(),
        count.refused(),
        count.harmless,
        count.wrong.len(),
        begun.elapsed(),
        count.refused
    );
    assert!(count.wrong.is_empty(), "{:#?}", count.wrong);
    assert!(count.refused() > 0 && count.harmless > 0);
}

#[test]
fn batches_that_are_dropped_swapped_or_repeated_are_found() {
    let left = Left::behind(1).without_log();
    let copy = Left::of(&left.path());
    let database = std::fs::read(left.path()).unwrap();
    let written = Written::of(&copy);
    let lasts: Vec<u64> = {
        copy.become_like(&left, &database, None);
        let db = Connection::open(copy.path()).unwrap();
        let mut lasts = db.prepare("SELECT last FROM batches ORDER BY last").unwrap();
        let lasts = lasts.query_map([], |row| row.get(0)).unwrap();
        lasts.map(Result::unwrap).collect()
    };
    let end = lasts[lasts.len() - 1];
    let mut changes = Vec::new();
    for (at, last) in lasts.iter().enumerate() {
        changes.push(format!(
            "INSERT INTO batches SELECT {end} + count, count, crc, records FROM batches WHERE last = {last}"
        ));
        // Without the last one it is the journal of an earlier time.
        let Some(next) = lasts.get(at + 1) else {
            continue;
        };
        changes.push(format!("DELETE FROM batches WHERE last = {last}"));
        for (one, other) in [(last, next), (&lasts[0], &end)] {
            changes.push(format!(
                "CREATE TEMP TABLE two AS SELECT * FROM batches WHERE last IN ({one}, {other});
                 DELETE FROM batches WHERE last IN ({one}, {other});
                 INSERT INTO batches SELECT {one} + {other} - last, count, crc, records FROM two"
            ));
        }
        changes.push(format!(
            "UPDATE batches SET records = zeroblob(0), count = 0 WHERE last = {last}"
        ));
    }
    let mut count = Count::default();
    for change in &changes {
        copy.become_like(&left, &database, None);
        Connection::open(copy.path())
            .unwrap()
            .execute_batch(change)
            .unwrap();
        count.add(|| change.clone(), written.outcome(&copy));
    }
    println!(
        "{} batches, {} changes: {:#?}",
        lasts.len(),
        changes.len(),
        count.refused
    );
    assert_eq!(count.refused() as usize, changes.len(), "{:#?}", count.wrong);
}
