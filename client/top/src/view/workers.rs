//! Workers: a list, and of the chosen one its cores as cells and what runs on it; with the whole screen, the cores of all.

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::Line;
use ratatui::widgets::Widget as _;

use super::frame::{head, panel};
use super::rows::{WorkerRows, resource};
use crate::app::App;
use crate::kit::cells::{self, Load};
use crate::kit::keys::Screen;
use crate::kit::text::fit;
use crate::kit::theme::Role;
use crate::model::WorkerSeen;

/// More cores of one worker are no use to tell apart.
const CORES: usize = 4_096;

/// Draws them.
pub(super) fn draw(app: &mut App, area: Rect, buffer: &mut Buffer) {
    if app.zoomed {
        all_cores(app, area, buffer);
        return;
    }
    let below = (area.height / 3).clamp(4, 14);
    let [line, list, chosen] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Min(3),
        Constraint::Length(below),
    ])
    .areas(area);
    super::draw_list(app, Screen::Workers, list, buffer);
    head(app, line, buffer);
    let theme = app.theme;
    let model = app.shown();
    let rows = WorkerRows::new(model, theme);
    let Some(seen) = app.tables.workers.chosen().and_then(|row| rows.get(row)) else {
        return;
    };
    let name = fit(&seen.row.name, 30, theme.charset);
    let inside = panel(&format!("cores of {name}"), false, theme, chosen, buffer);
    let loads = loads(seen);
    let lines = (loads.len() as u16)
        .div_ceil(inside.width.max(1))
        .clamp(1, inside.height.max(1) / 2 + 1);
    let [cores, runs] = Layout::vertical([Constraint::Length(lines), Constraint::Min(0)]).areas(inside);
    cells::draw(&loads, 0, theme, cores, buffer);
    let running = model
        .running
        .iter()
        .filter(|row| row.worker.as_deref() == Some(seen.row.name.as_str()));
    for (line, row) in runs.rows().zip(running) {
        let submission = model.submissions.get(&row.run.submission);
        let what = submission.map_or("", |seen| seen.row.name.as_deref().unwrap_or(&seen.row.mode));
        let mark = theme.task(row.state);
        let text = fit(what, usize::from(line.width / 2), theme.charset);
        let spans = vec![
            theme.span(mark.role, format!("{} ", mark.glyph)),
            theme.span(Role::Text, format!("{}  ", super::rows::task_name(row))),
            theme.span(Role::Dim, text.into_owned()),
        ];
        Line::from(spans).render(line, buffer);
    }
}

/// A worker's cores. Which of them a task has is not told, only how many: the first ones are drawn as those.
fn loads(seen: &WorkerSeen) -> Vec<Load> {
    let Some((total, used)) = resource(seen, "cores") else {
        return Vec::new();
    };
    let count = (total.ceil() as usize).min(CORES);
    if matches!(seen.row.state.as_str(), "lost" | "gone") {
        return vec![Load::Down; count];
    }
    (0..count)
        .map(|core| Load::Used((used - core as f64).clamp(0.0, 1.0) as f32))
        .collect()
}

/// The cores of all workers, worker by worker.
fn all_cores(app: &App, area: Rect, buffer: &mut Buffer) {
    let (theme, model) = (app.theme, app.shown());
    let loads: Vec<Load> = model.workers.values().flat_map(loads).collect();
    let name = format!("all {} cores, worker by worker", loads.len());
    let inside = panel(&name, true, theme, area, buffer);
    let [cores, legend] = Layout::vertical([Constraint::Min(1), Constraint::Length(1)]).areas(inside);
    let each = cells::draw(&loads, 0, theme, cores, buffer);
    let each = if each > 1 {
        format!("a cell is {each} cores   ")
    } else {
        String::new()
    };
    theme
        .span(Role::Dim, format!("{each}{}", cells::legend(theme.charset)))
        .render(legend, buffer);
}
