//! Submissions.

use std::time::Duration;

use crate::kit::query::{Field, Kind, Value};
use crate::kit::table::{Cell, Column, Rows};
use crate::kit::theme::{Role, Theme};
use crate::model::{Model, SubmissionSeen};

const COLUMNS: &[Column] = &[
    Column::number("id", 'I', 4),
    Column::words("name", 'A', 16, 40),
    Column::words("mode", 'M', 15, 24).priority(6),
    Column::words("state", 'S', 10, 10).priority(2),
    Column::number("tasks", 'T', 5).priority(1),
    Column::number("waiting", 'W', 5).priority(5),
    Column::number("running", 'R', 5).priority(2),
    Column::number("done", 'D', 5).priority(1),
    Column::number("failed", 'F', 5).priority(1),
    Column::number("canceled", 'C', 5).priority(7),
    Column::number("age", 'E', 5).priority(3),
    Column::words("session", 'O', 6, 20).priority(8),
];

const STATES: &[&str] = &["running", "waiting", "done", "failed", "canceled", "open"];

const FIELDS: &[Field] = &[
    Field {
        name: "id",
        kind: Kind::Number,
    },
    Field {
        name: "name",
        kind: Kind::Text,
    },
    Field {
        name: "mode",
        kind: Kind::Text,
    },
    Field {
        name: "state",
        kind: Kind::Word(STATES),
    },
    Field {
        name: "tasks",
        kind: Kind::Number,
    },
    Field {
        name: "waiting",
        kind: Kind::Number,
    },
    Field {
        name: "running",
        kind: Kind::Number,
    },
    Field {
        name: "done",
        kind: Kind::Number,
    },
    Field {
        name: "failed",
        kind: Kind::Number,
    },
    Field {
        name: "canceled",
        kind: Kind::Number,
    },
    Field {
        name: "age",
        kind: Kind::Time,
    },
    Field {
        name: "session",
        kind: Kind::Text,
    },
];

/// Submissions of the model.
pub struct SubmissionRows<'a> {
    rows: Vec<&'a SubmissionSeen>,
    now: Duration,
    theme: Theme,
}

impl<'a> SubmissionRows<'a> {
    /// Those of `model`, the newest first.
    pub fn new(model: &'a Model, theme: Theme) -> Self {
        Self {
            rows: model.submissions.values().rev().collect(),
            now: model.now,
            theme,
        }
    }

    /// The submission at a place.
    pub fn get(&self, row: usize) -> Option<&'a SubmissionSeen> {
        self.rows.get(row).copied()
    }

    fn age(&self, row: &SubmissionSeen) -> Duration {
        Duration::from_millis(row.row.age_ms) + self.now.saturating_sub(row.at)
    }
}

/// A word for how a submission is, and what that is for.
pub fn state(seen: &SubmissionSeen) -> (&'static str, Role) {
    let tasks = &seen.row.tasks;
    if tasks.running > 0 {
        ("running", Role::Used)
    } else if tasks.unfinished() > 0 {
        ("waiting", Role::Idle)
    } else if tasks.failed > 0 {
        ("failed", Role::Bad)
    } else if seen.row.open {
        ("open", Role::Info)
    } else if tasks.canceled > 0 {
        ("canceled", Role::Warn)
    } else {
        ("done", Role::Good)
    }
}

impl Rows for SubmissionRows<'_> {
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
        self.rows[row].row.submission
    }

    fn value(&self, row: usize, field: usize) -> Value<'_> {
        let seen = self.rows[row];
        let (row, tasks) = (&seen.row, &seen.row.tasks);
        match field {
            0 => row.submission.into(),
            1 => row.name.as_deref().into(),
            2 => row.mode.as_str().into(),
            3 => state(seen).0.into(),
            4 => tasks.total().into(),
            5 => (tasks.waiting + tasks.ready + tasks.leased).into(),
            6 => tasks.running.into(),
            7 => tasks.done.into(),
            8 => tasks.failed.into(),
            9 => tasks.canceled.into(),
            10 => self.age(seen).into(),
            _ => row.session.as_str().into(),
        }
    }

    fn cell(&self, row: usize, column: usize) -> Cell<'_> {
        let seen = self.rows[row];
        let (row, tasks) = (&seen.row, &seen.row.tasks);
        match column {
            0 => Cell::text(row.submission.to_string()),
            1 => super::text(row.name.as_deref().unwrap_or_default()),
            2 => Cell::of(Role::Dim, &row.mode),
            3 => {
                let (word, role) = state(seen);
                let glyph = self.theme.glyph(match word {
                    "running" => crate::kit::theme::Glyph::Running,
                    "waiting" => crate::kit::theme::Glyph::Ready,
                    "failed" => crate::kit::theme::Glyph::Failed,
                    "canceled" => crate::kit::theme::Glyph::Canceled,
                    "open" => crate::kit::theme::Glyph::Waiting,
                    _ => crate::kit::theme::Glyph::Done,
                });
                Cell::mark(crate::kit::theme::Mark { glyph, word, role })
            }
            4 => super::count(tasks.total(), Role::Text),
            5 => super::count(tasks.waiting + tasks.ready + tasks.leased, Role::Idle),
            6 => super::count(tasks.running, Role::Used),
            7 => super::count(tasks.done, Role::Good),
            8 => super::count(tasks.failed, Role::Bad),
            9 => super::count(tasks.canceled, Role::Warn),
            10 => super::time(Some(self.age(seen)), self.theme),
            _ => super::text(&row.session),
        }
    }
}
