//! Ctrl-C while a command waits: a count that every wait looks at, so that what is to be said or taken down is.
//!
//! Whoever is to outlive its terminal (`nohup`) is not ended by the end of that here either.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use scalems_client::ClientError;

static SEEN: AtomicU32 = AtomicU32::new(0);

/// How long a wait goes on before it looks at the flag. What is waited for ends the wait at once.
pub(crate) const SLICE: Duration = Duration::from_millis(100);

extern "C" fn note(_signal: nix::libc::c_int) {
    SEEN.fetch_add(1, Ordering::Relaxed);
}

/// What ends a command from outside, but for what cannot be noted.
pub(crate) const ENDING: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];

/// A signal came.
#[derive(Debug)]
pub(crate) struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

/// From now on signals that would end this process are noted.
pub(crate) fn install(signals: &[Signal]) -> anyhow::Result<()> {
    handle(signals, SigHandler::Handler(note))
}

/// From now on these signals end this process again.
pub(crate) fn let_go(signals: &[Signal]) -> anyhow::Result<()> {
    handle(signals, SigHandler::SigDfl)
}

fn handle(signals: &[Signal], handler: SigHandler) -> anyhow::Result<()> {
    let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
    for signal in signals.iter().copied() {
        // SAFETY: the handler only stores to an atomic, which is async-signal-safe; the others are the system's.
        let before = unsafe { sigaction(signal, &action) }.context("watch for signals")?;
        if signal == Signal::SIGHUP && matches!(before.handler(), SigHandler::SigIgn) {
            // SAFETY: as above.
            unsafe { sigaction(signal, &before) }.context("watch for signals")?;
        }
    }
    Ok(())
}

/// How many signals came.
pub(crate) fn count() -> u32 {
    SEEN.load(Ordering::Relaxed)
}

/// Whether a signal came.
pub(crate) fn seen() -> bool {
    SEEN.load(Ordering::Relaxed) > 0
}

/// An error if a signal came.
pub(crate) fn check() -> anyhow::Result<()> {
    anyhow::ensure!(!seen(), Interrupted);
    Ok(())
}

/// Waits for something of a session, at most for `limit`, as long as no signal comes.
pub(crate) fn wait<T>(
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
