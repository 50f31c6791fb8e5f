//! One program that runs, as its spawner sees it.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::unistd::{read, write};
use scalems_protocol::program::Written;

use super::memory::Grip;
use super::outcome::{Captured, Exit, Leftovers, ProgramEvent, ProgramOutcome, StoppedBy};
use super::prepare::{Feed, Stream};
use super::sys::{Reaped, Usage};

/// Reads from, or writes to, one pipe in one round of the loop. With 64 KiB each, this is what a flood may take
/// before others have their turn: some 50 µs.
const CALLS_PER_ROUND: usize = 4;

/// A program and our ends of what connects us to it.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) key: u64,
    pub(super) pid: i32,
    pub(super) pidfd: Option<OwnedFd>,
    pub(super) feed: Option<Feed>,
    pub(super) streams: [Option<Stream>; 2],
    /// Who waits for what it writes.
    pub(super) readers: Vec<Reader>,
    /// Whether its pipes are in its spawner's set.
    pub(super) watched: bool,
    pub(super) phase: Phase,
    pub(super) stopped_by: Option<StoppedBy>,
    pub(super) started: Instant,
    pub(super) time_limit: Option<Duration>,
    pub(super) grace: Duration,
    /// Whether it is asked to end by a signal.
    pub(super) hears_term: bool,
    /// Its number in the packed log, if its output goes there.
    pub(super) log: Option<u64>,
    /// When its phase has lasted long enough.
    pub(super) deadline: Option<Instant>,
    /// What keeps it to its memory.
    pub(super) memory: Option<Grip>,
    /// The most that it had, once it is over.
    pub(super) peak_memory: u64,
    /// The worker's largest resident size when it was started.
    pub(super) worker_peak: u64,
}

/// A reading that waits for something behind these places.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader {
    pub(super) id: u64,
    pub(super) from: [u64; 2],
}

/// Where it is in its life. Each has one deadline at most.
#[derive(Debug)]
pub(super) enum Phase {
    /// Until its time limit.
    Running,
    /// SIGTERM was sent; until the end of its grace.
    Asked,
    /// The sweeper was asked to kill it; until the spawner does it by itself.
    Doomed,
    /// SIGKILL was sent; until it is reported stuck.
    Killed,
    /// Its main process has ended; until the outcome is due.
    Ended(Ending),
}

/// What is known of a program whose main process has ended.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) exit: Exit,
    pub(super) usage: Usage,
    pub(super) wall: Duration,
    /// The sweeper still ends what is left of it.
    pub(super) sweeping: bool,
    pub(super) leftovers: Leftovers,
}

/// What a look at a pipe gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pumped {
    /// There may be more.
    More,
    /// Nothing more for now.
    Dry,
    /// Nothing more ever.
    Closed,
}

impl Program {
    /// What a reading is told, if there is something, or it is `over`.
    pub(super) fn told(&self, reader: Reader, over: bool) -> Option<ProgramEvent> {
        let [stdout, stderr] = [0, 1].map(|at| {
            let stream = self.streams.get(at).and_then(Option::as_ref);
            stream.map_or_else(Written::default, |stream| stream.sink.since(reader.from[at]))
        });
        let any = stdout.total > reader.from[0] || stderr.total > reader.from[1];
        (any || over).then_some(ProgramEvent::Output {
            id: reader.id,
            stdout,
            stderr,
            over,
        })
    }

    /// Whether nothing more is awaited.
    pub(super) fn is_over(&self) -> bool {
        matches!(&self.phase, Phase::Ended(ending) if !ending.sweeping)
            && self.streams.iter().flatten().all(|stream| stream.pipe.is_none())
    }

    pub(super) fn into_outcome(self) -> ProgramOutcome {
        let Phase::Ended(ending) = self.phase else {
            unreachable!("invariant: only what has ended has an outcome")
        };
        let well = ending.exit == Exit::Exited(0);
        let [stdout, stderr] = self.streams.map(|stream| {
            stream.map_or_else(Captured::default, |stream| {
                stream.sink.finish(stream.pipe.is_some(), well)
            })
        });
        ProgramOutcome {
            exit: ending.exit,
            stdout,
            stderr,
            cpu_seconds: ending.usage.cpu.as_secs_f64(),
            peak_rss_bytes: ending.usage.peak_rss,
            peak_rss_exact: ending.usage.peak_rss > self.worker_peak,
            peak_memory_bytes: self.peak_memory,
            wall_seconds: ending.wall.as_secs_f64(),
            stopped_by: self.stopped_by,
            leftovers: ending.leftovers,
            log: None,
        }
    }
}

/// How a main process ended, from what the kernel says.
pub(super) fn exit_of(reaped: Result<Option<Reaped>, Errno>) -> (Exit, Usage) {
    match reaped {
        Ok(Some((status, usage))) if libc::WIFSIGNALED(status) => {
            (Exit::Signaled(libc::WTERMSIG(status)), usage)
        }
        Ok(Some((status, usage))) => (Exit::Exited(libc::WEXITSTATUS(status)), usage),
        Ok(None) | Err(_) => (Exit::StatusLost, Usage::default()),
    }
}

impl Stream {
    /// Reads what is there, up to a bound.
    pub(super) fn pump(&mut self, scratch: &mut [u8]) -> Pumped {
        let Some(pipe) = &self.pipe else {
            return Pumped::Closed;
        };
        for _ in 0..CALLS_PER_ROUND {
            match read(pipe, scratch) {
                Ok(0) => return Pumped::Closed,
                Ok(length) => self.sink.take(scratch.get(..length).unwrap_or_default()),
                Err(Errno::EAGAIN) => return Pumped::Dry,
                Err(Errno::EINTR) => {}
                Err(errno) => unreachable!("a pipe of our own can be read: {errno}"),
            }
        }
        Pumped::More
    }
}

impl Feed {
    /// Writes what the pipe takes. A program that has closed its input has read all it wants.
    pub(super) fn pump(&mut self) -> Pumped {
        for _ in 0..CALLS_PER_ROUND {
            if self.rest.is_empty() {
                return Pumped::Closed;
            }
            match write(self.pipe.as_fd(), &self.rest) {
                Ok(length) => drop(self.rest.split_to(length)),
                Err(Errno::EAGAIN) => return Pumped::Dry,
                Err(Errno::EINTR) => {}
                Err(Errno::EPIPE) => return Pumped::Closed,
                Err(errno) => unreachable!("a pipe of our own can be written: {errno}"),
            }
        }
        Pumped::More
    }
}
