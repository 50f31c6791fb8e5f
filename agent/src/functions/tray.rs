//! What an interpreter has answered and not sent yet.
//!
//! A quick call's answer may wait a moment for those of the next, so that a batch is sent by one call of the system. Meanwhile it
//! lies in a file of the memory that both sides have: if the interpreter ends, or does not come to send, it is read there.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use nix::sys::memfd::{MFdFlags, memfd_create};

use super::frames::{self, Heard};

/// Bytes of the file: its head, and what is kept.
const TRAY_BYTES: usize = 256 << 10;
/// The head: `u32` how often it was emptied, `u32` how much lies in it.
const HEAD_BYTES: usize = 8;

/// The worker's side of the file.
#[derive(Debug)]
pub(super) struct Tray(File);

impl Tray {
    /// A new one, and the interpreter's descriptor of it.
    pub(super) fn new() -> io::Result<(Self, OwnedFd)> {
        let file = File::from(memfd_create(c"scalems-tray", MFdFlags::MFD_CLOEXEC)?);
        file.set_len(TRAY_BYTES as u64)?;
        let theirs = file.try_clone()?.into();
        Ok((Self(file), theirs))
    }

    /// The frames that lie in it. They may come by the socket as well.
    pub(super) fn read(&self) -> Vec<Heard> {
        self.frames().unwrap_or_else(|problem| {
            tracing::debug!(%problem, "what an interpreter has answered and not sent cannot be read");
            Vec::new()
        })
    }

    fn frames(&self) -> io::Result<Vec<Heard>> {
        let (emptied, length) = self.head()?;
        if length > TRAY_BYTES - HEAD_BYTES {
            return Err(io::Error::other("it says that more lies in it than it holds"));
        }
        let mut bytes = vec![0; length];
        self.0.read_exact_at(&mut bytes, HEAD_BYTES as u64)?;
        if self.head()?.0 != emptied {
            // They were sent meanwhile.
            return Ok(Vec::new());
        }
        let mut heard = Vec::new();
        frames::take(&mut bytes, &mut heard).map_err(io::Error::other)?;
        Ok(heard)
    }

    fn head(&self) -> io::Result<(u32, usize)> {
        let mut head = [0; HEAD_BYTES];
        self.0.read_exact_at(&mut head, 0)?;
        let both = u64::from_le_bytes(head);
        Ok((both as u32, (both >> 32) as usize))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::functions::frames::{Frame, Said};

    #[test]
    fn what_lies_in_it_is_read() {
        let (tray, theirs) = Tray::new().unwrap();
        let theirs = File::from(theirs);
        assert!(tray.read().is_empty());
        let mut out = VecDeque::new();
        for key in 1..=2_u64 {
            let mut frame = Frame::default();
            frame.add(&("dropped", key));
            frame.write(&mut out);
        }
        let bytes = out.make_contiguous().concat();
        theirs.write_all_at(&bytes, HEAD_BYTES as u64).unwrap();
        assert!(tray.read().is_empty(), "the head says that nothing lies in it");
        theirs
            .write_all_at(&(bytes.len() as u32).to_le_bytes(), 4)
            .unwrap();
        let said: Vec<Said> = tray.read().into_iter().flat_map(|heard| heard.messages).collect();
        assert_eq!(said, [Said::Dropped(1), Said::Dropped(2)]);
        theirs.write_all_at(&[0xff; 4], 4).unwrap();
        assert!(tray.read().is_empty(), "more than it holds");
    }
}
