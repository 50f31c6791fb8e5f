//! Everything that is known of one row.

use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::widgets::Widget as _;
use scalems_protocol::client::{Counts, Explanation};

use super::frame::two_ends;
use super::rows::{resource, submission_state, task_name};
use crate::app::{App, Of};
use crate::kit::numbers as format;
use crate::kit::text::{Align, line, pad, wrap};
use crate::kit::theme::{Charset, Role};
use crate::model::Model;

/// Columns of the names.
const NAME: usize = 14;

/// A line: a name, a value, what it is for. Without a name the value goes from edge to edge.
struct Told(&'static str, String, Role);

/// Draws them.
pub(super) fn draw(app: &mut App, area: Rect, buffer: &mut Buffer) {
    let theme = app.theme;
    let [head, body] = Layout::vertical([Constraint::Length(1), Constraint::Min(1)]).areas(area);
    let Some(details) = &app.details else { return };
    let (title, told) = told(app.shown(), &details.of, theme.charset);
    let lines = laid_out(&told, details.wrap, usize::from(body.width), theme.charset);
    let page = usize::from(body.height);
    let Some(details) = &mut app.details else { return };
    details.size = (lines.len(), page);
    details.top = details.top.min(lines.len().saturating_sub(page));
    for (row, (name, text, role)) in body.rows().zip(lines.iter().skip(details.top)) {
        buffer.set_stringn(row.x, row.y, name, NAME, theme.style(Role::Dim));
        let rest = Rect {
            x: row.x + (NAME as u16).min(row.width),
            width: row.width.saturating_sub(NAME as u16),
            ..row
        };
        theme.span(*role, text.as_str()).render(rest, buffer);
    }
    let place = format!("{} lines", lines.len());
    two_ends(
        vec![theme.span(Role::Header, title)],
        vec![theme.span(Role::Dim, place)],
        head,
        buffer,
    );
}

fn laid_out(
    told: &[Told],
    wrapped: bool,
    columns: usize,
    charset: Charset,
) -> Vec<(&'static str, String, Role)> {
    let room = columns.saturating_sub(NAME).max(1);
    let mut lines = Vec::new();
    for Told(name, text, role) in told {
        let mut name = *name;
        for part in text.split('\n') {
            let safe = line(part, charset);
            if wrapped {
                for row in wrap(&safe, room) {
                    lines.push((std::mem::take(&mut name), row.to_owned(), *role));
                }
            } else {
                let cut = crate::kit::text::cut(&safe, room, charset).into_owned();
                lines.push((std::mem::take(&mut name), cut, *role));
            }
        }
    }
    lines
}

fn told(model: &Model, of: &Of, charset: Charset) -> (String, Vec<Told>) {
    match of {
        Of::Submission(number) => (
            format!("submission {number}"),
            submission(model, *number, charset),
        ),
        Of::Task(submission, _, index) => (format!("task {submission}.{index}"), task(model, charset)),
        Of::Worker(number) => (format!("worker {number}"), worker(model, *number, charset)),
        Of::Fault(key) => ("what went wrong".to_owned(), fault(model, key, charset)),
    }
}

fn text(name: &'static str, value: impl Into<String>) -> Told {
    Told(name, value.into(), Role::Text)
}

fn gone() -> Vec<Told> {
    vec![Told("", "It is not there any more.".into(), Role::Dim)]
}

fn counts(counts: &Counts) -> String {
    let mut counts = *counts;
    let states = scalems_protocol::TaskState::ALL;
    let parts = states.map(|state| (*counts.of(state), state.name()));
    let parts: Vec<String> = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, name)| format!("{} {name}", format::count(*count)))
        .collect();
    if parts.is_empty() {
        "none".to_owned()
    } else {
        parts.join(", ")
    }
}

fn submission(model: &Model, number: u64, charset: Charset) -> Vec<Told> {
    let Some(seen) = model.submissions.get(&number) else {
        return gone();
    };
    let row = &seen.row;
    let (word, role) = submission_state(seen);
    let mut told = vec![
        text("name", row.name.as_deref().unwrap_or("-")),
        text("mode", &row.mode),
        Told("state", word.to_owned(), role),
        text("tasks", counts(&row.tasks)),
        text(
            "session",
            if row.session.is_empty() {
                "unnamed"
            } else {
                &row.session
            },
        ),
    ];
    let (first, step, count) = row.indices;
    let sparse = if row.sparse { ", some left out" } else { "" };
    told.push(text(
        "indices",
        format!("{count} from {first}, step {step}{sparse}"),
    ));
    let age = Duration::from_millis(row.age_ms) + model.now.saturating_sub(seen.at);
    told.push(text("age", format::time(age, charset)));
    if row.open {
        told.push(Told("open", "tasks may be added".into(), Role::Info));
    }
    for (key, value) in &row.labels {
        told.push(text("label", format!("{key}={value}")));
    }
    for (kind, well, badly) in &row.spent {
        let share = format::percent(*badly as f64, (well + badly) as f64);
        let (well, badly) = (
            format::number(*well as f64 / 1e6),
            format::number(*badly as f64 / 1e6),
        );
        let what = if kind == "time" {
            "seconds"
        } else {
            "of it times seconds"
        };
        told.push(text(
            "spent",
            format!("{kind}: {well} {what}, and {badly} ({share}) for nothing"),
        ));
    }
    told
}

fn task(model: &Model, charset: Charset) -> Vec<Told> {
    match &model.explanation {
        None => vec![Told("", "The agent is asked.".into(), Role::Dim)],
        Some(Err(problem)) => vec![Told("", problem.clone(), Role::Bad)],
        Some(Ok(explanation)) => explained(explanation, charset),
    }
}

fn explained(explanation: &Explanation, charset: Charset) -> Vec<Told> {
    let (row, template) = (&explanation.row, &explanation.task);
    let mut told = vec![text("task", task_name(row)), text("state", row.state.name())];
    for reason in &explanation.reasons {
        told.push(Told("why", reason.clone(), Role::Info));
    }
    if let Some(progress) = &explanation.progress {
        let part = format::percent(progress.fraction, 1.0);
        told.push(text("progress", format!("{part} {}", progress.text)));
    }
    told.push(text("attempt", row.run.attempt.to_string()));
    let (own, crashes) = explanation.faults;
    if own + crashes > 0 {
        let said = format!("{own} failures of its own, {crashes} workers lost under it");
        told.push(Told("faults", said, Role::Warn));
    }
    if let Some(worker) = &row.worker {
        told.push(text("worker", worker));
    }
    if row.ran_us > 0 {
        told.push(text(
            "ran",
            format::time(Duration::from_micros(row.ran_us), charset),
        ));
    }
    if let Some(code) = row.exit_code {
        let role = if code == 0 { Role::Text } else { Role::Bad };
        told.push(Told("exit code", code.to_string(), role));
    }
    if let Some(error) = &row.error {
        told.push(Told(
            "error",
            format!("{}: {}", error.code.text(), error.message),
            Role::Bad,
        ));
        if let Some(class) = &error.class {
            told.push(Told("class", class.clone(), Role::Bad));
        }
        if let Some(trace) = &error.trace {
            told.push(Told("trace", trace.clone(), Role::Dim));
        }
    }
    told.push(text("mode", &template.mode));
    if let Some(name) = &template.name {
        told.push(text("name", name));
    }
    told.push(Told("asked", envelope(template), Role::Dim));
    told
}

/// What was asked for, a line for each thing that is not as usual.
fn envelope(template: &scalems_protocol::task::Template) -> String {
    let shown = scalems_protocol::task::Template {
        // It is the mode's own, and no text.
        body: Vec::new(),
        ..template.clone()
    };
    serde_json::to_string_pretty(&shown).unwrap_or_else(|error| format!("it cannot be shown: {error}"))
}

fn worker(model: &Model, number: u64, charset: Charset) -> Vec<Told> {
    let Some(seen) = model.workers.get(&number) else {
        return gone();
    };
    let row = &seen.row;
    let time = |ms: u64| format::time(Duration::from_millis(ms), charset);
    let mut told = vec![
        text("name", &row.name),
        text("host", format!("{}, process {}", row.host, row.pid)),
        text("state", &row.state),
        text(
            "leases",
            format!("{} run, {} wait there", row.leases.1, row.leases.0),
        ),
        text("ended", format!("{} tasks", format::count(row.ended))),
        text(
            "heard of",
            format!("{} before that was said", time(row.silent_ms)),
        ),
        text(
            "beats",
            format!("{} as believed, {} not", row.beats.0, row.beats.1),
        ),
    ];
    for (kind, ..) in &row.resources {
        if let Some((total, used)) = resource(seen, kind) {
            let write = |amount: f64| {
                if kind == "memory" {
                    format::bytes(amount as u64)
                } else {
                    format::number(amount)
                }
            };
            told.push(text(
                "has",
                format!("{} of {} {kind} in use", write(used), write(total)),
            ));
        }
    }
    if let Some(left) = row.left_ms {
        told.push(text("left", time(left)));
    }
    if let Some(place) = &row.place {
        told.push(text("place", place));
    }
    if let Some(session) = &row.requested_by {
        told.push(text("requested by", session));
    }
    let running = model
        .running
        .iter()
        .filter(|task| task.worker.as_deref() == Some(row.name.as_str()));
    for task in running {
        let submission = model.submissions.get(&task.run.submission);
        let name = submission.map_or("", |seen| seen.row.name.as_deref().unwrap_or(&seen.row.mode));
        let task = pad(&task_name(task), 12, Align::Left, charset);
        told.push(Told("runs", format!("{task} {name}"), Role::Used));
    }
    told
}

fn fault(model: &Model, key: &crate::view::rows::FaultKey, charset: Charset) -> Vec<Told> {
    let Some(group) = model.faults.get(key) else {
        return gone();
    };
    let ago = model.agent_ms().map_or_else(String::new, |now| {
        let ago = Duration::from_millis(now.saturating_sub(group.at_ms));
        format!(", {} ago", format::time(ago, charset))
    });
    vec![
        Told("reason", group.code.clone(), Role::Bad),
        text("what", &group.what),
        text(
            "host",
            if group.host.is_empty() {
                "none"
            } else {
                &group.host
            },
        ),
        text("failed", format!("{} tasks", format::count(group.failed))),
        text("retried", format!("{} attempts", format::count(group.retried))),
        text("last", format!("task {}.{}{ago}", group.last.0, group.last.1)),
        text(
            "worker",
            if group.worker.is_empty() {
                "none"
            } else {
                &group.worker
            },
        ),
        Told("message", group.message.clone(), Role::Bad),
        Told(
            "",
            "l shows what the last of them printed, e why it is where it is.".into(),
            Role::Dim,
        ),
    ]
}
