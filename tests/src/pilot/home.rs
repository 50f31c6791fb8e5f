//! Where pilots live during a test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::running::{Output, Running};
use super::{complain, process, program};

/// How long what a pilot started may take to be gone after it.
const GONE: Duration = Duration::from_secs(10);

/// A home of pilots, empty at first, with a working directory. Dropped, it must have no process left.
pub struct Home {
    directory: TempDir,
    /// An agent of it was killed: its socket files stay until another pilot is started.
    killed: std::cell::Cell<bool>,
}

impl Default for Home {
    fn default() -> Self {
        Self::new()
    }
}

impl Home {
    /// A new one.
    pub fn new() -> Self {
        // Socket files lie in it, and their paths are short.
        let directory = tempfile::Builder::new()
            .prefix("scalems-t")
            .tempdir_in("/tmp")
            .expect("/tmp is there");
        for part in ["home", "run", "work"] {
            std::fs::create_dir(directory.path().join(part)).expect("the directory is new");
        }
        Self {
            directory,
            killed: std::cell::Cell::new(false),
        }
    }

    /// The home itself: `SCALEMS_HOME`.
    pub fn path(&self) -> PathBuf {
        self.directory.path().join("home")
    }

    /// Where commands run.
    pub fn work(&self) -> PathBuf {
        self.directory.path().join("work")
    }

    /// Where socket files lie: `XDG_RUNTIME_DIR`.
    pub fn sockets(&self) -> PathBuf {
        self.directory.path().join("run")
    }

    /// The directory for temporary files, by which processes of this home are known: `TMPDIR`.
    pub fn temporary(&self) -> PathBuf {
        self.directory.path().to_owned()
    }

    /// The directory of the pilot called `name`.
    pub fn of_pilot(&self, name: &str) -> PathBuf {
        self.path().join("pilots").join(name)
    }

    /// Writes a file into the working directory.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.work().join(name);
        std::fs::write(&path, text).expect("the working directory can be written");
        path
    }

    /// Reads a file of the working directory.
    pub fn read(&self, name: &str) -> String {
        let path = self.work().join(name);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Runs a shell's command line, in which `scalems` is the program under test.
    #[track_caller]
    pub fn sh(&self, line: &str) -> Output {
        self.start(line, None).output()
    }

    /// As [`Self::sh`], with something on standard input.
    #[track_caller]
    pub fn sh_with(&self, line: &str, input: &[u8]) -> Output {
        self.start(line, Some(input)).output()
    }

    /// Starts one command, without a shell around it.
    #[track_caller]
    pub fn spawn(&self, line: &str) -> Running {
        self.start(&format!("exec {line}"), None)
    }

    fn start(&self, line: &str, input: Option<&[u8]>) -> Running {
        let mut command = self.command("/bin/sh");
        command.args(["-c", line]);
        Running::start(command, line, input)
    }

    /// A command in this home's environment and working directory.
    pub fn command(&self, name: &str) -> Command {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let paths = std::iter::once(program::directory().to_owned()).chain(std::env::split_paths(&path));
        let mut command = Command::new(name);
        command
            .current_dir(self.work())
            .env(
                "PATH",
                std::env::join_paths(paths).expect("no directory of PATH has a colon"),
            )
            .env("SCALEMS_HOME", self.path())
            .env("XDG_RUNTIME_DIR", self.sockets())
            .env("TMPDIR", self.directory.path())
            .env_remove("SCALEMS_CONNECTION")
            .env_remove("SCALEMS_PILOT")
            .env_remove("SCALEMS_LOG")
            .env_remove("SCALEMS_LOG_FORMAT")
            .env_remove("XDG_STATE_HOME");
        command
    }

    /// An agent was killed.
    pub fn note_killed(&self) {
        self.killed.set(true);
    }

    /// Kills every process of this home.
    #[track_caller]
    pub fn kill_what_is_left(&self) {
        for (pid, _) in process::of_home(self.directory.path()) {
            process::signal(pid, Signal::SIGKILL);
        }
        self.until_empty();
    }

    /// Waits until no process of this home is left.
    #[track_caller]
    pub fn until_empty(&self) {
        let left = self.left_after(GONE);
        assert!(left.is_empty(), "processes are left: {left:?}");
    }

    fn left_after(&self, patience: Duration) -> Vec<(u32, String)> {
        let until = Instant::now() + patience;
        loop {
            let left = process::of_home(self.directory.path());
            if left.iter().all(|(pid, _)| process::wait_gone(*pid, until)) && !left.is_empty() {
                continue;
            }
            return left
                .into_iter()
                .filter(|(pid, _)| process::is_alive(*pid))
                .collect();
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let expected = std::thread::panicking();
        let left = self.left_after(if expected { Duration::ZERO } else { GONE });
        // What is killed may just have started something: a few rounds get all of it.
        for _ in 0..10 {
            for (pid, _) in process::of_home(self.directory.path()) {
                process::signal(pid, Signal::SIGKILL);
                process::wait_gone(pid, Instant::now() + GONE);
            }
        }
        if !left.is_empty() && !expected {
            complain(&format!("left running, and killed: {left:?}"));
        }
        let sockets = std::fs::read_dir(self.sockets().join(format!("scalems-{}", nix::unistd::geteuid())));
        let sockets: Vec<_> = sockets
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .collect();
        if !sockets.is_empty() && !expected && !self.killed.get() {
            complain(&format!("socket files are left: {sockets:?}"));
        }
    }
}

/// A path as the shell takes it.
pub fn quoted(path: &Path) -> String {
    format!("'{}'", path.display())
}
