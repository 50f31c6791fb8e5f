//! Many small things at once, a cell for each: cores of a worker, later members of an ensemble. Where there are more than fit,
//! a cell stands for several and shows how much of them is used.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::theme::{Charset, Role, Theme};

/// How one thing is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Load {
    /// So much of it is used, from 0 to 1.
    Used(f32),
    /// It is not there.
    Down,
}

/// From nothing to all.
const UNICODE: [&str; 5] = ["·", "░", "▒", "▓", "█"];
const ASCII: [&str; 5] = [".", "-", "+", "*", "#"];

/// How many things one cell stands for, such that `count` things fit into `area`, in groups of `group` with a blank between two
/// (0: no groups). At least 1.
pub fn things_each(count: usize, group: usize, area: Rect) -> usize {
    let mut each = 1;
    while each < count
        && rows(count.div_ceil(each), group.div_ceil(each), area.width) > usize::from(area.height)
    {
        each += 1;
    }
    each
}

/// How many cells one line has.
fn per_row(group: usize, width: u16) -> usize {
    let width = usize::from(width);
    if group == 0 || group > width {
        return width;
    }
    // Groups stay whole: n of them need n * group cells and n - 1 blanks.
    (width + 1) / (group + 1) * group
}

fn rows(count: usize, group: usize, width: u16) -> usize {
    match per_row(group, width) {
        0 => usize::MAX,
        each => count.div_ceil(each),
    }
}

/// Draws `loads` into `area`, in groups of `group` (0: none); what a cell stands for: 1, or more where there are more than fit.
pub fn draw(loads: &[Load], group: usize, theme: Theme, area: Rect, buffer: &mut Buffer) -> usize {
    let area = area.intersection(buffer.area);
    let each = things_each(loads.len(), group, area);
    if area.is_empty() {
        return each;
    }
    let group = group.div_ceil(each);
    let line = per_row(group, area.width).max(1);
    for (at, some) in loads.chunks(each).enumerate() {
        let (row, column) = (at / line, at % line);
        let blanks = if group > 0 && group <= usize::from(area.width) {
            column / group
        } else {
            0
        };
        let (x, y) = (area.x + (column + blanks) as u16, area.y + row as u16);
        if y >= area.bottom() || x >= area.right() {
            break;
        }
        let (glyph, role) = look(some, theme.charset);
        buffer.set_stringn(x, y, glyph, 1, theme.style(role));
    }
    each
}

fn look(some: &[Load], charset: Charset) -> (&'static str, Role) {
    let (mut used, mut there) = (0.0, 0_usize);
    for load in some {
        if let Load::Used(share) = load {
            used += f64::from(share.clamp(0.0, 1.0));
            there += 1;
        }
    }
    if there < some.len() && (there == 0 || some.len() > 1) {
        // One of several that is down is what one wants to see.
        return (if charset == Charset::Unicode { "×" } else { "x" }, Role::Down);
    }
    let glyphs = match charset {
        Charset::Unicode => &UNICODE,
        Charset::Ascii => &ASCII,
    };
    let share = used / there.max(1) as f64;
    let level = if share <= 0.0 {
        0
    } else if share >= 1.0 {
        4
    } else {
        // Neither nothing nor all: one of the three between.
        ((share * 4.0).floor() as usize).clamp(1, 3)
    };
    (glyphs[level], if level == 0 { Role::Idle } else { Role::Used })
}

/// What the cells mean, for a legend: `· idle  ▒ partly  █ used  × down`.
pub fn legend(charset: Charset) -> &'static str {
    match charset {
        Charset::Unicode => "· idle  ▒ partly  █ used  × down",
        Charset::Ascii => ". idle  + partly  # used  x down",
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;
    use crate::kit::{THEMES, text_of};
    use proptest::prelude::*;

    fn loads(count: u16) -> Vec<Load> {
        let load = |at: u16| match at % 8 {
            0 | 1 => Load::Used(0.0),
            2 => Load::Used(0.25),
            7 if at > 40 => Load::Down,
            _ => Load::Used(1.0),
        };
        (0..count).map(load).collect()
    }

    #[test]
    fn a_cell_for_each_as_long_as_they_fit() {
        let mut shown = String::new();
        for theme in THEMES {
            for (count, group, width, height) in [
                (16, 8, 40, 1),
                (64, 8, 40, 2),
                (64, 16, 10, 4),
                (256, 64, 40, 2),
                (7, 0, 40, 1),
            ] {
                let area = Rect::new(0, 0, width, height);
                let mut buffer = Buffer::empty(area);
                let each = draw(&loads(count), group, theme, area, &mut buffer);
                let _ = write!(
                    shown,
                    "{count} by {group} in {width}x{height}, {each} each:\n{}\n",
                    text_of(&buffer)
                );
            }
        }
        insta::assert_snapshot!(shown);
    }

    proptest! {
        #[test]
        fn all_fit(count in 0_usize..3_000, group in 0_usize..70, width in 1_u16..80, height in 1_u16..5) {
            let area = Rect::new(0, 0, width, height);
            let each = things_each(count, group, area);
            prop_assert!(rows(count.div_ceil(each), group.div_ceil(each), width) <= usize::from(height) || each >= count);
            let mut buffer = Buffer::empty(area);
            let loads = vec![Load::Used(1.0); count];
            draw(&loads, group, THEMES[0], area, &mut buffer);
            let drawn = buffer.content.iter().filter(|cell| cell.symbol() == "█").count();
            prop_assert_eq!(drawn, count.div_ceil(each));
        }
    }
}
