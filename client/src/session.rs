//! Sessions: a client's life with a pilot.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use scalems_protocol::error::{Code, Refusal};
use scalems_protocol::event::Topic;
use scalems_protocol::group::Data;
use scalems_protocol::limits;

use crate::array::{ArrayCell, ArrayHandle};
use crate::carrier::Carrier;
use crate::error::ClientError;
use crate::events::{Events, Listening};
use crate::handle::TaskHandle;
use crate::intake::TaskData;
use crate::machine::{Attached, Config, Pack, SessionEnd, Shape, TaskFault, Update};
use crate::options::{ANSWER_TIMEOUT, SessionOptions};
use crate::result::UnclaimedResults;
use crate::shared::{Shared, lock};
use crate::task::{Indices, Task};

/// How many tasks of [`Session::submit_many`] are put in at once.
const MANY: usize = 256;

/// A session with a pilot. Clones are the same session; when the last is dropped it is closed.
///
/// ```no_run
/// use scalems_client::{Session, Task};
///
/// let session = Session::find(None)?;
/// let handles = session.submit_many((0..100).map(|i| Task::shell(format!("echo {i}"))));
/// scalems_client::wait_all(&handles, None)?;
/// for handle in handles {
///     let result = handle.wait(None)?;
///     print!("{}", String::from_utf8_lossy(&result.program()?.stdout));
/// }
/// # Ok::<(), scalems_client::ClientError>(())
/// ```
#[derive(Clone)]
pub struct Session {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
    answer_timeout: Duration,
    file: Option<PathBuf>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Session")
            .field("attached", &self.inner.shared.attached())
            .finish_non_exhaustive()
    }
}

impl Session {
    /// Options to connect with.
    pub fn options() -> SessionOptions {
        SessionOptions::new()
    }

    /// Connects by a connection file, or by the directory that has `client.json`, with an unnamed session.
    pub fn connect(path: impl AsRef<Path>) -> Result<Self, ClientError> {
        Self::options().connect(path)
    }

    /// Connects to the pilot called `name`, or, without a name, to the only one that runs, with an unnamed
    /// session.
    pub fn find(name: Option<&str>) -> Result<Self, ClientError> {
        Self::options().find(name)
    }

    /// A session without sockets, whose messages the caller carries. For tests, benchmarks and simulators.
    pub fn carried(config: Config) -> (Self, Carrier) {
        Self::carried_with(config, || {})
    }

    /// As [`Self::carried`]; `wake` is called when there is something to carry, from any thread.
    pub fn carried_with(config: Config, wake: impl Fn() + Send + Sync + 'static) -> (Self, Carrier) {
        let shared = Shared::carried(config.backlog_bytes, Box::new(wake));
        let carrier = Carrier::new(Arc::clone(&shared), config, 0);
        (Self::new(shared, None, ANSWER_TIMEOUT, None), carrier)
    }

    pub(crate) fn new(
        shared: Arc<Shared>,
        thread: Option<JoinHandle<()>>,
        answer_timeout: Duration,
        file: Option<PathBuf>,
    ) -> Self {
        let thread = Mutex::new(thread);
        Self {
            inner: Arc::new(Inner {
                shared,
                thread,
                answer_timeout,
                file,
            }),
        }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.inner.shared
    }

    /// How long an answer may take ([`SessionOptions::answer_timeout`]).
    pub fn answer_timeout(&self) -> Duration {
        self.inner.answer_timeout
    }

    /// What the agent said when it let the session in last. `None` only for a session without sockets.
    pub fn pilot(&self) -> Option<Arc<Attached>> {
        self.shared().attached()
    }

    /// The connection file that the session was connected by.
    pub fn connection_file(&self) -> Option<&Path> {
        self.inner.file.as_deref()
    }

    /// Whether the connection stands now, as far as is known. A session comes back by itself.
    pub fn is_connected(&self) -> bool {
        self.shared().is_present()
    }

    /// Why the session is over, if it is.
    pub fn over(&self) -> Option<SessionEnd> {
        self.shared().over()
    }

    /// Submits a task. Its result comes to the handle by itself.
    ///
    /// This costs a fraction of a microsecond and never waits: what the agent has no room for waits in this
    /// process, up to [`SessionOptions::backlog`]. What the agent refuses ends the handle with an error.
    pub fn submit(&self, task: impl std::borrow::Borrow<Task>) -> Result<TaskHandle, ClientError> {
        let task = task.borrow();
        self.put(task, TaskData::Owned(task.bytes().clone()))
    }

    /// Submits a task with other data than its own, which is copied. The fastest way for small data.
    pub fn submit_data(&self, task: &Task, data: &[u8]) -> Result<TaskHandle, ClientError> {
        self.put(task, TaskData::Borrowed(data))
    }

    fn put(&self, task: &Task, data: TaskData<'_>) -> Result<TaskHandle, ClientError> {
        let shared = self.shared();
        let (template, after) = task.parts(shared)?;
        let mut intake = lock(&shared.intake);
        let (batch, place) = intake.task(shared, template, after, data)?;
        let wake = intake.must_wake();
        drop(intake);
        if wake {
            shared.wake();
        }
        Ok(TaskHandle::new(batch, place))
    }

    /// Submits many tasks. A task that does not get in, because the backlog is full or the session over, has
    /// a handle that has ended with that error.
    pub fn submit_many(&self, tasks: impl IntoIterator<Item = Task>) -> Vec<TaskHandle> {
        let shared = self.shared();
        let mut tasks = tasks.into_iter();
        let mut handles = Vec::with_capacity(tasks.size_hint().0);
        loop {
            // The caller's iterator runs without the lock: it may submit something itself.
            let some: Vec<Task> = tasks.by_ref().take(MANY).collect();
            if some.is_empty() {
                return handles;
            }
            let mut intake = lock(&shared.intake);
            for task in &some {
                let data = TaskData::Owned(task.bytes().clone());
                let put = task
                    .parts(shared)
                    .and_then(|(template, after)| intake.task(shared, template, after, data));
                handles.push(match put {
                    Ok((batch, place)) => TaskHandle::new(batch, place),
                    Err(error) => TaskHandle::failed(intake.new_pack(), shared, not_put(error)),
                });
            }
            let wake = intake.must_wake();
            drop(intake);
            if wake {
                shared.wake();
            }
        }
    }

    /// Submits an array: one task for each index, with the same data. It is one submission, its results are
    /// counted as they come, and a million of them alike cost no more than one.
    ///
    /// ```no_run
    /// # fn example(session: scalems_client::Session) -> Result<(), scalems_client::ClientError> {
    /// use scalems_client::Task;
    ///
    /// let array = session.submit_array(Task::shell("./dock ligand-$SCALEMS_INDEX.pdb"), 0..1_000)?;
    /// let counts = array.wait(None)?;
    /// println!("{} of {} done", counts.done, array.count());
    /// # Ok(())
    /// # }
    /// ```
    pub fn submit_array(
        &self,
        task: impl std::borrow::Borrow<Task>,
        indices: impl Into<Indices>,
    ) -> Result<ArrayHandle, ClientError> {
        let (task, indices) = (task.borrow(), indices.into());
        check_indices(indices)?;
        let shared = self.shared();
        let (template, after) = task.parts(shared)?;
        let Indices { first, step, count } = indices;
        let mut intake = lock(&shared.intake);
        let cell = intake.array(shared, |key| {
            let pack = Pack {
                key,
                template: Arc::clone(template),
                count,
                shape: Shape::Array { first, step },
                data: Data::shared(task.bytes().clone()),
                after: after.to_vec(),
            };
            (pack, ArrayCell::new(key, count, first, step, Arc::clone(shared)))
        })?;
        let wake = intake.must_wake();
        drop(intake);
        if wake {
            shared.wake();
        }
        Ok(ArrayHandle::new(cell))
    }

    /// What happens in a topic from now on, after its state.
    pub fn events(&self, topic: Topic) -> Events {
        Events::new(topic, self.shared())
    }

    /// Calls back with what happens in a topic from now on, after its state, until what this returns is
    /// dropped. The callback runs on the session's thread: see [`TaskHandle::on_done`].
    pub fn on_event(&self, topic: Topic, callback: impl FnMut(Update) + Send + 'static) -> Listening {
        Listening::new(topic, self.shared(), Box::new(callback))
    }

    /// Waits until the agent has accepted, or refused, everything that was submitted, for so long. After it a
    /// named session may be closed, and its tasks go on.
    pub fn wait_accepted(&self, timeout: impl Into<Option<Duration>>) -> Result<(), ClientError> {
        let shared = self.shared();
        let look = || match shared.over() {
            Some(end) => Some(Err(ClientError::Over(end))),
            None => shared.is_settled().then_some(Ok(())),
        };
        shared.wait(timeout.into(), "the agent's answer to all submissions", look)?
    }

    /// Waits until all results that have come so far are on the agent's disk, for so long: from then on not even the loss of agent
    /// and client together loses them. Nothing is waited for where the pilot keeps no journal
    /// ([`Attached::journal`](crate::Attached::journal)).
    pub fn wait_durable(&self, timeout: impl Into<Option<Duration>>) -> Result<(), ClientError> {
        let shared = self.shared();
        let (came, _) = shared.provisional();
        let look = || {
            if shared.provisional().1 >= came {
                return Some(Ok(()));
            }
            shared.over().map(|end| Err(ClientError::Over(end)))
        };
        shared.wait(timeout.into(), "results to be on the agent's disk", look)?
    }

    /// Waits until at most half of the backlog is taken, for so long: what to do after
    /// [`ClientError::BacklogFull`].
    pub fn wait_room(&self, timeout: impl Into<Option<Duration>>) -> Result<(), ClientError> {
        let shared = self.shared();
        let look = || match shared.over() {
            Some(end) => Some(Err(ClientError::Over(end))),
            None => (shared.waiting_bytes() <= shared.backlog_limit / 2).then_some(Ok(())),
        };
        shared.wait(timeout.into(), "room in the backlog", look)?
    }

    /// Results of tasks that an earlier process of this named session submitted and did not take in. They come
    /// soon after connecting. Of what nobody takes 64 MiB are kept; the oldest go first, with a warning.
    pub fn take_unclaimed(&self) -> Vec<UnclaimedResults> {
        self.shared().take_unclaimed()
    }

    /// Leaves the pilot. Handles that have no result yet end with an error; the tasks of a named session go
    /// on at the agent, those of an unnamed one are canceled. Returns when goodbye is said, after at most two
    /// seconds.
    pub fn close(&self, reason: &str) {
        self.inner.close(reason);
    }
}

impl Inner {
    fn close(&self, reason: &str) {
        lock(&self.shared.intake).goodbye(reason);
        self.shared.wake();
        self.shared.hurry();
        let Some(thread) = lock(&self.thread).take() else {
            return;
        };
        // A callback may have been the last to hold the session: its thread cannot wait for itself.
        if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
            tracing::error!("the thread of a session panicked");
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close("the session was dropped");
    }
}

pub(crate) fn refused(code: Code, message: impl Into<String>) -> ClientError {
    ClientError::Refused {
        what: "the submission was refused",
        refusal: Refusal::new(code, message),
    }
}

pub(crate) fn check_indices(indices: Indices) -> Result<(), ClientError> {
    let Indices { first, step, count } = indices;
    let last = u64::from(first) + u64::from(step) * u64::from(count.saturating_sub(1));
    if count == 0 || count > limits::SUBMISSION_TASKS {
        let most = limits::SUBMISSION_TASKS;
        return Err(refused(
            Code::InvalidValue,
            format!("a submission has 1 to {most} tasks, not {count}"),
        ));
    }
    if step == 0 || last >= u64::from(u32::MAX) {
        return Err(refused(
            Code::InvalidValue,
            "indices rise by at least 1 and fit 32 bits",
        ));
    }
    Ok(())
}

/// The end of a task that did not get in.
fn not_put(error: ClientError) -> TaskFault {
    match error {
        ClientError::Over(end) => TaskFault::SessionEnded(end),
        ClientError::BacklogFull {
            waiting_bytes,
            limit_bytes,
        } => TaskFault::BacklogFull {
            waiting_bytes,
            limit_bytes,
        },
        other => TaskFault::Refused(Refusal::new(Code::InvalidValue, other.to_string())),
    }
}
