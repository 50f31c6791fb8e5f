//! Moving, choosing, marking.

use super::{Rows, Table};
use crate::kit::keys::Command;

impl<Id: Clone + Ord> Table<Id> {
    /// The place in the model of the row that is chosen.
    pub fn chosen(&self) -> Option<usize> {
        self.order.get(self.position).copied()
    }

    /// Where the chosen row is among those listed.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Chooses the row known by `id`, whether it is there already or comes with the next [`Self::update`].
    pub fn choose<R: Rows<Id = Id>>(&mut self, id: Id, rows: &R) {
        if let Some(position) = self.order.iter().position(|&row| rows.id(row) == id) {
            self.position = position;
        }
        self.chosen = Some(id);
    }

    /// Chooses the row at `position` of those listed, or the last.
    pub fn choose_at<R: Rows<Id = Id>>(&mut self, position: usize, rows: &R) {
        self.position = position.min(self.order.len().saturating_sub(1));
        self.chosen = self.order.get(self.position).map(|&row| rows.id(row));
    }

    /// Does what `command` asks of a table; whether it asks anything of one.
    ///
    /// Moving, marking and shifting of columns are done here; the first row, once gone to, is whichever comes first from then on.
    pub fn command<R: Rows<Id = Id>>(&mut self, command: Command, rows: &R) -> bool {
        let page = self.layout.page().max(1);
        let half = (page / 2).max(1);
        let to = match command {
            Command::Up => self.position.saturating_sub(1),
            Command::Down => self.position + 1,
            Command::HalfUp => self.position.saturating_sub(half),
            Command::HalfDown => self.position + half,
            Command::PageUp => self.position.saturating_sub(page),
            Command::PageDown => self.position + page,
            Command::First => {
                self.position = 0;
                self.chosen = None;
                return true;
            }
            Command::Last => usize::MAX,
            Command::Left => {
                self.shift = self.shift.saturating_sub(1);
                return true;
            }
            Command::Right => {
                let there = rows.columns().len() - self.hidden.len();
                self.shift = (self.shift + 1).min(there.saturating_sub(2));
                return true;
            }
            Command::Mark => {
                self.toggle_mark(rows);
                self.position + 1
            }
            Command::MarkAll => {
                self.marks.extend(self.order.iter().map(|&row| rows.id(row)));
                return true;
            }
            Command::UnmarkAll => {
                self.marks.clear();
                return true;
            }
            _ => return false,
        };
        self.choose_at(to, rows);
        true
    }

    /// Scrolls by `lines`, down if it is positive, as a wheel does: what is chosen goes along only if it would be out of sight.
    pub fn scroll<R: Rows<Id = Id>>(&mut self, lines: isize, rows: &R) {
        let page = self.layout.page().max(1);
        let last = self.order.len().saturating_sub(page);
        self.top = self.top.saturating_add_signed(lines).min(last);
        let seen = self.position.clamp(self.top, self.top + page - 1);
        if seen != self.position {
            self.choose_at(seen, rows);
        }
    }

    fn toggle_mark<R: Rows<Id = Id>>(&mut self, rows: &R) {
        if let Some(row) = self.chosen() {
            let id = rows.id(row);
            if !self.marks.remove(&id) {
                self.marks.insert(id);
            }
        }
    }

    /// What is marked.
    pub fn marks(&self) -> impl ExactSizeIterator<Item = &Id> {
        self.marks.iter()
    }

    /// What an action is for: all that is marked, or else the chosen row.
    pub fn meant<R: Rows<Id = Id>>(&self, rows: &R) -> Vec<Id> {
        if self.marks.is_empty() {
            self.chosen().map(|row| rows.id(row)).into_iter().collect()
        } else {
            self.marks.iter().cloned().collect()
        }
    }

    /// Moves what is seen such that the chosen row is in it.
    pub(super) fn keep_in_sight(&mut self) {
        let page = self.layout.page().max(1);
        let last = self.order.len().saturating_sub(page);
        self.top = self
            .top
            .clamp(self.position.saturating_sub(page - 1), self.position)
            .min(last);
    }
}
