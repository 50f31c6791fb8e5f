//! The monitor, on a terminal of its own, of a pilot with many workers and a million tasks: how soon it shows something, and what it costs.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::pty::{Winsize, openpty};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use scalems_agent::worker::crowd::Crowd;
use scalems_client::{Indices, Task};
use scalems_transport::ConnectionFile;

use super::pilot::{BenchPilot, Mark, START};
use super::process::{activity, memory};
use super::row::Row;
use super::workers::{drive, join};
use super::{MIB, Way};
use crate::interrupt;

/// Tasks that wait: no worker has what they want.
const TASKS: u32 = 1_000_000;
const WAITING_MODE: &str = "bench.waiting";
/// So long each screen is looked at.
const LOOK: Duration = Duration::from_secs(10);
/// The screens, by their keys: the pilot as a whole, submissions, tasks, workers.
const SCREENS: &[u8] = b"1234";
/// A large terminal.
const SIZE: Winsize = Winsize {
    ws_row: 60,
    ws_col: 200,
    ws_xpixel: 0,
    ws_ypixel: 0,
};

pub(super) fn run(n: u64, way: Way) -> anyhow::Result<Row> {
    // Each worker has several descriptors here.
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    let mut pilot = BenchPilot::start(way, false)?;
    let session = pilot.connect()?;
    let indices = Indices {
        first: 0,
        step: 1,
        count: TASKS,
    };
    session.submit_held(Task::new(WAITING_MODE), indices)?;
    let file = ConnectionFile::read(&pilot.worker_file())?;
    let mut crowd = Crowd::connect(&file, usize::try_from(n)?).context("connect the workers")?;
    join(&mut crowd, n)?;
    drop(session);
    pilot.leave();
    let mut top = Watcher::start(&pilot, n)?;
    let first = loop {
        interrupt::check()?;
        crowd.drive(Duration::from_millis(2))?;
        if let Ok(after) = top.first.try_recv() {
            break after;
        }
        anyhow::ensure!(
            top.begun.elapsed() < START,
            "the monitor has shown nothing in {START:?}"
        );
    };
    let mark = Mark::new(&pilot)?;
    let before = activity(top.child.id())?;
    for screen in SCREENS {
        top.terminal.write_all(&[*screen])?;
        drive(&mut crowd, LOOK)?;
    }
    let (time, usage) = mark.elapsed(&pilot)?;
    let after = activity(top.child.id())?;
    let (_, peak) = memory(top.child.id())?;
    let ended = top.leave();
    super::workers::stop(pilot, crowd)?;
    ended?;
    let mut row = Row::new("top", n, way).used(usage).active(&before, &after, time);
    row.client_cpu_s = None;
    row.seconds = Some(time.as_secs_f64());
    row.first_screen_ms = Some(first.as_secs_f64() * 1e3);
    row.top_peak_rss_mb = Some(peak as f64 / MIB);
    Ok(row)
}

/// The monitor's process. Dropped, it is ended.
struct Watcher {
    child: Child,
    terminal: File,
    begun: Instant,
    /// How long after its start it showed the pilot.
    first: Receiver<Duration>,
}

impl Watcher {
    fn start(pilot: &BenchPilot, workers: u64) -> anyhow::Result<Self> {
        let pty = openpty(&SIZE, None).context("no terminal can be made")?;
        let theirs = || -> anyhow::Result<OwnedFd> { Ok(pty.slave.try_clone()?) };
        let mut reads = File::from(pty.master.try_clone()?);
        let begun = Instant::now();
        let child = Command::new(std::env::current_exe()?)
            .arg("--pilot")
            .arg(pilot.place())
            .args(["top", "--no-settings", "--screen", "overview"])
            .env("TERM", "xterm-256color")
            .stdin(Stdio::from(theirs()?))
            .stdout(Stdio::from(theirs()?))
            .stderr(Stdio::from(theirs()?))
            .spawn()
            .context("start the monitor")?;
        // What is on the screen once the pilot has said what it has; blanks are not drawn.
        let wanted = format!("/{workers}").into_bytes();
        let (told, first) = channel();
        // It ends with the terminal, when the monitor has gone.
        std::thread::spawn(move || {
            let (mut seen, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
            let mut shown = false;
            while let Ok(count) = reads.read(&mut buffer) {
                if count == 0 {
                    return;
                }
                if !shown {
                    seen.extend_from_slice(buffer.get(..count).unwrap_or_default());
                    shown = seen.windows(wanted.len()).any(|part| part == wanted);
                    if shown {
                        // Whoever waited may have given up.
                        let _gone = told.send(begun.elapsed());
                    }
                }
            }
        });
        Ok(Self {
            child,
            terminal: File::from(pty.master),
            begun,
            first,
        })
    }

    fn leave(mut self) -> anyhow::Result<()> {
        self.terminal.write_all(b"q")?;
        // Who reads its terminal ends with it.
        if let Err(RecvTimeoutError::Disconnected) = self.first.recv_timeout(START) {
            let status = self.child.wait()?;
            anyhow::ensure!(status.success(), "the monitor ended with {status}");
            return Ok(());
        }
        anyhow::bail!("the monitor did not end in {START:?}")
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}
