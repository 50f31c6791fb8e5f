//! Waiting for another process to let a journal go. SQLite tells nobody: one has to try again.

use std::time::{Duration, Instant};

use super::JournalError;

/// What is locked meanwhile is kept no longer than so long.
const HOLD: Duration = Duration::from_millis(50);

/// Tries until another process lets go, or for so long. Between two tries nothing is held: of two that come at once each
/// may have locked what the other one waits for (in exclusive mode SQLite keeps its shared lock while it waits for the
/// whole), so each gives way for a time of its own.
pub(super) fn patiently<T>(
    patience: Duration,
    mut open: impl FnMut(Duration) -> Result<T, JournalError>,
) -> Result<T, JournalError> {
    let begun = Instant::now();
    loop {
        let left = patience.saturating_sub(begun.elapsed());
        match open(left.min(HOLD)) {
            Err(JournalError::InUse { .. }) if !left.is_zero() => {
                let mut random = [0];
                // Without it all give way for the same time, and take turns by chance.
                let _same = getrandom::fill(&mut random);
                std::thread::sleep(HOLD.mul_f32(f32::from(random[0]) / 256.0).min(left));
            }
            done => return done,
        }
    }
}
