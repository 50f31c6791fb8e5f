//! Files of shared memory in our own.
#![allow(unsafe_code)]

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use memmap2::{Mmap, MmapMut, MmapOptions};
use nix::unistd::geteuid;
use scalems_protocol::limits;

use super::segments::STEP;

/// Bytes of segments that stay mapped though nobody reads them now.
const KEPT: usize = 256 << 20;

/// A segment that is read.
pub(super) struct Mapped(Mmap);

impl Mapped {
    /// All of the file, which has so many bytes.
    fn read(path: &Path, bytes: usize) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(path)?;
        if file.metadata()?.len() < bytes as u64 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        // SAFETY: the file lies in a directory of this user's that nobody else can enter. A process of ours writes to a
        // segment only while that has no other name than its own, and never makes it shorter; we have a name of it as long as
        // something is read. Another program of the user's that did otherwise could as well write to our memory.
        let map = unsafe { MmapOptions::new().len(bytes).populate().map(&file)? };
        Ok(Self(map))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The segments that were read of late. Segments are used again, and mapping one costs more than copying it.
#[derive(Default)]
pub(super) struct Maps {
    /// By inode: a segment has another name each time. What is mapped keeps its inode.
    all: HashMap<u64, (Arc<Mapped>, Instant)>,
    bytes: usize,
}

impl Maps {
    /// The segment that has this name, if it has at least `length` bytes.
    pub(super) fn read(&mut self, path: &Path, length: usize) -> io::Result<Arc<Mapped>> {
        let facts = std::fs::symlink_metadata(path)?;
        if !facts.is_file() || facts.len() < length as u64 || facts.uid() != geteuid().as_raw() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let (now, bytes) = (Instant::now(), facts.len() as usize);
        if let Some((map, used)) = self.all.get_mut(&facts.ino())
            && map.bytes().len() == bytes
        {
            *used = now;
            return Ok(map.clone());
        }
        if bytes as u64 > limits::WIRE_FRAME_BYTES as u64 + STEP as u64 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let map = Arc::new(Mapped::read(path, bytes)?);
        self.bytes += bytes;
        if let Some((before, _)) = self.all.insert(facts.ino(), (map.clone(), now)) {
            self.bytes -= before.bytes().len();
        }
        if self.bytes > KEPT {
            self.forget(now);
        }
        Ok(map)
    }

    /// Forgets half of those that nobody reads now, the longest unused first.
    fn forget(&mut self, now: Instant) {
        let idle = |(map, _): &(Arc<Mapped>, Instant)| Arc::strong_count(map) == 1;
        let mut ages: Vec<_> = self
            .all
            .values()
            .filter(|kept| idle(kept))
            .map(|(_, used)| now - *used)
            .collect();
        ages.sort_unstable();
        let Some(&middle) = ages.get(ages.len() / 2) else {
            return;
        };
        let bytes = &mut self.bytes;
        self.all.retain(|_, kept| {
            let stays = !idle(kept) || now - kept.1 < middle;
            if !stays {
                *bytes -= kept.0.bytes().len();
            }
            stays
        });
    }
}

/// All of a file that is written. Its blocks are there: without them a full disk would end the process.
pub(super) fn writable(file: &File, bytes: usize) -> io::Result<MmapMut> {
    let length = bytes.try_into().map_err(io::Error::other)?;
    nix::fcntl::posix_fallocate(file, 0, length)?;
    // SAFETY: as above; it is written to while it has no other name, so nobody reads it then.
    unsafe { MmapOptions::new().len(bytes).populate().map_mut(file) }
}
