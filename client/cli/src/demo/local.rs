//! The demo's own pilot: the agent in this process, its workers as processes.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use scalems_agent::bus::BusHandle;
use scalems_agent::pilot::{Pilot, PilotError, PilotOptions};
use scalems_protocol::Role;
use scalems_transport::ConnectionFile;

use crate::commands::pilot::start::own_program;

/// Beats and patience of a demo: a lost worker is noticed while somebody watches.
const BEAT_MS: u64 = 300;
const LOST_MS: u64 = 1_200;

/// A worker's process.
#[derive(Clone, Debug)]
pub(super) struct LocalWorker {
    pub(super) name: String,
    number: u32,
}

/// A pilot that ends with this value, whatever happens.
pub(super) struct LocalPilot {
    directory: PathBuf,
    handle: BusHandle,
    bus: Option<JoinHandle<Result<(), PilotError>>>,
    workers: Vec<(LocalWorker, Child)>,
    started: u32,
}

impl LocalPilot {
    /// Starts the agent, encrypted TCP only, and a worker for each core, at least 2.
    pub(super) fn start() -> anyhow::Result<Self> {
        let number = std::process::id();
        let directory = std::env::temp_dir().join(format!("scalems-demo-{number}"));
        let options = PilotOptions {
            ipc: false,
            beat_ms: BEAT_MS,
            lost_ms: LOST_MS,
            ..PilotOptions::new("demo", &directory)
        };
        let pilot = Pilot::open(&options.loopback_tcp())?;
        let handle = pilot.handle();
        let bus = std::thread::Builder::new()
            .name("scalems-bus".into())
            .spawn(move || pilot.run())?;
        let mut pilot = Self {
            directory,
            handle,
            bus: Some(bus),
            workers: Vec::new(),
            started: 0,
        };
        let cores = std::thread::available_parallelism()
            .map_or(2, std::num::NonZero::get)
            .clamp(2, 16);
        for _ in 0..cores {
            pilot.start_worker()?;
        }
        Ok(pilot)
    }

    fn start_worker(&mut self) -> anyhow::Result<()> {
        self.started += 1;
        let name = format!("worker {}", self.started);
        let file = self.directory.join(ConnectionFile::file_name(Role::Worker));
        let child = Command::new(own_program()?)
            .args(["worker", "start", "--cores", "1", "--name", &name, "--connection"])
            .arg(file)
            .arg("--dir")
            .arg(self.directory.join("tasks"))
            .stdin(Stdio::null())
            .spawn()
            .context("start a worker")?;
        self.workers.push((
            LocalWorker {
                name,
                number: self.started,
            },
            child,
        ));
        Ok(())
    }

    /// The connection file for clients.
    pub(super) fn connection(&self) -> PathBuf {
        self.directory.join(ConnectionFile::file_name(Role::Client))
    }

    /// The workers that were not killed.
    pub(super) fn workers(&self) -> Vec<LocalWorker> {
        self.workers.iter().map(|(worker, _)| worker.clone()).collect()
    }

    /// Kills a worker without a word, and starts another in its place.
    pub(super) fn kill(&mut self, victim: &LocalWorker) -> anyhow::Result<()> {
        let at = self
            .workers
            .iter()
            .position(|(worker, _)| worker.number == victim.number);
        let (_, mut child) = self.workers.remove(at.context("the worker is one of ours")?);
        child.kill().context("kill a worker")?;
        child.wait().context("wait for a killed worker")?;
        self.start_worker()
    }

    /// Ends the pilot in order.
    pub(super) fn stop(mut self) -> anyhow::Result<()> {
        self.handle.stop(Duration::ZERO);
        let bus = self.bus.take().context("a pilot is stopped once")?;
        bus.join().map_err(|_| anyhow!("the agent's thread panicked"))??;
        for (_, mut child) in self.workers.drain(..) {
            child.wait().context("wait for a worker")?;
        }
        Ok(())
    }

    fn directory(&self) -> &Path {
        &self.directory
    }
}

impl Drop for LocalPilot {
    fn drop(&mut self) {
        // After an error the workers are killed; a kill that fails means that they have ended.
        for (_, child) in &mut self.workers {
            let _ended = child.kill();
            let _ended = child.wait();
        }
        self.handle.stop(Duration::ZERO);
        if let Some(bus) = self.bus.take() {
            let _ended = bus.join();
        }
        let _gone = std::fs::remove_dir_all(self.directory());
    }
}
