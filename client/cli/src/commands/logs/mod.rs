//! `scalems logs`: what programs wrote, from their results.

mod follow;

use anyhow::Context as _;
use scalems_client::Session;
use scalems_client::protocol::TaskId;
use scalems_client::protocol::client::Page;
use scalems_client::protocol::program::ProgramResult;
use scalems_client::protocol::select::Selector;

use super::connect;
use crate::Context;
use crate::args::{LogsArgs, Output};
use crate::exit::Exit;
use crate::print;

pub(crate) fn run(context: &Context, args: &LogsArgs) -> anyhow::Result<Exit> {
    let session = connect(context)?;
    if args.follow {
        return follow::run(&session, &args.select, args.stderr, context.output);
    }
    if matches!(context.output, Output::Json | Output::Jsonl) {
        return json(&session, &args.select, args.stderr, context.output);
    }
    print(&session, &args.select, args.stderr)?;
    Ok(Exit::Well)
}

/// Prints what the selected tasks wrote, as they wrote it, in order.
pub(crate) fn print(session: &Session, select: &Selector, stderr: bool) -> anyhow::Result<()> {
    each(session, select, |_, _, program| {
        if stderr {
            print::written(&program.stderr, std::io::stderr())
        } else {
            print::written(&program.stdout, std::io::stdout())
        }
    })
}

fn json(session: &Session, select: &Selector, stderr: bool, output: Output) -> anyhow::Result<Exit> {
    let mut all = Vec::new();
    each(session, select, |_, task, program| {
        let (text, bytes) = if stderr {
            (&program.stderr, program.stderr_bytes)
        } else {
            (&program.stdout, program.stdout_bytes)
        };
        let text = String::from_utf8_lossy(text);
        let one = serde_json::json!({"task": task.to_string(), "text": text, "bytes": bytes});
        if output == Output::Jsonl {
            return print::out(&format!("{one}\n"));
        }
        all.push(one);
        Ok(())
    })?;
    if output == Output::Json {
        print::out(&format!("{}\n", serde_json::to_string_pretty(&all)?))?;
    }
    Ok(Exit::Well)
}

/// A task by its submission and offset.
type Place = (u64, u32);

/// From this offset on: the index that offset 0 would have if all were like these, and the step.
type Stretch = (u32, u32, u32);

/// The indices of the submission that was asked for last: results come submission by submission.
#[derive(Default)]
struct Indices(Option<(u64, Vec<Stretch>)>);

impl Indices {
    /// A task as people name it: a result bears its place in the submission only.
    fn of(&mut self, session: &Session, submission: u64, offset: u32) -> anyhow::Result<TaskId> {
        if self.0.as_ref().is_none_or(|(known, _)| *known != submission) {
            self.0 = Some((submission, asked(session, submission)?));
        }
        let parts = self.0.as_ref().map_or(&[][..], |(_, parts)| parts);
        let at = parts.partition_point(|(lo, ..)| *lo <= offset);
        let (_, first, step) = at
            .checked_sub(1)
            .and_then(|at| parts.get(at))
            .context("the agent listed a result of a task that it does not know")?;
        Ok(TaskId {
            submission,
            index: first + step * offset,
        })
    }
}

/// The stretches of a submission.
fn asked(session: &Session, submission: u64) -> anyhow::Result<Vec<Stretch>> {
    let page = |after, rows| Page {
        select: Selector::submission(submission),
        after,
        rows,
    };
    let listing = session.ask_submissions(page(None, 1))?;
    let row = listing
        .rows
        .first()
        .context("the agent listed a result of a submission that it does not know")?;
    if !row.sparse {
        return Ok(vec![(0, row.indices.0, row.indices.1)]);
    }
    let (mut parts, mut after) = (Vec::new(), None);
    loop {
        let listing = session.ask_tasks(page(after, 0))?;
        let rows = listing.rows.iter();
        parts.extend(rows.map(|row| (row.run.lo, row.indices.0, row.indices.1)));
        parts.dedup_by_key(|(_, first, _)| *first);
        after = listing.next;
        if after.is_none() {
            return Ok(parts);
        }
    }
}

fn each(
    session: &Session,
    select: &Selector,
    mut take: impl FnMut(Place, TaskId, ProgramResult) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut after = None;
    let mut indices = Indices::default();
    loop {
        let page = session.ask_results(Page {
            select: select.clone(),
            after,
            rows: 0,
        })?;
        for held in page.results.iter().filter(|held| !held.result.value.is_empty()) {
            let place = (held.submission, held.offset);
            let task = indices.of(session, held.submission, held.offset)?;
            // A value of another mode is not a program's output.
            if let Ok(program) = held.result.program() {
                take(place, task, program)?;
            }
        }
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}
