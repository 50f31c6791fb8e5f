//! How the bus is, told once a second while somebody listens to that, and not measured otherwise.

use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use nix::unistd::{SysconfVar, sysconf};
use scalems_core::spread::Spread;
use scalems_protocol::event::Health;

use crate::journal::Journal;

/// How often it is told.
const EVERY: Duration = Duration::from_secs(1);

/// What is measured.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    due: Option<Instant>,
    took: Spread,
}

impl Rounds {
    /// When it is to be told next; none: nobody listens.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// A round is over that began then. Says how the bus is if that is due. Without somebody who listens there is no `begun`.
    pub(super) fn over(&mut self, begun: Option<Instant>, journal: Option<&Journal>) -> Option<Health> {
        let Some(begun) = begun else {
            *self = Self::default();
            return None;
        };
        let now = Instant::now();
        self.took
            .add(now.saturating_duration_since(begun).as_micros() as u64, 1);
        let due = *self.due.get_or_insert(begun + EVERY);
        if now < due {
            return None;
        }
        self.due = Some(now + EVERY);
        let rounds = self.took.total();
        Some(Health {
            rounds,
            round_us: self.took.take(),
            journal: journal.map(Journal::health),
            rss_bytes: resident().unwrap_or_default(),
            cpu_us: processor_us().unwrap_or_default(),
            ..Health::default()
        })
    }
}

/// Memory of this process, bytes; none where the system does not tell it.
fn resident() -> Option<u64> {
    let sizes = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = sizes.split_ascii_whitespace().nth(1)?.parse().ok()?;
    let page = sysconf(SysconfVar::PAGE_SIZE).ok()??;
    Some(pages * page as u64)
}

fn processor_us() -> Option<u64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    Some((usage.user_time().num_microseconds() + usage.system_time().num_microseconds()) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_once_a_second_and_only_to_who_listens() {
        let mut rounds = Rounds::default();
        assert!(rounds.over(None, None).is_none());
        assert!(rounds.due().is_none());
        let begun = Instant::now();
        assert!(rounds.over(Some(begun), None).is_none());
        assert_eq!(rounds.due(), Some(begun + EVERY));
        let long_ago = begun.checked_sub(2 * EVERY).expect("the clock is older");
        let mut rounds = Rounds::default();
        let told = rounds.over(Some(long_ago), None).expect("it is due");
        assert_eq!((told.rounds, told.journal), (1, None));
        assert!(told.round_us.2 >= 2_000_000 && told.rss_bytes > 1 << 20);
        assert!(
            rounds.over(Some(Instant::now()), None).is_none(),
            "not again at once"
        );
    }
}
