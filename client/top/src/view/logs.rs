//! What a task printed: what it wrote is shown, never obeyed.

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::Span;
use ratatui::widgets::Widget as _;

use super::frame::two_ends;
use crate::app::{App, LogView, Stream};
use crate::kit::numbers as format;
use crate::kit::text::{cut, fit, line, wrap};
use crate::kit::theme::{Charset, Role};

/// Draws it.
pub(super) fn draw(app: &mut App, area: Rect, buffer: &mut Buffer) {
    let theme = app.theme;
    let [head, body] = Layout::vertical([Constraint::Length(1), Constraint::Min(1)]).areas(area);
    let Some(log) = &mut app.logs else {
        theme
            .span(
                Role::Dim,
                "Choose a task on another screen and press l to see what it prints.",
            )
            .render(body, buffer);
        return;
    };
    let lines = lines(log, usize::from(body.width), theme.charset);
    let page = usize::from(body.height);
    log.size = (lines.len(), page);
    let last = lines.len().saturating_sub(page);
    if log.follow {
        log.top = last;
    }
    log.top = log.top.min(last);
    for (row, (role, text)) in body.rows().zip(lines.iter().skip(log.top)) {
        theme.span(*role, text.as_str()).render(row, buffer);
    }
    let mut left = vec![theme.span(Role::Header, format!("task {}.{}", log.submission, log.index))];
    if log.attempt > 0 {
        left.push(theme.span(Role::Dim, format!("  attempt {}", log.attempt)));
    }
    let stream = match log.stream {
        Stream::Both => "output and errors",
        Stream::Out => "output",
        Stream::Err => "errors",
    };
    left.push(theme.span(Role::Dim, format!("  {stream}")));
    if let Some(note) = &log.note {
        left.push(theme.span(Role::Info, format!("  {}", fit(note, 80, theme.charset))));
    }
    let mut right = Vec::new();
    if !log.filter.is_empty() {
        right.push(theme.span(Role::Accent, format!("{}  ", fit(&log.filter, 40, theme.charset))));
    }
    let place = format!(
        "{}-{} of {}",
        log.top + 1,
        (log.top + page).min(lines.len()),
        lines.len()
    );
    right.push(theme.span(Role::Dim, place));
    right.push(Span::raw(if log.follow { "  following" } else { "" }));
    two_ends(left, right, head, buffer);
}

/// The lines that are shown, each with what it is for.
fn lines(log: &LogView, columns: usize, charset: Charset) -> Vec<(Role, String)> {
    let mut all = Vec::new();
    let streams = [
        (Stream::Out, &log.stdout, Role::Text),
        (Stream::Err, &log.stderr, Role::Warn),
    ];
    for (stream, printed, role) in streams {
        if log.stream != Stream::Both && log.stream != stream || printed.bytes.is_empty() {
            continue;
        }
        if log.stream == Stream::Both && stream == Stream::Err {
            all.push((Role::Dim, "-- errors --".to_owned()));
        }
        if printed.from > 0 {
            let text = format!("-- {} before are not kept --", format::bytes(printed.from));
            all.push((Role::Dim, text));
        }
        let text = String::from_utf8_lossy(&printed.bytes);
        for one in text.lines() {
            let safe = line(one, charset);
            if !log.filter.is_empty() && !safe.contains(log.filter.as_str()) {
                continue;
            }
            if log.wrap {
                all.extend(wrap(&safe, columns.max(1)).map(|part| (role, part.to_owned())));
            } else {
                let shifted: String = safe.chars().skip(log.left).collect();
                all.push((role, cut(&shifted, columns, charset).into_owned()));
            }
        }
    }
    all
}
