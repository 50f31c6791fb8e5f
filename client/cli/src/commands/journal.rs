//! `scalems journal`: what a pilot has written down, once its agent has ended.

use std::io::{BufWriter, Write as _};
use std::path::PathBuf;

use anyhow::Context as _;
use scalems_agent::journal::{Store, Story, export};
use scalems_agent::pilot::JOURNAL;
use scalems_client::locate;

use super::start::DEFAULT_NAME;
use crate::Context;
use crate::args::{JournalCommand, JournalFormat, JournalPlace, Output};
use crate::exit::Exit;

pub(crate) fn run(context: &Context, command: &JournalCommand) -> anyhow::Result<Exit> {
    match command {
        JournalCommand::Verify(place) => verify(context, place),
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

/// The journal of the pilot or file that was named, all of it.
fn read(context: &Context, place: &JournalPlace) -> anyhow::Result<(Story, PathBuf)> {
    let path = if let Some(path) = &place.path {
        path.clone()
    } else {
        let name = context.pilot.as_deref().unwrap_or(DEFAULT_NAME);
        locate::pilot_directory(name)?.join(JOURNAL)
    };
    let mut story = Story::default();
    Store::inspect(&path, |record| story.take(record))?;
    Ok((story, path))
}

fn verify(context: &Context, place: &JournalPlace) -> anyhow::Result<Exit> {
    let (story, path) = read(context, place)?;
    let (records, submissions) = (story.records(), story.submissions().count());
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
