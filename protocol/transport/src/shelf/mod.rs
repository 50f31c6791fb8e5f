//! Large blobs between processes of one host: they lie in shared memory, and a message only names them.
//!
//! Through a socket file every hop copies a blob twice, and wakes both sides each time the kernel's buffer is full. A
//! **shelf** is a directory of shared memory that belongs to one agent; `shelf`, a link beside its socket files, tells where.
//! Whoever sends a large blob to a peer of the shelf copies it into a **segment** there, links a new name to that, and says the
//! name. The name is the receiver's: it maps what it names, and unlinks it when it needs the bytes no more. So the file
//! system counts who needs a segment; with one name left, its maker's own, it is used again. What was received is sent on
//! by one more name.
//!
//! Each end says by a file that it locks that it lives, and each name whose it is: what the dead had is removed.
//!
//! Whatever does not work goes through the socket as all else does. Specified in `docs/spec/1-bus.md`.

mod end;
mod mapping;
mod named;
mod segments;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use std::{fmt, fs, io};

use bytes::Bytes;
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::geteuid;
use scalems_protocol::limits;

use crate::directory::PrivateDir;

use end::Alive;
pub(crate) use end::End;
use mapping::{Mapped, Maps};
pub(crate) use named::{First, Named};
use segments::Segments;

/// Where shared memory is.
const SHARED_MEMORY: &str = "/dev/shm";
/// The link beside the socket files.
const LINK: &str = "shelf";
/// Smaller blobs go through the socket: naming one costs about as much as copying so much.
pub(crate) const LEAST: usize = 256 << 10;
/// What a process holds of others' segments, an agent of all its peers. What is over that it copies: a client that collects its results late
/// would keep a worker's.
const HELD: usize = 64 << 20;
const HELD_BY_AGENT: usize = 256 << 20;
/// How often it is looked for what the dead left, at most.
const SWEEP: Duration = Duration::from_secs(10);
/// A shelf may be not locked yet for so long.
const YOUNG: Duration = Duration::from_mins(1);

/// The shelf that an agent has made for its sockets.
pub struct AgentShelf(pub(crate) Shelf);

impl AgentShelf {
    /// A shelf beside the socket files in `sockets`, in place of one that an earlier agent left there. It fails where there is no
    /// shared memory; then large blobs go through the sockets.
    pub fn make(sockets: &PrivateDir) -> io::Result<Self> {
        Shelf::make(sockets).map(Self)
    }

    /// Removes the shelf of a dead agent, whose socket files lie in `sockets`.
    pub fn clear(sockets: &Path) {
        clear(sockets);
    }
}

/// A shelf, by which an agent or a peer sends and receives large blobs.
#[derive(Clone)]
pub(crate) struct Shelf(Arc<Shared>);

struct Shared {
    directory: PrivateDir,
    /// Of the agent's own, which is removed at its end: the lock that tells that it lives.
    own: Option<Flock<File>>,
    alive: Alive,
    segments: Mutex<Segments>,
    /// What was received and is still held, by where it is mapped.
    held: Mutex<HashMap<usize, (usize, Name)>>,
    held_bytes: AtomicUsize,
    maps: Mutex<Maps>,
    unswept: AtomicBool,
    swept: Mutex<Option<Instant>>,
}

/// What a blob is called on its way: who it is for, and a random number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) of: End,
    pub(crate) number: [u8; 8],
}

impl Name {
    fn new(of: End) -> io::Result<Self> {
        let number = end::random()?;
        Ok(Self { of, number })
    }

    /// The file of one that is on its way or held.
    fn of_blob(self, directory: &Path) -> PathBuf {
        directory.join(format!("blob-{self}"))
    }

    /// The file by which its maker knows a segment.
    fn of_segment(self, directory: &Path) -> PathBuf {
        directory.join(format!("segment-{self}"))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}{:016x}", self.of, u64::from_be_bytes(self.number))
    }
}

impl Shelf {
    /// The agent's shelf, beside its socket files in `sockets`. One that an earlier agent left there is removed.
    pub(crate) fn make(sockets: &PrivateDir) -> io::Result<Self> {
        clear(sockets.path());
        clear_dead(Path::new(SHARED_MEMORY), YOUNG);
        let name = format!("{}{}{}", beginning(), End::new()?, End::new()?);
        let path = Path::new(SHARED_MEMORY).join(name);
        let directory = PrivateDir::ensure(&path).map_err(io::Error::other)?;
        let shelf = Self::new(directory, End::AGENT, Some(lock_directory(&path)?))?;
        symlink(&path, sockets.path().join(LINK))?;
        Ok(shelf)
    }

    /// The shelf of the agent whose socket file lies in `sockets`; none if it has none, or one that cannot be reached from here,
    /// such as from a container.
    pub(crate) fn beside(sockets: &Path) -> Option<Self> {
        let directory = PrivateDir::open(&linked(sockets)?).ok()?;
        Self::new(directory, End::new().ok()?, None).ok()
    }

    fn new(directory: PrivateDir, end: End, own: Option<Flock<File>>) -> io::Result<Self> {
        Ok(Self(Arc::new(Shared {
            alive: Alive::new(end, directory.path())?,
            directory,
            own,
            segments: Mutex::default(),
            held: Mutex::default(),
            held_bytes: AtomicUsize::new(0),
            maps: Mutex::default(),
            unswept: AtomicBool::new(false),
            swept: Mutex::default(),
        })))
    }

    /// Our end of it.
    pub(crate) fn end(&self) -> End {
        self.0.alive.end
    }

    fn path(&self) -> &Path {
        self.0.directory.path()
    }

    /// Puts a blob where its receiver finds it. None: it goes through the socket.
    pub(crate) fn put(&self, blob: &[u8], to: End) -> Option<Given<'_>> {
        if blob.len() < LEAST {
            return None;
        }
        let name = Name::new(to).ok()?;
        if !self.name_again(blob, name) && !self.put_in(blob, name) {
            return None;
        }
        Some(Given {
            shelf: self,
            name: Some(name),
        })
    }

    /// What was received needs only one more name.
    fn name_again(&self, blob: &[u8], name: Name) -> bool {
        let held = lock(&self.0.held).get(&blob.as_ptr().addr()).copied();
        let Some((_, before)) = held.filter(|(length, _)| *length == blob.len()) else {
            return false;
        };
        fs::hard_link(before.of_blob(self.path()), name.of_blob(self.path())).is_ok()
    }

    fn put_in(&self, blob: &[u8], name: Name) -> bool {
        lock(&self.0.segments).put(self.path(), self.end(), blob, name)
    }

    /// Takes what a peer has named. The bytes are the shelf's until the last of them is dropped.
    pub(crate) fn take(&self, name: Name, length: u64) -> io::Result<Bytes> {
        let within = LEAST as u64..=limits::WIRE_FRAME_BYTES as u64;
        if !within.contains(&length) || name.of != self.end() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let (path, length) = (name.of_blob(self.path()), length as usize);
        let map = lock(&self.0.maps).read(&path, length);
        let most = if self.0.own.is_some() { HELD_BY_AGENT } else { HELD };
        let map = match map {
            Ok(map) if self.0.held_bytes.load(Ordering::Relaxed) + length <= most => map,
            other => {
                let copied = other.map(|map| Bytes::copy_from_slice(&map.bytes()[..length]));
                // Also if it could not be read: it is of no use to anybody else.
                let _gone = fs::remove_file(path);
                return copied;
            }
        };
        self.0.held_bytes.fetch_add(length, Ordering::Relaxed);
        let held = Held {
            map,
            length,
            name,
            shelf: self.0.clone(),
        };
        lock(&self.0.held).insert(held.address(), (length, name));
        Ok(Bytes::from_owner(held))
    }

    /// Somebody may have died: what he left is looked for soon.
    pub(crate) fn sweep(&self) {
        self.0.unswept.store(true, Ordering::Relaxed);
        self.sweep_if_due();
    }

    /// Looks for it, if that was not done of late. To be asked often.
    pub(crate) fn sweep_if_due(&self) {
        if !self.0.unswept.load(Ordering::Relaxed) {
            return;
        }
        let mut swept = lock(&self.0.swept);
        if swept.is_some_and(|at| at.elapsed() < SWEEP) {
            return;
        }
        *swept = Some(Instant::now());
        drop(swept);
        self.0.unswept.store(false, Ordering::Relaxed);
        self.sweep_now();
    }

    fn sweep_now(&self) {
        let Ok(entries) = fs::read_dir(self.path()) else {
            return;
        };
        // First what there is, then whether its end lives: that begins before and ends after all that is its own.
        let files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        let mut dead = HashMap::new();
        for path in files {
            let name = path.file_name().and_then(OsStr::to_str);
            let Some(of) = name.and_then(End::in_name) else {
                continue;
            };
            if *dead.entry(of).or_insert_with(|| of.is_dead(self.path())) {
                let _gone = fs::remove_file(&path);
            }
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if self.own.is_some() {
            // What a peer still has mapped stays until it lets go.
            let _gone = fs::remove_dir_all(self.directory.path());
        }
    }
}

/// A blob that was named and not yet sent: then nobody will take it.
pub(crate) struct Given<'a> {
    shelf: &'a Shelf,
    name: Option<Name>,
}

impl Given<'_> {
    pub(crate) fn name(&self) -> Name {
        self.name
            .expect("invariant: only `sent` takes it, which ends this")
    }

    /// It is the receiver's now.
    pub(crate) fn sent(mut self) {
        self.name = None;
    }
}

impl Drop for Given<'_> {
    fn drop(&mut self) {
        if let Some(name) = self.name {
            let _gone = fs::remove_file(name.of_blob(self.shelf.path()));
        }
    }
}

/// What was received, as long as somebody reads it.
struct Held {
    map: Arc<Mapped>,
    length: usize,
    name: Name,
    shelf: Arc<Shared>,
}

impl Held {
    fn address(&self) -> usize {
        self.map.bytes().as_ptr().addr()
    }
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.map.bytes()[..self.length]
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut held = lock(&self.shelf.held);
        // The same segment may have come twice, as what a task gives back of what it was given.
        if held
            .get(&self.address())
            .is_some_and(|(_, name)| *name == self.name)
        {
            held.remove(&self.address());
        }
        drop(held);
        self.shelf.held_bytes.fetch_sub(self.length, Ordering::Relaxed);
        // From now on its maker may write there: nothing of it is read any more.
        let _gone = fs::remove_file(self.name.of_blob(self.shelf.directory.path()));
    }
}

/// Removes the shelf of the agent whose socket files lie in `sockets`, which is dead.
pub(crate) fn clear(sockets: &Path) {
    if let Some(path) = linked(sockets)
        && PrivateDir::open(&path).is_ok()
    {
        let _gone = fs::remove_dir_all(path);
    }
    let _gone = fs::remove_file(sockets.join(LINK));
}

/// Removes the shelves in `place` of agents that are dead. One that was just made is not locked yet.
fn clear_dead(place: &Path, young: Duration) {
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_old = changed(&path).is_some_and(|age| age >= young);
        if entry.file_name().as_bytes().starts_with(beginning().as_bytes())
            && is_old
            && PrivateDir::open(&path).is_ok()
            && lock_directory(&path).is_ok()
        {
            let _gone = fs::remove_dir_all(path);
        }
    }
}

fn lock_directory(path: &Path) -> io::Result<Flock<File>> {
    let lock = Flock::lock(File::open(path)?, FlockArg::LockExclusiveNonblock);
    Ok(lock.map_err(|(_, errno)| errno)?)
}

/// Where the link beside socket files leads, if that can be a shelf.
fn linked(sockets: &Path) -> Option<PathBuf> {
    let path = fs::read_link(sockets.join(LINK)).ok()?;
    let ours = path.file_name()?.to_str()?.starts_with(&beginning());
    (path.parent() == Some(Path::new(SHARED_MEMORY)) && ours).then_some(path)
}

/// How the directories of this user's shelves begin.
fn beginning() -> String {
    format!("scalems-{}-", geteuid())
}

/// How long ago the file was given a name, or lost one; or the directory an entry.
fn changed(path: &Path) -> Option<Duration> {
    let facts = fs::symlink_metadata(path).ok()?;
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(facts.ctime().try_into().ok()?);
    SystemTime::now().duration_since(at).ok()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
