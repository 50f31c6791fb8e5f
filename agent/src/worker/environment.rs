//! What every program of this worker finds around it, and what only one of them does (DESIGN 10).

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use scalems_core::leaseholder::TaskLease;
use scalems_protocol::program::RESERVED;

use super::machine::{Gpu, Machine, Maker};
use crate::functions::Wants;

/// How CUDA numbers its devices.
const ORDER: &str = "CUDA_DEVICE_ORDER";

/// What all programs of the worker share.
#[derive(Debug)]
pub(super) struct Surroundings {
    variables: BTreeMap<OsString, OsString>,
    /// The GPUs, by their numbers.
    gpus: BTreeMap<u32, Gpu>,
    /// Whether CPU numbers are those of CPUs.
    pub(super) pins: bool,
}

impl Surroundings {
    /// The worker's own environment without our variables, and `more`.
    pub(super) fn new(machine: &Machine, more: impl IntoIterator<Item = (&'static str, OsString)>) -> Self {
        let mut variables: BTreeMap<OsString, OsString> = env::vars_os()
            .filter(|(name, _)| !name.as_bytes().starts_with(RESERVED.as_bytes()))
            .collect();
        variables.extend(more.into_iter().map(|(name, value)| (name.into(), value)));
        let numbered = |offered: &super::Offered| (offered.number, offered.gpu.clone());
        Self {
            variables,
            gpus: machine.gpus.iter().map(numbered).collect(),
            pins: machine.pinned,
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
        let threads = lease.needs().cores_per_rank.ceil().max(1);
        set("OMP_NUM_THREADS", threads.to_string().into());
        for (name, value) in self.gpu_variables(&lease.gpus) {
            set(name, value.into());
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
        if !lease.template.needs.variants.is_empty() {
            set("SCALEMS_VARIANT", lease.variant.to_string().into());
        }
        for (name, value) in more {
            set(name, value);
        }
        all.into_iter().collect()
    }

    /// The environment of an interpreter, which many tasks run in: what it has of one is told it with that.
    pub(super) fn of_interpreter(&self, wants: &Wants) -> Vec<(OsString, OsString)> {
        let mut all = self.variables.clone();
        // Interpreters begin elsewhere: what lies where the worker began is found from there too.
        if let Some(modules) = all.get_mut(&OsString::from("PYTHONPATH")) {
            let here = env::split_paths(modules).map(|path| std::path::absolute(&path).unwrap_or(path));
            if let Ok(whole) = env::join_paths(here) {
                *modules = whole;
            }
        }
        let mut set = |name: &str, value: OsString| all.insert(name.into(), value);
        set("OMP_NUM_THREADS", wants.threads.to_string().into());
        for (name, value) in self.gpu_variables(&wants.gpus) {
            set(name, value.into());
        }
        for (name, value) in &wants.env {
            set(name, value.into());
        }
        set("SCALEMS_ATTEMPT", "0".into());
        set("SCALEMS_RANK", "0".into());
        set("SCALEMS_GPUS", list(&wants.gpus).into());
        let mut all: Vec<(OsString, OsString)> = all.into_iter().collect();
        add_modules(&mut all, &wants.path);
        all
    }

    /// The environment of a program that belongs to no task.
    pub(super) fn plain(&self) -> Vec<(OsString, OsString)> {
        self.variables.clone().into_iter().collect()
    }

    /// How a task is told which GPUs it has: by the variable of their maker. With two makers' GPUs here, those of the one of which
    /// it has none are hidden from it, where that can be said. A task without GPUs is told nothing.
    fn gpu_variables(&self, numbers: &[u32]) -> Vec<(&'static str, String)> {
        let mut set = Vec::new();
        if numbers.is_empty() {
            return set;
        }
        for maker in Maker::ALL {
            // What nobody knows may be anyone's.
            let may_be = |gpu: &Gpu| gpu.maker.is_none_or(|of| of == maker);
            let own = numbers.iter().filter_map(|number| self.gpus.get(number));
            let ids: Vec<&str> = own.filter(|gpu| may_be(gpu)).map(|gpu| gpu.id.as_str()).collect();
            let hidden = self.gpus.values().any(may_be).then_some(maker.none()).flatten();
            if !ids.is_empty() {
                set.push((maker.variable(), ids.join(",")));
            } else if let Some(none) = hidden {
                set.push((maker.variable(), none.to_owned()));
            }
        }
        // By itself CUDA numbers the fastest first, and the tool that our numbers come from by place. Names that the worker was
        // given mean what they meant to whoever gave them.
        let nvidia = Maker::Nvidia.variable();
        let told = set
            .iter()
            .any(|(name, value)| *name == nvidia && Some(value.as_str()) != Maker::Nvidia.none());
        let said = |name: &str| self.variables.contains_key(&OsString::from(name));
        if told && !said(nvidia) && !said(ORDER) {
            set.push((ORDER, "PCI_BUS_ID".to_owned()));
        }
        set
    }
}

/// Has a Python look through these directories first.
pub(super) fn add_modules(env: &mut Vec<(OsString, OsString)>, path: &[String]) {
    const NAME: &str = "PYTHONPATH";
    if path.is_empty() {
        return;
    }
    let path: OsString = path.join(":").into();
    let Some((_, modules)) = env.iter_mut().find(|(name, _)| name == NAME) else {
        env.push((NAME.into(), path));
        return;
    };
    let before = std::mem::replace(modules, path);
    if !before.is_empty() {
        modules.push(":");
        modules.push(before);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn told(gpus: &[(u32, Option<Maker>, &str)], numbers: &[u32]) -> Vec<(&'static str, String)> {
        surroundings(gpus).gpu_variables(numbers)
    }

    fn surroundings(gpus: &[(u32, Option<Maker>, &str)]) -> Surroundings {
        let gpu = |(number, maker, id): &(u32, Option<Maker>, &str)| {
            let gpu = Gpu {
                maker: *maker,
                id: (*id).to_owned(),
                model: None,
                uuid: None,
                bus: None,
                memory_mib: None,
                node: None,
            };
            (*number, gpu)
        };
        Surroundings {
            variables: BTreeMap::new(),
            gpus: gpus.iter().map(gpu).collect(),
            pins: false,
        }
    }

    fn pair(name: &'static str, value: &str) -> (&'static str, String) {
        (name, value.to_owned())
    }

    #[test]
    fn a_task_is_told_by_the_variable_of_its_gpus_maker() {
        let amd = [(0, Some(Maker::Amd), "3"), (1, Some(Maker::Amd), "5")];
        assert_eq!(told(&amd, &[1]), [pair("ROCR_VISIBLE_DEVICES", "5")]);
        assert_eq!(told(&amd, &[]), []);
        let nvidia = [(4, Some(Maker::Nvidia), "GPU-11")];
        assert_eq!(
            told(&nvidia, &[4]),
            [
                pair("CUDA_VISIBLE_DEVICES", "GPU-11"),
                pair("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
            ]
        );
    }

    #[test]
    fn names_that_the_worker_was_given_are_passed_on_as_they_are() {
        let mut given = surroundings(&[(0, Some(Maker::Nvidia), "2")]);
        given
            .variables
            .insert("CUDA_VISIBLE_DEVICES".into(), "2,3".into());
        assert_eq!(given.gpu_variables(&[0]), [pair("CUDA_VISIBLE_DEVICES", "2")]);
    }

    #[test]
    fn of_two_makers_the_other_is_hidden() {
        let mixed = [
            (0, Some(Maker::Nvidia), "0"),
            (1, Some(Maker::Amd), "0"),
            (2, Some(Maker::Intel), "1.0"),
        ];
        assert_eq!(
            told(&mixed, &[2]),
            [
                pair("CUDA_VISIBLE_DEVICES", "-1"),
                pair("ROCR_VISIBLE_DEVICES", "-1"),
                pair("ZE_AFFINITY_MASK", "1.0"),
            ]
        );
        let both = told(&mixed, &[0, 1]);
        assert!(both.contains(&pair("CUDA_VISIBLE_DEVICES", "0")));
        assert!(both.contains(&pair("ROCR_VISIBLE_DEVICES", "0")));
    }

    #[test]
    fn of_gpus_that_were_only_said_every_maker_is_told() {
        let said = told(&[(0, None, "0"), (1, None, "1")], &[1]);
        assert_eq!(said.iter().filter(|(_, value)| value == "1").count(), 3);
    }
}
