//! What happens in a pilot, as it happens.

use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use scalems_client::Update;
use scalems_client::protocol::event::Topic;

use crate::errors;
use crate::session::{Owner, packed};
use crate::waiting::{seconds, sliced};

/// What happens in one topic.
#[pyclass(frozen, module = "scalems_pilot._native")]
pub(crate) struct Events {
    owner: Owner,
    events: Mutex<scalems_client::Events>,
}

impl Events {
    pub(crate) fn new(owner: Owner, session: &scalems_client::Session, topic: Topic) -> Self {
        Self {
            owner,
            events: Mutex::new(session.events(topic)),
        }
    }
}

#[pymethods]
impl Events {
    /// The next one: its kind (`snapshot`, `event`, `refused`) and its body as msgpack; none if nothing comes any more.
    #[pyo3(signature = (timeout=None))]
    fn next<'py>(
        &self,
        py: Python<'py>,
        timeout: Option<f64>,
    ) -> PyResult<Option<(&'static str, Bound<'py, PyBytes>)>> {
        self.owner.check(py)?;
        let next = sliced(py, seconds(timeout), |slice| {
            let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
            events.next_within(slice)
        })?;
        match next {
            None => Ok(None),
            Some(Update::Snapshot(body)) => Ok(Some(("snapshot", packed(py, &body)?))),
            Some(Update::Event(body)) => Ok(Some(("event", packed(py, &body)?))),
            Some(Update::Refused(refusal)) => Err(errors::exception(
                py,
                "Refused",
                refusal.code.text(),
                &refusal.to_string(),
            )),
        }
    }
}
