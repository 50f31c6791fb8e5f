//! What a submission's tasks are given: their data, until they have ended.

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
        (self.first.bytes.len() + added) as u64
    }

    /// The tasks `lo..hi` have ended. Gives the bytes that are held no more.
    pub fn ended(&mut self, lo: u32, hi: u32) -> u64 {
        let Some(more) = &mut self.more else { return 0 };
        let over = |left: &mut u32, data: &mut Data, from: u32, to: u32| {
            *left -= hi.min(to).saturating_sub(lo.max(from));
            if *left > 0 {
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

    /// One past the last task that came together with the one at `offset`.
    pub fn together(&self, offset: u32) -> u32 {
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
            indices: (0, 1),
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
        assert_eq!(inputs.ended(3, 5), 5, "the last one alone");
        assert_eq!(inputs.ended(0, 1), 0);
        assert_eq!(inputs.ended(1, 3), 10, "the rest");
        assert_eq!((inputs.held(), inputs.bytes(0, 5)), (0, 15));
    }
}
