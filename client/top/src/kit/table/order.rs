//! Which rows are listed, and in what order.

use std::cmp::Ordering;

use super::{Rows, Table};
use crate::kit::query::{Subject, Value, natural};

/// A row, as the filter sees it.
struct Row<'a, R> {
    rows: &'a R,
    at: usize,
    hidden: &'a std::collections::BTreeSet<usize>,
}

impl<R: Rows> Subject for Row<'_, R> {
    fn value(&self, field: usize) -> Value<'_> {
        self.rows.value(self.at, field)
    }

    fn any_cell(&self, test: &mut dyn FnMut(&str) -> bool) -> bool {
        let mut columns = (0..self.rows.columns().len()).filter(|column| !self.hidden.contains(column));
        columns.any(|column| test(&self.rows.cell(self.at, column).text))
    }
}

impl<Id: Clone + Ord> Table<Id> {
    /// Takes in how the rows are now. Marks of rows that are gone go with them; what is chosen stays chosen, and if it is gone,
    /// the row that has come to its place is.
    pub fn update<R: Rows<Id = Id>>(&mut self, rows: &R) {
        self.total = rows.len();
        self.order.clear();
        let Self {
            order,
            filter,
            hidden,
            ..
        } = self;
        let hidden = &*hidden;
        match filter {
            None => order.extend(0..rows.len()),
            Some(filter) => {
                let fits = |&row: &usize| {
                    filter.query.matches(&Row {
                        rows,
                        at: row,
                        hidden,
                    })
                };
                order.extend((0..rows.len()).filter(fits));
            }
        }
        if let Some((column, descending)) = self.sort.filter(|(column, _)| *column < rows.columns().len()) {
            // Rows that are equal stay in the model's order, also when it is turned round.
            let mut keyed: Vec<(Value<'_>, usize)> = self
                .order
                .iter()
                .map(|&row| (rows.key(row, column), row))
                .collect();
            keyed.sort_by(|(a, _), (b, _)| compare(a, b, descending));
            self.order = keyed.into_iter().map(|(_, row)| row).collect();
        }
        if !self.marks.is_empty() {
            let there: std::collections::BTreeSet<Id> = (0..rows.len()).map(|row| rows.id(row)).collect();
            self.marks.retain(|id| there.contains(id));
        }
        let Some(chosen) = &self.chosen else {
            self.position = 0;
            return;
        };
        if let Some(position) = self.order.iter().position(|&row| rows.id(row) == *chosen) {
            self.position = position;
            return;
        }
        self.position = self.position.min(self.order.len().saturating_sub(1));
        // An empty list keeps what was chosen: a filter that is being typed lets it through again.
        if let Some(&row) = self.order.get(self.position) {
            self.chosen = Some(rows.id(row));
        }
    }
}

/// What is missing comes last, either way.
fn compare(a: &Value<'_>, b: &Value<'_>, descending: bool) -> Ordering {
    let order = match (a, b) {
        (Value::Missing, Value::Missing) => return Ordering::Equal,
        (Value::Missing, _) => return Ordering::Greater,
        (_, Value::Missing) => return Ordering::Less,
        (Value::Number(a), Value::Number(b)) => a.total_cmp(b),
        (Value::Text(a), Value::Text(b)) => natural(a, b),
        (Value::Number(_), Value::Text(_)) => Ordering::Less,
        (Value::Text(_), Value::Number(_)) => Ordering::Greater,
    };
    if descending { order.reverse() } else { order }
}
