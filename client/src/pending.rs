//! Answers that are on their way.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::error::ClientError;
use crate::machine::{Answered, CallFault};
use crate::shared::{Shared, lock};

/// Where an answer comes to lie.
#[derive(Default)]
pub(crate) struct ReplyCell {
    reply: Mutex<Option<Result<Answered, CallFault>>>,
}

impl ReplyCell {
    pub(crate) fn set(&self, reply: Result<Answered, CallFault>) {
        *lock(&self.reply) = Some(reply);
    }
}

/// An answer that is on its way. Dropping it takes nothing back.
#[must_use = "the answer says whether it was done"]
pub struct Pending<T> {
    cell: Arc<ReplyCell>,
    shared: Arc<Shared>,
    what: &'static str,
    read: fn(Answered) -> Option<T>,
}

impl<T> Pending<T> {
    pub(crate) fn new(
        cell: Arc<ReplyCell>,
        shared: Arc<Shared>,
        what: &'static str,
        read: fn(Answered) -> Option<T>,
    ) -> Self {
        Self { cell, shared, what, read }
    }

    /// The answer, if it has come; it can be taken once.
    pub fn try_take(&self) -> Option<Result<T, ClientError>> {
        let reply = lock(&self.cell.reply).take()?;
        Some(match reply {
            Ok(answered) => (self.read)(answered).ok_or(ClientError::WrongAnswer { asked: self.what }),
            Err(fault) => Err(ClientError::from_call(fault, self.what)),
        })
    }

    /// The answer, waited for so long; without a time, as long as the session lives.
    pub fn wait(self, timeout: impl Into<Option<Duration>>) -> Result<T, ClientError> {
        self.shared.wait(timeout.into(), self.what, || self.try_take())?
    }
}
