//! How things look: colours by what they are for, glyphs by what they say.
//!
//! Colour never stands alone: every state has a glyph and a word too ([`Theme::task`], [`Theme::worker`]), so that the
//! screens say the same without colours ([`Depth::Plain`], the theme `mono`) and without Unicode ([`Charset::Ascii`]).

mod glyph;
mod palette;
mod terminal;

use ratatui::style::Style;
use ratatui::text::Span;
use scalems_protocol::TaskState;

pub use glyph::{Charset, Glyph};
pub use terminal::{ColorChoice, Depth, Terminal};

/// Themes that there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ThemeName {
    /// For a dark terminal.
    #[default]
    Dark,
    /// For a light one.
    Light,
    /// Black, white and few strong colours; it sets the background too.
    Contrast,
    /// No colours: bold, dim, underlined, reversed.
    Mono,
}

impl ThemeName {
    /// All, in the order of the menu.
    pub const ALL: [Self; 4] = [Self::Dark, Self::Light, Self::Contrast, Self::Mono];

    /// The name, as options and settings write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dark => "dark",
            Self::Light => "light",
            Self::Contrast => "contrast",
            Self::Mono => "mono",
        }
    }

    /// The theme called `name`, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|theme| theme.name() == name)
    }
}

/// What something drawn is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// All that has no other role; the whole screen is painted with it first.
    Text,
    /// What matters less: units, hints, what is over.
    Dim,
    /// Titles of screens and panels.
    Title,
    /// Frames.
    Border,
    /// The frame of the panel that has the keys.
    Focus,
    /// Names of columns.
    Header,
    /// The name of the column that is sorted by.
    Sorted,
    /// The row that is chosen.
    Selected,
    /// Rows that are marked.
    Marked,
    /// Names of keys.
    Key,
    /// What went well.
    Good,
    /// In use, running.
    Used,
    /// Idle, waiting.
    Idle,
    /// Not there though it should be.
    Down,
    /// It may soon need somebody.
    Warn,
    /// It needs somebody.
    Bad,
    /// News that ask for nothing.
    Info,
    /// The cursor of time and other things to find at once.
    Accent,
    /// An input line.
    Input,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 19] = [
        Self::Text,
        Self::Dim,
        Self::Title,
        Self::Border,
        Self::Focus,
        Self::Header,
        Self::Sorted,
        Self::Selected,
        Self::Marked,
        Self::Key,
        Self::Good,
        Self::Used,
        Self::Idle,
        Self::Down,
        Self::Warn,
        Self::Bad,
        Self::Info,
        Self::Accent,
        Self::Input,
    ];
}

/// A glyph and a word that say the same, and how both look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark<'a> {
    /// One column.
    pub glyph: &'static str,
    /// The word. One that a peer sent goes through [`crate::kit::text::shown`] before it is drawn.
    pub word: &'a str,
    /// What it is for.
    pub role: Role,
}

/// How everything looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Theme {
    /// Which.
    pub name: ThemeName,
    /// How many colours.
    pub depth: Depth,
    /// Which characters.
    pub charset: Charset,
}

impl Theme {
    /// The theme `name` on `terminal`.
    pub fn new(name: ThemeName, terminal: Terminal) -> Self {
        Self {
            name,
            depth: terminal.depth,
            charset: terminal.charset,
        }
    }

    /// How `role` looks.
    pub fn style(self, role: Role) -> Style {
        palette::style(self.name, self.depth, role)
    }

    /// The character for `glyph`: always one column.
    pub fn glyph(self, glyph: Glyph) -> &'static str {
        glyph.draw(self.charset)
    }

    /// `text` as `role` looks. The text has to be safe already ([`crate::kit::text`]).
    pub fn span<'a>(self, role: Role, text: impl Into<std::borrow::Cow<'a, str>>) -> Span<'a> {
        Span::styled(text, self.style(role))
    }

    /// A task's state.
    pub fn task(self, state: TaskState) -> Mark<'static> {
        let (glyph, role) = match state {
            TaskState::Waiting => (Glyph::Waiting, Role::Dim),
            TaskState::Ready => (Glyph::Ready, Role::Idle),
            TaskState::Leased => (Glyph::Leased, Role::Info),
            TaskState::Running => (Glyph::Running, Role::Used),
            TaskState::Done => (Glyph::Done, Role::Good),
            TaskState::Failed => (Glyph::Failed, Role::Bad),
            TaskState::Canceled => (Glyph::Canceled, Role::Warn),
        };
        Mark {
            glyph: self.glyph(glyph),
            word: state.name(),
            role,
        }
    }

    /// A worker's state, as the agent names it; a name that is new here has a glyph as well.
    pub fn worker(self, state: &str) -> Mark<'_> {
        let (glyph, role) = match state {
            "active" => (Glyph::Active, Role::Good),
            "suspect" => (Glyph::Suspect, Role::Warn),
            "draining" => (Glyph::Draining, Role::Info),
            "lost" => (Glyph::Failed, Role::Bad),
            "gone" => (Glyph::Gone, Role::Dim),
            _ => (Glyph::Suspect, Role::Text),
        };
        Mark {
            glyph: self.glyph(glyph),
            word: state,
            role,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_differ_without_colour() {
        for charset in [Charset::Unicode, Charset::Ascii] {
            let theme = Theme {
                name: ThemeName::Mono,
                depth: Depth::Plain,
                charset,
            };
            let mut tasks: Vec<_> = TaskState::ALL.map(|state| theme.task(state).glyph).to_vec();
            tasks.sort_unstable();
            tasks.dedup();
            assert_eq!(tasks.len(), TaskState::ALL.len());
            let states = ["active", "suspect", "draining", "lost", "gone"];
            let mut workers: Vec<_> = states.map(|state| theme.worker(state).glyph).to_vec();
            workers.sort_unstable();
            workers.dedup();
            assert_eq!(workers.len(), states.len());
            assert_eq!(theme.worker("new").word, "new");
        }
    }

    #[test]
    fn names_lead_back() {
        for theme in ThemeName::ALL {
            assert_eq!(ThemeName::from_name(theme.name()), Some(theme));
        }
        assert_eq!(ThemeName::from_name("blue"), None);
    }
}
