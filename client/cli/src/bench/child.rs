//! A process that is started for a measurement and does not outlive it.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::commands::pilot::start::own_program;
use crate::interrupt;

/// How much of what a process complained about is shown.
const COMPLAINT_BYTES: usize = 2_000;

/// A directory of this measurement's own.
pub(super) fn directory() -> anyhow::Result<TempDir> {
    let permissions = std::fs::Permissions::from_mode(0o700);
    let directory = tempfile::Builder::new()
        .prefix("scalems-bench-")
        .permissions(permissions)
        .tempdir();
    directory.context("make a temporary directory")
}

/// A running process of this program. Dropped, it is killed.
pub(super) struct Guarded {
    what: &'static str,
    child: Child,
    stdout: ChildStdout,
    log: PathBuf,
}

impl Guarded {
    /// Starts this program with these arguments. Its errors go to a file in `directory`.
    pub(super) fn start<A: AsRef<OsStr>>(
        what: &'static str,
        directory: &Path,
        args: impl IntoIterator<Item = A>,
    ) -> anyhow::Result<Self> {
        let log = directory.join(format!("{}.log", what.replace(' ', "-")));
        let errors = File::create(&log).with_context(|| format!("create {}", log.display()))?;
        let mut command = Command::new(own_program()?);
        command
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors);
        // Ctrl-C is for this process, which then ends that one.
        command.process_group(0);
        // If this process is killed, that one is told to end.
        // SAFETY: between fork and exec only prctl is called, which is async-signal-safe.
        unsafe {
            command.pre_exec(|| Ok(nix::sys::prctl::set_pdeathsig(Signal::SIGTERM)?));
        }
        let mut child = command.spawn().with_context(|| format!("start the {what}"))?;
        let stdout = child
            .stdout
            .take()
            .expect("invariant: standard output was asked for");
        Ok(Self {
            what,
            child,
            stdout,
            log,
        })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Reads a line of its output, by which it says that it serves.
    pub(super) fn line(&mut self, limit: Duration) -> anyhow::Result<String> {
        let until = Instant::now() + limit;
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            anyhow::ensure!(
                Instant::now() < until,
                "the {} does not serve after {limit:?}{}",
                self.what,
                self.complaint()
            );
            interrupt::check()?;
            if !self.readable(interrupt::SLICE)? {
                continue;
            }
            let mut bytes = [0; 4_096];
            let count = self.stdout.read(&mut bytes)?;
            anyhow::ensure!(count > 0, "the {} ended at once{}", self.what, self.complaint());
            line.extend_from_slice(&bytes[..count]);
        }
        Ok(String::from_utf8_lossy(&line).into_owned())
    }

    /// Whether there is output, or all that could write some have ended.
    fn readable(&self, wait: Duration) -> anyhow::Result<bool> {
        let wait = PollTimeout::try_from(wait).expect("invariant: waits are short");
        let mut sources = [PollFd::new(self.stdout.as_fd(), PollFlags::POLLIN)];
        match poll(&mut sources, wait) {
            Ok(ready) => Ok(ready > 0),
            Err(nix::errno::Errno::EINTR) => Ok(false),
            Err(errno) => Err(errno).context("wait for output"),
        }
    }

    /// What it wrote to its standard error last.
    pub(super) fn complaint(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let tail = &text[text.len().saturating_sub(COMPLAINT_BYTES)..];
        match String::from_utf8_lossy(tail).trim() {
            "" => String::new(),
            tail => format!("; it said: {tail}"),
        }
    }

    /// Whether it was waited for already.
    pub(super) fn is_over(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// Kills it.
    pub(super) fn end(&mut self) {
        // One that has been waited for is not there any more; then there is nothing to kill, and no harm in it.
        let _gone = self.child.kill();
        let _waited = self.child.wait();
    }

    pub(super) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        kill(pid, signal).with_context(|| format!("send {signal} to the {}", self.what))
    }

    /// Whether it and the processes that it started have ended within this time: then nobody is left to write.
    pub(super) fn ended(&mut self, limit: Duration) -> anyhow::Result<bool> {
        let until = Instant::now() + limit;
        let mut bytes = [0; 4_096];
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if self.readable(left.min(interrupt::SLICE))? && self.stdout.read(&mut bytes)? == 0 {
                // Its output is closed with its end.
                let status = self.child.wait()?;
                anyhow::ensure!(
                    status.success(),
                    "the {} ended badly ({status}){}",
                    self.what,
                    self.complaint()
                );
                return Ok(true);
            }
            if left == Duration::ZERO {
                return Ok(false);
            }
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.end();
    }
}
