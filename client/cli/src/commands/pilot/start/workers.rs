//! The workers that `scalems pilot start` keeps, each a process of its own. Those on this host outlive an agent that
//! dies, and the next one finds them by the files in `workers/` of the pilot's directory.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use scalems_agent::batch::BatchSystem;
use scalems_transport::connection_file::start_time;
use tokio::process::{Child, Command};
use tokio::sync::{oneshot, watch};

use super::WORKER_END;
use super::time::WorkerTime;
use crate::args::PilotStartArgs;

/// How often a worker of ours that ends badly is started again, and how long is waited before, doubled each
/// time.
const RESTARTS: u32 = 5;
const RESTART_AFTER: Duration = Duration::from_millis(200);
/// The longest wait before one on another node is started again.
const LONGEST_WAIT: Duration = Duration::from_mins(10);
/// So much of what a worker wrote that did not start is told.
const LAST_WORDS: usize = 1_000;

/// What is said of a worker while it is kept.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Told {
    /// It has joined: what ends it badly from now on is no fault of how it was started.
    pub(super) joined: bool,
    /// It ends, or has ended, as it should: it is not started again.
    pub(super) left: bool,
    /// It is ended now.
    pub(super) stop: bool,
}

/// How a worker came to be kept no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// It ended in order, or as it was told to.
    InOrder,
    /// It ended badly and is not started again.
    Badly(String),
    /// It was told to end, did not in time, and was killed.
    Killed,
}

/// Keeps one of them running.
#[derive(Debug)]
pub(super) struct Keeper {
    /// What people know it by.
    pub(super) name: String,
    /// The program, with its arguments but for its time.
    pub(super) words: Vec<OsString>,
    /// Its time.
    pub(super) time: WorkerTime,
    /// What launches it, and on which node; none: nothing does, here.
    pub(super) launch: Option<(Arc<dyn BatchSystem>, String)>,
    /// Says which process it is, as long as it lives.
    pub(super) note: Option<PathBuf>,
    /// Where what it writes goes; none: where ours goes.
    pub(super) log: Option<PathBuf>,
    /// Whether the process of the note may be one of the pilot's life before.
    pub(super) resumes: bool,
    /// Whether it hears of the pilot's end by itself, behind a launcher that cannot tell it well.
    pub(super) patient: bool,
}

impl Keeper {
    /// Runs the worker's process, and runs it again when it ends badly after it has joined, a few times, until the pilot is
    /// ending. One that outlived the agent before this one is not run a second time.
    pub(super) async fn keep(
        self,
        mut ending: watch::Receiver<bool>,
        mut told: watch::Receiver<Told>,
    ) -> Kept {
        let name = &self.name;
        if let Some(pid) = self.survivor() {
            tracing::info!(name, pid, "a worker of before is still there");
            match outlive(pid, &mut ending, &mut told).await {
                Ok(Over::Killed) => {
                    tracing::error!(name, pid, "a worker of before did not end, and was killed");
                    return self.killed();
                }
                // It takes its file along when it ends in order.
                Ok(Over::Ended) if *ending.borrow() || told.borrow().left || !self.is_noted() => {
                    return self.in_order();
                }
                Ok(Over::Ended) => {}
                Err(error) => return Kept::Badly(format!("cannot watch process {pid} of before: {error}")),
            }
        }
        let mut wait = RESTART_AFTER;
        // Behind a launcher it may be the node that is away, and comes back.
        let most = if self.patient { u32::MAX } else { RESTARTS };
        for tried in 0..=most {
            let begun = Instant::now();
            let Some(time) = self.time.words() else {
                tracing::info!(name, "a worker is not started again: its time is over");
                return self.in_order();
            };
            let mut child = match self.spawn(&time) {
                Ok(child) => child,
                Err(error) => return Kept::Badly(format!("its process cannot be started: {error}")),
            };
            let waited = self.waited(&mut child, &mut ending, &mut told).await;
            let now = *told.borrow();
            match waited {
                Ok(None) => {
                    tracing::error!(name, "a worker did not end, and was killed");
                    return self.killed();
                }
                Ok(Some(status)) if status.success() || *ending.borrow() || now.left => {
                    return self.in_order();
                }
                Ok(Some(status)) if !now.joined => return Kept::Badly(self.said(status)),
                Ok(Some(status)) => tracing::warn!(name, %status, tried, "a worker ended badly"),
                Err(error) => return Kept::Badly(format!("cannot wait for its process: {error}")),
            }
            let over = tokio::time::timeout(wait, async {
                tokio::select! {
                    _ = ending.wait_for(|ending| *ending) => {}
                    _ = told.wait_for(|told| told.left) => {}
                }
            });
            if over.await.is_ok() {
                return self.in_order();
            }
            wait = if self.patient && begun.elapsed() >= LONGEST_WAIT {
                RESTART_AFTER
            } else {
                (2 * wait).min(LONGEST_WAIT)
            };
        }
        Kept::Badly(format!("it ended badly {} times", RESTARTS + 1))
    }

    /// Waits for the process's end, and sees to it once it is to end; none: it had to be killed for it.
    async fn waited(
        &self,
        child: &mut Child,
        ending: &mut watch::Receiver<bool>,
        told: &mut watch::Receiver<Told>,
    ) -> io::Result<Option<std::process::ExitStatus>> {
        // An error of a channel means that this process is ending as well.
        tokio::select! {
            waited = child.wait() => return waited.map(Some),
            _ = ending.wait_for(|ending| *ending) => {}
            _ = told.wait_for(|told| told.stop) => {}
        }
        if self.patient && !told.borrow().stop {
            if let Ok(waited) = tokio::time::timeout(WORKER_END, child.wait()).await {
                return waited.map(Some);
            }
            tracing::warn!(
                name = self.name,
                "a worker did not end within {WORKER_END:?} and is told to"
            );
        }
        child.id().into_iter().for_each(terminate);
        if let Ok(waited) = tokio::time::timeout(WORKER_END, child.wait()).await {
            return waited.map(Some);
        }
        child.kill().await?;
        Ok(None)
    }

    /// The process that the agent before this one had started, if it lives.
    fn survivor(&self) -> Option<u32> {
        let note = self.note.as_ref().filter(|_| self.resumes)?;
        let text = std::fs::read_to_string(note).ok()?;
        let (pid, start) = text.trim().split_once(' ')?;
        let pid = pid.parse().ok()?;
        let start: u64 = start.parse().ok()?;
        (start_time(pid) == Some(start)).then_some(pid)
    }

    fn is_noted(&self) -> bool {
        self.note.as_ref().is_some_and(|note| note.exists())
    }

    /// Its words, and what launches it.
    fn command(&self, time: &[OsString]) -> io::Result<Vec<OsString>> {
        let words = [self.words.as_slice(), time].concat();
        let Some((system, node)) = &self.launch else {
            return Ok(words);
        };
        let launch = system.launches(std::slice::from_ref(node), &words).pop();
        let launch = launch
            .ok_or_else(|| io::Error::other("the batch system has no way to start a program on a node"))?;
        Ok(launch.words)
    }

    fn spawn(&self, time: &[OsString]) -> io::Result<Child> {
        let words = self.command(time)?;
        let Some((program, args)) = words.split_first() else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let mut command = Command::new(program);
        if let Some(log) = &self.log {
            if let Some(directory) = log.parent() {
                std::fs::create_dir_all(directory)?;
            }
            let file = std::fs::File::create(log)?;
            command.stdout(file.try_clone()?).stderr(file);
        }
        // A worker has its own process group: Ctrl-C reaches the agent, which drains it.
        let child = command
            .args(args)
            .stdin(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        if let Some(pid) = child.id()
            && let Err(error) = self.write_note(pid)
        {
            tracing::warn!(%error, name = self.name, "cannot note a worker's process");
        }
        Ok(child)
    }

    /// Notes the process for the agent that comes after this one.
    fn write_note(&self, pid: u32) -> io::Result<()> {
        let Some((note, start)) = self.note.as_ref().zip(start_time(pid)) else {
            return Ok(());
        };
        if let Some(directory) = note.parent() {
            std::fs::create_dir_all(directory)?;
        }
        std::fs::write(note, format!("{pid} {start}\n"))
    }

    /// How it ended, with the last that it wrote.
    fn said(&self, status: std::process::ExitStatus) -> String {
        let text = self
            .log
            .as_ref()
            .and_then(|log| std::fs::read(log).ok())
            .unwrap_or_default();
        let last = &text[text.len().saturating_sub(LAST_WORDS)..];
        let last = String::from_utf8_lossy(last);
        let last = last.trim();
        if last.is_empty() {
            format!("its process ended at once ({status})")
        } else {
            format!("its process ended at once ({status}): {last}")
        }
    }

    fn in_order(&self) -> Kept {
        self.forget();
        Kept::InOrder
    }

    fn killed(&self) -> Kept {
        self.forget();
        Kept::Killed
    }

    fn forget(&self) {
        for file in [&self.note, &self.log].into_iter().flatten() {
            // Best effort: what stays names a process that is gone.
            let _gone = std::fs::remove_file(file);
        }
    }
}

/// How a process came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    Ended,
    Killed,
}

/// Waits until a process that is no child of ours has ended; it is asked to when the pilot is ending, and killed if it does not.
async fn outlive(
    pid: u32,
    ending: &mut watch::Receiver<bool>,
    told: &mut watch::Receiver<Told>,
) -> io::Result<Over> {
    let Some((process, mut over)) = watch_process(pid)? else {
        return Ok(Over::Ended);
    };
    let gone = |_| Err(io::Error::other("whoever watched it is gone"));
    tokio::select! {
        heard = &mut over => {
            heard.unwrap_or_else(gone)?;
            return Ok(Over::Ended);
        }
        _ = ending.wait_for(|ending| *ending) => {}
        _ = told.wait_for(|told| told.stop) => {}
    }
    send(&process, rustix::process::Signal::TERM)?;
    if let Ok(heard) = tokio::time::timeout(WORKER_END, &mut over).await {
        heard.unwrap_or_else(gone)?;
        return Ok(Over::Ended);
    }
    // One that stands still ends by nothing else.
    send(&process, rustix::process::Signal::KILL)?;
    match tokio::time::timeout(WORKER_END, &mut over).await {
        Ok(heard) => heard.unwrap_or_else(gone).map(|()| Over::Killed),
        Err(_) => Err(io::Error::other("it does not end though it was killed")),
    }
}

/// Signals exactly this process, which may have ended meanwhile.
fn send(process: &OwnedFd, signal: rustix::process::Signal) -> io::Result<()> {
    match rustix::process::pidfd_send_signal(process, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A process, and who hears when it ends.
type Watched = (Arc<OwnedFd>, oneshot::Receiver<io::Result<()>>);

/// Hears when a process ends, from a thread that does nothing else; none: it has ended.
fn watch_process(pid: u32) -> io::Result<Option<Watched>> {
    let (tell, over) = oneshot::channel();
    let number = rustix::process::Pid::from_raw(pid.cast_signed()).ok_or(io::ErrorKind::InvalidInput)?;
    let process = match rustix::process::pidfd_open(number, rustix::process::PidfdFlags::empty()) {
        Ok(process) => Arc::new(process),
        Err(rustix::io::Errno::SRCH) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let watched = Arc::clone(&process);
    std::thread::Builder::new()
        .name("scalems-watch".to_owned())
        .spawn(move || {
            let ended = wait_for_end(&watched);
            // Whoever asked may have ended meanwhile.
            let _told = tell.send(ended);
        })?;
    Ok(Some((process, over)))
}

fn wait_for_end(process: &OwnedFd) -> io::Result<()> {
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

/// The same by another signal: whoever gets both does not wait for what runs.
pub(super) fn interrupt(pid: u32) {
    tell(pid, Signal::SIGINT);
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

/// The CPUs that this process may use.
pub(super) fn cpus_here() -> anyhow::Result<Vec<u32>> {
    let set = nix::sched::sched_getaffinity(Pid::from_raw(0)).context("read the affinity mask")?;
    Ok((0..nix::sched::CpuSet::count())
        .filter(|cpu| set.is_set(*cpu).unwrap_or(false))
        .map(|cpu| cpu as u32)
        .collect())
}

/// The CPUs of each of `count` workers, of those that there are: equal parts of them, or `cores` each; none: as many as there are
/// not, or all of them for the only one.
pub(super) fn shares(cpus: &[u32], cores: Option<u32>, count: u32) -> Vec<Option<Vec<u32>>> {
    let count = count as usize;
    if let Some(cores) = cores {
        let parts = cpus.chunks_exact(cores.max(1) as usize);
        return if count > 1 && parts.len() >= count {
            parts.take(count).map(|part| Some(part.to_vec())).collect()
        } else {
            vec![None; count]
        };
    }
    if count <= 1 || cpus.is_empty() {
        return vec![None; count];
    }
    (0..count)
        .map(|worker| {
            let (lo, hi) = (worker * cpus.len() / count, (worker + 1) * cpus.len() / count);
            // More workers than cores share: each has one, some the same.
            let part = if lo < hi {
                &cpus[lo..hi]
            } else {
                &cpus[lo.min(cpus.len() - 1)..][..1]
            };
            Some(part.to_vec())
        })
        .collect()
}

/// The words that start a worker of the pilot whose workers' connection file this is.
pub(super) fn words(args: &PilotStartArgs, file: &Path) -> io::Result<Vec<OsString>> {
    let mut words = bare_words(file);
    let numbers = [
        ("--cores", args.cores.map(u64::from)),
        ("--gpus", args.gpus.map(u64::from)),
        ("--memory", args.memory),
        ("--disk", args.disk),
    ];
    for (option, value) in numbers {
        if let Some(value) = value {
            words.extend([option.into(), value.to_string().into()]);
        }
    }
    words.extend(args.each.words()?);
    for (name, amount) in &args.resource {
        words.extend(["--resource".into(), format!("{name}={amount}").into()]);
    }
    Ok(words)
}

/// The words that start a worker of the pilot whose workers' connection file this is, whatever it offers.
pub(super) fn bare_words(file: &Path) -> Vec<OsString> {
    let mut words: Vec<OsString> = ["worker", "start", "--connection"].map(OsString::from).into();
    words.push(file.into());
    if let Some(parent) = file.parent() {
        words.extend(["--dir".into(), parent.join("tasks").into()]);
    }
    words
}

/// Numbers as `--cpus` and `--gpu-slots` take them.
pub(super) fn list(numbers: &[u32]) -> String {
    numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}
