//! `scalems logs`: what programs wrote, from their results, and all of it from the packed logs of their workers.

mod follow;
mod from;
mod paper;
mod whole;

use anyhow::Context as _;
use scalems_client::locate::Located;
use scalems_client::protocol::TaskId;
use scalems_client::protocol::client::Page;
use scalems_client::protocol::function::Beside;
use scalems_client::protocol::packed::Stream;
use scalems_client::protocol::program::ProgramResult;
use scalems_client::protocol::select::Selector;
use scalems_client::{Session, TaskResult, locate};

use self::paper::Paper;
use self::whole::Whole;
use super::{CONNECTION, connect};
use crate::Context;
use crate::args::{LogsArgs, Output};
use crate::exit::Exit;

pub(crate) fn run(context: &Context, args: &LogsArgs) -> anyhow::Result<Exit> {
    let stream = if args.stderr {
        Stream::Stderr
    } else {
        Stream::Stdout
    };
    if let Some(place) = &args.from {
        return from::run(place, args, stream, context.output);
    }
    let session = connect(context)?;
    let select = args.select.as_ref().context("which tasks is not said")?;
    if args.follow {
        return follow::run(&session, select, args.stderr, context.output);
    }
    let located = || match std::env::var_os(CONNECTION) {
        Some(file) if context.pilot.is_none() && !file.is_empty() => {
            Located::read(std::path::Path::new(&file))
        }
        _ => locate::find(context.pilot.as_deref()),
    };
    let attempt = args
        .attempt
        .map(|attempt| located().map(|pilot| (attempt, pilot)));
    let whole = Whole::new(attempt.transpose()?);
    show(&session, select, whole, Paper::new(stream, context.output))?;
    Ok(Exit::Well)
}

/// Prints what the selected tasks wrote, as they wrote it, in order.
pub(crate) fn print(session: &Session, select: &Selector, stderr: bool) -> anyhow::Result<()> {
    let stream = if stderr { Stream::Stderr } else { Stream::Stdout };
    show(
        session,
        select,
        Whole::new(None),
        Paper::new(stream, Output::Human),
    )
}

fn show(session: &Session, select: &Selector, mut whole: Whole, mut paper: Paper) -> anyhow::Result<()> {
    each(session, select, |_, (task, attempt), program| {
        whole.show((task, attempt), &program, &mut paper)
    })?;
    whole.say_what_is_missing();
    paper.end()
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

/// What a program wrote, or a function.
fn output_of(result: &TaskResult) -> Option<ProgramResult> {
    if let Ok(program) = result.program() {
        return Some(program);
    }
    let (beside, _) = Beside::split(&result.value).ok()?;
    (beside != Beside::default()).then(|| ProgramResult {
        stdout: beside.stdout,
        stderr: beside.stderr,
        stdout_bytes: beside.stdout_bytes,
        stderr_bytes: beside.stderr_bytes,
        ..ProgramResult::default()
    })
}

fn each(
    session: &Session,
    select: &Selector,
    mut take: impl FnMut(Place, (TaskId, u32), ProgramResult) -> anyhow::Result<()>,
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
            if let Some(program) = output_of(&held.result) {
                take(place, (task, held.result.attempt), program)?;
            }
        }
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}
