//! A pilot of real processes for one measurement: agent and worker as users have them.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use scalems_client::{Session, Task};
use scalems_protocol::Role;
use scalems_protocol::program::NOOP;
use scalems_transport::ConnectionFile;
use scalems_transport::connection_file::start_time;
use tempfile::TempDir;

use super::Way;
use super::child::{self, Guarded};
use super::process;
use crate::args::Transport;
use crate::interrupt;

/// How long a pilot may take to serve, a worker to join, an agent to answer.
pub(super) const START: Duration = Duration::from_secs(20);
/// A pilot that is asked to end has nothing to wait for.
const END: Duration = Duration::from_secs(10);
/// If this process is killed, the worker ends by itself so long after the agent.
const ORPHAN: &str = "5s";

/// A pilot on this machine with its own directory. Dropped, it is ended and removed.
pub(super) struct BenchPilot {
    agent: Guarded,
    worker: Option<Worker>,
    session: Option<Session>,
    directory: TempDir,
}

/// The worker's process. Its parent is the agent.
#[derive(Clone, Copy)]
struct Worker {
    pid: u32,
    started: Option<u64>,
}

/// Processor time used.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    pub(super) agent: Duration,
    pub(super) worker: Option<Duration>,
    pub(super) client: Duration,
}

impl BenchPilot {
    /// Starts the processes. It serves when this returns; the worker may still be on its way.
    pub(super) fn start(way: Way, with_worker: bool) -> anyhow::Result<Self> {
        let directory = child::directory()?;
        let mut args: Vec<String> = ["--output", "json", "pilot", "start", "--orphan-time", ORPHAN]
            .map(Into::into)
            .into();
        args.extend(["--name".into(), format!("bench-{}", std::process::id())]);
        args.extend([
            "--dir".into(),
            directory.path().join("pilot").display().to_string(),
        ]);
        if way.transport == Transport::Tcp {
            args.extend(["--tcp".into(), "--tcp-only".into()]);
        }
        if !way.journal {
            args.extend(["--journal".into(), "none".into()]);
        }
        if !with_worker {
            args.push("--no-workers".into());
        }
        let mut agent = Guarded::start("agent", directory.path(), args)?;
        agent.line(START)?;
        Ok(Self {
            agent,
            worker: None,
            session: None,
            directory,
        })
    }

    /// A pilot that has run a task, and the session that it came from.
    pub(super) fn warm(way: Way) -> anyhow::Result<(Self, Session)> {
        let mut pilot = Self::start(way, true)?;
        let session = pilot.connect()?;
        let first = session.submit(Task::new(NOOP))?;
        let result = interrupt::wait(START, |slice| first.wait(slice)).with_context(|| pilot.complaint());
        anyhow::ensure!(result?.is_done(), "the first task did not end well");
        let worker = session
            .ask_workers()?
            .into_iter()
            .next()
            .context("the worker is gone")?;
        pilot.worker = Some(Worker {
            pid: worker.pid,
            started: start_time(worker.pid),
        });
        Ok((pilot, session))
    }

    /// A client's session with it.
    pub(super) fn connect(&mut self) -> anyhow::Result<Session> {
        let options = Session::options()
            .software("scalems bench")
            .connect_timeout(START)
            .give_up_after(START);
        let session = options
            .connect(self.directory.path().join("pilot"))
            .with_context(|| self.complaint())?;
        self.session = Some(session.clone());
        Ok(session)
    }

    /// Ends its session.
    pub(super) fn leave(&mut self) {
        if let Some(session) = self.session.take() {
            session.close("no client is to be there");
        }
    }

    fn complaint(&self) -> String {
        format!("pilot of this measurement{}", self.agent.complaint())
    }

    /// Its directory.
    pub(super) fn place(&self) -> std::path::PathBuf {
        self.directory.path().join("pilot")
    }

    /// Where workers find it.
    pub(super) fn worker_file(&self) -> std::path::PathBuf {
        self.place().join(ConnectionFile::file_name(Role::Worker))
    }

    /// The processes that are measured.
    pub(super) fn pids(&self) -> impl Iterator<Item = u32> {
        [Some(self.agent.pid()), self.worker.map(|worker| worker.pid)]
            .into_iter()
            .flatten()
    }

    /// Processor time until now. The client is this process.
    pub(super) fn usage(&self) -> anyhow::Result<Usage> {
        Ok(Usage {
            agent: process::cpu(self.agent.pid())?,
            worker: self.worker.map(|worker| process::cpu(worker.pid)).transpose()?,
            client: process::own_cpu()?,
        })
    }

    /// The agent's memory, now and at most, bytes.
    pub(super) fn memory(&self) -> anyhow::Result<(u64, u64)> {
        process::memory(self.agent.pid())
    }

    /// Ends it and waits for its end.
    pub(super) fn stop(mut self) -> anyhow::Result<()> {
        if let Some(session) = self.session.take() {
            session.stop(None, Duration::ZERO)?;
            session.close("the measurement is over");
        } else {
            self.agent.signal(Signal::SIGTERM)?;
        }
        anyhow::ensure!(
            self.agent.ended(END)?,
            "the pilot did not end within {END:?}{}",
            self.agent.complaint()
        );
        self.worker = None;
        Ok(())
    }

    /// Ends what is left after an error, whatever state it is in.
    fn end_anyhow(&mut self) -> anyhow::Result<()> {
        if let Some(session) = self.session.take() {
            session.close("the measurement failed");
        }
        // Asked twice, it waits for no task.
        for _ in 0..2 {
            self.agent.signal(Signal::SIGTERM)?;
            if self.agent.ended(END / 10)? {
                return Ok(());
            }
        }
        anyhow::ensure!(
            self.agent.ended(END / 2)?,
            "the pilot does not end{}",
            self.agent.complaint()
        );
        Ok(())
    }
}

impl Drop for BenchPilot {
    fn drop(&mut self) {
        if self.worker.is_none() && self.agent.is_over() {
            return;
        }
        let path = self
            .directory
            .path()
            .join("pilot")
            .join(ConnectionFile::file_name(Role::Client));
        let file = ConnectionFile::read(&path);
        let Err(error) = self.end_anyhow() else { return };
        eprintln!("scalems: {error:#}; it is killed");
        self.agent.end();
        if let Some(worker) = self.worker
            && start_time(worker.pid) == worker.started
            // A worker that has just ended needs no more.
            && kill(Pid::from_raw(worker.pid.cast_signed()), Signal::SIGKILL).is_ok()
        {
            eprintln!("scalems: its worker {} was killed", worker.pid);
        }
        // A killed agent leaves its socket files, which lie in a directory of their own.
        if let Ok(file) = file
            && let Some(scalems_transport::Endpoint::Ipc { path }) = &file.requests.ipc
            && let Some(sockets) = path.parent()
            && let Err(error) = std::fs::remove_dir_all(sockets)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            eprintln!("scalems: {} was not removed: {error}", sockets.display());
        }
    }
}

impl Usage {
    /// What was used since an earlier look.
    pub(super) fn since(self, before: Self) -> Self {
        Self {
            agent: self.agent.saturating_sub(before.agent),
            worker: self
                .worker
                .zip(before.worker)
                .map(|(now, before)| now.saturating_sub(before)),
            client: self.client.saturating_sub(before.client),
        }
    }
}

/// One look at the clock and at what the processes have used, to be taken before and after.
pub(super) struct Mark {
    at: Instant,
    usage: Usage,
}

impl Mark {
    pub(super) fn new(pilot: &BenchPilot) -> anyhow::Result<Self> {
        let usage = pilot.usage()?;
        Ok(Self {
            at: Instant::now(),
            usage,
        })
    }

    /// Time and processor time since then.
    pub(super) fn elapsed(&self, pilot: &BenchPilot) -> anyhow::Result<(Duration, Usage)> {
        let time = self.at.elapsed();
        Ok((time, pilot.usage()?.since(self.usage)))
    }
}
