//! One of the threads that start programs, watch them, read what they write and report how they ended.
//!
//! A thread owns its programs from start to end: the kernel ties their lives to the thread that made them. It
//! waits in one place, for all of them at once, and does a bounded amount of work for each before it looks at
//! the others again. What it does may still wait for a file system: opening and writing files, entering
//! directories and loading programs. That is why there are at least two such threads.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicI32;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use scalems_protocol::program::Written;

use super::Stop;
use super::inbox::Inbox;
use super::lookup;
use super::memory::{Grip, Memory};
use super::outcome::{Leftovers, ProgramEvent, ProgramOutcome, StartError, Step, StoppedBy};
use super::packed::{self, Gate};
use super::prepare::{Feed, Prepared};
use super::program::{Phase, Program, Pumped, Reader};
use super::shared::Shared;
use super::spawn::{Launcher, Method};
use super::spec::{PackedOutput, ProgramSpec};
use super::sweeper::Sweep;
use super::sys::{self, Usage};
use super::table::{Table, Token, What};

mod ending;

/// Programs per spawner that the guard is told of; any more live and die like the others but for that.
pub(super) const CELLS_PER_SPAWNER: usize = 16_384;

/// Bytes read at once: what a pipe holds.
const CHUNK: usize = 64 * 1024;

/// How long a spawner stays on the CPUs of the program that it started last: the next is most often for the same.
const STAY: Duration = Duration::from_millis(20);

/// How long the pipes of a program are left alone: most that end sooner have written less than a pipe holds, and it
/// is read when they have ended.
const UNWATCHED: Duration = Duration::from_millis(5);

/// How long events wait for others while programs follow on one another: nobody need hear of each to start the next.
const HOLD: Duration = Duration::from_millis(4);

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
    /// Read what a program writes.
    Read {
        key: u64,
        reader: Reader,
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
    /// A program has more memory than its cap.
    Exceeded {
        key: u64,
        used: Option<u64>,
    },
    /// Kill all, and end when they are over or at this time.
    Shutdown {
        until: Instant,
    },
}

/// Readings of one program that wait at once.
const READERS: usize = 16;

/// A program that is not started yet.
struct Waiting {
    key: u64,
    spec: Box<ProgramSpec>,
    /// It was to follow on another.
    follows: bool,
}

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
    /// Programs that are over, whose log is to be written before that is told: its number, their key and outcome.
    logged: Vec<(u64, u64, Box<ProgramOutcome>)>,
    /// When it is looked whether logs take too long.
    look_at_logs: Option<Instant>,
    /// When these are handed over at the latest; none: there are none that may wait.
    hand_over_by: Option<Instant>,
    scratch: Box<[u8]>,
    /// Programs whose pipes are to be watched, and from when on.
    unwatched: VecDeque<(Instant, Token)>,
    /// A program was over since the inbox was looked into: another may have been left there to follow it.
    ended: bool,
    /// When the thread may run anywhere again.
    stays_until: Instant,
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
            logged: Vec::new(),
            look_at_logs: None,
            hand_over_by: None,
            scratch: vec![0; CHUNK].into_boxed_slice(),
            unwatched: VecDeque::new(),
            ended: false,
            stays_until: Instant::now(),
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
            self.watch_due(now);
            if std::mem::take(&mut self.ended) {
                self.obey();
            }
            if now >= self.stays_until && self.backlog.is_empty() {
                self.launcher.unpin();
            }
            // One at a time: a start takes longer than all else in a round.
            if let Some(next) = self.backlog.pop_front() {
                self.start(next);
            }
            self.hand_over(now);
            if self.look_at_logs.is_some_and(|at| now >= at) {
                self.shared.log.give_up(Some(now), &self.shared.events);
                self.look_at_logs = self.shared.log.next_due();
            }
            if self
                .closing
                .is_some_and(|until| self.table.is_empty() || now >= until)
            {
                return;
            }
        }
    }

    /// Hands over what there is to tell, unless it may wait for more.
    fn hand_over(&mut self, now: Instant) {
        // One line that is nearly at its end is to be made longer.
        let lined_up = self.followers.values().map(VecDeque::len).sum::<usize>() > 1;
        if lined_up && self.closing.is_none() && self.hand_over_by.is_some_and(|by| now < by) {
            return;
        }
        self.shared.events.push_all(&mut self.out);
        // Their starts are told by now.
        for (log, key, outcome) in self.logged.drain(..) {
            self.look_at_logs.get_or_insert(now + packed::PATIENCE);
            let mut refused: Vec<_> = self.shared.log.end(log, key, outcome).into_iter().collect();
            self.shared.events.push_all(&mut refused);
        }
        self.hand_over_by = None;
    }

    fn timeout(&self) -> EpollTimeout {
        if self.ended || !self.backlog.is_empty() {
            return EpollTimeout::ZERO;
        }
        let watch = self.unwatched.front().map(|(at, _)| *at);
        let unpin = self.launcher.is_pinned().then_some(self.stays_until);
        let deadlines = [
            self.table.next_deadline(),
            self.closing,
            self.hand_over_by,
            self.look_at_logs,
            watch,
            unpin,
        ];
        let Some(next) = deadlines.into_iter().flatten().min() else {
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
                        let follows = true;
                        let next = Waiting { key, spec, follows };
                        self.followers.entry(after).or_default().push_back(next);
                    }
                    _ => {
                        let follows = after.is_some();
                        self.backlog.push_back(Waiting { key, spec, follows });
                    }
                },
                Command::Recall { key } => self.recall(key),
                Command::Stop { key, stop, reason } => self.stop(key, stop, reason),
                Command::Read { key, reader } => self.read(key, reader),
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
                Command::Exceeded { key, used } => self.exceeded(key, used),
                Command::Shutdown { until } => self.shut_down(until),
            }
        }
    }

    fn start(&mut self, next: Waiting) {
        let Waiting {
            key,
            mut spec,
            follows,
        } = next;
        self.shared.waits_no_longer(self.index);
        let program = match self.launch(key, &mut spec) {
            Ok(program) => program,
            Err(error) => return self.not_started(key, error),
        };
        let (pid, at) = (program.pid, program.started);
        if let Some(grip) = &program.memory {
            Memory::hold(&self.shared, key, grip);
        }
        let place = self.table.insert(Box::new(program));
        if self
            .shared
            .kin
            .enter(key, pid, &self.shared.kin.marks_of(&spec.env))
        {
            self.shared.sweeper.send(Sweep::Started);
        }
        match self.watch(place) {
            Ok(()) => {
                self.begin_log(place, spec.log.as_ref(), at);
                if follows {
                    self.hand_over_by.get_or_insert(at + HOLD);
                } else {
                    self.hand_over_by = None;
                }
                self.out.push(ProgramEvent::Started { key, pid, at });
            }
            Err(errno) => self.give_up(place, errno),
        }
    }

    /// What it writes goes into the packed log too, if it is to.
    fn begin_log(&mut self, place: usize, output: Option<&PackedOutput>, now: Instant) {
        let Some(program) = self.table.get(place) else {
            return;
        };
        let Some((output, number)) = output.and_then(|output| Some((output, self.shared.log.begin(output)?)))
        else {
            return;
        };
        program.log = Some(number);
        for (stream, name) in program
            .streams
            .iter_mut()
            .zip([packed::Stream::Stdout, packed::Stream::Stderr])
        {
            if let Some(stream) = stream {
                let log = Arc::clone(&self.shared.log);
                let gate = Gate::new(output.log.cap, output.log.rate, now);
                stream.sink.log_into(log, number, name, gate);
            }
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
        let mut grip = spec.memory.map(|cap| self.shared.memory.grip(key, cap));
        let null = self.shared.null.as_fd();
        let mut launch = |joins: Option<BorrowedFd<'_>>| {
            prepared.with_launch(null, joins, slot, |launch| self.launcher.spawn(launch))
        };
        let mut spawned = launch(grip.as_ref().and_then(Grip::joins));
        if let (Err(failure), Some(grip)) = (&spawned, &mut grip)
            && failure.step == Step::MemoryGroup
        {
            self.shared.memory.loosen(grip);
            spawned = launch(None);
        }
        let spawned = spawned.map_err(|failure| {
            if let Some(grip) = &grip {
                self.shared.memory.release(key, grip);
            }
            lookup::explain(failure, spec, &prepared)
        })?;
        let started = Instant::now();
        self.stays_until = started + STAY;
        Ok(Program {
            key,
            pid: spawned.pid,
            pidfd: spawned.pidfd,
            feed,
            streams: std::mem::take(&mut prepared.streams),
            readers: Vec::new(),
            watched: false,
            phase: Phase::Running,
            stopped_by: None,
            started,
            time_limit: spec.time_limit,
            grace: spec.grace,
            hears_term: spec.hears_term,
            deadline: spec.time_limit.and_then(|limit| started.checked_add(limit)),
            memory: grip,
            peak_memory: 0,
            log: None,
            worker_peak,
        })
    }

    /// Has its end reported to this thread, and what its pipes have once it has run for a while.
    fn watch(&mut self, place: usize) -> Result<(), Errno> {
        let token = self.table.token(place, What::End);
        let program = self.table.get(place).expect("invariant: it was just inserted");
        match &program.pidfd {
            // Reported once, it need not be taken out of the set again.
            Some(pidfd) => {
                let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLONESHOT;
                self.epoll.add(pidfd, EpollEvent::new(flags, token.pack()))?;
            }
            None => wait_aside(&self.shared, self.index, program.key, program.pid)?,
        }
        if program.feed.is_some() {
            return self.add_pipes(place);
        }
        self.unwatched.push_back((program.started + UNWATCHED, token));
        Ok(())
    }

    /// Watches the pipes of programs that have run for a while.
    fn watch_due(&mut self, now: Instant) {
        while let Some((at, token)) = self.unwatched.front().copied() {
            let current = self.table.is_current(token);
            if current && at > now {
                break;
            }
            self.unwatched.pop_front();
            if current {
                self.watch_pipes(token.place);
            }
        }
    }

    /// Has its pipes reported to this thread from now on. A program whose output cannot be read is killed: it would
    /// wait for ever.
    fn watch_pipes(&mut self, place: usize) {
        if let Err(errno) = self.add_pipes(place) {
            let reason = format!("its output cannot be watched: {errno}");
            self.doom(place, Some(StoppedBy::Kill { reason }));
        }
    }

    fn add_pipes(&mut self, place: usize) -> Result<(), Errno> {
        let token = |what| self.table.token(place, what).pack();
        let [stdin, stdout, stderr] = [What::Stdin, What::Stdout, What::Stderr].map(token);
        let Some(program) = self.table.get(place) else {
            return Ok(());
        };
        if std::mem::replace(&mut program.watched, true) {
            return Ok(());
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
                self.tell_readers(token.place);
                self.finish_if_over(token.place);
            }
        }
    }

    /// Somebody reads what a program writes, from now on or from what it has written.
    fn read(&mut self, key: u64, reader: Reader) {
        let Some(place) = self.table.place_of(key) else {
            // One that waits for its start has written nothing yet.
            let over = !self.is_open(key);
            return self.out.push(ProgramEvent::Output {
                id: reader.id,
                stdout: Written::default(),
                stderr: Written::default(),
                over,
            });
        };
        self.watch_pipes(place);
        if let Some(program) = self.table.get(place) {
            // The one that has waited longest asks again, if it still wants to know.
            if program.readers.len() == READERS {
                let first = program.readers.remove(0);
                self.out.push(ProgramEvent::Output {
                    id: first.id,
                    stdout: Written::default(),
                    stderr: Written::default(),
                    over: false,
                });
            }
            program.readers.push(reader);
        }
        self.tell_readers(place);
    }

    /// Tells those who wait for what a program writes, if there is something.
    fn tell_readers(&mut self, place: usize) {
        let Some(program) = self
            .table
            .get(place)
            .filter(|program| !program.readers.is_empty())
        else {
            return;
        };
        let mut waiting = std::mem::take(&mut program.readers);
        waiting.retain(|reader| match program.told(*reader, false) {
            Some(event) => {
                self.out.push(event);
                false
            }
            None => true,
        });
        program.readers = waiting;
        // They wait for this one, not for a line to become longer.
        self.hand_over_by = None;
    }

    /// Reads one of a program's streams.
    fn pump(&mut self, place: usize, index: usize) {
        if let Some(program) = self.table.get(place)
            && let Some(Some(stream)) = program.streams.get_mut(index)
            && stream.pump(&mut self.scratch) == Pumped::Closed
            && let Some(pipe) = stream.pipe.take()
            && program.watched
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
    match epoll.delete(descriptor) {
        // The second: it was never watched.
        Ok(()) | Err(Errno::ENOENT) => {}
        Err(errno) => unreachable!("a set of our own: {errno}"),
    }
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
