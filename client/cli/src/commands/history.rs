//! What a run was, from the journal of its pilot.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use scalems_agent::journal::history::{self, Reading};
use scalems_agent::pilot::JOURNAL;
use scalems_client::locate;

use super::pilot::start::DEFAULT_NAME;
use crate::Context;

/// The history in a journal that is named, or in that of the pilot that is.
pub(crate) fn read(context: &Context, place: Option<&Path>) -> anyhow::Result<Reading> {
    let path = path(context, place)?;
    if !path.exists() {
        anyhow::bail!("{}", missing(context, place, &path));
    }
    history::read(&path).with_context(|| format!("read the journal {}", path.display()))
}

/// What the pilot of a journal is called: as its directory is.
pub(crate) fn name(reading: &Reading) -> String {
    let directory = std::path::absolute(&reading.path).ok();
    let directory = directory
        .as_deref()
        .and_then(Path::parent)
        .and_then(Path::file_name);
    directory.map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

fn path(context: &Context, place: Option<&Path>) -> anyhow::Result<PathBuf> {
    Ok(match place {
        Some(place) if place.is_dir() => place.join(JOURNAL),
        Some(place) => place.to_owned(),
        None => directory(context)?.join(JOURNAL),
    })
}

fn directory(context: &Context) -> anyhow::Result<PathBuf> {
    let name = context.pilot.as_deref().unwrap_or(DEFAULT_NAME);
    Ok(locate::pilot_directory(name)?)
}

/// Why there is no journal, and what to do.
fn missing(context: &Context, place: Option<&Path>, path: &Path) -> String {
    let path = path.display();
    let runs = || {
        let home = locate::home().ok()?;
        let running = locate::list_in(&home).ok()?;
        let name = context.pilot.as_deref().unwrap_or(DEFAULT_NAME);
        Some(running.iter().any(|pilot| pilot.file.pilot == name))
    };
    if place.is_none() && runs() == Some(true) {
        let name = context.pilot.as_deref().unwrap_or(DEFAULT_NAME);
        return format!(
            "pilot {name} runs without a journal in its directory ({path}), and what a run was is known from that alone: if it was \
             started with --journal FILE, name that file; if with --journal none, start the next one without"
        );
    }
    format!("there is no journal at {path}: name the file, or the pilot whose it is with --pilot NAME")
}
