//! How old a pilot is when another life of it begins: times in records go on from there.
//!
//! As long as the host has not been started in between, that is measured by the clock that also runs during a life,
//! so that a wall clock that was put right in the meantime lets no deadline pass. Only else the wall clock decides.

use std::time::{SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

/// Bytes of a mark.
pub(super) const BYTES: usize = 24 + BOOT;
/// Characters of a boot's name.
const BOOT: usize = 36;

/// What the clocks showed when a life began. All times are microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// The age of the pilot.
    pub(super) age: u64,
    /// Since 1970.
    pub(super) wall: u64,
    /// Since the host was started, or some other time that is the same as long as it runs.
    pub(super) running: u64,
    /// What that start of the host is called; zeros: it is not known.
    pub(super) boot: [u8; BOOT],
}

impl Mark {
    /// A pilot that is made now.
    pub(super) fn first() -> Self {
        let running = clock_gettime(ClockId::CLOCK_MONOTONIC);
        let running = running.map_or(0, |time| {
            time.tv_sec() as u64 * 1_000_000 + time.tv_nsec() as u64 / 1_000
        });
        let boot = std::fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let boot = boot.first_chunk().copied().unwrap_or([0; BOOT]);
        Self {
            age: 0,
            wall: wall(),
            running,
            boot,
        }
    }

    /// The clocks as they show now, and the age by them.
    pub(super) fn next(self) -> Self {
        Self::first().after(self)
    }

    fn after(self, before: Self) -> Self {
        let same = self.boot == before.boot && self.boot != [0; BOOT];
        let passed = same.then(|| self.running.checked_sub(before.running)).flatten();
        let passed = passed.unwrap_or_else(|| self.wall.saturating_sub(before.wall));
        Self {
            age: before.age.saturating_add(passed),
            ..self
        }
    }

    pub(super) fn to_bytes(self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        let times = [self.age, self.wall, self.running].map(u64::to_le_bytes);
        bytes[..24].copy_from_slice(times.as_flattened());
        bytes[24..].copy_from_slice(&self.boot);
        bytes
    }

    pub(super) fn from_bytes(bytes: [u8; BYTES]) -> Self {
        let time = |at: usize| {
            let mut time = [0; 8];
            time.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(time)
        };
        let mut boot = [0; BOOT];
        boot.copy_from_slice(&bytes[24..]);
        Self {
            age: time(0),
            wall: time(8),
            running: time(16),
            boot,
        }
    }
}

/// Microseconds since 1970.
pub(super) fn wall() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_micros() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wall_clock_counts_only_over_a_start_of_the_host() {
        let begun = Mark {
            age: 5,
            wall: 1_000,
            running: 100,
            boot: [b'a'; BOOT],
        };
        let later = Mark {
            age: 0,
            wall: 9_000,
            running: 150,
            ..begun
        };
        assert_eq!(later.after(begun).age, 55);
        let set_back = Mark { wall: 0, ..later };
        assert_eq!(set_back.after(begun).age, 55);
        for boot in [[b'b'; BOOT], [0; BOOT]] {
            let elsewhere = Mark { boot, ..later };
            assert_eq!(elsewhere.after(begun).age, 8_005);
            // A life never begins before the one that was before it.
            assert_eq!(Mark { wall: 0, ..elsewhere }.after(begun).age, 5);
        }
        assert_eq!(later.after(begun).after(later.after(begun)).age, 55);
        assert_eq!(Mark::from_bytes(later.to_bytes()), later);
    }

    #[test]
    fn this_host_can_be_asked() {
        let first = Mark::first();
        assert!(first.wall > 0 && first.running > 0 && first.boot != [0; BOOT]);
        assert!(first.next().age < 60_000_000);
    }
}
