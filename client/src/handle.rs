//! Handles of tasks: what became of them, waiting for it, being told of it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use scalems_protocol::TaskId;
use scalems_protocol::client::CancelDone;
use scalems_protocol::state::Strength;

use crate::batch::{Batch, Listener};
use crate::calls::cancel_tasks;
use crate::error::ClientError;
use crate::machine::{Done, PackKey, TaskFault};
use crate::pending::Pending;
use crate::result::TaskResult;
use crate::shared::{Shared, run_callback};

/// A task that was submitted. Clones are handles of the same task; dropping all of them takes nothing back.
///
/// It is a future too, of any executor: `handle.await` gives what [`Self::wait`] gives.
#[derive(Clone)]
pub struct TaskHandle {
    batch: Arc<Batch>,
    place: u32,
}

impl std::fmt::Debug for TaskHandle {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut debug = out.debug_struct("TaskHandle");
        debug
            .field("id", &self.id().map(|id| id.to_string()))
            .field("done", &self.is_done())
            .finish()
    }
}

impl TaskHandle {
    pub(crate) fn new(batch: Arc<Batch>, place: u32) -> Self {
        Self { batch, place }
    }

    /// The handle of a task that did not even get in.
    pub(crate) fn failed(key: PackKey, shared: &Arc<Shared>, fault: TaskFault) -> Self {
        let batch = Batch::new(key, 1, Arc::clone(shared));
        batch.end(0, 1, &Done::Failed(Arc::new(fault)), &mut Vec::new());
        Self { batch, place: 0 }
    }

    pub(crate) fn batch(&self) -> &Arc<Batch> {
        &self.batch
    }

    pub(crate) fn place(&self) -> u32 {
        self.place
    }

    /// The task's id, once the agent has given it one.
    pub fn id(&self) -> Option<TaskId> {
        self.batch.id(self.place)
    }

    /// Something that the agent said of the task when it accepted it, such as that no worker serves it yet.
    pub fn note(&self) -> Option<String> {
        self.batch.note()
    }

    /// Whether it has ended, or will never have a result.
    pub fn is_done(&self) -> bool {
        self.batch.is_done(self.place)
    }

    /// How it ended, if it has. An error says why there will never be a result.
    pub fn try_result(&self) -> Option<Result<TaskResult, ClientError>> {
        self.batch.result(self.place)
    }

    /// How it ended, waited for so long; without a time, as long as the session lives.
    ///
    /// ```no_run
    /// # fn example(handle: scalems_client::TaskHandle) -> Result<(), scalems_client::ClientError> {
    /// use std::time::Duration;
    /// let result = handle.wait(Duration::from_secs(60))?;
    /// assert!(result.is_done());
    /// # Ok(())
    /// # }
    /// ```
    pub fn wait(&self, timeout: impl Into<Option<Duration>>) -> Result<TaskResult, ClientError> {
        self.batch
            .shared
            .wait(timeout.into(), "the task's end", || self.try_result())?
    }

    /// Calls back with how it ended, at once if it has. The callback runs on the session's thread: it should
    /// be short, and may not wait for anything of the session. A panic in it is logged and ends nothing.
    pub fn on_done(&self, callback: impl FnOnce(Result<TaskResult, ClientError>) + Send + 'static) {
        let handle = self.clone();
        let callback = move || callback(handle.try_result().expect("it is called once the task is done"));
        if let Some(Listener::Callback(callback)) = self
            .batch
            .listen(self.place, Listener::Callback(Box::new(callback)))
        {
            run_callback(callback);
        }
    }

    /// Calls back as [`Self::on_done`] does, from whichever thread drives the session by then, maybe one that waits for something
    /// of it. So those who wait still go the short way. The callback only hands on what it is given: it takes no lock that
    /// somebody holds who waits for anything of the session.
    pub fn notify(&self, callback: impl FnOnce(Result<TaskResult, ClientError>) + Send + 'static) {
        let handle = self.clone();
        let callback = move || callback(handle.try_result().expect("it is called once the task is done"));
        if let Some(Listener::Notice(callback)) = self
            .batch
            .listen(self.place, Listener::Notice(Box::new(callback)))
        {
            run_callback(callback);
        }
    }

    /// Asks that the task ends. The answer says what was done; the task's own result comes besides.
    pub fn cancel(&self, strength: Strength) -> Result<Pending<CancelDone>, ClientError> {
        cancel_tasks(
            &self.batch.shared,
            vec![(self.batch.key(), self.place, self.place + 1)],
            strength,
            "",
        )
    }
}

impl Future for TaskHandle {
    type Output = Result<TaskResult, ClientError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(result) = self.try_result() {
            return Poll::Ready(result);
        }
        let listener = Listener::Waker(context.waker().clone());
        if self.batch.listen(self.place, listener).is_none() {
            return Poll::Pending;
        }
        Poll::Ready(self.try_result().expect("it has ended since"))
    }
}

/// Waits until all of the tasks have ended, for so long; without a time, as long as the session lives.
///
/// How each of them ended is asked of its handle; only the time being over is an error here.
pub fn wait_all(handles: &[TaskHandle], timeout: impl Into<Option<Duration>>) -> Result<(), ClientError> {
    let timeout = timeout.into();
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    for handle in handles {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let done = handle
            .batch
            .shared
            .wait(left, "the end of all tasks", || handle.is_done().then_some(()));
        done.map_err(|error| match error {
            ClientError::TimedOut { what, .. } => ClientError::TimedOut {
                what,
                waited: timeout.unwrap_or_default(),
            },
            other => other,
        })?;
    }
    Ok(())
}

/// Waits until one of the tasks has ended and says which, for so long; without a time, as long as the session
/// lives. The handles may be of one session only. For one after the other use [`as_completed`], which does not
/// look at all of them each time.
pub fn wait_any(handles: &[TaskHandle], timeout: impl Into<Option<Duration>>) -> Result<usize, ClientError> {
    let Some(first) = handles.first() else {
        return Err(ClientError::TimedOut {
            what: "the end of one of no tasks",
            waited: Duration::ZERO,
        });
    };
    if handles
        .iter()
        .any(|handle| !Arc::ptr_eq(&handle.batch.shared, &first.batch.shared))
    {
        return Err(ClientError::OtherSession);
    }
    let look = || handles.iter().position(TaskHandle::is_done);
    first
        .batch
        .shared
        .wait(timeout.into(), "the end of one of the tasks", look)
}

/// The tasks in the order in which they end, by their place in `handles`.
///
/// ```no_run
/// # fn example(handles: Vec<scalems_client::TaskHandle>) {
/// for at in scalems_client::as_completed(&handles) {
///     println!("{:?}", handles[at].try_result());
/// }
/// # }
/// ```
pub fn as_completed(handles: &[TaskHandle]) -> AsCompleted {
    let (sender, ended) = mpsc::channel();
    for (at, handle) in handles.iter().enumerate() {
        let sender = sender.clone();
        handle.on_done(move |_| {
            if sender.send(at).is_err() {
                tracing::trace!("nobody asks any more which task ended");
            }
        });
    }
    AsCompleted { ended }
}

/// What [`as_completed`] gives. As an iterator it waits as long as the session lives.
pub struct AsCompleted {
    ended: mpsc::Receiver<usize>,
}

impl AsCompleted {
    /// The next one, waited for so long; `None` if all have ended before.
    pub fn next_within(&mut self, timeout: Duration) -> Result<Option<usize>, ClientError> {
        match self.ended.recv_timeout(timeout) {
            Ok(at) => Ok(Some(at)),
            Err(mpsc::RecvTimeoutError::Disconnected) => Ok(None),
            Err(mpsc::RecvTimeoutError::Timeout) => Err(ClientError::TimedOut {
                what: "the end of one of the tasks",
                waited: timeout,
            }),
        }
    }
}

impl Iterator for AsCompleted {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        self.ended.recv().ok()
    }
}
