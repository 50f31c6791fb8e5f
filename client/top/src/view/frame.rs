//! What is around each screen: who, where, since when; what keys there are; what lies over it.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Modifier;
use ratatui::text::{Line, Span};
use ratatui::widgets::Widget as _;

use crate::app::{App, Dialog};
use crate::kit::keys::{self, Screen};
use crate::kit::numbers as format;
use crate::kit::text::{cut, fit, width};
use crate::kit::theme::{Charset, Glyph, Role, Theme};
use crate::source::{Cursor, Link};

/// Data that is older is told to be.
const OLD_S: u64 = 4;

/// The pilot, how it is reached, and how long it will be there.
pub(super) fn title(app: &App, area: Rect, buffer: &mut Buffer) {
    let (theme, model) = (app.theme, app.shown());
    let mut left = vec![theme.span(Role::Title, "scalems-top "), Span::raw(" ")];
    for name in &app.trail {
        left.push(theme.span(Role::Dim, fit(name, 24, theme.charset).into_owned()));
        left.push(theme.span(Role::Dim, " > "));
    }
    let name = fit(&model.pilot, 40, theme.charset).into_owned();
    left.push(Span::styled(name, theme.style(Role::Title)));
    left.push(Span::raw("  "));
    left.extend(link(app));
    if app.frozen.is_some() {
        left.push(theme.span(Role::Accent, "  PAUSED "));
        let age = app.model.now.saturating_sub(model.now);
        left.push(theme.span(Role::Dim, format::clock(age)));
    }
    let mut right = Vec::new();
    if app.readonly {
        right.push(theme.span(Role::Dim, "read only  "));
    }
    if let Some(left) = model.left() {
        let role = walltime_role(model, left);
        right.push(theme.span(Role::Dim, "left "));
        right.push(theme.span(role, format::clock(left)));
        right.push(Span::raw("  "));
    }
    if let Some(ms) = model.agent_ms() {
        right.push(theme.span(Role::Dim, "up "));
        right.push(Span::raw(format::clock(std::time::Duration::from_millis(ms))));
    }
    two_ends(left, right, area, buffer);
}

/// Amber below a tenth of the allocation, or its last minute.
pub(super) fn walltime_role(model: &crate::model::Model, left: std::time::Duration) -> Role {
    let up = model.agent_ms().unwrap_or_default();
    let whole = up + left.as_millis() as u64;
    let few = left.as_millis() as u64 * 10 < whole || left.as_secs() < 60;
    if left.is_zero() {
        Role::Bad
    } else if few {
        Role::Warn
    } else {
        Role::Text
    }
}

fn link(app: &App) -> Vec<Span<'static>> {
    let (theme, model) = (app.theme, &app.model);
    match &model.link {
        Link::Connecting => {
            vec![theme.span(Role::Warn, format!("{} connecting", theme.glyph(Glyph::Suspect)))]
        }
        Link::Live => {
            let age = model.age().filter(|age| age.as_secs() >= OLD_S);
            match age {
                // Health comes once a second: silence is no calm.
                Some(age) => vec![theme.span(
                    Role::Warn,
                    format!(
                        "{} silent for {}",
                        theme.glyph(Glyph::Suspect),
                        format::clock(age)
                    ),
                )],
                None => vec![theme.span(Role::Good, format!("{} live", theme.glyph(Glyph::Active)))],
            }
        }
        Link::Lost => {
            let age = model.age().map(format::clock).unwrap_or_default();
            vec![theme.span(
                Role::Bad,
                format!(
                    "{} agent lost, looking for it; this is {age} old",
                    theme.glyph(Glyph::Failed)
                ),
            )]
        }
        Link::Over(why) => vec![theme.span(
            Role::Bad,
            format!(
                "{} over: {}",
                theme.glyph(Glyph::Failed),
                fit(why, 60, theme.charset)
            ),
        )],
        Link::Replay(cursor) => replay(*cursor, theme),
    }
}

fn replay(cursor: Cursor, theme: Theme) -> Vec<Span<'static>> {
    let state = if cursor.playing { "playing" } else { "standing" };
    // Of a run of seconds, tenths of them matter.
    let clock = |time: std::time::Duration| {
        if cursor.end.as_secs() < 100 {
            format!("{:.1}s", time.as_secs_f64())
        } else {
            format::clock(time)
        }
    };
    vec![
        theme.span(Role::Accent, format!("replay {} ", clock(cursor.at))),
        theme.span(
            Role::Dim,
            format!(
                "of {}  {state}  x{}",
                clock(cursor.end),
                format::number(cursor.speed)
            ),
        ),
    ]
}

/// The time of a replay from its beginning to its end: where something went wrong, and where it is.
pub(super) fn time(app: &App, area: Rect, buffer: &mut Buffer) {
    let Link::Replay(cursor) = &app.model.link else {
        return;
    };
    let (theme, parts) = (app.theme, usize::from(area.width));
    if area.is_empty() {
        return;
    }
    let line = theme.glyph(Glyph::Line).repeat(parts);
    buffer.set_stringn(area.x, area.y, line, parts, theme.style(Role::Border));
    for (part, _) in app
        .source
        .marks(parts)
        .iter()
        .enumerate()
        .filter(|(_, mark)| **mark)
    {
        let x = area.x + part as u16;
        buffer.set_stringn(x, area.y, theme.glyph(Glyph::Fault), 1, theme.style(Role::Bad));
    }
    let long = cursor.end.saturating_sub(cursor.begin).as_secs_f64();
    let since = cursor.at.saturating_sub(cursor.begin).as_secs_f64();
    let share = if long > 0.0 {
        (since / long).clamp(0.0, 1.0)
    } else {
        1.0
    };
    let at = area.x + (share * (parts - 1) as f64).round() as u16;
    buffer.set_stringn(
        at,
        area.y,
        theme.glyph(Glyph::Caret),
        1,
        theme.style(Role::Accent),
    );
}

/// The screens, with their digits.
pub(super) fn tabs(app: &mut App, area: Rect, buffer: &mut Buffer) {
    let theme = app.theme;
    let room = |gap: usize| -> usize {
        let names = Screen::ALL.iter().map(|screen| screen.name().len() + 2 + gap);
        names.sum::<usize>() - gap
    };
    let gap = if room(2) <= usize::from(area.width) { 2 } else { 1 };
    let whole = room(gap) <= usize::from(area.width);
    let mut x = area.x;
    app.tabs.clear();
    for screen in Screen::ALL {
        let name = if whole || screen == app.screen {
            screen.name()
        } else {
            screen.name().get(..4).unwrap_or(screen.name())
        };
        let text = format!("{} {name}", screen.digit());
        let wide = width(&text) as u16;
        if x + wide > area.right() {
            break;
        }
        let role = if screen == app.screen {
            Role::Selected
        } else {
            Role::Dim
        };
        buffer.set_string(x, area.y, &text, theme.style(role));
        app.tabs.push((screen, x, wide));
        x += wide + gap as u16;
    }
    let alarms = app.shown().alarms.len();
    if alarms > 0 {
        let text = format!("{} {alarms} alarms", theme.glyph(Glyph::Failed));
        let at = area.right().saturating_sub(width(&text) as u16);
        if at > x {
            buffer.set_string(at, area.y, &text, theme.style(Role::Bad));
        }
    }
}

/// What a list is of, how many rows it has, and its filter.
pub(super) fn head(app: &mut App, area: Rect, buffer: &mut Buffer) {
    let (theme, screen) = (app.theme, app.screen);
    let filter = app.tables.filter(screen, theme);
    let model = app.shown();
    let what = match screen {
        Screen::Submissions => {
            let (listed, all) = (model.submissions.len() as u64, model.submissions_total);
            if all > listed {
                format!("the newest {listed} of {} submissions", format::count(all))
            } else {
                "submissions".to_owned()
            }
        }
        Screen::Tasks => {
            let of = app.scope.map_or_else(
                || "tasks of all submissions".to_owned(),
                |number| format!("tasks of submission {number}"),
            );
            let more = if model.more_tasks {
                ", the first thousand rows"
            } else {
                ""
            };
            format!("{of}{more}")
        }
        Screen::Faults | Screen::Events if matches!(model.link, Link::Replay(_)) => {
            let what = if screen == Screen::Faults {
                "what had gone wrong"
            } else {
                "what had happened"
            };
            format!("{what} until then")
        }
        Screen::Faults => "what went wrong in this life of the agent, by reason and host".to_owned(),
        Screen::Events => "what happened since the monitor began".to_owned(),
        Screen::Pilots => "your pilots".to_owned(),
        other => other.name().to_owned(),
    };
    let summary = summary(app);
    let mut left = vec![app.theme.span(Role::Header, what), Span::raw("  ")];
    left.push(theme.span(Role::Dim, summary));
    let mut right = Vec::new();
    if !filter.is_empty() {
        right.push(theme.span(Role::Dim, "filter "));
        right.push(theme.span(Role::Accent, fit(&filter, 60, theme.charset).into_owned()));
    }
    two_ends(left, right, area, buffer);
}

fn summary(app: &App) -> String {
    let tables = &app.tables;
    match app.screen {
        Screen::Submissions => tables.submissions.summary(),
        Screen::Tasks => tables.tasks.summary(),
        Screen::Workers => tables.workers.summary(),
        Screen::Faults => tables.faults.summary(),
        Screen::Events => tables.events.summary(),
        Screen::Pilots => tables.pilots.summary(),
        Screen::Overview | Screen::Logs => String::new(),
    }
}

/// The keys that are valid now, or what was just said.
pub(super) fn foot(app: &App, area: Rect, buffer: &mut Buffer) {
    let theme = app.theme;
    if let Some((text, bad, _)) = &app.message {
        let role = if *bad { Role::Bad } else { Role::Good };
        let glyph = theme.glyph(if *bad { Glyph::Failed } else { Glyph::Done });
        let text = fit(text, usize::from(area.width.saturating_sub(2)), theme.charset);
        let line = Line::from(vec![
            theme.span(role, format!("{glyph} ")),
            theme.span(role, text),
        ]);
        line.render(area, buffer);
        return;
    }
    let mut spans = Vec::new();
    for hint in keys::footer(app.context(), area.width) {
        spans.push(theme.span(Role::Key, hint.key));
        spans.push(theme.span(Role::Dim, format!(" {}  ", hint.label)));
    }
    Line::from(spans).render(area, buffer);
}

/// What lies over the screen.
pub(super) fn dialog(app: &mut App, area: Rect, buffer: &mut Buffer) {
    let theme = app.theme;
    match &mut app.dialog {
        None => {}
        Some(Dialog::Confirm(confirm, _)) => confirm.draw(theme, area, buffer),
        Some(Dialog::Menu(menu, _)) => menu.draw(theme, area, buffer),
        Some(Dialog::Filter(input, _)) => {
            // What is wrong with it is said in the last line, below it.
            let rows = if input.has_error() { 2 } else { 1 };
            let line = Rect {
                y: area.bottom() - rows,
                height: rows,
                ..area
            };
            ratatui::widgets::Clear.render(line, buffer);
            input.draw(theme, line, buffer);
        }
        Some(Dialog::Help(help)) => help.draw(theme, area, buffer),
    }
}

/// Text at both ends of a line; the left one is cut where there is not room for both.
pub(super) fn two_ends(left: Vec<Span<'_>>, right: Vec<Span<'_>>, area: Rect, buffer: &mut Buffer) {
    let right = Line::from(right);
    let wide = (right.width() as u16).min(area.width);
    let rest = Rect {
        width: area.width.saturating_sub(wide + u16::from(wide > 0)),
        ..area
    };
    Line::from(left).render(rest, buffer);
    let at = Rect {
        x: area.right() - wide,
        width: wide,
        ..area
    };
    right.render(at, buffer);
}

/// A frame with a title; gives what is inside.
pub(super) fn panel(name: &str, focused: bool, theme: Theme, area: Rect, buffer: &mut Buffer) -> Rect {
    if area.height < 2 || area.width < 4 {
        return Rect { height: 0, ..area };
    }
    let role = if focused { Role::Focus } else { Role::Border };
    let line = match theme.charset {
        Charset::Unicode => "─",
        Charset::Ascii => "-",
    };
    let title = cut(name, usize::from(area.width - 4), theme.charset);
    let rest = usize::from(area.width).saturating_sub(width(&title) + 4);
    let text = vec![
        theme.span(role, format!("{line}{line} ")),
        theme.span(Role::Title, title.into_owned()),
        theme.span(role, format!(" {}", line.repeat(rest))),
    ];
    Line::from(text).render(Rect { height: 1, ..area }, buffer);
    Rect {
        y: area.y + 1,
        height: area.height - 1,
        ..area
    }
}

/// A line of label and value.
pub(super) fn pair(
    label: &str,
    value: Span<'_>,
    label_width: u16,
    theme: Theme,
    area: Rect,
    buffer: &mut Buffer,
) {
    if area.height == 0 {
        return;
    }
    buffer.set_stringn(
        area.x,
        area.y,
        label,
        usize::from(label_width.min(area.width)),
        theme.style(Role::Dim),
    );
    let rest = Rect {
        x: area.x + label_width.min(area.width),
        width: area.width.saturating_sub(label_width),
        height: 1,
        ..area
    };
    Line::from(value).render(rest, buffer);
}

/// What makes a name stand out where there are no colours.
pub(super) const BOLD: Modifier = Modifier::BOLD;
