//! What the user's threads and the session's thread share: the intake, and the bell that rings when
//! something came back.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::error::ClientError;
use crate::helm::Helm;
use crate::intake::Intake;
use crate::machine::{Attached, PackKey, SessionEnd};
use crate::result::UnclaimedResults;

/// With so many tasks under way, one who waits drives the session. With more, taking them in beside whoever
/// works on their results is worth more than a short way.
const FEW: u64 = 4;
/// Bytes of unclaimed results that are kept.
const UNCLAIMED_BYTES: usize = 64 << 20;

/// Locks. A panic of another thread while it held the lock leaves nothing half done: each critical section
/// changes one thing.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

thread_local! {
    static IN_CALLBACK: Cell<bool> = const { Cell::new(false) };
}

/// Runs a user's callback on the session's thread, where waiting would be for ever.
pub(crate) fn run_callback(callback: impl FnOnce()) {
    IN_CALLBACK.set(true);
    let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(callback));
    IN_CALLBACK.set(false);
    if ran.is_err() {
        tracing::error!("a callback of a task panicked; the session goes on");
    }
}

/// Shared by all that belongs to one session.
pub(crate) struct Shared {
    pub(crate) intake: Mutex<Intake>,
    /// Packs that nobody holds any more. Apart from the intake, since it may be the intake's holder who lets go.
    pub(crate) released: Mutex<Vec<PackKey>>,
    outside: Outside,
    /// How many wait for the bell, and the bell.
    bell: (Mutex<u32>, Condvar),
    state: Mutex<State>,
    /// Bytes that wait in the machine.
    pub(crate) backlog_bytes: AtomicU64,
    pub(crate) backlog_limit: u64,
    /// Whether the agent has answered everything that came through the intake.
    settled: AtomicBool,
    /// Groups of results that came and were not on disk, and how many of the first of them are by now.
    provisional: [AtomicU64; 2],
    unclaimed: Mutex<Unclaimed>,
    /// Tasks without a result that the machine knows of.
    pub(crate) open: AtomicU64,
    /// Whether the session has callbacks: they run on its own thread.
    calls_back: AtomicBool,
}

/// Who carries the messages.
enum Outside {
    /// The session itself, by whoever is at the helm.
    Sockets(OnceLock<Helm>),
    /// Somebody else, who is woken by this.
    Carried(Box<dyn Fn() + Send + Sync>),
}

#[derive(Default)]
struct State {
    attached: Option<Arc<Attached>>,
    present: bool,
    over: Option<SessionEnd>,
}

#[derive(Default)]
struct Unclaimed {
    results: VecDeque<UnclaimedResults>,
    bytes: usize,
    dropped: u64,
}

impl Shared {
    /// Of a session whose messages somebody else carries, who is called when there are some.
    pub(crate) fn carried(backlog_limit: u64, wake: Box<dyn Fn() + Send + Sync>) -> Arc<Self> {
        Self::new(backlog_limit, Outside::Carried(wake))
    }

    /// Of a session with sockets. Whoever has made the driver of those, sets the helm.
    pub(crate) fn with_sockets(backlog_limit: u64) -> Arc<Self> {
        Self::new(backlog_limit, Outside::Sockets(OnceLock::new()))
    }

    pub(crate) fn set_helm(&self, helm: Helm) {
        let Outside::Sockets(place) = &self.outside else {
            unreachable!("invariant: only a session with sockets has a helm")
        };
        let set = place.set(helm);
        assert!(set.is_ok(), "invariant: the helm is set once");
    }

    pub(crate) fn helm(&self) -> Option<&Helm> {
        match &self.outside {
            Outside::Sockets(helm) => helm.get(),
            Outside::Carried(_) => None,
        }
    }

    fn new(backlog_limit: u64, outside: Outside) -> Arc<Self> {
        Arc::new(Self {
            intake: Mutex::new(Intake::default()),
            released: Mutex::new(Vec::new()),
            outside,
            bell: (Mutex::new(0), Condvar::new()),
            state: Mutex::new(State::default()),
            backlog_bytes: AtomicU64::new(0),
            backlog_limit,
            settled: AtomicBool::new(true),
            provisional: Default::default(),
            unclaimed: Mutex::new(Unclaimed::default()),
            open: AtomicU64::new(0),
            calls_back: AtomicBool::new(false),
        })
    }

    /// There is something to take up.
    pub(crate) fn wake(&self) {
        match &self.outside {
            Outside::Sockets(helm) => helm.get().into_iter().for_each(Helm::wake),
            Outside::Carried(wake) => wake(),
        }
    }

    /// The caller does not wait for what it put in: somebody else has to see to it.
    pub(crate) fn hurry(&self) {
        self.helm().into_iter().for_each(Helm::hurry);
    }

    /// Rings after something came back. Whoever looked before and waits now looks again.
    pub(crate) fn ring(&self) {
        let waiting = *lock(&self.bell.0);
        if waiting > 0 {
            self.bell.1.notify_all();
        }
    }

    /// From now on the session's own thread drives it, whoever waits: callbacks run on that.
    pub(crate) fn set_calls_back(&self) {
        self.calls_back.store(true, Ordering::Relaxed);
        self.hurry();
        self.wake();
    }

    pub(crate) fn calls_back(&self) -> bool {
        self.calls_back.load(Ordering::Relaxed)
    }

    /// Whether so little is under way that one who waits has nothing better to do than to see to it.
    fn is_quiet(&self) -> bool {
        !self.calls_back() && self.open.load(Ordering::Relaxed) + lock(&self.intake).tasks(FEW) <= FEW
    }

    /// Waits until `look` finds something. Without a time it waits as long as the session lives: then
    /// everything has been found, if only as an error.
    pub(crate) fn wait<T>(
        &self,
        timeout: Option<Duration>,
        what: &'static str,
        mut look: impl FnMut() -> Option<T>,
    ) -> Result<T, ClientError> {
        if let Some(found) = look() {
            return Ok(found);
        }
        if IN_CALLBACK.get() {
            return Err(ClientError::InCallback);
        }
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            let mut found = None;
            let led = match self.helm() {
                Some(helm) if self.is_quiet() => helm.lead(self, deadline, || {
                    found = look();
                    found.is_some()
                }),
                Some(helm) => {
                    helm.hurry();
                    false
                }
                None => false,
            };
            if let Some(found) = found {
                return Ok(found);
            }
            if !led {
                let mut waiting = lock(&self.bell.0);
                if let Some(found) = look() {
                    return Ok(found);
                }
                *waiting += 1;
                let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
                waiting = match left {
                    None => self.bell.1.wait(waiting).unwrap_or_else(PoisonError::into_inner),
                    Some(left) => {
                        self.bell
                            .1
                            .wait_timeout(waiting, left)
                            .unwrap_or_else(PoisonError::into_inner)
                            .0
                    }
                };
                *waiting -= 1;
            }
            if let Some(found) = look() {
                return Ok(found);
            }
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Err(ClientError::TimedOut {
                    what,
                    waited: timeout.unwrap_or_default(),
                });
            }
        }
    }

    pub(crate) fn attached(&self) -> Option<Arc<Attached>> {
        lock(&self.state).attached.clone()
    }

    pub(crate) fn set_attached(&self, attached: Attached) {
        let mut state = lock(&self.state);
        state.attached = Some(Arc::new(attached));
        state.present = true;
    }

    pub(crate) fn set_present(&self, present: bool) {
        lock(&self.state).present = present;
    }

    pub(crate) fn is_present(&self) -> bool {
        lock(&self.state).present
    }

    pub(crate) fn over(&self) -> Option<SessionEnd> {
        lock(&self.state).over.clone()
    }

    pub(crate) fn set_over(&self, end: &SessionEnd) {
        let mut state = lock(&self.state);
        state.over.get_or_insert_with(|| end.clone());
        state.present = false;
    }

    /// Whether everything was answered, seen from a thread that handed something in before.
    pub(crate) fn is_settled(&self) -> bool {
        // In this order: what is taken out of the intake has been marked as not answered before.
        lock(&self.intake).is_empty() && self.settled.load(Ordering::Acquire)
    }

    /// Returns whether it was otherwise before.
    pub(crate) fn set_settled(&self, settled: bool) -> bool {
        self.settled.swap(settled, Ordering::AcqRel) != settled
    }

    /// Returns whether more are on disk than before.
    pub(crate) fn set_provisional(&self, (came, last): (u64, u64)) -> bool {
        let [all, on_disk] = &self.provisional;
        all.store(came, Ordering::Release);
        on_disk.swap(last, Ordering::AcqRel) != last
    }

    /// How many groups of results came that were not on disk, and how many of the first of them are by now.
    pub(crate) fn provisional(&self) -> (u64, u64) {
        let [came, last] = self
            .provisional
            .each_ref()
            .map(|count| count.load(Ordering::Acquire));
        (came, last)
    }

    /// Bytes of tasks that wait in this process.
    pub(crate) fn waiting_bytes(&self) -> u64 {
        lock(&self.intake).bytes() + self.backlog_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn add_unclaimed(&self, results: UnclaimedResults) {
        let mut unclaimed = lock(&self.unclaimed);
        unclaimed.bytes += results.bytes();
        unclaimed.results.push_back(results);
        while unclaimed.bytes > UNCLAIMED_BYTES {
            let Some(oldest) = unclaimed.results.pop_front() else {
                break;
            };
            unclaimed.bytes -= oldest.bytes();
            unclaimed.dropped += 1;
            tracing::warn!(
                submission = oldest.submission,
                dropped = unclaimed.dropped,
                "dropped results of an earlier life of the session that nobody took"
            );
        }
    }

    pub(crate) fn take_unclaimed(&self) -> Vec<UnclaimedResults> {
        let mut unclaimed = lock(&self.unclaimed);
        unclaimed.bytes = 0;
        unclaimed.results.drain(..).collect()
    }
}
