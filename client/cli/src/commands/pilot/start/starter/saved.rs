//! Which workers there are on this host, where that is otherwise than the pilot was begun: for the agent that is started after
//! one that has died, with who starts workers in the same process.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use scalems_client::protocol::client::StarterPlace;
use serde::{Deserialize, Serialize};

use super::Slots;
use crate::commands::pilot::start::time::WorkerTime;
use crate::commands::pilot::start::workers::Keeper;

/// All of them.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Saved {
    pub(super) next: u32,
    pub(super) places: Vec<SavedPlace>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SavedPlace {
    pub(super) node: String,
    pub(super) slots: Slots,
    pub(super) said: StarterPlace,
    name: String,
    words: Vec<Vec<u8>>,
    /// When it ends by itself, as [`WorkerTime`] counts.
    #[serde(default)]
    until_ms: Option<u64>,
    note: Option<PathBuf>,
    log: Option<PathBuf>,
}

impl SavedPlace {
    pub(super) fn new(node: &str, slots: &Slots, keeper: &Keeper, said: &StarterPlace) -> Self {
        Self {
            node: node.to_owned(),
            slots: slots.clone(),
            said: said.clone(),
            name: keeper.name.clone(),
            words: keeper
                .words
                .iter()
                .map(|word| word.as_bytes().to_owned())
                .collect(),
            until_ms: keeper.time.own_until_ms,
            note: keeper.note.clone(),
            log: keeper.log.clone(),
        }
    }

    /// The same, of which is said something else by now.
    pub(super) fn saying(self, said: StarterPlace) -> Self {
        Self { said, ..self }
    }

    /// What keeps it running, which may be there.
    pub(super) fn keeper(&self) -> Keeper {
        Keeper {
            name: self.name.clone(),
            words: self.words.iter().cloned().map(OsString::from_vec).collect(),
            time: WorkerTime {
                own_until_ms: self.until_ms,
                job: None,
            },
            launch: None,
            note: self.note.clone(),
            log: self.log.clone(),
            resumes: true,
            patient: false,
        }
    }
}

impl Saved {
    fn path(directory: &Path) -> PathBuf {
        directory.join("workers").join("layout.json")
    }

    /// What was noted; none if it was as the pilot begins, or cannot be read.
    pub(super) fn read(directory: &Path) -> Option<Self> {
        let path = Self::path(directory);
        let text = std::fs::read(&path).ok()?;
        match serde_json::from_slice(&text) {
            Ok(saved) => Some(saved),
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "cannot be read: the pilot begins with the workers of its options");
                None
            }
        }
    }

    /// Notes it, in the place of what was noted before.
    pub(super) fn write(&self, directory: &Path) -> io::Result<()> {
        let path = Self::path(directory);
        if let Some(workers) = path.parent() {
            std::fs::create_dir_all(workers)?;
        }
        let beside = path.with_extension("new");
        std::fs::write(&beside, serde_json::to_vec(self)?)?;
        std::fs::rename(beside, path)
    }

    /// The next pilot here begins as its options say.
    pub(super) fn remove(directory: &Path) {
        // Best effort: most have none.
        let _gone = std::fs::remove_file(Self::path(directory));
    }
}
