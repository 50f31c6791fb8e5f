//! The directory of one task in ranks: what its ranks are told, and what each of them says.
//!
//! | file | by | is |
//! |---|---|---|
//! | `call` | worker | the call |
//! | `alive` | worker | a FIFO that is open for writing as long as the task is to run |
//! | `asked` | worker | there once the task is asked to end |
//! | `RANK.began` | rank | its process id |
//! | `RANK.ended` | rank | what came of it; renamed from `RANK.part` |
//! | `RANK.died` | rank | how the process that called ended, if not well |
//!
//! Launchers have their sockets and shared memory in there too, so that nothing of theirs outlasts the task.

use std::env;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::libc::O_NONBLOCK;
use nix::sys::stat::Mode;
use nix::unistd::{geteuid, mkfifo};
use scalems_protocol::function::LogRecord;
use serde::{Deserialize, Serialize};
use serde_bytes::{ByteBuf, Bytes};
use tracing::{debug, warn};

use super::Called;
use crate::mpi::How;

/// Memory as files, where the system has that.
const IN_MEMORY: &str = "/dev/shm";
/// Names that are tried: one of a worker that was killed may be there still.
const TRIES: u64 = 1_000;

/// The directory. Dropped, it is removed, and ranks that are still there end.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    _alive: File,
}

/// What a rank says in the end.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RankEnd {
    /// When, seconds since 1970.
    pub(super) at: f64,
    /// Empty: it has returned.
    pub(super) code: String,
    pub(super) class: String,
    pub(super) message: String,
    pub(super) trace: String,
    /// What it returned, or its exception.
    pub(super) value: ByteBuf,
    pub(super) log: Vec<LogRecord>,
    pub(super) dropped: u64,
}

/// What the ranks of a call are told.
#[derive(Serialize)]
struct Told<'a> {
    mode: &'a str,
    body: Option<&'a Bytes>,
    data: &'a Bytes,
    task: (u64, u32, u64, u32, u64),
    ranks: u32,
    cpus: &'a [u32],
    gpus: &'a [u32],
    directory: &'a Path,
}

impl Place {
    pub(super) fn make() -> io::Result<Self> {
        static PLACES: AtomicU64 = AtomicU64::new(0);
        let base = Self::base();
        let mut path = PathBuf::new();
        for _try in 0..TRIES {
            let number = PLACES.fetch_add(1, Ordering::Relaxed);
            path = base.join(format!("scalems-{}-{number}", std::process::id()));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Self::within(path),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Self::named(&path, &error)),
            }
        }
        Err(Self::named(&path, &io::ErrorKind::AlreadyExists.into()))
    }

    /// Removes what workers have left that were killed: nobody has its FIFO open for writing.
    pub(super) fn sweep() {
        let left = fs::read_dir(Self::base()).into_iter().flatten().flatten();
        for entry in left.filter(|entry| entry.file_name().as_bytes().starts_with(b"scalems-")) {
            let path = entry.path();
            let is_own = entry
                .metadata()
                .is_ok_and(|about| about.uid() == geteuid().as_raw());
            if is_own && is_deserted(&path.join("alive")) {
                let gone = fs::remove_dir_all(&path);
                debug!(path = %path.display(), ?gone, "what a worker left behind");
            }
        }
    }

    fn base() -> PathBuf {
        let memory = Path::new(IN_MEMORY);
        if memory.is_dir() {
            memory.to_owned()
        } else {
            env::temp_dir()
        }
    }

    fn within(path: PathBuf) -> io::Result<Self> {
        let alive = path.join("alive");
        mkfifo(&alive, Mode::S_IRUSR | Mode::S_IWUSR)?;
        let alive = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(O_NONBLOCK)
            .open(alive)?;
        Ok(Self { path, _alive: alive })
    }

    fn named(path: &Path, error: &io::Error) -> io::Error {
        io::Error::new(
            error.kind(),
            format!(
                "directory {} for its ranks cannot be made: {error}",
                path.display()
            ),
        )
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn write_call(&self, called: &Called) -> io::Result<()> {
        let call = &called.call;
        let pinned = called.pins;
        let cpus: Vec<u32> = call.cpus.iter().copied().filter(|_| pinned).collect();
        let told = Told {
            mode: &call.template.mode,
            body: call.body.as_ref().map(|body| Bytes::new(&body.bytes)),
            data: Bytes::new(&call.data),
            task: (
                call.task.submission,
                call.task.index,
                call.incarnation,
                call.attempt,
                call.template.policy.time_limit_ms,
            ),
            ranks: called.ranks,
            cpus: &cpus,
            gpus: &call.wants.gpus,
            directory: &called.directory,
        };
        let bytes = rmp_serde::to_vec_named(&told).expect("our own structs serialize into memory");
        fs::write(self.path.join("call"), bytes)
    }

    /// Says that the task is asked to end.
    pub(super) fn ask(&self) -> io::Result<()> {
        File::create(self.path.join("asked")).map(drop)
    }

    /// The process of each rank that has begun.
    pub(super) fn pids(&self, ranks: u32) -> Vec<Option<i32>> {
        let pid = |rank| {
            let text = fs::read_to_string(self.path.join(format!("{rank}.began"))).ok()?;
            text.trim().parse().ok()
        };
        (0..ranks).map(pid).collect()
    }

    /// The first rank whose process did not end well, and how it ended.
    pub(super) fn first_death(&self, ranks: u32) -> Option<(u32, How)> {
        let death = |rank| {
            let text = fs::read_to_string(self.path.join(format!("{rank}.died"))).ok()?;
            let (at, how) = text.split_once(' ')?;
            let (kind, number) = how.split_once(' ')?;
            let number = number.parse().ok()?;
            let how = if kind == "signal" {
                How::Signaled(number)
            } else {
                How::Exited(number)
            };
            Some((at.parse::<f64>().ok()?, rank, how))
        };
        let deaths = (0..ranks).filter_map(death);
        let first = deaths.min_by(|(one, ..), (other, ..)| one.total_cmp(other));
        first.map(|(_, rank, how)| (rank, how))
    }

    /// Bytes of all that ranks have said in the end.
    pub(super) fn bytes(&self, ranks: u32) -> u64 {
        let size = |rank| fs::metadata(self.end_of(rank)).map_or(0, |about| about.len());
        (0..ranks).map(size).sum()
    }

    /// What each rank has said in the end. An error is the first that cannot be read.
    pub(super) fn ends(&self, ranks: u32) -> io::Result<Vec<Option<RankEnd>>> {
        let end = |rank| match fs::read(self.end_of(rank)) {
            Ok(bytes) => rmp_serde::from_slice(&bytes)
                .map(Some)
                .map_err(|problem| io::Error::new(io::ErrorKind::InvalidData, problem)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        };
        (0..ranks).map(end).collect()
    }

    fn end_of(&self, rank: u32) -> PathBuf {
        self.path.join(format!("{rank}.ended"))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            warn!(path = %self.path.display(), %error, "a directory for ranks is left behind");
        }
    }
}

/// Whether a FIFO is there that nobody has open for writing: reading it meets an end.
fn is_deserted(fifo: &Path) -> bool {
    let is_one = fs::symlink_metadata(fifo).is_ok_and(|about| about.file_type().is_fifo());
    let opened = || OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(fifo);
    is_one && opened().is_ok_and(|mut open| open.read(&mut [0]).is_ok_and(|count| count == 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ranks_say_is_read_and_nothing_is_left() {
        let place = Place::make().unwrap();
        let path = place.path().to_owned();
        assert_eq!((place.pids(2), place.bytes(2)), (vec![None, None], 0));
        fs::write(path.join("1.began"), "77").unwrap();
        fs::write(path.join("1.ended"), b"\x82\xa5value\xc4\x01\x07\xa5later\xc0").unwrap();
        assert_eq!(place.pids(2), [None, Some(77)]);
        let ends = place.ends(2).unwrap();
        assert!(ends[0].is_none());
        assert_eq!(&ends[1].as_ref().unwrap().value[..], [7]);
        assert_eq!(place.first_death(2), None);
        fs::write(path.join("0.died"), "12.5 exit 3").unwrap();
        fs::write(path.join("1.died"), "12.25 signal 9").unwrap();
        assert_eq!(place.first_death(2), Some((1, How::Signaled(9))));
        fs::write(path.join("0.ended"), b"\xc1").unwrap();
        assert!(place.ends(2).is_err());
        let other = Place::make().unwrap();
        assert_ne!(other.path(), path);
        let alive = path.join("alive");
        assert!(!is_deserted(&alive));
        drop(place);
        assert!(!path.exists());
    }

    #[test]
    fn what_killed_workers_left_is_known_from_what_is_in_use() {
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("alive");
        assert!(!is_deserted(&fifo), "it may be about to be made");
        mkfifo(&fifo, Mode::S_IRWXU).unwrap();
        assert!(is_deserted(&fifo));
        let _open = OpenOptions::new().read(true).write(true).open(&fifo).unwrap();
        assert!(!is_deserted(&fifo));
    }
}
