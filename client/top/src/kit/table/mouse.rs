//! What lies under the mouse.

use ratatui::layout::Position;

use super::Table;

/// What was hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hit {
    /// The head of a column, by its number.
    Head(usize),
    /// A row, by its place among those listed.
    Row(usize),
}

impl<Id: Clone + Ord> Table<Id> {
    /// What was drawn at `at` the last time.
    pub fn hit(&self, at: Position) -> Option<Hit> {
        let area = self.layout.area;
        if !area.contains(at) {
            return None;
        }
        if at.y == area.y {
            let column = self.layout.columns.iter().rev().find(|(_, x, _)| *x <= at.x);
            return column.map(|(number, ..)| Hit::Head(*number));
        }
        let position = self.top + usize::from(at.y - area.y - 1);
        (position < self.order.len()).then_some(Hit::Row(position))
    }
}
