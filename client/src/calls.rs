//! Calls: what is asked of the agent besides tasks with handles.

use std::sync::Arc;
use std::time::Duration;

use scalems_protocol::client::{CancelDone, ForgetDone, Reply};
use scalems_protocol::error::Code;
use scalems_protocol::group::Data;
use scalems_protocol::limits;
use scalems_protocol::select::Selector;
use scalems_protocol::state::Strength;

use crate::error::ClientError;
use crate::handle::TaskHandle;
use crate::machine::{Answered, Call, PackKey, SessionEnd};
use crate::options::micros;
use crate::pending::Pending;
use crate::session::{Session, check_indices, refused};
use crate::shared::{Shared, lock};
use crate::task::{Indices, Task};

/// A submission that the agent holds the results of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldSubmission {
    /// Its number.
    pub submission: u64,
    /// How many tasks it has.
    pub count: u32,
    /// Something that the submitter should know, such as that no worker serves it yet.
    pub note: Option<String>,
}

/// Tasks may be added to it.
struct Open {
    /// How many there will be in the end, if that is said.
    total: Option<u32>,
}

impl Session {
    /// Submits tasks whose results the agent holds until they are asked for and forgotten, so that this
    /// process may end: what the shell does. Waits until the agent has accepted them.
    pub fn submit_held(
        &self,
        task: impl std::borrow::Borrow<Task>,
        indices: impl Into<Indices>,
    ) -> Result<HeldSubmission, ClientError> {
        let (task, indices) = (task.borrow(), indices.into());
        check_indices(indices)?;
        self.held(task, indices, Data::shared(task.bytes().clone()), None)?
            .wait(self.answer_timeout())
    }

    /// As [`Self::submit_held`], without waiting until the agent has accepted them.
    pub fn begin_held(&self, task: &Task, indices: Indices) -> Result<Pending<HeldSubmission>, ClientError> {
        check_indices(indices)?;
        self.held(task, indices, Data::shared(task.bytes().clone()), None)
    }

    /// As [`Self::submit_held`], with one task for each item of data, at most [`limits::BATCH_TASKS`]. Their
    /// indices rise from `first`.
    pub fn submit_held_each<D: AsRef<[u8]>>(
        &self,
        task: &Task,
        first: u32,
        items: &[D],
    ) -> Result<HeldSubmission, ClientError> {
        let data = together(items)?;
        let indices = indices_of(first, items.len())?;
        // Without any bytes the tasks are alike: an array.
        let data = if data.bytes.is_empty() {
            Data::default()
        } else {
            data
        };
        self.held(task, indices, data, None)?.wait(self.answer_timeout())
    }

    /// As [`Self::submit_held_each`], and the submission stays open: tasks may be added, by anybody, until it is
    /// closed. There has to be at least one item.
    pub fn submit_open<D: AsRef<[u8]>>(
        &self,
        task: &Task,
        first: u32,
        items: &[D],
    ) -> Result<HeldSubmission, ClientError> {
        self.open(task, first, items, None)
    }

    /// As [`Self::submit_open`], where it is known that there will be `total` tasks in the end: so they may come each
    /// after one of others.
    pub fn submit_open_of<D: AsRef<[u8]>>(
        &self,
        task: &Task,
        first: u32,
        total: u32,
        items: &[D],
    ) -> Result<HeldSubmission, ClientError> {
        self.open(task, first, items, Some(total))
    }

    fn open<D: AsRef<[u8]>>(
        &self,
        task: &Task,
        first: u32,
        items: &[D],
        total: Option<u32>,
    ) -> Result<HeldSubmission, ClientError> {
        let data = together(items)?;
        let indices = indices_of(first, items.len())?;
        self.held(task, indices, data, Some(Open { total }))?
            .wait(self.answer_timeout())
    }

    /// Adds tasks to an open submission, whoever brought it: one for each item of data, at most
    /// [`limits::BATCH_TASKS`]. Several may be on their way; they are added in order. Gives the offset of the first of
    /// them.
    pub fn append<D: AsRef<[u8]>>(&self, submission: u64, items: &[D]) -> Result<Pending<u32>, ClientError> {
        let call = Call::Append {
            submission,
            data: together(items)?,
        };
        pending(self.shared(), call, "the addition", |answered| match answered {
            Answered::Appended { first, .. } => Some(first),
            _ => None,
        })
    }

    /// Closes open submissions: no more tasks can be added, and they are over once all of their tasks have ended.
    /// Gives how many of those that are selected were open, and how many were not.
    pub fn close_submissions(&self, select: Selector) -> Result<(u64, u64), ClientError> {
        pending(
            self.shared(),
            Call::Close { select },
            "the closing",
            |answered| match answered {
                Answered::Closed { closed, before } => Some((closed, before)),
                _ => None,
            },
        )?
        .wait(self.answer_timeout())
    }

    /// Submits the tasks of one submission that failed again, or those in another state that `select` names: with the same
    /// template, data and indices, as another submission that the agent holds. Those that were submitted again before
    /// are passed over unless `repeat` is said. The agent has the data of held submissions only.
    pub fn retry(&self, select: Selector, repeat: bool) -> Result<HeldSubmission, ClientError> {
        let call = Call::Retry { select, repeat };
        pending(self.shared(), call, "the submission", held_of)?.wait(self.answer_timeout())
    }

    fn held(
        &self,
        task: &Task,
        indices: Indices,
        data: Data,
        open: Option<Open>,
    ) -> Result<Pending<HeldSubmission>, ClientError> {
        let (template, after) = task.parts(self.shared())?;
        if !after.is_empty() {
            let message =
                "what the agent is to hold may run after submissions, not after handles of this process";
            return Err(refused(Code::InvalidValue, message));
        }
        let Indices { first, step, count } = indices;
        let call = Call::Held {
            template: Arc::clone(template),
            count,
            first,
            step,
            data,
            open: open.is_some(),
            total: open.and_then(|open| open.total),
        };
        pending(self.shared(), call, "the submission", held_of)
    }

    /// Asks that tasks that the agent knows end, whoever submitted them. What still waits in this process for
    /// room at the agent is not among them; see [`Self::cancel_tasks`].
    pub fn cancel(
        &self,
        select: Selector,
        strength: Strength,
        reason: &str,
    ) -> Result<CancelDone, ClientError> {
        self.begin_cancel(select, strength, reason)?
            .wait(self.answer_timeout())
    }

    /// As [`Self::cancel`], without waiting for the answer.
    pub fn begin_cancel(
        &self,
        select: Selector,
        strength: Strength,
        reason: &str,
    ) -> Result<Pending<CancelDone>, ClientError> {
        let call = Call::Cancel {
            select,
            strength,
            reason: reason.to_owned(),
        };
        pending(self.shared(), call, "the cancel", canceled)
    }

    /// Asks that tasks of this session end, also those that still wait in this process.
    pub fn cancel_tasks(
        &self,
        handles: &[TaskHandle],
        strength: Strength,
        reason: &str,
    ) -> Result<Pending<CancelDone>, ClientError> {
        if handles
            .iter()
            .any(|handle| !Arc::ptr_eq(&handle.batch().shared, self.shared()))
        {
            return Err(ClientError::OtherSession);
        }
        let mut places: Vec<_> = handles
            .iter()
            .map(|handle| (handle.batch().key(), handle.place()))
            .collect();
        places.sort_unstable();
        places.dedup();
        let mut tasks: Vec<(_, u32, u32)> = Vec::new();
        for (key, place) in places {
            match tasks.last_mut() {
                Some((last, _, hi)) if *last == key && *hi == place => *hi += 1,
                _ => tasks.push((key, place, place + 1)),
            }
        }
        cancel_tasks(self.shared(), tasks, strength, reason)
    }

    /// Drops the entries and results of ended tasks at the agent.
    pub fn forget(&self, select: Selector) -> Result<ForgetDone, ClientError> {
        self.begin_forget(select)?.wait(self.answer_timeout())
    }

    /// As [`Self::forget`], without waiting for the answer.
    pub fn begin_forget(&self, select: Selector) -> Result<Pending<ForgetDone>, ClientError> {
        let forgotten = |answered| match answered {
            Answered::Forgotten(done) => Some(done),
            _ => None,
        };
        pending(
            self.shared(),
            Call::Forget { select },
            "the forgetting",
            forgotten,
        )
    }

    /// Asks that the pilot ends, or only one worker, after letting end what runs for so long. Returns once the
    /// agent has begun to.
    pub fn stop(&self, worker: Option<u64>, drain: Duration) -> Result<(), ClientError> {
        let drain_ms = u64::try_from(drain.as_millis()).unwrap_or(u64::MAX);
        let call = Call::Stop {
            worker,
            drain_ms,
            timeout_us: micros(self.answer_timeout()),
        };
        let stopping = |answered| matches!(answered, Answered::Reply(Reply::Stopping, _)).then_some(());
        match pending(self.shared(), call, "the stop", stopping)?.wait(None) {
            // It ended before its answer could be read.
            Err(ClientError::Over(SessionEnd::PilotEnded { .. })) if worker.is_none() => Ok(()),
            answered => answered,
        }
    }

    /// Has the agent and all workers, or only one worker, log these levels from now on, such as
    /// `warn,scalems_agent::bus=debug`; empty: those that each was started with. Returns how many workers were told.
    pub fn set_log_levels(&self, worker: Option<u64>, levels: &str) -> Result<u64, ClientError> {
        let call = Call::LogLevels {
            worker,
            levels: levels.to_owned(),
            timeout_us: micros(self.answer_timeout()),
        };
        let told = |answered| match answered {
            Answered::Reply(Reply::LogLevels { workers }, _) => Some(workers),
            _ => None,
        };
        pending(self.shared(), call, "other levels of the log", told)?.wait(None)
    }
}

/// Items of data as they travel together.
fn together<D: AsRef<[u8]>>(items: &[D]) -> Result<Data, ClientError> {
    let bytes: usize = items.iter().map(|item| item.as_ref().len()).sum();
    if items.is_empty() || items.len() > limits::BATCH_TASKS || bytes > limits::BLOB_BYTES {
        let (tasks, most) = (limits::BATCH_TASKS, limits::BLOB_BYTES);
        let message = format!("1 to {tasks} items go together, with {most} bytes at most");
        return Err(refused(Code::TooLarge, message));
    }
    let mut data = Vec::with_capacity(bytes);
    let mut ends = Vec::with_capacity(items.len());
    for item in items {
        data.extend_from_slice(item.as_ref());
        ends.push(data.len() as u32);
    }
    Ok(Data {
        bytes: data.into(),
        ends,
    })
}

fn held_of(answered: Answered) -> Option<HeldSubmission> {
    match answered {
        Answered::Accepted {
            submission,
            count,
            note,
        } => Some(HeldSubmission {
            submission,
            count,
            note,
        }),
        _ => None,
    }
}

fn indices_of(first: u32, count: usize) -> Result<Indices, ClientError> {
    let indices = Indices {
        first,
        step: 1,
        count: count as u32,
    };
    check_indices(indices)?;
    Ok(indices)
}

fn canceled(answered: Answered) -> Option<CancelDone> {
    match answered {
        Answered::Canceled(done) => Some(done),
        _ => None,
    }
}

/// Puts a call in whose answer is read by `read`.
pub(crate) fn pending<T>(
    shared: &Arc<Shared>,
    call: Call,
    what: &'static str,
    read: fn(Answered) -> Option<T>,
) -> Result<Pending<T>, ClientError> {
    let mut intake = lock(&shared.intake);
    let reply = intake.call(call)?;
    let wake = intake.must_wake();
    drop(intake);
    if wake {
        shared.wake();
    }
    Ok(Pending::new(reply, Arc::clone(shared), what, read))
}

pub(crate) fn cancel_tasks(
    shared: &Arc<Shared>,
    tasks: Vec<(PackKey, u32, u32)>,
    strength: Strength,
    reason: &str,
) -> Result<Pending<CancelDone>, ClientError> {
    let call = Call::CancelTasks {
        tasks,
        strength,
        reason: reason.to_owned(),
    };
    pending(shared, call, "the cancel", canceled)
}
