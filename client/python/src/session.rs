//! A client's session with a pilot.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyList};
use scalems_client::protocol::client::{Listing, Page};
use scalems_client::protocol::event::Topic;
use scalems_client::protocol::select::Selector;
use scalems_client::protocol::{Bytes, limits};
use scalems_client::{ClientError, Indices, Pending, Task};
use serde::Serialize;

use crate::completions::{Completion, Completions, Taken, address, decodable, taken};
use crate::errors::{self, raised};
use crate::events::Events;
use crate::handles::{ArrayHandle, Handle, Template, strength, when};
use crate::waiting::{SLICE, in_slices, seconds, sliced};

/// The process that a session belongs to: its threads are nowhere else.
#[derive(Clone, Copy)]
pub(crate) struct Owner(u32);

impl Owner {
    fn is_here(self) -> bool {
        self.0 == std::process::id()
    }

    /// Fails in a process that was forked from the session's.
    pub(crate) fn check(self, py: Python<'_>) -> PyResult<()> {
        if self.is_here() {
            return Ok(());
        }
        let message = format!(
            "this session was opened by process {}, of which this process is a copy: a fork does not copy the session's threads; \
             open one of its own here",
            self.0
        );
        Err(errors::exception(py, "ForkedSession", "forked", &message))
    }
}

/// A value as msgpack, for Python to read.
pub(crate) fn packed<'py>(py: Python<'py>, value: &impl Serialize) -> PyResult<Bound<'py, PyBytes>> {
    match rmp_serde::to_vec_named(value) {
        Ok(bytes) => Ok(PyBytes::new(py, &bytes)),
        Err(error) => Err(errors::exception(py, "ScalemsError", "", &error.to_string())),
    }
}

/// Tasks that have ended, of two kinds.
type Two<'py> = (Bound<'py, PyList>, Bound<'py, PyList>);

/// A session with a pilot.
#[pyclass(frozen, module = "scalems_pilot._native")]
pub(crate) struct Session {
    owner: Owner,
    /// Gone only while this is dropped.
    client: Option<scalems_client::Session>,
    completions: Arc<Completions>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.completions.close();
        let session = self.client.take();
        // A forked process has no thread that could end it, and waiting for one would be for ever.
        if !self.owner.is_here() {
            std::mem::forget(session);
        }
    }
}

impl Session {
    fn ours(&self, py: Python<'_>) -> PyResult<&scalems_client::Session> {
        self.owner.check(py)?;
        Ok(self.session())
    }

    fn session(&self) -> &scalems_client::Session {
        self.client.as_ref().expect("invariant: it is taken by drop only")
    }

    /// Waits for the answer to a request.
    fn answered<T: Send>(
        &self,
        py: Python<'_>,
        asked: impl FnOnce() -> Result<Pending<T>, ClientError>,
    ) -> PyResult<T> {
        let limit = self.session().answer_timeout();
        let pending = asked().map_err(|error| raised(py, &error))?;
        sliced(py, Some(limit), |slice| pending.wait_within(slice))
    }

    /// A page of what is asked for: rows and where the next begins.
    fn page<'py, R: Serialize + Send>(
        &self,
        py: Python<'py>,
        select: &str,
        after: Option<(u64, u32)>,
        ask: impl Fn(&scalems_client::Session, Page) -> Result<Listing<R>, ClientError> + Send + Sync,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let session = self.ours(py)?;
        let page = Page {
            select: Self::selector(py, select)?,
            after,
            rows: 0,
        };
        let listing = py.detach(|| ask(session, page));
        let listing = listing.map_err(|error| raised(py, &error))?;
        packed(py, &(listing.rows, listing.next))
    }

    fn selector(py: Python<'_>, text: &str) -> PyResult<Selector> {
        text.parse()
            .map_err(|refusal: scalems_client::protocol::Refusal| {
                errors::exception(py, "Refused", refusal.code.text(), &refusal.to_string())
            })
    }
}

#[pymethods]
impl Session {
    /// Connects: by a connection file or directory, or to the pilot of a name, or to the only one that runs.
    #[staticmethod]
    #[pyo3(signature = (path=None, pilot=None, session="", takeover=false, cancel_after=None, connect_timeout=None,
        software="scalems_pilot"))]
    #[allow(clippy::too_many_arguments, reason = "keywords of a Python function")]
    fn connect(
        py: Python<'_>,
        path: Option<&str>,
        pilot: Option<&str>,
        session: &str,
        takeover: bool,
        cancel_after: Option<f64>,
        connect_timeout: Option<f64>,
        software: &str,
    ) -> PyResult<Self> {
        let mut options = scalems_client::Session::options()
            .name(session)
            .takeover(takeover)
            .software(software);
        if let Some(away) = seconds(cancel_after) {
            options = options.cancel_after(away);
        }
        if let Some(timeout) = seconds(connect_timeout) {
            options = options.connect_timeout(timeout);
        }
        let connected = py.detach(|| match path {
            Some(path) => options.connect(Path::new(path)),
            None => options.find(pilot),
        });
        let session = connected.map_err(|error| raised(py, &error))?;
        // Where there is no such choice large values are slower.
        let _kept = scalems_client::keep_freed_memory(false);
        Ok(Self {
            owner: Owner(std::process::id()),
            client: Some(session),
            completions: Arc::default(),
        })
    }

    /// A template, from its msgpack (page 2 of the specification).
    fn template(&self, py: Python<'_>, template: &[u8]) -> PyResult<Template> {
        self.owner.check(py)?;
        match rmp_serde::from_slice(template) {
            Ok(template) => Ok(Template(Task::from_template(template))),
            Err(error) => Err(errors::exception(
                py,
                "Refused",
                "malformed",
                &format!("what the task needs cannot be read: {error}"),
            )),
        }
    }

    /// Submits a task. `token` comes back with its end from `take`. `after`: handles, each with `ok`, `any` or `failed`.
    /// `plain`: if it is done at the first attempt, its value is all that is asked for.
    #[pyo3(signature = (template, data, token, after=None, plain=false))]
    fn submit(
        &self,
        py: Python<'_>,
        template: &Template,
        data: PyBackedBytes,
        token: Py<PyAny>,
        after: Option<Vec<(PyRef<'_, Handle>, String)>>,
        plain: bool,
    ) -> PyResult<Handle> {
        let session = self.ours(py)?;
        let submitted = match after {
            // It stays where it is, and Python's with it, until it is sent.
            None if data.len() > limits::INLINE_BYTES => {
                session.submit(template.0.with_data(Bytes::from_owner(data)))
            }
            None => session.submit_data(&template.0, &data),
            Some(after) => {
                let mut task = template.0.clone();
                for (handle, name) in &after {
                    task = task.after_when(&handle.0, when(py, name)?);
                }
                session.submit_data(&task, &data)
            }
        };
        let handle = submitted.map_err(|error| raised(py, &error))?;
        let completions = Arc::clone(&self.completions);
        handle.notify(move |result| {
            completions.push(Completion { token, plain, result });
        });
        Ok(Handle(handle))
    }

    /// Submits an array: one task for each index.
    fn submit_array(
        &self,
        py: Python<'_>,
        template: &Template,
        data: &[u8],
        first: u32,
        step: u32,
        count: u32,
    ) -> PyResult<ArrayHandle> {
        let session = self.ours(py)?;
        let task = template.0.with_data(data.to_vec());
        let array = session.submit_array(task, Indices { first, step, count });
        Ok(ArrayHandle(array.map_err(|error| raised(py, &error))?))
    }

    /// Waits for the end of an array.
    #[pyo3(signature = (array, timeout=None))]
    fn wait_array(&self, py: Python<'_>, array: &ArrayHandle, timeout: Option<f64>) -> PyResult<()> {
        self.owner.check(py)?;
        sliced(py, seconds(timeout), |slice| array.0.wait(slice)).map(|_| ())
    }

    /// Tasks that have ended since, waited for so long; none if nothing comes any more.
    #[pyo3(signature = (timeout))]
    ///
    /// Two lists: of tasks that are done, whose submitters asked for no more, the token and the value by turns; and the others as
    /// `wait_task` gives them. So those are no objects that garbage collection would look at, but for the tuples of large bytes.
    fn take<'py>(&self, py: Python<'py>, timeout: f64) -> PyResult<Option<Two<'py>>> {
        self.owner.check(py)?;
        let wait = seconds(Some(timeout)).unwrap_or(SLICE);
        let Some(ended) = py.detach(|| self.completions.take(wait)) else {
            return Ok(None);
        };
        py.check_signals()?;
        let (plain, others) = (PyList::empty(py), PyList::empty(py));
        for completion in ended {
            if let Some(bytes) = completion.plain_value() {
                plain.append(&completion.token)?;
                plain.append(decodable(py, bytes)?)?;
            } else {
                others.append(taken(py, completion))?;
            }
        }
        Ok(Some((plain, others)))
    }

    /// Waits for the end of a task by driving the session. None: it has not ended in time, or somebody else has taken its end.
    #[pyo3(signature = (handle, token, timeout=None))]
    fn wait_task(
        &self,
        py: Python<'_>,
        handle: &Handle,
        token: &Bound<'_, PyAny>,
        timeout: Option<f64>,
    ) -> PyResult<Option<Taken>> {
        self.owner.check(py)?;
        let mut interrupted = None;
        let found = self.completions.take_awaited(address(token), || {
            // If there will be no result, the task's end says why; if it is not there in time, nothing is found.
            interrupted = in_slices(py, seconds(timeout), |slice| handle.0.wait(slice)).err();
        });
        match (found, interrupted) {
            (found, None) => Ok(found.map(|completion| taken(py, completion))),
            (found, Some(error)) => {
                if let Some(completion) = found {
                    self.completions.push(completion);
                }
                Err(error)
            }
        }
    }

    /// Ends the waits in `take`, after what has come already.
    fn close_completions(&self) {
        self.completions.close();
    }

    /// Asks that tasks of this session end: withdrawn, told, left running, ended before.
    fn cancel_tasks(
        &self,
        py: Python<'_>,
        handles: Vec<PyRef<'_, Handle>>,
        how: &str,
        reason: &str,
    ) -> PyResult<(u64, u64, u64, u64)> {
        let session = self.ours(py)?;
        let strength = strength(py, how)?;
        let handles: Vec<_> = handles.into_iter().map(|handle| handle.0.clone()).collect();
        let done = self.answered(py, || session.cancel_tasks(&handles, strength, reason))?;
        Ok((done.withdrawn, done.told, done.running, done.ended))
    }

    /// The same without waiting for the answer.
    fn cancel_tasks_later(
        &self,
        py: Python<'_>,
        handles: Vec<PyRef<'_, Handle>>,
        how: &str,
        reason: &str,
    ) -> PyResult<()> {
        let session = self.ours(py)?;
        let strength = strength(py, how)?;
        let handles: Vec<_> = handles.into_iter().map(|handle| handle.0.clone()).collect();
        session
            .cancel_tasks(&handles, strength, reason)
            .map(drop)
            .map_err(|error| raised(py, &error))
    }

    /// Asks that selected tasks end, whoever submitted them.
    fn cancel(
        &self,
        py: Python<'_>,
        select: &str,
        how: &str,
        reason: &str,
    ) -> PyResult<(u64, u64, u64, u64)> {
        let session = self.ours(py)?;
        let (select, strength) = (Self::selector(py, select)?, strength(py, how)?);
        let done = py.detach(|| session.cancel(select, strength, reason));
        let done = done.map_err(|error| raised(py, &error))?;
        Ok((done.withdrawn, done.told, done.running, done.ended))
    }

    /// Waits until the agent has taken everything that was submitted.
    #[pyo3(signature = (timeout=None))]
    fn wait_accepted(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<()> {
        let session = self.ours(py)?;
        sliced(py, seconds(timeout), |slice| session.wait_accepted(slice))
    }

    /// Waits until the results that have come are on the agent's disk.
    #[pyo3(signature = (timeout=None))]
    fn wait_durable(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<()> {
        let session = self.ours(py)?;
        sliced(py, seconds(timeout), |slice| session.wait_durable(slice))
    }

    /// Waits until there is room for more tasks in this process.
    #[pyo3(signature = (timeout=None))]
    fn wait_room(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<()> {
        let session = self.ours(py)?;
        sliced(py, seconds(timeout), |slice| session.wait_room(slice))
    }

    /// The agent as a whole, as msgpack.
    fn status<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let session = self.ours(py)?;
        let status = py.detach(|| session.ask_status());
        packed(py, &status.map_err(|error| raised(py, &error))?)
    }

    /// All workers that live, as msgpack.
    fn workers<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let session = self.ours(py)?;
        let workers = py.detach(|| session.ask_workers());
        packed(py, &workers.map_err(|error| raised(py, &error))?)
    }

    /// A page of submissions, as msgpack: rows and where the next begins.
    #[pyo3(signature = (select, after=None))]
    fn submissions<'py>(
        &self,
        py: Python<'py>,
        select: &str,
        after: Option<(u64, u32)>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        self.page(py, select, after, scalems_client::Session::ask_submissions)
    }

    /// A page of tasks, as msgpack: rows and where the next begins.
    #[pyo3(signature = (select, after=None))]
    fn tasks<'py>(
        &self,
        py: Python<'py>,
        select: &str,
        after: Option<(u64, u32)>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        self.page(py, select, after, scalems_client::Session::ask_tasks)
    }

    /// One task, as msgpack: all that is known of it, and why it waits.
    fn explain<'py>(&self, py: Python<'py>, submission: u64, index: u32) -> PyResult<Bound<'py, PyBytes>> {
        let session = self.ours(py)?;
        let task = scalems_client::protocol::TaskId { submission, index };
        let explanation = py.detach(|| session.ask_explain(task));
        packed(py, &explanation.map_err(|error| raised(py, &error))?)
    }

    /// What happens in a topic from now on.
    fn events(&self, py: Python<'_>, topic: &str) -> PyResult<Events> {
        let session = self.ours(py)?;
        if let Some(topic) = Topic::from_name(topic) {
            return Ok(Events::new(self.owner, session, topic));
        }
        let message = format!("no topic is called {topic:?}: say summary, workers, alarms, or submission/N");
        Err(errors::exception(py, "Refused", "invalid_value", &message))
    }

    /// Asks that the pilot ends, after letting end what runs for so long.
    #[pyo3(signature = (drain=0.0))]
    fn stop(&self, py: Python<'_>, drain: f64) -> PyResult<()> {
        let session = self.ours(py)?;
        let drain = seconds(Some(drain)).unwrap_or(Duration::ZERO);
        py.detach(|| session.stop(None, drain))
            .map_err(|error| raised(py, &error))
    }

    /// The pilot's name, whether it has a journal, its software, and the modes that its workers serve.
    fn pilot(&self) -> Option<(String, bool, String, Vec<String>)> {
        let attached = self.session().pilot()?;
        Some((
            attached.pilot_name.clone(),
            attached.journal,
            attached.software.clone(),
            attached.modes.clone(),
        ))
    }

    /// The connection file that it was connected by.
    #[getter]
    fn connection_file(&self) -> Option<String> {
        let file = self.session().connection_file()?;
        Some(file.display().to_string())
    }

    /// Why the session is over, if it is.
    #[getter]
    fn over(&self) -> Option<String> {
        self.session().over().map(|end| end.to_string())
    }

    /// Leaves the pilot. What has not ended then ends with an error.
    #[pyo3(signature = (reason="the client closed it"))]
    fn close(&self, py: Python<'_>, reason: &str) {
        if self.owner.is_here() {
            py.detach(|| self.session().close(reason));
        }
        self.completions.close();
    }
}
