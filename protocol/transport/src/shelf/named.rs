//! The frame before a header that names what lies on the shelf.
//!
//! A header never begins with the byte `c1`. This frame does, so nobody takes one for the other.

use super::Name;

/// With what it begins.
const MARK: u8 = 0xc1;
/// After the mark: what was named to the receiver is not there.
const LOST: u8 = 0;
/// After the mark: blobs are named, as many as there are entries.
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
    /// The header follows, and these lie on the shelf. Also without any: the sender can take what is named.
    Names(Vec<Named>),
    /// There is no more: something that was named was not there.
    Lost,
    /// It begins so, and is nothing that we know.
    Unknown,
}

impl First {
    pub(crate) fn read(frame: &[u8]) -> Self {
        let Some((&MARK, rest)) = frame.split_first() else {
            return Self::Header;
        };
        match rest.split_first() {
            Some((&LOST, [])) => Self::Lost,
            Some((&NAMES, entries)) => {
                let (entries, left) = entries.as_chunks::<ENTRY>();
                if !left.is_empty() {
                    return Self::Unknown;
                }
                Self::Names(entries.iter().map(entry).collect())
            }
            _ => Self::Unknown,
        }
    }

    /// The frame that names these.
    pub(crate) fn names(names: impl Iterator<Item = Named>) -> Vec<u8> {
        let mut frame = vec![MARK, NAMES];
        for named in names {
            frame.extend(named.blob.to_le_bytes());
            frame.extend(named.name.0);
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
    let (name, length) = rest
        .split_first_chunk()
        .expect("invariant: an entry is long enough");
    let length = length.first_chunk().expect("invariant: an entry is long enough");
    Named {
        blob: u32::from_le_bytes(*blob),
        name: Name(*name),
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
            name: Name([blob as u8; 16]),
            length: 1 << 40 | u64::from(blob),
        };
        for count in [0, 1, 3] {
            let frame = First::names((0..count).map(named));
            assert_eq!(First::read(&frame), First::Names((0..count).map(named).collect()));
            if count > 0 {
                assert_eq!(First::read(&frame[..frame.len() - 1]), First::Unknown);
            }
        }
        assert_eq!(First::read(&First::lost()), First::Lost);
        for unknown in [&[0xc1][..], &[0xc1, 0, 0], &[0xc1, 2]] {
            assert_eq!(First::read(unknown), First::Unknown);
        }
        for header in [&[][..], &[0x80], &[0xde, 0xc1]] {
            assert_eq!(First::read(header), First::Header);
        }
    }
}
