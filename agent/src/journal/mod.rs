//! The journal: what must last, on disk (`docs/spec/6-journal.md`).
//!
//! The bus hands records over and goes on; one thread writes all that has gathered in one transaction and says up
//! to which number records are on disk. Acks wait for that, work does not (R4).
//!
//! ```text
//! bus ── append ──► queue ──► writer ── commit ──► SQLite
//!     ◄── durable up to, wake ───┘          └► files of large values
//! ```

mod age;
mod codec;
pub mod export;
pub mod history;
mod owner;
mod store;
mod story;
pub mod trace;
mod values;
mod writer;

use std::path::{Path, PathBuf};

pub use store::{JournalError, Life, Pruned, Salvaged, Store};
pub use story::{Story, SubmissionRow, TaskRow};
pub use writer::Journal;

/// What lies beside a journal: its name with more at the end.
pub(crate) fn beside(path: &Path, more: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(more);
    name.into()
}

/// Bytes of a journal's file and of its log.
fn bytes_on_disk(path: &Path) -> u64 {
    let size = |path: &Path| std::fs::metadata(path).map_or(0, |facts| facts.len());
    size(path) + size(&beside(path, "-wal"))
}
