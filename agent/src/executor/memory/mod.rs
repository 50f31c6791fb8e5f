//! Keeps programs to the memory that they asked for.
//!
//! Where the worker may make control groups, each such program has one, and the kernel keeps it ([`groups`]). Elsewhere, and
//! where that is wished, its processes are watched ([`watcher`]). A program without a cap costs nothing of it.

mod groups;
mod sizes;
mod watcher;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::inbox::Inbox;
use super::shared::Shared;
use super::spec::{MemoryCap, MemoryWay};
use groups::{Ground, Group};
use watcher::{Watch, Watcher};

/// How memory would be limited by a worker here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemoryRule {
    /// By the kernel, in control groups of this version below this one.
    Groups {
        /// 1 or 2.
        version: u8,
        /// The worker's own group.
        below: PathBuf,
    },
    /// By looking at processes.
    Watched {
        /// Why not by the kernel.
        why: String,
    },
}

impl fmt::Display for MemoryRule {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Groups { version, below } => {
                let below = below.display();
                write!(
                    out,
                    "enforced by control groups (version {version}) below {below}"
                )
            }
            Self::Watched { why } => write!(out, "watched, not enforced by the kernel: {why}"),
        }
    }
}

/// How a worker that is started from here would limit memory. Nothing is changed by asking.
pub fn memory_rule() -> MemoryRule {
    match Ground::look() {
        Ok((version, below)) => MemoryRule::Groups { version, below },
        Err(refused) => MemoryRule::Watched {
            why: refused.to_string(),
        },
    }
}

/// The most memory that this process and what it starts may use together, as its control group says: bytes; none: it says nothing.
pub fn memory_limit() -> Option<u64> {
    groups::limit()
}

/// What the executor has for it; shared by its threads.
pub(super) struct Memory {
    /// Where groups are made, found out when the first one is wanted.
    ground: OnceLock<Option<Ground>>,
    watch: Inbox<Watch>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Whether the watching thread was started.
    watches: bool,
    /// The most that each watched program had.
    peaks: HashMap<u64, u64>,
}

/// What keeps one program to its cap.
#[derive(Debug)]
pub(super) struct Grip {
    pub(super) limit: u64,
    group: Option<Arc<Group>>,
}

/// What is known once it is over.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Kept {
    /// The most that it had, bytes; 0: not known.
    pub(super) peak: u64,
    /// The kernel has ended something of it for its memory.
    pub(super) exceeded: bool,
}

impl Grip {
    /// What the program writes to, to be in its group.
    pub(super) fn joins(&self) -> Option<BorrowedFd<'_>> {
        self.group.as_deref().map(Group::joins)
    }
}

impl Memory {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            ground: OnceLock::new(),
            watch: Inbox::new()?,
            state: Mutex::default(),
        })
    }

    /// Gets ready to keep a program to its cap.
    pub(super) fn grip(&self, key: u64, cap: MemoryCap) -> Grip {
        let limit = cap.bytes;
        if cap.way == MemoryWay::Watched {
            return Grip { limit, group: None };
        }
        let ground = self.ground.get_or_init(|| match Ground::open() {
            Ok(ground) => Some(ground),
            Err(refused) => {
                tracing::info!(%refused, "memory is watched, not enforced by the kernel");
                None
            }
        });
        let made = ground.as_ref().map(|ground| ground.make(key, limit));
        let group = match made {
            None => None,
            Some(Ok(group)) => Some(Arc::new(group)),
            Some(Err(refused)) => {
                tracing::warn!(%refused, "no control group for a program: its memory is watched");
                None
            }
        };
        Grip { limit, group }
    }

    /// The program could not join its group: it is watched.
    pub(super) fn loosen(&self, grip: &mut Grip) {
        tracing::warn!("a program could not join its control group: its memory is watched");
        if let (Some(group), Some(Some(ground))) = (grip.group.take(), self.ground.get()) {
            ground.remove(&group);
        }
    }

    /// A program runs: has it looked at, where the kernel does not do all that is to be done.
    pub(super) fn hold(shared: &Arc<Shared>, key: u64, grip: &Grip) {
        let group = match &grip.group {
            Some(group) if group.ends_all() => return,
            group => group.clone(),
        };
        let memory = &shared.memory;
        let starts = !std::mem::replace(&mut memory.state().watches, true);
        let limit = grip.limit;
        memory.watch.send(Watch::Begin { key, limit, group });
        if !starts {
            return;
        }
        let started = Watcher::new(Arc::clone(shared)).and_then(|watcher| {
            super::run_thread("scalems-memory".to_owned(), shared, move || watcher.run())
        });
        if let Err(error) = started {
            memory.state().watches = false;
            tracing::error!(%error, "memory of programs cannot be watched");
        }
    }

    /// A program is over, or never began.
    pub(super) fn release(&self, key: u64, grip: &Grip) -> Kept {
        match (&grip.group, self.ground.get()) {
            (Some(group), Some(Some(ground))) => {
                if !group.ends_all() {
                    self.forget(key);
                }
                let kept = Kept {
                    peak: group.peak(),
                    exceeded: group.has_exceeded(),
                };
                ground.remove(group);
                kept
            }
            _ => Kept {
                peak: self.forget(key),
                exceeded: false,
            },
        }
    }

    /// Ends the watching thread.
    pub(super) fn stop(&self) {
        self.watch.send(Watch::Stop);
    }

    fn forget(&self, key: u64) -> u64 {
        let mut state = self.state();
        if state.watches {
            self.watch.send(Watch::End { key });
        }
        state.peaks.remove(&key).unwrap_or(0)
    }

    /// Nobody asks for it any more.
    fn drop_peak(&self, key: u64) {
        self.state().peaks.remove(&key);
    }

    /// A look at a program that is not over.
    fn note(&self, key: u64, used: u64) {
        let mut state = self.state();
        let peak = state.peaks.entry(key).or_default();
        *peak = used.max(*peak);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").finish_non_exhaustive()
    }
}
