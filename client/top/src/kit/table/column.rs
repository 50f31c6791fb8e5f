//! Columns, cells, and how wide they are.

use std::borrow::Cow;

use ratatui::layout::Rect;

use crate::kit::text::{Align, width};
use crate::kit::theme::{Charset, Role};

/// Between two columns.
pub(super) const GAP: u16 = 1;
/// Where the chosen row is pointed at, and marks are.
pub(super) const GUTTER: u16 = 2;

/// A column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name: a word in its head.
    pub name: &'static str,
    /// Shift and this letter sorts by it ([`crate::kit::keys::is_column_letter`]). Upper case; underlined in the name if it is there.
    pub letter: char,
    /// Where its text goes.
    pub align: Align,
    /// The least width that it is of use with.
    pub least: u16,
    /// The width that it never goes beyond.
    pub most: u16,
    /// Where room is short, columns with the largest number go first. 0: it stays, as the first column does.
    pub priority: u8,
}

impl Column {
    /// A column of words that wants between `least` and `most` columns of the terminal.
    pub const fn words(name: &'static str, letter: char, least: u16, most: u16) -> Self {
        Self {
            name,
            letter,
            align: Align::Left,
            least,
            most,
            priority: 1,
        }
    }

    /// A column of numbers.
    pub const fn number(name: &'static str, letter: char, least: u16) -> Self {
        Self {
            name,
            letter,
            align: Align::Right,
            least,
            most: 16,
            priority: 1,
        }
    }

    /// With another priority.
    pub const fn priority(mut self, priority: u8) -> Self {
        self.priority = priority;
        self
    }

    /// Whether it has numbers in it, of which the largest are looked for first.
    pub fn is_number(&self) -> bool {
        self.align == Align::Right
    }

    /// The least that it takes: its name with the mark of the order has to fit as well.
    pub(super) fn needs(&self) -> u16 {
        self.least
            .max(self.name.len() as u16 + 1)
            .min(self.most.max(self.least))
    }
}

/// What is shown of a row in a column.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell<'a> {
    /// A glyph before the text, one column wide; none: none.
    pub glyph: Option<&'static str>,
    /// The text; it need not be safe.
    pub text: Cow<'a, str>,
    /// What it is for.
    pub role: Role,
}

impl<'a> Cell<'a> {
    /// Text as any other.
    pub fn text(text: impl Into<Cow<'a, str>>) -> Self {
        Self::of(Role::Text, text)
    }

    /// Text that is for something.
    pub fn of(role: Role, text: impl Into<Cow<'a, str>>) -> Self {
        Self {
            glyph: None,
            text: text.into(),
            role,
        }
    }

    /// Nothing is known.
    pub fn missing() -> Self {
        Self::of(Role::Dim, "-")
    }

    /// A state.
    pub fn mark(mark: crate::kit::theme::Mark<'a>) -> Self {
        Self {
            glyph: Some(mark.glyph),
            text: mark.word.into(),
            role: mark.role,
        }
    }

    /// How wide it would like to be.
    pub(super) fn width(&self, charset: Charset, most: u16) -> u16 {
        let text = crate::kit::text::fit(&self.text, usize::from(most), charset);
        let glyph = if self.glyph.is_some() { 2 } else { 0 };
        (width(&text) + glyph).min(usize::from(most)) as u16
    }
}

/// Where things were drawn the last time, for the mouse and for moving by pages.
#[derive(Clone, Debug, Default)]
pub(super) struct Layout {
    /// Head and rows.
    pub(super) area: Rect,
    /// Columns that are there: number, first column of the terminal, width.
    pub(super) columns: Vec<(usize, u16, u16)>,
    /// The widest that was seen of each column in an area of this width: columns do not jump to and fro with what scrolls by.
    pub(super) widest: Vec<u16>,
    pub(super) wide: u16,
}

impl Layout {
    /// How many rows are seen.
    pub(super) fn page(&self) -> usize {
        usize::from(self.area.height.saturating_sub(1))
    }
}

/// Which of `columns` are there in `room` columns of the terminal, and how wide: number, width. `wishes` has how wide each would be.
///
/// Those with the largest priority go first until the least widths of the others fit; what is left over is given to those that want
/// more, from the left. The first column stays, if need be narrower than its least.
pub(super) fn widths(
    columns: &[Column],
    wishes: &[u16],
    hidden: impl Fn(usize) -> bool,
    shift: usize,
    room: u16,
) -> Vec<(usize, u16)> {
    let mut there: Vec<usize> = (0..columns.len())
        .filter(|&number| number == 0 || !hidden(number))
        .collect();
    // The first stays where it is, the others move.
    let shift = shift.min(there.len().saturating_sub(2));
    there.drain(1..=shift);
    let least = |there: &[usize]| -> u32 {
        let gaps = there.len().saturating_sub(1) as u32 * u32::from(GAP);
        there
            .iter()
            .map(|&number| u32::from(columns[number].needs()))
            .sum::<u32>()
            + gaps
    };
    while there.len() > 1 && least(&there) > u32::from(room) {
        // Of equal ones the last, which is what one would not miss.
        let out = (1..there.len()).max_by_key(|&at| (columns[there[at]].priority, at));
        there.remove(out.unwrap_or(there.len() - 1));
    }
    let mut left = u32::from(room).saturating_sub(least(&there)) as u16;
    there
        .into_iter()
        .map(|number| {
            let column = &columns[number];
            let wish = wishes.get(number).copied().unwrap_or(0).min(column.most);
            let more = wish.saturating_sub(column.needs()).min(left);
            left -= more;
            (number, (column.needs() + more).min(room))
        })
        .collect()
}
