//! The frame before a header that names what lies on the shelf.
//!
//! A header never begins with the byte `c1`. This frame does, so nobody takes one for the other.

use super::{End, Name};

/// With what it begins.
const MARK: u8 = 0xc1;
/// After the mark: what was named to the receiver is not there.
const LOST: u8 = 0;
/// After the mark: the sender's end, and an entry for each blob that is named.
const NAMES: u8 = 1;
/// Number, name and length of a blob.
const ENTRY: usize = 4 + 16 + 8;

/// One blob that lies on the shelf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    /// Which blob of the message, from 0. Its own frame is empty.
    pub(crate) blob: u32,
    pub(crate) name: Name,
    /// In bytes.
    pub(crate) length: u64,
}

/// What the first frame of a message is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum First {
    Header,
    /// The header follows, and these lie on the shelf. Also without any: the sender can take what is named to its end.
    Names(End, Vec<Named>),
    /// There is no more: something that was named was not there.
    Lost,
}

impl First {
    pub(crate) fn read(frame: &[u8]) -> Self {
        let Some((&MARK, rest)) = frame.split_first() else {
            return Self::Header;
        };
        match rest.split_first() {
            Some((&LOST, [])) => Self::Lost,
            Some((&NAMES, rest)) => {
                let Some((end, entries)) = rest.split_first_chunk() else {
                    return Self::Header;
                };
                let (entries, left) = entries.as_chunks::<ENTRY>();
                if !left.is_empty() {
                    return Self::Header;
                }
                Self::Names(End(*end), entries.iter().map(entry).collect())
            }
            _ => Self::Header,
        }
    }

    /// The frame that names these, from this end.
    pub(crate) fn names(from: End, names: impl Iterator<Item = Named>) -> Vec<u8> {
        let mut frame = vec![MARK, NAMES];
        frame.extend(from.0);
        for named in names {
            frame.extend(named.blob.to_le_bytes());
            frame.extend(named.name.of.0);
            frame.extend(named.name.number);
            frame.extend(named.length.to_le_bytes());
        }
        frame
    }

    /// The message that says that something was not there.
    pub(crate) fn lost() -> [u8; 2] {
        [MARK, LOST]
    }
}

fn entry(bytes: &[u8; ENTRY]) -> Named {
    let (blob, rest) = bytes
        .split_first_chunk()
        .expect("invariant: an entry is long enough");
    let (of, rest) = rest
        .split_first_chunk()
        .expect("invariant: an entry is long enough");
    let (number, length) = rest
        .split_first_chunk()
        .expect("invariant: an entry is long enough");
    let length = length.first_chunk().expect("invariant: an entry is long enough");
    Named {
        blob: u32::from_le_bytes(*blob),
        name: Name {
            of: End(*of),
            number: *number,
        },
        length: u64::from_le_bytes(*length),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        let named = |blob: u32| Named {
            blob,
            name: Name {
                of: End([blob as u8; 8]),
                number: [7; 8],
            },
            length: 1 << 40 | u64::from(blob),
        };
        for count in [0, 1, 3] {
            let from = End([9; 8]);
            let frame = First::names(from, (0..count).map(named));
            let all = (0..count).map(named).collect();
            assert_eq!(First::read(&frame), First::Names(from, all));
            assert_eq!(First::read(&frame[..frame.len() - 1]), First::Header);
        }
        assert_eq!(First::read(&First::lost()), First::Lost);
        for unknown in [&[0xc1][..], &[0xc1, 0, 0], &[0xc1, 2]] {
            assert_eq!(First::read(unknown), First::Header);
        }
        for header in [&[][..], &[0x80], &[0xde, 0xc1]] {
            assert_eq!(First::read(header), First::Header);
        }
    }
}
