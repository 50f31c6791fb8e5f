//! Watches the memory of programs, on a thread of its own: a look at a process may have to wait for it.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::super::proc::{Proc, Stat};
use super::super::shared::Shared;
use super::super::spawner::Command;
use super::groups::Group;
use super::sizes;

/// A program with room left is looked at again when it could have filled that: some cores write so much fresh memory in a second.
const FILLED_IN_A_SECOND: u64 = 4 << 30;

/// However much room there is, the next look is not later.
const LATEST: Duration = Duration::from_secs(1);

/// However little there is, it is not sooner.
const SOONEST: Duration = Duration::from_millis(10);

/// The thread takes at most this part of a core's time: on a node full of processes a look is long.
const REST: u32 = 20;

/// How often it is asked whether the kernel has ended a process of a program whose others then have to end as well. What it has ended
/// takes no memory any more, so this can wait.
const ASKED: Duration = Duration::from_millis(200);

/// What the thread is told.
#[derive(Debug)]
pub(super) enum Watch {
    /// A program runs.
    Begin {
        key: u64,
        limit: u64,
        /// The kernel keeps it.
        group: Option<Arc<Group>>,
    },
    /// It is over.
    End { key: u64 },
    /// The thread is to end.
    Stop,
}

/// A program that is watched.
#[derive(Debug)]
struct Watched {
    limit: u64,
    group: Option<Arc<Group>>,
    look: Instant,
}

pub(super) struct Watcher {
    shared: Arc<Shared>,
    proc: Proc,
    own: i32,
    programs: HashMap<u64, Watched>,
}

impl Watcher {
    pub(super) fn new(shared: Arc<Shared>) -> io::Result<Self> {
        Ok(Self {
            shared,
            proc: Proc::open()?,
            own: std::process::id() as i32,
            programs: HashMap::new(),
        })
    }

    pub(super) fn run(mut self) {
        while self.obey() {
            let now = Instant::now();
            let due = |watched: &Watched| watched.look <= now;
            if self
                .programs
                .values()
                .any(|watched| watched.group.is_none() && due(watched))
            {
                self.look(now);
            }
            for (key, watched) in &mut self.programs {
                if let Some(group) = watched.group.as_ref().filter(|_| watched.look <= now) {
                    watched.look = now + ASKED;
                    if group.has_exceeded() {
                        exceeded(&self.shared, *key, None);
                    }
                }
            }
            self.wait();
        }
    }

    /// Whether the thread goes on.
    fn obey(&mut self) -> bool {
        for told in self.shared.memory.watch.take() {
            match told {
                Watch::Begin { key, limit, group } => {
                    let look = Instant::now() + SOONEST;
                    self.programs.insert(key, Watched { limit, group, look });
                }
                Watch::End { key } => {
                    self.programs.remove(&key);
                    // A look may have noted it again since its spawner took it.
                    self.shared.memory.drop_peak(key);
                }
                Watch::Stop => return false,
            }
        }
        true
    }

    /// Looks at all programs whose time has come.
    fn look(&mut self, now: Instant) {
        let families = match self.families() {
            Ok(families) => families,
            Err(errno) => {
                tracing::error!(%errno, "/proc cannot be read: memory is not watched");
                HashMap::new()
            }
        };
        for (key, watched) in &mut self.programs {
            if watched.group.is_some() || watched.look > now {
                continue;
            }
            let begun = Instant::now();
            let processes = families.get(key).map_or(&[][..], Vec::as_slice);
            // Most have room by the rough count, which costs less.
            let mut used = processes.iter().filter_map(|pid| at_most(*pid)).sum();
            if used > watched.limit {
                used = processes.iter().filter_map(|pid| exact(*pid)).sum();
            }
            self.shared.memory.note(*key, used);
            if used > watched.limit {
                exceeded(&self.shared, *key, Some(used));
            }
            let cost = now.elapsed().max(begun.elapsed());
            watched.look = Instant::now() + pace(watched.limit.saturating_sub(used), cost);
        }
    }

    /// The processes of each program that is watched.
    fn families(&self) -> Result<HashMap<u64, Vec<i32>>, Errno> {
        let all: HashMap<i32, Stat> = self
            .proc
            .all()?
            .into_iter()
            .map(|stat| (stat.pid, stat))
            .collect();
        let (groups, adopted) = self.shared.kin.families();
        let mut owners: HashMap<i32, Option<u64>> = HashMap::new();
        let mut families: HashMap<u64, Vec<i32>> = HashMap::new();
        for stat in all.values() {
            // Up to a process that somebody knows. Its line is as long as the depth of the tree.
            let (mut line, mut at) = (Vec::new(), Some(stat));
            let owner = loop {
                let Some(stat) = at.filter(|stat| stat.pid != self.own && !line.contains(&stat.pid)) else {
                    break None;
                };
                if let Some(known) = owners.get(&stat.pid) {
                    break *known;
                }
                line.push(stat.pid);
                let known = groups.get(&stat.group).or_else(|| adopted.get(&stat.pid));
                if let Some(key) = known {
                    break Some(*key);
                }
                at = all.get(&stat.parent);
            };
            owners.extend(line.into_iter().map(|pid| (pid, owner)));
            if let Some(key) = owner.filter(|key| self.programs.contains_key(key) && !stat.zombie) {
                families.entry(key).or_default().push(stat.pid);
            }
        }
        Ok(families)
    }

    fn wait(&self) {
        let next = self.programs.values().map(|watched| watched.look).min();
        let timeout = next.map_or(PollTimeout::NONE, |at| {
            let left = at.saturating_duration_since(Instant::now());
            PollTimeout::try_from(left.as_micros().div_ceil(1000)).unwrap_or(PollTimeout::MAX)
        });
        let mut bell = [PollFd::new(self.shared.memory.watch.as_fd(), PollFlags::POLLIN)];
        match poll(&mut bell, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => unreachable!("poll on a descriptor of our own: {errno}"),
        }
    }
}

/// Has the program's spawner end it.
fn exceeded(shared: &Shared, key: u64, used: Option<u64>) {
    let spawner = shared.open().spawner_of.get(&key).copied();
    if let Some(inbox) = spawner.and_then(|spawner| shared.spawners.get(spawner)) {
        inbox.send(Command::Exceeded { key, used });
    }
}

/// How long until the next look at a program with so much room, after one that took so long.
fn pace(room: u64, cost: Duration) -> Duration {
    let fills = Duration::from_micros(room.saturating_mul(1_000_000) / FILLED_IN_A_SECOND);
    fills.clamp(SOONEST, LATEST).max(cost * REST)
}

fn at_most(pid: i32) -> Option<u64> {
    sizes::at_most(&std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}

/// Where the kernel does not say it to us, the rough count stands for it.
fn exact(pid: i32) -> Option<u64> {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok();
    rollup
        .and_then(|rollup| sizes::exact(&rollup))
        .or_else(|| at_most(pid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_less_room_the_sooner_the_next_look() {
        let quick = Duration::from_micros(100);
        assert_eq!(pace(64 << 30, quick), LATEST);
        assert_eq!(pace(2 << 30, quick), Duration::from_millis(500));
        assert_eq!(pace(0, quick), SOONEST);
        assert_eq!(
            pace(0, Duration::from_millis(5)),
            Duration::from_millis(100),
            "a long look is followed by a long rest"
        );
        assert_eq!(pace(u64::MAX, quick), LATEST);
    }
}
