//! What every program of this worker finds around it, and what only one of them does (DESIGN 10).

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use scalems_core::leaseholder::TaskLease;
use scalems_protocol::program::RESERVED;

use super::machine::{self, GPU_VARIABLES};

/// What all programs of the worker share.
#[derive(Debug)]
pub(super) struct Surroundings {
    variables: BTreeMap<OsString, OsString>,
    /// For each GPU variable that the worker itself has: the GPUs that it names.
    gpu_names: Vec<Vec<String>>,
    /// Whether CPU numbers are those of CPUs.
    pub(super) pins: bool,
}

impl Surroundings {
    /// The worker's own environment without our variables, and `more`.
    pub(super) fn new(pins: bool, more: impl IntoIterator<Item = (&'static str, OsString)>) -> Self {
        let mut variables: BTreeMap<OsString, OsString> = env::vars_os()
            .filter(|(name, _)| !name.as_bytes().starts_with(RESERVED.as_bytes()))
            .collect();
        variables.extend(more.into_iter().map(|(name, value)| (name.into(), value)));
        let gpu_names = GPU_VARIABLES
            .iter()
            .map(|variable| machine::gpu_names(variable))
            .collect();
        Self {
            variables,
            gpu_names,
            pins,
        }
    }

    /// The environment of one attempt. `own` is what the task sets, which is none of our variables.
    pub(super) fn of(
        &self,
        lease: &TaskLease,
        own: BTreeMap<String, String>,
        more: Vec<(&str, OsString)>,
    ) -> Vec<(OsString, OsString)> {
        let mut all = self.variables.clone();
        let mut set = |name: &str, value: OsString| {
            all.insert(name.into(), value);
        };
        let threads = lease.template.needs.cores_per_rank.max(1);
        set("OMP_NUM_THREADS", threads.to_string().into());
        if !lease.gpus.is_empty() {
            for (variable, names) in GPU_VARIABLES.iter().zip(&self.gpu_names) {
                let named = |gpu: &u32| {
                    names
                        .get(*gpu as usize)
                        .cloned()
                        .unwrap_or_else(|| gpu.to_string())
                };
                let gpus: Vec<String> = lease.gpus.iter().map(named).collect();
                set(variable, gpus.join(",").into());
            }
        }
        for (name, value) in own {
            set(&name, value.into());
        }
        set("SCALEMS_TASK", lease.task.to_string().into());
        set("SCALEMS_SUBMISSION", lease.task.submission.to_string().into());
        set("SCALEMS_INDEX", lease.task.index.to_string().into());
        set("SCALEMS_ATTEMPT", lease.attempt.to_string().into());
        set("SCALEMS_RANK", "0".into());
        if self.pins {
            set("SCALEMS_CPUS", list(&lease.cpus).into());
        }
        set("SCALEMS_GPUS", list(&lease.gpus).into());
        for (name, value) in more {
            set(name, value);
        }
        all.into_iter().collect()
    }
}

/// When an attempt that starts now passes its time limit: seconds since 1970, to the millisecond.
pub(super) fn deadline(time_limit_ms: u64) -> Option<String> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    let at = since
        .checked_add(Duration::from_millis(time_limit_ms))
        .filter(|_| time_limit_ms > 0)?;
    Some(format!("{}.{:03}", at.as_secs(), at.subsec_millis()))
}

fn list(numbers: &[u32]) -> String {
    numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}
