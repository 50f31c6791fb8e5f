//! Frames between a worker and an interpreter (`docs/spec/10-functions`, section "Interpreters").

use std::collections::VecDeque;
use std::fmt;

use bytes::Bytes;
use scalems_protocol::limits::{FRAME_HEAD_BYTES, VALUE_BYTES};
use serde::de::{Error, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// Bytes of a frame: a head and two values, one of them with what is beside it.
const FRAME_BYTES: usize = FRAME_HEAD_BYTES + 2 * VALUE_BYTES + (1 << 20);

/// Blobs from here on are sent and kept where they lie.
const LARGE_BYTES: usize = 32 << 10;

/// A frame that is being written.
#[derive(Debug, Default)]
pub(super) struct Frame {
    messages: Vec<u8>,
    count: u32,
    blobs: Vec<Bytes>,
    bytes: usize,
}

impl Frame {
    /// Adds a message, a tuple whose first entry is its name.
    pub(super) fn add(&mut self, message: &impl Serialize) {
        rmp_serde::encode::write_named(&mut self.messages, message).expect("tuples serialize into memory");
        self.count += 1;
    }

    /// Adds a blob, and gives its number.
    pub(super) fn blob(&mut self, blob: Bytes) -> usize {
        self.bytes += blob.len();
        self.blobs.push(blob);
        self.blobs.len() - 1
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes + self.messages.len()
    }

    /// Appends it to what is to be sent, unless it is empty. Large blobs are not copied.
    pub(super) fn write(self, out: &mut VecDeque<Bytes>) {
        if self.count == 0 {
            return;
        }
        let lengths: Vec<usize> = self.blobs.iter().map(Bytes::len).collect();
        let lengths = rmp_serde::to_vec(&lengths).expect("numbers serialize into memory");
        // A list of two: a list of messages, and the lengths.
        let head = 1 + 5 + self.messages.len() + lengths.len();
        let mut part = Vec::with_capacity(4 + head + self.bytes.min(LARGE_BYTES));
        let head = u32::try_from(head).expect("calls that are sent ahead are bounded");
        part.extend(head.to_le_bytes());
        part.extend([0x92, 0xdd]);
        part.extend(self.count.to_be_bytes());
        part.extend(self.messages);
        part.extend(lengths);
        for blob in self.blobs {
            if blob.len() < LARGE_BYTES {
                part.extend_from_slice(&blob);
            } else {
                out.push_back(std::mem::take(&mut part).into());
                out.push_back(blob);
            }
        }
        if !part.is_empty() {
            out.push_back(part.into());
        }
    }
}

/// What an interpreter says.
#[derive(Debug, PartialEq)]
pub(super) enum Said {
    Ready(i32),
    Began(u64),
    Done {
        key: u64,
        ran_us: u64,
        wrote: bool,
        blob: usize,
    },
    Failed {
        key: u64,
        ran_us: u64,
        wrote: bool,
        failure: Failure,
        blob: Option<usize>,
    },
    Dropped(u64),
    Progress {
        key: u64,
        fraction: f64,
        text: String,
    },
    Retire(String),
    /// Of a later version; it may be left out.
    Other,
}

/// What an interpreter says of itself; what else it says is for people.
#[derive(Deserialize)]
struct About {
    pid: i32,
}

/// How a call failed.
#[derive(Debug, PartialEq)]
pub(crate) struct Failure {
    pub(crate) code: String,
    pub(crate) class: String,
    pub(crate) message: String,
    pub(crate) trace: String,
}

impl<'de> Deserialize<'de> for Said {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Words;

        fn next<'de, A: SeqAccess<'de>, T: Deserialize<'de>>(words: &mut A) -> Result<T, A::Error> {
            words
                .next_element()?
                .ok_or_else(|| A::Error::custom("a message is too short"))
        }

        impl<'de> Visitor<'de> for Words {
            type Value = Said;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a message of an interpreter")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut words: A) -> Result<Said, A::Error> {
                let kind: String = next(&mut words)?;
                let words = &mut words;
                let said = match kind.as_str() {
                    "ready" => Said::Ready(next::<_, About>(words)?.pid),
                    "began" => Said::Began(next(words)?),
                    "done" => Said::Done {
                        key: next(words)?,
                        ran_us: next(words)?,
                        wrote: next(words)?,
                        blob: next(words)?,
                    },
                    "failed" => Said::Failed {
                        key: next(words)?,
                        ran_us: next(words)?,
                        wrote: next(words)?,
                        failure: Failure {
                            code: next(words)?,
                            class: next(words)?,
                            message: next(words)?,
                            trace: next(words)?,
                        },
                        blob: next(words)?,
                    },
                    "dropped" => Said::Dropped(next(words)?),
                    "progress" => Said::Progress {
                        key: next(words)?,
                        fraction: next(words)?,
                        text: next(words)?,
                    },
                    "retire" => Said::Retire(next(words)?),
                    _ => Said::Other,
                };
                while words.next_element::<IgnoredAny>()?.is_some() {}
                Ok(said)
            }
        }

        deserializer.deserialize_seq(Words)
    }
}

/// A frame that was read.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) messages: Vec<Said>,
    pub(super) blobs: Vec<Bytes>,
}

/// A frame whose head was read.
#[derive(Debug)]
pub(super) struct Opened {
    messages: Vec<Said>,
    lengths: Vec<usize>,
    /// Where its blobs begin.
    at: usize,
    /// The bytes that it takes.
    pub(super) total: usize,
}

/// Opens the frame that `bytes` begin with, if its head is there in full. An error is a reason to end the interpreter.
pub(super) fn open(bytes: &[u8]) -> Result<Option<Opened>, String> {
    let Some((length, rest)) = bytes.split_first_chunk() else {
        return Ok(None);
    };
    let length = u32::from_le_bytes(*length) as usize;
    if length > FRAME_HEAD_BYTES {
        return Err(format!("it sent a head of {length} bytes"));
    }
    let Some((head, _)) = rest.split_at_checked(length) else {
        return Ok(None);
    };
    let (messages, lengths): (Vec<Said>, Vec<usize>) =
        rmp_serde::from_slice(head).map_err(|problem| format!("it sent what cannot be read: {problem}"))?;
    let at = 4 + length;
    let total = lengths.iter().try_fold(at, |sum, more| sum.checked_add(*more));
    let Some(total) = total.filter(|total| *total <= FRAME_BYTES) else {
        return Err("it sent a frame that is too large".to_owned());
    };
    Ok(Some(Opened {
        messages,
        lengths,
        at,
        total,
    }))
}

impl Opened {
    /// The frame, if `bytes`, which begin with it, have all of it. Its blobs are copied.
    pub(super) fn read(self, bytes: &[u8]) -> Option<Heard> {
        let bytes = bytes.get(..self.total)?;
        self.blobs(|from, to| bytes.get(from..to).map(Bytes::copy_from_slice))
    }

    /// The frame that `bytes` are. Its blobs stay where they are.
    pub(super) fn keep(self, bytes: &Bytes) -> Option<Heard> {
        self.blobs(|from, to| (to <= bytes.len()).then(|| bytes.slice(from..to)))
    }

    fn blobs(self, cut: impl Fn(usize, usize) -> Option<Bytes>) -> Option<Heard> {
        let mut at = self.at;
        let blobs = self.lengths.iter().map(|length| {
            let from = at;
            at += length;
            cut(from, at)
        });
        let blobs = blobs.collect::<Option<_>>()?;
        Some(Heard {
            messages: self.messages,
            blobs,
        })
    }
}

/// Moves the frames out that `bytes` begin with. If the last one is of those that are kept where they lie, and not there in full,
/// it is given back: the rest of it is to be read to its beginning, which is all that is left then.
pub(super) fn take(bytes: &mut Vec<u8>, frames: &mut Vec<Heard>) -> Result<Option<Opened>, String> {
    let mut at = 0;
    let mut begun = None;
    while let Some(opened) = open(bytes.get(at..).unwrap_or_default())? {
        let total = opened.total;
        if bytes.len() - at < total {
            begun = Some(opened).filter(|_| total >= LARGE_BYTES);
            break;
        }
        frames.extend(opened.read(bytes.get(at..).unwrap_or_default()));
        at += total;
    }
    bytes.drain(..at);
    Ok(begun)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_as_they_were_written() {
        let mut frame = Frame::default();
        let first = frame.blob(Bytes::from_static(b"value"));
        frame.add(&("done", 7_u64, 15_u64, true, first));
        frame.add(&("later", 1, "more"));
        frame.add(&("dropped", 8));
        let mut parts = VecDeque::new();
        frame.write(&mut parts);
        assert_eq!(parts.len(), 1);
        let bytes = parts.make_contiguous().concat();
        let done = Said::Done {
            key: 7,
            ran_us: 15,
            wrote: true,
            blob: 0,
        };
        for cut in 0..=bytes.len() {
            let (mut read, mut heard) = (bytes[..cut].to_vec(), Vec::new());
            assert!(take(&mut read, &mut heard).unwrap().is_none());
            assert_eq!(heard.is_empty(), cut < bytes.len(), "{cut}");
            assert_eq!(read.len(), if heard.is_empty() { cut } else { 0 });
            if let Some(heard) = heard.pop() {
                assert_eq!(heard.messages, [done, Said::Other, Said::Dropped(8)]);
                assert_eq!(heard.blobs, [&b"value"[..]]);
                break;
            }
        }
        assert!(take(&mut vec![0xff; 8], &mut Vec::new()).is_err());
        assert!(take(&mut vec![2, 0, 0, 0, 0x92, 0x90], &mut Vec::new()).is_err());
    }

    #[test]
    fn large_blobs_stay_where_they_are() {
        let large = Bytes::from(vec![7; LARGE_BYTES]);
        let mut frame = Frame::default();
        let first = frame.blob(large.clone());
        let second = frame.blob(Bytes::from_static(b"small"));
        frame.add(&("done", 7_u64, 15_u64, false, first));
        frame.add(&("done", 8_u64, 15_u64, false, second));
        let mut parts = VecDeque::new();
        frame.write(&mut parts);
        assert_eq!(parts[1].as_ptr(), large.as_ptr());
        let whole = Bytes::from(parts.make_contiguous().concat());
        let (mut begun, mut heard) = (whole[..100].to_vec(), Vec::new());
        let opened = take(&mut begun, &mut heard).unwrap().unwrap();
        assert_eq!((opened.total, heard.len(), begun.len()), (whole.len(), 0, 100));
        let heard = opened.keep(&whole).unwrap();
        assert_eq!(heard.blobs, [large, Bytes::from_static(b"small")]);
    }
}
