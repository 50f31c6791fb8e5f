//! One interpreter, as the thread that speaks to it sees it.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use nix::sys::socket::{setsockopt, sockopt};
use scalems_protocol::limits::{CALLS_AHEAD, INTERPRETER_START_MS};

use super::frames::{self, Frame, Heard, Opened};
use super::outputs::Outputs;
use super::tray::Tray;
use super::unsent::Unsent;
use super::{Body, Wants};

/// Bodies that one remembers, the last ones: with the largest, 16 MiB.
const BODIES: usize = 64;
/// Bytes that are read at once.
const READ_BYTES: usize = 256 << 10;
/// Reads of one round, so that one that returns large values keeps no other waiting.
const READS: usize = 64;
/// Bytes that wait to be sent, past which no further call is added.
const UNSENT_BYTES: usize = 4 << 20;
/// Bytes that the socket holds in each direction, as far as the system lets it: large values then take few turns.
const SOCKET_BYTES: usize = 1 << 20;
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
    /// Their ends of the pipes and of the tray, until they are sent.
    theirs: Option<Vec<OwnedFd>>,
    pub(super) outputs: Outputs,
    tray: Tray,
    unsent: Unsent,
    unread: Vec<u8>,
    /// A large frame that has begun.
    large: Option<Large>,
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
    /// It was killed to end this call, and no other.
    pub(super) killed_for: Option<u64>,
}

/// A frame that is read into its place.
#[derive(Debug)]
struct Large {
    opened: Opened,
    /// What has come of it, with room for all.
    whole: Vec<u8>,
}

impl Large {
    /// Of what has come of it.
    fn new(opened: Opened, begun: &mut Vec<u8>) -> Self {
        let mut whole = Vec::with_capacity(opened.total);
        whole.append(begun);
        Self { opened, whole }
    }

    /// Reads on, into room that nobody has written to. Returns how much, and how much there was room for.
    fn read(&mut self, socket: &UnixStream) -> io::Result<(usize, usize)> {
        let room = self.whole.capacity() - self.whole.len();
        let count = rustix::io::read(socket, rustix::buffer::spare_capacity(&mut self.whole))?;
        Ok((count, room))
    }
}

impl Interpreter {
    pub(super) fn new(wants: Arc<Wants>, cpus: Vec<u32>, now: Instant) -> io::Result<(Self, OwnedFd)> {
        let (socket, child) = UnixStream::pair()?;
        socket.set_nonblocking(true)?;
        // The system may allow less, which is slower.
        for end in [&socket, &child] {
            setsockopt(end, sockopt::SndBuf, &SOCKET_BYTES)?;
        }
        let (outputs, pipes) = Outputs::new()?;
        let (tray, kept) = Tray::new()?;
        let mut theirs = Vec::from(pipes);
        theirs.push(kept);
        let until = now + Duration::from_millis(INTERPRETER_START_MS);
        let interpreter = Self {
            wants,
            phase: Phase::Starting { until },
            cpus,
            pid: None,
            socket,
            theirs: Some(theirs),
            outputs,
            tray,
            unsent: Unsent::default(),
            unread: Vec::new(),
            large: None,
            buffer: vec![0; READ_BYTES],
            bodies: VecDeque::new(),
            calls: VecDeque::new(),
            made: 0,
            retired: false,
            line: None,
            since: now,
            began: false,
            closed: false,
            killed_for: None,
        };
        Ok((interpreter, child.into()))
    }

    /// Whether another call may be sent.
    pub(super) fn has_room(&self) -> bool {
        self.phase == Phase::Ready
            && !self.is_spent()
            && (self.calls.len() as u64) < CALLS_AHEAD
            && self.unsent.bytes() < UNSENT_BYTES
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
        self.unsent.add(frame);
        self.flush();
    }

    pub(super) fn has_unsent(&self) -> bool {
        self.unsent.bytes() > 0
    }

    /// Sends what the socket takes.
    pub(super) fn flush(&mut self) {
        if self.unsent.send(&mut self.socket, &mut self.theirs).is_err() {
            // It has gone, which its end says.
            self.closed = true;
            self.unsent.clear();
        }
    }

    /// Reads frames. An error is a reason to kill it.
    pub(super) fn read(&mut self, frames: &mut Vec<Heard>) -> Result<(), String> {
        for _ in 0..READS {
            let read = match &mut self.large {
                Some(large) => large.read(&self.socket),
                None => self
                    .socket
                    .read(&mut self.buffer)
                    .map(|count| (count, self.buffer.len())),
            };
            match read {
                Ok((0, _)) => {
                    self.closed = true;
                    break;
                }
                Ok((count, room)) => {
                    self.take_in(count, frames)?;
                    if count < room {
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
        Ok(())
    }

    /// Takes what was read: in the buffer, or behind a large frame that has begun.
    fn take_in(&mut self, count: usize, frames: &mut Vec<Heard>) -> Result<(), String> {
        if let Some(mut large) = self.large.take() {
            if large.whole.len() < large.opened.total {
                self.large = Some(large);
                return Ok(());
            }
            // There may have been more room than was asked for.
            self.unread = large.whole.split_off(large.opened.total);
            frames.extend(large.opened.keep(&Bytes::from(large.whole)));
        } else {
            self.unread
                .extend_from_slice(self.buffer.get(..count).unwrap_or_default());
        }
        let begun = frames::take(&mut self.unread, frames)?;
        self.large = begun.map(|opened| Large::new(opened, &mut self.unread));
        Ok(())
    }

    /// What it has answered and not sent; some of it may have come since.
    pub(super) fn kept(&self) -> Vec<Heard> {
        self.tray.read()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_a_time_to_start_in_and_a_time_to_be_idle() {
        let now = Instant::now();
        let idle = Duration::from_secs(60);
        let (mut interpreter, _child) =
            Interpreter::new(Arc::default(), Vec::new(), now).expect("sockets can be made");
        let start = Duration::from_millis(INTERPRETER_START_MS);
        assert_eq!(interpreter.due(idle), Some(now + start));
        interpreter.phase = Phase::Ready;
        assert_eq!(interpreter.due(idle), Some(now + idle));
        // With a line it is not idle; a call that says nothing is taken to have begun after a moment.
        interpreter.line = Some(1);
        assert_eq!(interpreter.due(idle), None);
        interpreter.calls.push_back(7);
        assert_eq!(interpreter.due(idle), Some(now + SILENT));
        assert!(!interpreter.is_read(now) && interpreter.is_read(now + SILENT));
        interpreter.began = true;
        assert_eq!(interpreter.due(idle), None);
    }

    #[test]
    fn a_large_frame_and_what_follows_it_are_read_whole() {
        let (mut interpreter, child) =
            Interpreter::new(Arc::default(), Vec::new(), Instant::now()).expect("sockets can be made");
        let values = [vec![7; 1 << 20], vec![8; 3], vec![9; (1 << 20) + 1]];
        let mut sent = Vec::new();
        for (key, value) in values.iter().enumerate() {
            let head = rmp_serde::to_vec(&([("done", key as u64, 5_u64, false, 0_u32)], [value.len()]))
                .expect("a head can be written");
            sent.extend_from_slice(&(head.len() as u32).to_le_bytes());
            sent.extend_from_slice(&head);
            sent.extend_from_slice(value);
        }
        // More than the socket holds: it is written while it is read.
        let writer = std::thread::spawn(move || {
            std::io::Write::write_all(&mut UnixStream::from(child), &sent).expect("it is read");
        });
        let mut heard = Vec::new();
        while !interpreter.closed {
            interpreter.read(&mut heard).expect("the frames are whole");
            std::thread::yield_now();
        }
        writer.join().expect("all is written");
        let blobs: Vec<_> = heard.iter().flat_map(|frame| &frame.blobs).collect();
        assert!(
            blobs
                .iter()
                .zip(&values)
                .all(|(blob, value)| blob[..] == value[..])
        );
        assert_eq!(blobs.len(), values.len());
    }
}
