//! What functions write: two pipes of an interpreter, and the end of what came out of each since its call began.

use std::io;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::{pipe2, read};
use scalems_protocol::function::Beside;
use scalems_protocol::limits::BESIDE_BYTES;
use scalems_protocol::program::Written;

/// Bytes that are read at once.
const READ_BYTES: usize = 64 << 10;
/// Reads of one round: sixteen times a pipe, and a flood of one interpreter keeps no other waiting.
const READS: usize = 16;

/// The reading ends, and what came out of them.
#[derive(Debug)]
pub(super) struct Outputs {
    streams: [Stream; 2],
}

#[derive(Debug)]
struct Stream {
    pipe: OwnedFd,
    tail: Vec<u8>,
    total: u64,
}

impl Stream {
    fn read(&mut self, buffer: &mut [u8]) {
        for _ in 0..READS {
            match read(&self.pipe, buffer) {
                Ok(0) => return,
                Ok(count) => {
                    self.total += count as u64;
                    self.tail
                        .extend_from_slice(buffer.get(..count).unwrap_or_default());
                    if self.tail.len() > 2 * BESIDE_BYTES {
                        self.tail.drain(..self.tail.len() - BESIDE_BYTES);
                    }
                    if count < buffer.len() {
                        return;
                    }
                }
                Err(Errno::EINTR) => {}
                // Nothing is there, or whoever wrote has gone.
                Err(_) => return,
            }
        }
    }

    /// What came from a place on, as far as it is kept.
    fn since(&self, from: u64) -> Written {
        let kept = self.tail.len() as u64;
        let from = from.clamp(self.total - kept, self.total);
        let first = (kept - (self.total - from)) as usize;
        Written {
            from,
            bytes: self.tail.get(first..).unwrap_or_default().to_vec(),
            total: self.total,
        }
    }

    fn take(&mut self) -> (Vec<u8>, u64) {
        let mut tail = std::mem::take(&mut self.tail);
        tail.drain(..tail.len().saturating_sub(BESIDE_BYTES));
        (tail, std::mem::take(&mut self.total))
    }
}

impl Outputs {
    /// New pipes, and their writing ends.
    pub(super) fn new() -> io::Result<(Self, [OwnedFd; 2])> {
        let pair = || -> io::Result<(Stream, OwnedFd)> {
            let (pipe, theirs) = pipe2(OFlag::O_CLOEXEC)?;
            fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
            let stream = Stream {
                pipe,
                tail: Vec::new(),
                total: 0,
            };
            Ok((stream, theirs))
        };
        let (stdout, first) = pair()?;
        let (stderr, second) = pair()?;
        let streams = [stdout, stderr];
        Ok((Self { streams }, [first, second]))
    }

    /// The reading ends, to be waited for.
    pub(super) fn pipes(&self) -> [&OwnedFd; 2] {
        self.streams.each_ref().map(|stream| &stream.pipe)
    }

    /// Reads what there is: all that was in the pipes, which hold less than one round reads.
    pub(super) fn read(&mut self) {
        let mut buffer = vec![0; READ_BYTES];
        for stream in &mut self.streams {
            stream.read(&mut buffer);
        }
    }

    /// What was written since the last `take`, behind these places.
    pub(super) fn since(&self, from: (u64, u64)) -> (Written, Written) {
        let [stdout, stderr] = &self.streams;
        (stdout.since(from.0), stderr.since(from.1))
    }

    /// What was written since the last time.
    pub(super) fn take(&mut self) -> Beside {
        let [stdout, stderr] = &mut self.streams;
        let ((stdout, stdout_bytes), (stderr, stderr_bytes)) = (stdout.take(), stderr.take());
        Beside {
            stdout,
            stderr,
            stdout_bytes,
            stderr_bytes,
            ..Beside::default()
        }
    }
}
