//! Commands that run, and what they wrote.

use std::io::Read;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::Value;

use super::{PATIENCE, process};

/// A command that runs. Dropped, it is killed with its process group.
pub struct Running {
    what: String,
    child: Child,
    status: Option<ExitStatus>,
    written: Arc<Written>,
}

/// What it wrote so far.
#[derive(Default)]
struct Written {
    streams: Mutex<Streams>,
    changed: Condvar,
}

#[derive(Default)]
struct Streams {
    out: Vec<u8>,
    err: Vec<u8>,
    ended: u8,
}

/// How a command ended, and what it wrote.
#[derive(Debug)]
pub struct Output {
    what: String,
    /// The exit code; 128 and the signal, if it was ended by one.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Running {
    pub(super) fn start(mut command: Command, what: &str, input: Option<&[u8]>) -> Self {
        let stdin = if input.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        };
        command
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{what}: {error}"));
        let written = Arc::new(Written::default());
        follow(child.stdout.take().expect("it is piped"), &written, |streams| {
            &mut streams.out
        });
        follow(child.stderr.take().expect("it is piped"), &written, |streams| {
            &mut streams.err
        });
        if let (Some(mut pipe), Some(input)) = (child.stdin.take(), input) {
            let input = input.to_owned();
            // A command that does not read to the end is no fault here.
            std::thread::spawn(move || std::io::Write::write_all(&mut pipe, &input).is_ok());
        }
        Self {
            what: what.to_owned(),
            child,
            status: None,
            written,
        }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        process::signal(self.pid(), signal);
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.status.is_some() || self.wait_status(Instant::now()).is_some()
    }

    /// Waits until it has written `text` to standard output or standard error, and gives all it wrote there.
    pub fn until_written(&self, text: &str) -> String {
        self.written_or_ended(text).unwrap_or_else(|| {
            panic!(
                "`{}` did not write {text:?}, but:\n{}",
                self.what,
                self.all_written()
            )
        })
    }

    /// As [`Self::until_written`]; none if its output ended without that.
    pub fn written_or_ended(&self, text: &str) -> Option<String> {
        let until = Instant::now() + PATIENCE;
        let mut streams = self
            .written
            .streams
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        loop {
            for stream in [&streams.out, &streams.err] {
                let stream = String::from_utf8_lossy(stream);
                if stream.contains(text) {
                    return Some(stream.into_owned());
                }
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || streams.ended == 2 {
                return None;
            }
            streams = self
                .written
                .changed
                .wait_timeout(streams, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Waits for its end. What outlives it may still hold its output open.
    pub fn status(&mut self) -> ExitStatus {
        let Some(status) = self.wait_status(Instant::now() + PATIENCE) else {
            panic!(
                "`{}` did not end within {PATIENCE:?}; it wrote:\n{}",
                self.what,
                self.all_written()
            );
        };
        status
    }

    pub(super) fn wait_status(&mut self, until: Instant) -> Option<ExitStatus> {
        if self.status.is_none() && process::wait_gone(self.pid(), until) {
            self.status = Some(self.child.wait().expect("it is a child of this process"));
        }
        self.status
    }

    /// Waits for its end and the end of its output.
    pub fn output(mut self) -> Output {
        let status = self.status();
        let until = Instant::now() + PATIENCE;
        let mut streams = self
            .written
            .streams
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        while streams.ended < 2 {
            let left = until.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "`{}` has ended, but somebody holds its output open",
                self.what
            );
            streams = self
                .written
                .changed
                .wait_timeout(streams, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Output {
            what: self.what.clone(),
            code: code(status),
            out: text(&streams.out),
            err: text(&streams.err),
        }
    }

    pub(super) fn all_written(&self) -> String {
        let streams = self
            .written
            .streams
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        format!(
            "{}{}",
            String::from_utf8_lossy(&streams.out),
            String::from_utf8_lossy(&streams.err)
        )
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.wait_status(Instant::now()).is_none() {
            // It may end by itself meanwhile.
            let _killed = killpg(Pid::from_raw(self.pid() as i32), Signal::SIGKILL);
            self.wait_status(Instant::now() + PATIENCE);
        }
    }
}

fn follow(
    mut pipe: impl Read + Send + 'static,
    written: &Arc<Written>,
    of: fn(&mut Streams) -> &mut Vec<u8>,
) {
    let written = Arc::clone(written);
    std::thread::spawn(move || {
        let mut some = vec![0; 1 << 16];
        loop {
            let count = pipe.read(&mut some).unwrap_or(0);
            let mut streams = written.streams.lock().unwrap_or_else(PoisonError::into_inner);
            of(&mut streams).extend_from_slice(&some[..count]);
            streams.ended += u8::from(count == 0);
            written.changed.notify_all();
            if count == 0 {
                return;
            }
        }
    });
}

/// The exit code as a shell shows it.
pub(super) fn code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;
    status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .expect("it has ended")
}

impl Output {
    /// Expects that all went well.
    #[track_caller]
    pub fn well(self) -> Self {
        assert!(
            self.code == 0,
            "`{}` ended with {}:\n{}\n{}",
            self.what,
            self.code,
            self.out,
            self.err
        );
        self
    }

    /// Expects this exit code, and that standard error has all of these texts.
    #[track_caller]
    pub fn fails(self, code: i32, texts: &[&str]) -> Self {
        let missing: Vec<_> = texts.iter().filter(|text| !self.err.contains(**text)).collect();
        assert!(
            self.code == code && missing.is_empty(),
            "`{}` ended with {}, not {code}, or does not say {missing:?}:\n{}\n{}",
            self.what,
            self.code,
            self.out,
            self.err
        );
        self
    }

    /// Standard output as one JSON value.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| {
            panic!(
                "`{}` did not write one JSON value: {error}\n{}",
                self.what, self.out
            )
        })
    }

    /// Standard output as JSON values, one a line.
    #[track_caller]
    pub fn jsonl(&self) -> Vec<Value> {
        let read = |line: &str| {
            serde_json::from_str(line).unwrap_or_else(|error| {
                panic!("`{}` wrote a line that is not JSON: {error}\n{line}", self.what)
            })
        };
        self.out.lines().map(read).collect()
    }

    /// Standard output without the blanks around it.
    pub fn text(&self) -> &str {
        self.out.trim()
    }
}
