//! Leases that were started and are not over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use scalems_protocol::group::Run;
use scalems_protocol::state::Strength;
use scalems_protocol::task::OnSilence;
use scalems_protocol::{Incarnation, TaskState};

use super::grant::Grant;
use super::queue::{Prepared, Waiting};
use super::slots::Seat;
use crate::interface::Micros;

/// What is to happen to a running task, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// The task is a sleep that is over.
    SleepOver,
    /// Its time limit passes.
    TimeLimit,
    /// The grace time after it was asked to end passes.
    Kill,
    /// It waits behind another for longer than it should.
    Behind,
}

/// Why a task is being ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The agent asked for it, with this reason.
    Canceled(String),
    /// Its time limit passed, so many milliseconds.
    TimeLimit(u64),
    /// The worker ends.
    WorkerEnds,
    /// The agent was silent for so long that it may lease the task again.
    Silence,
    /// The agent does not want to hear of it.
    Dropped,
}

/// A task that was started.
#[derive(Clone, Debug)]
pub(super) struct Task {
    pub(super) grant: Grant,
    pub(super) prepared: Arc<Prepared>,
    pub(super) seat: Seat,
    /// When it began to run.
    pub(super) started: Option<Micros>,
    /// Whether the agent was told that it runs.
    pub(super) reported: bool,
    /// Why it is being ended, and how hard.
    pub(super) stopping: Option<(Cause, Strength)>,
    timers: Vec<(Micros, Timer)>,
    /// Its place in a line, as long as it is there.
    pub(super) behind: Option<Behind>,
    /// The task behind it, which takes over its room.
    pub(super) follower: Option<u64>,
    /// One has waited behind it in vain.
    pub(super) slow: bool,
}

/// A place in a line of tasks that take over one room, one after another.
#[derive(Clone, Debug)]
pub(super) struct Behind {
    /// The task before it; none: that is over, and the room is its own.
    pub(super) leader: Option<u64>,
    /// What goes back into the queue if it has to leave the place.
    pub(super) back: Waiting,
    /// Whether it was told to leave.
    pub(super) recalled: bool,
}

impl Task {
    pub(super) fn new(grant: Grant, prepared: Arc<Prepared>, seat: Seat) -> Self {
        Self {
            grant,
            prepared,
            seat,
            started: None,
            reported: false,
            stopping: None,
            timers: Vec::new(),
            behind: None,
            follower: None,
            slow: false,
        }
    }

    /// Whether others may wait for its room: it takes just that much, and goes on as it should.
    fn can_lead(&self, next: &Prepared) -> bool {
        self.prepared.mode == next.mode
            && self.behind.as_ref().is_none_or(|behind| !behind.recalled)
            && self.stopping.is_none()
            && !self.slow
            && self.prepared.takes_as(next)
    }

    /// The task before it in its line.
    pub(super) fn leader(&self) -> Option<u64> {
        self.behind.as_ref().and_then(|behind| behind.leader)
    }

    /// Whether the agent does not count it among the worker's leases any more.
    pub(super) const fn is_dropped(&self) -> bool {
        matches!(self.stopping, Some((Cause::Dropped, _)))
    }

    /// Its state as the agent was last told.
    pub(super) const fn told(&self) -> TaskState {
        if self.reported {
            TaskState::Running
        } else {
            TaskState::Leased
        }
    }
}

/// Started tasks by key, with a way to find them by lease and by time.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    tasks: BTreeMap<u64, Task>,
    by_lease: BTreeMap<(u64, u32, u32, Incarnation), u64>,
    timers: BTreeSet<(Micros, u64, Timer)>,
    last_key: u64,
}

const fn lease_of(grant: &Grant) -> (u64, u32, u32, Incarnation) {
    (
        grant.run.submission,
        grant.run.attempt,
        grant.run.lo,
        grant.incarnation,
    )
}

impl Table {
    /// Whether the lease runs already.
    pub(super) fn has(&self, grant: &Grant) -> bool {
        self.by_lease.contains_key(&lease_of(grant))
    }

    pub(super) fn insert(&mut self, task: Task) -> u64 {
        self.last_key += 1;
        let before = self.by_lease.insert(lease_of(&task.grant), self.last_key);
        assert!(before.is_none(), "a lease is started once");
        self.tasks.insert(self.last_key, task);
        self.last_key
    }

    pub(super) fn get_mut(&mut self, key: u64) -> Option<&mut Task> {
        self.tasks.get_mut(&key)
    }

    pub(super) fn remove(&mut self, key: u64) -> Option<Task> {
        let task = self.tasks.remove(&key)?;
        if !task.is_dropped() {
            self.by_lease.remove(&lease_of(&task.grant));
        }
        for (at, timer) in &task.timers {
            self.timers.remove(&(*at, key, *timer));
        }
        Some(task)
    }

    /// The agent does not count the task any more: it keeps its room until it is over, and nothing else.
    pub(super) fn forget_lease(&mut self, grant: &Grant) {
        self.by_lease.remove(&lease_of(grant));
    }

    pub(super) fn set_timer(&mut self, key: u64, at: Micros, timer: Timer) {
        let task = self
            .tasks
            .get_mut(&key)
            .expect("timers are set for tasks that run");
        task.timers.push((at, timer));
        self.timers.insert((at, key, timer));
    }

    /// The end of the shortest line, with fewer than `most` in it, that one with these needs can join; and how many are in it.
    pub(super) fn shortest_line(&self, next: &Prepared, most: usize) -> Option<(usize, u64)> {
        let heads = self.tasks.iter().filter(|(_, task)| task.leader().is_none());
        let ends = heads.filter_map(|(key, _)| self.end_of_line(*key, next));
        let (length, end) = ends.min_by_key(|(length, _)| *length)?;
        (length < most).then_some((length, end))
    }

    /// How many wait in the line of `head`, and who is the last. None if one of the line cannot be waited for.
    fn end_of_line(&self, head: u64, next: &Prepared) -> Option<(usize, u64)> {
        let (mut length, mut key) = (0, head);
        loop {
            let task = self.tasks.get(&key).filter(|task| task.can_lead(next))?;
            match task.follower {
                None => return Some((length, key)),
                Some(follower) => (length, key) = (length + 1, follower),
            }
        }
    }

    /// A task and all behind it.
    pub(super) fn line_from(&self, key: u64) -> Vec<u64> {
        let next = |key: &u64| self.tasks.get(key).and_then(|task| task.follower);
        std::iter::successors(Some(key), next).collect()
    }

    /// Who has the room that a task waits for.
    pub(super) fn head_of_line(&self, mut key: u64) -> u64 {
        while let Some(leader) = self.tasks.get(&key).and_then(Task::leader) {
            key = leader;
        }
        key
    }

    /// Those that wait behind others.
    pub(super) fn followers(&self) -> Vec<u64> {
        let tasks = self.tasks.iter().filter(|(_, task)| task.leader().is_some());
        tasks.map(|(key, _)| *key).collect()
    }

    /// When the next timer is due.
    pub(super) fn next_timer(&self) -> Option<Micros> {
        self.timers.first().map(|(at, ..)| *at)
    }

    /// The next timer that is due.
    pub(super) fn pop_timer(&mut self, now: Micros) -> Option<(u64, Timer)> {
        let (at, key, timer) = *self.timers.first().filter(|(at, ..)| *at <= now)?;
        self.timers.remove(&(at, key, timer));
        let task = self.tasks.get_mut(&key).expect("a task's timers go with it");
        task.timers.retain(|set| *set != (at, timer));
        Some((key, timer))
    }

    /// The keys of the leases that lie in `run`.
    pub(super) fn keys_in(&self, run: Run) -> Vec<u64> {
        let Run {
            submission,
            lo,
            hi,
            attempt,
        } = run;
        let range = (submission, attempt, lo, 0)..(submission, attempt, hi, 0);
        self.by_lease.range(range).map(|(_, key)| *key).collect()
    }

    /// Tasks that are to end when the agent is silent, and that nobody has asked to end.
    pub(super) fn keys_that_stop(&self) -> Vec<u64> {
        let stop = |task: &Task| {
            task.stopping.is_none() && task.prepared.template.policy.on_silence == OnSilence::Stop
        };
        let all = self.tasks.iter();
        all.filter(|(_, task)| stop(task)).map(|(key, _)| *key).collect()
    }

    /// The keys of all that is not over, dropped or not.
    pub(super) fn keys(&self) -> Vec<u64> {
        self.tasks.keys().copied().collect()
    }

    /// Tasks that the agent counts, in the order of their leases.
    pub(super) fn held(&self) -> impl Iterator<Item = &Task> {
        self.by_lease.values().map(|key| &self.tasks[key])
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// What the tasks add to the state hash.
    pub(super) fn term(&self) -> u64 {
        self.held()
            .fold(0, |sum, task| sum.wrapping_add(task.grant.term(task.told())))
    }

    /// The agent is about to be told of all tasks as they are.
    pub(super) fn listed(&mut self) {
        for task in self.tasks.values_mut() {
            task.reported = task.started.is_some();
        }
    }
}
