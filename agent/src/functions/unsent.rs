//! What is to be sent to an interpreter, and was not taken yet.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use bytes::{Buf, Bytes};
use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

use super::frames::Frame;

/// Parts that are handed over at once.
const PARTS: usize = 64;

/// Parts of a stream, in order.
#[derive(Debug, Default)]
pub(super) struct Unsent {
    parts: VecDeque<Bytes>,
    bytes: usize,
}

impl Unsent {
    pub(super) fn add(&mut self, frame: Frame) {
        let before = self.parts.len();
        frame.write(&mut self.parts);
        self.bytes += self.parts.iter().skip(before).map(Bytes::len).sum::<usize>();
    }

    /// How much there is.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn clear(&mut self) {
        self.parts.clear();
        self.bytes = 0;
    }

    /// Sends what the socket takes; with the first bytes go the descriptors.
    pub(super) fn send(
        &mut self,
        socket: &mut UnixStream,
        rights: &mut Option<Vec<OwnedFd>>,
    ) -> io::Result<()> {
        while !self.parts.is_empty() {
            let parts: Vec<IoSlice<'_>> = self
                .parts
                .iter()
                .take(PARTS)
                .map(|part| IoSlice::new(part))
                .collect();
            let sent = match rights.as_deref() {
                Some(descriptors) => {
                    let numbers: Vec<i32> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
                    let message = [ControlMessage::ScmRights(&numbers)];
                    let number = socket.as_raw_fd();
                    sendmsg::<()>(number, &parts, &message, MsgFlags::MSG_NOSIGNAL, None)
                        .map_err(io::Error::from)
                }
                None => socket.write_vectored(&parts),
            };
            match sent {
                Ok(count) => {
                    *rights = None;
                    self.advance(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.raw_os_error() == Some(Errno::EAGAIN as i32) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn advance(&mut self, mut count: usize) {
        self.bytes -= count;
        while let Some(part) = self.parts.front_mut() {
            if count < part.len() {
                part.advance(count);
                return;
            }
            count -= part.len();
            self.parts.pop_front();
        }
    }
}
