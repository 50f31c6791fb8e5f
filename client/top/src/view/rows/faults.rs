//! What went wrong, by reason and host.

use std::time::Duration;

use scalems_protocol::event::FaultGroup;

use crate::kit::query::{Field, Kind, Value};
use crate::kit::table::{Cell, Column, Rows};
use crate::kit::theme::{Role, Theme};
use crate::model::Model;

const COLUMNS: &[Column] = &[
    Column::words("reason", 'E', 10, 30),
    Column::words("what", 'W', 8, 30).priority(2),
    Column::words("host", 'H', 6, 20).priority(2),
    Column::number("failed", 'F', 5),
    Column::number("retried", 'R', 5).priority(3),
    Column::words("last", 'T', 6, 16).priority(4),
    Column::number("ago", 'A', 5).priority(4),
    Column::words("message", 'M', 24, 120).priority(1),
];

const FIELDS: &[Field] = &[
    Field {
        name: "reason",
        kind: Kind::Text,
    },
    Field {
        name: "what",
        kind: Kind::Text,
    },
    Field {
        name: "host",
        kind: Kind::Text,
    },
    Field {
        name: "failed",
        kind: Kind::Number,
    },
    Field {
        name: "retried",
        kind: Kind::Number,
    },
    Field {
        name: "last",
        kind: Kind::Text,
    },
    Field {
        name: "ago",
        kind: Kind::Time,
    },
    Field {
        name: "message",
        kind: Kind::Text,
    },
    Field {
        name: "worker",
        kind: Kind::Text,
    },
];

/// What tells groups apart: code, what, host.
pub type FaultKey = (String, String, String);

/// Groups of the model.
pub struct FaultRows<'a> {
    rows: Vec<(&'a FaultKey, &'a FaultGroup)>,
    /// Now, since the agent began, milliseconds; none: it is not known.
    agent_ms: Option<u64>,
    theme: Theme,
}

impl<'a> FaultRows<'a> {
    /// Those of `model`.
    pub fn new(model: &'a Model, theme: Theme) -> Self {
        Self {
            rows: model.faults.iter().collect(),
            agent_ms: model.agent_ms(),
            theme,
        }
    }

    /// The group at a place.
    pub fn get(&self, row: usize) -> Option<&'a FaultGroup> {
        self.rows.get(row).map(|(_, group)| *group)
    }

    fn ago(&self, group: &FaultGroup) -> Option<Duration> {
        let now = self.agent_ms?;
        Some(Duration::from_millis(now.saturating_sub(group.at_ms)))
    }
}

impl Rows for FaultRows<'_> {
    type Id = FaultKey;

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn fields(&self) -> &'static [Field] {
        FIELDS
    }

    fn len(&self) -> usize {
        self.rows.len()
    }

    fn id(&self, row: usize) -> FaultKey {
        self.rows[row].0.clone()
    }

    fn value(&self, row: usize, field: usize) -> Value<'_> {
        let group = self.rows[row].1;
        match field {
            0 => group.code.as_str().into(),
            1 => group.what.as_str().into(),
            2 => group.host.as_str().into(),
            3 => group.failed.into(),
            4 => group.retried.into(),
            5 => Value::Text(format!("{}.{}", group.last.0, group.last.1).into()),
            6 => self.ago(group).into(),
            7 => group.message.as_str().into(),
            _ => group.worker.as_str().into(),
        }
    }

    fn cell(&self, row: usize, column: usize) -> Cell<'_> {
        let group = self.rows[row].1;
        match column {
            0 => Cell::of(Role::Bad, &group.code),
            1 => super::text(&group.what),
            2 => super::text(&group.host),
            3 => super::count(group.failed, Role::Bad),
            4 => super::count(group.retried, Role::Warn),
            5 => Cell::text(format!("{}.{}", group.last.0, group.last.1)),
            6 => super::time(self.ago(group), self.theme),
            _ => super::text(&group.message),
        }
    }
}
