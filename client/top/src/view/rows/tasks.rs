//! Tasks: neighbours that are alike are one row.

use std::time::Duration;

use scalems_protocol::client::TaskRow;

use crate::kit::query::{Field, Kind, Value};
use crate::kit::table::{Cell, Column, Rows};
use crate::kit::theme::{Role, Theme};

const COLUMNS: &[Column] = &[
    Column::words("task", 'T', 8, 24),
    Column::words("state", 'S', 10, 10),
    Column::number("count", 'C', 5).priority(4),
    Column::number("attempt", 'A', 3).priority(3),
    Column::words("worker", 'W', 6, 20).priority(2),
    Column::number("ran", 'R', 6).priority(2),
    Column::number("exit", 'X', 4).priority(3),
    Column::words("error", 'E', 24, 120).priority(1),
];

const STATES: &[&str] = &[
    "waiting", "ready", "leased", "running", "done", "failed", "canceled",
];

const FIELDS: &[Field] = &[
    Field {
        name: "task",
        kind: Kind::Text,
    },
    Field {
        name: "state",
        kind: Kind::Word(STATES),
    },
    Field {
        name: "count",
        kind: Kind::Number,
    },
    Field {
        name: "attempt",
        kind: Kind::Number,
    },
    Field {
        name: "worker",
        kind: Kind::Text,
    },
    Field {
        name: "ran",
        kind: Kind::Time,
    },
    Field {
        name: "exit",
        kind: Kind::Number,
    },
    Field {
        name: "error",
        kind: Kind::Text,
    },
    Field {
        name: "retries",
        kind: Kind::Number,
    },
    Field {
        name: "index",
        kind: Kind::Number,
    },
];

/// A task, or the first of several: submission and offset.
pub type TaskId = (u64, u32);

/// A page of tasks.
pub struct TaskRows<'a> {
    rows: &'a [TaskRow],
    theme: Theme,
}

impl<'a> TaskRows<'a> {
    /// These.
    pub fn new(rows: &'a [TaskRow], theme: Theme) -> Self {
        Self { rows, theme }
    }

    /// The tasks at a place.
    pub fn get(&self, row: usize) -> Option<&'a TaskRow> {
        self.rows.get(row)
    }
}

/// The index of the first task of a row.
pub fn first_index(row: &TaskRow) -> u32 {
    row.indices
        .0
        .saturating_add(row.indices.1.saturating_mul(row.run.lo))
}

/// What people call them: `5.7`, or of several `5.0-99`.
pub fn name(row: &TaskRow) -> String {
    let first = first_index(row);
    let count = row.run.count();
    let submission = row.run.submission;
    if count <= 1 {
        return format!("{submission}.{first}");
    }
    let step = row.indices.1;
    let last = first.saturating_add(step.saturating_mul(count - 1));
    let every = if step == 1 {
        String::new()
    } else {
        format!(":{step}")
    };
    format!("{submission}.{first}-{last}{every}")
}

fn error(row: &TaskRow) -> Option<String> {
    let error = row.error.as_ref()?;
    Some(match &error.class {
        Some(class) => format!("{class}: {}", error.message),
        None => error.message.clone(),
    })
}

impl Rows for TaskRows<'_> {
    type Id = TaskId;

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn fields(&self) -> &'static [Field] {
        FIELDS
    }

    fn len(&self) -> usize {
        self.rows.len()
    }

    fn id(&self, row: usize) -> TaskId {
        (self.rows[row].run.submission, self.rows[row].run.lo)
    }

    fn key(&self, row: usize, column: usize) -> Value<'_> {
        if column == 0 {
            let run = &self.rows[row].run;
            // By number, not by name.
            return Value::Number(run.submission as f64 * f64::from(u32::MAX) + f64::from(run.lo));
        }
        self.value(row, column)
    }

    fn value(&self, row: usize, field: usize) -> Value<'_> {
        let row = &self.rows[row];
        match field {
            0 => Value::Text(name(row).into()),
            1 => row.state.name().into(),
            2 => u64::from(row.run.count()).into(),
            3 => u64::from(row.run.attempt).into(),
            4 => row.worker.as_deref().into(),
            5 if row.ran_us == 0 => Value::Missing,
            5 => Duration::from_micros(row.ran_us).into(),
            6 => row.exit_code.map(f64::from).into(),
            7 => error(row).map_or(Value::Missing, |error| Value::Text(error.into())),
            8 => u64::from(row.run.attempt.saturating_sub(1)).into(),
            _ => u64::from(first_index(row)).into(),
        }
    }

    fn cell(&self, row: usize, column: usize) -> Cell<'_> {
        let row = &self.rows[row];
        match column {
            0 => Cell::text(name(row)),
            1 => Cell::mark(self.theme.task(row.state)),
            2 => super::count(u64::from(row.run.count()), Role::Dim),
            3 => super::count(
                u64::from(row.run.attempt),
                if row.run.attempt > 1 {
                    Role::Warn
                } else {
                    Role::Dim
                },
            ),
            4 => super::text(row.worker.as_deref().unwrap_or_default()),
            5 => super::time(
                (row.ran_us > 0).then(|| Duration::from_micros(row.ran_us)),
                self.theme,
            ),
            6 => row.exit_code.map_or_else(Cell::missing, |code| {
                Cell::of(if code == 0 { Role::Dim } else { Role::Bad }, code.to_string())
            }),
            _ => error(row).map_or_else(|| Cell::text(""), |error| Cell::of(Role::Bad, error)),
        }
    }
}
