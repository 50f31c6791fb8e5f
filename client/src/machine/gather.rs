//! The data of tasks that travel together.

use bytes::{BufMut, BytesMut};
use scalems_protocol::group::Data;

use super::packs::Packs;
use super::window::Segment;

/// A batch under the window.
#[derive(Debug)]
pub(super) struct Batch {
    /// Where they come from.
    pub(super) segments: Vec<Segment>,
    /// How many.
    pub(super) count: u32,
    /// Their bytes.
    pub(super) bytes: u64,
}

/// The bytes of the tasks `lo..hi`.
pub(super) fn size(data: &Data, lo: u32, hi: u32) -> u64 {
    if data.ends.is_empty() {
        return data.bytes.len() as u64;
    }
    u64::from(data.ends[hi as usize - 1] - start(data, lo))
}

fn start(data: &Data, lo: u32) -> u32 {
    lo.checked_sub(1).map_or(0, |before| data.ends[before as usize])
}

/// How many of the tasks `lo..hi`, from the first on, have together at most `most` bytes, and how many they have.
pub(super) fn fitting(data: &Data, lo: u32, hi: u32, most: u64) -> (u32, u64) {
    let all = size(data, lo, hi);
    if all <= most {
        return (hi - lo, all);
    }
    if data.ends.is_empty() {
        return (0, 0);
    }
    let limit = u64::from(start(data, lo)) + most;
    let fitting = data.ends[lo as usize..hi as usize].partition_point(|end| u64::from(*end) <= limit) as u32;
    let bytes = if fitting == 0 {
        0
    } else {
        size(data, lo, lo + fitting)
    };
    (fitting, bytes)
}

/// The data of a batch as one: without a copy when it comes from one pack.
pub(super) fn assemble(packs: &Packs, batch: &Batch) -> Data {
    if batch.bytes == 0 {
        return Data::default();
    }
    let of = |segment: &Segment| &packs.get(segment.pack).expect("it was gathered").pack.data;
    if let [segment] = &batch.segments[..] {
        let data = of(segment);
        let (lo, hi) = (segment.lo as usize, (segment.lo + segment.count) as usize);
        return if segment.count == 1 {
            Data::shared(data.of(lo))
        } else {
            data.part(lo, hi)
        };
    }
    let mut bytes = BytesMut::with_capacity(batch.bytes as usize);
    let mut ends = Vec::with_capacity(batch.count as usize);
    for segment in &batch.segments {
        let data = of(segment);
        let before = bytes.len() as u32;
        if data.ends.is_empty() {
            bytes.put_slice(&data.bytes);
            ends.resize(ends.len() + segment.count as usize, bytes.len() as u32);
        } else {
            let (lo, hi) = (segment.lo as usize, (segment.lo + segment.count) as usize);
            let from = start(data, segment.lo);
            bytes.put_slice(&data.bytes[from as usize..data.ends[hi - 1] as usize]);
            ends.extend(data.ends[lo..hi].iter().map(|end| before + (end - from)));
        }
    }
    Data {
        bytes: bytes.freeze(),
        ends,
    }
}
