//! What earlier agents of a pilot have left in its directory: its journal, and files that a new one can do without.

use std::fs::File;
use std::io;
use std::path::Path;

use nix::fcntl::Flock;
use scalems_core::Survey;
use scalems_core::record::Record;
use scalems_protocol::Role;
use scalems_transport::{ConnectionFile, PrivateDir};

use super::{JOURNAL, Journaling, PilotError, lock, random};
use crate::batch::{Leading, Submitted};
use crate::journal::{Life, Store, beside};
use crate::{logging, spill};

/// Names that a file is moved to, at most.
const ASIDE: u32 = 10_000;
/// What a journal consists of, by what follows its name.
const PARTS: [&str; 4] = ["", "-wal", "-shm", ".values"];

/// What is known of a pilot when an agent of it begins.
pub(super) struct Past {
    pub(super) store: Option<Store>,
    pub(super) life: Life,
}

/// Opens the journal, and gives each record in it to `each`, or makes one for a pilot whose first life is `first`.
pub(super) fn open(
    journaling: &Journaling,
    first: Life,
    each: impl FnMut(Record),
) -> Result<Past, PilotError> {
    let path = match journaling {
        // Each start is a pilot of its own, so this is its first life.
        Journaling::None => {
            return Ok(Past {
                store: None,
                life: first,
            });
        }
        Journaling::Keep(path) if path.exists() => path,
        Journaling::Resume(path) | Journaling::AcceptLoss(path) => path,
        Journaling::Keep(path) | Journaling::Fresh(path) => {
            // Nobody has it while it is moved, and all of it is in the files that are.
            let ours = Store::hold_still(path)?;
            move_aside(path).map_err(PilotError::system(format!("move {} aside", path.display())))?;
            drop(ours);
            let (store, life) = Store::create(path, first.pilot, first.secret)?;
            return Ok(Past {
                store: Some(store),
                life,
            });
        }
    };
    let (store, life) = if matches!(journaling, Journaling::AcceptLoss(_)) {
        Store::resume_after_loss(path, random()?, each)?
    } else {
        Store::resume(path, each)?
    };
    Ok(Past {
        store: Some(store),
        life,
    })
}

/// Moves a journal to the first name that is free: `journal.1.sqlite` and so on. The database goes first: what lies
/// beside one that is not there belongs to nobody.
fn move_aside(path: &Path) -> io::Result<()> {
    if !PARTS.iter().any(|name| beside(path, name).exists()) {
        return Ok(());
    }
    let free = (1..=ASIDE)
        .map(|number| path.with_extension(format!("{number}.sqlite")))
        .find(|other| !PARTS.iter().any(|name| beside(other, name).exists()))
        .ok_or_else(|| io::Error::other("there are too many of them"))?;
    for name in PARTS {
        match std::fs::rename(beside(path, name), beside(&free, name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            renamed => renamed?,
        }
    }
    Ok(())
}

/// What became of a pilot's directory.
#[derive(Debug, PartialEq, Eq)]
pub enum Removed {
    /// There is none any more.
    All,
    /// What is not ours stays.
    AllButOthers,
    /// Nothing was removed: so many tasks in its journal have not ended.
    Unfinished(u64),
}

/// The name of a pilot that does not run, kept until the lock is dropped.
fn lock_of(name: &str, directory: &Path) -> Result<Flock<File>, PilotError> {
    let begun = directory.join("lock").exists();
    if !begun && !directory.join(Submitted::FILE).exists() {
        return Err(PilotError::NoPilot {
            directory: directory.to_owned(),
        });
    }
    let private = PrivateDir::ensure(directory)?;
    let lock = lock(&private, name)?;
    Store::refuse_owned(&directory.join(JOURNAL))?;
    Ok(lock)
}

/// How many tasks of a pilot that does not run have not ended.
pub fn unfinished_of(name: &str, directory: &Path) -> Result<u64, PilotError> {
    let _lock = lock_of(name, directory)?;
    let journal = directory.join(JOURNAL);
    if journal.exists() {
        unfinished(&journal)
    } else {
        Ok(0)
    }
}

/// Removes a pilot that does not run: its journals, logs, tasks' directories. With `force` also one that has unfinished
/// tasks, or a journal that cannot be read.
pub fn remove(name: &str, directory: &Path, force: bool) -> Result<Removed, PilotError> {
    let gone = |path: &Path| PilotError::system(format!("remove {}", path.display()));
    let _lock = lock_of(name, directory)?;
    let journal = directory.join(JOURNAL);
    if !force && journal.exists() {
        let unfinished = unfinished(&journal)?;
        if unfinished > 0 {
            return Ok(Removed::Unfinished(unfinished));
        }
    }
    let entries = std::fs::read_dir(directory).map_err(gone(directory))?;
    for entry in entries {
        let path = entry.map_err(gone(directory))?.path();
        let ours = path
            .file_name()
            .and_then(|name| name.to_str())
            .is_some_and(is_ours);
        if ours {
            let kind = std::fs::symlink_metadata(&path).map_err(gone(&path))?;
            let removed = if kind.is_dir() {
                std::fs::remove_dir_all(&path)
            } else {
                std::fs::remove_file(&path)
            };
            removed.map_err(gone(&path))?;
        }
    }
    // The lock goes last, so that nobody begins here meanwhile.
    let lock = directory.join("lock");
    std::fs::remove_file(&lock).map_err(gone(&lock))?;
    match std::fs::remove_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(Removed::AllButOthers),
        removed => removed.map(|()| Removed::All).map_err(gone(directory)),
    }
}

/// Fails if a pilot that is started in this directory would not begin: another has left unfinished tasks in its journal.
pub fn check_finished(name: &str, directory: &Path) -> Result<(), PilotError> {
    let journal = directory.join(JOURNAL);
    let tasks = if journal.exists() {
        unfinished(&journal)?
    } else {
        0
    };
    if tasks > 0 {
        return Err(PilotError::Unfinished {
            name: name.to_owned(),
            tasks,
            journal,
        });
    }
    Ok(())
}

/// How many tasks in a journal have not ended.
fn unfinished(journal: &Path) -> Result<u64, PilotError> {
    let mut survey = Survey::default();
    Store::inspect(journal, |record| survey.take(&record))?;
    Ok(survey.unfinished().map(|(_, tasks)| u64::from(tasks)).sum())
}

/// Whether it is one of the files that agents and workers make in a pilot's directory.
fn is_ours(name: &str) -> bool {
    let journal = name
        .strip_prefix("journal.")
        .is_some_and(|rest| rest.contains("sqlite"));
    let connection = Role::ALL
        .iter()
        .any(|role| name == ConnectionFile::file_name(*role));
    let job = matches!(name, Submitted::FILE | Leading::FILE | "job.sh" | "job.log");
    journal
        || connection
        || job
        || matches!(
            name,
            "metrics.json"
                | "metrics.token"
                | "agent.log"
                | "agent.log.1"
                | "logs"
                | "workers"
                | "tasks"
                | logging::DIRECTORY
                | spill::FILE
        )
}
