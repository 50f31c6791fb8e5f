//! The lists of all screens, and what is kept of them.

use std::path::PathBuf;

use crate::kit::keys::{Command, Screen};
use crate::kit::query::QueryError;
use crate::kit::settings::{Settings, TableSettings};
use crate::kit::table::{Column, Hit, Rows, Table};
use crate::kit::theme::Theme;
use crate::model::Model;
use crate::view::rows::{EventRows, FaultKey, PilotFound, TaskId};

/// The lists.
pub struct Tables {
    /// Submissions.
    pub submissions: Table<u64>,
    /// Tasks.
    pub tasks: Table<TaskId>,
    /// Workers.
    pub workers: Table<u64>,
    /// What went wrong.
    pub faults: Table<FaultKey>,
    /// What happened.
    pub events: Table<u64>,
    /// Pilots.
    pub pilots: Table<PathBuf>,
    /// Whether the list of what happened stays at its end.
    pub follows: bool,
}

/// Does the same with the list of a screen, whatever its rows are; `None` where the screen has none.
macro_rules! with_list {
    ($tables:expr, $screen:expr, $model:expr, $pilots:expr, $theme:expr, |$table:ident, $rows:ident| $body:expr) => {
        match $screen {
            $crate::kit::keys::Screen::Submissions => {
                let ($table, $rows) = (
                    &mut $tables.submissions,
                    $crate::view::rows::SubmissionRows::new($model, $theme),
                );
                Some($body)
            }
            $crate::kit::keys::Screen::Tasks => {
                let ($table, $rows) = (
                    &mut $tables.tasks,
                    $crate::view::rows::TaskRows::new(&$model.tasks, $theme),
                );
                Some($body)
            }
            $crate::kit::keys::Screen::Workers => {
                let ($table, $rows) = (
                    &mut $tables.workers,
                    $crate::view::rows::WorkerRows::new($model, $theme),
                );
                Some($body)
            }
            $crate::kit::keys::Screen::Faults => {
                let ($table, $rows) = (
                    &mut $tables.faults,
                    $crate::view::rows::FaultRows::new($model, $theme),
                );
                Some($body)
            }
            $crate::kit::keys::Screen::Events => {
                let ($table, $rows) = (
                    &mut $tables.events,
                    $crate::view::rows::EventRows::new($model, $theme),
                );
                Some($body)
            }
            $crate::kit::keys::Screen::Pilots => {
                let ($table, $rows) = (
                    &mut $tables.pilots,
                    $crate::view::rows::PilotRows::new($pilots, &$model.pilot),
                );
                Some($body)
            }
            $crate::kit::keys::Screen::Overview | $crate::kit::keys::Screen::Logs => None,
        }
    };
}
pub(crate) use with_list;

impl Tables {
    /// As they were kept.
    pub fn new(settings: &Settings) -> Self {
        let mut tables = Self {
            submissions: Table::default(),
            tasks: Table::default(),
            workers: Table::default(),
            faults: Table::sorted_by(3, true),
            events: Table::default(),
            pilots: Table::default(),
            follows: true,
        };
        let (model, theme) = (
            Model::default(),
            Theme::new(settings.theme, crate::kit::theme::Terminal::default()),
        );
        for screen in Screen::ALL {
            if let Some(kept) = settings.tables.get(screen.name()) {
                with_list!(tables, screen, &model, &[], theme, |table, rows| {
                    restore(table, rows.columns(), kept);
                });
            }
        }
        tables
    }

    /// What is to be kept of the list of `screen`.
    pub fn kept(&mut self, screen: Screen, theme: Theme) -> Option<TableSettings> {
        let model = Model::default();
        with_list!(self, screen, &model, &[], theme, |table, rows| keep(
            table,
            rows.columns()
        ))
    }

    /// Looks at all rows of a screen anew.
    pub fn update(&mut self, screen: Screen, model: &Model, pilots: &[PilotFound], theme: Theme) {
        with_list!(self, screen, model, pilots, theme, |table, rows| table
            .update(&rows));
        if screen == Screen::Events && self.follows {
            let rows = EventRows::new(model, theme);
            self.events.command(Command::Last, &rows);
        }
    }

    /// Moves, marks, scrolls in the list of a screen. Whether there was anything to do.
    pub fn command(
        &mut self,
        command: Command,
        screen: Screen,
        model: &Model,
        pilots: &[PilotFound],
        theme: Theme,
    ) -> bool {
        with_list!(self, screen, model, pilots, theme, |table, rows| table
            .command(command, &rows))
        .unwrap_or(false)
    }

    /// The columns of a screen's list.
    pub fn columns(&mut self, screen: Screen, theme: Theme) -> &'static [Column] {
        let model = Model::default();
        with_list!(self, screen, &model, &[], theme, |_table, rows| rows.columns()).unwrap_or_default()
    }

    /// Sorts the list of a screen by a column, or the other way round.
    pub fn sort_by(&mut self, screen: Screen, column: usize, theme: Theme) {
        let model = Model::default();
        with_list!(self, screen, &model, &[], theme, |table, rows| table
            .sort_by(rows.columns(), column));
    }

    /// By which column the list of a screen is sorted.
    pub fn sort(&mut self, screen: Screen, theme: Theme) -> Option<(usize, bool)> {
        let model = Model::default();
        with_list!(self, screen, &model, &[], theme, |table, _rows| table.sort()).flatten()
    }

    /// Shows or hides a column.
    pub fn toggle_column(&mut self, screen: Screen, column: usize, theme: Theme) {
        let model = Model::default();
        with_list!(self, screen, &model, &[], theme, |table, _rows| table
            .toggle_column(column));
    }

    /// Whether a column of a screen's list is hidden.
    pub fn is_hidden(&mut self, screen: Screen, column: usize, theme: Theme) -> bool {
        let model = Model::default();
        with_list!(self, screen, &model, &[], theme, |table, _rows| table
            .hidden()
            .contains(&column))
        .unwrap_or(false)
    }

    /// The filter of a screen's list.
    pub fn filter(&mut self, screen: Screen, theme: Theme) -> String {
        let model = Model::default();
        with_list!(self, screen, &model, &[], theme, |table, _rows| table
            .filter()
            .to_owned())
        .unwrap_or_default()
    }

    /// Sets the filter of a screen's list.
    pub fn set_filter(&mut self, screen: Screen, text: &str, theme: Theme) -> Result<(), QueryError> {
        let model = Model::default();
        with_list!(self, screen, &model, &[], theme, |table, rows| table
            .set_filter(text, rows.fields()))
        .unwrap_or(Ok(()))
    }

    /// Chooses the row at a place of those listed. Whether it was chosen already.
    pub fn choose_at(
        &mut self,
        screen: Screen,
        position: usize,
        model: &Model,
        pilots: &[PilotFound],
        theme: Theme,
    ) -> bool {
        with_list!(self, screen, model, pilots, theme, |table, rows| {
            let again = table.position() == position;
            table.choose_at(position, &rows);
            again
        })
        .unwrap_or(false)
    }

    /// Scrolls as a wheel does.
    pub fn scroll(
        &mut self,
        lines: isize,
        screen: Screen,
        model: &Model,
        pilots: &[PilotFound],
        theme: Theme,
    ) {
        if screen == Screen::Events {
            self.follows = false;
        }
        with_list!(self, screen, model, pilots, theme, |table, rows| table
            .scroll(lines, &rows));
    }

    /// What lies under the mouse in the list of a screen.
    pub fn hit(&mut self, screen: Screen, at: ratatui::layout::Position, theme: Theme) -> Option<Hit> {
        let model = Model::default();
        with_list!(self, screen, &model, &[], theme, |table, _rows| table.hit(at)).flatten()
    }
}

fn restore<Id: Clone + Ord>(table: &mut Table<Id>, columns: &[Column], kept: &TableSettings) {
    let place = |name: &String| columns.iter().position(|column| column.name == name);
    if let Some(column) = kept.sort.as_ref().and_then(place) {
        table.set_sort(Some((column, kept.descending)));
    }
    for column in kept.hidden.iter().filter_map(place) {
        table.toggle_column(column);
    }
}

fn keep<Id: Clone + Ord>(table: &Table<Id>, columns: &[Column]) -> TableSettings {
    let name = |column: usize| columns.get(column).map(|column| column.name.to_owned());
    let sort = table.sort();
    TableSettings {
        sort: sort.and_then(|(column, _)| name(column)),
        descending: sort.is_some_and(|(_, descending)| descending),
        hidden: table.hidden().iter().filter_map(|column| name(*column)).collect(),
    }
}
