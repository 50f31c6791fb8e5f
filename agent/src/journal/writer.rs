//! The thread that writes: everything that has gathered in one transaction, then the next.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use scalems_core::record::Record;

use super::store::{JournalError, Store};

/// Bytes of one transaction, about: a larger one would let all acks wait for it.
const GROUP_BYTES: usize = 16 << 20;
/// Commits begin this far apart: each takes a core for a while, and a client that does one thing after another does not
/// pay for one with each. The first after a pause begins at once.
const GATHER: Duration = Duration::from_millis(10);
/// With so many bytes there is no reason to wait.
const MANY_BYTES: u64 = 1 << 20;
/// Bytes that may wait to be written before the bus takes nothing new in.
const WAITING_BYTES: u64 = 128 << 20;
/// How long after the disk was full it is tried again.
const FULL_PAUSE: Duration = Duration::from_secs(1);

/// A journal that is being written.
#[derive(Debug)]
pub struct Journal {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
    /// The last record that is on disk.
    durable: AtomicU64,
}

#[derive(Debug, Default)]
struct Queue {
    records: Vec<Record>,
    /// What the records here, and those that are being written, have of data.
    bytes: u64,
    closing: bool,
    full: bool,
    failed: Option<JournalError>,
}

impl Journal {
    /// Starts the thread. `wake` is called from it whenever more records are on disk, and when it fails.
    pub fn start(store: Store, wake: impl Fn() + Send + 'static) -> Result<Self, JournalError> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            changed: Condvar::new(),
            durable: AtomicU64::new(store.last()),
        });
        let theirs = Arc::clone(&shared);
        let writer = std::thread::Builder::new()
            .name("scalems-journal".to_owned())
            .spawn(move || write(store, &theirs, &wake))
            .map_err(JournalError::Thread)?;
        Ok(Self {
            shared,
            writer: Some(writer),
        })
    }

    /// Hands records over, in the order of their numbers.
    pub fn append(&self, records: &mut Vec<Record>) {
        if records.is_empty() {
            return;
        }
        let mut queue = self.shared.lock();
        let idle = queue.records.is_empty();
        let few = queue.bytes < MANY_BYTES;
        queue.bytes += records.iter().map(weight).sum::<u64>();
        queue.records.append(records);
        let urgent = idle || (few && queue.bytes >= MANY_BYTES);
        drop(queue);
        if urgent {
            self.shared.changed.notify_all();
        }
    }

    /// The last record that is on disk; an error when there will be no more.
    pub fn durable(&self) -> Result<u64, JournalError> {
        let durable = self.shared.durable.load(Ordering::Acquire);
        let failed = self.shared.lock().failed.take();
        failed.map_or(Ok(durable), Err)
    }

    /// Whether so much waits that nothing more should be taken in.
    pub fn is_behind(&self) -> bool {
        self.shared.lock().bytes > WAITING_BYTES
    }

    /// Whether there is no room on the disk, or nothing to open a file with.
    pub fn is_full(&self) -> bool {
        self.shared.lock().full
    }
}

impl Drop for Journal {
    /// Writes what waits, unless the disk is full or broken.
    fn drop(&mut self) {
        self.shared.lock().closing = true;
        self.shared.changed.notify_all();
        if let Some(writer) = self.writer.take() {
            writer.join().expect("invariant: the writer does not panic");
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All records that wait, not before this time unless they are many; none when it is over.
    fn take(&self, from: Instant) -> Vec<Record> {
        let mut queue = self.lock();
        while queue.records.is_empty() && !queue.closing {
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        while !queue.closing && queue.bytes < MANY_BYTES {
            let left = from.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            (queue, _) = self
                .changed
                .wait_timeout(queue, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
        std::mem::take(&mut queue.records)
    }
}

fn write(mut store: Store, shared: &Shared, wake: &(impl Fn() + Send)) {
    let mut from = Instant::now();
    loop {
        let taken = shared.take(from);
        from = Instant::now() + GATHER;
        if taken.is_empty() {
            return;
        }
        let mut records = taken.iter().peekable();
        while records.peek().is_some() {
            let mut bytes = 0;
            while bytes < GROUP_BYTES as u64
                && store.gathered() < GROUP_BYTES
                && let Some(record) = records.next()
            {
                bytes += weight(record);
                if !insist(shared, wake, || store.add(record)) {
                    return;
                }
            }
            if !insist(shared, wake, || store.commit()) {
                return;
            }
            shared.lock().bytes -= bytes;
            shared.durable.store(store.last(), Ordering::Release);
            wake();
        }
    }
}

/// Until it is on disk. False: there will be no more.
fn insist(
    shared: &Shared,
    wake: &(impl Fn() + Send),
    mut write: impl FnMut() -> Result<(), JournalError>,
) -> bool {
    loop {
        let error = match write() {
            Ok(()) => {
                if std::mem::take(&mut shared.lock().full) {
                    tracing::info!("there is room for the journal again");
                }
                return true;
            }
            Err(error) => error,
        };
        let mut queue = shared.lock();
        if error.passes() && !queue.closing {
            if !std::mem::replace(&mut queue.full, true) {
                tracing::error!(%error, "the journal waits for room");
                wake();
            }
            let waited = shared.changed.wait_timeout(queue, FULL_PAUSE);
            drop(waited.unwrap_or_else(PoisonError::into_inner));
            continue;
        }
        queue.failed = Some(error);
        drop(queue);
        wake();
        return false;
    }
}

/// About what a record takes in memory.
fn weight(record: &Record) -> u64 {
    let data = match record {
        Record::Submitted(submitted) => &submitted.data,
        Record::Ended(ended) => &ended.data,
        _ => return 64,
    };
    (256 + data.bytes.len() + 4 * data.ends.len()) as u64
}
