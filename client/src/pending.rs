//! Answers that are on their way.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::error::ClientError;
use crate::machine::{Answered, CallFault};
use crate::shared::{Shared, lock};

/// Where an answer comes to lie.
#[derive(Default)]
pub(crate) struct ReplyCell {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    reply: Option<Result<Answered, CallFault>>,
    waker: Option<Waker>,
}

impl ReplyCell {
    /// The answer has come. Returns who is to be woken for it.
    pub(crate) fn set(&self, reply: Result<Answered, CallFault>) -> Option<Waker> {
        let mut state = lock(&self.state);
        state.reply = Some(reply);
        state.waker.take()
    }
}

/// An answer that is on its way. Dropping it takes nothing back.
///
/// It is a future too, of any executor: it gives what [`Self::wait`] gives.
#[must_use = "the answer says whether it was done"]
pub struct Pending<T> {
    cell: Arc<ReplyCell>,
    shared: Arc<Shared>,
    what: &'static str,
    read: fn(Answered) -> Option<T>,
}

impl<T> std::fmt::Debug for Pending<T> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Pending")
            .field("what", &self.what)
            .finish_non_exhaustive()
    }
}

impl<T> Pending<T> {
    pub(crate) fn new(
        cell: Arc<ReplyCell>,
        shared: Arc<Shared>,
        what: &'static str,
        read: fn(Answered) -> Option<T>,
    ) -> Self {
        Self {
            cell,
            shared,
            what,
            read,
        }
    }

    /// The answer, if it has come; it can be taken once.
    pub fn try_take(&self) -> Option<Result<T, ClientError>> {
        let reply = lock(&self.cell.state).reply.take();
        reply.map(|reply| self.read(reply))
    }

    fn read(&self, reply: Result<Answered, CallFault>) -> Result<T, ClientError> {
        match reply {
            Ok(answered) => (self.read)(answered).ok_or(ClientError::WrongAnswer { asked: self.what }),
            Err(fault) => Err(ClientError::from_call(fault, self.what)),
        }
    }

    /// The answer, waited for so long. If it has not come it is on its way still, and can be waited for again.
    pub fn wait_within(&self, timeout: Duration) -> Result<T, ClientError> {
        self.shared.wait(Some(timeout), self.what, || self.try_take())?
    }

    /// The answer, waited for so long; without a time, as long as the session lives.
    pub fn wait(self, timeout: impl Into<Option<Duration>>) -> Result<T, ClientError> {
        self.shared.wait(timeout.into(), self.what, || self.try_take())?
    }
}

impl<T> Future for Pending<T> {
    type Output = Result<T, ClientError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = lock(&self.cell.state);
        let Some(reply) = state.reply.take() else {
            state.waker = Some(context.waker().clone());
            drop(state);
            self.shared.hurry();
            return Poll::Pending;
        };
        drop(state);
        Poll::Ready(self.read(reply))
    }
}
