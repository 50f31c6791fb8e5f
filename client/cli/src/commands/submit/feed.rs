//! Tasks on their way to the agent: in one submission, however many they are and however long they take to come.

use std::collections::VecDeque;

use anyhow::Context as _;
use scalems_client::protocol::limits;
use scalems_client::protocol::select::Selector;
use scalems_client::{HeldSubmission, Pending, Session, Task};

use crate::interrupt;

/// So much data goes together, if there is more than one task.
const CHUNK_BYTES: usize = limits::MESSAGE_BYTES;
/// So many additions are on their way at once.
const AHEAD: usize = 32;

/// A submission that is being made, or added to.
pub(super) struct Feed<'a> {
    session: &'a Session,
    task: &'a Task,
    /// The index of the first task.
    first: u32,
    /// How many there will be, if that has to be said: they come each after one of others.
    total: Option<u32>,
    /// Whether it stays open.
    pub(super) stays_open: bool,
    submission: Option<u64>,
    /// Whether this opened it, and has to close it.
    opened: bool,
    items: Vec<Vec<u8>>,
    bytes: usize,
    count: u64,
    on_the_way: VecDeque<Pending<u32>>,
    note: Option<String>,
}

/// What was submitted.
#[derive(Debug)]
pub(crate) struct Fed {
    pub(crate) submission: u64,
    pub(crate) count: u64,
    pub(crate) note: Option<String>,
}

impl From<HeldSubmission> for Fed {
    fn from(held: HeldSubmission) -> Self {
        Self {
            submission: held.submission,
            count: held.count.into(),
            note: held.note,
        }
    }
}

impl<'a> Feed<'a> {
    /// A new one, or with `to` one that is open.
    pub(super) fn new(
        session: &'a Session,
        task: &'a Task,
        first: u32,
        to: Option<u64>,
        stays_open: bool,
    ) -> Self {
        Self {
            session,
            task,
            first,
            total: None,
            stays_open,
            submission: to,
            opened: false,
            items: Vec::new(),
            bytes: 0,
            count: 0,
            on_the_way: VecDeque::new(),
            note: None,
        }
    }

    /// As many as will come, so that they may come each after one of others.
    pub(super) fn of(mut self, total: usize) -> Self {
        // Agents that are older than this know it not, and need it not for others.
        if self.task.template().after.iter().any(|after| after.each) {
            self.total = u32::try_from(total).ok();
        }
        self
    }

    /// Its number, once it has one.
    pub(super) fn submission(&self) -> Option<u64> {
        self.submission
    }

    /// Whether it is a new one, which this has to close unless it is to stay open.
    pub(super) fn is_new(&self) -> bool {
        self.opened
    }

    /// Adds a task with these data.
    pub(super) fn push(&mut self, item: Vec<u8>) -> anyhow::Result<()> {
        interrupt::check()?;
        let full = self.items.len() == limits::BATCH_TASKS || self.bytes + item.len() > CHUNK_BYTES;
        if full && !self.items.is_empty() {
            self.send()?;
        }
        self.bytes += item.len();
        self.items.push(item);
        Ok(())
    }

    /// Sends what has gathered: more may come.
    pub(super) fn send(&mut self) -> anyhow::Result<()> {
        let items = std::mem::take(&mut self.items);
        if items.is_empty() {
            return Ok(());
        }
        self.bytes = 0;
        let count = items.len() as u64;
        if let Some(submission) = self.submission {
            if self.on_the_way.len() == AHEAD {
                self.taken_in()?;
            }
            self.on_the_way
                .push_back(self.session.append(submission, &items)?);
        } else {
            // From here on there is something that would stay open if this process ended.
            interrupt::install(&interrupt::ENDING)?;
            let (session, first) = (self.session, self.first);
            let held = match self.total {
                Some(total) => session.submit_open_of(self.task, first, total, &items)?,
                None => session.submit_open(self.task, first, &items)?,
            };
            self.submission = Some(held.submission);
            self.opened = true;
            self.note = held.note;
        }
        self.count += count;
        Ok(())
    }

    /// Waits until the first that is on its way was taken in.
    fn taken_in(&mut self) -> anyhow::Result<()> {
        if let Some(first) = self.on_the_way.pop_front() {
            interrupt::wait(self.session.answer_timeout(), |slice| first.wait_within(slice))?;
        }
        Ok(())
    }

    /// All have come. If that fails it may be open still.
    pub(super) fn finish(&mut self) -> anyhow::Result<Fed> {
        if self.submission.is_none() && !self.stays_open {
            let items = std::mem::take(&mut self.items);
            let held = self.session.submit_held_each(self.task, self.first, &items)?;
            return Ok(held.into());
        }
        self.send()?;
        while !self.on_the_way.is_empty() {
            self.taken_in()?;
        }
        let submission = self.submission.context("there is at least one task")?;
        self.close()?;
        Ok(Fed {
            submission,
            count: self.count,
            note: self.note.take(),
        })
    }

    /// No more come, for whatever reason.
    pub(super) fn close(&mut self) -> anyhow::Result<()> {
        if let Some(submission) = self.submission.filter(|_| self.opened && !self.stays_open) {
            self.session.close_submissions(Selector::submission(submission))?;
        }
        Ok(())
    }
}
