//! Curves over time in a few lines.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::theme::{Charset, Role, Theme};

/// Values over time, the last at the right end; `None` where nothing is known, which is left blank and not drawn as 0.
#[derive(Clone, Copy, Debug)]
pub struct Spark<'a> {
    /// The values: one for each step that a column shows ([`steps`]).
    pub values: &'a [Option<f64>],
    /// The value at the upper edge ([`scale`]).
    pub top: f64,
    /// What it is for.
    pub role: Role,
}

/// How many values fit into `columns` columns: with dots two into each.
pub fn steps(columns: u16, charset: Charset) -> usize {
    match charset {
        Charset::Unicode => 2 * usize::from(columns),
        Charset::Ascii => usize::from(columns),
    }
}

/// The next number of 1, 2, 5, 10, 20, 50 … that no value goes beyond; at least 1 unless `least` says less.
pub fn scale(values: &[Option<f64>], least: f64) -> f64 {
    let highest = values
        .iter()
        .flatten()
        .copied()
        .filter(|value| value.is_finite())
        .fold(least, f64::max);
    if highest <= 0.0 {
        return 1.0;
    }
    let decade = 10_f64.powf(highest.log10().floor());
    // The logarithm is not exact at powers of ten.
    [0.1, 1.0, 2.0, 5.0, 10.0, 20.0]
        .into_iter()
        .map(|step| step * decade)
        .find(|top| *top >= highest * (1.0 - 1e-9))
        .unwrap_or(highest)
}

/// Brings `values` to `count` values, the largest of each part, so that a peak is never lost. Fewer are not stretched.
pub fn condense(values: &[Option<f64>], count: usize) -> Vec<Option<f64>> {
    if values.len() <= count || count == 0 {
        return values.to_vec();
    }
    (0..count)
        .map(|at| {
            let (from, upto) = (at * values.len() / count, (at + 1) * values.len() / count);
            values[from..upto].iter().flatten().copied().reduce(f64::max)
        })
        .collect()
}

impl Spark<'_> {
    /// Draws it into `area`, from the right; values that do not fit are left out on the left.
    pub fn draw(&self, theme: Theme, area: Rect, buffer: &mut Buffer) {
        let area = area.intersection(buffer.area);
        if area.is_empty() {
            return;
        }
        let style = theme.style(self.role);
        let dotted = theme.charset == Charset::Unicode;
        let each = if dotted { 2 } else { 1 };
        let levels = if dotted { 4 } else { ASCII.len() - 1 };
        let height = usize::from(area.height) * levels;
        let level = |value: &Option<f64>| {
            value.filter(|value| value.is_finite()).map(|value| {
                let share = if self.top > 0.0 {
                    (value / self.top).clamp(0.0, 1.0)
                } else {
                    0.0
                };
                let level = (share * height as f64).round() as usize;
                // A little is more than nothing.
                level.max(usize::from(value > 0.0))
            })
        };
        for column in 0..area.width {
            // From the right end, so that now is always at the same place.
            let from_right = usize::from(area.width - 1 - column) * each;
            let Some(last) = self.values.len().checked_sub(from_right + 1) else {
                continue;
            };
            let right = level(&self.values[last]);
            let left = if each == 2 {
                last.checked_sub(1).and_then(|at| level(&self.values[at]))
            } else {
                None
            };
            for row in 0..area.height {
                let base = usize::from(area.height - 1 - row) * levels;
                let above =
                    |level: Option<usize>| level.map_or(0, |level| level.saturating_sub(base).min(levels));
                let glyph = if dotted {
                    let bottom = base == 0;
                    braille(
                        above(left),
                        above(right),
                        [left, right].map(|level| bottom && level == Some(0)),
                    )
                } else {
                    match right {
                        Some(0) if base == 0 => '_',
                        _ => ASCII[above(right)],
                    }
                };
                if glyph != ' ' {
                    buffer[(area.x + column, area.y + row)]
                        .set_char(glyph)
                        .set_style(style);
                }
            }
        }
    }
}

/// A column of one line without dots.
const ASCII: [char; 4] = [' ', '.', ':', '#'];

/// Two columns of up to four dots, from below. What is known to be nothing has a dot at the bottom in `zero`, so that it differs from
/// what is not known.
fn braille(left: usize, right: usize, zero: [bool; 2]) -> char {
    const LEFT: [u32; 5] = [0, 0x40, 0x44, 0x46, 0x47];
    const RIGHT: [u32; 5] = [0, 0x80, 0xa0, 0xb0, 0xb8];
    let dots = LEFT[left.max(usize::from(zero[0])).min(4)] | RIGHT[right.max(usize::from(zero[1])).min(4)];
    if dots == 0 {
        return ' ';
    }
    char::from_u32(0x2800 + dots).unwrap_or(' ')
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;
    use crate::kit::{THEMES, text_of};

    #[test]
    fn curves_end_at_the_right_and_have_a_scale() {
        let wave: Vec<Option<f64>> = (0..60)
            .map(|at| (at % 20 != 7).then(|| ((f64::from(at) / 6.0).sin() + 1.0) * 40.0))
            .collect();
        let top = scale(&wave, 0.0);
        assert!((top - 100.0).abs() < 1e-9, "{top}");
        let mut shown = String::new();
        for theme in THEMES {
            for (width, height) in [(40, 3), (20, 1)] {
                let area = Rect::new(0, 0, width, height);
                let values = condense(&wave, steps(width, theme.charset));
                let mut buffer = Buffer::empty(area);
                let spark = Spark {
                    values: &values,
                    top,
                    role: Role::Used,
                };
                spark.draw(theme, area, &mut buffer);
                let _ = write!(shown, "{}\n---\n", text_of(&buffer));
            }
        }
        insta::assert_snapshot!(shown);
    }

    #[test]
    fn little_is_seen_and_nothing_known_is_blank() {
        let draw = |values: &[Option<f64>], theme: Theme| {
            let area = Rect::new(0, 0, 4, 1);
            let mut buffer = Buffer::empty(area);
            let spark = Spark {
                values,
                top: 1_000.0,
                role: Role::Used,
            };
            spark.draw(theme, area, &mut buffer);
            text_of(&buffer)
        };
        assert_eq!(
            draw(&[None, Some(0.0), Some(1.0), Some(1_000.0)], THEMES[1]),
            " _.#"
        );
        assert_eq!(draw(&[None, None, Some(0.0), Some(1_000.0)], THEMES[0]), "   ⣸");
        assert_eq!(draw(&[Some(f64::NAN), Some(5_000.0)], THEMES[0]), "   ⢸");
        assert_eq!(draw(&[], THEMES[0]), "");
    }

    #[test]
    fn scales_are_round() {
        for (highest, top) in [
            (0.0, 1.0),
            (0.3, 0.5),
            (1.0, 1.0),
            (3.0, 5.0),
            (999.0, 1_000.0),
            (1_000.0, 1_000.0),
            (1_001.0, 2_000.0),
        ] {
            let found = scale(&[Some(highest), None, Some(f64::INFINITY)], 0.0);
            assert!((found / top - 1.0).abs() < 1e-6, "{highest}: {found}");
        }
    }

    #[test]
    fn peaks_are_never_lost() {
        let mut values = vec![Some(0.0); 1_000];
        values[777] = Some(9.0);
        let short = condense(&values, 30);
        assert_eq!(short.len(), 30);
        assert!(short.contains(&Some(9.0)));
        assert_eq!(condense(&values[..10], 30).len(), 10);
    }
}
