//! A journal whose last part did not reach the disk: what is found is what was written before, and nothing else.

use rusqlite::Connection;
use scalems_agent::journal::JournalError;
use scalems_tests::sim::random::Random;

use super::left::{Left, same};

/// Bytes before the first frame of a log, and before the page in each.
const LOG_HEAD: usize = 32;
const FRAME_HEAD: usize = 24;

/// What is found in the place of what is lost.
#[derive(Clone, Copy, Debug)]
enum Rest {
    Nothing,
    Zeros,
    Garbage,
    /// What lies at the log's begin: frames that look right, at a wrong place.
    Frames,
}

const RESTS: [Rest; 4] = [Rest::Nothing, Rest::Zeros, Rest::Garbage, Rest::Frames];

/// The log of a journal whose agent was killed.
struct Log {
    bytes: Vec<u8>,
    /// Where frames end.
    frames: Vec<usize>,
    /// Where transactions end, and how many records there are then; none before there are tables.
    commits: Vec<(usize, usize)>,
}

fn word(bytes: &[u8]) -> usize {
    u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize
}

impl Log {
    fn of(left: &Left) -> Self {
        let bytes = std::fs::read(left.log()).unwrap();
        let frame = FRAME_HEAD + word(&bytes[8..]);
        let mut frames = Vec::new();
        let mut ends = Vec::new();
        for at in (LOG_HEAD..bytes.len()).step_by(frame) {
            assert_eq!(bytes[at + 8..at + 16], bytes[16..24], "all frames are of one log");
            frames.push(at + frame);
            if word(&bytes[at + 4..]) > 0 {
                ends.push(at + frame);
            }
        }
        // What each transaction wrote: first the tables and the keys, then one batch each.
        let whole = Left::of(&left.path());
        let db = Connection::open(whole.path()).unwrap();
        let mut batches = db.prepare("SELECT last FROM batches ORDER BY last").unwrap();
        let batches = batches.query_map([], |row| row.get::<_, usize>(0)).unwrap();
        let batches: Vec<usize> = batches.map(Result::unwrap).collect();
        let first = ends.len() - batches.len();
        assert!((1..=3).contains(&first), "{first} transactions have no records");
        let records = std::iter::repeat_n(0, first).chain(batches);
        Self {
            commits: ends.iter().copied().zip(records).collect(),
            bytes,
            frames,
        }
    }

    /// It, with something else from `cut` on.
    fn torn(&self, cut: usize, rest: Rest, random: &mut Random) -> Vec<u8> {
        let mut torn = self.bytes[..cut].to_vec();
        let more = self.bytes.len() - cut;
        match rest {
            Rest::Nothing => {}
            Rest::Zeros => torn.resize(self.bytes.len(), 0),
            Rest::Garbage => torn.extend((0..more).map(|_| random.next() as u8)),
            Rest::Frames => torn.extend(self.bytes.iter().skip(LOG_HEAD).cycle().take(more)),
        }
        torn
    }

    /// How many records a log holds that may have been spoiled; none: not even the tables.
    fn holds(&self, torn: &[u8]) -> Option<usize> {
        let whole = self
            .bytes
            .iter()
            .zip(torn)
            .take_while(|(one, other)| one == other)
            .count();
        let before = self.commits.iter().take_while(|(end, _)| *end <= whole);
        before.last().map(|(_, records)| *records)
    }
}

#[test]
fn a_torn_log_holds_all_that_was_before() {
    let begun = std::time::Instant::now();
    let left = Left::behind(super::rounds(2, 6) as u8);
    let log = Log::of(&left);
    let database = std::fs::read(left.path()).unwrap();
    let copy = Left::of(&left.path());
    let all = copy.read().unwrap().records;
    for submission in &left.acknowledged {
        let known = all.iter().any(|record| match record {
            scalems_core::record::Record::Submitted(submitted) => submitted.submission == *submission,
            _ => false,
        });
        assert!(known, "submission {submission} was acknowledged");
    }
    let mut random = Random::new(1, 79);
    let mut seen = (0, 0, 0);
    let mut try_out = |cut: usize, rest: Rest| {
        let torn = log.torn(cut, rest, &mut random);
        copy.become_like(&left, &database, Some(&torn));
        match (copy.read(), log.holds(&torn)) {
            (Ok(found), Some(records)) => {
                assert!(
                    same(&found.records, &all[..records]),
                    "cut at {cut}, then {rest:?}: {} records, not {records}",
                    found.records.len()
                );
                found.restore();
                seen.1 += 1;
            }
            // It was not made yet when the agent died: nobody was let in.
            (Err(JournalError::NoJournal { .. }), None) => seen.2 += 1,
            (found, records) => panic!(
                "cut at {cut}, then {rest:?}: {:?}, not {records:?} records",
                found.map(|found| found.records.len())
            ),
        }
        seen.0 += 1;
    };
    for end in std::iter::once(&LOG_HEAD).chain(&log.frames) {
        for cut in [end - 1, *end, end + 1] {
            for rest in RESTS {
                try_out(cut.min(log.bytes.len()), rest);
            }
        }
    }
    // Every byte of what was written last.
    let (back, step) = if super::rounds(0, 1) == 0 {
        (log.bytes.len() - log.frames[log.frames.len() - 2], 101)
    } else {
        ((64 << 10).min(log.bytes.len() - LOG_HEAD), 1)
    };
    for cut in (log.bytes.len() - back..log.bytes.len()).step_by(step) {
        for rest in RESTS {
            try_out(cut, rest);
        }
    }
    let (tried, read, refused) = seen;
    println!(
        "{} frames, {} records: torn {tried} times, read {read} times, {refused} not made yet; {:?}",
        log.frames.len(),
        all.len(),
        begun.elapsed()
    );
    assert!(read > 0 && refused > 0);
}
