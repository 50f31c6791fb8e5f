//! Arrays: many tasks with one template, counted rather than held one by one.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use scalems_protocol::client::CancelDone;
use scalems_protocol::group::{Data, Run};
use scalems_protocol::state::Strength;
use scalems_protocol::{Ending, TaskId};

use crate::batch::Listener;
use crate::calls::cancel_tasks;
use crate::error::ClientError;
use crate::machine::{Done, Group, PackKey};
use crate::pending::Pending;
use crate::result::TaskResult;
use crate::shared::{Shared, lock, run_callback};

/// How many tasks of an array ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArrayCounts {
    /// Ended well.
    pub done: u32,
    /// Ended badly.
    pub failed: u32,
    /// Ended before their time.
    pub canceled: u32,
    /// Will never have a result: refused, or the session ended.
    pub without_result: u32,
    /// Have not ended.
    pub unfinished: u32,
}

/// Where the results of an array come to lie.
pub(crate) struct ArrayCell {
    key: PackKey,
    count: u32,
    first: u32,
    step: u32,
    state: Mutex<State>,
    pub(crate) shared: Arc<Shared>,
}

#[derive(Default)]
struct State {
    /// Stretches of tasks that ended alike, by their first place.
    stretches: BTreeMap<u32, Stretch>,
    counts: ArrayCounts,
    submission: Option<u64>,
    notes: Vec<String>,
    listeners: Vec<Listener>,
}

/// A stretch of tasks that ended alike.
struct Stretch {
    hi: u32,
    done: Done,
}

impl ArrayCell {
    pub(crate) fn new(key: PackKey, count: u32, first: u32, step: u32, shared: Arc<Shared>) -> Arc<Self> {
        let counts = ArrayCounts {
            unfinished: count,
            ..ArrayCounts::default()
        };
        let state = Mutex::new(State {
            counts,
            ..State::default()
        });
        Arc::new(Self {
            key,
            count,
            first,
            step,
            state,
            shared,
        })
    }

    pub(crate) fn name(&self, submission: u64) {
        lock(&self.state).submission = Some(submission);
    }

    pub(crate) fn add_note(&self, note: String) {
        lock(&self.state).notes.push(note);
    }

    pub(crate) fn end(&self, lo: u32, hi: u32, done: Done, told: &mut Vec<Listener>) {
        let mut state = lock(&self.state);
        let tasks = hi - lo;
        state.counts.unfinished -= tasks;
        let counted = match &done {
            Done::Failed(_) => &mut state.counts.without_result,
            Done::Ended { group, .. } => match group.ending {
                Ending::Done => &mut state.counts.done,
                Ending::Failed => &mut state.counts.failed,
                Ending::Canceled => &mut state.counts.canceled,
            },
        };
        *counted += tasks;
        state.add(lo, Stretch { hi, done });
        if state.counts.unfinished == 0 {
            told.append(&mut state.listeners);
        }
    }

    /// Nothing comes any more: all tasks without a result end so.
    pub(crate) fn abandon(&self, done: &Done, told: &mut Vec<Listener>) {
        let mut gaps = Vec::new();
        let mut reached = 0;
        for (lo, stretch) in &lock(&self.state).stretches {
            gaps.push((reached, *lo));
            reached = stretch.hi;
        }
        gaps.push((reached, self.count));
        for (lo, hi) in gaps.into_iter().filter(|(lo, hi)| lo < hi) {
            self.end(lo, hi, done.clone(), told);
        }
    }

    fn listen(&self, listener: Listener) -> Option<Listener> {
        listener.announce(&self.shared);
        let mut state = lock(&self.state);
        if state.counts.unfinished == 0 {
            return Some(listener);
        }
        if let Listener::Waker(waker) = &listener {
            // One future polls an array; what it had before is replaced.
            state
                .listeners
                .retain(|other| !matches!(other, Listener::Waker(other) if other.will_wake(waker)));
        }
        state.listeners.push(listener);
        None
    }
}

impl State {
    /// Adds a stretch, joined with its neighbors where nothing tells them apart.
    fn add(&mut self, lo: u32, mut stretch: Stretch) {
        let mut lo = lo;
        if let Some(next) = self.stretches.get(&stretch.hi)
            && let Some(done) = joined(&stretch.done, lo, stretch.hi, &next.done, next.hi)
        {
            let next = self.stretches.remove(&stretch.hi).expect("it was there");
            stretch = Stretch { hi: next.hi, done };
        }
        if let Some((&before_lo, before)) = self.stretches.range_mut(..lo).next_back()
            && before.hi == lo
            && let Some(done) = joined(&before.done, before_lo, lo, &stretch.done, stretch.hi)
        {
            lo = before_lo;
            stretch.done = done;
        }
        self.stretches.insert(lo, stretch);
    }
}

/// The end of two stretches next to each other as one, if it is the same: both well, without values.
fn joined(first: &Done, lo: u32, middle: u32, second: &Done, hi: u32) -> Option<Done> {
    let (Done::Ended { group: a, .. }, Done::Ended { group: b, .. }) = (first, second) else {
        return None;
    };
    let plain =
        |group: &Group| group.ending == Ending::Done && group.data.bytes.is_empty() && group.error.is_none();
    let (run_a, run_b) = (a.run?, b.run?);
    let alike = plain(a)
        && plain(b)
        && (run_a.submission, run_a.attempt) == (run_b.submission, run_b.attempt)
        && (a.exit_code, a.durable) == (b.exit_code, b.durable);
    if !alike {
        return None;
    }
    let share =
        |group: &Group, run: Run, tasks: u32| group.ran_us / u64::from(run.count().max(1)) * u64::from(tasks);
    let group = Group {
        run: Some(Run { lo, hi, ..run_a }),
        data: Data::default(),
        ran_us: share(a, run_a, middle - lo) + share(b, run_b, hi - middle),
        ..Group::clone(a)
    };
    Some(Done::Ended {
        group: Arc::new(group),
        at: 0,
    })
}

impl Drop for ArrayCell {
    fn drop(&mut self) {
        lock(&self.shared.released).push(self.key);
    }
}

/// An array that was submitted. Clones are handles of the same array; dropping all of them takes nothing back.
///
/// It is a future too, of any executor: it gives what [`Self::wait`] gives.
#[derive(Clone)]
pub struct ArrayHandle {
    cell: Arc<ArrayCell>,
}

impl std::fmt::Debug for ArrayHandle {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut debug = out.debug_struct("ArrayHandle");
        debug
            .field("submission", &self.submission())
            .field("counts", &self.counts())
            .finish()
    }
}

impl ArrayHandle {
    pub(crate) fn new(cell: Arc<ArrayCell>) -> Self {
        Self { cell }
    }

    pub(crate) fn cell(&self) -> &Arc<ArrayCell> {
        &self.cell
    }

    pub(crate) fn key(&self) -> PackKey {
        self.cell.key
    }

    /// The number of the submission, once the agent has given it one.
    pub fn submission(&self) -> Option<u64> {
        lock(&self.cell.state).submission
    }

    /// Something that the agent said of the array when it accepted it.
    pub fn note(&self) -> Option<String> {
        lock(&self.cell.state).notes.last().cloned()
    }

    /// How many tasks it has.
    pub fn count(&self) -> u32 {
        self.cell.count
    }

    /// The indices of its tasks, in order.
    pub fn indices(&self) -> impl Iterator<Item = u32> + use<> {
        let (first, step) = (self.cell.first, self.cell.step);
        (0..self.cell.count).map(move |place| first + step * place)
    }

    /// How many of them ended how, until now.
    pub fn counts(&self) -> ArrayCounts {
        lock(&self.cell.state).counts
    }

    /// How the task with this index ended, if it has. `None` also if the array has no such index.
    pub fn try_result(&self, index: u32) -> Option<Result<TaskResult, ClientError>> {
        let behind = index.checked_sub(self.cell.first)?;
        let place = (behind % self.cell.step == 0).then_some(behind / self.cell.step)?;
        let state = lock(&self.cell.state);
        let (&lo, stretch) = state.stretches.range(..=place).next_back()?;
        if place >= stretch.hi {
            return None;
        }
        let id = state.submission.map(|submission| TaskId { submission, index });
        Some(match &stretch.done {
            Done::Ended { group, at } => {
                let id = id.filter(|_| group.run.is_some());
                Ok(TaskResult::new(id, group, at + (place - lo)))
            }
            failed @ Done::Failed(_) => TaskResult::from_done(id, failed),
        })
    }

    /// Waits until all tasks have ended and counts them, for so long; without a time, as long as the session
    /// lives.
    pub fn wait(&self, timeout: impl Into<Option<Duration>>) -> Result<ArrayCounts, ClientError> {
        self.cell.shared.wait(timeout.into(), "the end of the array", || {
            let counts = self.counts();
            (counts.unfinished == 0).then_some(counts)
        })
    }

    /// Calls back when all tasks have ended, at once if they have. See [`crate::TaskHandle::on_done`].
    pub fn on_done(&self, callback: impl FnOnce(ArrayCounts) + Send + 'static) {
        let handle = self.clone();
        let callback = Listener::Callback(Box::new(move || callback(handle.counts())));
        if let Some(Listener::Callback(callback)) = self.cell.listen(callback) {
            run_callback(callback);
        }
    }

    /// Asks that all of its tasks end. The answer says what was done.
    pub fn cancel(&self, strength: Strength) -> Result<Pending<CancelDone>, ClientError> {
        cancel_tasks(
            &self.cell.shared,
            vec![(self.cell.key, 0, self.cell.count)],
            strength,
            "",
        )
    }

    /// How many stretches of results are held: what an array costs in memory.
    #[doc(hidden)]
    pub fn stretches(&self) -> usize {
        lock(&self.cell.state).stretches.len()
    }
}

impl Future for ArrayHandle {
    type Output = ArrayCounts;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<ArrayCounts> {
        match self.cell.listen(Listener::Waker(context.waker().clone())) {
            None => Poll::Pending,
            Some(_) => Poll::Ready(self.counts()),
        }
    }
}
