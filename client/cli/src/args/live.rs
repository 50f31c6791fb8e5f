//! What there is to choose from now, for the shell's completion. Whatever goes wrong there is nothing to choose from: nobody wants
//! to read of it while typing.

use std::time::{Duration, Instant};

use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use scalems_client::protocol::TaskState;
use scalems_client::protocol::client::{Page, SubmissionRow};
use scalems_client::protocol::select::Selector;
use scalems_client::{Session, locate};

use crate::commands::connect_with;
use crate::print;

/// Whoever presses a key does not wait longer.
const PATIENCE: Duration = Duration::from_secs(1);
/// So many submissions are offered, the newest.
const MOST: usize = 50;

/// Names of pilots that run.
pub(super) fn pilots() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let found = locate::home().and_then(|home| locate::list_in(&home));
        let found = found.unwrap_or_default().into_iter();
        let on = |host: &str| Some(format!("on {}", print::safe(host)).into());
        found
            .map(|pilot| CompletionCandidate::new(&pilot.file.pilot).help(on(&pilot.file.host)))
            .collect()
    })
}

/// Numbers of submissions, and the words of selectors.
pub(super) fn selections() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let mut all = submissions();
        all.extend(["all", "last"].map(CompletionCandidate::new));
        all.extend(TaskState::ALL.map(|state| CompletionCandidate::new(format!("state:{}", state.name()))));
        all
    })
}

/// Numbers of submissions.
pub(super) fn earlier() -> ArgValueCandidates {
    ArgValueCandidates::new(submissions)
}

fn submissions() -> Vec<CompletionCandidate> {
    let Some(session) = connect() else {
        return Vec::new();
    };
    let until = Instant::now() + PATIENCE;
    let (mut rows, mut after): (Vec<SubmissionRow>, _) = (Vec::new(), None);
    while let Ok(page) = session.ask_submissions(Page {
        select: Selector::all(),
        after,
        rows: 0,
    }) {
        rows.extend(page.rows);
        rows.drain(..rows.len().saturating_sub(MOST));
        after = page.next;
        if after.is_none() || Instant::now() >= until {
            break;
        }
    }
    let told = |row: &SubmissionRow| {
        let name = row.name.as_deref().map(print::safe).unwrap_or_default();
        let (tasks, left) = (row.indices.2, row.tasks.unfinished());
        format!("{tasks} tasks, {left} to end {name}")
            .trim_end()
            .to_owned()
    };
    rows.iter()
        .rev()
        .map(|row| CompletionCandidate::new(row.submission.to_string()).help(Some(told(row).into())))
        .collect()
}

/// Numbers of workers.
pub(super) fn workers() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let rows = connect().and_then(|session| session.ask_workers().ok());
        let told = |name: &str, state: &str| format!("{}, {state}", print::safe(name));
        rows.unwrap_or_default()
            .iter()
            .map(|row| {
                let help = told(&row.name, &row.state);
                CompletionCandidate::new(row.worker.to_string()).help(Some(help.into()))
            })
            .collect()
    })
}

/// The pilot that the environment means. What is on the line so far is not known here.
fn connect() -> Option<Session> {
    let options = Session::options()
        .shared()
        .connect_timeout(PATIENCE)
        .answer_timeout(PATIENCE);
    let pilot = std::env::var("SCALEMS_PILOT").ok();
    connect_with(options, pilot.as_deref().filter(|name| !name.is_empty())).ok()
}
