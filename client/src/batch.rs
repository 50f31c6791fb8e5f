//! The places where the results of tasks that were submitted together come to lie.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::task::Waker;

use scalems_protocol::TaskId;

use crate::error::ClientError;
use crate::machine::{Done, PackKey};
use crate::result::TaskResult;
use crate::shared::{Shared, lock};

/// Whoever wants to be told that a task has ended.
pub(crate) enum Listener {
    /// A future's.
    Waker(Waker),
    /// A callback.
    Callback(Box<dyn FnOnce() + Send>),
    /// A callback that whoever drives the session may run.
    Notice(Box<dyn FnOnce() + Send>),
}

impl Listener {
    /// Whoever is told does not wait.
    pub(crate) fn announce(&self, shared: &Shared) {
        match self {
            Self::Waker(_) => shared.hurry(),
            Self::Callback(_) => shared.set_calls_back(),
            Self::Notice(_) => {}
        }
    }
}

/// Tasks that were submitted together. Handles share it, and so does the session until all have ended.
pub(crate) struct Batch {
    key: PackKey,
    slots: Box<[OnceLock<Done>]>,
    rare: Mutex<Rare>,
    pub(crate) shared: Arc<Shared>,
}

/// What few tasks have.
#[derive(Default)]
struct Rare {
    listeners: BTreeMap<u32, Vec<Listener>>,
    names: Vec<Name>,
    notes: Vec<String>,
}

/// What some of the tasks are called.
struct Name {
    lo: u32,
    hi: u32,
    submission: u64,
    index: u32,
    step: u32,
}

impl Batch {
    pub(crate) fn new(key: PackKey, capacity: u32, shared: Arc<Shared>) -> Arc<Self> {
        let slots = (0..capacity).map(|_| OnceLock::new()).collect();
        Arc::new(Self {
            key,
            slots,
            rare: Mutex::new(Rare::default()),
            shared,
        })
    }

    pub(crate) fn key(&self) -> PackKey {
        self.key
    }

    pub(crate) fn capacity(&self) -> u32 {
        self.slots.len() as u32
    }

    pub(crate) fn is_done(&self, place: u32) -> bool {
        self.slots[place as usize].get().is_some()
    }

    pub(crate) fn result(&self, place: u32) -> Option<Result<TaskResult, ClientError>> {
        let done = self.slots[place as usize].get()?;
        let id = matches!(done, Done::Ended { .. })
            .then(|| self.id(place))
            .flatten();
        Some(TaskResult::from_done(id, done))
    }

    pub(crate) fn id(&self, place: u32) -> Option<TaskId> {
        let rare = lock(&self.rare);
        let name = rare
            .names
            .iter()
            .find(|name| name.lo <= place && place < name.hi)?;
        Some(TaskId {
            submission: name.submission,
            index: name.index + name.step * (place - name.lo),
        })
    }

    pub(crate) fn note(&self) -> Option<String> {
        lock(&self.rare).notes.last().cloned()
    }

    pub(crate) fn add_name(&self, lo: u32, hi: u32, submission: u64, index: u32, step: u32) {
        lock(&self.rare).names.push(Name {
            lo,
            hi,
            submission,
            index,
            step,
        });
    }

    pub(crate) fn add_note(&self, note: String) {
        let mut rare = lock(&self.rare);
        if !rare.notes.contains(&note) {
            rare.notes.push(note);
        }
    }

    /// Tasks have ended. Adds those who want to know to `told`.
    pub(crate) fn end(&self, lo: u32, hi: u32, done: &Done, told: &mut Vec<Listener>) {
        match done {
            Done::Ended { group, at } => {
                for place in lo..hi {
                    let done = Done::Ended {
                        group: Arc::clone(group),
                        at: at + (place - lo),
                    };
                    self.set(place, done);
                }
            }
            Done::Failed(fault) => {
                (lo..hi).for_each(|place| self.set(place, Done::Failed(Arc::clone(fault))));
            }
        }
        // After the results are there: whoever asks to be told looks again with the lock held.
        let mut rare = lock(&self.rare);
        if !rare.listeners.is_empty() {
            let mut later = rare.listeners.split_off(&lo);
            let mut rest = later.split_off(&hi);
            rare.listeners.append(&mut rest);
            told.extend(later.into_values().flatten());
        }
    }

    /// Nothing comes any more: all tasks without a result end so.
    pub(crate) fn abandon(&self, done: &Done, told: &mut Vec<Listener>) {
        for place in (0..self.capacity()).filter(|place| !self.is_done(*place)) {
            self.end(place, place + 1, done, told);
        }
    }

    fn set(&self, place: u32, done: Done) {
        let set = self.slots[place as usize].set(done);
        assert!(set.is_ok(), "the machine resolves each task once");
    }

    /// Adds someone who wants to know when a task ends; gives it back if the task has ended.
    pub(crate) fn listen(&self, place: u32, listener: Listener) -> Option<Listener> {
        listener.announce(&self.shared);
        let mut rare = lock(&self.rare);
        if self.is_done(place) {
            return Some(listener);
        }
        let listeners = rare.listeners.entry(place).or_default();
        if let Listener::Waker(waker) = &listener {
            let known = |other: &Listener| matches!(other, Listener::Waker(other) if other.will_wake(waker));
            if listeners.iter().any(known) {
                return None;
            }
        }
        listeners.push(listener);
        None
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        // The last handle is gone, and nothing depends on its tasks that was not handed in before.
        lock(&self.shared.released).push(self.key);
    }
}
