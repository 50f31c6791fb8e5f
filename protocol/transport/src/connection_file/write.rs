//! Writing the file so that nobody sees half of it, and nobody else any of it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::renameat;

use super::{ConnectionFile, ConnectionFileError, format};
use crate::directory::PrivateDir;

impl ConnectionFile {
    /// Writes the file of its role into `directory`, in place of an older one, and says where it is.
    pub fn write(&self, directory: &PrivateDir) -> Result<PathBuf, ConnectionFileError> {
        let path = directory.path().join(Self::file_name(self.role));
        let failed = |doing| {
            let path = path.clone();
            move |source| ConnectionFileError::Io { doing, path, source }
        };
        let text = format::write(self).map_err(|flaw| ConnectionFileError::Invalid {
            path: path.clone(),
            reason: format!("{flaw:?}"),
        })?;
        let draft = draft_name(Self::file_name(self.role)).map_err(failed("name a draft of"))?;
        let written = write_draft(directory, &draft, &text).and_then(|()| {
            let (from, to) = (draft.as_str(), Self::file_name(self.role));
            renameat(directory.as_fd(), from, directory.as_fd(), to).map_err(io::Error::from)
        });
        if written.is_err() {
            // Nothing more can be done about a draft that stays; the error below is the one to hear of.
            let _removed = fs::remove_file(directory.path().join(&draft));
        }
        written.map_err(failed("write"))?;
        directory.sync().map_err(failed("make last"))?;
        Ok(path)
    }
}

fn write_draft(directory: &PrivateDir, draft: &str, text: &[u8]) -> io::Result<()> {
    let mut file = create(&directory.path().join(draft))?;
    file.write_all(text)?;
    file.sync_all()
}

/// Makes a file that only we can open and that was not there before.
fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW);
    options.open(path)
}

fn draft_name(name: &str) -> io::Result<String> {
    let number = getrandom::u64().map_err(io::Error::other)?;
    Ok(format!(".{name}.{number:016x}"))
}
