//! Where workers can be started, and how: here, or on the nodes of a batch job.

use std::ffi::OsString;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use scalems_agent::batch::BatchSystem;
use scalems_client::protocol::client::{Layout, Start};
use scalems_client::protocol::worker::Offer;
use scalems_protocol::Amount;
use scalems_protocol::task::{CORES, GPUS, MEMORY};

use super::super::own_program;
use super::super::time::WorkerTime;
use super::super::workers::{Keeper, bare_words, list};
use super::Slots;

/// What the pilot has on a node.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct NodeRoom {
    /// Cores; none: it is not known.
    pub(in super::super) cores: Option<u64>,
    /// GPUs.
    pub(in super::super) gpu_count: u64,
    /// Memory, MiB; none: it is not known.
    pub(in super::super) memory_mib: Option<u64>,
    /// Numbers of its CPUs that a worker can be kept to.
    pub(in super::super) cpus: Vec<u32>,
    /// Numbers of its GPUs.
    pub(in super::super) gpus: Vec<u32>,
}

impl NodeRoom {
    /// What is known of it, by kind.
    pub(super) fn room(&self) -> Offer {
        let known = [
            (CORES, self.cores),
            (GPUS, Some(self.gpu_count)),
            (MEMORY, self.memory_mib),
        ];
        known
            .into_iter()
            .filter_map(|(kind, amount)| Some((kind.to_owned(), Amount::whole(amount?))))
            .collect()
    }

    /// What a worker with so much takes of it: of memory as much as of its cores, if nothing else is said.
    pub(in super::super) fn offer(&self, cores: u64, gpus: u64, memory_mib: Option<u64>) -> Offer {
        let share = |memory: u64, all: u64| (memory * cores / all.max(1)).min(memory);
        let own = self
            .memory_mib
            .zip(self.cores)
            .map(|(memory, all)| share(memory, all));
        let mut offer = vec![(CORES.to_owned(), Amount::whole(cores))];
        offer.extend((gpus > 0).then(|| (GPUS.to_owned(), Amount::whole(gpus))));
        offer.extend(
            memory_mib
                .or(own)
                .map(|memory| (MEMORY.to_owned(), Amount::whole(memory))),
        );
        offer
    }
}

/// How workers are started.
pub(in super::super) enum Ground {
    /// As processes of this host.
    Here {
        /// The workers' connection file.
        file: PathBuf,
        /// The words that say where their logs are.
        logs: Vec<OsString>,
    },
    /// By a batch system's launcher.
    Job {
        /// It.
        system: Arc<dyn BatchSystem>,
        /// The workers' connection file.
        file: PathBuf,
        /// The words that say where their logs are.
        logs: Vec<OsString>,
        /// How long the job still has, less what ending takes, milliseconds; 0: it is not known.
        left_ms: Rc<dyn Fn() -> u64>,
    },
}

impl Ground {
    pub(super) fn is_here(&self) -> bool {
        matches!(self, Self::Here { .. })
    }

    /// A name for a new place on a node.
    pub(super) fn place(&self, node: &str, number: u32) -> String {
        match self {
            Self::Here { .. } => number.to_string(),
            Self::Job { .. } => format!("{node}.{number}"),
        }
    }

    /// What keeps a worker at a place running.
    pub(super) fn keeper(&self, start: &Start, place: &str, slots: &Slots) -> anyhow::Result<Keeper> {
        let (Self::Here { file, logs } | Self::Job { file, logs, .. }) = self;
        let directory = file.with_file_name("workers");
        let log = directory.join(format!("{place}.log"));
        let mut words: Vec<OsString> = vec![own_program()?.into()];
        words.extend(bare_words(file));
        words.extend(logs.iter().cloned());
        words.extend(["--place".into(), place.into()]);
        words.extend(layout_words(&start.layout));
        if !slots.gpus.is_empty() {
            words.extend(["--gpu-slots".into(), list(&slots.gpus).into()]);
        }
        match self {
            Self::Here { .. } => {
                let name = format!("{}-{place}", scalems_agent::host_name());
                let note = directory.join(place);
                words.extend(["--name".into(), name.clone().into()]);
                words.extend(["--note".into(), note.clone().into()]);
                if !slots.cpus.is_empty() {
                    words.extend(["--cpus".into(), list(&slots.cpus).into()]);
                }
                Ok(Keeper {
                    name,
                    words,
                    time: WorkerTime::own(start.layout.limit_ms),
                    launch: None,
                    note: Some(note),
                    log: Some(log),
                    resumes: false,
                    patient: false,
                })
            }
            Self::Job { system, left_ms, .. } => {
                words.extend(["--name".into(), place.into()]);
                words.push(format!("--batch={}", system.kind().name()).into());
                if !slots.cpus.is_empty() {
                    words.extend(["--cpu-slots".into(), list(&slots.cpus).into()]);
                }
                let mut time = WorkerTime::own(start.layout.limit_ms);
                time.job = Some(Rc::clone(left_ms));
                Ok(Keeper {
                    name: place.to_owned(),
                    words,
                    time,
                    launch: Some((Arc::clone(system), start.node.clone())),
                    note: None,
                    log: Some(log),
                    resumes: false,
                    patient: true,
                })
            }
        }
    }
}

fn layout_words(layout: &Layout) -> Vec<OsString> {
    let mut words: Vec<OsString> = vec!["--cores".into(), layout.cores.to_string().into()];
    // What nobody asked for belongs to others.
    words.extend(["--gpus".into(), layout.gpus.to_string().into()]);
    words.extend(["--disk".into(), "0".into()]);
    if let Some(memory) = layout.memory {
        words.extend(["--memory".into(), memory.to_string().into()]);
    }
    for (name, amount) in &layout.named {
        words.extend(["--resource".into(), format!("{name}={amount}").into()]);
    }
    if layout.idle_ms > 0 {
        words.extend(["--idle-timeout".into(), format!("{}ms", layout.idle_ms).into()]);
    }
    words
}
