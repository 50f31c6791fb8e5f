//! The ends of a shelf: who puts there and takes from there, and whether they live.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

/// One end: a process, with one connection of it. Its number is random, but for the agent's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct End(pub(crate) [u8; 8]);

/// Digits of one in file names.
const DIGITS: usize = 16;

impl End {
    pub(crate) const AGENT: Self = Self([0; 8]);

    pub(super) fn new() -> io::Result<Self> {
        random().map(Self)
    }

    /// That of a file's name, behind the word for what it is.
    pub(super) fn in_name(name: &str) -> Option<Self> {
        let (_, number) = name.split_once('-')?;
        let number = u64::from_str_radix(number.get(..DIGITS)?, 16).ok()?;
        Some(Self(number.to_be_bytes()))
    }

    fn file(self, directory: &Path) -> PathBuf {
        directory.join(format!("end-{self}"))
    }

    /// Whether nobody is at this end any more, nor will be.
    pub(super) fn is_dead(self, directory: &Path) -> bool {
        let path = self.file(directory);
        match open(&path, false).and_then(lock) {
            Ok(_lock) => {
                // As long as it is locked: who made it a moment ago finds that it is gone.
                let _gone = fs::remove_file(path);
                true
            }
            // It is made before anything else of this end's.
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:016x}", u64::from_be_bytes(self.0))
    }
}

/// Says that there is somebody at this end.
pub(super) struct Alive {
    pub(super) end: End,
    path: PathBuf,
    _lock: Flock<File>,
}

impl Alive {
    pub(super) fn new(end: End, directory: &Path) -> io::Result<Self> {
        let path = end.file(directory);
        let lock = lock(open(&path, true)?)?;
        // Before it was locked it may have been taken for a dead one's.
        if fs::symlink_metadata(&path)?.ino() != lock.metadata()?.ino() {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(Self {
            end,
            path,
            _lock: lock,
        })
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        let _gone = fs::remove_file(&self.path);
    }
}

fn open(path: &Path, new: bool) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(new)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
}

fn lock(file: File) -> io::Result<Flock<File>> {
    let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock);
    Ok(lock.map_err(|(_, errno)| errno)?)
}

pub(super) fn random() -> io::Result<[u8; 8]> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}
