//! The help, which can be searched.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::{Input, boxed};
use crate::kit::keys::{Command, Context, HelpLine, help, search};
use crate::kit::text::{Align, pad, width, words};
use crate::kit::theme::{Glyph, Role, Theme};

/// The widest that the help is.
const WIDTH: usize = 100;
/// The widest that its keys are.
const KEYS: usize = 24;

/// The help over a screen.
#[derive(Clone, Debug)]
pub struct Help {
    context: Context,
    search: Input,
    is_searching: bool,
    top: usize,
    /// Lines that were there, and that were seen, the last time.
    seen: (usize, usize),
}

impl Help {
    /// The help for who was in `context`.
    pub fn new(context: Context) -> Self {
        Self {
            context,
            search: Input::new("/", "", 60),
            is_searching: false,
            top: 0,
            seen: (0, 1),
        }
    }

    /// Whether it reads what is typed ([`crate::kit::keys::Place::Input`]).
    pub fn is_searching(&self) -> bool {
        self.is_searching
    }

    /// The line that is searched by.
    pub fn search(&mut self) -> &mut Input {
        self.top = 0;
        &mut self.search
    }

    /// Does what `command` asks; whether the help stays.
    pub fn command(&mut self, command: Command) -> bool {
        let (lines, page) = self.seen;
        let last = lines.saturating_sub(page);
        if self.is_searching {
            match command {
                Command::Open => self.is_searching = false,
                Command::Back => {
                    self.is_searching = false;
                    self.search = Input::new("/", "", 60);
                }
                _ => {}
            }
            return true;
        }
        self.top = match command {
            Command::Up => self.top.saturating_sub(1),
            Command::Down => self.top + 1,
            Command::HalfUp => self.top.saturating_sub(page / 2),
            Command::HalfDown => self.top + page / 2,
            Command::PageUp => self.top.saturating_sub(page),
            Command::PageDown => self.top + page,
            Command::First => 0,
            Command::Last => last,
            Command::Filter => {
                self.is_searching = true;
                self.top
            }
            // First out of the search, then out of the help.
            Command::Back if !self.search.text().is_empty() => {
                self.search = Input::new("/", "", 60);
                0
            }
            Command::Back | Command::Help => return false,
            _ => self.top,
        }
        .min(last);
        true
    }

    /// Draws it over `screen`.
    pub fn draw(&mut self, theme: Theme, screen: Rect, buffer: &mut Buffer) {
        let found = search(help(self.context), self.search.text());
        let wide = usize::from(screen.width).saturating_sub(4).min(WIDTH);
        let keys = found
            .iter()
            .map(|line| width(&line.keys))
            .max()
            .unwrap_or(0)
            .min(KEYS.min(wide / 3));
        let room = wide.saturating_sub(keys + 4);
        let mut lines: Vec<(String, Role)> = Vec::new();
        let mut group = "";
        for line in &found {
            if line.group != group {
                if !group.is_empty() {
                    lines.push((String::new(), Role::Text));
                }
                group = line.group;
                lines.push((group.to_owned(), Role::Title));
            }
            lines.extend(Self::entry(line, keys, room, theme));
        }
        if found.is_empty() {
            lines.push(("No key does that.".to_owned(), Role::Dim));
        }
        let has_search = self.is_searching || !self.search.text().is_empty();
        let high = lines.len() + usize::from(has_search);
        let mut inner = boxed::draw("Keys", (wide, high), theme, screen, buffer);
        if has_search && inner.height > 0 {
            self.search.draw(theme, Rect { height: 1, ..inner }, buffer);
            inner.y += 1;
            inner.height -= 1;
        }
        self.seen = (lines.len(), usize::from(inner.height).max(1));
        self.top = self.top.min(lines.len().saturating_sub(self.seen.1));
        let below = self.top + usize::from(inner.height) < lines.len();
        let above = self.top > 0;
        for (y, (line, role)) in (inner.y..inner.bottom()).zip(lines.into_iter().skip(self.top)) {
            buffer.set_stringn(inner.x, y, line, usize::from(inner.width), theme.style(role));
        }
        if inner.is_empty() {
            return;
        }
        for (is_more, y, glyph) in [
            (above, inner.y, Glyph::MoreUp),
            (below, inner.bottom() - 1, Glyph::MoreDown),
        ] {
            if is_more && inner.right() < buffer.area.right() {
                buffer.set_stringn(inner.right(), y, theme.glyph(glyph), 1, theme.style(Role::Accent));
            }
        }
    }

    /// A key and what it does, in as many lines as that takes. A mark says that it does so where one was.
    fn entry(line: &HelpLine, keys: usize, room: usize, theme: Theme) -> Vec<(String, Role)> {
        let here = if line.here { theme.glyph(Glyph::Dot) } else { " " };
        let role = if line.here { Role::Text } else { Role::Dim };
        let mut names = words(&line.keys, keys, theme.charset).into_iter();
        let mut texts = words(line.text, room.max(8), theme.charset).into_iter();
        let mut lines = Vec::new();
        let mut mark = here;
        loop {
            let (name, text) = (names.next(), texts.next());
            if name.is_none() && text.is_none() {
                return lines;
            }
            let name = pad(&name.unwrap_or_default(), keys, Align::Left, theme.charset);
            lines.push((format!("{mark} {name}  {}", text.unwrap_or_default()), role));
            mark = " ";
        }
    }
}
