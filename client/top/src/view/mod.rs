//! Drawing: the model and what people have made of it, into a frame. Nothing is decided here.

mod details;
mod frame;
mod logs;
mod overview;
pub mod rows;
mod workers;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};

use crate::app::{App, tables::with_list};
use crate::kit::keys::Screen;
use crate::kit::table::Rows as _;
use crate::kit::theme::Role;
use crate::source::Link;

/// Less than this shows nothing of use.
const LEAST: (u16, u16) = (20, 6);

/// Draws the whole screen.
pub fn draw(app: &mut App, frame: &mut Frame<'_>) {
    let area = frame.area();
    frame.buffer_mut().set_style(area, app.theme.style(Role::Text));
    if area.width < LEAST.0 || area.height < LEAST.1 {
        frame.render_widget("too small", area);
        return;
    }
    // A replay has a line of time above the last one.
    let time = u16::from(matches!(app.model.link, Link::Replay(_)));
    let [title, tabs, body, time, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(1),
        Constraint::Length(time),
        Constraint::Length(1),
    ])
    .areas(area);
    frame::time(app, time, frame.buffer_mut());
    frame::title(app, title, frame.buffer_mut());
    frame::tabs(app, tabs, frame.buffer_mut());
    if app.details.is_some() {
        details::draw(app, body, frame.buffer_mut());
    } else {
        screen(app, body, frame);
    }
    frame::foot(app, foot, frame.buffer_mut());
    frame::dialog(app, area, frame.buffer_mut());
}

fn screen(app: &mut App, area: Rect, frame: &mut Frame<'_>) {
    match app.screen {
        Screen::Overview => overview::draw(app, area, frame.buffer_mut()),
        Screen::Workers => workers::draw(app, area, frame.buffer_mut()),
        Screen::Logs => logs::draw(app, area, frame.buffer_mut()),
        _ => list(app, area, frame),
    }
}

/// What a list says that has no rows.
fn nothing(screen: Screen) -> &'static str {
    match screen {
        Screen::Submissions => "Nothing was submitted yet: try scalems submit -- echo hello",
        Screen::Tasks => "There are no tasks.",
        Screen::Workers => "No worker has joined yet.",
        Screen::Faults => "Nothing went wrong since the agent began.",
        Screen::Events => "Nothing has happened since the monitor began.",
        Screen::Pilots => {
            "No pilot of yours runs on this host, or in your home: try scalems pilot start --detach"
        }
        Screen::Overview | Screen::Logs => "",
    }
}

/// A screen that is a list, below a line that says of what.
fn list(app: &mut App, area: Rect, frame: &mut Frame<'_>) {
    let [head, rest] = Layout::vertical([Constraint::Length(1), Constraint::Min(1)]).areas(area);
    draw_list(app, app.screen, rest, frame.buffer_mut());
    frame::head(app, head, frame.buffer_mut());
}

fn draw_list(app: &mut App, screen: Screen, area: Rect, buffer: &mut ratatui::buffer::Buffer) {
    let theme = app.theme;
    let model = app.frozen.as_deref().unwrap_or(&app.model);
    with_list!(app.tables, screen, model, &app.pilots, theme, |table, rows| {
        // What was drawn last may be of rows that are gone.
        if table.order().iter().any(|&row| row >= rows.len()) {
            table.update(&rows);
        }
        table.draw(&rows, nothing(screen), theme, area, buffer);
    });
}

#[cfg(test)]
mod tests;
