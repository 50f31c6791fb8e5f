//! Where ended tasks wait for the thread of Python's that takes them, many at once.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyTuple};
use scalems_client::protocol::{Bytes, Ending};
use scalems_client::{ClientError, TaskResult};

use crate::errors;

/// At most so many are handed over at once: a batch then takes a millisecond or two, in which other threads may need the interpreter.
const BATCH: usize = 1_024;

/// Values of more bytes are in memory that may be changed.
const LARGE: usize = 64 << 10;

/// How a task ended.
pub(crate) struct Completion {
    /// What Python gave with the task.
    pub(crate) token: Py<PyAny>,
    /// Who submitted it wants no more than its value, if it is done at the first attempt.
    pub(crate) plain: bool,
    pub(crate) result: Result<TaskResult, ClientError>,
}

impl Completion {
    /// Its value, if that is all that is wanted.
    pub(crate) fn plain_value(&self) -> Option<&Bytes> {
        let result = self.result.as_ref().ok().filter(|_| self.plain)?;
        (result.ending == Ending::Done && result.attempt == 1).then_some(&result.value)
    }

    /// What tells its token from others.
    fn address(&self) -> usize {
        self.token.as_ptr() as usize
    }
}

/// An error of a task as Python gets it: class there, code, message, class and traceback of the task's own language, retryable.
type ErrorParts = (String, String, String, Option<String>, Option<String>, bool);
/// A completion as Python gets it: token, ending, value, submission, index, attempt, error.
pub(crate) type Taken = (
    Py<PyAny>,
    &'static str,
    Option<Py<PyAny>>,
    Option<(u64, u32)>,
    u32,
    Option<ErrorParts>,
);

#[derive(Default)]
struct State {
    ended: VecDeque<Completion>,
    /// Tokens whose threads wait for them and take them themselves, by address.
    awaited: Vec<usize>,
    closed: bool,
}

/// The queue. It is bounded by what the session holds: a task is in it at most once.
#[derive(Default)]
pub(crate) struct Completions {
    state: Mutex<State>,
    bell: Condvar,
}

impl Completions {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A push or a drain is one change: a panic elsewhere leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push(&self, completion: Completion) {
        let mut state = self.lock();
        let is_awaited = state.awaited.contains(&completion.address());
        let was_empty = state.ended.is_empty();
        state.ended.push_back(completion);
        drop(state);
        if was_empty && !is_awaited {
            self.bell.notify_one();
        }
    }

    /// The end of the task with this token, which `wait` waits for, if nobody else has taken it by then.
    pub(crate) fn take_awaited(&self, token: usize, wait: impl FnOnce()) -> Option<Completion> {
        self.lock().awaited.push(token);
        wait();
        let mut state = self.lock();
        state.awaited.retain(|other| *other != token);
        let at = state
            .ended
            .iter()
            .position(|completion| completion.address() == token);
        let found = at.and_then(|at| state.ended.remove(at));
        let others = !state.ended.is_empty();
        drop(state);
        if others {
            // They may have come behind it, when nobody was told.
            self.bell.notify_one();
        }
        found
    }

    /// Whoever waits comes back, and waits no more.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.bell.notify_all();
    }

    /// What has ended, waited for so long. `None`: nothing comes any more.
    pub(crate) fn take(&self, wait: Duration) -> Option<Vec<Completion>> {
        let mut state = self.lock();
        if state.ended.is_empty() && !state.closed {
            state = self
                .bell
                .wait_timeout(state, wait)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        if state.ended.is_empty() && state.closed {
            return None;
        }
        let count = state.ended.len().min(BATCH);
        Some(state.ended.drain(..count).collect())
    }
}

/// What tells tokens apart, as long as they are held.
pub(crate) fn address(token: &Bound<'_, PyAny>) -> usize {
    token.as_ptr() as usize
}

/// A value as Python gets it: what is in a large one may stay there and be changed.
pub(crate) fn value(py: Python<'_>, value: &[u8]) -> Py<PyAny> {
    if value.len() < LARGE {
        PyBytes::new(py, value).into_any().unbind()
    } else {
        PyByteArray::new(py, value).into_any().unbind()
    }
}

/// A value as Python decodes it: as [`value`], but that of a large one which is bytes, these are handed over in a tuple, copied once.
pub(crate) fn decodable(py: Python<'_>, value: &[u8]) -> PyResult<Py<PyAny>> {
    match large_bytes(value) {
        Some(content) => Ok(PyTuple::new(py, [PyBytes::new(py, content)])?.into_any().unbind()),
        None => Ok(self::value(py, value)),
    }
}

/// The bytes that a large value is, if it is nothing else: msgpack's `bin 32`.
fn large_bytes(value: &[u8]) -> Option<&[u8]> {
    let (head, content) = value.split_first_chunk::<5>()?;
    let [0xc6, length @ ..] = *head else {
        return None;
    };
    (content.len() >= LARGE && u32::from_be_bytes(length) as usize == content.len()).then_some(content)
}

/// How a task ended, as Python gets it.
pub(crate) fn taken(py: Python<'_>, completion: Completion) -> Taken {
    let Completion { token, result, .. } = completion;
    match result {
        Ok(result) => {
            let ending = match result.ending {
                Ending::Done => "done",
                Ending::Failed => "failed",
                Ending::Canceled => "canceled",
            };
            let value = value(py, &result.value);
            let id = result.id.map(|id| (id.submission, id.index));
            let error = result.error.map(|error| {
                (
                    "TaskFailed".to_owned(),
                    error.code.text().to_owned(),
                    error.message,
                    error.class,
                    error.trace,
                    error.retryable,
                )
            });
            (token, ending, Some(value), id, result.attempt, error)
        }
        Err(error) => {
            let (class, code) = errors::class_of(&error);
            let parts = (
                class.to_owned(),
                code.to_owned(),
                error.to_string(),
                None,
                None,
                false,
            );
            (token, "lost", None, None, 0, Some(parts))
        }
    }
}
