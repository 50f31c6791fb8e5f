//! How a table is drawn.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Modifier;

use super::column::{GAP, GUTTER, widths};
use super::{Column, Rows, Table};
use crate::kit::text::{Align, cut, fit, width, words};
use crate::kit::theme::{Glyph, Role, Theme};

impl<Id: Clone + Ord> Table<Id> {
    /// Draws the table into `area`: its head in the first line, rows below. `nothing` is what it says when there are no rows.
    ///
    /// It costs as much as the rows that are seen, however many there are.
    pub fn draw<R: Rows<Id = Id>>(
        &mut self,
        rows: &R,
        nothing: &str,
        theme: Theme,
        area: Rect,
        buffer: &mut Buffer,
    ) {
        let area = area.intersection(buffer.area);
        self.layout.area = area;
        if area.is_empty() {
            return;
        }
        self.keep_in_sight();
        let seen: Vec<usize> = self
            .order
            .iter()
            .copied()
            .skip(self.top)
            .take(self.layout.page())
            .collect();
        self.arrange(rows, &seen, theme, area);
        self.draw_head(rows.columns(), theme, area, buffer);
        for (line, &row) in (1_u16..).zip(&seen) {
            let y = area.y + line;
            self.draw_row(
                rows,
                row,
                self.top + usize::from(line) - 1,
                theme,
                Rect { y, height: 1, ..area },
                buffer,
            );
        }
        if self.order.is_empty() && area.height > 1 {
            let text = self.says_when_empty(nothing);
            let room = usize::from(area.width.saturating_sub(GUTTER));
            let lines = words(&text, room, theme.charset);
            for (y, line) in (area.y + 1..area.bottom()).zip(lines) {
                buffer.set_string(
                    area.x + GUTTER.min(area.width),
                    y,
                    cut(&line, room, theme.charset),
                    theme.style(Role::Dim),
                );
            }
        }
        self.draw_more(theme, area, buffer);
    }

    /// Decides which columns are there and how wide.
    fn arrange<R: Rows<Id = Id>>(&mut self, rows: &R, seen: &[usize], theme: Theme, area: Rect) {
        let columns = rows.columns();
        if self.layout.wide != area.width || self.layout.widest.len() != columns.len() {
            self.layout.wide = area.width;
            self.layout.widest = vec![0; columns.len()];
        }
        for (number, column) in columns.iter().enumerate() {
            let widest = &mut self.layout.widest[number];
            for &row in seen {
                if *widest >= column.most {
                    break;
                }
                *widest = rows
                    .cell(row, number)
                    .width(theme.charset, column.most)
                    .max(*widest);
            }
        }
        let room = area.width.saturating_sub(GUTTER);
        let hidden = |number| self.hidden.contains(&number);
        let mut x = area.x + GUTTER;
        let arranged = widths(columns, &self.layout.widest, hidden, self.shift, room);
        self.layout.columns = arranged
            .into_iter()
            .map(|(number, wide)| {
                let at = x;
                x += wide + GAP;
                (number, at, wide)
            })
            .filter(|(_, at, _)| *at < area.right())
            .collect();
    }

    fn draw_head(&self, columns: &[Column], theme: Theme, area: Rect, buffer: &mut Buffer) {
        buffer.set_style(Rect { height: 1, ..area }, theme.style(Role::Header));
        for &(number, x, wide) in &self.layout.columns {
            let column = &columns[number];
            let sorted = self.sort.filter(|(sorted, _)| *sorted == number);
            let role = if sorted.is_some() {
                Role::Sorted
            } else {
                Role::Header
            };
            let style = theme.style(role);
            let arrow = sorted.map(|(_, descending)| {
                theme.glyph(if descending {
                    Glyph::Descending
                } else {
                    Glyph::Ascending
                })
            });
            let room = usize::from(wide) - usize::from(arrow.is_some() && wide > 0);
            let name = cut(column.name, room, theme.charset);
            let taken = width(&name) as u16 + u16::from(arrow.is_some());
            let start = match column.align {
                Align::Left => x,
                Align::Right => x + wide.saturating_sub(taken),
            };
            let (after, _) = buffer.set_stringn(start, area.y, &name, room, style);
            if let Some(arrow) = arrow.filter(|_| wide > 0) {
                buffer.set_stringn(after, area.y, arrow, 1, style);
            }
            // The letter that sorts by it.
            let letter = name.chars().position(|c| c.eq_ignore_ascii_case(&column.letter));
            if let Some(at) = letter.filter(|_| name.is_ascii()) {
                buffer[(start + at as u16, area.y)]
                    .modifier
                    .insert(Modifier::UNDERLINED);
            }
        }
    }

    fn draw_row<R: Rows<Id = Id>>(
        &self,
        rows: &R,
        row: usize,
        position: usize,
        theme: Theme,
        line: Rect,
        buffer: &mut Buffer,
    ) {
        let chosen = position == self.position;
        let marked = !self.marks.is_empty() && self.marks.contains(&rows.id(row));
        if chosen {
            buffer.set_style(line, theme.style(Role::Selected));
        }
        let style = |role| {
            // What is chosen has one look; glyphs and words say the rest.
            theme.style(if chosen {
                Role::Selected
            } else if marked {
                Role::Marked
            } else {
                role
            })
        };
        let room = usize::from(line.width);
        if chosen {
            buffer.set_stringn(
                line.x,
                line.y,
                theme.glyph(Glyph::Pointer),
                room,
                style(Role::Text),
            );
        }
        if marked && room > 1 {
            buffer.set_stringn(
                line.x + 1,
                line.y,
                theme.glyph(Glyph::Marked),
                room - 1,
                style(Role::Text),
            );
        }
        for &(number, x, wide) in &self.layout.columns {
            let cell = rows.cell(row, number);
            let style = style(cell.role);
            let wide = wide.min(line.right().saturating_sub(x));
            let glyph = cell.glyph.filter(|_| wide > 0);
            let before = if glyph.is_some() { 2.min(wide) } else { 0 };
            let text = fit(&cell.text, usize::from(wide - before), theme.charset);
            let start = match rows.columns()[number].align {
                Align::Left => x,
                Align::Right => x + wide - before - width(&text) as u16,
            };
            if let Some(glyph) = glyph {
                buffer.set_stringn(start, line.y, glyph, 1, style);
            }
            buffer.set_stringn(start + before, line.y, &text, usize::from(wide - before), style);
        }
    }

    /// That there is more above, below, or to the left.
    fn draw_more(&self, theme: Theme, area: Rect, buffer: &mut Buffer) {
        let style = theme.style(Role::Dim);
        let mut put = |y: u16, glyph| {
            let right = area.right() - 1;
            if buffer[(right, y)].symbol() == " " {
                buffer.set_stringn(right, y, theme.glyph(glyph), 1, style);
            }
        };
        if area.height > 1 && self.top > 0 {
            put(area.y + 1, Glyph::MoreUp);
        }
        if area.height > 1 && self.top + self.layout.page() < self.order.len() {
            put(area.bottom() - 1, Glyph::MoreDown);
        }
        if self.shift > 0 {
            buffer.set_stringn(area.x, area.y, theme.glyph(Glyph::MoreLeft), 1, style);
        }
    }
}
