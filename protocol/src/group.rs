//! Groups: runs of tasks that travel together (`docs/spec/1-bus`, section "Batches").
//!
//! A group is a run of offsets `[lo, hi)` of one submission with what its tasks share, and at most one
//! column: where each task's data ends. Its data lies in one blob of the message, from `at` on.

use serde::{Deserialize, Serialize};

use crate::error::TaskError;
use crate::id::{Incarnation, Origin};
use crate::state::{Ending, TaskState};
use crate::{Bytes, WireError, is_default, limits};

/// A run of tasks of one submission, one attempt each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Run {
    /// The submission's short number.
    pub submission: u64,
    /// The first offset.
    pub lo: u32,
    /// One past the last offset.
    pub hi: u32,
    /// The attempt, from 1.
    pub attempt: u32,
}

impl Run {
    /// How many tasks the run has.
    pub const fn count(&self) -> u32 {
        self.hi.saturating_sub(self.lo)
    }

    /// Checks that the run is not empty and within what a submission can have.
    pub fn check(&self) -> Result<(), WireError> {
        if self.lo >= self.hi || self.hi > limits::SUBMISSION_TASKS {
            return Err(WireError::Malformed("a run is [lo, hi) with lo < hi"));
        }
        Ok(())
    }
}

/// Where the data of a run of tasks lies: nowhere, one blob for all, or cut up by `ends`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Place {
    /// Which blob of the message; none: no task of the run has data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blob: Option<u32>,
    /// Where in the blob the run's data begins.
    #[serde(skip_serializing_if = "is_default")]
    pub at: u32,
    /// Where it ends, counted from `at`.
    #[serde(skip_serializing_if = "is_default")]
    pub length: u32,
    /// Where each task's data ends, counted from `at`; empty: the whole is every task's data.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ends: Vec<u32>,
}

/// The data of a run of tasks, out of its message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Data {
    /// All of it.
    pub bytes: Bytes,
    /// Where each task's data ends; empty: the whole is every task's data.
    pub ends: Vec<u32>,
}

impl Data {
    /// The same data for every task.
    pub fn shared(bytes: Bytes) -> Self {
        Self {
            bytes,
            ends: Vec::new(),
        }
    }

    /// The data of the task that is `at` places into the run.
    pub fn of(&self, at: usize) -> Bytes {
        if self.ends.is_empty() {
            return self.bytes.clone();
        }
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        self.bytes.slice(start..self.ends[at] as usize)
    }

    /// The part of the data that belongs to the tasks `lo..hi` of the run.
    pub fn part(&self, lo: usize, hi: usize) -> Self {
        if self.ends.is_empty() || (lo == 0 && hi == self.ends.len()) {
            return self.clone();
        }
        let start = lo.checked_sub(1).map_or(0, |before| self.ends[before]);
        let end = self.ends[hi - 1];
        Self {
            bytes: self.bytes.slice(start as usize..end as usize),
            ends: self.ends[lo..hi].iter().map(|end| end - start).collect(),
        }
    }

    /// Checks the column against the number of tasks.
    pub fn check(&self, count: usize) -> Result<(), WireError> {
        check_ends(&self.ends, count, self.bytes.len())
    }
}

fn check_ends(ends: &[u32], count: usize, length: usize) -> Result<(), WireError> {
    if ends.is_empty() {
        return Ok(());
    }
    if ends.len() != count || count > limits::BATCH_TASKS {
        return Err(WireError::Malformed(
            "a column has one entry for each task, at most 1,024",
        ));
    }
    if !ends.is_sorted() || ends.last().is_some_and(|end| *end as usize != length) {
        return Err(WireError::Malformed("ends do not rise to the length of the data"));
    }
    Ok(())
}

impl Place {
    /// Takes the data out of a message's blobs.
    pub fn take(self, count: u32, blobs: &[Bytes]) -> Result<Data, WireError> {
        let Some(blob) = self.blob else {
            if !self.ends.is_empty() || self.length > 0 {
                return Err(WireError::Malformed("a run without a blob has no data"));
            }
            return Ok(Data::default());
        };
        let blob = blobs
            .get(blob as usize)
            .ok_or(WireError::Malformed("no such data frame"))?;
        let (start, length) = (self.at as usize, self.length as usize);
        let end = start.checked_add(length).filter(|end| *end <= blob.len());
        let end = end.ok_or(WireError::Malformed("a run's data ends outside its frame"))?;
        check_ends(&self.ends, count as usize, length)?;
        Ok(Data {
            bytes: blob.slice(start..end),
            ends: self.ends,
        })
    }
}

/// Gathers the data of groups into blobs: small data into one shared frame, larger by reference.
#[derive(Debug, Default)]
pub struct Gather {
    blobs: Vec<Bytes>,
    shared: Vec<u8>,
    bytes: usize,
}

impl Gather {
    /// The shared frame is always blob 0; it is empty when all data goes by reference.
    const SHARED: u32 = 0;

    /// Adds the data of one run and says where it will lie.
    pub fn add(&mut self, data: &Data) -> Place {
        let length = data.bytes.len();
        // Without a byte there may be no frame to lie in, and all tasks have the same data, which is none.
        if length == 0 {
            return Place::default();
        }
        self.bytes += length;
        let (blob, at) = if length > limits::INLINE_BYTES {
            self.blobs.push(data.bytes.clone());
            (self.blobs.len() as u32, 0)
        } else {
            let at = self.shared.len() as u32;
            self.shared.extend_from_slice(&data.bytes);
            (Self::SHARED, at)
        };
        Place {
            blob: Some(blob),
            at,
            length: length as u32,
            ends: data.ends.clone(),
        }
    }

    /// How many bytes of data were added.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The blobs of the message.
    pub fn finish(self) -> Vec<Bytes> {
        if self.blobs.is_empty() && self.shared.is_empty() {
            return Vec::new();
        }
        let mut blobs = Vec::with_capacity(1 + self.blobs.len());
        blobs.push(Bytes::from(self.shared));
        blobs.extend(self.blobs);
        blobs
    }
}

pub(crate) const fn one() -> u32 {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
pub(crate) const fn is_one(value: &u32) -> bool {
    *value == 1
}

/// A run of leases on its way to a worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LeaseGroup {
    /// Which tasks, which attempt.
    pub run: Run,
    /// Where the submission came from.
    pub origin: Origin,
    /// Which of the message's templates.
    pub template: u32,
    /// The index of offset 0.
    #[serde(default, skip_serializing_if = "is_default")]
    pub first: u32,
    /// From one index to the next.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub step: u32,
    /// The tasks' data.
    #[serde(default, skip_serializing_if = "is_default")]
    pub place: Place,
    /// Which of the ways to run they are given room for ([`crate::task::Needs::way`]).
    #[serde(default, skip_serializing_if = "is_default")]
    pub variant: u8,
}

/// A run of results on its way from a worker or to a client. All of its tasks ended alike.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResultGroup {
    /// Which tasks, which attempt.
    pub run: Run,
    /// Where the submission came from.
    pub origin: Origin,
    /// The agent's life that granted the leases.
    pub incarnation: Incarnation,
    /// How all of them ended.
    pub ending: Ending,
    /// The tasks' values.
    #[serde(default, skip_serializing_if = "is_default")]
    pub place: Place,
    /// The exit code of all of them, for programs that ended by themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The time that all of them ran, summed, microseconds.
    #[serde(default, skip_serializing_if = "is_default")]
    pub ran_us: u64,
    /// Why they did not end well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<TaskError>,
}

/// A run of leases as a worker lists it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeldRun {
    /// Which tasks, which attempt.
    pub run: Run,
    /// Where the submission came from.
    pub origin: Origin,
    /// The agent's life that granted the leases.
    pub incarnation: Incarnation,
    /// Leased or running.
    pub state: TaskState,
    /// Which of the ways to run they have room for.
    #[serde(default, skip_serializing_if = "is_default")]
    pub variant: u8,
}
