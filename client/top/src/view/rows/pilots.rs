//! This user's pilots.

use std::path::PathBuf;

use crate::kit::query::{Field, Kind, Value};
use crate::kit::table::{Cell, Column, Rows};
use crate::kit::theme::Role;

const COLUMNS: &[Column] = &[
    Column::words("pilot", 'P', 8, 30),
    Column::words("host", 'H', 6, 24).priority(1),
    Column::number("pid", 'I', 6).priority(2),
    Column::words("shown", 'S', 5, 5).priority(1),
    Column::words("file", 'F', 10, 100).priority(3),
];

const FIELDS: &[Field] = &[
    Field {
        name: "pilot",
        kind: Kind::Text,
    },
    Field {
        name: "host",
        kind: Kind::Text,
    },
    Field {
        name: "pid",
        kind: Kind::Number,
    },
    Field {
        name: "shown",
        kind: Kind::Text,
    },
    Field {
        name: "file",
        kind: Kind::Text,
    },
];

/// A pilot that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PilotFound {
    /// Its name.
    pub name: String,
    /// Its agent's host.
    pub host: String,
    /// Its agent's process.
    pub pid: u32,
    /// Its connection file.
    pub file: PathBuf,
}

/// Pilots.
pub struct PilotRows<'a> {
    rows: &'a [PilotFound],
    shown: &'a str,
}

impl<'a> PilotRows<'a> {
    /// These; the one called `shown` is on the other screens.
    pub fn new(rows: &'a [PilotFound], shown: &'a str) -> Self {
        Self { rows, shown }
    }

    /// The pilot at a place.
    pub fn get(&self, row: usize) -> Option<&'a PilotFound> {
        self.rows.get(row)
    }
}

impl Rows for PilotRows<'_> {
    type Id = PathBuf;

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn fields(&self) -> &'static [Field] {
        FIELDS
    }

    fn len(&self) -> usize {
        self.rows.len()
    }

    fn id(&self, row: usize) -> PathBuf {
        self.rows[row].file.clone()
    }

    fn value(&self, row: usize, field: usize) -> Value<'_> {
        let pilot = &self.rows[row];
        match field {
            0 => pilot.name.as_str().into(),
            1 => pilot.host.as_str().into(),
            2 => u64::from(pilot.pid).into(),
            3 if pilot.name == self.shown => "here".into(),
            3 => Value::Missing,
            _ => Value::Text(pilot.file.to_string_lossy()),
        }
    }

    fn cell(&self, row: usize, column: usize) -> Cell<'_> {
        let pilot = &self.rows[row];
        match column {
            0 => Cell::text(&pilot.name),
            1 => Cell::text(&pilot.host),
            2 => Cell::of(Role::Dim, pilot.pid.to_string()),
            3 if pilot.name == self.shown => Cell::of(Role::Good, "here"),
            3 => Cell::text(""),
            _ => Cell::of(Role::Dim, pilot.file.to_string_lossy()),
        }
    }
}
