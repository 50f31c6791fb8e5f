//! Waits that a signal can end.

use std::time::{Duration, Instant};

use pyo3::prelude::*;
use scalems_client::ClientError;

use crate::errors;

/// So long a signal may have to wait until Python's handlers see it.
pub(crate) const SLICE: Duration = Duration::from_millis(50);

/// Seconds as Python has them; none, or more than is worth telling apart, is for ever.
pub(crate) fn seconds(timeout: Option<f64>) -> Option<Duration> {
    timeout.and_then(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).ok())
}

/// Waits in slices without the interpreter's lock. `wait` is called with the length of a slice until it gives anything but that it
/// timed out, or the time is over. The outer error is what a signal's handler raised.
pub(crate) fn in_slices<T: Send>(
    py: Python<'_>,
    timeout: Option<Duration>,
    wait: impl Fn(Duration) -> Result<T, ClientError> + Send + Sync,
) -> PyResult<Result<T, ClientError>> {
    let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    loop {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let slice = left.map_or(SLICE, |left| left.min(SLICE));
        match py.detach(|| wait(slice)) {
            Err(ClientError::TimedOut { what, .. }) => {
                py.check_signals()?;
                if until.is_some_and(|until| until <= Instant::now()) {
                    let waited = timeout.unwrap_or_default();
                    return Ok(Err(ClientError::TimedOut { what, waited }));
                }
            }
            other => return Ok(other),
        }
    }
}

/// The same, with its errors as exceptions.
pub(crate) fn sliced<T: Send>(
    py: Python<'_>,
    timeout: Option<Duration>,
    wait: impl Fn(Duration) -> Result<T, ClientError> + Send + Sync,
) -> PyResult<T> {
    in_slices(py, timeout, wait)?.map_err(|error| errors::raised(py, &error))
}
