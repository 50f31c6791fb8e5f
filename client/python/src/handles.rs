//! What is submitted, and what is known of it.

use pyo3::prelude::*;
use scalems_client::protocol::state::Strength;
use scalems_client::protocol::task::When;

use crate::completions::{Completion, Taken, taken};
use crate::errors;

/// All of a task but its data.
#[pyclass(frozen, module = "scalems_pilot._native")]
pub(crate) struct Template(pub(crate) scalems_client::Task);

/// A task that was submitted.
#[pyclass(frozen, module = "scalems_pilot._native")]
pub(crate) struct Handle(pub(crate) scalems_client::TaskHandle);

#[pymethods]
impl Handle {
    /// `(submission, index)`, once the agent has given it.
    #[getter]
    fn id(&self) -> Option<(u64, u32)> {
        self.0.id().map(|id| (id.submission, id.index))
    }

    /// Something that the agent said of it.
    #[getter]
    fn note(&self) -> Option<String> {
        self.0.note()
    }

    #[getter]
    fn done(&self) -> bool {
        self.0.is_done()
    }
}

/// An array that was submitted.
#[pyclass(frozen, module = "scalems_pilot._native")]
pub(crate) struct ArrayHandle(pub(crate) scalems_client::ArrayHandle);

#[pymethods]
impl ArrayHandle {
    #[getter]
    fn submission(&self) -> Option<u64> {
        self.0.submission()
    }

    /// How the task with this index ended, if it has: as `Session.take` gives it.
    fn result(&self, py: Python<'_>, index: u32) -> Option<Taken> {
        let result = self.0.try_result(index)?;
        let token = py.None();
        Some(taken(
            py,
            Completion {
                token,
                plain: false,
                result,
            },
        ))
    }

    /// Done, failed, canceled, without a result, unfinished.
    fn counts(&self) -> (u32, u32, u32, u32, u32) {
        let counts = self.0.counts();
        (
            counts.done,
            counts.failed,
            counts.canceled,
            counts.without_result,
            counts.unfinished,
        )
    }
}

/// What a strength of cancel is called.
pub(crate) fn strength(py: Python<'_>, name: &str) -> PyResult<Strength> {
    match name {
        "withdraw" => Ok(Strength::Withdraw),
        "request" => Ok(Strength::Request),
        "kill" => Ok(Strength::Kill),
        other => {
            let message = format!("no strength of cancel is called {other:?}: say withdraw, request or kill");
            Err(errors::exception(py, "Refused", "invalid_value", &message))
        }
    }
}

/// After which end of another task.
pub(crate) fn when(py: Python<'_>, name: &str) -> PyResult<When> {
    match name {
        "ok" => Ok(When::Ok),
        "any" => Ok(When::Any),
        "failed" => Ok(When::Failed),
        other => {
            let message = format!("a task cannot run after an end called {other:?}: say ok, any or failed");
            Err(errors::exception(py, "Refused", "invalid_value", &message))
        }
    }
}
