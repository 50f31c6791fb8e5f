//! An input line.

use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::layout::Rect;
use unicode_segmentation::UnicodeSegmentation as _;

use crate::kit::keys::Command;
use crate::kit::text::{cut, shown, width};
use crate::kit::theme::{Glyph, Role, Theme};

/// A line that is typed, with what was typed before and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    prompt: &'static str,
    /// Without control characters.
    text: String,
    /// Where the next character goes: a byte offset at a grapheme.
    cursor: usize,
    /// Oldest first.
    history: Vec<String>,
    /// Which of them is shown; none: what is typed.
    recalled: Option<usize>,
    /// What was typed before one was shown.
    draft: String,
    error: Option<(usize, String)>,
    limit: usize,
}

impl Input {
    /// A line with `text` in it, of at most `limit` bytes.
    pub fn new(prompt: &'static str, text: &str, limit: usize) -> Self {
        let mut input = Self {
            prompt,
            text: String::new(),
            cursor: 0,
            history: Vec::new(),
            recalled: None,
            draft: String::new(),
            error: None,
            limit,
        };
        input.insert(text);
        input
    }

    /// With what was typed before, the last one last.
    pub fn history(mut self, history: &[String]) -> Self {
        self.history = history.to_vec();
        self
    }

    /// What is in it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Says what is wrong, and where: a byte offset into the text. The next change takes it away.
    pub fn set_error(&mut self, error: Option<(usize, String)>) {
        self.error = error;
    }

    /// Whether something is wrong with it.
    pub fn has_error(&self) -> bool {
        self.error.is_some()
    }

    /// Puts `text` in at the cursor: what a terminal pastes, too. What is no character of a line is left out, as is what goes
    /// beyond the limit.
    pub fn insert(&mut self, text: &str) {
        for character in text.chars().filter(|c| !c.is_control()) {
            if self.text.len() + character.len_utf8() > self.limit {
                break;
            }
            self.text.insert(self.cursor, character);
            self.cursor += character.len_utf8();
        }
        self.changed();
    }

    /// What is typed from here on is no longer what the error is about.
    fn changed(&mut self) {
        self.error = None;
        self.recalled = None;
    }

    /// Reads a key that is no command; whether the text is another one.
    pub fn key(&mut self, key: KeyEvent) -> bool {
        if key.kind == KeyEventKind::Release {
            return false;
        }
        let before = self.text.len();
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        let alt = key.modifiers.contains(KeyModifiers::ALT);
        match key.code {
            KeyCode::Char(character) if !control && !alt => self.insert(character.encode_utf8(&mut [0; 4])),
            KeyCode::Char('a') if control => self.cursor = 0,
            KeyCode::Char('e') if control => self.cursor = self.text.len(),
            KeyCode::Char('b') if control => self.cursor = self.before(),
            KeyCode::Char('f') if control => self.cursor = self.after(),
            KeyCode::Char('u') if control => self.remove(0, self.cursor),
            KeyCode::Char('k') if control => self.remove(self.cursor, self.text.len()),
            KeyCode::Char('w') if control => self.remove(self.word_before(), self.cursor),
            KeyCode::Char('d') if control => self.remove(self.cursor, self.after()),
            KeyCode::Char('h') if control => self.remove(self.before(), self.cursor),
            KeyCode::Backspace if alt => self.remove(self.word_before(), self.cursor),
            KeyCode::Backspace => self.remove(self.before(), self.cursor),
            KeyCode::Delete => self.remove(self.cursor, self.after()),
            KeyCode::Left => self.cursor = self.before(),
            KeyCode::Right => self.cursor = self.after(),
            KeyCode::Home => self.cursor = 0,
            KeyCode::End => self.cursor = self.text.len(),
            _ => {}
        }
        self.text.len() != before
    }

    /// Goes through what was typed before; whether the text is another one.
    pub fn command(&mut self, command: Command) -> bool {
        let to = match (command, self.recalled) {
            (Command::Up, None) => self.history.len().checked_sub(1),
            (Command::Up, Some(at)) => Some(at.saturating_sub(1)),
            (Command::Down, Some(at)) => Some(at + 1).filter(|at| *at < self.history.len()),
            _ => return false,
        };
        if self.recalled.is_none() {
            if to.is_none() {
                return false;
            }
            self.draft.clone_from(&self.text);
        }
        let text = to.map_or_else(|| self.draft.clone(), |at| self.history[at].clone());
        self.text.clear();
        self.cursor = 0;
        self.insert(&text);
        self.recalled = to;
        true
    }

    fn remove(&mut self, from: usize, upto: usize) {
        if from < upto {
            self.text.drain(from..upto);
            self.cursor = from;
            self.changed();
        }
    }

    fn before(&self) -> usize {
        self.text[..self.cursor]
            .grapheme_indices(true)
            .next_back()
            .map_or(0, |(at, _)| at)
    }

    fn after(&self) -> usize {
        let next = self.text[self.cursor..].graphemes(true).next();
        self.cursor + next.map_or(0, str::len)
    }

    fn word_before(&self) -> usize {
        let words = self.text[..self.cursor].trim_end();
        words
            .rfind(char::is_whitespace)
            .map_or(0, |at| at + words[at..].chars().next().map_or(0, char::len_utf8))
    }

    /// Draws it into the first line of `area`, and what is wrong into the second.
    pub fn draw(&self, theme: Theme, area: Rect, buffer: &mut Buffer) {
        let area = area.intersection(buffer.area);
        if area.is_empty() {
            return;
        }
        let right = area.right();
        let (x, _) = buffer.set_stringn(
            area.x,
            area.y,
            self.prompt,
            usize::from(area.width),
            theme.style(Role::Key),
        );
        let room = usize::from(right - x);
        if room == 0 {
            return;
        }
        // What is typed may be anything; what is drawn is safe, and all offsets are turned into columns of that.
        let column = |at: usize| width(&shown(&self.text[..at], theme.charset));
        let caret = column(self.cursor);
        // The caret has a column of its own at the end.
        let skip = (caret + 1).saturating_sub(room);
        let all = shown(&self.text, theme.charset);
        buffer.set_style(Rect::new(x, area.y, right - x, 1), theme.style(Role::Input));
        let seen = after_columns(&all, skip);
        buffer.set_stringn(x, area.y, seen, room, theme.style(Role::Input));
        let at = x + (caret - skip) as u16;
        let cell = &mut buffer[(at, area.y)];
        if self.cursor == self.text.len() {
            cell.set_symbol(theme.glyph(Glyph::Caret))
                .set_style(theme.style(Role::Accent));
        } else {
            cell.set_style(theme.style(Role::Selected));
        }
        if let Some((place, message)) = self.error.as_ref().filter(|_| area.height > 1) {
            let mut place = (*place).min(self.text.len());
            while !self.text.is_char_boundary(place) {
                place -= 1;
            }
            Self::draw_error(
                column(place).saturating_sub(skip),
                message,
                theme,
                Rect {
                    x,
                    width: right - x,
                    ..area
                },
                buffer,
            );
        }
    }

    /// A mark under the place, and the message where there is more room: behind it or before.
    fn draw_error(column: usize, message: &str, theme: Theme, area: Rect, buffer: &mut Buffer) {
        let style = theme.style(Role::Bad);
        let y = area.y + 1;
        let column = column.min(usize::from(area.width) - 1);
        let here = theme.glyph(Glyph::Here);
        let message = shown(message, theme.charset);
        let behind = usize::from(area.width).saturating_sub(column + 2);
        let message_width = width(&message);
        let before = column.saturating_sub(1);
        if message_width <= behind || before <= behind {
            let text = format!("{here} {}", cut(&message, behind, theme.charset));
            let room = usize::from(area.width) - column;
            buffer.set_stringn(area.x + column as u16, y, text, room, style);
        } else {
            let text = cut(&message, before, theme.charset);
            let start = before - width(&text);
            let room = usize::from(area.width) - start;
            buffer.set_stringn(area.x + start as u16, y, format!("{text} {here}"), room, style);
        }
    }
}

/// What comes after the first `columns` columns of safe text.
fn after_columns(text: &str, columns: usize) -> &str {
    let mut passed = 0;
    for (at, grapheme) in text.grapheme_indices(true) {
        if passed >= columns {
            return &text[at..];
        }
        passed += width(grapheme);
    }
    if columns == 0 { text } else { "" }
}
