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
use super::survey::{Member, Relation, Surveyor};
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

#[derive(Debug)]
struct Job {
    until: Instant,
    spawner: usize,
    killed: HashSet<i32>,
    alive: u32,
    usage: Usage,
}

pub(super) struct Sweeper {
    shared: Arc<Shared>,
    surveyor: Surveyor,
    kills: HashSet<u64>,
    jobs: HashMap<u64, Job>,
    /// Processes killed in the last round.
    dying: Vec<OwnedFd>,
    /// The last round could not attribute a process.
    unsettled: bool,
    /// The last round found something to kill.
    unfinished: bool,
    closing: Option<Instant>,
}

impl Sweeper {
    pub(super) fn new(shared: Arc<Shared>, guard: Option<i32>) -> io::Result<Self> {
        let surveyor = Surveyor::new(guard)?;
        let (kills, jobs, dying) = Default::default();
        Ok(Self {
            shared,
            surveyor,
            kills,
            jobs,
            dying,
            unsettled: false,
            unfinished: false,
            closing: None,
        })
    }

    pub(super) fn run(mut self) {
        loop {
            for sweep in self.shared.sweeper.take() {
                match sweep {
                    Sweep::Kill { key } => drop(self.kills.insert(key)),
                    Sweep::AfterEnd { key, until, spawner } => {
                        let (killed, usage) = Default::default();
                        self.jobs.insert(
                            key,
                            Job {
                                until,
                                spawner,
                                killed,
                                alive: 0,
                                usage,
                            },
                        );
                    }
                    Sweep::Started => {}
                    Sweep::Stop { until } => self.closing = Some(until),
                }
            }
            let now = Instant::now();
            if self.has_work() {
                self.round(now);
            }
            if self
                .closing
                .is_some_and(|until| !(self.unsettled || self.unfinished) || now >= until)
            {
                return;
            }
            self.wait();
        }
    }

    fn has_work(&self) -> bool {
        !self.jobs.is_empty()
            || !self.kills.is_empty()
            || self.shared.kin.adopted().is_none_or(|pids| !pids.is_empty())
    }

    fn round(&mut self, now: Instant) {
        self.dying.clear();
        (self.unsettled, self.unfinished) = (false, false);
        match self.surveyor.survey(&self.shared.kin, now) {
            Ok(survey) => {
                self.unsettled = survey.unsettled;
                self.sweep(&survey.members);
            }
            Err(errno) => {
                tracing::error!(%errno, "/proc cannot be read: processes that outlive their task stay")
            }
        }
        self.kills.clear();
        let settled = !self.unsettled;
        let done = |(_, job): &(&u64, &Job)| (job.alive == 0 && settled) || now >= job.until;
        let done: Vec<u64> = self.jobs.iter().filter(done).map(|(key, _)| *key).collect();
        for key in done {
            let Some(job) = self.jobs.remove(&key) else {
                continue;
            };
            let leftovers = Leftovers {
                killed: job.killed.len() as u32,
                remaining: job.alive,
            };
            if let Some(spawner) = self.shared.spawners.get(job.spawner) {
                spawner.send(Command::Swept {
                    key,
                    leftovers,
                    usage: job.usage,
                });
            }
        }
    }

    fn sweep(&mut self, members: &[Member]) {
        for job in self.jobs.values_mut() {
            job.alive = 0;
        }
        let running = self.shared.kin.roll().groups;
        let keys: HashSet<u64> = running.values().copied().collect();
        let mut groups = HashSet::new();
        for member in members {
            let pid = member.stat.pid;
            let doomed = member.owner.is_some_and(|key| {
                self.kills.contains(&key) || self.jobs.contains_key(&key) || !keys.contains(&key)
            });
            match member.relation {
                Relation::Adopted if member.stat.zombie => self.bury(member),
                Relation::Leader if doomed => self.kill_leader(member),
                Relation::Adopted | Relation::Descendant if doomed => {
                    self.unfinished = true;
                    if !member.stat.zombie {
                        groups.insert(member.stat.group);
                        self.kill(member);
                    }
                    if let Some(job) = member.owner.and_then(|key| self.jobs.get_mut(&key)) {
                        job.alive += 1;
                        job.killed.insert(pid);
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

    fn kill_leader(&self, member: &Member) {
        if let Some(key) = member.owner.filter(|key| self.kills.contains(key)) {
            report(
                self.shared.kin.signal_group(key, Signal::SIGKILL),
                member.stat.pid,
            );
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
        let limit = if self.unsettled || self.unfinished || !self.jobs.is_empty() {
            Some(ROUND)
        } else if self.shared.kin.is_empty() && self.shared.kin.adopted().is_none_or(|pids| pids.is_empty()) {
            None
        } else {
            Some(TICK)
        };
        let end = limit.map(|limit| Instant::now() + limit);
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
