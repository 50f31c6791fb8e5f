//! Leases that have not started: runs, in the order in which they came.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use scalems_protocol::group::{Data, Run};
use scalems_protocol::task::{Placement, Template};
use scalems_protocol::{TaskId, TaskState};

use super::grant::{self, Grant, Parts};
use super::mode::Mode;
use super::room::Room;
use super::slots::Seat;
use crate::resources::Amounts;

/// How many tasks may start past the first run that waits for room, so that it starts some day.
const BYPASS: u32 = 64;
/// How many runs without room are looked past for one with room: a bound on the work of one round.
const LOOK_AHEAD: usize = 64;

/// A template and what the worker makes of it.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    pub(super) template: Arc<Template>,
    /// Which of the ways to run its tasks this is.
    pub(super) variant: u8,
    pub(super) mode: Mode,
    pub(super) amounts: Amounts,
}

impl Prepared {
    /// How a task's cores are to lie to each other.
    pub(super) fn placement(&self) -> Placement {
        self.template.needs.way(self.variant).placement
    }

    /// Whether what one has is what the other wants.
    pub(super) fn takes_as(&self, other: &Self) -> bool {
        self.amounts == other.amounts && self.placement() == other.placement()
    }
}

/// A run of leases that have not started.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub(super) grant: Grant,
    pub(super) prepared: Arc<Prepared>,
    /// The index of offset 0, and the step.
    pub(super) indices: (u32, u32),
    pub(super) data: Data,
    /// How many tasks at the front of the data are gone already.
    pub(super) gone: usize,
    /// How many tasks started past this run.
    pub(super) bypassed: u32,
}

/// One lease that is about to start.
#[derive(Clone, Debug)]
pub(super) struct Next {
    pub(super) grant: Grant,
    pub(super) prepared: Arc<Prepared>,
    pub(super) task: TaskId,
    pub(super) data: Bytes,
}

impl Waiting {
    /// The data of the first task.
    fn first_data(&self) -> Bytes {
        self.data.of(self.gone)
    }

    fn take_first(&mut self) -> Next {
        let Run { submission, lo, .. } = self.grant.run;
        let data = self.first_data();
        self.gone += 1;
        self.grant.run.lo += 1;
        let (first, step) = self.indices;
        let task = TaskId {
            submission,
            index: first.wrapping_add(step.wrapping_mul(lo)),
        };
        Next {
            grant: self.grant.part(lo, lo + 1),
            prepared: Arc::clone(&self.prepared),
            task,
            data,
        }
    }
}

impl Parts for Waiting {
    fn grant(&self) -> &Grant {
        &self.grant
    }

    fn part(&self, lo: u32, hi: u32) -> Self {
        let at = |offset: u32| self.gone + (offset - self.grant.run.lo) as usize;
        let data = self.data.part(at(lo), at(hi));
        // Shared data is the whole again, whatever part is asked for.
        let gone = if data.ends.len() == (hi - lo) as usize {
            0
        } else {
            at(lo)
        };
        Self {
            grant: self.grant.part(lo, hi),
            data,
            gone,
            ..self.clone()
        }
    }
}

/// What came out of looking for something to start.
#[derive(Debug)]
pub(super) enum Found {
    /// A lease, and the room that it was given.
    Start(Next, Seat),
    /// A lease with data that its mode cannot take, which needs no room.
    Wrong(Next, scalems_protocol::TaskError),
    /// Nothing may start now.
    Nothing,
}

/// The queue.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    waiting: VecDeque<Waiting>,
    /// Runs that need no room, and wait only until results are recorded.
    stalled: VecDeque<Waiting>,
}

impl Queue {
    pub(super) fn push(&mut self, waiting: Waiting) {
        let queue = if waiting.prepared.mode.is_immediate() {
            &mut self.stalled
        } else {
            &mut self.waiting
        };
        queue.push_back(waiting);
    }

    /// The run at the front, which is the first to start when there is room.
    pub(super) fn front(&self) -> Option<&Waiting> {
        self.waiting.front()
    }

    /// Takes the first lease of the run at the front: as it is to be started, and as it can be put back.
    pub(super) fn take_front(&mut self) -> Option<(Next, Waiting)> {
        let front = self.waiting.front_mut()?;
        let (indices, next) = (front.indices, front.take_first());
        if front.grant.run.count() == 0 {
            self.waiting.pop_front();
        }
        let back = Waiting {
            grant: next.grant,
            prepared: Arc::clone(&next.prepared),
            indices,
            data: Data::shared(next.data.clone()),
            gone: 0,
            bypassed: 0,
        };
        Some((next, back))
    }

    /// Puts back what [`Queue::take_front`] took.
    pub(super) fn put_back(&mut self, waiting: Waiting) {
        self.waiting.push_front(waiting);
    }

    pub(super) fn pop_stalled(&mut self) -> Option<Waiting> {
        self.stalled.pop_front()
    }

    /// Takes what lies in `run` out.
    pub(super) fn take_out(&mut self, run: Run) -> Vec<Waiting> {
        let mut taken = grant::take_out(&mut self.waiting, run);
        taken.append(&mut grant::take_out(&mut self.stalled, run));
        taken
    }

    pub(super) fn take_all(&mut self) -> Vec<Waiting> {
        self.waiting.drain(..).chain(self.stalled.drain(..)).collect()
    }

    pub(super) fn grants(&self) -> impl Iterator<Item = &Grant> {
        self.waiting
            .iter()
            .chain(&self.stalled)
            .map(|waiting| &waiting.grant)
    }

    /// What the leases in the queue add to the state hash.
    pub(super) fn term(&self) -> u64 {
        self.grants()
            .fold(0, |sum, grant| sum.wrapping_add(grant.term(TaskState::Leased)))
    }

    /// The first lease that `room` has room for, which it is given.
    ///
    /// A run without room is passed over, but only [`BYPASS`] times: then what comes free is kept for it.
    pub(super) fn next(&mut self, room: &mut Room) -> Found {
        let mut first_blocked: Option<usize> = None;
        for at in 0..self.waiting.len().min(LOOK_AHEAD) {
            let waiting = &mut self.waiting[at];
            let wrong = match waiting.prepared.mode {
                Mode::Sleep => super::mode::sleep_time(&waiting.first_data()).err(),
                _ => None,
            };
            let seat = if wrong.is_some() {
                Some(Seat::default())
            } else {
                room.take(&waiting.prepared.amounts, waiting.prepared.placement())
            };
            let Some(seat) = seat else {
                if first_blocked.is_none() {
                    first_blocked = Some(at);
                    if waiting.bypassed >= BYPASS {
                        break;
                    }
                }
                continue;
            };
            let next = waiting.take_first();
            waiting.bypassed = 0;
            if waiting.grant.run.count() == 0 {
                self.waiting.remove(at);
            }
            if let Some(blocked) = first_blocked {
                self.waiting[blocked].bypassed += 1;
            }
            return match wrong {
                Some(error) => Found::Wrong(next, error),
                None => Found::Start(next, seat),
            };
        }
        Found::Nothing
    }
}
