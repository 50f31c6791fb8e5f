//! CPUs that tasks may use.

use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;

/// CPUs for tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::worker) struct Cpus {
    /// Their numbers.
    pub(in crate::worker) numbers: Vec<u32>,
    /// Whether these are CPUs that tasks can be pinned to, one after another. Else they only count.
    pub(in crate::worker) real: bool,
}

impl Cpus {
    /// The CPUs that this process may use, or as many as `wanted` says. A batch system may have given so many to
    /// its `job`.
    pub(in crate::worker) fn detect(wanted: Option<u32>, job: Option<u32>) -> Self {
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
    }
}
