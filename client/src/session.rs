//! Sessions: a client's life with a pilot.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use scalems_protocol::client::{CancelDone, ForgetDone, Reply};
use scalems_protocol::error::{Code, Refusal};
use scalems_protocol::event::Topic;
use scalems_protocol::group::Data;
use scalems_protocol::limits;
use scalems_protocol::select::Selector;
use scalems_protocol::state::Strength;

use crate::array::{ArrayCell, ArrayHandle};
use crate::carrier::Carrier;
use crate::error::ClientError;
use crate::events::{Events, Listening};
use crate::handle::TaskHandle;
use crate::intake::TaskData;
use crate::machine::{Answered, Attached, Call, Config, Pack, SessionEnd, Shape, TaskFault, Update};
use crate::options::{ANSWER_TIMEOUT, SessionOptions, micros};
use crate::pending::Pending;
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

/// A submission that the agent holds the results of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldSubmission {
    /// Its number.
    pub submission: u64,
    /// How many tasks it has.
    pub count: u32,
    /// Something that the submitter should know, such as that no worker serves it yet.
    pub note: Option<String>,
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
        let shared = Shared::new(config.backlog_bytes, Box::new(wake));
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

    pub(crate) fn answer_timeout(&self) -> Duration {
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

    /// Submits tasks whose results the agent holds until they are asked for and forgotten, so that this
    /// process may end: what the shell does. Waits until the agent has accepted them.
    pub fn submit_held(
        &self,
        task: impl std::borrow::Borrow<Task>,
        indices: impl Into<Indices>,
    ) -> Result<HeldSubmission, ClientError> {
        let (task, indices) = (task.borrow(), indices.into());
        check_indices(indices)?;
        self.held(task, indices, Data::shared(task.bytes().clone()))?
            .wait(self.answer_timeout())
    }

    /// As [`Self::submit_held`], with one task for each item of data, at most [`limits::BATCH_TASKS`]. Their
    /// indices rise from `first`.
    pub fn submit_held_each<D: AsRef<[u8]>>(
        &self,
        task: &Task,
        first: u32,
        items: &[D],
    ) -> Result<HeldSubmission, ClientError> {
        let bytes: usize = items.iter().map(|item| item.as_ref().len()).sum();
        if items.len() > limits::BATCH_TASKS || bytes > limits::BLOB_BYTES {
            let (tasks, most) = (limits::BATCH_TASKS, limits::BLOB_BYTES);
            return Err(refused(
                Code::TooLarge,
                format!("one submission takes {tasks} items and {most} bytes"),
            ));
        }
        let indices = Indices {
            first,
            step: 1,
            count: items.len() as u32,
        };
        check_indices(indices)?;
        let mut data = Vec::with_capacity(bytes);
        let mut ends = Vec::with_capacity(items.len());
        for item in items {
            data.extend_from_slice(item.as_ref());
            ends.push(data.len() as u32);
        }
        let data = if data.is_empty() {
            Data::default()
        } else {
            Data {
                bytes: data.into(),
                ends,
            }
        };
        self.held(task, indices, data)?.wait(self.answer_timeout())
    }

    fn held(
        &self,
        task: &Task,
        indices: Indices,
        data: Data,
    ) -> Result<Pending<HeldSubmission>, ClientError> {
        let (template, after) = task.parts(self.shared())?;
        if !after.is_empty() {
            let message =
                "what the agent is to hold may run after submissions, not after handles of this process";
            return Err(refused(Code::InvalidValue, message));
        }
        let Indices { first, step, count } = indices;
        let call = Call::Held {
            template: Arc::clone(template),
            count,
            first,
            step,
            data,
        };
        pending(self.shared(), call, "the submission", |answered| match answered {
            Answered::Accepted {
                submission,
                count,
                note,
            } => Some(HeldSubmission {
                submission,
                count,
                note,
            }),
            _ => None,
        })
    }

    /// Asks that tasks that the agent knows end, whoever submitted them. What still waits in this process for
    /// room at the agent is not among them; see [`Self::cancel_tasks`].
    pub fn cancel(
        &self,
        select: Selector,
        strength: Strength,
        reason: &str,
    ) -> Result<CancelDone, ClientError> {
        let call = Call::Cancel {
            select,
            strength,
            reason: reason.to_owned(),
        };
        pending(self.shared(), call, "the cancel", canceled)?.wait(self.answer_timeout())
    }

    /// Asks that tasks of this session end, also those that still wait in this process.
    pub fn cancel_tasks(
        &self,
        handles: &[TaskHandle],
        strength: Strength,
        reason: &str,
    ) -> Result<Pending<CancelDone>, ClientError> {
        if handles
            .iter()
            .any(|handle| !Arc::ptr_eq(&handle.batch().shared, self.shared()))
        {
            return Err(ClientError::OtherSession);
        }
        let mut places: Vec<_> = handles
            .iter()
            .map(|handle| (handle.batch().key(), handle.place()))
            .collect();
        places.sort_unstable();
        places.dedup();
        let mut tasks: Vec<(_, u32, u32)> = Vec::new();
        for (key, place) in places {
            match tasks.last_mut() {
                Some((last, _, hi)) if *last == key && *hi == place => *hi += 1,
                _ => tasks.push((key, place, place + 1)),
            }
        }
        cancel_tasks(self.shared(), tasks, strength, reason)
    }

    /// Drops the entries and results of ended tasks at the agent.
    pub fn forget(&self, select: Selector) -> Result<ForgetDone, ClientError> {
        let forgotten = |answered| match answered {
            Answered::Forgotten(done) => Some(done),
            _ => None,
        };
        pending(
            self.shared(),
            Call::Forget { select },
            "the forgetting",
            forgotten,
        )?
        .wait(self.answer_timeout())
    }

    /// Asks that the pilot ends, or only one worker, after letting end what runs for so long. Returns once the
    /// agent has begun to.
    pub fn stop(&self, worker: Option<u64>, drain: Duration) -> Result<(), ClientError> {
        let drain_ms = u64::try_from(drain.as_millis()).unwrap_or(u64::MAX);
        let call = Call::Stop {
            worker,
            drain_ms,
            timeout_us: micros(self.answer_timeout()),
        };
        let stopping = |answered| matches!(answered, Answered::Reply(Reply::Stopping, _)).then_some(());
        pending(self.shared(), call, "the stop", stopping)?.wait(None)
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

fn refused(code: Code, message: impl Into<String>) -> ClientError {
    ClientError::Refused {
        what: "the submission was refused",
        refusal: Refusal::new(code, message),
    }
}

fn check_indices(indices: Indices) -> Result<(), ClientError> {
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

fn canceled(answered: Answered) -> Option<CancelDone> {
    match answered {
        Answered::Canceled(done) => Some(done),
        _ => None,
    }
}

/// Puts a call in whose answer is read by `read`.
pub(crate) fn pending<T>(
    shared: &Arc<Shared>,
    call: Call,
    what: &'static str,
    read: fn(Answered) -> Option<T>,
) -> Result<Pending<T>, ClientError> {
    let mut intake = lock(&shared.intake);
    let reply = intake.call(call)?;
    let wake = intake.must_wake();
    drop(intake);
    if wake {
        shared.wake();
    }
    Ok(Pending::new(reply, Arc::clone(shared), what, read))
}

pub(crate) fn cancel_tasks(
    shared: &Arc<Shared>,
    tasks: Vec<(crate::machine::PackKey, u32, u32)>,
    strength: Strength,
    reason: &str,
) -> Result<Pending<CancelDone>, ClientError> {
    let call = Call::CancelTasks {
        tasks,
        strength,
        reason: reason.to_owned(),
    };
    pending(shared, call, "the cancel", canceled)
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
