//! `scalems task …`.

use scalems_client::protocol::client::{Page, SubmissionRow, TaskRow};
use scalems_client::protocol::error::Code;
use scalems_client::protocol::program::ProgramResult;
use scalems_client::protocol::select::Selector;
use scalems_client::protocol::state::Strength;
use scalems_client::protocol::{TaskId, TaskState};
use scalems_client::{ClientError, Session};

use super::{connect, retry};
use crate::Context;
use crate::args::{Output, TaskCommand};
use crate::exit::Exit;
use crate::print;

pub(crate) fn run(context: &Context, command: &TaskCommand) -> anyhow::Result<Exit> {
    if let TaskCommand::Retry { select, repeat, wait } = command {
        return retry::run(context, select, *repeat, *wait);
    }
    let session = connect(context)?;
    match command {
        TaskCommand::List { select: None } => submissions(context, &session),
        TaskCommand::List { select: Some(select) } => tasks(context, &session, select),
        TaskCommand::Info { select } => info(context, &session, select),
        TaskCommand::Explain { select } => explain(context, &session, select),
        TaskCommand::Cancel {
            select,
            withdraw,
            kill,
            reason,
        } => {
            let strength = match (withdraw, kill) {
                (true, _) => Strength::Withdraw,
                (_, true) => Strength::Kill,
                _ => Strength::Request,
            };
            let done = session.cancel(select.clone(), strength, reason)?;
            let lines = [
                ("not started and will not", done.withdrawn.to_string()),
                ("told to end", done.told.to_string()),
                ("left running", done.running.to_string()),
                ("ended before", done.ended.to_string()),
            ];
            print::one(context.output, &done, &lines)?;
            Ok(Exit::Well)
        }
        TaskCommand::Retry { .. } => unreachable!("it was run above"),
        TaskCommand::Close { select } => {
            let (closed, before) = session.close_submissions(select.clone())?;
            let lines = [
                ("closed", closed.to_string()),
                ("were not open", before.to_string()),
            ];
            print::one(
                context.output,
                &serde_json::json!({"closed": closed, "before": before}),
                &lines,
            )?;
            Ok(Exit::Well)
        }
        TaskCommand::Forget { select } => {
            let done = session.forget(select.clone())?;
            let lines = [
                ("dropped", done.forgotten.to_string()),
                ("kept, as their submissions are not over", done.kept.to_string()),
            ];
            print::one(context.output, &done, &lines)?;
            if done.kept > 0 && matches!(context.output, Output::Human) {
                eprintln!(
                    "a submission is dropped as a whole, also if only some of its tasks are selected, and not before all of \
                     them have ended and no more can be added: see `scalems task cancel`, `scalems task close`"
                );
            }
            Ok(Exit::Well)
        }
    }
}

/// All submissions that are selected. If `all` was not said but meant, there may be none.
pub(super) fn every_submission(
    session: &Session,
    select: &Selector,
    all: bool,
) -> anyhow::Result<Vec<SubmissionRow>> {
    let rows = every_row(all, |after| {
        let listing = session.ask_submissions(Page {
            select: select.clone(),
            after,
            rows: 0,
        })?;
        Ok((listing.rows, listing.next))
    });
    Ok(rows?)
}

/// The rows of all pages, of which each says after what the next one begins.
fn every_row<T, P>(
    all: bool,
    mut page: impl FnMut(Option<P>) -> Result<(Vec<T>, Option<P>), ClientError>,
) -> Result<Vec<T>, ClientError> {
    let mut rows: Vec<T> = Vec::new();
    let mut after = None;
    loop {
        match page(after) {
            Ok((more, next)) => {
                rows.extend(more);
                after = next;
            }
            // Nothing was submitted yet: an empty list, not an error. Nor is it one if the others were forgotten since the
            // last page: these are all there are.
            Err(ClientError::Refused { refusal, .. })
                if (all || !rows.is_empty()) && refusal.code == Code::NothingSelected =>
            {
                return Ok(rows);
            }
            Err(error) => return Err(error),
        }
        if after.is_none() {
            return Ok(rows);
        }
    }
}

fn submissions(context: &Context, session: &Session) -> anyhow::Result<Exit> {
    let rows = every_submission(session, &Selector::all(), true)?;
    let head = [
        "submission",
        "tasks",
        "waiting",
        "to run",
        "running",
        "done",
        "failed",
        "canceled",
        "age",
        "mode",
        "name",
    ];
    print::rows(context.output, &head, &rows, |row| {
        let tasks = row.tasks;
        vec![
            row.submission.to_string(),
            format!("{}{}", row.indices.2, if row.open { "+" } else { "" }),
            tasks.waiting.to_string(),
            (tasks.ready + tasks.leased).to_string(),
            tasks.running.to_string(),
            tasks.done.to_string(),
            tasks.failed.to_string(),
            tasks.canceled.to_string(),
            print::time(row.age_ms),
            row.mode.clone(),
            row.name.clone().unwrap_or_default(),
        ]
    })?;
    Ok(Exit::Well)
}

fn tasks(context: &Context, session: &Session, select: &Selector) -> anyhow::Result<Exit> {
    let mut rows: Vec<TaskRow> = Vec::new();
    let mut after = None;
    loop {
        let listing = session.ask_tasks(Page {
            select: select.clone(),
            after,
            rows: 0,
        })?;
        rows.extend(listing.rows);
        after = listing.next;
        if after.is_none() {
            break;
        }
    }
    print::rows(
        context.output,
        &["task", "state", "attempt", "exit", "ran", "worker", "error"],
        &rows,
        |row| {
            let name = |offset: u32| row.indices.0 + row.indices.1 * offset;
            let (first, last) = (name(row.run.lo), name(row.run.hi - 1));
            let number = row.run.submission;
            vec![
                if first == last {
                    format!("{number}.{first}")
                } else {
                    format!("{number}.{first}-{last}")
                },
                row.state.name().to_owned(),
                row.run.attempt.to_string(),
                row.exit_code.map_or_else(String::new, |code| code.to_string()),
                if row.state.is_final() {
                    print::time(row.ran_us / 1_000)
                } else {
                    String::new()
                },
                row.worker.clone().unwrap_or_default(),
                row.error
                    .as_ref()
                    .map_or_else(String::new, |error| error.code.to_string()),
            ]
        },
    )?;
    Ok(Exit::Well)
}

/// The first task that is selected.
fn first(session: &Session, select: &Selector) -> anyhow::Result<TaskId> {
    let listing = session.ask_tasks(Page {
        select: select.clone(),
        after: None,
        rows: 1,
    })?;
    let row = listing
        .rows
        .first()
        .ok_or_else(|| anyhow::anyhow!("no task is selected"))?;
    Ok(TaskId {
        submission: row.run.submission,
        index: row.indices.0 + row.indices.1 * row.run.lo,
    })
}

fn explain(context: &Context, session: &Session, select: &Selector) -> anyhow::Result<Exit> {
    let task = first(session, select)?;
    let explained = session.ask_explain(task)?;
    let mut lines = vec![
        ("task", task.to_string()),
        ("state", explained.row.state.name().to_owned()),
    ];
    lines.extend(explained.reasons.iter().map(|reason| ("because", reason.clone())));
    print::one(context.output, &explained, &lines)?;
    Ok(Exit::Well)
}

fn info(context: &Context, session: &Session, select: &Selector) -> anyhow::Result<Exit> {
    let task = first(session, select)?;
    let explained = session.ask_explain(task)?;
    let row = &explained.row;
    let mut lines = vec![
        ("task", task.to_string()),
        ("state", row.state.name().to_owned()),
        ("mode", explained.task.mode.clone()),
        ("attempt", row.run.attempt.to_string()),
        (
            "faults",
            format!(
                "{} of its own, {} lost workers",
                explained.faults.0, explained.faults.1
            ),
        ),
    ];
    if let Some(worker) = &row.worker {
        lines.push(("worker", worker.clone()));
    }
    if let Some(said) = &explained.progress {
        lines.push((
            "progress",
            format!("{:.1} % {}", 100.0 * said.fraction, said.text),
        ));
    }
    let result = if row.state.is_final() {
        result(session, task)?
    } else {
        None
    };
    if let Some(program) = &result {
        let code = program.exit_code.map(|code| format!("exit code {code}"));
        let signal = program.signal.map(|signal| format!("signal {signal}"));
        lines.push((
            "ended by",
            code.or(signal).unwrap_or_else(|| "not started".into()),
        ));
        lines.push(("directory", program.cwd.clone()));
        lines.push((
            "time",
            format!("{:.3} s, of CPU {:.3} s", program.wall_s, program.cpu_s),
        ));
        lines.push(("memory", format!("{} KiB at most", program.peak_rss_kib)));
        if program.peak_memory_kib > 0 {
            lines.push(("together", format!("{} KiB at most", program.peak_memory_kib)));
        }
        lines.push(("stdout", format!("{} bytes", program.stdout_bytes)));
        lines.push(("stderr", format!("{} bytes", program.stderr_bytes)));
    }
    if let Some(error) = &row.error {
        lines.push(("error", error.to_string()));
    } else if row.state != TaskState::Done {
        lines.extend(explained.reasons.iter().map(|reason| ("because", reason.clone())));
    }
    let result = result.map(|program| {
        let (out, err) = (
            String::from_utf8_lossy(&program.stdout),
            String::from_utf8_lossy(&program.stderr),
        );
        let mut value = serde_json::json!(program);
        (value["stdout"], value["stderr"]) = (out.into(), err.into());
        (value["stdout_bytes"], value["stderr_bytes"]) =
            (program.stdout_bytes.into(), program.stderr_bytes.into());
        value
    });
    print::one(
        context.output,
        &serde_json::json!({"task": explained, "result": result}),
        &lines,
    )?;
    Ok(Exit::Well)
}

fn result(session: &Session, task: TaskId) -> anyhow::Result<Option<ProgramResult>> {
    let select = Selector::task(task.submission, task.index);
    let page = session.ask_results(Page {
        select,
        after: None,
        rows: 1,
    })?;
    Ok(page.results.first().and_then(|held| held.result.program().ok()))
}

#[cfg(test)]
mod tests {
    use scalems_client::protocol::error::Refusal;

    use super::*;

    fn nothing() -> ClientError {
        ClientError::Refused {
            what: "the question",
            refusal: Refusal::new(Code::NothingSelected, "no task that is known here matches"),
        }
    }

    #[test]
    fn what_is_forgotten_between_two_pages_ends_the_list() {
        for all in [true, false] {
            let mut pages = vec![Err(nothing()), Ok((vec![1, 2], Some(2)))];
            let rows = every_row::<u8, u8>(all, |_| pages.pop().expect("nobody asks after the end"));
            assert_eq!(rows.unwrap(), [1, 2]);
        }
        assert!(every_row::<u8, u8>(true, |_| Err(nothing())).unwrap().is_empty());
        assert!(every_row::<u8, u8>(false, |_| Err(nothing())).is_err());
    }
}
