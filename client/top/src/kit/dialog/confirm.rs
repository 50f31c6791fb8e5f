//! A question before something that cannot be taken back.

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use super::boxed;
use crate::kit::keys::Command;
use crate::kit::text::{fit, width, words};
use crate::kit::theme::{Role, Theme};

/// Names that are shown; of more the number is.
const NAMES: usize = 8;
/// The widest that a question is.
const WIDTH: usize = 60;

/// A question: what would be done, to what, and how many of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confirm {
    /// What is asked: `Cancel 12 tasks?`
    pub question: String,
    /// What it is done to, the first of them; text of others, made safe when drawn.
    pub names: Vec<String>,
    /// How many there are in all.
    pub count: u64,
    /// What follows from it, if that needs to be said.
    pub note: String,
    /// What yes does, in a word: `cancel`.
    pub yes: &'static str,
    answers: [(Rect, bool); 2],
}

impl Confirm {
    /// A question about `count` things, of which `names` are the first.
    pub fn new(question: impl Into<String>, names: Vec<String>, count: u64, yes: &'static str) -> Self {
        Self {
            question: question.into(),
            names,
            count,
            note: String::new(),
            yes,
            answers: [(Rect::ZERO, true), (Rect::ZERO, false)],
        }
    }

    /// With a line about what follows.
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    /// The answer that `command` gives, if it gives one.
    pub fn command(&self, command: Command) -> Option<bool> {
        match command {
            Command::Yes => Some(true),
            Command::No | Command::Back => Some(false),
            _ => None,
        }
    }

    /// The answer that a click gives, if it gives one.
    pub fn click(&self, at: Position) -> Option<bool> {
        let hit = self.answers.iter().find(|(area, _)| area.contains(at));
        hit.map(|(_, answer)| *answer)
    }

    /// Draws it over `screen`.
    pub fn draw(&mut self, theme: Theme, screen: Rect, buffer: &mut Buffer) {
        let room = usize::from(screen.width).saturating_sub(4).min(WIDTH);
        let question = words(&self.question, room, theme.charset);
        let mut lines: Vec<(String, Role)> = Vec::new();
        for name in self.names.iter().take(NAMES) {
            let name = fit(name, room.saturating_sub(2), theme.charset);
            lines.push((format!("  {name}"), Role::Marked));
        }
        let more = self.count.saturating_sub(lines.len() as u64);
        if more > 0 && !lines.is_empty() {
            lines.push((format!("  and {more} more"), Role::Dim));
        }
        let note = words(&self.note, room, theme.charset);
        lines.extend(note.into_iter().map(|line| (line, Role::Warn)));
        // Where it is too high, names go; the question and the answers stay.
        let most = usize::from(screen.height).saturating_sub(question.len() + 4);
        lines.truncate(most);
        let texts = [format!("Enter, y: {}", self.yes), "Esc, n: leave".to_owned()];
        let answers = texts.iter().map(|text| width(text)).sum::<usize>() + 3;
        let wide = lines
            .iter()
            .map(|(line, _)| width(line))
            .chain(question.iter().map(|line| width(line)));
        let wide = wide.chain([answers]).max().unwrap_or(0);
        let high = question.len() + lines.len() + 2;
        let inner = boxed::draw("Sure?", (wide, high), theme, screen, buffer);
        let question = question.into_iter().map(|line| (line, Role::Text));
        for (y, (line, role)) in (inner.y..inner.bottom()).zip(question.chain(lines)) {
            buffer.set_stringn(inner.x, y, line, usize::from(inner.width), theme.style(role));
        }
        if inner.is_empty() {
            return;
        }
        let y = inner.bottom() - 1;
        let mut x = inner.x;
        for ((area, answer), text) in self.answers.iter_mut().zip(&texts) {
            let room = inner.right().saturating_sub(x);
            let role = if *answer { Role::Bad } else { Role::Key };
            buffer.set_stringn(x, y, text, usize::from(room), theme.style(role));
            *area = Rect::new(x, y, (width(text) as u16).min(room), 1);
            x = (x + width(text) as u16 + 3).min(inner.right());
        }
    }
}
