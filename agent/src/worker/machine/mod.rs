//! What this machine has that tasks may use, and what of it one worker offers.

pub(super) mod capacity;
pub(super) mod cpus;
mod gpus;
mod numa;

use std::env;
use std::path::Path;

use scalems_core::leaseholder::NumaNode;
use scalems_protocol::Amount;
use serde::Serialize;

pub use self::capacity::memory_mib;
pub use self::gpus::{Gpu, Maker, Offered, Part};

use self::cpus::Cpus;
use self::gpus::Given;
use super::{WorkerError, WorkerOptions};

/// The named resource that free disk is, in MiB.
pub const DISK: &str = "disk";

/// What a worker offers, as it was found or said.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// The host.
    pub host: String,
    /// The CPUs, by number.
    pub cpus: Vec<u32>,
    /// Whether tasks are pinned to these. Else they are only counted.
    pub pinned: bool,
    /// Which of what is offered is near each other; empty: that is not known.
    pub nodes: Vec<Node>,
    /// The GPUs.
    pub gpus: Vec<Offered>,
    /// Memory, MiB.
    pub memory_mib: u64,
    /// Other resources, by name.
    pub named: Vec<(String, Amount)>,
    /// What is worth knowing of how it was found.
    pub notes: Vec<String>,
}

/// CPUs that reach the same memory fast, and the GPUs near them.
#[derive(Clone, Debug, Serialize)]
pub struct Node {
    /// CPUs.
    pub cpus: Vec<u32>,
    /// GPUs.
    pub gpus: Vec<u32>,
}

impl Machine {
    /// What a worker with these options offers here.
    pub fn of(options: &WorkerOptions) -> Result<Self, WorkerError> {
        let part = options.part;
        let cpus = Cpus::detect(options.cores, options.share.cores);
        let (gpus, notes) = gpus_of(options);
        let near = numa::offered(&numa::nodes(Path::new("/")), &cpus, &gpus);
        let found = || capacity::memory_mib().map(|all| part.amount(all));
        Ok(Self {
            host: crate::host_name(),
            pinned: cpus.real,
            cpus: cpus.numbers,
            nodes: near
                .into_iter()
                .map(|NumaNode { cpus, gpus }| Node { cpus, gpus })
                .collect(),
            gpus,
            memory_mib: options
                .memory_mib
                .or(options.share.memory_mib)
                .or_else(found)
                .ok_or(WorkerError::Memory)?,
            named: named(options)?,
            notes,
        })
    }

    /// The same nodes for the core.
    pub(super) fn numa_nodes(&self) -> Vec<NumaNode> {
        let node = |Node { cpus, gpus }: &Node| NumaNode {
            cpus: cpus.clone(),
            gpus: gpus.clone(),
        };
        self.nodes.iter().map(node).collect()
    }
}

fn gpus_of(options: &WorkerOptions) -> (Vec<Offered>, Vec<String>) {
    if options.gpus == Some(0) {
        return (Vec::new(), Vec::new());
    }
    let (found, mut notes) = gpus::find(Path::new("/"));
    let given = Given::read(|name| env::var(name).ok());
    let there = found.len();
    let usable = given.choose(&found);
    if there > usable.len() {
        let left = there - usable.len();
        notes.push(format!(
            "{left} of {there} GPUs here are not for this worker, by its environment or its job"
        ));
    }
    let offered = match &options.gpu_numbers {
        Some(numbers) => {
            let most = numbers.iter().max().map_or(0, |last| last + 1);
            let mut offered = gpus::offered(&usable, Some(most), Part::WHOLE);
            offered.retain(|offered| numbers.contains(&offered.number));
            offered
        }
        None => gpus::offered(&usable, options.gpus, options.part),
    };
    if offered.iter().any(|offered| offered.gpu.maker.is_none()) {
        let there = usable.len();
        notes.push(format!(
            "{there} GPUs were found for this worker: those that it was told to offer are numbered, and every maker's variable is set"
        ));
    }
    (offered, notes)
}

/// Named resources, each once, and the disk for attempts unless something else was said of it.
fn named(options: &WorkerOptions) -> Result<Vec<(String, Amount)>, WorkerError> {
    let own = ["cores", "gpus", "memory"];
    let mut named = options.resources.clone();
    if !named.iter().any(|(name, _)| name == DISK) {
        let free = options
            .disk_mib
            .or_else(|| capacity::disk_mib(&options.directory).map(|free| options.part.amount(free)));
        named.extend(
            free.filter(|free| *free > 0)
                .map(|free| (DISK.to_owned(), Amount::whole(free))),
        );
    }
    for (at, (name, _)) in named.iter().enumerate() {
        let twice = named[..at].iter().any(|(before, _)| before == name);
        let room = at + own.len() < scalems_protocol::limits::RESOURCE_KINDS;
        if twice || !room || name.is_empty() || own.contains(&name.as_str()) {
            return Err(WorkerError::Resource(name.clone()));
        }
    }
    Ok(named)
}
