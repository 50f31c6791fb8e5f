//! Ctrl-C while measuring: a flag that every wait looks at, so that what was started is taken down as after
//! any error.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use scalems_client::ClientError;

static SEEN: AtomicBool = AtomicBool::new(false);

/// How long a wait goes on before it looks at the flag. What is waited for ends the wait at once.
pub(super) const SLICE: Duration = Duration::from_millis(100);

extern "C" fn note(_signal: nix::libc::c_int) {
    SEEN.store(true, Ordering::Relaxed);
}

/// From now on signals that would end this process are noted.
pub(super) fn install() -> anyhow::Result<()> {
    let action = SigAction::new(SigHandler::Handler(note), SaFlags::empty(), SigSet::empty());
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // SAFETY: the handler only stores to an atomic, which is async-signal-safe.
        unsafe { sigaction(signal, &action) }.context("watch for signals")?;
    }
    Ok(())
}

/// Whether a signal came.
pub(super) fn seen() -> bool {
    SEEN.load(Ordering::Relaxed)
}

/// An error if a signal came.
pub(super) fn check() -> anyhow::Result<()> {
    anyhow::ensure!(!seen(), "interrupted");
    Ok(())
}

/// Waits for something of a session, at most for `limit`.
pub(super) fn wait<T>(
    limit: Duration,
    mut once: impl FnMut(Duration) -> Result<T, ClientError>,
) -> anyhow::Result<T> {
    let until = Instant::now() + limit;
    loop {
        match once(SLICE) {
            Err(ClientError::TimedOut { .. }) if Instant::now() < until => check()?,
            result => return Ok(result?),
        }
    }
}
