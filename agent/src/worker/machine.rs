//! What this machine has that tasks may use.

use std::collections::BTreeSet;
use std::env;

use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;
use sysinfo::{MemoryRefreshKind, RefreshKind, System};

/// The variables by which the makers' libraries are told which GPUs to use.
pub(super) const GPU_VARIABLES: [&str; 3] =
    ["CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK"];

/// CPUs for tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cpus {
    /// Their numbers.
    pub(super) numbers: Vec<u32>,
    /// Whether these are CPUs that tasks can be pinned to, one after another. Else they only count.
    pub(super) real: bool,
}

impl Cpus {
    /// The CPUs that this process may use, or as many as `wanted` says. A batch system may have given so many to
    /// its `job`.
    pub(super) fn detect(wanted: Option<u32>, job: Option<u32>) -> Self {
        Self::choose(&allowed(), quota(), job, wanted)
    }

    /// A worker that may use all of `allowed` pins to the first of them. One that may only use as much time as
    /// `quota` CPUs have, or that a batch system gave fewer to and did not say which, shares them with others, of
    /// which it knows nothing, and does not pin.
    fn choose(allowed: &[u32], quota: u32, job: Option<u32>, wanted: Option<u32>) -> Self {
        let count = wanted
            .or(job)
            .unwrap_or_else(|| quota.min(allowed.len() as u32))
            .max(1);
        let alone = quota.min(job.unwrap_or(quota)) as usize >= allowed.len();
        let real = alone && count as usize <= allowed.len();
        let numbers = match allowed.get(..count as usize) {
            Some(first) if real => first.to_vec(),
            _ => (0..count).collect(),
        };
        Self { numbers, real }
    }
}

fn allowed() -> Vec<u32> {
    let Ok(set) = sched_getaffinity(Pid::from_raw(0)) else {
        // More CPUs than the call's set has room for: they are counted then, and not pinned to.
        return Vec::new();
    };
    (0..CpuSet::count())
        .filter(|cpu| set.is_set(*cpu) == Ok(true))
        .map(|cpu| cpu as u32)
        .collect()
}

fn quota() -> u32 {
    std::thread::available_parallelism().map_or(1, |count| count.get() as u32)
}

/// The memory that this machine, or the part of it that the process may use, has: MiB; none if the system
/// does not say.
pub(super) fn memory_mib() -> Option<u64> {
    let memory = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
    let system = System::new_with_specifics(memory).ok()?;
    let limit = system
        .cgroup_limits()
        .map_or(u64::MAX, |limits| limits.total_memory);
    Some(system.total_memory().min(limit) >> 20).filter(|found| *found > 0)
}

/// What a GPU variable of the worker's own says its GPUs are: a task's must be chosen from these.
pub(super) fn gpu_names(variable: &str) -> Vec<String> {
    let names = env::var(variable).unwrap_or_default();
    let names: Vec<String> = names
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    let distinct: BTreeSet<&String> = names.iter().collect();
    if distinct.len() == names.len() {
        names
    } else {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(allowed: &[u32], quota: u32, wanted: Option<u32>) -> (Vec<u32>, bool) {
        let Cpus { numbers, real } = Cpus::choose(allowed, quota, None, wanted);
        (numbers, real)
    }

    #[test]
    fn a_batch_system_says_how_many_are_ours() {
        let chosen = |allowed: &[u32], job| {
            let Cpus { numbers, real } = Cpus::choose(allowed, allowed.len() as u32, Some(job), None);
            (numbers, real)
        };
        assert_eq!(
            chosen(&[4, 5], 2),
            (vec![4, 5], true),
            "the job has these to itself"
        );
        assert_eq!(chosen(&[4, 5, 6, 7], 2), (vec![0, 1], false), "or any of these");
        assert_eq!(
            chosen(&[4, 5], 4),
            (vec![0, 1, 2, 3], false),
            "or more than there are"
        );
    }

    #[test]
    fn cpus_are_real_when_all_of_them_are_ours() {
        assert_eq!(chosen(&[4, 5, 6], 3, None), (vec![4, 5, 6], true));
        assert_eq!(chosen(&[4, 5, 6], 3, Some(2)), (vec![4, 5], true));
        assert_eq!(chosen(&[4, 5, 6], 3, Some(5)), (vec![0, 1, 2, 3, 4], false));
        assert_eq!(chosen(&[4, 5, 6], 2, None), (vec![0, 1], false));
        assert_eq!(chosen(&[], 2_000, None), (vec![0], false));
    }

    #[test]
    fn this_machine_has_something() {
        assert!(!Cpus::detect(None, None).numbers.is_empty());
        assert!(memory_mib().is_some());
    }
}
