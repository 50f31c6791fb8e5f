//! Memory and disk that tasks may use.

use std::path::Path;

use nix::sys::statvfs::statvfs;
use sysinfo::{MemoryRefreshKind, RefreshKind, System};

use crate::executor::memory_limit;

/// The memory that this machine, or the part of it that the process may use, has: MiB; none if the system
/// does not say.
pub fn memory_mib() -> Option<u64> {
    let memory = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
    let system = System::new_with_specifics(memory).ok()?;
    // Batch systems and containers keep what they start to less, by a group of its own.
    let own = memory_limit().unwrap_or(u64::MAX);
    // The topmost one tells where it is all that is shown.
    let topmost = system
        .cgroup_limits()
        .map_or(u64::MAX, |limits| limits.total_memory);
    Some(system.total_memory().min(own).min(topmost) >> 20).filter(|found| *found > 0)
}

/// What is free now where `directory` is or will be, for those without privileges: MiB; none if the system does not say.
pub(in crate::worker) fn disk_mib(directory: &Path) -> Option<u64> {
    let there = directory.ancestors().find(|place| place.exists())?;
    let facts = statvfs(there).ok()?;
    Some((facts.blocks_available() * facts.fragment_size()) >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_something() {
        assert!(memory_mib().is_some());
        assert!(disk_mib(Path::new("/tmp/is/not/made/yet")).is_some());
    }
}
