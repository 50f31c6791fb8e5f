//! Who drives a session: its own thread, or for a while a thread that waits for something.
//!
//! A round trip would cost two switches between threads more if its caller had the session's thread send for it,
//! and be woken by that thread when the answer is there. So whoever waits for little takes the helm: it drives
//! the sockets itself until it has what it waits for. The session's own thread has the helm whenever nobody
//! waits, and takes it back a moment ([`GRACE`]) after the last who did: most often that one submits and waits
//! again.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use scalems_transport::Waker;

use crate::driver::Driver;
use crate::shared::{Shared, lock};

/// How long the helm stays free for the next who waits. So long may a task lie that is submitted after a wait
/// by somebody who then does not wait again.
const GRACE: Duration = Duration::from_millis(2);

/// The one place from which a session is driven.
pub(crate) struct Helm {
    seat: Mutex<Seat>,
    changed: Condvar,
    /// Ends the wait for sockets of whoever steers.
    waker: Waker,
    /// Somebody who waits wants the helm from the session's thread.
    wanted: AtomicBool,
    /// How many who waited have steered.
    terms: AtomicU64,
}

enum Seat {
    /// Nobody steers; the session's thread does from then on.
    Free(Box<Driver>, Instant),
    /// The session's thread steers.
    Own,
    /// Somebody who waits steers.
    Guest {
        /// Counts them.
        term: u64,
        /// Whether the session's thread wants to be told when it ends.
        tell: bool,
    },
    /// The session is over.
    Empty,
}

/// Somebody who waits and steers. However that ends, the helm is left.
struct Term<'a> {
    helm: &'a Helm,
    shared: &'a Shared,
    driver: Option<Box<Driver>>,
}

impl Helm {
    /// A helm that whoever comes first may take.
    pub(crate) fn new(driver: Driver, waker: Waker) -> Self {
        let seat = Seat::Free(Box::new(driver), Instant::now() + GRACE);
        Self {
            seat: Mutex::new(seat),
            changed: Condvar::new(),
            waker,
            wanted: AtomicBool::new(false),
            terms: AtomicU64::new(0),
        }
    }

    /// There is something to take up. While nobody steers that is soon enough.
    pub(crate) fn wake(&self) {
        if matches!(*lock(&self.seat), Seat::Own | Seat::Guest { .. }) {
            self.waker.wake();
        }
    }

    /// Nobody who waits is going to see to what was put in: the session's thread is to do so now.
    pub(crate) fn hurry(&self) {
        if let Seat::Free(_, own_from) = &mut *lock(&self.seat) {
            *own_from = Instant::now();
            self.changed.notify_all();
        }
    }

    /// Steers until `found`, or the deadline. Returns false if it is not ours to steer: another does, or callbacks
    /// are due, or the session is over. The bell rings when that changes.
    pub(crate) fn lead(
        &self,
        shared: &Shared,
        deadline: Option<Instant>,
        mut found: impl FnMut() -> bool,
    ) -> bool {
        let Some(mut driver) = self.take_as_guest() else {
            return false;
        };
        // Dropped before the driver, should that panic.
        let mut term = Term {
            helm: self,
            shared,
            driver: None,
        };
        driver.hold_callbacks(true);
        // What was submitted before goes out first.
        driver.work();
        loop {
            let done = found() || deadline.is_some_and(|deadline| deadline <= Instant::now());
            if done || driver.is_over() || shared.calls_back() {
                term.driver = Some(driver);
                return done;
            }
            driver.round(deadline);
        }
    }

    fn take_as_guest(&self) -> Option<Box<Driver>> {
        let mut seat = lock(&self.seat);
        match std::mem::replace(&mut *seat, Seat::Empty) {
            Seat::Free(driver, _) => {
                let term = self.terms.fetch_add(1, Ordering::Relaxed);
                *seat = Seat::Guest { term, tell: false };
                Some(driver)
            }
            Seat::Own => {
                *seat = Seat::Own;
                drop(seat);
                self.wanted.store(true, Ordering::Release);
                self.waker.wake();
                None
            }
            other => {
                *seat = other;
                None
            }
        }
    }

    /// What the session's thread does until the session is over.
    pub(crate) fn run(&self, shared: &Shared) {
        while let Some(mut driver) = self.take_as_own() {
            driver.hold_callbacks(false);
            driver.work();
            loop {
                if driver.is_over() {
                    *lock(&self.seat) = Seat::Empty;
                    return;
                }
                if self.wanted.swap(false, Ordering::AcqRel) {
                    *lock(&self.seat) = Seat::Free(driver, Instant::now() + GRACE);
                    shared.ring();
                    break;
                }
                driver.round(None);
            }
        }
    }

    /// Waits until nobody who waits steers. `None` after the session was torn down by a panic.
    fn take_as_own(&self) -> Option<Box<Driver>> {
        let mut seat = lock(&self.seat);
        let mut seen = None;
        loop {
            let wait = match &mut *seat {
                Seat::Free(_, own_from) => {
                    let left = own_from.saturating_duration_since(Instant::now());
                    if left == Duration::ZERO {
                        break;
                    }
                    Some(left)
                }
                Seat::Guest { term, tell } => {
                    // Those who come and go quickly are not asked to tell.
                    *tell = seen == Some(*term);
                    seen = Some(*term);
                    (!*tell).then_some(GRACE)
                }
                Seat::Own => unreachable!("invariant: only this thread steers as the session's own"),
                Seat::Empty => return None,
            };
            seat = match wait {
                None => self.changed.wait(seat).unwrap_or_else(PoisonError::into_inner),
                Some(wait) => {
                    self.changed
                        .wait_timeout(seat, wait)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
            };
        }
        // A wish from before is fulfilled by now, or comes again.
        self.wanted.store(false, Ordering::Release);
        match std::mem::replace(&mut *seat, Seat::Own) {
            Seat::Free(driver, _) => Some(driver),
            _ => unreachable!("invariant: the helm was seen to be free under the same lock"),
        }
    }
}

impl Drop for Term<'_> {
    fn drop(&mut self) {
        let mut seat = lock(&self.helm.seat);
        let told = matches!(*seat, Seat::Guest { tell: true, .. });
        // A panic: the driver went down with it.
        let over = self.driver.as_ref().is_none_or(|driver| driver.is_over());
        let own = over || self.shared.calls_back();
        let own_from = Instant::now() + if own { Duration::ZERO } else { GRACE };
        *seat = self
            .driver
            .take()
            .map_or(Seat::Empty, |driver| Seat::Free(driver, own_from));
        if told || own {
            self.helm.changed.notify_all();
        }
        drop(seat);
        // Another who waits may want it.
        self.shared.ring();
    }
}
