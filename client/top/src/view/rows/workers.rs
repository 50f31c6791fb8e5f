//! Workers.

use std::time::Duration;

use crate::kit::numbers as format;
use crate::kit::query::{Field, Kind, Value};
use crate::kit::table::{Cell, Column, Rows};
use crate::kit::theme::{Role, Theme};
use crate::model::{Model, WorkerSeen};

const COLUMNS: &[Column] = &[
    Column::words("worker", 'W', 8, 24),
    Column::words("state", 'S', 10, 10),
    Column::words("host", 'H', 6, 20).priority(4),
    Column::number("cores", 'C', 7).priority(1),
    Column::number("gpus", 'U', 5).priority(6),
    Column::number("running", 'R', 4).priority(1),
    Column::number("queued", 'Q', 4).priority(3),
    Column::number("ended", 'E', 5).priority(2),
    Column::number("silent", 'I', 5).priority(3),
    Column::number("left", 'L', 5).priority(5),
    Column::number("pid", 'P', 6).priority(7),
];

const STATES: &[&str] = &["active", "suspect", "draining", "lost", "gone"];

const FIELDS: &[Field] = &[
    Field {
        name: "worker",
        kind: Kind::Text,
    },
    Field {
        name: "state",
        kind: Kind::Word(STATES),
    },
    Field {
        name: "host",
        kind: Kind::Text,
    },
    Field {
        name: "cores",
        kind: Kind::Number,
    },
    Field {
        name: "gpus",
        kind: Kind::Number,
    },
    Field {
        name: "running",
        kind: Kind::Number,
    },
    Field {
        name: "queued",
        kind: Kind::Number,
    },
    Field {
        name: "ended",
        kind: Kind::Number,
    },
    Field {
        name: "silent",
        kind: Kind::Time,
    },
    Field {
        name: "left",
        kind: Kind::Time,
    },
    Field {
        name: "pid",
        kind: Kind::Number,
    },
    Field {
        name: "idle",
        kind: Kind::Number,
    },
];

/// Workers of the model.
pub struct WorkerRows<'a> {
    rows: Vec<&'a WorkerSeen>,
    now: Duration,
    theme: Theme,
}

impl<'a> WorkerRows<'a> {
    /// Those of `model`, by number.
    pub fn new(model: &'a Model, theme: Theme) -> Self {
        Self {
            rows: model.workers.values().collect(),
            now: model.now,
            theme,
        }
    }

    /// The worker at a place.
    pub fn get(&self, row: usize) -> Option<&'a WorkerSeen> {
        self.rows.get(row).copied()
    }

    /// How much of a kind there is, and how much is in use.
    fn kind(&self, row: usize, kind: &str) -> Option<(f64, f64)> {
        resource(self.rows[row], kind)
    }

    fn since(&self, seen: &WorkerSeen) -> Duration {
        self.now.saturating_sub(seen.at)
    }
}

/// How much of a kind a worker has, and how much of it is in use.
pub fn resource(seen: &WorkerSeen, kind: &str) -> Option<(f64, f64)> {
    let row = &seen.row;
    let exact = row.fractions.iter().find(|(name, ..)| name == kind);
    if let Some((_, total, used)) = exact {
        return Some((total.as_f64(), used.as_f64()));
    }
    let whole = row.resources.iter().find(|(name, ..)| name == kind);
    whole.map(|(_, total, used)| (*total as f64, *used as f64))
}

impl Rows for WorkerRows<'_> {
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
        self.rows[row].row.worker
    }

    fn value(&self, row: usize, field: usize) -> Value<'_> {
        let seen = self.rows[row];
        let worker = &seen.row;
        match field {
            0 => worker.name.as_str().into(),
            1 => worker.state.as_str().into(),
            2 => worker.host.as_str().into(),
            3 => self.kind(row, "cores").map(|(_, used)| used).into(),
            4 => self.kind(row, "gpus").map(|(_, used)| used).into(),
            5 => worker.leases.1.into(),
            6 => worker.leases.0.into(),
            7 => worker.ended.into(),
            8 => Duration::from_millis(worker.silent_ms).into(),
            9 => {
                let left = worker.left_ms.map(Duration::from_millis);
                left.map(|left| left.saturating_sub(self.since(seen))).into()
            }
            10 => u64::from(worker.pid).into(),
            _ => self.kind(row, "cores").map(|(total, used)| total - used).into(),
        }
    }

    fn cell(&self, row: usize, column: usize) -> Cell<'_> {
        let seen = self.rows[row];
        let worker = &seen.row;
        let share = |kind: &str| match self.kind(row, kind) {
            Some((total, used)) if total > 0.0 => Cell::of(
                if used > 0.0 { Role::Used } else { Role::Idle },
                format!("{}/{}", format::number(used), format::number(total)),
            ),
            _ => Cell::missing(),
        };
        match column {
            0 => Cell::text(&worker.name),
            1 => Cell::mark(self.theme.worker(&worker.state)),
            2 => super::text(&worker.host),
            3 => share("cores"),
            4 => share("gpus"),
            5 => super::count(worker.leases.1, Role::Used),
            6 => super::count(worker.leases.0, Role::Idle),
            7 => super::count(worker.ended, Role::Text),
            8 => {
                let silent = Duration::from_millis(worker.silent_ms);
                let role = if silent.as_secs() >= 5 {
                    Role::Warn
                } else {
                    Role::Dim
                };
                Cell::of(role, format::time(silent, self.theme.charset))
            }
            9 => {
                let left = worker.left_ms.map(Duration::from_millis);
                super::time(left.map(|left| left.saturating_sub(self.since(seen))), self.theme)
            }
            _ => Cell::of(Role::Dim, worker.pid.to_string()),
        }
    }
}
