//! `scalems task retry`: what failed, once more.

use anyhow::bail;
use nix::sys::signal::Signal;
use scalems_client::protocol::client::{Page, SubmissionRow};
use scalems_client::protocol::error::Code;
use scalems_client::protocol::select::{Pick, Selector};
use scalems_client::protocol::state::TaskState;
use scalems_client::{ClientError, Session};
use serde::Serialize;

use super::submit::LONGEST;
use super::{connect, wait};
use crate::Context;
use crate::args::Output;
use crate::exit::Exit;
use crate::interrupt;
use crate::print;

/// A submission that was made of tasks of another one.
#[derive(Serialize)]
struct Row {
    submission: u64,
    tasks: u32,
    again: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

pub(crate) fn run(
    context: &Context,
    select: &Selector,
    repeat: bool,
    until_ended: bool,
) -> anyhow::Result<Exit> {
    if until_ended {
        interrupt::install(&[Signal::SIGINT])?;
    }
    let session = connect(context)?;
    let canceled = select.state == Some(TaskState::Canceled);
    let last = if select.last {
        let last = Selector {
            last: true,
            ..Selector::default()
        };
        submissions(&session, &last)?.first().map(|row| row.submission)
    } else {
        None
    };
    let (mut rows, mut refused) = (Vec::new(), false);
    for row in submissions(&session, select)? {
        let bad = if canceled {
            row.tasks.canceled
        } else {
            row.tasks.failed
        };
        // With a state that cannot be submitted again the agent says so.
        if bad == 0 && matches!(select.state, None | Some(TaskState::Failed | TaskState::Canceled)) {
            continue;
        }
        match session.retry(of_one(select, row.submission, last), repeat) {
            Ok(held) => rows.push(Row {
                submission: held.submission,
                tasks: held.count,
                again: row.submission,
                note: held.note,
            }),
            Err(ClientError::Refused { refusal, .. }) if refusal.code == Code::NothingSelected => {}
            // The others are submitted all the same.
            Err(ClientError::Refused { refusal, .. }) => {
                eprintln!("scalems: submission {}: {refusal}", row.submission);
                refused = true;
            }
            // What was done is done, and has numbers that nobody knows yet.
            Err(error) => {
                if until_ended && context.output == Output::Json {
                    let said = serde_json::json!({"submissions": rows, "tasks": null});
                    print::out(&format!("{said}\n"))?;
                } else if !rows.is_empty() {
                    say(context, &rows, until_ended)?;
                }
                return Err(error.into());
            }
        }
    }
    if rows.is_empty() && !refused {
        let what = if canceled { "was canceled" } else { "failed" };
        bail!(
            "no task that is selected {what} and was not submitted again before; `scalems task list {select}` shows them, \
             and --repeat submits those again that were before"
        );
    }
    say(context, &rows, until_ended)?;
    let ended = if until_ended && !rows.is_empty() {
        let select = Selector {
            picks: rows.iter().map(|row| whole(row.submission)).collect(),
            ..Selector::default()
        };
        wait::submitted(context, &session, &select, &rows, LONGEST, None)?
    } else {
        Exit::Well
    };
    Ok(if refused { Exit::Failed } else { ended })
}

fn say(context: &Context, rows: &[Row], until_ended: bool) -> anyhow::Result<()> {
    for row in rows {
        if let Some(note) = &row.note {
            eprintln!("scalems: submission {}: {note}", row.submission);
        }
    }
    if until_ended && context.output == Output::Json {
        return Ok(());
    }
    print::rows(context.output, &["submission", "tasks", "again"], rows, |row| {
        vec![
            row.submission.to_string(),
            row.tasks.to_string(),
            row.again.to_string(),
        ]
    })
}

fn submissions(session: &Session, select: &Selector) -> anyhow::Result<Vec<SubmissionRow>> {
    let mut rows = Vec::new();
    let mut after = None;
    loop {
        let select = select.clone();
        let listing = session.ask_submissions(Page {
            select,
            after,
            rows: 0,
        })?;
        rows.extend(listing.rows);
        after = listing.next;
        if after.is_none() {
            return Ok(rows);
        }
    }
}

const fn whole(number: u64) -> Pick {
    Pick {
        first: number,
        last: number,
        step: 1,
        indices: None,
    }
}

/// What a selector selects of one submission, which it names.
fn of_one(select: &Selector, number: u64, last: Option<u64>) -> Selector {
    let named = select.picks.iter().filter(|pick| pick.has(number));
    let mut picks: Vec<Pick> = named
        .map(|pick| Pick {
            indices: pick.indices,
            ..whole(number)
        })
        .collect();
    if picks.is_empty() || last == Some(number) {
        picks = vec![whole(number)];
    }
    Selector {
        all: false,
        last: false,
        picks,
        ..select.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_is_cut_down_to_one_submission() {
        let of = |text: &str, number, last| of_one(&text.parse().unwrap(), number, last).to_string();
        assert_eq!(of("all", 3, None), "3");
        assert_eq!(of("state:failed", 3, None), "state:failed,3");
        assert_eq!(of("1-9,label:a=b", 3, None), "label:a=b,3");
        assert_eq!(of("2,3.0-9,3.20,4", 3, None), "3.0-9,3.20");
        assert_eq!(of("last,3.0-9", 3, Some(3)), "3");
        assert_eq!(of("last,3.0-9", 3, Some(4)), "3.0-9");
    }
}
