//! The packed log: what programs write, all of it, in few files of this worker.
//!
//! Spawners hand over what they read; one thread writes it. Between them is a bounded queue. A spawner waits for room in it a
//! moment, so that a program which writes faster than the disk is slowed down as by a file; when the disk stands still
//! nobody waits for it: output is dropped then, and counted. The outcome of a program is reported once its log is
//! written, or after a while without. What was gathered is written together: ends of programs at once, output after a
//! moment, for which nobody waits.

mod attempts;
mod files;
mod gate;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub(super) use scalems_protocol::packed::Stream;
use scalems_protocol::packed::Why;
use scalems_protocol::program::{Keep, Logged};

use self::attempts::{Attempts, Ended};
pub use self::files::LogPlace;
use self::files::{Files, Flushed};
pub(super) use self::gate::Gate;
use super::outcome::{Exit, ProgramEvent, ProgramOutcome};
use super::queue::EventQueue;
use super::spec::PackedOutput;

/// Bytes that wait to be written: a tenth of a second of a fast disk.
const QUEUE_BYTES: usize = 16 << 20;
/// Bytes that need not wait for more.
const GATHER_BYTES: usize = 256 << 10;
/// How long output waits for more to be written with.
const GATHER: Duration = Duration::from_millis(200);
/// Bytes of one stream up to which pieces that follow on each other become one record.
const PIECE_BYTES: usize = 64 << 10;
/// Ends of programs and what was dropped take room too: no program begins to be logged while so much waits.
const QUEUE_ITEMS: usize = 65_536;
/// The number of a program whose output could not be taken.
const NOT_TAKEN: u64 = 0;
/// How long a spawner waits for room, once: then the disk counts as standing still until it has moved.
const STALL: Duration = Duration::from_millis(250);
/// How long an outcome waits for its log.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// The spawners' side, and the thread's.
#[derive(Debug)]
pub(super) struct PackedLog {
    queue: Mutex<Queue>,
    /// Told when there is something to write.
    more: Condvar,
    /// Told when there is room.
    room: Condvar,
    numbers: AtomicU64,
    /// Whether there is a place for it.
    available: bool,
}

#[derive(Debug, Default)]
struct Queue {
    items: VecDeque<Item>,
    /// The last piece of a stream among them, counted from the first that there was.
    latest: HashMap<(u64, Stream), usize>,
    /// Bytes of output in them, and in those that are being written.
    bytes: usize,
    /// They are not to wait for more.
    urgent: bool,
    /// The disk stands still.
    stalled: bool,
    closed: bool,
    /// Programs that are over, and whose log is not written yet.
    ended: BTreeMap<u64, Waiting>,
}

#[derive(Debug)]
struct Waiting {
    since: Instant,
    key: u64,
    outcome: Box<ProgramOutcome>,
}

#[derive(Debug)]
enum Item {
    Begin {
        log: u64,
        output: PackedOutput,
        time_us: u64,
    },
    Piece {
        log: u64,
        stream: Stream,
        from: u64,
        bytes: Vec<u8>,
        time_us: u64,
    },
    Lost {
        log: u64,
        stream: Stream,
        from: u64,
        bytes: u64,
        why: Why,
        time_us: u64,
    },
    End {
        log: u64,
        end: Ended,
    },
}

impl PackedLog {
    pub(super) fn new(available: bool) -> Self {
        Self {
            queue: Mutex::default(),
            more: Condvar::new(),
            room: Condvar::new(),
            numbers: AtomicU64::new(1),
            available,
        }
    }

    /// Whether there is a place for it, and so a thread.
    pub(super) const fn is_available(&self) -> bool {
        self.available
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A program begins whose output goes here. Gives its number; none if nothing goes here.
    pub(super) fn begin(&self, output: &PackedOutput) -> Option<u64> {
        if !self.available {
            return None;
        }
        let mut queue = self.queue();
        if queue.items.len() >= QUEUE_ITEMS {
            return Some(NOT_TAKEN);
        }
        let log = self.numbers.fetch_add(1, Ordering::Relaxed);
        let begin = Item::Begin {
            log,
            output: output.clone(),
            time_us: now_us(),
        };
        queue.items.push_back(begin);
        self.more.notify_one();
        Some(log)
    }

    /// Takes a piece of what a program writes, if it can be written.
    pub(super) fn piece(&self, log: u64, stream: Stream, from: u64, bytes: &[u8]) -> bool {
        if log == NOT_TAKEN {
            return false;
        }
        let mut queue = self.queue();
        if queue.bytes + bytes.len() > QUEUE_BYTES && !queue.stalled {
            let full = |queue: &mut Queue| queue.bytes + bytes.len() > QUEUE_BYTES && !queue.stalled;
            let (waited, timeout) = self
                .room
                .wait_timeout_while(queue, STALL, full)
                .unwrap_or_else(PoisonError::into_inner);
            queue = waited;
            queue.stalled |= timeout.timed_out();
        }
        if queue.bytes + bytes.len() > QUEUE_BYTES || queue.items.len() >= QUEUE_ITEMS || queue.closed {
            return false;
        }
        queue.bytes += bytes.len();
        let before = queue.latest.get(&(log, stream)).copied();
        if let Some(Item::Piece {
            from: begun,
            bytes: some,
            ..
        }) = before.and_then(|at| queue.items.get_mut(at))
            && *begun + some.len() as u64 == from
            && some.len() + bytes.len() <= PIECE_BYTES
        {
            some.extend_from_slice(bytes);
        } else {
            let at = queue.items.len();
            queue.latest.insert((log, stream), at);
            queue.items.push_back(Item::Piece {
                log,
                stream,
                from,
                bytes: bytes.to_vec(),
                time_us: now_us(),
            });
        }
        if queue.items.len() == 1 || queue.bytes >= GATHER_BYTES {
            self.more.notify_one();
        }
        true
    }

    /// A part of what a program wrote is dropped.
    pub(super) fn lost(&self, log: u64, stream: Stream, from: u64, bytes: u64, why: Why) {
        let mut queue = self.queue();
        if log == NOT_TAKEN || queue.items.len() >= QUEUE_ITEMS {
            return;
        }
        queue.items.push_back(Item::Lost {
            log,
            stream,
            from,
            bytes,
            why,
            time_us: now_us(),
        });
        self.more.notify_one();
    }

    /// A program is over. Its end is reported once its log is written; it is given back if none of it was taken.
    pub(super) fn end(&self, log: u64, key: u64, outcome: Box<ProgramOutcome>) -> Option<ProgramEvent> {
        let since = Instant::now();
        let waiting = Waiting { since, key, outcome };
        if log == NOT_TAKEN {
            return Some(waiting.given_up());
        }
        let outcome = &waiting.outcome;
        let (exit_code, signal) = match outcome.exit {
            Exit::Exited(code) => (Some(code), None),
            Exit::Signaled(signal) => (None, Some(signal)),
            Exit::NotStarted(_) | Exit::StatusLost => (None, None),
        };
        let end = Ended {
            well: outcome.is_well(),
            time_us: now_us(),
            exit_code,
            signal,
            stdout: outcome.stdout.total_bytes,
            stderr: outcome.stderr.total_bytes,
        };
        let mut queue = self.queue();
        queue.ended.insert(log, waiting);
        queue.items.push_back(Item::End { log, end });
        queue.urgent = true;
        self.more.notify_one();
        None
    }

    /// When the outcome that has waited longest has waited long enough.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let queue = self.queue();
        queue.ended.values().map(|waiting| waiting.since + PATIENCE).min()
    }

    /// Reports the outcomes that have waited long enough for their log, or all, without it.
    pub(super) fn give_up(&self, until: Option<Instant>, events: &EventQueue) {
        let mut queue = self.queue();
        let due: Vec<u64> = queue
            .ended
            .iter()
            .filter(|(_, waiting)| until.is_none_or(|until| waiting.since + PATIENCE <= until))
            .map(|(log, _)| *log)
            .collect();
        let mut told = Vec::new();
        for log in due {
            told.extend(queue.ended.remove(&log).map(Waiting::given_up));
        }
        drop(queue);
        events.push_all(&mut told);
    }

    /// Nothing more comes: the thread writes what there is, and ends.
    pub(super) fn close(&self) {
        self.queue().closed = true;
        self.more.notify_one();
        self.room.notify_all();
    }

    /// The thread that writes.
    pub(super) fn run(&self, place: LogPlace, events: &EventQueue) {
        let mut files = Files::new(place);
        let mut attempts = Attempts::default();
        let mut warned = Warned::default();
        while let Some(items) = self.gathered() {
            let mut bytes = 0;
            let mut ended = Vec::new();
            for item in items {
                match item {
                    Item::Begin { log, output, time_us } => {
                        let waits = output.log.keep == Keep::Failed;
                        attempts.begin(log, output.of, waits, time_us, &mut files);
                    }
                    Item::Piece {
                        log,
                        stream,
                        from,
                        bytes: some,
                        time_us,
                    } => {
                        bytes += some.len();
                        attempts.piece(log, (stream, from), some, time_us, &mut files);
                        if bytes >= GATHER_BYTES {
                            self.make_room(std::mem::take(&mut bytes));
                        }
                    }
                    Item::Lost {
                        log,
                        stream,
                        from,
                        bytes,
                        why,
                        time_us,
                    } => attempts.lost(log, (stream, from), (bytes, why), time_us, &mut files),
                    Item::End { log, end } => {
                        attempts.end(log, end, &mut files);
                        ended.push(log);
                    }
                }
            }
            let Flushed {
                written,
                failed,
                problem,
            } = files.flush();
            attempts.flushed(written, failed, problem.as_ref());
            self.make_room(bytes);
            let mut told = Vec::new();
            let mut queue = self.queue();
            for log in ended {
                let logged = attempts.take(log, &mut files).unwrap_or_default();
                warned.warn(&logged);
                if let Some(waiting) = queue.ended.remove(&log) {
                    told.push(waiting.told(logged));
                }
            }
            drop(queue);
            events.push_all(&mut told);
        }
    }

    /// So many bytes are on their way to the disk, which moves.
    fn make_room(&self, bytes: usize) {
        let mut queue = self.queue();
        queue.bytes -= bytes;
        queue.stalled = false;
        drop(queue);
        self.room.notify_all();
    }

    /// What is to be written next; none: nothing any more.
    fn gathered(&self) -> Option<VecDeque<Item>> {
        let empty = |queue: &mut Queue| queue.items.is_empty() && !queue.closed;
        let mut queue = self
            .more
            .wait_while(self.queue(), empty)
            .unwrap_or_else(PoisonError::into_inner);
        if queue.items.is_empty() {
            return None;
        }
        let waits = |queue: &mut Queue| !queue.urgent && !queue.closed && queue.bytes < GATHER_BYTES;
        (queue, _) = self
            .more
            .wait_timeout_while(queue, GATHER, waits)
            .unwrap_or_else(PoisonError::into_inner);
        queue.urgent = false;
        queue.latest.clear();
        Some(std::mem::take(&mut queue.items))
    }
}

impl Waiting {
    /// It is told without its log.
    fn given_up(self) -> ProgramEvent {
        let written = self.outcome.stdout.total_bytes + self.outcome.stderr.total_bytes;
        self.told(Logged {
            lost: BTreeMap::from([(Why::Late, written)]),
            problem: "it was not written in time".to_owned(),
            ..Logged::default()
        })
    }

    fn told(self, logged: Logged) -> ProgramEvent {
        let mut outcome = self.outcome;
        outcome.log = Some(logged);
        ProgramEvent::Ended {
            key: self.key,
            outcome,
        }
    }
}

/// What was warned of already.
#[derive(Debug, Default)]
struct Warned {
    room: bool,
    disk: bool,
    late: bool,
}

impl Warned {
    fn warn(&mut self, logged: &Logged) {
        let first =
            |why, warned: &mut bool| logged.lost.contains_key(&why) && !std::mem::replace(warned, true);
        if first(Why::Room, &mut self.room) {
            tracing::warn!(
                "this worker's log files have as much as they may: what tasks write from now on is not logged (worker start --log-limit)"
            );
        }
        let problem = &logged.problem;
        if !problem.is_empty() && !std::mem::replace(&mut self.disk, true) {
            tracing::warn!(
                problem,
                "what tasks write cannot be logged; they go on, and their results say how much is missing"
            );
        }
        if first(Why::Late, &mut self.late) {
            tracing::warn!(
                "tasks write faster than their output can be logged; results say how much is missing"
            );
        }
    }
}

/// Microseconds since 1970.
fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use scalems_protocol::TaskId;
    use scalems_protocol::packed::Attempt;
    use scalems_protocol::program::Log;

    use super::super::outcome::{Captured, Leftovers};
    use super::*;

    #[test]
    fn a_disk_that_stands_still_keeps_nobody_for_long() {
        // Nobody writes: as if the disk took nothing.
        let log = PackedLog::new(true);
        let of = Attempt {
            task: TaskId {
                submission: 1,
                index: 0,
            },
            incarnation: 1,
            attempt: 1,
        };
        let output = PackedOutput {
            of,
            log: Log::default(),
        };
        let number = log.begin(&output).unwrap();
        let piece = vec![0; PIECE_BYTES];
        let taken = (0..).take_while(|at| log.piece(number, Stream::Stdout, at * PIECE_BYTES as u64, &piece));
        assert_eq!(taken.count(), QUEUE_BYTES / PIECE_BYTES);
        assert!(log.queue().stalled, "it is not waited for again");
        let outcome = ProgramOutcome {
            exit: Exit::Exited(0),
            stdout: Captured {
                total_bytes: 17,
                ..Captured::default()
            },
            stderr: Captured::default(),
            cpu_seconds: 0.0,
            peak_rss_bytes: 0,
            peak_memory_bytes: 0,
            peak_rss_exact: true,
            wall_seconds: 0.0,
            stopped_by: None,
            leftovers: Leftovers::default(),
            log: None,
        };
        let events = EventQueue::new(Arc::new(|| {}));
        assert!(log.end(number, 5, Box::new(outcome)).is_none());
        let due = log.next_due().unwrap();
        log.give_up(Some(Instant::now()), &events);
        let mut told = Vec::new();
        events.drain(&mut told);
        assert!(told.is_empty());
        log.give_up(Some(due), &events);
        events.drain(&mut told);
        let [ProgramEvent::Ended { key: 5, outcome }] = &told[..] else {
            panic!("its end is told: {told:?}")
        };
        assert_eq!(outcome.log.as_ref().unwrap().lost[&Why::Late], 17);
        // Nobody begins to be logged where too much waits.
        (1..QUEUE_ITEMS).for_each(|_| log.lost(number, Stream::Stdout, 0, 1, Why::Cap));
        let refused = log.begin(&output).unwrap();
        assert!(!log.piece(refused, Stream::Stdout, 0, b"x"));
    }
}
