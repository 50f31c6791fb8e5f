//! Processes, waited for by events.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::process::{PidfdFlags, pidfd_open};

/// Waits until the process has ended; false if it has not by then.
pub fn wait_gone(pid: u32, until: Instant) -> bool {
    let raw = rustix::process::Pid::from_raw(pid as i32).expect("a process has a number above 0");
    let Ok(handle) = pidfd_open(raw, PidfdFlags::empty()) else {
        return true;
    };
    poll_until(&handle, PollFlags::POLLIN, until)
}

/// Waits until the descriptor is ready; false if it is not by then.
pub(super) fn poll_until(descriptor: &impl std::os::fd::AsFd, flags: PollFlags, until: Instant) -> bool {
    loop {
        let left = until.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(descriptor.as_fd(), flags)], timeout) {
            Ok(0) if Instant::now() >= until => return false,
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return true,
            Err(error) => panic!("poll: {error}"),
        }
    }
}

/// Sends a signal to a process, which may have ended.
pub fn signal(pid: u32, signal: Signal) {
    match kill(Pid::from_raw(pid as i32), signal) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(error) => panic!("send {signal} to {pid}: {error}"),
    }
}

/// The thread of this name in a process.
pub fn thread(pid: u32, name: &str) -> Pid {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the process is there");
    let named = tasks.flatten().find(|task| {
        let found = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        found.trim_end() == name
    });
    let named = named.unwrap_or_else(|| panic!("process {pid} has no thread {name}"));
    let number = named.file_name().to_str().and_then(|text| text.parse().ok());
    Pid::from_raw(number.expect("threads are listed by number"))
}

/// One thread of a process that stands still until this is dropped, while the others go on.
#[derive(Debug)]
pub struct Halted(Pid);

/// Halts a thread.
pub fn halt_thread(thread: Pid) -> Halted {
    ptrace::seize(thread, ptrace::Options::empty()).expect("seize the thread");
    ptrace::interrupt(thread).expect("interrupt the thread");
    let stopped = waitpid(thread, Some(WaitPidFlag::__WALL)).expect("wait for the thread");
    assert!(
        matches!(stopped, WaitStatus::PtraceEvent(..) | WaitStatus::Stopped(..)),
        "{stopped:?}"
    );
    Halted(thread)
}

impl Drop for Halted {
    fn drop(&mut self) {
        ptrace::detach(self.0, None).expect("let the thread go on");
    }
}

/// Whether there is such a process, and not only its remains.
pub fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
    state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

/// The processes that have this directory for temporary files, which is all that a home's commands started.
pub fn of_home(directory: &Path) -> Vec<(u32, String)> {
    let mark = format!("TMPDIR={}", directory.display());
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("/proc is there").flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        if environment
            .split(|byte| *byte == 0)
            .any(|variable| variable == mark.as_bytes())
        {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            found.push((pid, String::from_utf8_lossy(&line).replace('\0', " ")));
        }
    }
    found
}
