//! The workers that `scalems pilot start` runs on this host, each a process of its own. They outlive an agent that
//! dies, and the next one finds them by the files in `workers/` of the pilot's directory.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use scalems_transport::connection_file::start_time;
use tokio::process::{Child, Command};
use tokio::sync::{oneshot, watch};

use super::own_program;
use crate::args::PilotStartArgs;

/// How often a worker of ours that ends badly is started again, and how long is waited before, doubled each
/// time.
const RESTARTS: u32 = 5;
const RESTART_AFTER: Duration = Duration::from_millis(200);

/// One of them.
pub(super) struct LocalWorker {
    number: u32,
    args: Vec<OsString>,
    /// Says which process it is, as long as it lives.
    file: PathBuf,
    /// Whether that process may be one of the pilot's life before.
    resumes: bool,
}

impl LocalWorker {
    /// The worker `number` of a pilot whose workers' connection file this is.
    pub(super) fn new(args: &PilotStartArgs, file: &Path, number: u32, cpus: Option<&str>) -> Self {
        let directory = file.parent().unwrap_or(Path::new(".")).join("workers");
        let own = directory.join(number.to_string());
        let mut args_of = worker_args(args, file, number, cpus);
        args_of.extend(["--note".into(), own.clone().into()]);
        Self {
            number,
            args: args_of,
            file: own,
            resumes: args.agent.resume,
        }
    }

    /// Runs the worker's process, and runs it again when it ends badly, a few times, until the pilot is ending. One
    /// that outlived the agent before this one is not run a second time.
    pub(super) async fn keep(self, mut ending: watch::Receiver<bool>) {
        let number = self.number;
        if let Some(pid) = self.survivor() {
            tracing::info!(number, pid, "a worker of before is still there");
            match outlive(pid, &mut ending).await {
                // It takes its file along when it ends in order.
                Ok(()) if *ending.borrow() || !self.file.exists() => return self.forget(),
                Ok(()) => {}
                Err(error) => return tracing::error!(number, pid, %error, "cannot watch a worker of before"),
            }
        }
        let mut wait = RESTART_AFTER;
        for tried in 0..=RESTARTS {
            let mut child = match self.spawn() {
                Ok(child) => child,
                Err(error) => return tracing::error!(number, %error, "cannot start a worker"),
            };
            let waited = tokio::select! {
                waited = child.wait() => waited,
                // An error means that this process is ending as well.
                _ = ending.wait_for(|ending| *ending) => {
                    child.id().into_iter().for_each(terminate);
                    child.wait().await
                }
            };
            match waited {
                Ok(status) if status.success() || *ending.borrow() => return self.forget(),
                Ok(status) => tracing::warn!(number, %status, tried, "a worker ended badly"),
                Err(error) => return tracing::error!(number, %error, "cannot wait for a worker"),
            }
            let over = tokio::time::timeout(wait, ending.wait_for(|ending| *ending)).await;
            if over.is_ok() {
                return self.forget();
            }
            wait *= 2;
        }
        tracing::error!(
            number,
            "a worker ended badly {} times and is not started again",
            RESTARTS + 1
        );
    }

    /// The process that the agent before this one had started, if it lives.
    fn survivor(&self) -> Option<u32> {
        let text = std::fs::read_to_string(&self.file)
            .ok()
            .filter(|_| self.resumes)?;
        let (pid, start) = text.trim().split_once(' ')?;
        let pid = pid.parse().ok()?;
        let start: u64 = start.parse().ok()?;
        (start_time(pid) == Some(start)).then_some(pid)
    }

    fn spawn(&self) -> io::Result<Child> {
        // A worker has its own process group: Ctrl-C reaches the agent, which drains it.
        let child = Command::new(own_program()?)
            .args(&self.args)
            .stdin(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        if let Some(pid) = child.id()
            && let Err(error) = self.note(pid)
        {
            tracing::warn!(%error, file = %self.file.display(), "cannot note a worker's process");
        }
        Ok(child)
    }

    /// Notes the process for the agent that comes after this one.
    fn note(&self, pid: u32) -> io::Result<()> {
        let Some(start) = start_time(pid) else {
            return Ok(());
        };
        if let Some(directory) = self.file.parent() {
            std::fs::create_dir_all(directory)?;
        }
        std::fs::write(&self.file, format!("{pid} {start}\n"))
    }

    fn forget(&self) {
        // Best effort: what stays names a process that is gone.
        let _gone = std::fs::remove_file(&self.file);
    }
}

/// Waits until a process that is no child of ours has ended; it is asked to when the pilot is ending.
async fn outlive(pid: u32, ending: &mut watch::Receiver<bool>) -> io::Result<()> {
    let mut over = watch_process(pid)?;
    let heard = tokio::select! {
        heard = &mut over => heard,
        _ = ending.wait_for(|ending| *ending) => {
            terminate(pid);
            over.await
        }
    };
    heard.unwrap_or_else(|_| Err(io::Error::other("whoever watched it is gone")))
}

/// Hears when a process ends, from a thread that does nothing else.
fn watch_process(pid: u32) -> io::Result<oneshot::Receiver<io::Result<()>>> {
    let (tell, over) = oneshot::channel();
    let number = rustix::process::Pid::from_raw(pid.cast_signed()).ok_or(io::ErrorKind::InvalidInput)?;
    let process = match rustix::process::pidfd_open(number, rustix::process::PidfdFlags::empty()) {
        Ok(process) => Some(process),
        Err(rustix::io::Errno::SRCH) => None,
        Err(error) => return Err(error.into()),
    };
    std::thread::Builder::new()
        .name("scalems-watch".to_owned())
        .spawn(move || {
            let ended = process.map_or(Ok(()), |process| wait_for_end(&process));
            // Whoever asked may have ended meanwhile.
            let _told = tell.send(ended);
        })?;
    Ok(over)
}

fn wait_for_end(process: &impl AsFd) -> io::Result<()> {
    loop {
        let mut end = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
        match poll(&mut end, PollTimeout::NONE) {
            Ok(_) => return Ok(()),
            Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Asks a process to end. It may not know how to yet, and then ends at once: it runs nothing by then.
pub(super) fn terminate(pid: u32) {
    tell(pid, Signal::SIGTERM);
}

/// Tells an agent that the time of its job is nearly over.
pub(super) fn warn(pid: u32) {
    tell(pid, Signal::SIGUSR1);
}

fn tell(pid: u32, signal: Signal) {
    if let Err(error) = kill(Pid::from_raw(pid.cast_signed()), signal) {
        tracing::warn!(pid, %signal, %error, "cannot signal a process of this pilot");
    }
}

/// The cores of each worker: what this process may use, in equal parts, unless so many were asked for.
pub(super) fn shares(args: &PilotStartArgs, count: u32) -> anyhow::Result<Vec<Option<String>>> {
    if args.cores.is_some() || count <= 1 {
        return Ok(vec![None; count as usize]);
    }
    let set =
        nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0)).context("read the affinity mask")?;
    let cpus: Vec<usize> = (0..nix::sched::CpuSet::count())
        .filter(|cpu| set.is_set(*cpu).unwrap_or(false))
        .collect();
    let count = count as usize;
    Ok((0..count)
        .map(|worker| {
            let (lo, hi) = (worker * cpus.len() / count, (worker + 1) * cpus.len() / count);
            // More workers than cores share: each has one, some the same.
            let part = if lo < hi {
                &cpus[lo..hi]
            } else {
                &cpus[lo.min(cpus.len() - 1)..][..1]
            };
            Some(part.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
        })
        .collect())
}

/// The words that start a worker of the pilot whose workers' connection file this is.
pub(super) fn words(args: &PilotStartArgs, file: &Path) -> Vec<OsString> {
    let mut words: Vec<OsString> = ["worker", "start", "--connection"].map(OsString::from).into();
    words.push(file.into());
    if let Some(parent) = file.parent() {
        words.extend(["--dir".into(), parent.join("tasks").into()]);
    }
    let numbers = [
        ("--cores", args.cores.map(u64::from)),
        ("--gpus", args.gpus.map(u64::from)),
        ("--memory", args.memory),
    ];
    for (option, value) in numbers {
        if let Some(value) = value {
            words.extend([option.into(), value.to_string().into()]);
        }
    }
    words
}

/// Those of the worker `number` on this host.
fn worker_args(args: &PilotStartArgs, file: &Path, number: u32, cpus: Option<&str>) -> Vec<OsString> {
    let mut words = words(args, file);
    let host = scalems_agent::host_name();
    let name = if number == 1 {
        host
    } else {
        format!("{host}-{number}")
    };
    words.extend(["--name".into(), name.into()]);
    if let Some(cpus) = cpus {
        words.extend(["--cpus".into(), cpus.into()]);
    }
    words
}
