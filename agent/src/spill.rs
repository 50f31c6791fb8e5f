//! Results that nobody has collected, moved out of memory (R10): parts of them in files of the pilot's directory.
//!
//! Each part is a file without a name, mapped into memory: values are pieces of the map, and when the last piece is
//! dropped the file's room goes back to the disk, also if the agent is killed. Writing takes as long as the disk needs,
//! so a thread does it, and the bus goes on.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;

use bytes::Bytes;
use memmap2::Mmap;
use scalems_core::Input;
use scalems_protocol::limits;
use tracing::warn;

/// The name that a file has for a moment.
pub(crate) const FILE: &str = "spill";
/// Bytes that go to the disk together: values may be small.
const BUFFER: usize = 1 << 20;

/// The room for results in a pilot's directory.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    directory: PathBuf,
    /// Bytes of all files.
    taken: Arc<AtomicU64>,
}

/// One file, as long as one of its values is held.
struct Part {
    map: Mmap,
    taken: Arc<AtomicU64>,
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        &self.map
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.taken.fetch_sub(self.map.len() as u64, Ordering::Relaxed);
    }
}

impl Room {
    /// The room in this directory, which is this process's alone.
    pub(crate) fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            taken: Arc::default(),
        }
    }

    /// Moves values into a file, and gives them as they lie there. Nothing: there is no room, which the log says.
    pub(crate) fn keep(&self, values: &[Bytes]) -> Option<Vec<Bytes>> {
        let bytes = values.iter().map(|value| value.len() as u64).sum::<u64>();
        let taken = self.taken.load(Ordering::Relaxed);
        if taken + bytes > limits::SPILL_BYTES {
            warn!(
                taken,
                "results that nobody has collected take as much of the pilot's directory as they may"
            );
            return None;
        }
        match self.write(values, bytes) {
            Ok(values) => Some(values),
            Err(error) => {
                let directory = self.directory.display();
                warn!(%error, "results that nobody has collected stay in memory: they cannot be written to {directory}");
                None
            }
        }
    }

    fn write(&self, values: &[Bytes], bytes: u64) -> io::Result<Vec<Bytes>> {
        let path = self.directory.join(FILE);
        // One is there only if an agent was killed between the next two calls.
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        std::fs::remove_file(&path)?;
        let mut writer = BufWriter::with_capacity(BUFFER, &file);
        for value in values {
            writer.write_all(value)?;
        }
        writer.flush()?;
        drop(writer);
        // A full disk, or a quota of another host's, may only be known of now.
        file.sync_data()?;
        // SAFETY: the file has no name any more and was only ever open here, so nobody changes or shortens it.
        let map = unsafe { Mmap::map(&file) }?;
        if map.len() as u64 != bytes {
            return Err(io::Error::other(
                "the file has another length than what was written",
            ));
        }
        self.taken.fetch_add(bytes, Ordering::Relaxed);
        let taken = Arc::clone(&self.taken);
        let whole = Bytes::from_owner(Part { map, taken });
        let mut at = 0;
        let pieces = values.iter().map(|value| {
            let piece = whole.slice(at..at + value.len());
            at += value.len();
            piece
        });
        Ok(pieces.collect())
    }
}

/// The thread that moves results out.
pub(crate) struct Spiller {
    asks: Option<SyncSender<Vec<Bytes>>>,
    answers: Receiver<Option<Vec<Bytes>>>,
    /// Whether it has something that it has not given back.
    busy: bool,
    thread: Option<JoinHandle<()>>,
}

impl Spiller {
    /// Starts the thread. `wake` is called from it when it has an answer.
    pub(crate) fn start(room: Room, wake: impl Fn() + Send + 'static) -> io::Result<Self> {
        // The core has one part on its way at a time.
        let (asks, asked) = sync_channel::<Vec<Bytes>>(1);
        let (answer, answers) = sync_channel(1);
        let thread = std::thread::Builder::new().name("scalems-spill".to_owned());
        let thread = thread.spawn(move || {
            while let Ok(values) = asked.recv() {
                if answer.send(room.keep(&values)).is_err() {
                    break;
                }
                wake();
            }
        })?;
        Ok(Self {
            asks: Some(asks),
            answers,
            busy: false,
            thread: Some(thread),
        })
    }

    /// Hands values over.
    pub(crate) fn ask(&mut self, values: Vec<Bytes>) {
        self.busy = true;
        // A thread that is gone gives no answer, which is noticed with the answers.
        if let Some(Err(error)) = self.asks.as_ref().map(|asks| asks.send(values)) {
            warn!(%error, "results stay in memory");
        }
    }

    /// What the core is to be told of the values that were handed over, once it is known.
    pub(crate) fn answer(&mut self) -> Option<Input> {
        if !self.busy {
            return None;
        }
        let answer = match self.answers.try_recv() {
            Ok(answer) => answer,
            Err(TryRecvError::Empty) => return None,
            Err(TryRecvError::Disconnected) => None,
        };
        self.busy = false;
        Some(Input::Spilled(answer))
    }
}

impl Drop for Spiller {
    fn drop(&mut self) {
        self.asks = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            warn!("the thread that moves results out of memory has panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_lie_in_a_file_without_a_name_until_the_last_is_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let room = Room::new(directory.path());
        let values = [
            Bytes::from("one"),
            Bytes::from(vec![7; 3 << 20]),
            Bytes::from("three"),
        ];
        let mut kept = room.keep(&values).unwrap();
        assert_eq!(kept, values);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        let taken = 8 + (3 << 20);
        assert_eq!(room.taken.load(Ordering::Relaxed), taken);
        let last = kept.pop();
        drop(kept);
        assert_eq!(room.taken.load(Ordering::Relaxed), taken);
        drop(last);
        assert_eq!(room.taken.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn there_is_no_more_room_than_may_be_taken() {
        let directory = tempfile::tempdir().unwrap();
        let room = Room::new(directory.path());
        room.taken.store(limits::SPILL_BYTES - 2, Ordering::Relaxed);
        assert_eq!(room.keep(&[Bytes::from("one")]), None);
        assert!(room.keep(&[Bytes::from("1")]).is_some());
        assert_eq!(Room::new(Path::new("/nowhere")).keep(&[Bytes::from("one")]), None);
    }

    #[test]
    fn what_a_killed_agent_has_left_is_no_hindrance() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(FILE), "old").unwrap();
        let room = Room::new(directory.path());
        assert_eq!(room.keep(&[Bytes::from("new")]), Some(vec![Bytes::from("new")]));
        assert!(!directory.path().join(FILE).exists());
    }
}
