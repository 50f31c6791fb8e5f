//! Frames between a worker and an interpreter (`docs/spec/10-functions`, section "Interpreters").

use std::fmt;

use bytes::Bytes;
use scalems_protocol::limits::{FRAME_HEAD_BYTES, VALUE_BYTES};
use serde::de::{Error, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// Bytes of a frame: a head and two values, one of them with what is beside it.
const FRAME_BYTES: usize = FRAME_HEAD_BYTES + 2 * VALUE_BYTES + (1 << 20);

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

    /// Appends it to what is to be sent, unless it is empty.
    pub(super) fn write(self, out: &mut Vec<u8>) {
        if self.count == 0 {
            return;
        }
        let lengths: Vec<usize> = self.blobs.iter().map(Bytes::len).collect();
        let lengths = rmp_serde::to_vec(&lengths).expect("numbers serialize into memory");
        // A list of two: a list of messages, and the lengths.
        let head = 1 + 5 + self.messages.len() + lengths.len();
        out.reserve(4 + head + self.bytes);
        let head = u32::try_from(head).expect("calls that are sent ahead are bounded");
        out.extend(head.to_le_bytes());
        out.extend([0x92, 0xdd]);
        out.extend(self.count.to_be_bytes());
        out.extend(self.messages);
        out.extend(lengths);
        for blob in self.blobs {
            out.extend_from_slice(&blob);
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
pub(super) struct Failure {
    pub(super) code: String,
    pub(super) class: String,
    pub(super) message: String,
    pub(super) trace: String,
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
    /// The bytes that it took.
    pub(super) length: usize,
}

/// The frame that `bytes` begin with, if it is there in full. An error is a reason to end the interpreter.
pub(super) fn read(bytes: &[u8]) -> Result<Option<Heard>, String> {
    let Some((length, rest)) = bytes.split_first_chunk() else {
        return Ok(None);
    };
    let length = u32::from_le_bytes(*length) as usize;
    if length > FRAME_HEAD_BYTES {
        return Err(format!("it sent a head of {length} bytes"));
    }
    let Some((head, mut rest)) = rest.split_at_checked(length) else {
        return Ok(None);
    };
    let (messages, lengths): (Vec<Said>, Vec<usize>) =
        rmp_serde::from_slice(head).map_err(|problem| format!("it sent what cannot be read: {problem}"))?;
    let total = lengths
        .iter()
        .try_fold(4 + length, |sum, more| sum.checked_add(*more));
    let Some(total) = total.filter(|total| *total <= FRAME_BYTES) else {
        return Err("it sent a frame that is too large".to_owned());
    };
    if bytes.len() < total {
        return Ok(None);
    }
    let mut blobs = Vec::with_capacity(lengths.len());
    for length in lengths {
        let (blob, more) = rest
            .split_at_checked(length)
            .ok_or("it sent a frame that is cut off")?;
        blobs.push(Bytes::copy_from_slice(blob));
        rest = more;
    }
    Ok(Some(Heard {
        messages,
        blobs,
        length: total,
    }))
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
        let mut bytes = Vec::new();
        frame.write(&mut bytes);
        for cut in 0..bytes.len() {
            assert!(read(&bytes[..cut]).unwrap().is_none(), "{cut}");
        }
        let heard = read(&bytes).unwrap().unwrap();
        let done = Said::Done {
            key: 7,
            ran_us: 15,
            wrote: true,
            blob: 0,
        };
        assert_eq!(heard.messages, [done, Said::Other, Said::Dropped(8)]);
        assert_eq!((&heard.blobs[0][..], heard.length), (&b"value"[..], bytes.len()));
        assert!(read(&[0xff; 8]).is_err());
        assert!(read(&[2, 0, 0, 0, 0x92, 0x90]).is_err());
    }
}
