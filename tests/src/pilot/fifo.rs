//! Named pipes: how a test and its programs wait for each other.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use nix::libc::O_NONBLOCK;
use nix::poll::PollFlags;
use nix::sys::stat::Mode;

use super::{PATIENCE, process};

/// A named pipe. What programs write to it the test reads, or the other way round.
pub struct Fifo {
    path: PathBuf,
    file: File,
    read: Vec<u8>,
}

impl Fifo {
    /// Makes one called `name` in `directory`.
    pub fn new(directory: &Path, name: &str) -> Self {
        let path = directory.join(name);
        nix::unistd::mkfifo(&path, Mode::S_IRWXU).expect("a pipe can be made");
        // Both ends: so nobody waits for this side to open, and nobody reads an end.
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(O_NONBLOCK)
            .open(&path);
        Self {
            file: file.expect("the pipe is there"),
            path,
            read: Vec::new(),
        }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The next line that a program wrote.
    #[track_caller]
    pub fn line(&mut self) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                return String::from_utf8_lossy(&line[..end]).into_owned();
            }
            let came = self.some(until);
            assert!(
                came,
                "no line came by {} within {PATIENCE:?}",
                self.path.display()
            );
        }
    }

    /// Adds what programs write to `seen` until it has `text`.
    #[track_caller]
    pub fn until(&mut self, seen: &mut String, text: &str) {
        let until = Instant::now() + PATIENCE;
        while !seen.contains(text) {
            let came = self.some(until);
            seen.push_str(&String::from_utf8_lossy(&self.read));
            self.read.clear();
            assert!(
                came,
                "{text:?} did not come by {} within {PATIENCE:?}: {seen:?}",
                self.path.display()
            );
        }
    }

    /// What programs wrote since, waited for; nothing if nothing came by then.
    pub fn more(&mut self, until: Instant) -> Vec<u8> {
        if self.read.is_empty() {
            self.some(until);
        }
        std::mem::take(&mut self.read)
    }

    /// Reads what is there, waited for; false if nothing came by then.
    fn some(&mut self, until: Instant) -> bool {
        let mut some = [0; 4096];
        loop {
            match self.file.read(&mut some) {
                Ok(count) => {
                    self.read.extend_from_slice(&some[..count]);
                    return true;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if !process::poll_until(&self.file, PollFlags::POLLIN, until) {
                        return false;
                    }
                }
                Err(error) => panic!("read {}: {error}", self.path.display()),
            }
        }
    }

    /// Lets so many programs go on that read a line.
    pub fn release(&mut self, programs: usize) {
        self.file
            .write_all("go\n".repeat(programs).as_bytes())
            .expect("the pipe takes some lines");
    }
}
