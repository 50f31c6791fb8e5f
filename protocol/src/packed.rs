//! The records of packed logs: what many programs wrote, in few files (`docs/spec/9-packed-logs`).
//!
//! A file is one record after another. A record's sums cover also where in the file it begins, so that a copy of it in
//! what a program wrote is none. Here is only what the bytes mean: [`write()`] makes them, [`look`] reads them.

use serde::{Deserialize, Serialize};

use crate::limits::{LOG_BODY_BYTES, LOG_HEAD_BYTES};
use crate::{PilotId, TaskId, is_default};

/// The format that is written here.
pub const FORMAT: u32 = 1;
/// How the names of such files end.
pub const EXTENSION: &str = "packed";
/// How each record begins: no character of UTF-8 has the first of these bytes at its beginning.
pub const MARK: [u8; 4] = *b"\x93slr";
/// Bytes before a record's head.
pub const PREFIX_BYTES: usize = 28;

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// Which file this is: its first record.
    File(FileStart),
    /// An attempt begins.
    Begin(Begin),
    /// A part of what it wrote, which is the record's body.
    Bytes(Piece),
    /// A part of what it wrote is not here.
    Lost(Lost),
    /// The attempt has ended.
    End(End),
}

/// Which file this is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FileStart {
    /// The format.
    pub format: u32,
    /// The worker's pilot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pilot: Option<PilotId>,
    /// Its name.
    pub pilot_name: String,
    /// The worker's name.
    pub worker: String,
    /// Where it runs.
    pub host: String,
    /// Its process.
    pub pid: u32,
    /// The program that wrote this.
    pub software: String,
    /// Files of one worker are numbered from 1.
    pub part: u32,
    /// When it was begun: microseconds since 1970.
    pub time_us: u64,
}

/// One attempt at a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Attempt {
    /// The task.
    pub task: TaskId,
    /// The life of the agent that leased it.
    pub incarnation: u64,
    /// The attempt.
    pub attempt: u32,
}

/// An attempt begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begin {
    /// Which.
    pub of: Attempt,
    /// When: microseconds since 1970.
    pub time_us: u64,
}

/// A part of what an attempt wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// Which attempt.
    pub of: Attempt,
    /// On which stream.
    pub stream: Stream,
    /// Where in the stream it begins.
    pub from: u64,
    /// When its first byte was read: microseconds since 1970.
    pub time_us: u64,
}

/// A part of what an attempt wrote is not here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// Which attempt.
    pub of: Attempt,
    /// On which stream.
    pub stream: Stream,
    /// Where in the stream it begins.
    pub from: u64,
    /// How much.
    pub bytes: u64,
    /// Why.
    pub why: Why,
    /// When this was written: microseconds since 1970.
    pub time_us: u64,
}

/// An attempt has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// Which.
    pub of: Attempt,
    /// When: microseconds since 1970.
    pub time_us: u64,
    /// Its exit code, if it ended by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The signal that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// How much it wrote on its standard output.
    #[serde(default, skip_serializing_if = "is_default")]
    pub stdout: u64,
    /// How much on its standard error.
    #[serde(default, skip_serializing_if = "is_default")]
    pub stderr: u64,
}

/// What a program writes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Its standard output.
    Stdout,
    /// Its standard error.
    Stderr,
}

/// Why output is not in a packed log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// It was more than the attempt may keep of one stream.
    Cap,
    /// It came faster than it may.
    Rate,
    /// The worker's files have as much as they may.
    Room,
    /// The system refused to write it.
    Disk,
    /// It came faster than it could be written.
    Late,
}

impl Record {
    /// The attempt that it is about.
    pub const fn of(&self) -> Option<Attempt> {
        match self {
            Self::File(_) => None,
            Self::Begin(begin) => Some(begin.of),
            Self::Bytes(piece) => Some(piece.of),
            Self::Lost(lost) => Some(lost.of),
            Self::End(end) => Some(end.of),
        }
    }
}

/// Adds a record to `into`; it will begin at `position` of its file.
pub fn write(position: u64, record: &Record, body: &[u8], into: &mut Vec<u8>) {
    let head = rmp_serde::to_vec_named(record).expect("our own structs serialize into memory");
    assert!(
        head.len() <= LOG_HEAD_BYTES && body.len() <= LOG_BODY_BYTES,
        "a record is within its limits"
    );
    let mut prefix = [0; PREFIX_BYTES];
    prefix[..4].copy_from_slice(&MARK);
    prefix[4..8].copy_from_slice(&(head.len() as u32).to_le_bytes());
    prefix[8..12].copy_from_slice(&(body.len() as u32).to_le_bytes());
    prefix[20..].copy_from_slice(&body_sum(body));
    let sum = head_sum(position, &prefix, &head);
    prefix[12..20].copy_from_slice(&sum);
    into.extend_from_slice(&prefix);
    into.extend_from_slice(&head);
    into.extend_from_slice(body);
}

/// What begins at a place of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// A record.
    Found(Found),
    /// It takes so many bytes to say.
    More(usize),
    /// Nothing that is whole.
    Nothing,
}

/// A record whose head is right. Its body was not looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What it says; none if that is not known here: later versions may say more.
    pub record: Option<Record>,
    /// Where its body begins, from where it begins itself.
    pub body_at: usize,
    /// Bytes of its body.
    pub body_bytes: usize,
    sum: [u8; 8],
}

impl Found {
    /// Bytes of all of it.
    pub const fn bytes(&self) -> usize {
        self.body_at + self.body_bytes
    }

    /// Whether this is its body, as it was written.
    pub fn is_body(&self, body: &[u8]) -> bool {
        body.len() == self.body_bytes && body_sum(body) == self.sum
    }
}

/// Looks at the bytes that lie at `position` of a file and behind it.
pub fn look(position: u64, bytes: &[u8]) -> Look {
    let known = bytes.len().min(MARK.len());
    if bytes[..known] != MARK[..known] {
        return Look::Nothing;
    }
    let Some((prefix, rest)) = bytes.split_first_chunk::<PREFIX_BYTES>() else {
        return Look::More(PREFIX_BYTES);
    };
    let number = |at: usize| {
        let bytes = prefix[at..at + 4].try_into().expect("they are four");
        u32::from_le_bytes(bytes) as usize
    };
    let (head_bytes, body_bytes) = (number(4), number(8));
    if head_bytes > LOG_HEAD_BYTES || body_bytes > LOG_BODY_BYTES {
        return Look::Nothing;
    }
    let Some(head) = rest.get(..head_bytes) else {
        return Look::More(PREFIX_BYTES + head_bytes);
    };
    if head_sum(position, prefix, head) != prefix[12..20] {
        return Look::Nothing;
    }
    Look::Found(Found {
        record: rmp_serde::from_slice(head).ok(),
        body_at: PREFIX_BYTES + head_bytes,
        body_bytes,
        sum: prefix[20..].try_into().expect("they are eight"),
    })
}

/// How far it is to the next place, behind the first, where a record may begin.
pub fn next_mark(bytes: &[u8]) -> usize {
    let places = 1..bytes.len();
    let mut found = places.filter(|at| {
        let rest = &bytes[*at..];
        let known = rest.len().min(MARK.len());
        rest[..known] == MARK[..known]
    });
    found.next().unwrap_or(bytes.len())
}

fn head_sum(position: u64, prefix: &[u8; PREFIX_BYTES], head: &[u8]) -> [u8; 8] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&position.to_le_bytes());
    hasher.update(&prefix[..12]);
    hasher.update(&prefix[20..]);
    hasher.update(head);
    short(hasher.finalize())
}

fn body_sum(body: &[u8]) -> [u8; 8] {
    short(blake3::hash(body))
}

fn short(hash: blake3::Hash) -> [u8; 8] {
    *hash.as_bytes().first_chunk().expect("a hash has 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece() -> Record {
        Record::Bytes(Piece {
            of: Attempt {
                task: TaskId {
                    submission: 5,
                    index: 7,
                },
                incarnation: 1,
                attempt: 2,
            },
            stream: Stream::Stderr,
            from: 70_000,
            time_us: 9,
        })
    }

    #[test]
    fn a_record_reads_back_where_it_was_written_and_nowhere_else() {
        let mut bytes = Vec::new();
        write(100, &piece(), b"some text", &mut bytes);
        let Look::Found(found) = look(100, &bytes) else {
            panic!("it is there")
        };
        assert_eq!(found.record, Some(piece()));
        assert_eq!(found.bytes(), bytes.len());
        assert!(found.is_body(&bytes[found.body_at..]));
        assert_eq!(look(101, &bytes), Look::Nothing);
    }

    #[test]
    fn a_begun_record_says_how_much_it_takes() {
        let mut bytes = Vec::new();
        write(0, &piece(), b"", &mut bytes);
        for upto in 0..PREFIX_BYTES {
            assert_eq!(look(0, &bytes[..upto]), Look::More(PREFIX_BYTES));
        }
        assert_eq!(look(0, &bytes[..bytes.len() - 1]), Look::More(bytes.len()));
    }

    #[test]
    fn what_later_versions_say_is_passed_over() {
        let head =
            rmp_serde::to_vec_named(&serde_json::json!({"unheard_of": {"at": 1}})).expect("it is written");
        let mut prefix = [0; PREFIX_BYTES];
        prefix[..4].copy_from_slice(&MARK);
        prefix[4] = head.len() as u8;
        prefix[20..].copy_from_slice(&body_sum(b""));
        let sum = head_sum(0, &prefix, &head);
        prefix[12..20].copy_from_slice(&sum);
        let Look::Found(found) = look(0, &[&prefix[..], &head].concat()) else {
            panic!("it is there")
        };
        assert_eq!((found.record, found.body_bytes), (None, 0));
    }

    #[test]
    fn the_next_mark_may_be_cut_off() {
        assert_eq!(next_mark(b"\x93slr...\x93slr"), 7);
        assert_eq!(next_mark(b"\x93slr...\x93s"), 7);
        assert_eq!(next_mark(b"\x93slr..."), 7);
        assert_eq!(next_mark(b""), 0);
    }
}
