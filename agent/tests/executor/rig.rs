//! What all these tests use.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;
use scalems_agent::executor::{
    Captured, Config, Executor, Exit, Leftovers, ProgramEvent, ProgramOutcome, ProgramSpec,
};

/// No wait in these tests is longer.
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);

/// An executor and the events that it has reported.
pub(crate) struct Rig {
    pub(crate) executor: Executor,
    bell: Arc<(Mutex<bool>, Condvar)>,
    events: VecDeque<ProgramEvent>,
    next_key: u64,
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self::with(Config::default())
    }

    pub(crate) fn with(config: Config) -> Self {
        let bell = Arc::new((Mutex::new(false), Condvar::new()));
        let rung = Arc::clone(&bell);
        let wake = move || {
            *rung.0.lock().unwrap() = true;
            rung.1.notify_all();
        };
        let executor = Executor::start(config, Arc::new(wake)).unwrap();
        Self {
            executor,
            bell,
            events: VecDeque::new(),
            next_key: 1,
        }
    }

    /// Starts a program under a new key.
    pub(crate) fn start(&mut self, spec: ProgramSpec) -> u64 {
        let key = self.next_key;
        self.next_key += 1;
        self.executor.start_program(key, spec).unwrap();
        key
    }

    /// Takes the first event, now or later, that `pick` wants.
    pub(crate) fn wait_for<T>(
        &mut self,
        what: &str,
        mut pick: impl FnMut(&mut ProgramEvent) -> Option<T>,
    ) -> T {
        let end = Instant::now() + DEADLINE;
        loop {
            let found = self
                .events
                .iter_mut()
                .enumerate()
                .find_map(|(at, event)| Some((at, pick(event)?)));
            if let Some((at, found)) = found {
                self.events.remove(at);
                return found;
            }
            let mut rung = self.bell.0.lock().unwrap();
            while !*rung {
                let left = end.saturating_duration_since(Instant::now());
                assert!(
                    !left.is_zero(),
                    "no {what} within {DEADLINE:?}; events: {:?}",
                    self.events
                );
                rung = self.bell.1.wait_timeout(rung, left).unwrap().0;
            }
            *rung = false;
            drop(rung);
            let mut batch = Vec::new();
            self.executor.drain(&mut batch);
            self.events.extend(batch);
        }
    }

    /// The process id of a program, once it runs.
    pub(crate) fn started(&mut self, key: u64) -> i32 {
        self.wait_for("start", |event| match event {
            ProgramEvent::Started { key: this, pid, .. } if *this == key => Some(*pid),
            ProgramEvent::Ended { key: this, outcome } if *this == key => panic!("it ended: {outcome:?}"),
            _ => None,
        })
    }

    pub(crate) fn ended(&mut self, key: u64) -> ProgramOutcome {
        *self.wait_for("end", |event| match event {
            ProgramEvent::Ended { key: this, outcome } if *this == key => {
                Some(std::mem::replace(outcome, Box::new(nothing())))
            }
            _ => None,
        })
    }

    pub(crate) fn run(&mut self, spec: ProgramSpec) -> ProgramOutcome {
        let key = self.start(spec);
        self.ended(key)
    }

    /// Runs a shell script and returns what it printed.
    pub(crate) fn output(&mut self, script: &str) -> String {
        text(&self.run(shell(script)))
    }

    /// Whether a program has been reported over already.
    pub(crate) fn has_ended(&mut self, key: u64) -> bool {
        let mut batch = Vec::new();
        self.executor.drain(&mut batch);
        self.events.extend(batch);
        self.events
            .iter()
            .any(|event| matches!(event, ProgramEvent::Ended { key: this, .. } if *this == key))
    }
}

fn nothing() -> ProgramOutcome {
    ProgramOutcome {
        exit: Exit::StatusLost,
        stdout: Captured::default(),
        stderr: Captured::default(),
        cpu_seconds: 0.0,
        peak_rss_bytes: 0,
        peak_rss_exact: false,
        peak_memory_bytes: 0,
        wall_seconds: 0.0,
        stopped_by: None,
        leftovers: Leftovers::default(),
        log: None,
    }
}

/// A shell script with a PATH.
pub(crate) fn shell(script: &str) -> ProgramSpec {
    let mut spec = ProgramSpec::new(["sh", "-c", script]);
    spec.env.push(("PATH".into(), "/usr/bin:/bin".into()));
    spec
}

/// The same, marked as a task.
pub(crate) fn task(name: &str, script: &str) -> ProgramSpec {
    let mut spec = shell(script);
    spec.env.push(("SCALEMS_TASK".into(), name.into()));
    spec
}

/// What a program printed; it must have ended well.
pub(crate) fn text(outcome: &ProgramOutcome) -> String {
    assert_eq!(
        outcome.exit,
        Exit::Exited(0),
        "{}",
        String::from_utf8_lossy(&outcome.stderr.tail)
    );
    String::from_utf8(outcome.stdout.tail.clone()).unwrap()
}

/// A named pipe by which programs tell a test how far they are.
pub(crate) struct Fifo {
    pub(crate) path: PathBuf,
    reader: File,
    read: Vec<u8>,
}

impl Fifo {
    pub(crate) fn new(directory: &Path) -> Self {
        let path = directory.join("fifo");
        nix::unistd::mkfifo(&path, Mode::S_IRWXU).unwrap();
        // Also for writing, so that it never ends.
        let reader = File::options()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(&path)
            .unwrap();
        Self {
            path,
            reader,
            read: Vec::new(),
        }
    }

    /// The next line that some program wrote.
    pub(crate) fn line(&mut self) -> String {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                return String::from_utf8(line).unwrap().trim().to_owned();
            }
            wait_readable(&[self.reader.as_fd()]);
            let mut buffer = [0; 4096];
            let length = self.reader.read(&mut buffer).unwrap();
            self.read.extend(&buffer[..length]);
        }
    }

    pub(crate) fn pid(&mut self) -> i32 {
        self.line().parse().unwrap()
    }
}

/// Waits for each of them to become readable.
pub(crate) fn wait_readable(fds: &[BorrowedFd<'_>]) {
    let end = Instant::now() + DEADLINE;
    for fd in fds {
        let left = end.saturating_duration_since(Instant::now());
        let mut poll_fd = [PollFd::new(*fd, PollFlags::POLLIN)];
        let ready = poll(&mut poll_fd, PollTimeout::try_from(left.as_millis()).unwrap()).unwrap();
        assert_eq!(ready, 1, "nothing came within {DEADLINE:?}");
    }
}

/// Becomes readable when the process ends.
pub(crate) fn pidfd(pid: i32) -> OwnedFd {
    // SAFETY: no pointers; the new descriptor is nobody else's.
    unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, pid, 0);
        assert!(fd >= 0, "process {pid}: {}", std::io::Error::last_os_error());
        OwnedFd::from_raw_fd(fd as i32)
    }
}

pub(crate) fn is_there(pid: i32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// Runs the body of a test in a process of its own: for tests of what belongs to a process as a whole, such as
/// its memory, its descriptors and its orphans.
pub(crate) fn alone(body: impl FnOnce()) {
    const ALONE: &str = "SCALEMS_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return body();
    }
    let test = std::thread::current()
        .name()
        .expect("a test's thread bears its name")
        .to_owned();
    let mut spec = ProgramSpec::new([
        test.as_str(),
        "--exact",
        test.as_str(),
        "--nocapture",
        "--test-threads=1",
    ]);
    spec.program = Some(std::env::current_exe().unwrap());
    spec.env = std::env::vars_os().chain([(ALONE.into(), "1".into())]).collect();
    spec.time_limit = Some(DEADLINE * 2);
    let outcome = Rig::new().run(spec);
    let said = String::from_utf8_lossy(&outcome.stdout.tail);
    let complained = String::from_utf8_lossy(&outcome.stderr.tail);
    assert_eq!(outcome.exit, Exit::Exited(0), "{said}\n{complained}");
    assert!(said.contains("1 passed"), "{said}");
}
