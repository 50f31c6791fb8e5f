//! `scalems journal`: what a pilot has written down, once its agent has ended.

use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use scalems_agent::journal::{Store, Story, export};
use scalems_agent::pilot::JOURNAL;
use scalems_client::locate;

use super::pilot::start::DEFAULT_NAME;
use crate::Context;
use crate::args::{JournalCommand, JournalFormat, JournalPlace, JournalPruneArgs, Output};
use crate::exit::Exit;

pub(crate) fn run(context: &Context, command: &JournalCommand) -> anyhow::Result<Exit> {
    match command {
        JournalCommand::Verify(args) => match &args.salvage {
            Some(copy) => salvage(context, &args.place, copy),
            None => verify(context, &args.place),
        },
        JournalCommand::Prune(args) => prune(context, args),
        JournalCommand::Export(args) => {
            let (story, _) = read(context, &args.place)?;
            match (args.format, &args.to) {
                (JournalFormat::Sqlite, None) => {
                    anyhow::bail!("a database needs a file: give one with --to FILE")
                }
                (JournalFormat::Sqlite, Some(path)) => {
                    export::database(&story, path)
                        .with_context(|| format!("export to {}", path.display()))?;
                }
                (format, Some(path)) => {
                    let file = std::fs::File::create_new(path);
                    let file = file.with_context(|| format!("make {}", path.display()))?;
                    lines(&story, format, file)?;
                }
                (format, None) => lines(&story, format, std::io::stdout().lock())?,
            }
            Ok(Exit::Well)
        }
    }
}

fn lines(story: &Story, format: JournalFormat, to: impl std::io::Write) -> anyhow::Result<()> {
    let mut out = BufWriter::new(to);
    match format {
        JournalFormat::Csv => export::comma_separated(story, &mut out)?,
        _ => export::json_lines(story, &mut out)?,
    }
    Ok(out.flush()?)
}

/// The journal of the pilot or file that was named.
fn path(context: &Context, place: &JournalPlace) -> anyhow::Result<PathBuf> {
    if let Some(path) = &place.path {
        return Ok(path.clone());
    }
    let name = context.pilot.as_deref().unwrap_or(DEFAULT_NAME);
    Ok(locate::pilot_directory(name)?.join(JOURNAL))
}

/// All of it.
fn read(context: &Context, place: &JournalPlace) -> anyhow::Result<(Story, PathBuf)> {
    let path = path(context, place)?;
    let mut story = Story::default();
    Store::inspect(&path, |record| story.take(record))?;
    Ok((story, path))
}

fn prune(context: &Context, args: &JournalPruneArgs) -> anyhow::Result<Exit> {
    let path = path(context, &args.place)?;
    let pruned = Store::prune(&path, args.older_than)?;
    match context.output {
        Output::Human => println!(
            "{}: {} submissions forgotten, {:.1} MiB before, {:.1} MiB now",
            path.display(),
            pruned.submissions,
            mib(pruned.before),
            mib(pruned.after)
        ),
        Output::Quiet => {}
        Output::Json | Output::Jsonl => println!(
            "{}",
            serde_json::json!({
                "path": path, "forgotten": pruned.submissions, "bytes_before": pruned.before,
                "bytes": pruned.after
            })
        ),
    }
    Ok(Exit::Well)
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn salvage(context: &Context, place: &JournalPlace, copy: &Path) -> anyhow::Result<Exit> {
    let path = path(context, place)?;
    let found = Store::salvage(&path, copy)?;
    let damage = found.damage.as_ref().map(ToString::to_string);
    match context.output {
        Output::Human => {
            println!(
                "{} records of {} are in {}",
                found.records,
                path.display(),
                copy.display()
            );
            if let Some(damage) = damage {
                println!("not what came after: {damage}");
            }
            for submission in &found.lost {
                println!("submission {submission} is missing: its data cannot be read");
            }
            for (submission, offset) in &found.again {
                println!("task {offset} of submission {submission} runs again: its result cannot be read");
            }
            for (submission, offset) in &found.failed {
                println!(
                    "task {offset} of submission {submission} has failed: neither its result nor its data can be read"
                );
            }
            println!(
                "go on with it: scalems pilot start --resume --journal {}",
                copy.display()
            );
        }
        Output::Quiet => {}
        Output::Json | Output::Jsonl => println!(
            "{}",
            serde_json::json!({
                "path": path, "copy": copy, "records": found.records, "damage": damage, "lost": found.lost,
                "again": found.again, "failed": found.failed
            })
        ),
    }
    Ok(Exit::Well)
}

fn verify(context: &Context, place: &JournalPlace) -> anyhow::Result<Exit> {
    let (story, path) = read(context, place)?;
    let known = story.submissions().filter(|row| !row.forgotten).count();
    let (records, submissions) = (story.records(), known);
    let unfinished = story.tasks().filter(|row| row.state == "unfinished").count();
    match context.output {
        Output::Human => println!(
            "{} is whole: {records} records, {submissions} submissions, {unfinished} unfinished tasks",
            path.display()
        ),
        Output::Quiet => {}
        Output::Json | Output::Jsonl => println!(
            "{}",
            serde_json::json!({
                "path": path, "records": records, "submissions": submissions, "unfinished": unfinished
            })
        ),
    }
    Ok(Exit::Well)
}
