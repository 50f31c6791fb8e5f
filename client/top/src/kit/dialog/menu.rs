//! A list to choose from.

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use super::boxed;
use crate::kit::keys::Command;
use crate::kit::text::{Align, fit, pad, width};
use crate::kit::theme::{Glyph, Role, Theme};

/// Something to choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// What it is called.
    pub label: String,
    /// The letter that takes it at once; none: it has no letter.
    pub letter: Option<char>,
    /// Whether it is the one that holds now, or one that is switched on.
    pub is_on: bool,
}

/// A list to choose from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Menu {
    title: String,
    items: Vec<Item>,
    position: usize,
    top: usize,
    area: Rect,
}

impl Menu {
    /// A menu, at the first item that is on.
    pub fn new(title: impl Into<String>, items: Vec<Item>) -> Self {
        Self {
            title: title.into(),
            position: items.iter().position(|item| item.is_on).unwrap_or(0),
            items,
            top: 0,
            area: Rect::ZERO,
        }
    }

    /// Says anew which items are on, for menus that stay open.
    pub fn set_on(&mut self, mut is_on: impl FnMut(usize) -> bool) {
        for (number, item) in self.items.iter_mut().enumerate() {
            item.is_on = is_on(number);
        }
    }

    /// What `command` does: the item that was taken, by its number, if one was.
    pub fn command(&mut self, command: Command) -> Option<usize> {
        let last = self.items.len().saturating_sub(1);
        let page = usize::from(self.area.height).max(1);
        self.position = match command {
            Command::Up => self.position.checked_sub(1).unwrap_or(last),
            Command::Down if self.position >= last => 0,
            Command::Down => self.position + 1,
            Command::PageUp => self.position.saturating_sub(page),
            Command::PageDown => (self.position + page).min(last),
            Command::First => 0,
            Command::Last => last,
            Command::Open => return (self.position < self.items.len()).then_some(self.position),
            _ => self.position,
        };
        None
    }

    /// The item that a letter takes. In whatever case, if none has it in this one.
    pub fn letter(&mut self, letter: char) -> Option<usize> {
        let find =
            |same: &dyn Fn(char) -> bool| self.items.iter().position(|item| item.letter.is_some_and(same));
        let found = find(&|own| own == letter).or_else(|| find(&|own| own.eq_ignore_ascii_case(&letter)));
        self.position = found.unwrap_or(self.position);
        found
    }

    /// The item that a click takes.
    pub fn click(&mut self, at: Position) -> Option<usize> {
        if !self.area.contains(at) {
            return None;
        }
        let number = self.top + usize::from(at.y - self.area.y);
        let found = (number < self.items.len()).then_some(number);
        self.position = found.unwrap_or(self.position);
        found
    }

    /// Draws it over `screen`.
    pub fn draw(&mut self, theme: Theme, screen: Rect, buffer: &mut Buffer) {
        let room = usize::from(screen.width).saturating_sub(4);
        let on = theme.glyph(Glyph::Done);
        let line = |item: &Item, columns: usize| {
            let on = if item.is_on { on } else { " " };
            let letter = item.letter.map_or(String::new(), String::from);
            let label = fit(&item.label, columns.saturating_sub(6), theme.charset);
            format!(
                "{on} {} {letter}",
                pad(&label, columns.saturating_sub(5), Align::Left, theme.charset)
            )
        };
        let wide = self
            .items
            .iter()
            .map(|item| width(&fit(&item.label, room, theme.charset)) + 6);
        let wide = wide.max().unwrap_or(0).min(room);
        self.area = boxed::draw(&self.title, (wide, self.items.len()), theme, screen, buffer);
        let page = usize::from(self.area.height).max(1);
        let last = self.items.len().saturating_sub(page);
        self.top = self
            .top
            .clamp(self.position.saturating_sub(page - 1), self.position)
            .min(last);
        let seen = self.items.iter().enumerate().skip(self.top);
        for (y, (number, item)) in (self.area.y..self.area.bottom()).zip(seen) {
            let role = if number == self.position {
                Role::Selected
            } else {
                Role::Text
            };
            let columns = usize::from(self.area.width);
            buffer.set_stringn(self.area.x, y, line(item, columns), columns, theme.style(role));
        }
        let right = self.area.right();
        for (is_more, y, glyph) in [
            (self.top > 0, self.area.y, Glyph::MoreUp),
            (
                self.top < last,
                self.area.bottom().saturating_sub(1),
                Glyph::MoreDown,
            ),
        ] {
            if is_more && buffer.area.contains(Position::new(right, y)) {
                buffer.set_stringn(right, y, theme.glyph(glyph), 1, theme.style(Role::Dim));
            }
        }
    }
}
