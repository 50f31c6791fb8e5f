//! `scalems pilot remove` and `scalems pilot prune`: what is left of pilots that do not run.

use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use scalems_agent::pilot::Removed;
use scalems_client::locate;

use super::jobs::Queued;
use super::place;
use super::start::DEFAULT_NAME;
use crate::Context;
use crate::args::{Output, PilotPruneArgs, PilotRemoveArgs};
use crate::exit::Exit;
use crate::print;

pub(super) fn run(context: &Context, args: &PilotRemoveArgs) -> anyhow::Result<Exit> {
    let name = args.name.as_deref().or(context.pilot.as_deref());
    let name = name.unwrap_or(DEFAULT_NAME);
    let directory = match &args.dir {
        Some(dir) => std::path::absolute(dir)?,
        None => locate::pilot_directory(name)?,
    };
    if args.dir.is_none() && place::was_left(name)? {
        eprintln!("scalems: what pilot {name} was linked to is gone already; its link is removed");
        return Ok(Exit::Well);
    }
    job_is_over(name, &directory, args.force)?;
    let place = directory.display();
    let said = match remove(name, &directory, args.force)? {
        Removed::Unfinished(tasks) => {
            anyhow::bail!(
                "pilot {name} has {tasks} unfinished tasks, and nothing was removed: --force removes it all the same, \
                 `scalems pilot start --resume --name {name}` goes on with them"
            )
        }
        Removed::All => format!("pilot {name} is removed: {place}\n"),
        Removed::AllButOthers => {
            format!("pilot {name} is removed; files that are not its own stay in {place}\n")
        }
    };
    if context.output == Output::Human {
        print::out(&said)?;
    }
    Ok(Exit::Well)
}

fn remove(name: &str, directory: &Path, force: bool) -> anyhow::Result<Removed> {
    let removed = scalems_agent::pilot::remove(name, directory, force)?;
    if !matches!(removed, Removed::Unfinished(_)) {
        place::unlink(name, directory)?;
    }
    Ok(removed)
}

/// Fails if the pilot has a job that has not ended, or if nobody says whether it has.
fn job_is_over(name: &str, directory: &Path, force: bool) -> anyhow::Result<()> {
    let Some(queued) = Queued::read(name, directory)? else {
        return Ok(());
    };
    let over = match queued.look() {
        Ok(job) => job.is_over(),
        Err(error) if force => {
            eprintln!("scalems: {}", print::error(&error));
            true
        }
        Err(error) => {
            return Err(error.context("find out whether its job has ended (--force does not ask)"));
        }
    };
    anyhow::ensure!(
        over,
        "pilot {name} is job {}, which has not ended: `scalems pilot stop --pilot {name}` ends it",
        queued.submitted.job
    );
    Ok(())
}

/// What became of one pilot.
#[derive(serde::Serialize)]
struct Row {
    pilot: String,
    removed: bool,
    /// Why it is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

pub(super) fn prune(context: &Context, args: &PilotPruneArgs) -> anyhow::Result<Exit> {
    let mut rows = Vec::new();
    for name in locate::names()? {
        let why = match pruned(&name, args) {
            Ok(None) => None,
            Ok(Some(why)) => Some(why),
            // One that cannot be removed does not keep the others.
            Err(error) => Some(print::error(&error)),
        };
        rows.push(Row {
            pilot: name,
            removed: why.is_none(),
            why,
        });
    }
    let removed = if args.dry_run {
        "would be removed"
    } else {
        "removed"
    };
    print::rows(context.output, &["pilot", "what", "why"], &rows, |row| {
        let what = if row.removed { removed } else { "kept" };
        vec![
            row.pilot.clone(),
            what.to_owned(),
            row.why.clone().unwrap_or_default(),
        ]
    })?;
    Ok(Exit::Well)
}

/// Removes one, unless there is a reason to keep it.
fn pruned(name: &str, args: &PilotPruneArgs) -> anyhow::Result<Option<String>> {
    let directory = locate::pilot_directory(name)?;
    if !args.dry_run && place::was_left(name)? {
        return Ok(None);
    }
    // What was not used for so long has no job either: nobody needs to be asked.
    let age = age(&directory).with_context(|| format!("look at {}", directory.display()))?;
    if age < args.older_than {
        let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        return Ok(Some(format!("was used {} ago", print::time(age))));
    }
    job_is_over(name, &directory, false)?;
    let unfinished = scalems_agent::pilot::unfinished_of(name, &directory)?;
    if unfinished > 0 {
        return Ok(Some(format!("{unfinished} unfinished tasks")));
    }
    if args.dry_run {
        return Ok(None);
    }
    Ok(match remove(name, &directory, false)? {
        Removed::Unfinished(tasks) => Some(format!("{tasks} unfinished tasks")),
        Removed::All | Removed::AllButOthers => None,
    })
}

/// How long ago something in a directory was changed last, but for what changes when it is looked at.
fn age(directory: &Path) -> std::io::Result<Duration> {
    let mut latest = None;
    for entry in directory.read_dir()? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name == "lock" || name.ends_with("-wal") || name.ends_with("-shm") {
            continue;
        }
        latest = latest.max(Some(entry.metadata()?.modified()?));
    }
    let latest = latest.map_or_else(|| directory.metadata()?.modified(), Ok)?;
    Ok(SystemTime::now().duration_since(latest).unwrap_or_default())
}
