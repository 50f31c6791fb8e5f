//! The GPUs of this machine, of three makers: which there are, which of them are this worker's, and how a task is told which
//! it has.

mod parse;
mod tools;

use std::path::Path;

use serde::Serialize;

pub(super) use tools::find;

/// Who made a GPU: its library is told by a variable of its own which devices to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Maker {
    /// NVIDIA.
    Nvidia,
    /// AMD.
    Amd,
    /// Intel.
    Intel,
}

impl Maker {
    /// All of them, in the order in which GPUs are numbered.
    pub const ALL: [Self; 3] = [Self::Nvidia, Self::Amd, Self::Intel];

    /// The variable that says which devices are to be used.
    pub const fn variable(self) -> &'static str {
        match self {
            Self::Nvidia => "CUDA_VISIBLE_DEVICES",
            Self::Amd => "ROCR_VISIBLE_DEVICES",
            Self::Intel => "ZE_AFFINITY_MASK",
        }
    }

    /// The value of that variable by which there are none. Intel's library has no such value.
    pub(in crate::worker) const fn none(self) -> Option<&'static str> {
        match self {
            Self::Nvidia | Self::Amd => Some("-1"),
            Self::Intel => None,
        }
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nvidia => "NVIDIA",
            Self::Amd => "AMD",
            Self::Intel => "Intel",
        }
    }
}

/// One GPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gpu {
    /// Who made it; none: it was not found, and is offered because somebody said so.
    pub maker: Option<Maker>,
    /// What its maker's variable calls it.
    pub id: String,
    /// What it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The maker's lasting name for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// Where it is plugged in, as `/sys` writes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bus: Option<String>,
    /// Its own memory, MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_mib: Option<u64>,
    /// The NUMA node that it is near.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<u32>,
}

impl Gpu {
    /// One of which no more is known.
    pub(super) fn of(maker: Maker, id: impl Into<String>) -> Self {
        Self {
            maker: Some(maker),
            ..Self::unknown(id)
        }
    }

    fn unknown(id: impl Into<String>) -> Self {
        Self {
            maker: None,
            id: id.into(),
            model: None,
            uuid: None,
            bus: None,
            memory_mib: None,
            node: None,
        }
    }

    fn is_called(&self, name: &str) -> bool {
        let uuid = self.uuid.as_ref();
        // The beginning of a UUID is enough for CUDA.
        self.id == name || uuid.is_some_and(|uuid| name.len() >= 8 && uuid.starts_with(name))
    }
}

/// A GPU under the number by which it is given to tasks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Offered {
    /// The number.
    pub number: u32,
    /// The GPU.
    #[serde(flatten)]
    pub gpu: Gpu,
}

/// Which of several workers of this host one is: each offers its part of what there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its number, from 0.
    pub number: u32,
    /// How many there are.
    pub of: u32,
}

impl Part {
    /// The only one.
    pub const WHOLE: Self = Self { number: 0, of: 1 };

    /// An equal part of an amount.
    pub(in crate::worker) fn amount(self, all: u64) -> u64 {
        all / u64::from(self.of.max(1))
    }

    fn range(self, count: u32) -> (u32, u32) {
        let at = |number: u32| (u64::from(number) * u64::from(count) / u64::from(self.of.max(1))) as u32;
        (at(self.number), at(self.number + 1))
    }
}

/// What a batch system, or a user, has said about GPUs in the environment of the worker.
#[derive(Clone, Debug, Default)]
pub(super) struct Given {
    /// The value of each maker's variable.
    pub(super) visible: [Option<String>; 3],
    /// The numbers of the job's GPUs on this node, where only those are said.
    pub(super) numbers: Option<String>,
    /// The worker is part of a job: what the job was not given belongs to others.
    pub(super) job: bool,
}

impl Given {
    pub(super) fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let job = ["SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "FLUX_JOB_ID"];
        let grid_engine = variable("SGE_ROOT").and_then(|_| variable("JOB_ID"));
        let numbers = ["SLURM_STEP_GPUS", "SLURM_JOB_GPUS", "SGE_HGR_gpu"];
        Self {
            visible: Maker::ALL.map(|maker| variable(maker.variable())),
            numbers: numbers.into_iter().find_map(&variable),
            job: grid_engine.is_some() || job.into_iter().any(|name| variable(name).is_some()),
        }
    }

    /// Those of the GPUs that are here which this worker may use. In a job, those that the job was not given belong to others.
    pub(super) fn choose(&self, found: &[Gpu]) -> Vec<Gpu> {
        let said = self.visible.iter().any(Option::is_some);
        if !said && let Some(numbers) = &self.numbers {
            let numbers = parse::numbers(numbers);
            // Where a job sees no others than its own, these have numbers of all of the node all the same.
            if found.len() <= numbers.len() {
                return found.to_vec();
            }
            let at = |number: &u32| found.get(*number as usize).cloned();
            return numbers.iter().filter_map(at).collect();
        }
        let mut chosen = Vec::new();
        for (maker, visible) in Maker::ALL.into_iter().zip(&self.visible) {
            let own = found.iter().filter(|gpu| gpu.maker == Some(maker)).cloned();
            match visible {
                None if self.job => {}
                None => chosen.extend(own),
                // Without a device, a variable that names some was meant for other machines; a job's is right.
                Some(names) => {
                    let own: Vec<Gpu> = own.collect();
                    if self.job || !own.is_empty() {
                        chosen.extend(visible_of(maker, &own, names));
                    }
                }
            }
        }
        chosen
    }
}

/// The devices that a maker's variable names, by those names. As for the makers' libraries, the first that there cannot be ends the
/// list, and names that come twice leave nothing.
fn visible_of(maker: Maker, own: &[Gpu], names: &str) -> Vec<Gpu> {
    let mut visible: Vec<Gpu> = Vec::new();
    for name in names.split(',').map(str::trim) {
        // `1.0` is a part of device 1.
        let device = name.split_once('.').map_or(name, |(device, _)| device);
        let known = own.iter().find(|gpu| gpu.is_called(device));
        let gpu = match known {
            Some(gpu) => Gpu {
                id: name.to_owned(),
                ..gpu.clone()
            },
            // A part of a device has a name of its own; and where nothing could be found, a job's word counts.
            None if name.starts_with("MIG-") || (own.is_empty() && is_name(name)) => Gpu::of(maker, name),
            None => break,
        };
        if visible.iter().any(|other| other.id == gpu.id) {
            return Vec::new();
        }
        visible.push(gpu);
    }
    visible
}

fn is_name(name: &str) -> bool {
    let number = name.chars().next().is_some_and(|c| c.is_ascii_digit());
    number || name.starts_with("GPU-")
}

/// What one worker offers of the GPUs that it may use: its part of them, or as many as it was told. More than there are is
/// allowed: nobody knows what they are then.
pub(super) fn offered(usable: &[Gpu], wanted: Option<u32>, part: Part) -> Vec<Offered> {
    let (first, last) = match wanted {
        None => part.range(usable.len() as u32),
        Some(count) => {
            let first = part.number.saturating_mul(count);
            (first, first.saturating_add(count))
        }
    };
    let known = usable.get(first as usize..last as usize);
    (first..last)
        .enumerate()
        .map(|(at, number)| Offered {
            number,
            gpu: known
                .and_then(|known| known.get(at).cloned())
                .unwrap_or_else(|| Gpu::unknown(number.to_string())),
        })
        .collect()
}

/// Puts in what `/sys` knows of them.
pub(super) fn place(root: &Path, gpus: &mut [Gpu]) {
    for gpu in gpus {
        gpu.node = gpu.bus.as_ref().and_then(|bus| super::numa::node_of(root, bus));
    }
}

#[cfg(test)]
mod tests;
