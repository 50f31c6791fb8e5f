//! Pilots that do not lie among the user's others, and are found there by their names all the same.

use std::io::ErrorKind;
use std::path::Path;

use anyhow::Context as _;
use scalems_client::locate;

/// Puts a link to the pilot's directory where its name is looked for, in the place of one that leads elsewhere.
pub(super) fn link(name: &str, directory: &Path) -> anyhow::Result<()> {
    let place = locate::place_of(name)?;
    if place == directory || std::fs::read_link(&place).is_ok_and(|target| target == directory) {
        return Ok(());
    }
    if std::fs::symlink_metadata(&place).is_ok_and(|facts| !facts.is_symlink()) {
        anyhow::bail!("{} is another pilot's directory", place.display());
    }
    if let Some(pilots) = place.parent() {
        std::fs::create_dir_all(pilots).with_context(|| format!("make {}", pilots.display()))?;
    }
    let beside = place.with_file_name(format!(".{name}.{}", std::process::id()));
    std::os::unix::fs::symlink(directory, &beside)
        .and_then(|()| std::fs::rename(&beside, &place))
        .with_context(|| format!("link {}", place.display()))
}

/// Takes the link to a directory away that is not a pilot's any more.
pub(super) fn unlink(name: &str, directory: &Path) -> anyhow::Result<()> {
    let place = locate::place_of(name)?;
    if std::fs::read_link(&place).is_ok_and(|target| target == directory) {
        match std::fs::remove_file(&place) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("remove {}", place.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Takes a link away whose directory is gone. True: there was one.
pub(super) fn was_left(name: &str) -> anyhow::Result<bool> {
    let place = locate::place_of(name)?;
    let left = std::fs::read_link(&place).is_ok_and(|target| !target.exists());
    if left {
        std::fs::remove_file(&place).with_context(|| format!("remove {}", place.display()))?;
    }
    Ok(left)
}
