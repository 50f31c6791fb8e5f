//! Where an interpreter is: the CPUs and GPUs of its calls, and their directories.

use std::path::Path;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use tracing::debug;

use super::{Ground, Wants};

/// What an interpreter is told of where it is; its calls have that in common.
#[derive(serde::Serialize)]
pub(super) struct Place<'a> {
    cpus: &'a [u32],
    gpus: &'a [u32],
    cores: u64,
    pinned: bool,
    directory: &'a Path,
    checkpoints: &'a Path,
}

impl<'a> Place<'a> {
    pub(super) fn new(ground: &'a Ground, cpus: &'a [u32], wants: &'a Wants) -> Self {
        Self {
            cpus,
            gpus: &wants.gpus,
            cores: wants.threads,
            pinned: ground.pins,
            directory: &ground.directory,
            checkpoints: &ground.checkpoints,
        }
    }
}

/// Moves all threads of a process. What cannot be moved stays where it was.
pub(super) fn pin(pid: i32, cpus: &[u32]) {
    if cpus.is_empty() {
        return;
    }
    let mut set = CpuSet::new();
    for cpu in cpus {
        if let Err(errno) = set.set(*cpu as usize) {
            debug!(cpu, %errno, "a CPU's number is too large to pin to");
        }
    }
    let threads = std::fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten();
    let threads = threads.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    for thread in threads {
        if let Err(errno) = sched_setaffinity(Pid::from_raw(thread), &set) {
            debug!(pid, thread, %errno, "a thread of an interpreter was not moved");
        }
    }
}
