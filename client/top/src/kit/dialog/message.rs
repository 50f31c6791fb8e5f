//! The line that says what just happened.

use std::collections::VecDeque;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::kit::text::fit;
use crate::kit::theme::{Glyph, Role, Theme};

/// Messages that are kept to be looked at again.
const KEPT: usize = 100;
/// How long one is shown, milliseconds: long enough to read two lines.
const SHOWN_MS: u64 = 6_000;

/// Messages, the last one last.
#[derive(Clone, Debug, Default)]
pub struct Messages {
    all: VecDeque<(u64, Role, String)>,
}

impl Messages {
    /// Says `text`, which need not be safe. `role` says whether it is [`Role::Good`], [`Role::Info`], [`Role::Warn`] or [`Role::Bad`];
    /// `now_ms` is the time, on any clock that goes on.
    pub fn say(&mut self, role: Role, text: impl Into<String>, now_ms: u64) {
        self.all.push_back((now_ms, role, text.into()));
        if self.all.len() > KEPT {
            self.all.pop_front();
        }
    }

    /// All that are kept.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        self.all.iter().map(|(.., text)| text.as_str())
    }

    /// When the one that is shown has been shown for long enough; none: none is shown.
    pub fn until_ms(&self, now_ms: u64) -> Option<u64> {
        self.shown(now_ms).map(|(at, ..)| at + SHOWN_MS)
    }

    /// Takes away what is shown.
    pub fn dismiss(&mut self) {
        if let Some((at, ..)) = self.all.back_mut() {
            *at = at.saturating_sub(SHOWN_MS);
        }
    }

    fn shown(&self, now_ms: u64) -> Option<&(u64, Role, String)> {
        self.all.back().filter(|(at, ..)| now_ms < at + SHOWN_MS)
    }

    /// Draws the last one into the first line of `area` while its time is; whether there is one.
    pub fn draw(&self, now_ms: u64, theme: Theme, area: Rect, buffer: &mut Buffer) -> bool {
        let area = area.intersection(buffer.area);
        let Some((_, role, text)) = self.shown(now_ms).filter(|_| !area.is_empty()) else {
            return false;
        };
        let glyph = theme.glyph(match role {
            Role::Good => Glyph::Done,
            Role::Bad => Glyph::Failed,
            Role::Warn => Glyph::Alarm,
            _ => Glyph::Dot,
        });
        let room = usize::from(area.width);
        let text = fit(text, room.saturating_sub(2), theme.charset);
        buffer.set_stringn(
            area.x,
            area.y,
            format!("{glyph} {text}"),
            room,
            theme.style(*role),
        );
        true
    }
}
