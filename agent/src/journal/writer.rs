//! The thread that writes: everything that has gathered in one transaction, then the next.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use scalems_core::record::Record;
use scalems_core::spread::Spread;
use scalems_protocol::event::JournalHealth;

use super::bytes_on_disk;
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
/// Bytes after its last snapshot at which the journal is compacted once nothing has come for a while, and at which it is in
/// any case. Acknowledgements wait while it is compacted.
const LONG_BYTES: u64 = 64 << 20;
const TOO_LONG_BYTES: u64 = 1 << 30;
const IDLE: Duration = Duration::from_secs(1);
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
    /// Its file.
    path: PathBuf,
}

#[derive(Debug, Default)]
struct Queue {
    records: Vec<Record>,
    /// What the records here, and those that are being written, have of data.
    bytes: u64,
    /// How many those are.
    waiting: u64,
    /// How long commits took since that was last asked.
    commits: Spread,
    closing: bool,
    /// It is to be noted that the journal is behind what peers have seen, of lives up to this one.
    behind: Option<u64>,
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
            path: store.path().to_owned(),
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
        queue.waiting += records.len() as u64;
        queue.records.append(records);
        let urgent = idle || (few && queue.bytes >= MANY_BYTES);
        drop(queue);
        if urgent {
            self.shared.changed.notify_all();
        }
    }

    /// Has it noted that peers have seen more than is in it, of lives up to this one.
    pub fn fell_behind(&self, incarnation: u64) {
        self.shared.lock().behind = Some(incarnation);
        self.shared.changed.notify_all();
    }

    /// The last record that is on disk; an error when there will be no more.
    pub fn durable(&self) -> Result<u64, JournalError> {
        let durable = self.shared.durable.load(Ordering::Acquire);
        let failed = self.shared.lock().failed.take();
        failed.map_or(Ok(durable), Err)
    }

    /// Whether so much waits that nothing more should be taken in.
    pub fn is_backlogged(&self) -> bool {
        self.shared.lock().bytes > WAITING_BYTES
    }

    /// How it is, and how long commits took since this was last asked.
    pub fn health(&self) -> JournalHealth {
        let size_bytes = bytes_on_disk(&self.shared.path);
        let mut queue = self.shared.lock();
        JournalHealth {
            waiting_records: queue.waiting,
            waiting_bytes: queue.bytes,
            full: queue.full,
            commit_us: queue.commits.take(),
            size_bytes,
        }
    }

    /// Whether there is no room on the disk, or nothing to open a file with.
    pub fn is_full(&self) -> bool {
        self.shared.lock().full
    }
}

impl Journal {
    /// Writes what waits, and says whether all of it is on disk.
    pub fn finish(mut self) -> Result<(), JournalError> {
        self.end();
        self.shared.lock().failed.take().map_or(Ok(()), Err)
    }

    fn end(&mut self) {
        self.shared.lock().closing = true;
        self.shared.changed.notify_all();
        if let Some(writer) = self.writer.take() {
            writer.join().expect("invariant: the writer does not panic");
        }
    }
}

impl Drop for Journal {
    /// Writes what waits, unless the disk is full or broken.
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All records that wait, not before `from` unless they are many; nothing, if none has come at `until`.
    fn take(&self, from: Instant, until: Option<Instant>) -> Taken {
        let mut queue = self.lock();
        while queue.records.is_empty() && queue.behind.is_none() && !queue.closing {
            queue = match until {
                None => self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner),
                Some(until) => {
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Taken::Nothing;
                    }
                    let waited = self.changed.wait_timeout(queue, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        if let Some(incarnation) = queue.behind.take() {
            return Taken::Behind(incarnation);
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
        let records = std::mem::take(&mut queue.records);
        if records.is_empty() {
            Taken::Over
        } else {
            Taken::Records(records)
        }
    }
}

/// What the writer has to do.
enum Taken {
    Records(Vec<Record>),
    Behind(u64),
    Nothing,
    Over,
}

fn write(mut store: Store, shared: &Shared, wake: &(impl Fn() + Send)) {
    let mut from = Instant::now();
    // After a compaction that found no room it is not tried again before so much more was written.
    let mut more = 0;
    loop {
        let idle = store.is_long(more + LONG_BYTES).then(|| Instant::now() + IDLE);
        let until = [idle, store.claim_at()].into_iter().flatten().min();
        let taken = match shared.take(from, until) {
            Taken::Over => return,
            Taken::Behind(incarnation) => {
                if !insist(shared, wake, || store.fell_behind(incarnation)) {
                    return;
                }
                continue;
            }
            Taken::Nothing => Vec::new(),
            Taken::Records(records) => records,
        };
        // What is to be written insists on it.
        if let Err(error) = store.claim_again()
            && !error.passes()
        {
            shared.lock().failed = Some(error);
            return wake();
        }
        from = Instant::now() + GATHER;
        let mut records = taken.iter().peekable();
        while records.peek().is_some() {
            let (mut bytes, mut count) = (0, 0);
            while bytes < GROUP_BYTES as u64
                && store.gathered() < GROUP_BYTES
                && let Some(record) = records.next()
            {
                bytes += weight(record);
                count += 1;
                if !insist(shared, wake, || store.add(record)) {
                    return;
                }
            }
            let begun = Instant::now();
            if !insist(shared, wake, || store.commit()) {
                return;
            }
            tracing::debug!(last = store.last(), bytes, "records are on disk");
            let mut queue = shared.lock();
            queue.bytes -= bytes;
            queue.waiting -= count;
            queue.commits.add(begun.elapsed().as_micros() as u64, 1);
            drop(queue);
            shared.durable.store(store.last(), Ordering::Release);
            wake();
        }
        let idle = idle.is_some_and(|at| Instant::now() >= at);
        if (idle && taken.is_empty()) || store.is_long(more + TOO_LONG_BYTES) {
            match store.compact() {
                Ok(()) => more = 0,
                Err(error) if error.passes() => {
                    tracing::warn!(%error, "the journal is not shortened now");
                    more += LONG_BYTES;
                }
                Err(error) => {
                    shared.lock().failed = Some(error);
                    return wake();
                }
            }
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
        Record::Appended(appended) => &appended.data,
        Record::Ended(ended) => &ended.data,
        _ => return 64,
    };
    (256 + data.bytes.len() + 4 * data.ends.len()) as u64
}
