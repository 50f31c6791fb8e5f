//! How much time workers have.

use std::ffi::OsString;
use std::rc::Rc;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// How much time a worker has, which is asked for whenever it is started.
#[derive(Clone, Default)]
pub(super) struct WorkerTime {
    /// When it ends by itself, milliseconds since the host was started; none: it stays.
    pub(super) own_until_ms: Option<u64>,
    /// How long its job still has, milliseconds; 0: it is not known.
    pub(super) job: Option<Rc<dyn Fn() -> u64>>,
}

impl WorkerTime {
    /// That of one that ends after so long; 0: it stays.
    pub(super) fn own(limit_ms: u64) -> Self {
        Self {
            own_until_ms: (limit_ms > 0).then(|| since_start_ms().saturating_add(limit_ms)),
            job: None,
        }
    }

    /// The words that say it now; none: it is over.
    pub(super) fn words(&self) -> Option<Vec<OsString>> {
        let own = self
            .own_until_ms
            .map(|until| until.saturating_sub(since_start_ms()));
        if own == Some(0) {
            return None;
        }
        let job = self.job.as_ref().map(|left| left()).filter(|left| *left > 0);
        let (option, job) = match (&self.job, job) {
            (None, _) => ("--time-limit", None),
            (Some(_), job) => ("--own-limit", job),
        };
        let mut words: Vec<OsString> = Vec::new();
        for (option, time) in [(option, own), ("--time-limit", job)] {
            words.extend(time.map(|time| format!("{option}={time}ms").into()));
        }
        Some(words)
    }
}

impl std::fmt::Debug for WorkerTime {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(to, "WorkerTime({:?})", self.words())
    }
}

/// Milliseconds since the host was started, which no clock that is put right changes.
fn since_start_ms() -> u64 {
    let since = clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn said(time: &WorkerTime) -> Option<String> {
        let words = time.words()?;
        let words = words.iter().map(|word| word.to_string_lossy());
        Some(words.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn a_worker_that_is_started_again_has_the_time_that_is_left() {
        let left = Rc::new(Cell::new(60_000));
        let asked = Rc::clone(&left);
        let mut time = WorkerTime {
            own_until_ms: None,
            job: Some(Rc::new(move || asked.get())),
        };
        assert_eq!(said(&time).unwrap(), "--time-limit=60000ms");
        left.set(20_000);
        assert_eq!(said(&time).unwrap(), "--time-limit=20000ms");
        left.set(0);
        assert_eq!(said(&time).unwrap(), "");
        // Its own time is another word where its job has one.
        time.own_until_ms = WorkerTime::own(3_600_000).own_until_ms;
        assert!(said(&time).unwrap().starts_with("--own-limit=3"), "{time:?}");
        time.job = None;
        assert!(said(&time).unwrap().starts_with("--time-limit=3"), "{time:?}");
        time.own_until_ms = Some(1);
        assert_eq!(said(&time), None, "it is over, so none is started");
    }

    #[test]
    fn one_without_an_end_is_told_none() {
        assert_eq!(said(&WorkerTime::own(0)).unwrap(), "");
    }
}
