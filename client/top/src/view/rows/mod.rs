//! The rows of each list: how the model is seen as a table.

mod events;
mod faults;
mod pilots;
mod submissions;
mod tasks;
mod workers;

pub use events::EventRows;
pub use faults::{FaultKey, FaultRows};
pub use pilots::{PilotFound, PilotRows};
pub use submissions::SubmissionRows;
pub use tasks::{TaskId, TaskRows};
pub use workers::WorkerRows;

use std::time::Duration;

use crate::kit::numbers as format;
use crate::kit::table::Cell;
use crate::kit::theme::{Role, Theme};

/// A count that is of no interest when it is 0.
fn count<'a>(number: u64, role: Role) -> Cell<'a> {
    let role = if number == 0 { Role::Dim } else { role };
    Cell::of(role, format::count(number))
}

fn time<'a>(time: Option<Duration>, theme: Theme) -> Cell<'a> {
    time.map_or_else(Cell::missing, |time| {
        Cell::text(format::time(time, theme.charset))
    })
}

fn text(text: &str) -> Cell<'_> {
    if text.is_empty() {
        Cell::missing()
    } else {
        Cell::text(text)
    }
}

pub use submissions::state as submission_state;
pub use tasks::{first_index, name as task_name};
pub use workers::resource;
