//! A linear check of a msgpack header before anything is decoded (`docs/spec/1-bus`, section "Headers").
//!
//! It takes no memory that grows with what a length field claims, and leaves the places of the top-level
//! values, so that an opaque value can be cut out without decoding it.

use std::ops::Range;

use crate::frame::WireError;
use crate::limits;

/// Top-level keys of a scanned map: none of our messages has more.
const TOP_KEYS: usize = 32;

/// A header that passed the scan: its top-level entries in order.
#[derive(Debug)]
pub struct Scanned<'a> {
    header: &'a [u8],
    entries: Vec<(&'a str, Range<usize>)>,
}

impl<'a> Scanned<'a> {
    /// The place of the value of `key`.
    pub fn place(&self, key: &str) -> Option<Range<usize>> {
        self.entries
            .iter()
            .find(|(name, _)| *name == key)
            .map(|(_, place)| place.clone())
    }

    /// The encoded value of `key`.
    pub fn value(&self, key: &str) -> Option<&'a [u8]> {
        self.place(key).map(|place| &self.header[place])
    }

    /// The value of `key` when it is a string.
    pub fn text(&self, key: &str) -> Option<&'a str> {
        rmp::decode::read_str_from_slice(self.value(key)?)
            .ok()
            .map(|(text, _)| text)
    }

    /// The value of `key` when it is an unsigned integer.
    pub fn number(&self, key: &str) -> Option<u64> {
        rmp::decode::read_int(&mut self.value(key)?).ok()
    }

    /// The top-level keys.
    pub fn keys(&self) -> impl Iterator<Item = &'a str> + '_ {
        self.entries.iter().map(|(name, _)| *name)
    }
}

/// Checks `header` against the limits: one map with distinct string keys, no extension types, no trailing bytes.
pub fn scan(header: &[u8]) -> Result<Scanned<'_>, WireError> {
    if header.len() > limits::HEADER_BYTES {
        return Err(WireError::TooLarge {
            what: "header bytes",
            limit: limits::HEADER_BYTES,
        });
    }
    let mut walk = Walk {
        bytes: header,
        at: 0,
        elements: 0,
    };
    let Item::Map(count) = walk.item()? else {
        return Err(WireError::Malformed("the header is not a map"));
    };
    let mut entries: Vec<(&str, Range<usize>)> = Vec::with_capacity((count as usize).min(TOP_KEYS));
    for _ in 0..count {
        if entries.len() == TOP_KEYS {
            return Err(WireError::TooLarge {
                what: "top-level keys",
                limit: TOP_KEYS,
            });
        }
        let key = walk.key()?;
        if entries.iter().any(|(name, _)| *name == key) {
            return Err(WireError::Malformed("a key occurs twice"));
        }
        let start = walk.at;
        walk.value()?;
        entries.push((key, start..walk.at));
    }
    if walk.at != header.len() {
        return Err(WireError::Malformed("bytes after the map"));
    }
    Ok(Scanned { header, entries })
}

/// Checks that `bytes` are exactly one msgpack value within the limits.
pub fn scan_value(bytes: &[u8]) -> Result<(), WireError> {
    let mut walk = Walk {
        bytes,
        at: 0,
        elements: 0,
    };
    walk.value()?;
    if walk.at == bytes.len() {
        Ok(())
    } else {
        Err(WireError::Malformed("bytes after the value"))
    }
}

enum Item {
    Scalar,
    Text(Range<usize>),
    Array(u32),
    Map(u32),
}

struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    elements: usize,
}

impl<'a> Walk<'a> {
    fn key(&mut self) -> Result<&'a str, WireError> {
        match self.item()? {
            Item::Text(place) if place.len() <= limits::KEY_BYTES => std::str::from_utf8(&self.bytes[place])
                .map_err(|_| WireError::Malformed("a key is not UTF-8")),
            Item::Text(_) => Err(WireError::TooLarge {
                what: "bytes of a key",
                limit: limits::KEY_BYTES,
            }),
            _ => Err(WireError::Malformed("a key is not a string")),
        }
    }

    /// Walks over one value. The stack is our own and bounded, so depth costs no memory.
    fn value(&mut self) -> Result<(), WireError> {
        // For each open container: how many items are left, and whether keys alternate with values.
        let mut open = [(0_u64, false); limits::DEPTH];
        let mut depth = 0;
        loop {
            let opened = match self.item()? {
                Item::Array(count) => Some((u64::from(count), false)),
                Item::Map(count) => Some((2 * u64::from(count), true)),
                Item::Scalar | Item::Text(_) => None,
            };
            if let Some(container) = opened {
                let Some(slot) = open.get_mut(depth) else {
                    return Err(WireError::TooLarge {
                        what: "levels of nesting",
                        limit: limits::DEPTH,
                    });
                };
                *slot = container;
                depth += 1;
            }
            while depth > 0 && open[depth - 1].0 == 0 {
                depth -= 1;
            }
            let Some((left, map)) = depth.checked_sub(1).map(|top| &mut open[top]) else {
                return Ok(());
            };
            *left -= 1;
            if *map && *left % 2 == 1 {
                // A key comes here; the value that follows is the next turn's.
                *left -= 1;
                self.key()?;
            }
        }
    }

    fn item(&mut self) -> Result<Item, WireError> {
        self.elements += 1;
        if self.elements > limits::ELEMENTS {
            return Err(WireError::TooLarge {
                what: "values in a header",
                limit: limits::ELEMENTS,
            });
        }
        let marker = *self.take(1)?.first().expect("one byte was taken");
        Ok(match marker {
            0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => Item::Scalar,
            0x80..=0x8f => Item::Map(u32::from(marker & 0x0f)),
            0x90..=0x9f => Item::Array(u32::from(marker & 0x0f)),
            0xa0..=0xbf => self.text(usize::from(marker & 0x1f))?,
            0xc4..=0xc6 => {
                let length = self.length(1 << (marker - 0xc4))?;
                self.take(length)?;
                Item::Scalar
            }
            0xca => self.skip(4)?,
            0xcb => self.skip(8)?,
            0xcc | 0xd0 => self.skip(1)?,
            0xcd | 0xd1 => self.skip(2)?,
            0xce | 0xd2 => self.skip(4)?,
            0xcf | 0xd3 => self.skip(8)?,
            0xd9..=0xdb => {
                let length = self.length(1 << (marker - 0xd9))?;
                self.text(length)?
            }
            0xdc | 0xdd => Item::Array(self.length(2 << (marker - 0xdc))? as u32),
            0xde | 0xdf => Item::Map(self.length(2 << (marker - 0xde))? as u32),
            0xc1 | 0xc7..=0xc9 | 0xd4..=0xd8 => {
                return Err(WireError::Malformed("extension types are not used here"));
            }
        })
    }

    fn skip(&mut self, count: usize) -> Result<Item, WireError> {
        self.take(count)?;
        Ok(Item::Scalar)
    }

    fn text(&mut self, length: usize) -> Result<Item, WireError> {
        let start = self.at;
        self.take(length)?;
        Ok(Item::Text(start..self.at))
    }

    fn length(&mut self, width: usize) -> Result<usize, WireError> {
        Ok(self
            .take(width)?
            .iter()
            .fold(0, |sum, byte| sum << 8 | usize::from(*byte)))
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], WireError> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or(WireError::Malformed("the header ends inside a value"))?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_top_level_values_are_found() {
        // {"mode": "x", "data": [1, {"a": 2}]}
        let header = b"\x82\xa4mode\xa1x\xa4data\x92\x01\x81\xa1a\x02";
        let scanned = scan(header).unwrap();
        assert_eq!(scanned.text("mode"), Some("x"));
        assert_eq!(scanned.value("data"), Some(&b"\x92\x01\x81\xa1a\x02"[..]));
        assert_eq!(scanned.keys().collect::<Vec<_>>(), ["mode", "data"]);
    }

    #[test]
    fn bombs_are_refused_without_memory() {
        let deep: Vec<u8> = [&b"\x81\xa1a"[..], &vec![0x91; 100_000]].concat();
        assert!(matches!(
            scan(&deep),
            Err(WireError::TooLarge {
                what: "levels of nesting",
                ..
            })
        ));
        assert!(matches!(
            scan(b"\xdf\xff\xff\xff\xff"),
            Err(WireError::Malformed(_))
        ));
        assert!(matches!(
            scan(b"\x81\xa1a\xdd\xff\xff\xff\xff"),
            Err(WireError::Malformed(_))
        ));
        assert!(matches!(
            scan(b"\x81\xa1a\xdb\xff\xff\xff\xff"),
            Err(WireError::Malformed(_))
        ));
        let wide: Vec<u8> = [&b"\x81\xa1a\xdd\x00\x0f\x00\x00"[..], &vec![0; 0xf_0000]].concat();
        assert!(matches!(
            scan(&wide),
            Err(WireError::TooLarge {
                what: "values in a header",
                ..
            })
        ));
    }

    #[test]
    fn what_is_not_one_plain_map_is_refused() {
        for bad in [
            &b""[..],
            b"\x01",
            b"\x80\x00",
            b"\x81\x01\x02",
            b"\x82\xa1a\x01\xa1a\x02",
            b"\x81\xa1a\xc1",
            b"\x81\xa1a\xd4\x00\x00",
            b"\x81\xa1a",
            b"\x81\xa1\xff\x00",
            b"\x81\xa1a\x81\x01\x01",
        ] {
            assert!(scan(bad).is_err(), "{bad:?}");
        }
        assert!(scan(b"\x80").is_ok());
    }
}
