//! One interpreter, as the thread that speaks to it sees it.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use scalems_protocol::limits::{CALLS_AHEAD, INTERPRETER_START_MS};

use super::frames::{self, Frame, Heard};
use super::outputs::Outputs;
use super::{Body, Wants};

/// Bodies that one remembers, the last ones: with the largest, 16 MiB.
const BODIES: usize = 64;
/// Bytes that are read at once.
const READ_BYTES: usize = 256 << 10;
/// Reads of one round, so that one that returns large values keeps no other waiting.
const READS: usize = 64;
/// Bytes that wait to be sent, past which no further call is added.
const UNSENT_BYTES: usize = 4 << 20;
/// Silence after which the call at the front is taken to have begun, and to hold what would say so.
pub(super) const SILENT: Duration = Duration::from_millis(250);

/// Where it is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Started, and silent so far; until then.
    Starting { until: Instant },
    /// It takes calls.
    Ready,
    /// It was told to end, or is being killed.
    Ending { until: Instant },
}

#[derive(Debug)]
pub(super) struct Interpreter {
    pub(super) wants: Arc<Wants>,
    pub(super) phase: Phase,
    /// Where its threads run.
    pub(super) cpus: Vec<u32>,
    pub(super) pid: Option<i32>,
    pub(super) socket: UnixStream,
    /// Their ends of the pipes, until they are sent.
    theirs: Option<[OwnedFd; 2]>,
    pub(super) outputs: Outputs,
    unsent: Vec<u8>,
    /// How much of that is sent.
    sent: usize,
    unread: Vec<u8>,
    buffer: Vec<u8>,
    bodies: VecDeque<u64>,
    /// Calls that were sent and are not answered, in order.
    pub(super) calls: VecDeque<u64>,
    pub(super) made: u32,
    /// It takes no further call.
    pub(super) retired: bool,
    /// Whose calls it makes.
    pub(super) line: Option<u64>,
    /// Since when it has been without work, or the call at the front has been there.
    pub(super) since: Instant,
    /// The call at the front has begun, as far as is known.
    pub(super) began: bool,
    /// Its end of the socket is closed.
    pub(super) closed: bool,
}

impl Interpreter {
    pub(super) fn new(wants: Arc<Wants>, cpus: Vec<u32>, now: Instant) -> io::Result<(Self, OwnedFd)> {
        let (socket, child) = UnixStream::pair()?;
        socket.set_nonblocking(true)?;
        let (outputs, theirs) = Outputs::new()?;
        let until = now + Duration::from_millis(INTERPRETER_START_MS);
        let interpreter = Self {
            wants,
            phase: Phase::Starting { until },
            cpus,
            pid: None,
            socket,
            theirs: Some(theirs),
            outputs,
            unsent: Vec::new(),
            sent: 0,
            unread: Vec::new(),
            buffer: vec![0; READ_BYTES],
            bodies: VecDeque::new(),
            calls: VecDeque::new(),
            made: 0,
            retired: false,
            line: None,
            since: now,
            began: false,
            closed: false,
        };
        Ok((interpreter, child.into()))
    }

    /// Whether another call may be sent.
    pub(super) fn has_room(&self) -> bool {
        self.phase == Phase::Ready
            && !self.is_spent()
            && (self.calls.len() as u64) < CALLS_AHEAD
            && self.unsent.len() - self.sent < UNSENT_BYTES
    }

    /// Whether it takes no further call.
    pub(super) fn is_spent(&self) -> bool {
        self.retired || self.made >= self.wants.calls || matches!(self.phase, Phase::Ending { .. })
    }

    /// Adds what is missing of a call's body to a frame.
    pub(super) fn introduce(&mut self, body: &Body, mode: &str, frame: &mut Frame) {
        if self.bodies.contains(&body.id) {
            return;
        }
        if self.bodies.len() == BODIES
            && let Some(oldest) = self.bodies.pop_front()
        {
            frame.add(&("forget", oldest));
        }
        self.bodies.push_back(body.id);
        let blob = frame.blob(body.bytes.clone());
        frame.add(&("body", body.id, mode, blob));
    }

    pub(super) fn send(&mut self, frame: Frame) {
        frame.write(&mut self.unsent);
        self.flush();
    }

    pub(super) fn has_unsent(&self) -> bool {
        self.sent < self.unsent.len()
    }

    /// Sends what the socket takes.
    pub(super) fn flush(&mut self) {
        while let Some(rest) = self.unsent.get(self.sent..).filter(|rest| !rest.is_empty()) {
            let sent = match self.theirs.take() {
                Some(theirs) => {
                    let numbers = theirs.each_ref().map(AsRawFd::as_raw_fd);
                    let rights = [ControlMessage::ScmRights(&numbers)];
                    let parts = [IoSlice::new(rest)];
                    let flags = MsgFlags::MSG_NOSIGNAL;
                    let sent = sendmsg::<()>(self.socket.as_raw_fd(), &parts, &rights, flags, None);
                    if sent == Err(Errno::EAGAIN) {
                        self.theirs = Some(theirs);
                    }
                    sent.map_err(io::Error::from)
                }
                None => self.socket.write(rest),
            };
            match sent {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    // It has gone, which its end says.
                    self.closed = true;
                    self.unsent.clear();
                    self.sent = 0;
                    return;
                }
            }
        }
        if !self.has_unsent() {
            self.unsent.clear();
            self.sent = 0;
        } else if self.sent > UNSENT_BYTES {
            self.unsent.drain(..self.sent);
            self.sent = 0;
        }
    }

    /// Reads frames. An error is a reason to kill it.
    pub(super) fn read(&mut self, frames: &mut Vec<Heard>) -> Result<(), String> {
        for _ in 0..READS {
            match self.socket.read(&mut self.buffer) {
                Ok(0) => {
                    self.closed = true;
                    break;
                }
                Ok(count) => {
                    self.unread
                        .extend_from_slice(self.buffer.get(..count).unwrap_or_default());
                    if count < self.buffer.len() {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.closed = true;
                    break;
                }
            }
        }
        let mut at = 0;
        while let Some(frame) = frames::read(self.unread.get(at..).unwrap_or_default())? {
            at += frame.length;
            frames.push(frame);
        }
        self.unread.drain(..at);
        Ok(())
    }

    /// Whether what it writes is the call's at the front for certain.
    pub(super) fn is_read(&self, now: Instant) -> bool {
        !self.calls.is_empty() && (self.began || now >= self.since + SILENT)
    }

    /// When something is due without a word of it.
    pub(super) fn due(&self, idle: Duration) -> Option<Instant> {
        match self.phase {
            Phase::Starting { until } | Phase::Ending { until } => Some(until),
            Phase::Ready if self.line.is_none() => Some(self.since + idle),
            Phase::Ready if !self.calls.is_empty() && !self.began => Some(self.since + SILENT),
            Phase::Ready => None,
        }
    }
}
