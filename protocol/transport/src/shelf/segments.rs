//! The segments that a process makes, and uses again.

use std::collections::VecDeque;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use memmap2::MmapMut;
use nix::sys::statvfs::statvfs;

use super::mapping::writable;
use super::{End, Name};

/// What one process has in a shelf at most. What is over that goes through the socket.
pub(super) const MOST: usize = 96 << 20;
/// Of what was given away so many are looked at for each that is given.
const LOOK: usize = 4;
/// Segments have a multiple of this, so that one fits blobs of about the same size.
pub(super) const STEP: usize = 64 << 10;

#[derive(Default)]
pub(super) struct Segments {
    /// Nobody needed them when it was last looked; the last one is the warmest.
    free: Vec<Segment>,
    /// Somebody may need them; the first one was given away first.
    given: VecDeque<Segment>,
    bytes: usize,
}

struct Segment {
    inode: u64,
    map: MmapMut,
    path: PathBuf,
}

impl Segments {
    /// Copies the blob to a segment that nobody needs, and gives that one more name.
    pub(super) fn put(&mut self, directory: &Path, own: End, blob: &[u8], name: Name) -> bool {
        let bytes = blob.len().next_multiple_of(STEP);
        self.look(LOOK);
        let found = self
            .find(bytes)
            .or_else(|| self.make(directory, own, bytes))
            .or_else(|| {
                // What was looked at is not all, and never is where many are held.
                self.look(4 * LOOK);
                self.find(bytes).or_else(|| self.make(directory, own, bytes))
            });
        let Some(mut segment) = found else {
            return false;
        };
        segment.map[..blob.len()].copy_from_slice(blob);
        let named = fs::hard_link(&segment.path, name.of_blob(directory)).is_ok();
        if named {
            self.given.push_back(segment);
        } else {
            // Somebody has removed it.
            self.bytes -= segment.map.len();
        }
        named
    }

    /// Looks at so many of those that were given away first, whether somebody needs them. It asks the file system.
    fn look(&mut self, count: usize) {
        for _ in 0..count.min(self.given.len()) {
            let Some(segment) = self.given.pop_front() else {
                break;
            };
            if segment.is_free() {
                self.free.push(segment);
            } else {
                self.given.push_back(segment);
            }
        }
    }

    /// One that is not far too large.
    fn find(&mut self, bytes: usize) -> Option<Segment> {
        let fits = |segment: &Segment| (bytes..=2 * bytes).contains(&segment.map.len());
        let at = self.free.iter().rposition(fits)?;
        Some(self.free.remove(at))
    }

    /// Makes one, if need be in place of others.
    fn make(&mut self, directory: &Path, own: End, bytes: usize) -> Option<Segment> {
        while self.bytes + bytes > MOST && !self.free.is_empty() {
            self.bytes -= self.free.remove(0).map.len();
        }
        if self.bytes + bytes > MOST || !has_room(directory, bytes) {
            return None;
        }
        let segment = Segment::make(directory, own, bytes).ok()?;
        self.bytes += bytes;
        Some(segment)
    }
}

impl Segment {
    fn make(directory: &Path, own: End, bytes: usize) -> io::Result<Self> {
        let path = Name::new(own)?.of_segment(directory);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        // What is mapped needs no descriptor.
        let made = file
            .metadata()
            .and_then(|facts| Ok((facts.ino(), writable(&file, bytes)?)));
        match made {
            Ok((inode, map)) => Ok(Self { inode, map, path }),
            Err(error) => {
                let _gone = fs::remove_file(path);
                Err(error)
            }
        }
    }

    /// Its only name is ours. Were ours gone, the only one could be that of somebody who reads.
    fn is_free(&self) -> bool {
        let facts = fs::symlink_metadata(&self.path);
        facts.is_ok_and(|facts| facts.ino() == self.inode && facts.nlink() == 1)
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        // Who has another name keeps what is in it.
        let _gone = fs::remove_file(&self.path);
    }
}

/// Whether a quarter of the shared memory is free besides. It is memory, and others need it as well.
fn has_room(directory: &Path, bytes: usize) -> bool {
    statvfs(directory).is_ok_and(|facts| {
        let left = facts.blocks_available().saturating_sub(facts.blocks() / 4);
        left.saturating_mul(facts.fragment_size()) >= bytes as u64
    })
}
