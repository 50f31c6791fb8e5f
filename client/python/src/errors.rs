//! Errors as exceptions of `scalems_pilot.errors`.

use pyo3::prelude::*;
use pyo3::types::PyType;
use scalems_client::ClientError;

/// The class of an error there, and its code if it has one.
pub(crate) fn class_of(error: &ClientError) -> (&'static str, &'static str) {
    match error {
        ClientError::Locate(_) => ("PilotNotFound", ""),
        ClientError::Unreachable { .. } => ("PilotNotFound", "unreachable"),
        ClientError::Refused { refusal, .. } => ("Refused", refusal.code.text()),
        ClientError::BacklogFull { .. } => ("Refused", "backlog_full"),
        ClientError::TimedOut { .. } => ("TimedOut", "timed_out"),
        ClientError::Over(_) => ("SessionOver", "session_over"),
        ClientError::Task { error, .. } => ("TaskFailed", error.code.text()),
        ClientError::Transport(_)
        | ClientError::Unreadable(_)
        | ClientError::WrongAnswer { .. }
        | ClientError::InCallback
        | ClientError::OtherSession
        | ClientError::Encode { .. }
        | ClientError::Decode { .. } => ("ScalemsError", ""),
    }
}

/// An exception of a class there. Without the package beside this module the import's own error is raised.
pub(crate) fn exception(py: Python<'_>, class: &str, code: &str, message: &str) -> PyErr {
    let made = || -> PyResult<PyErr> {
        let class = py.import("scalems_pilot.errors")?.getattr(class)?;
        let class = class.cast_into::<PyType>()?;
        Ok(PyErr::from_value(class.call1((message, code))?))
    };
    made().unwrap_or_else(|error| error)
}

/// The exception that says what an error says.
pub(crate) fn raised(py: Python<'_>, error: &ClientError) -> PyErr {
    let (class, code) = class_of(error);
    exception(py, class, code, &error.to_string())
}
