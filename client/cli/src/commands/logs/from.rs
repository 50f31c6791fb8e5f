//! `scalems logs --from`: what lies in log files, without a pilot.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use scalems_client::packed::{FoundAttempt, Survey};
use scalems_client::protocol::TaskState;
use scalems_client::protocol::packed::{Stream, Why};
use scalems_client::protocol::select::Selector;
use serde::Serialize;

use super::paper::Paper;
use super::whole::sentence;
use crate::args::{LogsArgs, Output};
use crate::exit::{Exit, Misuse};
use crate::print;

/// One attempt in a list.
#[derive(Serialize)]
struct Row {
    task: String,
    attempt: u32,
    incarnation: u64,
    host: String,
    /// `done`, `failed`; `begun`: its worker ended before it.
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<i32>,
    stdout: u64,
    stderr: u64,
    stdout_kept: u64,
    stderr_kept: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    lost: BTreeMap<Why, u64>,
}

/// All of it in numbers.
#[derive(Serialize)]
struct Summary {
    pilot: String,
    files: u64,
    bytes: u64,
    tasks: usize,
    attempts: usize,
    failed: usize,
    begun: usize,
    stdout: u64,
    stderr: u64,
    stdout_kept: u64,
    stderr_kept: u64,
    damaged: u64,
    torn: u64,
}

pub(super) fn run(place: &Path, args: &LogsArgs, stream: Stream, output: Output) -> anyhow::Result<Exit> {
    let survey = Survey::of(place).with_context(|| format!("read log files in {}", place.display()))?;
    if survey.others > 0 {
        eprintln!(
            "scalems: {} files of other pilots are passed over: name a file to read it alone",
            survey.others
        );
    }
    if survey.damaged > 0 {
        eprintln!(
            "scalems: {} bytes of the files are damaged; what is shown is whole",
            survey.damaged
        );
    }
    if args.summary {
        return summary(&survey, output);
    }
    let select = args.select.as_ref();
    check(select)?;
    let last = survey.attempts().map(|found| found.of.task.submission).max();
    let mut found: Vec<&FoundAttempt> = survey
        .attempts()
        .filter(|found| select.is_none_or(|select| has(select, found, last)))
        .filter(|found| args.attempt.is_none_or(|attempt| found.of.attempt == attempt))
        .collect();
    if select.is_none() {
        return list(&found, output);
    }
    if args.attempt.is_none() {
        // Of each task the last attempt.
        let later: BTreeMap<_, _> = found.iter().map(|found| (found.of.task, found.of)).collect();
        found.retain(|found| later.get(&found.of.task) == Some(&found.of));
    }
    ensure!(
        !found.is_empty(),
        "nothing that is selected is in {}",
        place.display()
    );
    let mut paper = Paper::new(stream, output);
    for found in found {
        let of = (found.of.task, found.of.attempt);
        found
            .source
            .read::<anyhow::Error>(of, stream, |_, bytes| paper.put(bytes))?;
        let total = found.written[stream as usize];
        let missing = total.saturating_sub(paper.shown);
        if missing > 0 {
            eprintln!(
                "scalems: {}",
                sentence(found.of.task, missing, total, &found.lost)
            );
        }
        paper.end_of(of, total)?;
    }
    paper.end()?;
    Ok(Exit::Well)
}

/// Files know of numbers, and how tasks ended.
fn check(select: Option<&Selector>) -> anyhow::Result<()> {
    let Some(select) = select else { return Ok(()) };
    if select.name.is_some() || select.label.is_some() {
        bail!(Misuse(
            "log files know no names and labels: select by numbers, `last`, `all`, `state:done` or `state:failed`".into()
        ));
    }
    if !matches!(select.state, None | Some(TaskState::Done | TaskState::Failed)) {
        bail!(Misuse(
            "log files know of `state:done` and `state:failed` only".into()
        ));
    }
    Ok(())
}

fn has(select: &Selector, found: &FoundAttempt, last: Option<u64>) -> bool {
    let task = found.of.task;
    let index = u64::from(task.index);
    let picked = select.picks.iter().any(|pick| {
        pick.has(task.submission)
            && pick.indices.is_none_or(|(first, last, step)| {
                let (first, last, step) = (u64::from(first), u64::from(last), u64::from(step.max(1)));
                index >= first && index <= last && (index - first).is_multiple_of(step)
            })
    });
    let is_last = select.last && last == Some(task.submission);
    let any = select.picks.is_empty() && !select.last;
    let state = match select.state {
        Some(TaskState::Done) => state(found) == "done",
        Some(_) => state(found) == "failed",
        None => true,
    };
    state && (picked || is_last || select.all || any)
}

fn state(found: &FoundAttempt) -> &'static str {
    match &found.end {
        None => "begun",
        Some(end) if end.exit_code == Some(0) => "done",
        Some(_) => "failed",
    }
}

fn list(found: &[&FoundAttempt], output: Output) -> anyhow::Result<Exit> {
    let rows: Vec<Row> = found
        .iter()
        .map(|found| Row {
            task: found.of.task.to_string(),
            attempt: found.of.attempt,
            incarnation: found.of.incarnation,
            host: found.host.clone(),
            state: state(found),
            exit_code: found.end.and_then(|end| end.exit_code),
            signal: found.end.and_then(|end| end.signal),
            stdout: found.written[0],
            stderr: found.written[1],
            stdout_kept: found.kept[0],
            stderr_kept: found.kept[1],
            lost: found.lost.clone(),
        })
        .collect();
    let head = ["task", "attempt", "host", "state", "ended by", "stdout", "stderr"];
    print::rows(output, &head, &rows, |row| {
        let code = row.exit_code.map(|code| format!("exit code {code}"));
        let signal = row.signal.map(|signal| format!("signal {signal}"));
        let bytes = |kept: u64, all: u64| {
            if kept < all {
                format!("{kept} of {all} bytes")
            } else {
                format!("{all} bytes")
            }
        };
        vec![
            row.task.clone(),
            row.attempt.to_string(),
            row.host.clone(),
            row.state.to_owned(),
            code.or(signal).unwrap_or_default(),
            bytes(row.stdout_kept, row.stdout),
            bytes(row.stderr_kept, row.stderr),
        ]
    })?;
    Ok(Exit::Well)
}

fn summary(survey: &Survey, output: Output) -> anyhow::Result<Exit> {
    let tasks: BTreeSet<_> = survey.attempts().map(|found| found.of.task).collect();
    let count = |wanted: &str| survey.attempts().filter(|found| state(found) == wanted).count();
    let sum = |of: fn(&FoundAttempt) -> u64| survey.attempts().map(of).sum::<u64>();
    let all = Summary {
        pilot: survey
            .pilot
            .as_ref()
            .map(|start| start.pilot_name.clone())
            .unwrap_or_default(),
        files: survey.files,
        bytes: survey.bytes,
        tasks: tasks.len(),
        attempts: survey.attempts().count(),
        failed: count("failed"),
        begun: count("begun"),
        stdout: sum(|found| found.written[0]),
        stderr: sum(|found| found.written[1]),
        stdout_kept: sum(|found| found.kept[0]),
        stderr_kept: sum(|found| found.kept[1]),
        damaged: survey.damaged,
        torn: survey.torn,
    };
    let lines = [
        ("pilot", all.pilot.clone()),
        ("files", format!("{}, of {} bytes", all.files, all.bytes)),
        (
            "tasks",
            format!(
                "{}, with {} attempts: {} failed, {} had not ended",
                all.tasks, all.attempts, all.failed, all.begun
            ),
        ),
        (
            "stdout",
            format!("{} of {} bytes kept", all.stdout_kept, all.stdout),
        ),
        (
            "stderr",
            format!("{} of {} bytes kept", all.stderr_kept, all.stderr),
        ),
        (
            "damage",
            format!("{} bytes, {} at ends of files", all.damaged, all.torn),
        ),
    ];
    print::one(output, &all, &lines)?;
    Ok(Exit::Well)
}
