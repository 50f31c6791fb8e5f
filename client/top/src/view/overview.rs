//! The pilot as a whole: what it has, what it does, how it is.

use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Widget as _;
use scalems_protocol::TaskState;
use scalems_protocol::event::Health;

use super::frame::{pair, panel};
use crate::app::App;
use crate::kit::gauge::{self, Gauge};
use crate::kit::numbers as format;
use crate::kit::spark::{self, Spark};
use crate::kit::text::{Align, fit, pad, words};
use crate::kit::theme::{Glyph, Role, Theme};
use crate::model::{Model, Trend};

/// Kinds that have a bar of their own, before all others.
const FIRST: [&str; 2] = ["cores", "gpus"];
const LABEL: u16 = 9;
/// The panels, in the order in which they are gone through.
const PANELS: usize = 4;

/// Draws it.
pub(super) fn draw(app: &App, area: Rect, buffer: &mut Buffer) {
    let (theme, model) = (app.theme, app.shown());
    if app.zoomed {
        let draw = [allocation, trends, health, alarms][app.panel % PANELS];
        draw(app, model, theme, area, buffer);
        return;
    }
    let top = (bars(model).len() as u16 + 1).clamp(6, 9);
    let [top, middle, bottom] = Layout::vertical([
        Constraint::Length(top),
        Constraint::Min(5),
        Constraint::Length(if area.height >= 30 { 10 } else { 7 }),
    ])
    .areas(area);
    let [left, right] = Layout::horizontal([Constraint::Fill(1), Constraint::Length(35)])
        .spacing(2)
        .areas(top);
    allocation(app, model, theme, left, buffer);
    states(model, theme, right, buffer);
    trends(app, model, theme, middle, buffer);
    let [left, right] = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)])
        .spacing(2)
        .areas(bottom);
    health(app, model, theme, left, buffer);
    alarms(app, model, theme, right, buffer);
}

/// Bars of the allocation: kind, used, all, down.
fn bars(model: &Model) -> Vec<(String, f64, f64, f64)> {
    let (active, suspect, draining, lost) = model.summary.workers;
    let busy = model
        .workers
        .values()
        .filter(|seen| seen.row.leases.1 > 0 && !matches!(seen.row.state.as_str(), "lost" | "gone"));
    let there = active + suspect + draining;
    let mut bars = vec![(
        "workers".to_owned(),
        busy.count() as f64,
        (there + lost) as f64,
        lost as f64,
    )];
    let down = |kind: &str| -> f64 {
        let lost = model.workers.values().filter(|seen| seen.row.state == "lost");
        lost.filter_map(|seen| super::rows::resource(seen, kind))
            .map(|(total, _)| total)
            .sum()
    };
    let others = model.summary.resources.iter().map(|(kind, ..)| kind.as_str());
    let others = others.filter(|kind| !FIRST.contains(kind));
    for kind in FIRST.into_iter().chain(others) {
        if let Some((total, used)) = model.summary.resource(kind) {
            let down = down(kind);
            if total + down > 0.0 {
                bars.push((kind.to_owned(), used, total + down, down));
            }
        }
    }
    bars
}

fn allocation(app: &App, model: &Model, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let inside = panel("allocation", app.panel == 0, theme, area, buffer);
    let bars = bars(model);
    let labels: Vec<_> = bars
        .iter()
        .map(|(kind, ..)| {
            pad(
                &fit(kind, usize::from(LABEL) - 1, theme.charset),
                usize::from(LABEL) - 1,
                Align::Left,
                theme.charset,
            )
        })
        .collect();
    let gauges: Vec<Gauge<'_>> = bars
        .iter()
        .zip(&labels)
        .map(|((kind, used, total, down), label)| {
            let mut gauge = Gauge::new(label, *used, *total).down(*down);
            if matches!(kind.as_str(), "memory" | "disk") {
                gauge.write = |mebibytes| format::bytes((mebibytes * f64::from(1 << 20)) as u64);
            }
            gauge
        })
        .collect();
    gauge::draw(&gauges, theme, inside, buffer);
    let mut lines = inside.rows().skip(gauges.len());
    if let Some(line) = lines.next() {
        let value = match model.left() {
            Some(left) => {
                let drains = match model.drains() {
                    Some(drains) if drains.is_zero() => ", nothing new is started".to_owned(),
                    Some(drains) => format!(", drains in {}", format::clock(drains)),
                    None => String::new(),
                };
                let text = format::clock(left) + &drains;
                theme.span(super::frame::walltime_role(model, left), text)
            }
            None => theme.span(Role::Dim, "no end is known"),
        };
        pair("walltime", value, LABEL, theme, line, buffer);
    }
    let trouble = model.status.iter().flat_map(|status| &status.trouble);
    for trouble in trouble {
        let Some(line) = lines.next() else { return };
        let text = fit(trouble, usize::from(line.width).saturating_sub(2), theme.charset);
        let text = format!("{} {text}", theme.glyph(Glyph::Suspect));
        theme.span(Role::Warn, text).render(line, buffer);
    }
}

fn states(model: &Model, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let total = model.summary.tasks.total();
    let name = format!("tasks {}", format::count(total));
    let inside = panel(&name, false, theme, area, buffer);
    let mut counts = model.summary.tasks;
    let half = inside.width / 2;
    for (at, state) in TaskState::ALL.into_iter().enumerate() {
        let (row, column) = (at as u16 % 4, at as u16 / 4);
        if row >= inside.height {
            continue;
        }
        let count = *counts.of(state);
        let mark = theme.task(state);
        let role = if count == 0 { Role::Dim } else { mark.role };
        let count = pad(&format::count(count), 6, Align::Right, theme.charset);
        let line = Line::from(vec![
            theme.span(role, format!("{} ", mark.glyph)),
            theme.span(role, pad(mark.word, 8, Align::Left, theme.charset)),
            theme.span(role, count),
        ]);
        let at = Rect {
            x: inside.x + column * half,
            y: inside.y + row,
            width: half.min(16),
            height: 1,
        };
        line.render(at, buffer);
    }
}

fn trends(app: &App, model: &Model, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let name = format!(
        "over time, each column {}",
        format::time(column_span(app), theme.charset)
    );
    let inside = panel(&name, app.panel == 1, theme, area, buffer);
    let rates: fn(f64) -> String = format::number;
    let shares: fn(f64) -> String = |share| format::percent(share, 1.0);
    let waits: fn(f64) -> String = |seconds| {
        format::time(
            Duration::from_secs_f64(seconds.max(0.0)),
            crate::kit::theme::Charset::Ascii,
        )
    };
    let areas: [Rect; 3] = Layout::vertical([Constraint::Fill(1); 3]).areas(inside);
    let [done, used, waited] = areas;
    trend_line(
        app,
        ("tasks/s", &model.throughput, Role::Good, None),
        rates,
        done,
        buffer,
    );
    trend_line(
        app,
        ("in use", &model.utilisation, Role::Used, Some(1.0)),
        shares,
        used,
        buffer,
    );
    trend_line(
        app,
        ("waited", &model.wait, Role::Info, None),
        waits,
        waited,
        buffer,
    );
}

/// What a column of the terminal stands for: one or two values.
fn column_span(app: &App) -> Duration {
    let each = spark::steps(1, app.theme.charset).max(1) as u32;
    app.span * each
}

fn trend_line(
    app: &App,
    (label, trend, role, top): (&str, &Trend, Role, Option<f64>),
    write: fn(f64) -> String,
    area: Rect,
    buffer: &mut Buffer,
) {
    if area.height == 0 {
        return;
    }
    let (theme, model) = (app.theme, app.shown());
    let wide = LABEL + 9;
    let graph = Rect {
        x: area.x + wide.min(area.width),
        width: area.width.saturating_sub(wide),
        ..area
    };
    let count = spark::steps(graph.width, theme.charset);
    // Health is told once a second, and counts only when they change.
    let holds = if top.is_some() {
        Duration::from_secs(24 * 3_600)
    } else {
        Duration::from_secs(2)
    };
    let values = trend.means(model.now, app.span, count, holds);
    let top = top.unwrap_or_else(|| spark::scale(&values, 0.001));
    Spark {
        values: &values,
        top,
        role,
    }
    .draw(theme, graph, buffer);
    let last = trend.last().map_or_else(|| "-".to_owned(), write);
    buffer.set_stringn(area.x, area.y, label, usize::from(LABEL), theme.style(Role::Dim));
    let value = pad(&last, 8, Align::Right, theme.charset);
    buffer.set_stringn(
        area.x + LABEL.min(area.width),
        area.y,
        value,
        usize::from(area.width.saturating_sub(LABEL)).min(8),
        theme.style(role).add_modifier(super::frame::BOLD),
    );
    if area.height > 1 {
        let text = format!("top {}", write(top));
        buffer.set_stringn(
            area.x,
            area.y + 1,
            text,
            usize::from(wide.min(area.width)),
            theme.style(Role::Dim),
        );
    }
}

fn health(app: &App, model: &Model, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let inside = panel("agent", app.panel == 2, theme, area, buffer);
    if matches!(model.link, crate::source::Link::Replay(_)) {
        let said = "A journal does not tell how the agent was, and of cores only those that tasks had.";
        for (line, text) in inside
            .rows()
            .zip(words(said, usize::from(inside.width), theme.charset))
        {
            theme.span(Role::Dim, text).render(line, buffer);
        }
        return;
    }
    let Some(health) = &model.health else {
        theme
            .span(Role::Dim, "it has not said how it is")
            .render(inside, buffer);
        return;
    };
    let mut lines = inside.rows();
    for (label, value, role) in said(health, theme) {
        let Some(line) = lines.next() else { return };
        pair(label, theme.span(role, value), LABEL + 1, theme, line, buffer);
    }
    // What is nearest to its bound.
    let mut queues: Vec<_> = health.queues.iter().filter(|(.., bound)| *bound > 0).collect();
    let share = |(_, much, bound): &(String, u64, u64)| *much as f64 / *bound as f64;
    queues.sort_by(|a, b| share(b).total_cmp(&share(a)));
    for queue in queues {
        let Some(line) = lines.next() else { return };
        let (what, much, bound) = queue;
        let write = if what.ends_with("_bytes") {
            format::bytes
        } else {
            format::count
        };
        let part = format::percent(*much as f64, *bound as f64);
        let text = format!("{} of {} ({part})", write(*much), write(*bound));
        let role = if share(queue) > 0.8 {
            Role::Warn
        } else {
            Role::Text
        };
        let what = what.replace('_', " ");
        let label = fit(&what, usize::from(line.width / 2), theme.charset);
        let wide = 17.min(line.width / 2);
        pair(&label, theme.span(role, text), wide, theme, line, buffer);
    }
}

/// What there is to say of the agent, the most important first.
fn said(health: &Health, theme: Theme) -> Vec<(&'static str, String, Role)> {
    let time = |us: u64| format::time(Duration::from_micros(us), theme.charset);
    let (p50, p99, most) = health.round_us;
    let slow = if most > 1_000_000 { Role::Warn } else { Role::Text };
    let mut said = vec![(
        "round",
        format!("{} p50  {} p99  {} max", time(p50), time(p99), time(most)),
        slow,
    )];
    match &health.journal {
        Some(journal) => {
            let role = if journal.full {
                Role::Bad
            } else if journal.waiting_bytes > 64 << 20 {
                Role::Warn
            } else {
                Role::Text
            };
            let full = if journal.full { "no room on the disk, " } else { "" };
            let text = format!(
                "{full}{} wait, commit {}, {}",
                format::count(journal.waiting_records),
                if journal.commit_us.2 > 0 {
                    time(journal.commit_us.1)
                } else {
                    "-".to_owned()
                },
                format::bytes(journal.size_bytes)
            );
            said.push(("journal", text, role));
        }
        None => said.push((
            "journal",
            "none: the agent's death is the pilot's".to_owned(),
            Role::Dim,
        )),
    }
    let dropped = if health.events_dropped > 0 {
        Role::Warn
    } else {
        Role::Text
    };
    said.push((
        "process",
        format!(
            "{}, cpu {}, {} dropped",
            format::bytes(health.rss_bytes),
            time(health.cpu_us),
            format::count(health.events_dropped)
        ),
        dropped,
    ));
    said
}

fn alarms(app: &App, model: &Model, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let name = format!("alarms {}", model.alarms.len());
    let inside = panel(&name, app.panel == 3, theme, area, buffer);
    if model.alarms.is_empty() {
        let text = format!("{} none", theme.glyph(Glyph::Done));
        theme.span(Role::Good, text).render(inside, buffer);
        return;
    }
    let now = model.agent_ms();
    for (line, alarm) in inside.rows().zip(model.alarms.iter().rev()) {
        let ago = now.map_or_else(String::new, |now| {
            let ago = Duration::from_millis(now.saturating_sub(alarm.at_ms));
            format::clock(Duration::from_secs(ago.as_secs()))
        });
        let text = format!("{} {}: {}", alarm.alarm, alarm.about, alarm.message);
        let room = usize::from(line.width).saturating_sub(ago.len() + 3);
        let spans = vec![
            theme.span(Role::Bad, format!("{} ", theme.glyph(Glyph::Failed))),
            theme.span(Role::Dim, format!("{ago} ")),
            Span::raw(fit(&text, room, theme.charset).into_owned()),
        ];
        Line::from(spans).render(line, buffer);
    }
}
