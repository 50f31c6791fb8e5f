//! One output stream as it is read: the end of it in memory, the beginning in a file, all of it counted.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use nix::errno::Errno;
use scalems_protocol::packed::Why;
use scalems_protocol::program::{Keep, Written};

use super::outcome::{Captured, LogFileState, StartError};
use super::packed::{Gate, PackedLog, Stream};
use super::spec::{Capture, FileMade, LogFile};

/// Takes what a program writes.
#[derive(Debug)]
pub(super) struct Sink {
    tail: Tail,
    total: u64,
    log: Option<Log>,
    packed: Option<Packed>,
}

impl Sink {
    pub(super) fn open(capture: Capture) -> Result<Self, StartError> {
        let log = capture.file.map(Log::open).transpose()?;
        Ok(Self {
            tail: Tail::new(capture.tail_cap),
            total: 0,
            log,
            packed: None,
        })
    }

    /// What comes goes into the packed log too, from now on.
    pub(super) fn log_into(&mut self, log: Arc<PackedLog>, number: u64, stream: Stream, gate: Gate) {
        self.packed = Some(Packed {
            log,
            number,
            stream,
            gate,
            at: self.total,
            lost: None,
        });
    }

    pub(super) fn take(&mut self, chunk: &[u8]) {
        self.total += chunk.len() as u64;
        self.tail.push(chunk);
        if let Some(log) = &mut self.log {
            log.write(chunk);
        }
        if let Some(packed) = &mut self.packed {
            packed.take(chunk);
        }
    }

    /// What was written from a place on, as far as it is kept.
    pub(super) fn since(&self, from: u64) -> Written {
        let kept = self.tail.bytes.len() as u64;
        let from = from.clamp(self.total - kept, self.total);
        Written {
            from,
            bytes: self.tail.last((self.total - from) as usize),
            total: self.total,
        }
    }

    /// The stream has ended, and the program `well` or not.
    pub(super) fn finish(mut self, cut_off: bool, well: bool) -> Captured {
        if let Some(packed) = &mut self.packed {
            packed.tell_lost();
        }
        let tail = self.tail.into_bytes();
        Captured {
            truncated: (tail.len() as u64) < self.total,
            tail,
            total_bytes: self.total,
            cut_off,
            file: self.log.map(|log| log.end(well)),
        }
    }
}

/// The last bytes of a stream. Memory is taken as bytes come, so that silent programs cost none.
#[derive(Debug)]
struct Tail {
    cap: usize,
    bytes: Vec<u8>,
    /// Where the oldest byte lies, once `bytes` has reached the cap.
    oldest: usize,
}

impl Tail {
    fn new(cap: usize) -> Self {
        Self {
            cap,
            bytes: Vec::new(),
            oldest: 0,
        }
    }

    fn push(&mut self, chunk: &[u8]) {
        let kept = chunk.len().min(self.cap);
        let chunk = chunk.get(chunk.len() - kept..).unwrap_or_default();
        let (appended, wrapped) = chunk.split_at(kept.min(self.cap - self.bytes.len()));
        self.bytes.extend_from_slice(appended);
        let (right, left) = wrapped.split_at(wrapped.len().min(self.bytes.len() - self.oldest));
        self.overwrite(right);
        self.overwrite(left);
    }

    /// `part` reaches at most to the end of the buffer.
    fn overwrite(&mut self, part: &[u8]) {
        if part.is_empty() {
            return;
        }
        let end = self.oldest + part.len();
        self.bytes
            .get_mut(self.oldest..end)
            .expect("invariant: split at the end")
            .copy_from_slice(part);
        self.oldest = if end == self.cap { 0 } else { end };
    }

    /// The last `count` bytes, of which there are so many.
    fn last(&self, count: usize) -> Vec<u8> {
        let (newer, older) = self.bytes.split_at(self.oldest);
        let skip = self.bytes.len() - count;
        let older = older.get(skip.min(older.len())..).unwrap_or_default();
        let newer = newer
            .get(newer.len() - (count - older.len())..)
            .unwrap_or_default();
        [older, newer].concat()
    }

    fn into_bytes(mut self) -> Vec<u8> {
        self.bytes.rotate_left(self.oldest);
        self.bytes
    }
}

/// The way of a stream into the packed log.
#[derive(Debug)]
struct Packed {
    log: Arc<PackedLog>,
    number: u64,
    stream: Stream,
    gate: Gate,
    /// Where in the stream the next byte lies.
    at: u64,
    /// What was dropped since something passed last: from where, how much, why.
    lost: Option<(u64, u64, Why)>,
}

impl Packed {
    fn take(&mut self, chunk: &[u8]) {
        let (passed, why) = self.gate.admit(chunk.len(), Instant::now());
        let (some, rest) = chunk.split_at(passed);
        if !some.is_empty() {
            self.tell_lost();
            if !self.log.piece(self.number, self.stream, self.at, some) {
                self.lose(some.len(), Why::Late);
            }
            self.at += some.len() as u64;
        }
        if !rest.is_empty() {
            self.lose(rest.len(), why);
            self.at += rest.len() as u64;
        }
    }

    fn lose(&mut self, bytes: usize, reason: Why) {
        if self.lost.is_some_and(|(.., why)| why != reason) {
            self.tell_lost();
        }
        let (_, count, _) = self.lost.get_or_insert((self.at, 0, reason));
        *count += bytes as u64;
    }

    fn tell_lost(&mut self) {
        if let Some((from, bytes, why)) = self.lost.take() {
            self.log.lost(self.number, self.stream, from, bytes, why);
        }
    }
}

/// A log file. Its failure never stops the program, whose output is still counted and its end kept.
#[derive(Debug)]
struct Log {
    state: State,
    /// Its path, if it goes when the program ends well.
    goes: Option<PathBuf>,
    cap: u64,
    written: u64,
    capped: bool,
}

#[derive(Debug)]
enum State {
    NotMade(PathBuf),
    Open(File),
    Failed(Errno),
}

impl Log {
    fn open(file: LogFile) -> Result<Self, StartError> {
        let goes = (file.keep == Keep::Failed).then(|| file.path.clone());
        let state = match file.made {
            FileMade::WhenUsed => State::NotMade(file.path),
            FileMade::AtStart => match File::create(&file.path) {
                Ok(open) => State::Open(open),
                Err(error) => {
                    return Err(match errno_of(&error) {
                        Errno::EMFILE | Errno::ENFILE => StartError::TooManyFiles,
                        errno => StartError::OutputFile {
                            path: file.path,
                            errno,
                        },
                    });
                }
            },
        };
        Ok(Self {
            state,
            goes,
            cap: file.cap,
            written: 0,
            capped: false,
        })
    }

    fn write(&mut self, chunk: &[u8]) {
        let room = usize::try_from(self.cap - self.written).unwrap_or(usize::MAX);
        self.capped |= chunk.len() > room;
        let part = chunk.get(..room).unwrap_or(chunk);
        if part.is_empty() {
            return;
        }
        if let State::NotMade(path) = &self.state {
            self.state = match create_with_directory(path) {
                Ok(open) => State::Open(open),
                Err(error) => State::Failed(errno_of(&error)),
            };
        }
        let State::Open(file) = &mut self.state else {
            return;
        };
        let mut rest = part;
        while !rest.is_empty() {
            match file.write(rest) {
                Ok(0) => return self.state = State::Failed(Errno::EIO),
                Ok(count) => {
                    self.written += count as u64;
                    rest = rest.get(count..).unwrap_or_default();
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return self.state = State::Failed(errno_of(&error)),
            }
        }
    }

    /// The program has ended.
    fn end(self, well: bool) -> LogFileState {
        // A device or a pipe, or a link to somewhere, is not ours to remove.
        let is_file = |path: &&PathBuf| path.symlink_metadata().is_ok_and(|facts| facts.is_file());
        if let (true, State::Open(_), Some(path)) = (well, &self.state, self.goes.as_ref().filter(is_file)) {
            match fs::remove_file(path) {
                Ok(()) => return LogFileState::Removed,
                Err(error) => {
                    tracing::warn!(file = %path.display(), %error, "a file of output that is not needed cannot be removed");
                }
            }
        }
        match self.state {
            State::NotMade(_) => LogFileState::NotMade,
            State::Open(_) => LogFileState::Written {
                bytes: self.written,
                capped: self.capped,
            },
            State::Failed(errno) => LogFileState::Failed {
                bytes: self.written,
                errno,
            },
        }
    }
}

fn create_with_directory(path: &Path) -> std::io::Result<File> {
    match File::create(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            if let Some(directory) = path.parent() {
                fs::create_dir_all(directory)?;
            }
            File::create(path)
        }
        made => made,
    }
}

/// The system's number for an error; `EIO` for the few that the standard library makes up itself.
pub(super) fn errno_of(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail_of(cap: usize, chunks: &[&[u8]]) -> Vec<u8> {
        let mut tail = Tail::new(cap);
        for chunk in chunks {
            tail.push(chunk);
        }
        tail.into_bytes()
    }

    #[test]
    fn a_tail_is_the_end_of_all_that_came_however_it_was_cut() {
        let all: Vec<u8> = (0..=255).cycle().take(1000).collect();
        for cap in [0, 1, 2, 7, 64, 999, 1000, 2000] {
            for step in [1, 3, 7, 64, 100, 1000] {
                let chunks: Vec<&[u8]> = all.chunks(step).collect();
                assert_eq!(
                    tail_of(cap, &chunks),
                    all[all.len() - cap.min(all.len())..],
                    "cap {cap}, step {step}"
                );
            }
        }
    }

    #[test]
    fn a_log_keeps_the_beginning_and_says_what_is_missing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("made/when/used");
        let file = LogFile {
            path: path.clone(),
            cap: 5,
            made: FileMade::WhenUsed,
            keep: Keep::All,
        };
        let mut sink = Sink::open(Capture {
            tail_cap: 4,
            file: Some(file),
        })
        .unwrap();
        assert!(!path.exists());
        sink.take(b"abc");
        sink.take(b"defg");
        let captured = sink.finish(false, true);
        assert_eq!(fs::read(&path).unwrap(), b"abcde");
        assert_eq!(
            (captured.tail.as_slice(), captured.total_bytes, captured.truncated),
            (b"defg".as_slice(), 7, true)
        );
        assert_eq!(
            captured.file,
            Some(LogFileState::Written {
                bytes: 5,
                capped: true
            })
        );
    }

    #[test]
    fn a_log_that_fails_is_reported_and_the_tail_goes_on() {
        let file = LogFile {
            path: "/dev/full".into(),
            cap: 100,
            made: FileMade::AtStart,
            keep: Keep::All,
        };
        let mut sink = Sink::open(Capture {
            tail_cap: 10,
            file: Some(file),
        })
        .unwrap();
        sink.take(b"some");
        sink.take(b"thing");
        let captured = sink.finish(false, true);
        assert_eq!(captured.tail, b"something");
        assert_eq!(
            captured.file,
            Some(LogFileState::Failed {
                bytes: 0,
                errno: Errno::ENOSPC
            })
        );
    }

    #[test]
    fn an_unused_log_is_never_made() {
        let file = LogFile {
            path: "/nonexistent/log".into(),
            cap: 100,
            made: FileMade::WhenUsed,
            keep: Keep::All,
        };
        let sink = Sink::open(Capture {
            tail_cap: 10,
            file: Some(file),
        })
        .unwrap();
        assert_eq!(sink.finish(false, true).file, Some(LogFileState::NotMade));
    }
}
