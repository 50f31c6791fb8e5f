//! A table: which rows are there and in what order, which one is chosen, which are marked; and how that is drawn.
//!
//! The rows stay where they are, in the model: a screen says by [`Rows`] what they are, and a [`Table`] keeps what people have
//! made of them. [`Table::update`] is called when rows, filter or order have changed and looks at all rows; drawing formats only
//! those that are seen. What is chosen and marked is kept by the rows' ids, whatever else comes and goes.

mod column;
mod draw;
mod mouse;
mod order;
mod select;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::Write as _;

pub use column::{Cell, Column};
pub use mouse::Hit;

use super::query::{Field, Query, QueryError, Value};
use column::Layout;

/// The rows of a screen, by their places in the model.
pub trait Rows {
    /// What a row is known by, whatever its place.
    type Id: Clone + Ord;

    /// The columns. The first is always seen.
    fn columns(&self) -> &'static [Column];

    /// What rows are filtered by, beside the text of their cells.
    fn fields(&self) -> &'static [Field];

    /// How many rows there are.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What row `row` is known by.
    fn id(&self, row: usize) -> Self::Id;

    /// What row `row` is sorted by in column `column`: unless a list says otherwise its fields begin with its columns, in their order.
    fn key(&self, row: usize, column: usize) -> Value<'_> {
        self.value(row, column)
    }

    /// What row `row` has in field `field`.
    fn value(&self, row: usize, field: usize) -> Value<'_>;

    /// How row `row` is shown in column `column`: text that others wrote as it is, which is made safe when it is drawn.
    fn cell(&self, row: usize, column: usize) -> Cell<'_>;
}

/// What people have made of some rows.
#[derive(Clone, Debug)]
pub struct Table<Id> {
    /// Column, and whether the largest comes first. None: the model's order.
    sort: Option<(usize, bool)>,
    filter: Option<Filter>,
    hidden: BTreeSet<usize>,
    marks: BTreeSet<Id>,
    /// None: the first row, whichever it is.
    chosen: Option<Id>,
    /// Places in the model of the rows that are listed, in their order.
    order: Vec<usize>,
    /// Where the chosen row is in `order`.
    position: usize,
    /// The first row that is seen.
    top: usize,
    /// How many columns after the first are pushed out to the left.
    shift: usize,
    /// How many rows there are, listed or not.
    total: usize,
    layout: Layout,
}

#[derive(Clone, Debug)]
struct Filter {
    text: String,
    query: Query,
}

impl<Id: Clone + Ord> Default for Table<Id> {
    fn default() -> Self {
        Self {
            sort: None,
            filter: None,
            hidden: BTreeSet::new(),
            marks: BTreeSet::new(),
            chosen: None,
            order: Vec::new(),
            position: 0,
            top: 0,
            shift: 0,
            total: 0,
            layout: Layout::default(),
        }
    }
}

impl<Id: Clone + Ord> Table<Id> {
    /// A table that is sorted by `column` at first, the largest first if `descending`.
    pub fn sorted_by(column: usize, descending: bool) -> Self {
        Self {
            sort: Some((column, descending)),
            ..Self::default()
        }
    }

    /// By which column it is sorted, and whether the largest comes first.
    pub fn sort(&self) -> Option<(usize, bool)> {
        self.sort
    }

    /// Sorts by `column`; if it does already, the other way round. Numbers begin with the largest, words with A. Needs [`Self::update`].
    pub fn sort_by(&mut self, columns: &[Column], column: usize) {
        let Some(asked) = columns.get(column) else { return };
        let descending = match self.sort {
            Some((same, descending)) if same == column => !descending,
            _ => asked.is_number(),
        };
        self.sort = Some((column, descending));
    }

    /// As [`Self::sort_by`], of the column with the key letter `letter`; whether there is one. Needs [`Self::update`].
    pub fn sort_by_letter(&mut self, columns: &[Column], letter: char) -> bool {
        let found = columns.iter().position(|column| column.letter == letter);
        if let Some(column) = found {
            self.sort_by(columns, column);
        }
        found.is_some()
    }

    /// Sorts so, or not at all: what settings say. Needs [`Self::update`].
    pub fn set_sort(&mut self, sort: Option<(usize, bool)>) {
        self.sort = sort;
    }

    /// The text of the filter; empty: there is none.
    pub fn filter(&self) -> &str {
        self.filter.as_ref().map_or("", |filter| &filter.text)
    }

    /// Lets only those rows through that `text` says; all, if it is empty. If it cannot be read, all stays as it is. Needs
    /// [`Self::update`].
    pub fn set_filter(&mut self, text: &str, fields: &[Field]) -> Result<(), QueryError> {
        self.filter = if text.trim().is_empty() {
            None
        } else {
            Some(Filter {
                text: text.to_owned(),
                query: Query::parse(text, fields)?,
            })
        };
        Ok(())
    }

    /// Columns that are not shown.
    pub fn hidden(&self) -> &BTreeSet<usize> {
        &self.hidden
    }

    /// Shows `column` if it is hidden, hides it if it is shown. The first stays.
    pub fn toggle_column(&mut self, column: usize) {
        if column > 0 && !self.hidden.remove(&column) {
            self.hidden.insert(column);
        }
    }

    /// How many rows are listed.
    pub fn listed(&self) -> usize {
        self.order.len()
    }

    /// The places in the model of the rows that are listed, in their order.
    pub fn order(&self) -> &[usize] {
        &self.order
    }

    /// What there is to say of the whole: `12 of 300, 3 marked`.
    pub fn summary(&self) -> String {
        let mut text = if self.order.len() == self.total {
            self.total.to_string()
        } else {
            format!("{} of {}", self.order.len(), self.total)
        };
        if !self.marks.is_empty() {
            let _ = write!(text, ", {} marked", self.marks.len());
        }
        text
    }

    /// What an empty table says: `nothing`, or that the filter lets nothing through.
    fn says_when_empty<'a>(&self, nothing: &'a str) -> Cow<'a, str> {
        if self.total == 0 {
            return Cow::Borrowed(nothing);
        }
        let rows = if self.total == 1 { "row" } else { "rows" };
        Cow::Owned(format!(
            "The filter lets none of {} {rows} through; Delete takes it away.",
            self.total
        ))
    }
}

#[cfg(test)]
mod tests;
