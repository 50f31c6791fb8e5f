//! Results as users see them.

use std::sync::Arc;
use std::time::Duration;

use scalems_protocol::client::Durable;
use scalems_protocol::program::ProgramResult;
use scalems_protocol::{Bytes, Ending, TaskError, TaskId};
use serde::de::DeserializeOwned;

use crate::error::ClientError;
use crate::machine::{Done, Group};

/// How one task ended.
///
/// ```no_run
/// # fn example(handle: scalems_client::TaskHandle) -> Result<(), scalems_client::ClientError> {
/// let result = handle.wait(None)?;
/// println!("{:?} ended {:?} after {:?}", result.id, result.ending, result.ran);
/// let value = result.into_value()?; // or the task's error
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct TaskResult {
    /// The task; none if it never reached the agent, as when it was canceled before.
    pub id: Option<TaskId>,
    /// How it ended.
    pub ending: Ending,
    /// Which attempt ended so, from 1; 0 if there was none.
    pub attempt: u32,
    /// Its value. It shares memory with the values that came with it; copy it to keep it for long.
    pub value: Bytes,
    /// The exit code, for programs that ended by themselves.
    pub exit_code: Option<i32>,
    /// How long it ran; for tasks that came together with others their mean.
    pub ran: Duration,
    /// Why it did not end well.
    pub error: Option<TaskError>,
    /// Whether the result is on the agent's disk.
    pub durable: Durable,
}

impl TaskResult {
    pub(crate) fn new(id: Option<TaskId>, group: &Group, at: u32) -> Self {
        let count = group.run.map_or(1, |run| run.count());
        Self {
            id,
            ending: group.ending,
            attempt: group.run.map_or(0, |run| run.attempt),
            value: group.data.of(at as usize),
            exit_code: group.exit_code,
            ran: Duration::from_micros(group.ran_us / u64::from(count.max(1))),
            error: group.error.clone(),
            durable: group.durable,
        }
    }

    pub(crate) fn from_done(id: Option<TaskId>, done: &Done) -> Result<Self, ClientError> {
        match done {
            Done::Ended { group, at } => Ok(Self::new(id, group, *at)),
            Done::Failed(fault) => Err(ClientError::from_task(fault)),
        }
    }

    /// Whether it ended well.
    pub fn is_done(&self) -> bool {
        self.ending == Ending::Done
    }

    /// Its value, or why there is none.
    pub fn into_value(self) -> Result<Bytes, ClientError> {
        if self.ending == Ending::Done {
            return Ok(self.value);
        }
        let id = self.id.map(|id| id.to_string());
        let error = self.error.unwrap_or_else(|| {
            TaskError::new(
                scalems_protocol::Code::Internal,
                "it did not end well, and nothing says why",
            )
        });
        Err(ClientError::Task { id, error })
    }

    /// Its value as msgpack.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        rmp_serde::from_slice(&self.value).map_err(|error| ClientError::Decode {
            what: "the task's value",
            problem: error.to_string(),
        })
    }

    /// What a program left behind: output, resources, where it ran.
    pub fn program(&self) -> Result<ProgramResult, ClientError> {
        self.decode()
    }
}

/// Results of tasks that an earlier life of the session submitted.
#[derive(Clone, Debug)]
pub struct UnclaimedResults {
    /// The submission's number.
    pub submission: u64,
    /// The number of the request that brought it.
    pub request: u64,
    /// The first offset in the submission.
    pub first_offset: u32,
    group: Arc<Group>,
}

impl UnclaimedResults {
    pub(crate) fn new(request: u64, group: Arc<Group>) -> Option<Self> {
        let run = group.run?;
        Some(Self {
            submission: run.submission,
            request,
            first_offset: run.lo,
            group,
        })
    }

    /// The results, by offset. The ids are those of individual tasks; of arrays only the offset is known here.
    pub fn iter(&self) -> impl Iterator<Item = (u32, TaskResult)> + '_ {
        let count = self.group.run.map_or(0, |run| run.count());
        (0..count).map(|at| {
            let offset = self.first_offset + at;
            let id = TaskId {
                submission: self.submission,
                index: offset,
            };
            (offset, TaskResult::new(Some(id), &self.group, at))
        })
    }

    pub(crate) fn bytes(&self) -> usize {
        std::mem::size_of::<Group>() + self.group.data.bytes.len() + 4 * self.group.data.ends.len()
    }
}
