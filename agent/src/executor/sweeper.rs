//! Ends what outlives its program, on a thread of its own: looking through `/proc` may take long on a big node,
//! and may hang on a process that hangs, and starting programs must not wait for it.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::outcome::Leftovers;
use super::shared::Shared;
use super::spawner::Command;
use super::survey::{Member, Relation, Survey, Surveyor};
use super::sys::{self, Usage};

/// How often adopted children are looked at while programs run and nothing else asks for it. The kernel says so
/// only by SIGCHLD, which belongs to the runtime around us; a dead orphan costs nothing but its number.
const TICK: Duration = Duration::from_secs(2);

/// How long a round waits for the processes it has killed before it looks again; twice as long each time.
const ROUND: Duration = Duration::from_millis(20);

/// How many killed processes a round waits for: some more descriptors, not as many as a fork bomb has children.
const WATCHED: usize = 128;

/// What the sweeper is asked.
#[derive(Debug)]
pub(super) enum Sweep {
    /// Kill a program with all its descendants.
    Kill { key: u64 },
    /// A program's main process was reaped: end the rest and tell this spawner, at the latest at `until`.
    AfterEnd {
        key: u64,
        until: Instant,
        spawner: usize,
    },
    /// Programs run now, where none did.
    Started,
    /// No program runs any more: kill what is left of them, and end the thread, at the latest at `until`.
    Stop { until: Instant },
}

/// A program that is being ended.
#[derive(Debug, Default)]
struct Job {
    /// Who waits for it, and until when. Nobody while its main process lives: it was told to kill only.
    awaited: Option<(usize, Instant)>,
    killed: HashSet<i32>,
    alive: u32,
    usage: Usage,
    had_alive: bool,
    /// Processes of unknown family that it may have made; set by its first round.
    doubts: Option<HashSet<i32>>,
}

pub(super) struct Sweeper {
    shared: Arc<Shared>,
    surveyor: Surveyor,
    jobs: HashMap<u64, Job>,
    /// Processes killed in the last round.
    dying: Vec<OwnedFd>,
    /// The last round found something to kill, or could not attribute a process.
    unfinished: bool,
    /// How long the next wait is at most.
    pace: Duration,
    closing: Option<Instant>,
}

impl Sweeper {
    pub(super) fn new(shared: Arc<Shared>) -> io::Result<Self> {
        Ok(Self {
            shared,
            surveyor: Surveyor::new()?,
            jobs: HashMap::new(),
            dying: Vec::new(),
            unfinished: false,
            pace: ROUND,
            closing: None,
        })
    }

    pub(super) fn run(mut self) {
        loop {
            self.obey();
            let now = Instant::now();
            if !self.jobs.is_empty() || self.may_have_orphans() {
                self.round(now);
            }
            if self.closing.is_some_and(|until| !self.unfinished || now >= until) {
                return;
            }
            self.wait();
        }
    }

    fn obey(&mut self) {
        let asked = self.shared.sweeper.take();
        self.pace = if asked.is_empty() {
            TICK.min(self.pace * 2)
        } else {
            ROUND
        };
        for sweep in asked {
            match sweep {
                Sweep::Kill { key } => drop(self.jobs.entry(key).or_default()),
                Sweep::AfterEnd { key, until, spawner } => {
                    self.jobs.entry(key).or_default().awaited = Some((spawner, until));
                }
                Sweep::Started => {}
                Sweep::Stop { until } => self.closing = Some(until),
            }
        }
    }

    fn may_have_orphans(&self) -> bool {
        self.shared.kin.adopted().is_none_or(|pids| !pids.is_empty())
    }

    fn round(&mut self, now: Instant) {
        self.dying.clear();
        self.unfinished = false;
        let survey = self
            .surveyor
            .survey(&self.shared.kin, now)
            .unwrap_or_else(|errno| {
                tracing::error!(%errno, "/proc cannot be read: processes that outlive their task stay");
                Survey::default()
            });
        self.sweep(&survey.members);
        self.unfinished |= !survey.unsettled.is_empty();
        for job in self.jobs.values_mut().filter(|job| job.awaited.is_some()) {
            match &mut job.doubts {
                Some(doubts) if !job.had_alive => doubts.retain(|pid| survey.unsettled.contains(pid)),
                // What lived until the last round may have made them before it was killed.
                doubts => *doubts = Some(survey.unsettled.clone()),
            }
            job.had_alive = job.alive > 0;
        }
        let shared = &self.shared;
        self.jobs.retain(|key, job| {
            let Some((spawner, until)) = job.awaited else {
                return true;
            };
            let clean = job.alive == 0 && job.doubts.as_ref().is_some_and(HashSet::is_empty);
            if !clean && now < until {
                return true;
            }
            let leftovers = Leftovers {
                killed: job.killed.len() as u32,
                remaining: job.alive,
            };
            if let Some(inbox) = shared.spawners.get(spawner) {
                inbox.send(Command::Swept {
                    key: *key,
                    leftovers,
                    usage: job.usage,
                });
            }
            false
        });
    }

    fn sweep(&mut self, members: &[Member]) {
        for job in self.jobs.values_mut() {
            job.alive = 0;
        }
        let running = self.shared.kin.roll().groups;
        let keys: HashSet<u64> = running.values().copied().collect();
        let mut groups = HashSet::new();
        for member in members {
            let Some(owner) = member.owner else {
                if member.relation == Relation::Adopted {
                    self.bury(member);
                }
                continue;
            };
            let doomed = self.jobs.contains_key(&owner) || !keys.contains(&owner);
            match member.relation {
                Relation::Adopted if member.stat.zombie => self.bury(member),
                Relation::Leader if doomed => {
                    report(
                        self.shared.kin.signal_group(owner, Signal::SIGKILL),
                        member.stat.pid,
                    );
                }
                Relation::Adopted | Relation::Descendant if doomed => {
                    self.unfinished = true;
                    if !member.stat.zombie {
                        groups.insert(member.stat.group);
                        self.kill(member);
                    }
                    if let Some(job) = self.jobs.get_mut(&owner) {
                        job.alive += 1;
                        job.killed.insert(member.stat.pid);
                    }
                }
                _ => {}
            }
        }
        for group in groups {
            // A group of its own is killed whole, so that it cannot fork faster than it is listed. The groups of
            // main processes are closed by their spawner.
            if group > 1 && group != self.surveyor.own_group() && !running.contains_key(&group) {
                report(killpg(Pid::from_raw(group), Signal::SIGKILL), group);
            }
        }
    }

    /// Reaps an orphan, in the name of the program that it came from.
    fn bury(&mut self, member: &Member) {
        match sys::reap(member.stat.pid) {
            Ok(Some((status, usage))) => {
                if let Some(job) = member.owner.and_then(|key| self.jobs.get_mut(&key)) {
                    job.usage.join(usage);
                    if libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL {
                        job.killed.insert(member.stat.pid);
                    }
                }
            }
            // Threads of it are still ending, or another part of the worker has taken it.
            Ok(None) | Err(Errno::ECHILD) => {}
            Err(errno) => tracing::warn!(pid = member.stat.pid, %errno, "an orphan cannot be reaped"),
        }
    }

    /// Kills exactly the process that was seen: its number may have passed to another since.
    fn kill(&mut self, member: &Member) {
        let pid = member.stat.pid;
        let same = |surveyor: &Surveyor| {
            surveyor
                .proc()
                .stat(pid)
                .is_some_and(|stat| stat.start == member.stat.start)
        };
        match sys::pidfd_open(pid) {
            Ok(pidfd) => {
                if same(&self.surveyor) {
                    report(sys::pidfd_kill(&pidfd), pid);
                    if self.dying.len() < WATCHED {
                        self.dying.push(pidfd);
                    }
                }
            }
            Err(Errno::ESRCH) => {}
            // No pidfds here, or no descriptors left.
            Err(_) if same(&self.surveyor) => {
                report(nix::sys::signal::kill(Pid::from_raw(pid), Signal::SIGKILL), pid);
            }
            Err(_) => {}
        }
    }

    /// Until something is asked, the killed are gone, or it is time to look again.
    fn wait(&mut self) {
        let now = Instant::now();
        let end = if self.unfinished || !self.jobs.is_empty() {
            let due = self
                .jobs
                .values()
                .filter_map(|job| job.awaited.map(|(_, until)| until));
            due.chain(self.closing).chain([now + self.pace]).min()
        } else if self.shared.kin.is_empty() && !self.may_have_orphans() {
            None
        } else {
            Some(now + TICK)
        };
        let mut waits_for_death = !self.dying.is_empty();
        loop {
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            let timeout = left.map_or(PollTimeout::NONE, |left| {
                PollTimeout::try_from(left.as_micros().div_ceil(1000)).unwrap_or(PollTimeout::MAX)
            });
            let mut fds = vec![PollFd::new(self.shared.sweeper.as_fd(), PollFlags::POLLIN)];
            fds.extend(
                self.dying
                    .iter()
                    .map(|pidfd| PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)),
            );
            match poll(&mut fds, timeout) {
                Ok(0) => return,
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => unreachable!("poll on descriptors of our own: {errno}"),
            }
            let mut ready = fds
                .iter()
                .map(|fd| fd.any().unwrap_or(true))
                .collect::<Vec<_>>()
                .into_iter();
            if ready.next() == Some(true) {
                return;
            }
            self.dying.retain(|_| !ready.next().unwrap_or(false));
            if waits_for_death && self.dying.is_empty() {
                return;
            }
            waits_for_death = !self.dying.is_empty();
        }
    }
}

/// A process that has just gone is what was wanted.
fn report(sent: Result<(), Errno>, pid: i32) {
    match sent {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(errno) => tracing::warn!(pid, %errno, "a process of a task that is over cannot be killed"),
    }
}
