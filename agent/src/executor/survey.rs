//! Looks at every process below the worker and says which program each belongs to.

use std::collections::{HashMap, HashSet};
use std::io;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::kin::{Kin, Roll};
use super::proc::{Proc, Stat};

/// A dead child that nobody has claimed for so long was an orphan of unknown family, not the child of another
/// part of the worker, which would have reaped it.
const UNCLAIMED: Duration = Duration::from_secs(10);

/// How often an environment is looked at that tells nothing yet: it is empty, for a moment, in a process that is
/// just becoming another program, and its marks are unknown while its program is just being started.
const LOOKS: u32 = 3;

/// Every process below the worker.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// Parents before children.
    pub(super) members: Vec<Member>,
    /// Those that could not be attributed yet: another look may tell.
    pub(super) unsettled: HashSet<i32>,
}

/// One process below the worker.
#[derive(Debug, Clone, Copy)]
pub(super) struct Member {
    pub(super) stat: Stat,
    /// Program it belongs to.
    pub(super) owner: Option<u64>,
    /// What it is to us.
    pub(super) relation: Relation,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relation {
    /// The main process of a program: its spawner reaps it.
    Leader,
    /// Our child by adoption: to be reaped by us, and its number is safe until then.
    Adopted,
    /// A child of ours that may be another part's of the worker: not to be touched.
    Unclaimed,
    /// Further down.
    Descendant,
}

/// Remembers between surveys what was found out once.
#[derive(Debug)]
pub(super) struct Surveyor {
    proc: Proc,
    own: Stat,
    seen: HashMap<i32, Seen>,
}

#[derive(Debug)]
struct Seen {
    start: u64,
    owner: Option<u64>,
    /// If the owner is unknown: the programs that ran when it was first seen.
    suspects: HashSet<u64>,
    /// How often its environment is still to be read.
    looks: u32,
    unclaimed_since: Option<Instant>,
}

impl Surveyor {
    pub(super) fn new() -> io::Result<Self> {
        let proc = Proc::open()?;
        let own = proc.stat(std::process::id() as i32).ok_or(Errno::ESRCH)?;
        Ok(Self {
            proc,
            own,
            seen: HashMap::new(),
        })
    }

    pub(super) fn proc(&self) -> &Proc {
        &self.proc
    }

    /// The worker's own process group.
    pub(super) fn own_group(&self) -> i32 {
        self.own.group
    }

    pub(super) fn survey(&mut self, kin: &Kin, now: Instant) -> Result<Survey, Errno> {
        let before = kin.roll();
        let mut below: HashMap<i32, Vec<Stat>> = HashMap::new();
        let mut listed = HashSet::new();
        for stat in self.proc.all()? {
            listed.insert(stat.pid);
            below.entry(stat.parent).or_default().push(stat);
        }
        // After the list, so that every orphan in it is in here. What is not is a child of another thread of ours.
        let adopted: Option<HashSet<i32>> = kin.adopted().map(HashSet::from_iter);
        // A main process that was listed may have been made, or reaped, while the list was.
        let mut roll = kin.roll();
        roll.leaders.extend(before.leaders);
        let Survey {
            mut members,
            mut unsettled,
        } = Survey::default();
        let mut seen = HashMap::new();
        let mut known = HashMap::new();
        for stat in below.remove(&self.own.pid).unwrap_or_default() {
            if stat.pid == kin.guard() {
                continue;
            }
            if let Some(key) = roll.leaders.get(&stat.pid) {
                members.push(Member {
                    stat,
                    owner: Some(*key),
                    relation: Relation::Leader,
                });
            } else if adopted
                .as_ref()
                .is_some_and(|adopted| !adopted.contains(&stat.pid))
            {
                members.push(Member {
                    stat,
                    owner: None,
                    relation: Relation::Unclaimed,
                });
            } else {
                let child = self.child(kin, &roll, stat, adopted.is_some(), now);
                let relation = if child.is_ours(now) {
                    Relation::Adopted
                } else {
                    Relation::Unclaimed
                };
                members.push(Member {
                    stat,
                    owner: child.owner,
                    relation,
                });
                unsettled.extend((child.looks > 0).then_some(stat.pid));
                known.insert(stat.pid, child.owner);
                seen.insert(stat.pid, child);
            }
        }
        let mut next = 0;
        while let Some(parent) = members.get(next).copied() {
            next += 1;
            for stat in below.remove(&parent.stat.pid).unwrap_or_default() {
                let owner = roll.groups.get(&stat.group).copied().or(parent.owner);
                members.push(Member {
                    stat,
                    owner,
                    relation: Relation::Descendant,
                });
                seen.insert(stat.pid, Seen::of(stat, owner));
            }
        }
        // A list of processes is not of one moment: the parent of these was gone when its turn came.
        let strayed = below
            .into_iter()
            .filter(|(parent, _)| *parent != 0 && !listed.contains(parent));
        for stat in strayed.flat_map(|(_, stats)| stats) {
            unsettled.insert(stat.pid);
            seen.extend(self.seen.remove(&stat.pid).map(|before| (stat.pid, before)));
        }
        self.seen = seen;
        kin.publish(known);
        Ok(Survey { members, unsettled })
    }

    /// A child of the worker that is no program's main process.
    fn child(&mut self, kin: &Kin, roll: &Roll, stat: Stat, adopted: bool, now: Instant) -> Seen {
        let mut child = match self.seen.remove(&stat.pid) {
            Some(before) if before.start == stat.start => before,
            _ => Seen::first(roll, stat),
        };
        if child.owner.is_none() {
            // Each time anew: its group may be a program's that was just being started.
            child.owner = roll.groups.get(&stat.group).copied();
        }
        if child.owner.is_none() && child.looks > 0 {
            let environ = std::fs::read(format!("/proc/{}/environ", stat.pid)).unwrap_or_default();
            let marks = kin.marks_in(&environ);
            child.looks = if environ.is_empty() || !marks.is_empty() {
                child.looks - 1
            } else {
                0
            };
            child.owner = roll.marks.get(&marks).copied();
            // A process in a session of its own that fell to us without a sign of where it comes from.
            if child.looks == 0 && child.owner.is_none() && adopted && stat.session != self.own.session {
                child.suspects = roll.groups.values().copied().collect();
            }
        }
        if child.owner.is_some() || stat.zombie {
            child.looks = 0;
        }
        child.unclaimed_since = (stat.zombie && adopted).then(|| child.unclaimed_since.unwrap_or(now));
        if child.owner.is_none() && !child.suspects.is_empty() {
            let running: HashSet<u64> = roll.groups.values().copied().collect();
            if child.suspects.is_disjoint(&running) {
                // All programs that can have made it are over, so it is nobody's, whoever of them it was.
                child.owner = child.suspects.iter().next().copied();
            }
        }
        child
    }
}

impl Seen {
    /// An adopted child, whose environment is still to be read.
    fn first(roll: &Roll, stat: Stat) -> Self {
        Self {
            looks: LOOKS,
            ..Self::of(stat, roll.groups.get(&stat.group).copied())
        }
    }

    fn of(stat: Stat, owner: Option<u64>) -> Self {
        Self {
            start: stat.start,
            owner,
            suspects: HashSet::new(),
            looks: 0,
            unclaimed_since: None,
        }
    }

    fn is_ours(&self, now: Instant) -> bool {
        self.owner.is_some() || self.unclaimed_since.is_some_and(|since| now - since >= UNCLAIMED)
    }
}
