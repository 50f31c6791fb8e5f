//! Runs programs and reports what happened to them.
//!
//! It knows nothing of tasks, leases or messages: the caller gives each program a key and gets events with that
//! key. Nothing here waits for the caller, and no call of the caller waits for a program.
//!
//! ```text
//! caller ── start, stop ──► inbox ──► spawner (one of 2 to 4 threads) ── clone ──► program
//!        ◄── events, wake ── queue ◄──┘        │ ▲                                  │ dies with the worker
//!                                      sweep   ▼ │ swept                            ▼
//!                                      sweeper (one thread) ── kills ──► what outlives its program
//!                                      guard (a process)    ── kills ──► what outlives the worker
//! ```
//!
//! What is promised:
//! - Every program that was accepted gets exactly one `Ended`, whatever becomes of it; of those that even SIGKILL
//!   does not end in time, [`Executor::shutdown`] names the keys.
//! - A program finds the arguments, environment, directory, limits and CPUs that it was given, three descriptors
//!   (and one more by wish), default signal handling, and a process group of its own.
//! - When its main process ends, the rest of it is killed: its group, its descendants, and daemons that bear its
//!   marks. The outcome waits for that, but not for long.
//! - When the worker dies, however it dies, its programs die.
//! - A program that uses more memory than its cap, with all that it has started, is ended and no other is; without a cap
//!   nothing is done for it.
//! - What a program writes is counted in full and kept up to a cap; no flood of it stalls other programs.
//! - A program whose output goes into the packed log is reported over once that is written, or after 5 s without.

use std::fmt;
use std::fs::File;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::SigSet;

mod capture;
mod guard;
pub(crate) mod inbox;
mod kin;
mod lookup;
mod memory;
mod outcome;
mod packed;
mod prepare;
mod proc;
mod program;
mod queue;
mod shared;
mod spawn;
mod spawner;
mod spec;
mod survey;
mod sweeper;
mod sys;
mod table;

pub use memory::{MemoryRule, memory_limit, memory_rule};
pub use outcome::{
    Captured, Exit, Leftovers, LogFileState, ProgramEvent, ProgramOutcome, StartError, Step, StoppedBy,
};
pub use packed::LogPlace;
pub use queue::Wake;
pub use spawn::Method;
pub use spec::{
    Capture, DEFAULT_GRACE, DEFAULT_TAIL, FileMade, Limit, LogFile, MemoryCap, MemoryWay, PackedOutput,
    ProgramSpec, Resource, Stderr, Stdin,
};

use guard::Guard;
use inbox::Inbox;
use kin::Kin;
use memory::Memory;
use packed::PackedLog;
use program::Reader;
use queue::EventQueue;
use shared::{Open, Shared};
use spawner::{CELLS_PER_SPAWNER, Command, Spawner};
use sweeper::{Sweep, Sweeper};
use sys::SharedCells;

/// Most spawner threads that make sense: together they start more programs a second than a node has work for.
const MAX_THREADS: usize = 16;

/// What it costs a spawner to go to other CPUs, in starts.
const MOVE: usize = 2;

/// How an executor works.
#[derive(Debug, Clone)]
pub struct Config {
    /// Spawner threads; `None`: one per core up to 4, and at least 2, so that a program that is slow to load
    /// does not keep all others waiting.
    pub threads: Option<usize>,
    /// Variables that tell one program from all others that run, taken together; they mark its descendants.
    pub marks: Vec<String>,
    /// A variable and value that every program of this worker, and nothing else, has in its environment: by it
    /// even daemons are found after the worker's death. Without it, process groups are.
    pub worker_mark: Option<String>,
    /// Where the packed log lies; without it no program's output goes there.
    pub log: Option<LogPlace>,
    /// How processes are made; the best that the system allows is found from here on.
    pub method: Method,
}

impl Default for Config {
    fn default() -> Self {
        // All ranks of a task are one program.
        let marks = ["SCALEMS_TASK", "SCALEMS_ATTEMPT"];
        Self {
            threads: None,
            marks: marks.map(str::to_owned).into(),
            worker_mark: None,
            log: None,
            method: Method::Borrowed,
        }
    }
}

/// How strongly a program is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// SIGTERM to its group, and after its grace time as `Kill`.
    Request,
    /// SIGKILL to its group and to all its descendants.
    Kill,
}

/// Why the executor did not do as it was told.
#[derive(Debug, thiserror::Error)]
pub enum ExecutorError {
    /// The system refused what the executor itself needs.
    #[error("the executor cannot {what}: {source}")]
    Setup {
        /// What was being done.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// The key belongs to a program that is not over.
    #[error("program key {key} is in use: each program needs its own until its end was reported")]
    KeyInUse {
        /// The key.
        key: u64,
    },
    /// After [`Executor::shutdown`].
    #[error("the executor is shut down and starts no more programs")]
    Closed,
    /// Some programs did not end in time. They were killed and die as soon as the kernel lets them.
    #[error("{} programs were still there when the executor had to end", keys.len())]
    StillRunning {
        /// Their keys.
        keys: Vec<u64>,
    },
}

/// Runs programs. Dropping it kills them.
pub struct Executor {
    shared: Arc<Shared>,
    guard: Guard,
}

impl Executor {
    /// The process that ends what is left when this one dies: after it nothing is.
    pub fn guard(&self) -> u32 {
        self.guard.pid().unsigned_abs()
    }

    /// Starts the threads and the guard. Makes this process a subreaper, see [`become_subreaper`].
    ///
    /// `wake` is called when events wait where none did.
    pub fn start(config: Config, wake: Wake) -> Result<Self, ExecutorError> {
        let setup = |what| move |source| ExecutorError::Setup { what, source };
        sys::take_standard_descriptors().map_err(setup("open /dev/null"))?;
        become_subreaper().map_err(setup("adopt orphaned processes"))?;
        let cores = thread::available_parallelism().map_or(2, usize::from);
        let threads = config.threads.unwrap_or(cores.clamp(2, 4)).clamp(1, MAX_THREADS);
        let inboxes: io::Result<Vec<_>> = (0..threads).map(|_| Inbox::new()).collect();
        let cells = SharedCells::new(threads * CELLS_PER_SPAWNER).map_err(setup("map shared memory"))?;
        let mark = config.worker_mark.as_ref().map(String::as_bytes);
        let guard = Guard::start(&cells, mark).map_err(setup("start its guard process"))?;
        let shared = Arc::new(Shared {
            events: EventQueue::new(wake),
            kin: Kin::new(config.marks, guard.pid()),
            memory: Memory::new().map_err(setup("make an eventfd"))?,
            sweeper: Inbox::new().map_err(setup("make an eventfd"))?,
            log: Arc::new(PackedLog::new(config.log.is_some())),
            spawners: inboxes.map_err(setup("make an eventfd"))?,
            cells,
            null: File::open("/dev/null").map_err(setup("open /dev/null"))?,
            open: Mutex::new(Open {
                waiting: vec![0; threads],
                cpus: vec![Vec::new(); threads],
                ..Open::default()
            }),
            ended: Condvar::new(),
        });
        let sweeper = Sweeper::new(Arc::clone(&shared)).map_err(setup("read /proc"))?;
        // From here on, dropping `executor` ends the threads that were started.
        let executor = Self { shared, guard };
        let shared = &executor.shared;
        run_thread("scalems-sweep".to_owned(), shared, move || sweeper.run())
            .map_err(setup("start a thread"))?;
        if let Some(place) = config.log {
            let writer = Arc::clone(shared);
            run_thread("scalems-log".to_owned(), shared, move || {
                writer.log.run(place, &writer.events)
            })
            .map_err(setup("start a thread"))?;
        }
        for index in 0..threads {
            let spawner =
                Spawner::new(index, Arc::clone(shared), config.method).map_err(setup("prepare a spawner"))?;
            run_thread(format!("scalems-spawn-{index}"), shared, move || spawner.run())
                .map_err(setup("start a thread"))?;
        }
        Ok(executor)
    }

    /// Accepts a program. All else, also why it could not be started, comes as events.
    pub fn start_program(&self, key: u64, spec: ProgramSpec) -> Result<(), ExecutorError> {
        self.accept(key, spec, None)
    }

    /// As [`Self::start_program`], but the program starts once the one with the key `after` is over, and those that
    /// were lined up behind that one before; at once if it is over already. That takes no way through the caller.
    pub fn start_program_after(&self, key: u64, spec: ProgramSpec, after: u64) -> Result<(), ExecutorError> {
        self.accept(key, spec, Some(after))
    }

    /// Under one lock, so that no stop of it and no shutdown comes before it.
    fn accept(&self, key: u64, spec: ProgramSpec, after: Option<u64>) -> Result<(), ExecutorError> {
        let mut open = self.shared.open();
        if open.closed {
            return Err(ExecutorError::Closed);
        }
        if open.spawner_of.contains_key(&key) {
            return Err(ExecutorError::KeyInUse { key });
        }
        let leader = after.and_then(|after| open.spawner_of.get(&after).copied());
        let index = leader.map_or_else(|| Self::spawner(&mut open, &spec.cpus), Ok)?;
        open.spawner_of.insert(key, index);
        if let Some(cpus) = open.cpus.get_mut(index)
            && *cpus != spec.cpus
        {
            cpus.clone_from(&spec.cpus);
        }
        if let Some(waiting) = open.waiting.get_mut(index) {
            *waiting += 1;
        }
        let spec = Box::new(spec);
        let command = Command::Start { key, spec, after };
        match leader {
            // Whoever has it looks here once it is over: it is not disturbed before.
            Some(index) => self.inbox(index).leave(command),
            None => self.inbox(index).send(command),
        }
        Ok(())
    }

    /// The spawner with the shortest queue; between those that hardly differ the one that is on these CPUs already,
    /// for moving it and its caches there takes as long as a start; between equals, in turn.
    fn spawner(open: &mut Open, cpus: &[usize]) -> Result<usize, ExecutorError> {
        let count = open.waiting.len();
        let turn = open.turn;
        let cost = |index: &usize| {
            let is_there = open.cpus.get(*index).is_some_and(|own| own == cpus);
            let away = if is_there { 0 } else { MOVE };
            open.waiting.get(*index).map(|waiting| waiting + away)
        };
        let shortest = (0..count)
            .map(|step| (turn + step) % count)
            .min_by_key(cost)
            .ok_or(ExecutorError::Closed)?;
        open.turn = shortest + 1;
        Ok(shortest)
    }

    /// Takes back a program that waits for another to be over. It ends as one that was stopped before its start, and
    /// those behind it take its place; if it has begun, nothing happens.
    pub fn recall(&self, key: u64) {
        let spawner = self.shared.open().spawner_of.get(&key).copied();
        if let Some(spawner) = spawner {
            self.send(spawner, Command::Recall { key });
        }
    }

    /// Stops a program, whether it runs or waits for its start. Returns whether there was one to stop; if not,
    /// its `Ended` is among the events, or was.
    pub fn stop_program(&self, key: u64, stop: Stop, reason: impl Into<String>) -> bool {
        let Some(spawner) = self.shared.open().spawner_of.get(&key).copied() else {
            return false;
        };
        self.send(
            spawner,
            Command::Stop {
                key,
                stop,
                reason: reason.into(),
            },
        );
        true
    }

    /// Reads what a program writes, standard output and error, from these places on: the answer is an event, once there
    /// is something or the program is over. Returns whether there is such a program; if not, there is no event.
    pub fn read_output(&self, key: u64, id: u64, from: (u64, u64)) -> bool {
        let Some(spawner) = self.shared.open().spawner_of.get(&key).copied() else {
            return false;
        };
        let from = [from.0, from.1];
        let reader = Reader { id, from };
        self.send(spawner, Command::Read { key, reader });
        true
    }

    /// Moves all events that wait to the end of `into`.
    pub fn drain(&self, into: &mut Vec<ProgramEvent>) {
        self.shared.events.drain(into);
    }

    /// Kills every program and ends the threads. Programs get until `deadline` to be gone, the threads two seconds
    /// more. The events stay to be drained.
    pub fn shutdown(&self, deadline: Instant) -> Result<(), ExecutorError> {
        let mut open = self.shared.open();
        if !open.closed {
            open.closed = true;
            self.shared.memory.stop();
            for spawner in 0..open.waiting.len() {
                self.send(spawner, Command::Shutdown { until: deadline });
            }
        }
        // The spawners stop at the deadline by themselves; this much later they are given up.
        let patience = deadline + Duration::from_millis(500);
        let others = 1 + usize::from(self.shared.log.is_available());
        open = self.wait_for_threads(open, others, patience);
        self.shared.log.close();
        // The sweeper has work until they are over, and some more after.
        let until = Instant::now() + Duration::from_secs(1);
        self.shared.sweeper.send(Sweep::Stop { until });
        open = self.wait_for_threads(open, 0, until + Duration::from_millis(500));
        let keys: Vec<u64> = open.spawner_of.keys().copied().collect();
        let ended = if open.threads == 0 {
            std::mem::take(&mut open.handles)
        } else {
            Vec::new()
        };
        drop(open);
        // The disk may stand still: then nobody hears of logs any more, but of all ends.
        self.shared.log.give_up(None, &self.shared.events);
        // They have said that they end; a panic in one would have ended the process.
        for handle in ended {
            handle.join().expect("invariant: a thread that panics aborts");
        }
        if keys.is_empty() {
            Ok(())
        } else {
            Err(ExecutorError::StillRunning { keys })
        }
    }

    /// Until no more than `count` threads run.
    fn wait_for_threads<'a>(
        &self,
        mut open: MutexGuard<'a, Open>,
        count: usize,
        until: Instant,
    ) -> MutexGuard<'a, Open> {
        while open.threads > count {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            (open, _) = self
                .shared
                .ended
                .wait_timeout(open, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
        open
    }

    fn send(&self, spawner: usize, command: Command) {
        self.inbox(spawner).send(command);
    }

    fn inbox(&self, spawner: usize) -> &Inbox<Command> {
        self.shared
            .spawners
            .get(spawner)
            .expect("invariant: every index has an inbox")
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        if let Err(error) = self.shutdown(Instant::now() + Duration::from_secs(2)) {
            tracing::error!(%error, "the executor was dropped");
        }
    }
}

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Executor").finish_non_exhaustive()
    }
}

/// Makes this process adopt its descendants that lose their parents, so that none escapes it.
pub fn become_subreaper() -> io::Result<()> {
    Ok(nix::sys::prctl::set_child_subreaper(true)?)
}

/// Runs one of the executor's threads. A panic in one would leave programs without an owner, so it ends the
/// worker, whose death is known how to be dealt with.
fn run_thread(name: String, shared: &Arc<Shared>, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    struct Last(Arc<Shared>);
    impl Drop for Last {
        fn drop(&mut self) {
            if thread::panicking() {
                std::process::abort();
            }
            self.0.open().threads -= 1;
            self.0.ended.notify_all();
        }
    }
    let last = Last(Arc::clone(shared));
    shared.open().threads += 1;
    let body = move || {
        let _last = last;
        // The worker's signals are for its own threads; and no handler may run in a child that is being made.
        SigSet::all()
            .thread_block()
            .expect("invariant: a full set is valid");
        body();
    };
    let handle = thread::Builder::new().name(name).spawn(body)?;
    shared.open().handles.push(handle);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_goes_to_the_spawner_that_is_on_its_cpus_unless_others_have_less_to_do() {
        let mut open = Open {
            waiting: vec![0, 0],
            cpus: vec![vec![0], vec![1]],
            ..Open::default()
        };
        let mut pick = |waiting: [usize; 2], cpus: &[usize]| {
            open.waiting = waiting.to_vec();
            Executor::spawner(&mut open, cpus).unwrap()
        };
        for _turn in 0..3 {
            assert_eq!(pick([0, 0], &[0]), 0);
        }
        for _turn in 0..3 {
            assert_eq!(pick([0, 1], &[1]), 1);
        }
        assert_eq!(pick([0, 3], &[1]), 0, "it would wait for too long");
        let others: Vec<usize> = (0..4).map(|_| pick([0, 0], &[2])).collect();
        assert_eq!(others, [1, 0, 1, 0], "in turn");
    }
}
