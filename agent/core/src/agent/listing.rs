//! Pages of listings: as many rows as were asked for, and as one header takes.

use scalems_protocol::client::{Layout, Listing, RequestRow, Start, SubmissionRow, TaskRow, WorkerRow};
use scalems_protocol::limits;

use crate::session::error_bytes;

/// Words of the rows of one page: their numbers, and what encodes them, take less than the rest of a header.
pub(super) const WORDS: usize = limits::HEADER_BYTES / 4;

/// A row of a listing.
pub(super) trait Row {
    /// Bytes of what has no fixed length in it.
    fn words(&self) -> usize;
}

impl Row for TaskRow {
    fn words(&self) -> usize {
        self.worker.as_ref().map_or(0, String::len) + error_bytes(self.error.as_ref())
    }
}

impl Row for SubmissionRow {
    fn words(&self) -> usize {
        let labels = self.labels.iter().map(|(key, value)| key.len() + value.len());
        let name = self.name.as_ref().map_or(0, String::len);
        self.mode.len() + name + self.session.len() + labels.sum::<usize>()
    }
}

impl Row for WorkerRow {
    fn words(&self) -> usize {
        // A kind comes with two numbers.
        let kinds = self.resources.iter().map(|(kind, ..)| kind.len() + 16);
        let parts = self.fractions.iter().map(|(kind, ..)| kind.len() + 20);
        let asked = [&self.place, &self.requested_by]
            .into_iter()
            .flatten()
            .map(String::len);
        let kinds = kinds.chain(parts).sum::<usize>();
        self.name.len() + self.host.len() + self.state.len() + kinds + asked.sum::<usize>()
    }
}

impl Row for RequestRow {
    fn words(&self) -> usize {
        let workers = self.workers.iter();
        let workers = workers.map(|worker| worker.name.len() + worker.host.len() + 40);
        self.session.len() + self.reason.len() + layout_words(&self.layout) + workers.sum::<usize>()
    }
}

impl Row for Start {
    fn words(&self) -> usize {
        // It has more numbers than rows have, and they are named.
        self.node.len() + self.requested_by.len() + layout_words(&self.layout) + 200
    }
}

/// The name of a place.
impl Row for String {
    fn words(&self) -> usize {
        self.len() + 5
    }
}

fn layout_words(layout: &Layout) -> usize {
    layout.named.keys().map(|kind| kind.len() + 20).sum()
}

/// A page that is being filled.
pub(super) struct Rows<T> {
    filled: Vec<T>,
    most: usize,
    words: usize,
}

impl<T: Row> Rows<T> {
    /// For so many rows at most; 0: as many as allowed.
    pub(super) fn new(asked: u32) -> Self {
        Self {
            filled: Vec::new(),
            most: most(asked),
            words: 0,
        }
    }

    /// Adds a row, or gives it back when the page is full. One row always fits.
    pub(super) fn add(&mut self, row: T) -> Result<(), T> {
        let words = self.words + row.words();
        if self.filled.len() == self.most || (words > WORDS && !self.filled.is_empty()) {
            return Err(row);
        }
        self.words = words;
        self.filled.push(row);
        Ok(())
    }

    pub(super) fn last(&self) -> Option<&T> {
        self.filled.last()
    }

    pub(super) fn into_rows(self) -> Vec<T> {
        self.filled
    }

    pub(super) fn listing<C>(self, next: Option<C>) -> Listing<T, C> {
        Listing {
            rows: self.filled,
            next,
        }
    }
}

/// Rows of a page when so many were asked for.
pub(super) fn most(asked: u32) -> usize {
    let most = limits::PAGE_ROWS;
    (if asked == 0 { most } else { asked.min(most) }) as usize
}
