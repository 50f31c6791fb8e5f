//! Whose a journal is: a file beside it, for file systems that hosts share and whose locks do not hold.
//!
//! The database's own lock keeps processes of one host apart. The file says which process of which host has the journal;
//! the owner renews it, and before it writes looks whether it is still its own.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::stat::futimens;
use nix::sys::time::TimeSpec;
use serde::{Deserialize, Serialize};

use super::{JournalError, beside};
use crate::batch::part::Watch;
use crate::process;

/// How often it is renewed.
const RENEW: Duration = Duration::from_secs(15);
/// An owner that has not renewed it for so long is taken to be dead.
const UNRENEWED: Duration = Duration::from_mins(1);
/// It is looked at again after so long while that is waited for.
const LOOK: Duration = Duration::from_millis(500);
/// Before something is written, it was looked at within this time: far less than it takes to be taken over.
const SURE: Duration = Duration::from_secs(1);

/// What is in the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Name {
    /// The host, for people.
    host: String,
    /// What the process is known by there.
    process: String,
    /// Tells one opening of the journal from another of the same process.
    nonce: u64,
}

/// The file, as long as it is ours.
#[derive(Debug)]
pub(super) struct Owner {
    path: PathBuf,
    name: Name,
    renewed: Instant,
    tried: Instant,
    seen: Instant,
}

/// What stands in the way.
enum Other {
    /// Its process is over, or it was not renewed for so long.
    Dead,
    /// It runs on this host.
    Alive,
    /// Nobody can tell; it was renewed so long ago.
    Elsewhere(Name, Duration),
}

impl Other {
    /// One elsewhere whose job is over is dead.
    fn or_dead_by(self, jobs: &Watch) -> Self {
        match &self {
            Self::Elsewhere(name, _)
                if process::part(&name.process).is_some_and(|part| jobs.is_over(&part)) =>
            {
                Self::Dead
            }
            _ => self,
        }
    }
}

impl Owner {
    /// Makes the journal at `path` ours. That an owner on another host has died is found out by waiting, or by asking the batch system.
    pub(super) fn claim(path: &Path) -> Result<Self, JournalError> {
        Self::claim_within(path, UNRENEWED + 2 * LOOK)
    }

    fn claim_within(path: &Path, patience: Duration) -> Result<Self, JournalError> {
        let file = with_owner(path);
        let unusable = |source| JournalError::Unusable {
            path: file.clone(),
            source,
        };
        let mut nonce = [0; 8];
        getrandom::fill(&mut nonce).map_err(|error| unusable(io::Error::other(error)))?;
        let name = Name {
            host: crate::host_name(),
            process: process::name(&[std::process::id()]),
            nonce: u64::from_le_bytes(nonce),
        };
        let draft = file.with_extension(format!("owner.{:016x}", name.nonce));
        let claimed = Self::put(path, &file, &draft, &name, patience);
        // It was renamed, or is of no use.
        let _gone = std::fs::remove_file(&draft);
        claimed?;
        let now = Instant::now();
        Ok(Self {
            path: file,
            name,
            renewed: now,
            tried: now,
            seen: now,
        })
    }

    /// Puts our name there.
    fn put(
        path: &Path,
        file: &Path,
        draft: &Path,
        name: &Name,
        patience: Duration,
    ) -> Result<(), JournalError> {
        let unusable = |source| JournalError::Unusable {
            path: file.to_owned(),
            source,
        };
        let begun = Instant::now();
        let (mut waits, jobs) = (None, Watch::default());
        loop {
            write(draft, name).map_err(unusable)?;
            // This fails if there is one, on every file system.
            match std::fs::hard_link(draft, file) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(unusable(error)),
            }
            let other = other(file, draft).map_err(unusable)?;
            match other.map(|other| other.or_dead_by(&jobs)) {
                // It has just gone.
                None => {}
                Some(Other::Dead) => {
                    std::fs::rename(draft, file).map_err(unusable)?;
                    // Of several that come at once the last one has it: all of them have looked before.
                    std::thread::sleep(LOOK);
                    return match read(file).map_err(unusable)? {
                        Some(now) if now == *name => Ok(()),
                        _ => Err(in_use(path)),
                    };
                }
                Some(Other::Alive) => return Err(in_use(path)),
                Some(Other::Elsewhere(owner, ago)) => {
                    let before: &mut (Name, Duration) = waits.get_or_insert_with(|| {
                        tracing::warn!(
                            host = owner.host, ?ago,
                            "the journal has an owner on another host; it is waited for a minute whether that lives"
                        );
                        (owner.clone(), ago)
                    });
                    // Another one, or one that was renewed since, lives.
                    let lives = before.0 != owner || ago < before.1;
                    if lives || begun.elapsed() >= patience {
                        return Err(JournalError::Owned {
                            path: path.to_owned(),
                            host: owner.host,
                            ago,
                        });
                    }
                    before.1 = ago;
                    std::thread::sleep(LOOK);
                }
            }
        }
    }

    /// Refuses a journal that somebody has who may live; one that is only read has no owner for that.
    pub(super) fn refuse(path: &Path) -> Result<(), JournalError> {
        let file = with_owner(path);
        let Ok(Some(name)) = read(&file) else {
            return Ok(());
        };
        // One of this host is kept off by the database's lock.
        if process::is_of_here(&name.process) {
            return Ok(());
        }
        let draft = file.with_extension(format!("owner.{}", std::process::id()));
        let other = write(&draft, &name).and_then(|()| other(&file, &draft));
        let _gone = std::fs::remove_file(&draft);
        match other {
            Ok(Some(Other::Elsewhere(name, ago))) => Err(JournalError::Owned {
                path: path.to_owned(),
                host: name.host,
                ago,
            }),
            Ok(_) => Ok(()),
            Err(source) => Err(JournalError::Unusable { path: file, source }),
        }
    }

    /// When it has to be renewed; a while after that did not work it is tried again.
    pub(super) fn renew_at(&self) -> Instant {
        (self.renewed + RENEW).max(self.tried + SURE)
    }

    /// Looks whether the journal is still ours, if that was not done just now, and renews the file in time.
    pub(super) fn check(&mut self) -> Result<(), JournalError> {
        if self.seen.elapsed() < SURE {
            return Ok(());
        }
        self.check_now()
    }

    /// Looks whether the journal is still ours, after something that took long.
    pub(super) fn check_now(&mut self) -> Result<(), JournalError> {
        self.tried = Instant::now();
        let unusable = |source: io::Error| match source.raw_os_error().map(Errno::from_raw) {
            Some(Errno::EMFILE | Errno::ENFILE) => JournalError::NoDescriptors {
                path: self.path.clone(),
            },
            _ => JournalError::Unusable {
                path: self.path.clone(),
                source,
            },
        };
        let now = read(&self.path).map_err(unusable)?;
        if now.as_ref() != Some(&self.name) {
            return Err(JournalError::TakenOver {
                path: self.path.clone(),
                host: now.map_or_else(|| "nobody".to_owned(), |now| now.host),
            });
        }
        self.seen = Instant::now();
        if self.renewed.elapsed() >= RENEW {
            let file = File::open(&self.path).map_err(unusable)?;
            // The file system's own time, which others compare with it.
            futimens(&file, &TimeSpec::UTIME_NOW, &TimeSpec::UTIME_NOW)
                .map_err(|errno| unusable(errno.into()))?;
            self.renewed = Instant::now();
        }
        Ok(())
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        if read(&self.path).is_ok_and(|now| now.as_ref() == Some(&self.name)) {
            // Best effort: what stays says that its process is over.
            let _gone = std::fs::remove_file(&self.path);
        }
    }
}

fn in_use(path: &Path) -> JournalError {
    JournalError::InUse {
        path: path.to_owned(),
    }
}

fn with_owner(path: &Path) -> PathBuf {
    beside(path, ".owner")
}

fn write(path: &Path, name: &Name) -> io::Result<()> {
    let mut file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(&serde_json::to_vec(name)?)?;
    file.sync_all()
}

/// None if it is not there. What is in it and cannot be read is nobody.
fn read(path: &Path) -> io::Result<Option<Name>> {
    let mut text = Vec::new();
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?.take(1 << 16).read_to_end(&mut text)?,
    };
    Ok(serde_json::from_slice(&text).ok())
}

/// Who has it; none: it has just gone. `draft` was written just now, by the same clock.
fn other(file: &Path, draft: &Path) -> io::Result<Option<Other>> {
    let there = match std::fs::metadata(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        facts => facts?.modified()?,
    };
    let now = std::fs::metadata(draft)?.modified()?;
    let ago = now.duration_since(there).unwrap_or_default();
    let name = read(file)?.filter(|name| !process::are_over(&name.process));
    Ok(Some(match name {
        None => Other::Dead,
        Some(name) if process::is_of_here(&name.process) => Other::Alive,
        Some(_) if ago >= UNRENEWED => Other::Dead,
        Some(name) => Other::Elsewhere(name, ago),
    }))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    struct Place {
        path: PathBuf,
        _directory: tempfile::TempDir,
    }

    fn place() -> Place {
        let directory = tempfile::tempdir().unwrap();
        Place {
            path: directory.path().join("journal.sqlite"),
            _directory: directory,
        }
    }

    /// As if another process had it, which renewed it so long ago.
    fn of_another(path: &Path, process: &str, ago: Duration) -> Name {
        let name = Name {
            host: "node-17".into(),
            process: process.into(),
            nonce: 1,
        };
        let file = with_owner(path);
        write(&file, &name).unwrap();
        let at = SystemTime::now() - ago;
        File::open(&file).unwrap().set_modified(at).unwrap();
        name
    }

    fn at_once(path: &Path) -> Result<Owner, JournalError> {
        Owner::claim_within(path, Duration::ZERO)
    }

    #[test]
    fn a_journal_has_one_owner_on_a_host() {
        let place = place();
        let owner = at_once(&place.path).unwrap();
        assert!(matches!(at_once(&place.path), Err(JournalError::InUse { .. })));
        // Those who only read are kept off by the database's lock.
        Owner::refuse(&place.path).unwrap();
        drop(owner);
        assert_eq!(read(&with_owner(&place.path)).unwrap(), None);
        at_once(&place.path).unwrap();
        let left: Vec<_> = std::fs::read_dir(place.path.parent().unwrap()).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }

    #[test]
    fn a_dead_owner_is_followed_at_once_where_that_is_known() {
        let place = place();
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let process = process::name(&[child.id()]);
        of_another(&place.path, &process, Duration::ZERO);
        child.kill().unwrap();
        child.wait().unwrap();
        at_once(&place.path).unwrap();
        // A file that says nothing is nobody's.
        std::fs::write(with_owner(&place.path), "{").unwrap();
        at_once(&place.path).unwrap();
    }

    #[test]
    fn an_owner_elsewhere_is_followed_after_a_minute_of_silence() {
        let place = place();
        let elsewhere = "boot pid:[1] 4711:1";
        of_another(&place.path, elsewhere, Duration::from_secs(50));
        let refused = at_once(&place.path).unwrap_err();
        assert!(refused.to_string().contains("node-17"), "{refused}");
        assert!(matches!(
            Owner::refuse(&place.path),
            Err(JournalError::Owned { .. })
        ));
        // Waited for, it turns out to be dead.
        of_another(&place.path, elsewhere, Duration::from_millis(59_500));
        let owner = Owner::claim_within(&place.path, Duration::from_secs(20)).unwrap();
        drop(owner);
        of_another(&place.path, elsewhere, Duration::from_secs(61));
        Owner::refuse(&place.path).unwrap();
        at_once(&place.path).unwrap();
    }

    #[test]
    fn an_owner_that_reads_another_name_writes_no_more() {
        let place = place();
        let mut owner = at_once(&place.path).unwrap();
        owner.seen = Instant::now().checked_sub(SURE).unwrap();
        owner.renewed = Instant::now().checked_sub(RENEW).unwrap();
        let before = SystemTime::now() - Duration::from_secs(40);
        let file = with_owner(&place.path);
        File::open(&file).unwrap().set_modified(before).unwrap();
        owner.check().unwrap();
        assert!(
            file.metadata().unwrap().modified().unwrap() > before + RENEW,
            "it was renewed"
        );
        let name = of_another(&place.path, "boot pid:[1] 4711:1", Duration::ZERO);
        // It was looked at just now.
        owner.check().unwrap();
        owner.seen = Instant::now().checked_sub(SURE).unwrap();
        let over = owner.check().unwrap_err();
        assert!(
            matches!(&over, JournalError::TakenOver { host, .. } if host == "node-17"),
            "{over}"
        );
        // What is another's stays.
        drop(owner);
        assert_eq!(read(&file).unwrap(), Some(name));
    }
}
