//! The files of one process's log: one that is written, and some before it, never more bytes than they may.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::fcntl::{Flock, FlockArg};

/// Logs of processes that have ended which are kept in one directory, the newest: two of each worker on a few dozen nodes.
const ENDED: usize = 64;

/// What the log of one process may take of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Bytes of one file.
    pub bytes: u64,
    /// Files, with the one that is written.
    pub files: u32,
}

impl Limit {
    /// Of an agent, or its parent: 5 files of 10 MiB.
    pub const AGENT: Self = Self {
        bytes: 10 << 20,
        files: 5,
    };
    /// Of a worker, or who keeps a filter, of which there may be thousands: 4 files of 1 MiB.
    pub const WORKER: Self = Self {
        bytes: 1 << 20,
        files: 4,
    };
}

/// The files, open for writing. A lock on the newest says that its process lives.
pub(super) struct Rolling {
    path: PathBuf,
    limit: Limit,
    file: Flock<File>,
    written: u64,
}

impl Rolling {
    pub(super) fn open(directory: &Path, name: &str, limit: Limit) -> io::Result<Self> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
        let name = plain(name);
        let path = directory.join(format!("{name}.log"));
        let (path, file) = if let Some(file) = lock(&path)? {
            (path, file)
        } else {
            let path = directory.join(format!("{name}-{}.log", std::process::id()));
            let file = lock(&path)?.ok_or(io::ErrorKind::AddrInUse)?;
            (path, file)
        };
        let written = file.metadata()?.len();
        forget_oldest(directory);
        Ok(Self {
            path,
            limit,
            file,
            written,
        })
    }

    /// Writes one line, in a new file if this one has no room for it. Returns whether it is written.
    pub(super) fn put(&mut self, line: &[u8]) -> bool {
        let most = usize::try_from(self.limit.bytes).unwrap_or(usize::MAX);
        let line = &line[..line.len().min(most)];
        if self.written > 0 && self.written + line.len() as u64 > self.limit.bytes && self.turn().is_err() {
            return false;
        }
        // A part that could be written counts: the next line begins behind it.
        match self.file.write(line) {
            Ok(bytes) => {
                self.written += bytes as u64;
                bytes == line.len()
            }
            Err(_) => false,
        }
    }

    /// Makes room: each file takes the next number, and the last one goes.
    fn turn(&mut self) -> io::Result<()> {
        let older = |number: u32| numbered(&self.path, number);
        for number in (1..self.limit.files.saturating_sub(1)).rev() {
            rename(&older(number), &older(number + 1))?;
        }
        if self.limit.files > 1 {
            rename(&self.path, &older(1))?;
        } else {
            fs::remove_file(&self.path)?;
        }
        self.file = lock(&self.path)?.ok_or(io::ErrorKind::AddrInUse)?;
        self.written = self.file.metadata()?.len();
        Ok(())
    }
}

/// Keeps what nobody counts within bounds: a file of more than `bytes` is moved to `NAME.1`, in the place of what was there.
pub fn keep_small(path: &Path, bytes: u64) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(facts) if facts.len() > bytes => rename(path, &numbered(path, 1)),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        renamed => renamed,
    }
}

/// Opens a file for adding to it; none: another process does.
fn lock(path: &Path) -> io::Result<Option<Flock<File>>> {
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(file) => Ok(Some(file)),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, errno)) => Err(errno.into()),
    }
}

/// Removes the oldest logs of processes that have ended, but for so many. Best effort: what stays now goes next time.
fn forget_oldest(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    let newest = entries.flatten().filter_map(|entry| {
        let path = entry.path();
        let log = path.extension().is_some_and(|end| end == "log");
        let at = entry.metadata().and_then(|facts| facts.modified()).ok()?;
        log.then_some((at, path))
    });
    let mut logs: Vec<(SystemTime, PathBuf)> = newest.collect();
    if logs.len() <= ENDED {
        return;
    }
    logs.sort();
    let ended = logs.iter().filter_map(|(_, path)| {
        let file = File::open(path).ok()?;
        Flock::lock(file, FlockArg::LockExclusiveNonblock)
            .ok()
            .map(|held| (path, held))
    });
    let ended: Vec<_> = ended.collect();
    let beyond = ended.len().saturating_sub(ENDED);
    for (path, _held) in ended.into_iter().take(beyond) {
        for number in 1..=Limit::AGENT.files {
            let _gone = fs::remove_file(numbered(path, number));
        }
        let _gone = fs::remove_file(path);
    }
}

/// A name as a file has it.
fn plain(name: &str) -> String {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let name: String = name
        .chars()
        .take(128)
        .map(|c| if fine(c) { c } else { '_' })
        .collect();
    name.trim_start_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Limit = Limit { bytes: 100, files: 3 };

    fn sizes(directory: &Path) -> Vec<(String, u64)> {
        let mut all: Vec<_> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let name = entry.file_name().into_string().unwrap();
                (name, entry.metadata().unwrap().len())
            })
            .collect();
        all.sort();
        all
    }

    #[test]
    fn there_is_never_more_than_the_limit() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("own-logs");
        let mut log = Rolling::open(&directory, "worker-a/b", SMALL).unwrap();
        for number in 0..200 {
            assert!(log.put(format!("line {number:>30}\n").as_bytes()));
            let sizes = sizes(&directory);
            assert!(
                sizes.len() <= 3 && sizes.iter().all(|(_, bytes)| *bytes <= 100),
                "{sizes:?}"
            );
        }
        let newest = fs::read_to_string(directory.join("worker-a_b.log")).unwrap();
        assert!(newest.ends_with("199\n"), "{newest}");
        assert_eq!(sizes(&directory).len(), 3);
        // What is longer than a file is cut.
        assert!(log.put(&[b'x'; 1_000]));
        assert_eq!(fs::metadata(directory.join("worker-a_b.log")).unwrap().len(), 100);
    }

    #[test]
    fn a_second_process_of_the_same_name_has_files_of_its_own() {
        let home = tempfile::tempdir().unwrap();
        let first = Rolling::open(home.path(), "agent", SMALL).unwrap();
        let _second = Rolling::open(home.path(), "agent", SMALL).unwrap();
        let own = format!("agent-{}.log", std::process::id());
        let names: Vec<_> = sizes(home.path()).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, [own, "agent.log".to_owned()]);
        drop(first);
        let mut third = Rolling::open(home.path(), "agent", SMALL).unwrap();
        assert!(third.put(b"again\n"));
        assert_eq!(
            fs::read_to_string(home.path().join("agent.log")).unwrap(),
            "again\n"
        );
    }

    #[test]
    fn logs_of_the_dead_are_kept_by_number_and_those_of_the_living_all() {
        let home = tempfile::tempdir().unwrap();
        let living: Vec<_> = (0..3)
            .map(|number| Rolling::open(home.path(), &format!("living-{number}"), SMALL).unwrap())
            .collect();
        for number in 0..ENDED + 20 {
            drop(Rolling::open(home.path(), &format!("worker-{number}"), SMALL).unwrap());
        }
        let names: Vec<_> = sizes(home.path()).into_iter().map(|(name, _)| name).collect();
        assert!(names.len() <= ENDED + living.len() + 1, "{names:?}");
        for number in 0..living.len() {
            assert!(names.contains(&format!("living-{number}.log")), "{names:?}");
        }
    }

    #[test]
    fn what_grew_before_is_put_aside() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("agent.log");
        keep_small(&path, 10).unwrap();
        fs::write(&path, "some").unwrap();
        keep_small(&path, 10).unwrap();
        assert!(path.exists());
        fs::write(&path, "some that is longer").unwrap();
        keep_small(&path, 10).unwrap();
        assert!(!path.exists());
        assert_eq!(
            fs::read_to_string(home.path().join("agent.log.1")).unwrap(),
            "some that is longer"
        );
    }
}
