//! What a submission's tasks are given: their data, until they have ended, and of those that did not end well for as
//! long as there is room: they may be submitted again.

use bytes::Bytes;
use scalems_protocol::group::Data;
use scalems_protocol::limits;

use crate::record::{Appended, Submitted};

/// The data of a submission's tasks.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// Of the tasks that it began with.
    first: Data,
    /// How many those are.
    count: u32,
    /// What there is beside them, of a submission that was open in the beginning.
    more: Option<Box<More>>,
    /// Of tasks that did not end well, once all have ended.
    kept: Vec<Kept>,
}

/// The data of some tasks. Data that all share is kept as that of all.
#[derive(Clone, Debug)]
struct Kept {
    lo: u32,
    hi: u32,
    data: Data,
}

/// The data of a submission that tasks were added to.
#[derive(Clone, Debug)]
struct More {
    /// How many of the first tasks have not ended.
    left: u32,
    /// What was added, in order.
    chunks: Vec<Chunk>,
}

/// Tasks that were added together.
#[derive(Clone, Debug)]
struct Chunk {
    lo: u32,
    hi: u32,
    left: u32,
    data: Data,
}

impl Inputs {
    /// Those of a new submission.
    pub fn new(from: &Submitted) -> Self {
        let more = from.open.then(|| {
            Box::new(More {
                left: from.count,
                chunks: Vec::new(),
            })
        });
        Self {
            first: from.data.clone(),
            count: from.count,
            more,
            kept: Vec::new(),
        }
    }

    /// Whether all tasks share them.
    pub fn are_shared(&self) -> bool {
        self.more.is_none() && self.first.ends.is_empty()
    }

    /// Adds those of tasks that were added.
    pub fn append(&mut self, from: &Appended) {
        if let Some(more) = &mut self.more {
            more.chunks.push(Chunk {
                lo: from.first,
                hi: from.first + from.count,
                left: from.count,
                data: from.data.clone(),
            });
        }
    }

    /// Bytes that are held.
    pub fn held(&self) -> u64 {
        let chunks = self.more.iter().flat_map(|more| &more.chunks);
        let added: usize = chunks.map(|chunk| chunk.data.bytes.len()).sum();
        let kept: usize = self.kept.iter().map(|kept| kept.data.bytes.len()).sum();
        (self.first.bytes.len() + added + kept) as u64
    }

    /// The tasks `lo..hi` have ended. Gives the bytes that are held no more: those of tasks that came together, when all
    /// of them have ended well, as `well` says of `[lo, hi)`.
    pub fn ended(&mut self, lo: u32, hi: u32, well: impl Fn(u32, u32) -> bool) -> u64 {
        let Some(more) = &mut self.more else { return 0 };
        let over = |left: &mut u32, data: &mut Data, from: u32, to: u32| {
            *left -= hi.min(to).saturating_sub(lo.max(from));
            if *left > 0 || !well(from, to) {
                return 0;
            }
            // What cuts it up stays: workers are credited by it.
            std::mem::take(&mut data.bytes).len() as u64
        };
        let mut released = 0;
        if lo < self.count {
            released += over(&mut more.left, &mut self.first, 0, self.count);
        }
        let begin = more.chunks.partition_point(|chunk| chunk.hi <= lo);
        for chunk in more.chunks[begin..].iter_mut().take_while(|chunk| chunk.lo < hi) {
            released += over(&mut chunk.left, &mut chunk.data, chunk.lo, chunk.hi);
        }
        released
    }

    /// All tasks have ended: keeps the data of those in these ranges, and drops that of the others.
    pub fn keep(&mut self, ranges: &[(u32, u32)]) {
        let all = std::mem::take(self);
        if all.are_shared() {
            self.kept.extend(ranges.first().map(|_| Kept {
                lo: 0,
                hi: all.count,
                data: all.first,
            }));
            return;
        }
        for (from, to) in ranges {
            let mut lo = *from;
            while lo < *to {
                let hi = all.came_with(lo).min(*to);
                let part = all.part(lo, hi);
                // Of its own, else all of the message that it came in would stay.
                let bytes = Bytes::copy_from_slice(&part.bytes);
                let data = Data { bytes, ..part };
                self.kept.push(Kept { lo, hi, data });
                lo = hi;
            }
        }
    }

    /// Whether data of tasks that did not end well is kept.
    pub fn are_kept(&self) -> bool {
        !self.kept.is_empty()
    }

    /// Drops what is kept of tasks that did not end well. Gives the bytes.
    pub fn drop_kept(&mut self) -> u64 {
        let kept = std::mem::take(&mut self.kept);
        kept.iter().map(|kept| kept.data.bytes.len() as u64).sum()
    }

    /// The data of the tasks in these ranges, none of which ended well, and how many bytes that is: nothing, if more than
    /// `most`.
    pub fn again(&self, ranges: &[(u32, u32)], most: usize) -> (usize, Option<Data>) {
        let shared = match self.kept.as_slice() {
            [] => self.are_shared().then_some(&self.first),
            [kept, ..] => kept.data.ends.is_empty().then_some(&kept.data),
        };
        if let Some(data) = shared {
            return (data.bytes.len(), Some(data.clone()));
        }
        let mut parts = Vec::new();
        for (from, to) in ranges {
            let mut lo = *from;
            while lo < *to {
                let at = self.kept.partition_point(|kept| kept.hi <= lo);
                let (hi, part) = if let Some(kept) = self.kept.get(at) {
                    let hi = kept.hi.min(*to);
                    (
                        hi,
                        kept.data.part((lo - kept.lo) as usize, (hi - kept.lo) as usize),
                    )
                } else {
                    let hi = self.came_with(lo).min(*to);
                    (hi, self.part(lo, hi))
                };
                parts.push(part);
                lo = hi;
            }
        }
        let size = parts.iter().map(|part| part.bytes.len()).sum();
        if size > most {
            return (size, None);
        }
        let (mut bytes, mut ends) = (Vec::with_capacity(size), Vec::new());
        for part in parts {
            let begin = bytes.len() as u32;
            bytes.extend_from_slice(&part.bytes);
            ends.extend(part.ends.iter().map(|end| begin + end));
        }
        let bytes = bytes.into();
        (size, Some(Data { bytes, ends }))
    }

    /// One past the last task that may travel with the one at `offset`.
    pub fn together(&self, offset: u32) -> u32 {
        let came = self.came_with(offset);
        if self.more.is_none() && self.first.ends.len() > limits::BATCH_TASKS {
            let batch = limits::BATCH_TASKS as u32;
            return came.min((offset / batch + 1) * batch);
        }
        came
    }

    /// One past the last task that came together with the one at `offset`.
    fn came_with(&self, offset: u32) -> u32 {
        match &self.more {
            Some(more) if offset >= self.count => {
                let at = more.chunks.partition_point(|chunk| chunk.hi <= offset);
                more.chunks.get(at).map_or(u32::MAX, |chunk| chunk.hi)
            }
            Some(_) => self.count,
            None => u32::MAX,
        }
    }

    /// The data of the tasks `lo..hi`, which came together.
    pub fn part(&self, lo: u32, hi: u32) -> Data {
        let (from, data) = match &self.more {
            Some(more) if lo >= self.count => {
                let at = more.chunks.partition_point(|chunk| chunk.hi <= lo);
                let chunk = &more.chunks[at];
                (chunk.lo, &chunk.data)
            }
            _ => (0, &self.first),
        };
        data.part((lo - from) as usize, (hi - from) as usize)
    }

    /// The bytes of data that leases of these tasks carry.
    pub fn bytes(&self, lo: u32, hi: u32) -> u64 {
        if lo >= hi {
            return 0;
        }
        let Some(more) = &self.more else {
            return self.bytes_of_first(lo, hi);
        };
        let mut bytes = cut(&self.first, lo, hi.min(self.count));
        let begin = more.chunks.partition_point(|chunk| chunk.hi <= lo);
        for chunk in more.chunks[begin..].iter().take_while(|chunk| chunk.lo < hi) {
            bytes += cut(
                &chunk.data,
                lo.max(chunk.lo) - chunk.lo,
                hi.min(chunk.hi) - chunk.lo,
            );
        }
        bytes
    }

    fn bytes_of_first(&self, lo: u32, hi: u32) -> u64 {
        if !self.first.ends.is_empty() {
            return cut(&self.first, lo, hi);
        }
        let each = self.first.bytes.len();
        if self.count == 1 || each > limits::INLINE_BYTES {
            each as u64 * u64::from(hi - lo)
        } else {
            0
        }
    }
}

/// The bytes of the tasks `lo..hi` of data that is cut up.
fn cut(data: &Data, lo: u32, hi: u32) -> u64 {
    let ends = &data.ends;
    if lo >= hi || ends.is_empty() {
        return 0;
    }
    let start = if lo == 0 { 0 } else { ends[lo as usize - 1] };
    u64::from(ends[hi as usize - 1] - start)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use scalems_protocol::id::Origin;
    use scalems_protocol::task::Template;

    use super::*;

    const ORIGIN: Origin = Origin {
        session: 1,
        request: 1,
    };

    fn data(items: &[&str]) -> Data {
        let mut ends = Vec::new();
        let mut bytes = Vec::new();
        for item in items {
            bytes.extend_from_slice(item.as_bytes());
            ends.push(bytes.len() as u32);
        }
        Data {
            bytes: bytes.into(),
            ends,
        }
    }

    fn open() -> Inputs {
        let items = data(&["a", "bb"]);
        let mut inputs = Inputs::new(&Submitted {
            submission: 1,
            origin: ORIGIN,
            template: Arc::new(Template::default()),
            count: 2,
            indices: crate::task::Indices::even(0, 1),
            again: None,
            data: items,
            push: None,
            at: 0,
            open: true,
        });
        for (first, items) in [(2, &["ccc", "dddd"][..]), (4, &["eeeee"])] {
            inputs.append(&Appended {
                submission: 1,
                origin: ORIGIN,
                first,
                count: items.len() as u32,
                data: data(items),
            });
        }
        inputs
    }

    #[test]
    fn tasks_have_the_data_that_they_came_with() {
        let inputs = open();
        assert_eq!([0, 1, 2, 3, 4].map(|at| inputs.together(at)), [2, 2, 4, 4, 5]);
        assert_eq!(inputs.part(1, 2), data(&["bb"]));
        assert_eq!(inputs.part(2, 4), data(&["ccc", "dddd"]));
        assert_eq!(inputs.part(3, 4), data(&["dddd"]));
        assert_eq!(inputs.part(4, 5), data(&["eeeee"]));
        assert_eq!(inputs.bytes(0, 5), 15);
        assert_eq!(inputs.bytes(1, 4), 9);
        assert_eq!(inputs.bytes(3, 3), 0);
        assert!(!inputs.are_shared());
    }

    #[test]
    fn data_goes_once_those_that_came_together_have_ended() {
        let mut inputs = open();
        assert_eq!(inputs.held(), 15);
        assert_eq!(inputs.ended(3, 5, |_, _| true), 5, "the last one alone");
        assert_eq!(inputs.ended(0, 1, |_, _| true), 0);
        assert_eq!(inputs.ended(1, 3, |_, _| true), 10, "the rest");
        assert_eq!((inputs.held(), inputs.bytes(0, 5)), (0, 15));
    }
}
