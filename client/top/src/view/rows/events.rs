//! What happened.

use std::collections::VecDeque;
use std::time::Duration;

use crate::kit::query::{Field, Kind as Of, Value};
use crate::kit::table::{Cell, Column, Rows};
use crate::kit::theme::{Glyph, Mark, Role, Theme};
use crate::model::{Happened, Kind, Model};

const COLUMNS: &[Column] = &[
    Column::number("ago", 'A', 6),
    Column::words("kind", 'K', 7, 9).priority(2),
    Column::words("about", 'B', 8, 24).priority(1),
    Column::words("what", 'W', 10, 200),
];

const KINDS: &[&str] = &["info", "good", "warning", "fault"];

const FIELDS: &[Field] = &[
    Field {
        name: "ago",
        kind: Of::Time,
    },
    Field {
        name: "kind",
        kind: Of::Word(KINDS),
    },
    Field {
        name: "about",
        kind: Of::Text,
    },
    Field {
        name: "what",
        kind: Of::Text,
    },
];

/// Entries of the model's log.
pub struct EventRows<'a> {
    rows: &'a VecDeque<Happened>,
    now: Duration,
    theme: Theme,
}

impl<'a> EventRows<'a> {
    /// Those of `model`, oldest first.
    pub fn new(model: &'a Model, theme: Theme) -> Self {
        Self {
            rows: model.log.entries(),
            now: model.now,
            theme,
        }
    }

    /// The entry at a place.
    pub fn get(&self, row: usize) -> Option<&'a Happened> {
        self.rows.get(row)
    }
}

impl Rows for EventRows<'_> {
    type Id = u64;

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn fields(&self) -> &'static [Field] {
        FIELDS
    }

    fn len(&self) -> usize {
        self.rows.len()
    }

    fn id(&self, row: usize) -> u64 {
        self.rows[row].number
    }

    fn value(&self, row: usize, field: usize) -> Value<'_> {
        let happened = &self.rows[row];
        match field {
            0 => self.now.saturating_sub(happened.at).into(),
            1 => happened.kind.name().into(),
            2 => happened.about.as_str().into(),
            _ => happened.text.as_str().into(),
        }
    }

    fn cell(&self, row: usize, column: usize) -> Cell<'_> {
        let happened = &self.rows[row];
        let (glyph, role) = match happened.kind {
            Kind::Info => (Glyph::Ready, Role::Info),
            Kind::Good => (Glyph::Done, Role::Good),
            Kind::Warn => (Glyph::Suspect, Role::Warn),
            Kind::Bad => (Glyph::Failed, Role::Bad),
        };
        match column {
            0 => Cell::of(
                Role::Dim,
                crate::kit::numbers::time(
                    Duration::from_secs(self.now.saturating_sub(happened.at).as_secs()),
                    self.theme.charset,
                ),
            ),
            1 => Cell::mark(Mark {
                glyph: self.theme.glyph(glyph),
                word: happened.kind.name(),
                role,
            }),
            2 => Cell::text(&happened.about),
            _ => Cell::text(&happened.text),
        }
    }
}
