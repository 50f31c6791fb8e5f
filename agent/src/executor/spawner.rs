//! One of the threads that start programs, watch them, read what they write and report how they ended.
//!
//! A thread owns its programs from start to end: the kernel ties their lives to the thread that made them. It
//! waits in one place, for all of them at once, and does a bounded amount of work for each before it looks at
//! the others again. What it does may still wait for a file system: opening and writing files, entering
//! directories and loading programs. That is why there are at least two such threads.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::AtomicI32;
use std::thread;
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, waitid};

use super::Stop;
use super::inbox::Inbox;
use super::lookup;
use super::outcome::{Leftovers, ProgramEvent, StartError, Step};
use super::prepare::{Feed, Prepared};
use super::program::{Phase, Program, Pumped};
use super::shared::Shared;
use super::spawn::{Launcher, Method};
use super::spec::ProgramSpec;
use super::sweeper::Sweep;
use super::sys::{self, Usage};
use super::table::{Table, Token, What};

mod ending;

/// Programs per spawner that the guard is told of; any more live and die like the others but for that.
pub(super) const CELLS_PER_SPAWNER: usize = 16_384;

/// Bytes read at once: what a pipe holds.
const CHUNK: usize = 64 * 1024;

/// The inbox in the spawner's epoll set.
const INBOX: u64 = u64::MAX;

/// What a spawner is told.
#[derive(Debug)]
pub(super) enum Command {
    Start {
        key: u64,
        spec: Box<ProgramSpec>,
        /// The program that has to be over before.
        after: Option<u64>,
    },
    /// Take back a program that waits for another.
    Recall {
        key: u64,
    },
    Stop {
        key: u64,
        stop: Stop,
        reason: String,
    },
    /// A main process has ended; only where there are no pidfds.
    Ended {
        key: u64,
    },
    /// What was left of a program is dealt with.
    Swept {
        key: u64,
        leftovers: Leftovers,
        usage: Usage,
    },
    /// Kill all, and end when they are over or at this time.
    Shutdown {
        until: Instant,
    },
}

/// A program that is not started yet, and its key.
type Waiting = (u64, Box<ProgramSpec>);

pub(super) struct Spawner {
    index: usize,
    shared: Arc<Shared>,
    epoll: Epoll,
    launcher: Launcher,
    table: Table,
    backlog: VecDeque<Waiting>,
    /// Programs that wait for others to be over, by those; the first of them is the next to run.
    followers: HashMap<u64, VecDeque<Waiting>>,
    out: Vec<ProgramEvent>,
    scratch: Box<[u8]>,
    closing: Option<Instant>,
}

impl Spawner {
    pub(super) fn new(index: usize, shared: Arc<Shared>, method: Method) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let inbox = shared.spawners.get(index).ok_or(Errno::EINVAL)?;
        epoll.add(inbox, EpollEvent::new(EpollFlags::EPOLLIN, INBOX))?;
        Ok(Self {
            index,
            shared,
            epoll,
            launcher: Launcher::new(method)?,
            table: Table::default(),
            backlog: VecDeque::new(),
            followers: HashMap::new(),
            out: Vec::new(),
            scratch: vec![0; CHUNK].into_boxed_slice(),
            closing: None,
        })
    }

    /// Until shut down. All signals must be blocked in the calling thread.
    pub(super) fn run(mut self) {
        let mut events = [EpollEvent::empty(); 64];
        loop {
            let count = match self.epoll.wait(&mut events, self.timeout()) {
                Ok(count) => count,
                Err(Errno::EINTR) => 0,
                Err(errno) => unreachable!("epoll_wait on a set of our own: {errno}"),
            };
            for event in events.iter().take(count) {
                match event.data() {
                    INBOX => self.obey(),
                    data => self.handle(Token::unpack(data)),
                }
            }
            let now = Instant::now();
            while let Some(place) = self.table.pop_due(now) {
                self.due(place, now);
            }
            // One at a time: a start takes longer than all else in a round.
            if let Some((key, spec)) = self.backlog.pop_front() {
                self.start(key, *spec);
            }
            self.shared.events.push_all(&mut self.out);
            if self
                .closing
                .is_some_and(|until| self.table.is_empty() || now >= until)
            {
                return;
            }
        }
    }

    fn timeout(&self) -> EpollTimeout {
        if !self.backlog.is_empty() {
            return EpollTimeout::ZERO;
        }
        let Some(next) = self.table.next_deadline().into_iter().chain(self.closing).min() else {
            return EpollTimeout::NONE;
        };
        // Upwards, so as not to wake just before.
        let millis = next
            .saturating_duration_since(Instant::now())
            .as_micros()
            .div_ceil(1000);
        EpollTimeout::try_from(millis).unwrap_or(EpollTimeout::MAX)
    }

    fn obey(&mut self) {
        let Some(commands) = self.shared.spawners.get(self.index).map(Inbox::take) else {
            return;
        };
        for command in commands {
            match command {
                Command::Start { key, spec, after } => match after {
                    Some(after) if self.is_open(after) => {
                        self.followers.entry(after).or_default().push_back((key, spec));
                    }
                    _ => self.backlog.push_back((key, spec)),
                },
                Command::Recall { key } => self.recall(key),
                Command::Stop { key, stop, reason } => self.stop(key, stop, reason),
                Command::Ended { key } => {
                    if let Some(place) = self.table.place_of(key) {
                        self.reap(place);
                    }
                }
                Command::Swept {
                    key,
                    leftovers,
                    usage,
                } => self.swept(key, leftovers, usage),
                Command::Shutdown { until } => self.shut_down(until),
            }
        }
    }

    fn start(&mut self, key: u64, mut spec: ProgramSpec) {
        self.shared.waits_no_longer(self.index);
        let program = match self.launch(key, &mut spec) {
            Ok(program) => program,
            Err(error) => return self.not_started(key, error),
        };
        let (pid, at) = (program.pid, program.started);
        let place = self.table.insert(Box::new(program));
        if self
            .shared
            .kin
            .enter(key, pid, &self.shared.kin.marks_of(&spec.env))
        {
            self.shared.sweeper.send(Sweep::Started);
        }
        match self.watch(place) {
            Ok(()) => self.out.push(ProgramEvent::Started { key, pid, at }),
            Err(errno) => self.give_up(place, errno),
        }
    }

    /// Makes the process.
    fn launch(&mut self, key: u64, spec: &mut ProgramSpec) -> Result<Program, StartError> {
        let mut prepared = Prepared::new(spec)?;
        // Small input is in the pipe before the program looks for it.
        let feed = prepared
            .feed
            .take()
            .and_then(|mut feed| (feed.pump() != Pumped::Closed).then_some(feed));
        let worker_peak = sys::own_peak();
        let place = self.table.next_place();
        let slot = cell(&self.shared, self.index, place);
        let spawned = prepared
            .with_launch(self.shared.null.as_fd(), slot, |launch| {
                self.launcher.spawn(launch)
            })
            .map_err(|failure| lookup::explain(failure, spec, &prepared))?;
        let started = Instant::now();
        Ok(Program {
            key,
            pid: spawned.pid,
            pidfd: spawned.pidfd,
            feed,
            streams: std::mem::take(&mut prepared.streams),
            phase: Phase::Running,
            stopped_by: None,
            started,
            time_limit: spec.time_limit,
            grace: spec.grace,
            deadline: spec.time_limit.and_then(|limit| started.checked_add(limit)),
            worker_peak,
        })
    }

    /// Has its descriptors reported to this thread.
    fn watch(&mut self, place: usize) -> Result<(), Errno> {
        let token = |what| self.table.token(place, what).pack();
        let tokens = [What::End, What::Stdin, What::Stdout, What::Stderr].map(token);
        let [end, stdin, stdout, stderr] = tokens;
        let program = self.table.get(place).expect("invariant: it was just inserted");
        match &program.pidfd {
            Some(pidfd) => self.epoll.add(pidfd, EpollEvent::new(EpollFlags::EPOLLIN, end))?,
            None => wait_aside(&self.shared, self.index, program.key, program.pid)?,
        }
        if let Some(Feed { pipe, .. }) = &program.feed {
            self.epoll
                .add(pipe, EpollEvent::new(EpollFlags::EPOLLOUT, stdin))?;
        }
        for (stream, token) in program.streams.iter().zip([stdout, stderr]) {
            if let Some(pipe) = stream.as_ref().and_then(|stream| stream.pipe.as_ref()) {
                self.epoll
                    .add(pipe, EpollEvent::new(EpollFlags::EPOLLIN, token))?;
            }
        }
        Ok(())
    }

    /// Ends a program that runs but cannot be watched.
    fn give_up(&mut self, place: usize, errno: Errno) {
        let Some(program) = self.table.get(place) else {
            return;
        };
        let (key, pid) = (program.key, program.pid);
        if let Err(errno) = self.shared.kin.signal_group(key, Signal::SIGKILL) {
            tracing::error!(pid, %errno, "a program that cannot be watched cannot be killed");
        }
        if let Err(errno) = sys::reap_ending(pid) {
            tracing::error!(pid, %errno, "a program that cannot be watched cannot be reaped");
        }
        self.remove(place);
        self.not_started(
            key,
            StartError::System {
                step: Step::Watch,
                errno,
            },
        );
    }

    fn handle(&mut self, token: Token) {
        if !self.table.is_current(token) {
            return;
        }
        match token.what {
            What::End => self.reap(token.place),
            What::Stdin => {
                if let Some(program) = self.table.get(token.place)
                    && let Some(feed) = &mut program.feed
                    && feed.pump() == Pumped::Closed
                {
                    forget(&self.epoll, &feed.pipe);
                    program.feed = None;
                }
            }
            What::Stdout | What::Stderr => {
                self.pump(token.place, usize::from(token.what == What::Stderr));
                self.finish_if_over(token.place);
            }
        }
    }

    /// Reads one of a program's streams.
    fn pump(&mut self, place: usize, index: usize) {
        if let Some(program) = self.table.get(place)
            && let Some(Some(stream)) = program.streams.get_mut(index)
            && stream.pump(&mut self.scratch) == Pumped::Closed
            && let Some(pipe) = stream.pipe.take()
        {
            forget(&self.epoll, &pipe);
        }
    }
}

/// Where a program's process id lies for the guard.
fn cell(shared: &Shared, spawner: usize, place: usize) -> Option<&AtomicI32> {
    (place < CELLS_PER_SPAWNER)
        .then(|| shared.cells.get(spawner * CELLS_PER_SPAWNER + place))
        .flatten()
}

/// Takes a descriptor out of the set before it is closed. Closing alone would not do: a child that another
/// spawner is just making holds a copy, and the set would report what is nobody's any more.
fn forget(epoll: &Epoll, descriptor: impl AsFd) {
    epoll
        .delete(descriptor)
        .expect("invariant: what is forgotten was watched");
}

/// Without pidfds, a thread waits for the end of each program. The program is reaped by its spawner all the same.
fn wait_aside(shared: &Arc<Shared>, spawner: usize, key: u64, pid: i32) -> Result<(), Errno> {
    let shared = Arc::clone(shared);
    let wait = move || {
        let child = nix::unistd::Pid::from_raw(pid);
        while waitid(Id::Pid(child), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) == Err(Errno::EINTR) {}
        if let Some(inbox) = shared.spawners.get(spawner) {
            inbox.send(Command::Ended { key });
        }
    };
    let thread = thread::Builder::new()
        .name("scalems-wait".to_owned())
        .stack_size(64 * 1024)
        .spawn(wait);
    thread.map(drop).map_err(|error| super::capture::errno_of(&error))
}
