//! `scalems graph`: several submissions that depend on each other, from a file.

mod file;

use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, ensure};
use nix::sys::signal::Signal;
use scalems_client::Session;
use scalems_client::protocol::select::{Pick, Selector};
use scalems_client::protocol::state::Strength;
use scalems_client::protocol::task::{After, When};
use serde::Serialize;

use super::submit::{Cut, LONGEST, Ready};
use super::{connect, wait};
use crate::Context;
use crate::args::{GraphArgs, Output};
use crate::exit::{Exit, Misuse};
use crate::interrupt;
use crate::print;
use file::{Edge, Graph, Node, On};

/// What is read of a file.
const FILE_BYTES: u64 = 64 << 20;

/// One that the pilot has taken.
#[derive(Serialize)]
struct Row {
    name: String,
    submission: u64,
    count: u64,
}

pub(crate) fn run(context: &Context, args: &GraphArgs) -> anyhow::Result<Exit> {
    let shown = args.file.display();
    let text = text(&args.file)?;
    let graph = Graph::read(&text).with_context(|| format!("read {shown}"))?;
    let ready = ready(&graph).with_context(|| format!("read {shown}"))?;
    if args.dry_run {
        return dry_run(context, &graph, &ready);
    }
    if args.wait {
        interrupt::install(&[Signal::SIGINT])?;
    }
    let session = connect(context)?;
    // It goes on whole or not at all, also if its user ends this.
    interrupt::install(&interrupt::ENDING)?;
    let rows = submit(&session, &graph, ready)?;
    interrupt::let_go(&[Signal::SIGTERM, Signal::SIGHUP])?;
    let select = selector(rows.iter().map(|row| row.submission));
    // One value: what it came to is in it.
    let later = args.wait && context.output == Output::Json;
    if !later {
        let cells = |row: &Row| {
            vec![
                row.submission.to_string(),
                row.name.clone(),
                row.count.to_string(),
            ]
        };
        print::rows(context.output, &["submission", "name", "tasks"], &rows, cells)?;
    }
    if args.wait {
        let timeout = args.timeout.unwrap_or(LONGEST);
        return wait::submitted(context, &session, &select, &rows, timeout, args.progress);
    }
    if context.output == Output::Human {
        print::out(&format!(
            "`scalems wait {select}` waits, `scalems logs {select}` shows\n"
        ))?;
    }
    Ok(Exit::Well)
}

fn text(file: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    let read = if file == Path::new("-") {
        std::io::stdin().take(FILE_BYTES).read_to_string(&mut text)
    } else {
        std::fs::File::open(file).and_then(|opened| opened.take(FILE_BYTES).read_to_string(&mut text))
    };
    let read = read.with_context(|| format!("read {}", file.display()))?;
    ensure!(
        (read as u64) < FILE_BYTES,
        Misuse(format!("{} is no graph: it has 64 MiB and more", file.display()))
    );
    Ok(text)
}

/// All that can be found wrong without a pilot is.
fn ready(graph: &Graph) -> anyhow::Result<Vec<Ready>> {
    let mut all: Vec<Ready> = Vec::with_capacity(graph.nodes.len());
    for node in &graph.nodes {
        let one = Ready::of(&node.args).with_context(|| format!("task {:?}", node.name))?;
        for edge in node.after.iter().filter(|edge| edge.each) {
            let On::Node(place) = edge.on else { continue };
            let (own, other) = (one.count(), all[place].count());
            ensure!(
                own == other,
                Misuse(format!(
                    "task {:?} comes after each of {:?}: that has {other}, and this {own}",
                    node.name, graph.nodes[place].name
                ))
            );
        }
        all.push(one);
    }
    Ok(all)
}

/// Submits one after another; all of them, or none that goes on.
fn submit(session: &Session, graph: &Graph, ready: Vec<Ready>) -> anyhow::Result<Vec<Row>> {
    let mut rows: Vec<Row> = Vec::with_capacity(ready.len());
    for (node, one) in graph.nodes.iter().zip(ready) {
        let own = node.args.after.iter().cloned();
        let after = own
            .chain(node.after.iter().map(|edge| after(edge, &rows)))
            .collect();
        let fed = interrupt::check()
            .map_err(Cut::none)
            .and_then(|()| one.submit(session, after));
        let fed = match fed {
            Ok(fed) => fed,
            Err(cut) => {
                // Also what was submitted of this one.
                let numbers = rows.iter().map(|row| row.submission).chain(cut.new);
                return Err(withdrawn(session, &selector(numbers), node, cut.why()));
            }
        };
        if let Some(note) = &fed.note {
            eprintln!("scalems: {}: {note}", node.name);
        }
        rows.push(Row {
            name: node.name.clone(),
            submission: fed.submission,
            count: fed.count,
        });
    }
    Ok(rows)
}

fn after(edge: &Edge, rows: &[Row]) -> After {
    let submission = match edge.on {
        On::Node(place) => rows[place].submission,
        On::Submission(number) => number,
    };
    After {
        submission: Some(submission),
        when: edge.when,
        each: edge.each,
        ..After::default()
    }
}

/// One was not taken: those before it are of no use.
fn withdrawn(session: &Session, select: &Selector, node: &Node, error: anyhow::Error) -> anyhow::Error {
    let error = error.context(format!("submit task {:?}", node.name));
    if select.is_empty() {
        return error;
    }
    let reason = format!("task {:?} of the same graph was not taken", node.name);
    error.context(match session.cancel(select.clone(), Strength::Request, &reason) {
        Ok(_) => format!("what was submitted of the graph before, {select}, was canceled"),
        Err(failed) => {
            format!("what was submitted of the graph before, {select}, goes on, since it could not be canceled: {failed}")
        }
    })
}

/// All of them.
fn selector(numbers: impl Iterator<Item = u64>) -> Selector {
    let mut picks: Vec<Pick> = Vec::new();
    for number in numbers {
        match picks.last_mut() {
            Some(last) if last.last + 1 == number => last.last = number,
            _ => picks.push(Pick {
                first: number,
                last: number,
                step: 1,
                indices: None,
            }),
        }
    }
    Selector {
        picks,
        ..Selector::default()
    }
}

/// Says what would be submitted.
fn dry_run(context: &Context, graph: &Graph, ready: &[Ready]) -> anyhow::Result<Exit> {
    #[derive(Serialize)]
    struct Planned {
        name: String,
        after: Vec<String>,
        #[serde(flatten)]
        said: serde_json::Value,
        #[serde(skip)]
        command: String,
    }
    let mut rows = Vec::with_capacity(ready.len());
    for (node, one) in graph.nodes.iter().zip(ready) {
        let (said, _) = one.said()?;
        let own = node
            .args
            .after
            .iter()
            .filter_map(|after| Some(written(&after.submission?.to_string(), after.when, after.each)));
        let others = node.after.iter().map(|edge| {
            let on = match edge.on {
                On::Node(place) => graph.nodes[place].name.clone(),
                On::Submission(number) => number.to_string(),
            };
            written(&on, edge.when, edge.each)
        });
        rows.push(Planned {
            name: node.name.clone(),
            after: own.chain(others).collect(),
            said,
            command: one.command()?,
        });
    }
    let cells = |row: &Planned| {
        let after = if row.after.is_empty() {
            "-".to_owned()
        } else {
            row.after.join(" ")
        };
        vec![
            row.name.clone(),
            row.said["count"].to_string(),
            after,
            row.command.clone(),
        ]
    };
    print::rows(
        context.output,
        &["name", "tasks", "after", "command"],
        &rows,
        cells,
    )?;
    Ok(Exit::Well)
}

/// As a file has it.
fn written(on: &str, when: When, each: bool) -> String {
    match (when, each) {
        (_, true) => format!("{on}:each"),
        (When::Ok, false) => on.to_owned(),
        (When::Any, false) => format!("{on}:any"),
        (When::Failed, false) => format!("{on}:failed"),
    }
}
