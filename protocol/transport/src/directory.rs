//! Directories that nobody else can look into: what keeps ipc sockets and keys ours.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

/// An open directory that was checked: ours, mode 0700, and no symbolic link.
#[derive(Debug)]
pub struct PrivateDir {
    path: PathBuf,
    open: File,
}

/// Why a directory is not private.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// It does not exist.
    #[error("there is no directory {}", path.display())]
    Missing {
        /// The directory.
        path: PathBuf,
    },
    /// A symbolic link stands in its place.
    #[error("{} is a symbolic link: name the directory that it points to, or remove it", path.display())]
    Symlink {
        /// The directory.
        path: PathBuf,
    },
    /// Something else stands in its place.
    #[error("{} is not a directory: remove it or choose another place", path.display())]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// Another user owns it.
    #[error("{} belongs to user {owner} and not to you (user {user}): choose another place", path.display())]
    WrongOwner {
        /// The directory.
        path: PathBuf,
        /// The owner's uid.
        owner: u32,
        /// Our uid.
        user: u32,
    },
    /// Others may enter or the owner may not.
    #[error("{} has mode {mode:04o} and must have 0700: chmod 700 {}", path.display(), path.display())]
    Mode {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The system refused.
    #[error("cannot use the directory {}: {source}", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl PrivateDir {
    /// Makes the directory, and those above it, if it is missing, and checks it.
    pub fn ensure(path: &Path) -> Result<Self, DirectoryError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        match made {
            // Something is there; what it is the check says better.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(source) => {
                return Err(DirectoryError::Io {
                    path: path.to_owned(),
                    source,
                });
            }
            Ok(()) => {}
        }
        Self::open(path)
    }

    /// Opens and checks a directory that exists.
    pub fn open(path: &Path) -> Result<Self, DirectoryError> {
        // Without its last slash, which would follow a link.
        let path: PathBuf = path.components().collect();
        let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW;
        let open = fs::OpenOptions::new().read(true).custom_flags(flags).open(&path);
        let open = open.map_err(|source| unopened(&path, source))?;
        let io = |source| DirectoryError::Io {
            path: path.clone(),
            source,
        };
        let facts = open.metadata().map_err(io)?;
        let user = geteuid().as_raw();
        if facts.uid() != user {
            let owner = facts.uid();
            return Err(DirectoryError::WrongOwner { path, owner, user });
        }
        let mode = facts.mode() & 0o7777;
        if mode & 0o777 != 0o700 {
            return Err(DirectoryError::Mode { path, mode });
        }
        Ok(Self { path, open })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes what was renamed into it last.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.open.sync_all()
    }
}

impl AsFd for PrivateDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.open.as_fd()
    }
}

/// Says what stands where a directory could not be opened.
fn unopened(path: &Path, source: io::Error) -> DirectoryError {
    let path = path.to_owned();
    match fs::symlink_metadata(&path) {
        Ok(facts) if facts.is_symlink() => DirectoryError::Symlink { path },
        Ok(facts) if !facts.is_dir() => DirectoryError::NotADirectory { path },
        Err(error) if error.kind() == io::ErrorKind::NotFound => DirectoryError::Missing { path },
        Ok(_) | Err(_) => DirectoryError::Io { path, source },
    }
}
