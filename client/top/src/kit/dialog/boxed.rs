//! The frame of a dialog, in the middle of the screen.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::symbols::border;
use ratatui::widgets::{Block, Clear, Widget as _};

use crate::kit::text::{cut, width};
use crate::kit::theme::{Charset, Role, Theme};

const ASCII: border::Set<'static> = border::Set {
    top_left: "+",
    top_right: "+",
    bottom_left: "+",
    bottom_right: "+",
    vertical_left: "|",
    vertical_right: "|",
    horizontal_top: "-",
    horizontal_bottom: "-",
};

/// The lines of a frame, as the terminal can show them.
pub(super) fn lines(theme: Theme) -> border::Set<'static> {
    match theme.charset {
        Charset::Unicode => border::ROUNDED,
        Charset::Ascii => ASCII,
    }
}

/// Draws an empty frame that has room for `inner_width` by `inner_height`, or as much as `screen` has, in its middle; the room.
pub(super) fn draw(
    title: &str,
    (inner_width, inner_height): (usize, usize),
    theme: Theme,
    screen: Rect,
    buffer: &mut Buffer,
) -> Rect {
    let screen = screen.intersection(buffer.area);
    let wide = (inner_width.max(width(title) + 2) + 4).min(usize::from(screen.width)) as u16;
    let high = (inner_height + 2).min(usize::from(screen.height)) as u16;
    let outer = Rect {
        x: screen.x + (screen.width - wide) / 2,
        y: screen.y + (screen.height - high) / 2,
        width: wide,
        height: high,
    };
    Clear.render(outer, buffer);
    buffer.set_style(outer, theme.style(Role::Text));
    let block = Block::bordered()
        .border_set(lines(theme))
        .border_style(theme.style(Role::Focus));
    let mut inner = block.inner(outer);
    block.render(outer, buffer);
    let room = usize::from(outer.width.saturating_sub(4));
    if room > 0 && outer.height > 0 {
        let title = format!(" {} ", cut(title, room.saturating_sub(2), theme.charset));
        buffer.set_stringn(outer.x + 1, outer.y, title, room + 2, theme.style(Role::Title));
    }
    // A blank on both sides.
    let blank = u16::from(inner.width > 2);
    inner.x += blank;
    inner.width -= 2 * blank;
    inner
}
