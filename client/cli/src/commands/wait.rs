//! `scalems wait`, and waiting with a bar.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use scalems_client::protocol::client::{Counts, Page};
use scalems_client::protocol::error::Code;
use scalems_client::protocol::select::Selector;
use scalems_client::protocol::state::{Strength, TaskState};
use scalems_client::{ClientError, Session};

use super::connect;
use super::progress::{Progress, summary};
use super::submit::LONGEST;
use crate::Context;
use crate::args::{Output, Shown, WaitArgs};
use crate::exit::Exit;
use crate::interrupt;
use crate::print;

/// One wait at the agent: so soon Ctrl-C is noticed, and so often the bar moves.
const LOOK: Duration = Duration::from_millis(500);
/// How long a second Ctrl-C is waited for.
const SECOND: Duration = Duration::from_secs(2);
/// How soon the second is noticed.
const AGAIN: Duration = Duration::from_millis(100);
/// How many failures are explained.
const FAILURES: usize = 5;

pub(crate) fn run(context: &Context, args: &WaitArgs) -> anyhow::Result<Exit> {
    interrupt::install(&[Signal::SIGINT])?;
    let session = connect(context)?;
    let Waited { exit, counts } = until_ended(
        &session,
        &args.select,
        args.timeout.unwrap_or(LONGEST),
        args.progress,
        context.output,
    )?;
    if let (Output::Json | Output::Jsonl, Some(counts)) = (context.output, &counts) {
        print::out(&format!("{}\n", serde_json::to_string(counts)?))?;
    }
    if exit == Exit::Failed && context.output == Output::Human {
        explain_failures(&session, &args.select)?;
    }
    Ok(exit)
}

/// What a wait came to.
pub(crate) struct Waited {
    /// How the command ends.
    pub(crate) exit: Exit,
    /// The tasks by state, if all have ended.
    pub(crate) counts: Option<Counts>,
}

/// Waits for what was just submitted, of which `rows` tell, and says how it ended.
pub(crate) fn submitted<T: serde::Serialize>(
    context: &Context,
    session: &Session,
    select: &Selector,
    rows: &[T],
    timeout: Duration,
    shown: Option<Shown>,
) -> anyhow::Result<Exit> {
    let waited = until_ended(session, select, timeout, shown, context.output);
    let counts = waited.as_ref().ok().and_then(|waited| waited.counts);
    match (context.output, counts) {
        (Output::Json, tasks) => {
            let said = serde_json::json!({"submissions": rows, "tasks": tasks});
            print::out(&format!("{said}\n"))?;
        }
        (Output::Jsonl, Some(counts)) => print::out(&format!("{}\n", serde_json::to_string(&counts)?))?,
        _ => {}
    }
    let ended = waited?.exit;
    if ended == Exit::Failed && context.output == Output::Human {
        explain_failures(session, select)?;
    }
    Ok(ended)
}

/// Waits until all selected tasks have ended, and shows how far they are.
pub(crate) fn until_ended(
    session: &Session,
    select: &Selector,
    timeout: Duration,
    shown: Option<Shown>,
    output: Output,
) -> anyhow::Result<Waited> {
    let until = Instant::now() + timeout;
    let mut progress = Progress::new(shown, output);
    if !progress.is_hidden() {
        progress.show(&counts(session, select)?);
    }
    let counts = loop {
        let left = until.saturating_duration_since(Instant::now());
        match session.ask_wait(select.clone(), left.min(LOOK)) {
            Ok(counts) => break counts,
            Err(ClientError::Refused { refusal, .. }) if refusal.code == Code::TimedOut => {}
            Err(ClientError::TimedOut { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        if Instant::now() >= until {
            progress.leave();
            eprintln!("scalems: not all have ended within {timeout:?}; they go on");
            return Ok(Waited {
                exit: Exit::TimedOut,
                counts: None,
            });
        }
        if interrupt::seen() {
            progress.leave();
            interrupted(session, select)?;
            return Ok(Waited {
                exit: Exit::Interrupted,
                counts: None,
            });
        }
        if !progress.is_hidden() {
            progress.show(&counts(session, select)?);
        }
    };
    progress.end();
    if output == Output::Human {
        eprintln!("{}", summary(&counts));
    }
    let exit = if counts.failed + counts.canceled > 0 {
        Exit::Failed
    } else {
        Exit::Well
    };
    Ok(Waited {
        exit,
        counts: Some(counts),
    })
}

/// One Ctrl-C lets the tasks go on, two cancel them.
fn interrupted(session: &Session, select: &Selector) -> anyhow::Result<()> {
    eprintln!(
        "\nscalems: the tasks go on: `scalems wait {select}` waits again; Ctrl-C once more, within {} s, cancels them",
        SECOND.as_secs()
    );
    let until = Instant::now() + SECOND;
    while interrupt::count() < 2 {
        let left = until.saturating_duration_since(Instant::now());
        match session.ask_wait(select.clone(), left.min(AGAIN)) {
            _ if interrupt::count() > 1 => break,
            Err(ClientError::Refused { refusal, .. }) if refusal.code == Code::TimedOut => {}
            Err(ClientError::TimedOut { .. }) => {}
            // They have ended, or nobody is there to cancel them.
            _ => return Ok(()),
        }
        if left == Duration::ZERO {
            return Ok(());
        }
    }
    let done = session.cancel(select.clone(), Strength::Request, "interrupted by its user")?;
    eprintln!(
        "scalems: canceled: {} will not start, {} are told to end",
        done.withdrawn, done.told
    );
    Ok(())
}

/// The selected tasks by state.
fn counts(session: &Session, select: &Selector) -> Result<Counts, ClientError> {
    let mut counts = Counts::default();
    let mut after = None;
    loop {
        let listing = session.ask_tasks(Page {
            select: select.clone(),
            after,
            rows: 0,
        })?;
        for row in listing.rows {
            *counts.of(row.state) += u64::from(row.run.count());
        }
        after = listing.next;
        if after.is_none() {
            return Ok(counts);
        }
    }
}

/// Says why the first of the failed tasks failed.
pub(crate) fn explain_failures(session: &Session, select: &Selector) -> anyhow::Result<()> {
    let listing = session.ask_tasks(Page {
        select: select.clone(),
        after: None,
        rows: 0,
    })?;
    let bad = listing
        .rows
        .iter()
        .filter(|row| matches!(row.state, TaskState::Failed | TaskState::Canceled));
    for row in bad.take(FAILURES) {
        let why = row
            .error
            .as_ref()
            .map_or_else(|| row.state.name().to_owned(), ToString::to_string);
        let index = row.indices.0 + row.indices.1 * row.run.lo;
        let more = if row.run.count() > 1 {
            format!(" and {} more", row.run.count() - 1)
        } else {
            String::new()
        };
        let task = format!("task {}.{index}", row.run.submission);
        let why = why.strip_prefix(&format!("{task}: ")).unwrap_or(&why);
        eprintln!("{task}{more}: {}", print::safe(why));
    }
    Ok(())
}
