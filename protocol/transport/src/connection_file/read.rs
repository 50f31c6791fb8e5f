//! Reading a file that somebody else may have had a hand in.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

use super::format::{self, Flaw};
use super::{ConnectionFile, ConnectionFileError};

/// Far above any connection file, whose texts are all bounded, and far below what would hurt.
const MOST_BYTES: u64 = 64 << 10;

impl ConnectionFile {
    /// Reads a connection file, if it is ours alone and whole.
    pub fn read(path: &Path) -> Result<Self, ConnectionFileError> {
        check_directory(path)?;
        let mut file = open(path)?;
        let failed = |source| ConnectionFileError::Io {
            doing: "read",
            path: path.to_owned(),
            source,
        };
        // All checks are of the open file, which nobody can exchange any more.
        check(path, &file.metadata().map_err(failed)?)?;
        let mut text = Vec::new();
        file.by_ref()
            .take(MOST_BYTES)
            .read_to_end(&mut text)
            .map_err(failed)?;
        Self::parse(path, &text)
    }

    /// Takes a text for what is in a connection file of this name, which another host may have.
    pub fn parse(path: &Path, text: &[u8]) -> Result<Self, ConnectionFileError> {
        let path = path.to_owned();
        if text.len() as u64 > MOST_BYTES {
            let bytes = text.len() as u64;
            return Err(ConnectionFileError::TooLarge { path, bytes });
        }
        format::read(text).map_err(|flaw| match flaw {
            Flaw::HalfWritten => ConnectionFileError::HalfWritten { path },
            Flaw::Version(found) => ConnectionFileError::UnknownVersion { path, found },
            Flaw::Invalid(reason) => ConnectionFileError::Invalid { path, reason },
        })
    }
}

fn open(path: &Path) -> Result<File, ConnectionFileError> {
    // Non-blocking: a pipe in its place would hold us up until somebody opens its other end.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(path);
    let path = path.to_owned();
    opened.map_err(|source| match source.raw_os_error() {
        Some(libc::ELOOP) => ConnectionFileError::Symlink { path },
        Some(libc::ENOENT) => ConnectionFileError::Missing { path },
        // A socket.
        Some(libc::ENXIO) => ConnectionFileError::NotAFile { path },
        _ => ConnectionFileError::Io {
            doing: "open",
            path,
            source,
        },
    })
}

fn check(path: &Path, facts: &fs::Metadata) -> Result<(), ConnectionFileError> {
    let path = path.to_owned();
    if !facts.is_file() {
        return Err(ConnectionFileError::NotAFile { path });
    }
    let user = geteuid().as_raw();
    if facts.uid() != user {
        let owner = facts.uid();
        return Err(ConnectionFileError::WrongOwner { path, owner, user });
    }
    let mode = facts.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(ConnectionFileError::Exposed { path, mode });
    }
    if facts.len() > MOST_BYTES {
        let bytes = facts.len();
        return Err(ConnectionFileError::TooLarge { path, bytes });
    }
    Ok(())
}

/// Refuses a directory in which others could put another file in this one's place.
fn check_directory(path: &Path) -> Result<(), ConnectionFileError> {
    let directory: PathBuf = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let path = path.to_owned();
    let facts = match fs::metadata(&directory) {
        Ok(facts) => facts,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(ConnectionFileError::Missing { path });
        }
        Err(source) => {
            let doing = "look at the directory of";
            return Err(ConnectionFileError::Io { doing, path, source });
        }
    };
    let (mode, owner) = (facts.mode() & 0o7777, facts.uid());
    if mode & 0o022 != 0 || owner != geteuid().as_raw() {
        return Err(ConnectionFileError::OpenDirectory {
            path,
            directory,
            mode,
            owner,
        });
    }
    Ok(())
}
