//! Modes that users register: which there are, as the worker's Python says once at its start (`docs/spec/10-functions`).

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use scalems_protocol::function::is_mode_name;
use scalems_protocol::limits::{INTERPRETER_START_MS, MODES, NAME_BYTES};

use crate::batch::{CommandError, end_within};

/// The variables by which an interpreter hears who registers modes.
const MODULES: &str = "SCALEMS_MODE_MODULES";
const INSTALLED: &str = "SCALEMS_INSTALLED_MODES";
/// Modes that are built in, and some to come.
const OTHERS: usize = 32;
/// So much of the end of what an interpreter wrote is told.
const LAST_BYTES: usize = 2_000;

/// Who registers modes: Python modules, and packages that are installed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registrars {
    /// Modules, imported in the order given.
    pub modules: Vec<String>,
    /// Whether entry points of the group `scalems.modes` are looked up.
    pub installed: bool,
}

/// Why the modes cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ModesError {
    /// Nobody could import a module.
    #[error("modes are registered in Python, and this worker has none: say with --python PATH which it is")]
    NoPython,
    /// It could not be asked.
    #[error("{python} cannot be asked for its modes: {source}")]
    Ask {
        /// The Python.
        python: String,
        /// Why.
        source: io::Error,
    },
    /// It ended badly.
    #[error("the modes of {python} cannot be had:\n{said}")]
    Refused {
        /// The Python.
        python: String,
        /// The end of what it wrote.
        said: String,
    },
    /// It did not end.
    #[error(
        "{python} did not say its modes within {} s: does a module of --mode-module wait for something when it is \
         imported?", limit.as_secs()
    )]
    Silent {
        /// The Python.
        python: String,
        /// How long it had.
        limit: Duration,
    },
    /// One of them has no name that a mode may have.
    #[error(
        "{0:?} is no name for a mode: it has letters, digits, '_', '-' and '.', at most {NAME_BYTES}, and does not begin \
         with task. or scalems."
    )]
    Name(String),
    /// There are too many.
    #[error("{0} modes are registered, and a worker serves at most {most} of them", most = MODES - OTHERS)]
    Many(usize),
}

impl Registrars {
    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.modules.is_empty() && !self.installed
    }

    /// What an interpreter is told of them.
    pub(super) fn variables(&self) -> Vec<(OsString, OsString)> {
        let mut variables = Vec::new();
        if !self.modules.is_empty() {
            variables.push((MODULES.into(), self.modules.join(" ").into()));
        }
        if self.installed {
            variables.push((INSTALLED.into(), "1".into()));
        }
        variables
    }
}

/// The modes that are registered, as an interpreter says with this environment, in which [`Registrars::variables`] are, begun in this
/// directory.
pub(super) fn ask(
    python: &str,
    environment: Vec<(OsString, OsString)>,
    directory: &Path,
) -> Result<Vec<String>, ModesError> {
    // The first interpreter of a machine reads all of its files from a file system that may be far and busy.
    let limit = Duration::from_millis(INTERPRETER_START_MS);
    let called = || python.to_owned();
    let cannot = |source| ModesError::Ask {
        python: called(),
        source,
    };
    std::fs::create_dir_all(directory).map_err(cannot)?;
    let mut command = Command::new(python);
    command
        .args(["-m", "scalems_pilot.interpreter", "--modes"])
        .env_clear()
        .envs(environment)
        .current_dir(directory);
    let said = end_within(limit, "Python", python, command).map_err(|error| match error {
        CommandError::Missing { .. } => cannot(io::ErrorKind::NotFound.into()),
        CommandError::Run { source, .. } => cannot(source),
        CommandError::Silent { .. } => ModesError::Silent {
            python: called(),
            limit,
        },
        CommandError::Refused { said, status, .. } => ModesError::Refused {
            python: called(),
            said: if said.is_empty() {
                format!("it ended without a word ({status})")
            } else {
                said[said.ceil_char_boundary(said.len().saturating_sub(LAST_BYTES))..].to_owned()
            },
        },
    })?;
    let modes: Vec<String> = said.lines().map(str::to_owned).collect();
    if let Some(wrong) = modes.iter().find(|mode| !is_mode_name(mode)) {
        return Err(ModesError::Name(wrong.clone()));
    }
    if modes.len() > MODES - OTHERS {
        return Err(ModesError::Many(modes.len()));
    }
    Ok(modes)
}
