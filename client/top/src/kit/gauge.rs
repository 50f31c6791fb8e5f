//! Bars: how much of something is used, idle and down. The numbers are there as text, so that the bar is for the eye only.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::numbers::number;
use super::text::{cut, width};
use super::theme::{Charset, Role, Theme};

/// The narrowest bar that says anything.
const LEAST_BAR: usize = 6;

/// How much of something is in use. What is neither used nor down is idle.
#[derive(Clone, Copy, Debug)]
pub struct Gauge<'a> {
    /// What it is: `cores`.
    pub label: &'a str,
    /// How much there is, or should be: what is down is a part of it.
    pub total: f64,
    /// In use.
    pub used: f64,
    /// Not there.
    pub down: f64,
    /// How a number of it is written.
    pub write: fn(f64) -> String,
}

impl<'a> Gauge<'a> {
    /// A gauge of plain numbers.
    pub fn new(label: &'a str, used: f64, total: f64) -> Self {
        Self {
            label,
            total,
            used,
            down: 0.0,
            write: number,
        }
    }

    /// With so much of it down.
    pub fn down(mut self, down: f64) -> Self {
        self.down = down;
        self
    }

    /// What the bar shows, in words: `12/16 used, 3 idle, 1 down`. Shorter ones follow.
    fn texts(&self) -> [String; 3] {
        let write = self.write;
        let idle = (self.total - self.used - self.down).max(0.0);
        let used = format!("{}/{}", write(self.used), write(self.total));
        let down = if self.down > 0.0 {
            format!(", {} down", write(self.down))
        } else {
            String::new()
        };
        [
            format!("{used} used, {} idle{down}", write(idle)),
            format!("{used}{down}"),
            used,
        ]
    }

    fn draw(&self, label: u16, bar: usize, text: &str, theme: Theme, line: Rect, buffer: &mut Buffer) {
        let name = cut(self.label, usize::from(label.min(line.width)), theme.charset);
        buffer.set_string(line.x, line.y, name, theme.style(Role::Title));
        let role = if self.down > 0.0 { Role::Down } else { Role::Text };
        let mut at = line.x + label + 1;
        if bar > 0 {
            let [full, empty, gone] = match theme.charset {
                Charset::Unicode => ["█", "░", "▒"],
                Charset::Ascii => ["#", ".", "x"],
            };
            let [used, down] = shares([self.used, self.down], self.total, bar);
            for (glyph, count, role) in [
                (full, used, Role::Used),
                (empty, bar - used - down, Role::Idle),
                (gone, down, Role::Down),
            ] {
                buffer.set_string(at, line.y, glyph.repeat(count), theme.style(role));
                at += count as u16;
            }
            at += 1;
        }
        let room = usize::from(line.right().saturating_sub(at));
        if room > 0 {
            buffer.set_string(at, line.y, cut(text, room, theme.charset), theme.style(role));
        }
    }
}

/// Draws gauges into the lines of `area`, their bars below each other: label, bar, numbers. Numbers get shorter where room is, and
/// where there is none for bars there are none; the numbers stay as long as anything does.
pub fn draw(gauges: &[Gauge<'_>], theme: Theme, area: Rect, buffer: &mut Buffer) {
    let area = area.intersection(buffer.area);
    if area.is_empty() {
        return;
    }
    let label = gauges.iter().map(|gauge| width(gauge.label)).max().unwrap_or(0);
    let room = usize::from(area.width).saturating_sub(label + 1);
    let texts: Vec<[String; 3]> = gauges.iter().map(Gauge::texts).collect();
    let widest = |kind: usize| texts.iter().map(|texts| width(&texts[kind])).max().unwrap_or(0);
    let kind = (0..3)
        .find(|&kind| widest(kind) + 1 + LEAST_BAR <= room)
        .unwrap_or(2);
    let bar = Some(room.saturating_sub(widest(kind) + 1))
        .filter(|bar| *bar >= LEAST_BAR)
        .unwrap_or(0);
    for ((y, gauge), texts) in (area.y..area.bottom()).zip(gauges).zip(&texts) {
        let line = Rect { y, height: 1, ..area };
        gauge.draw(label as u16, bar, &texts[kind], theme, line, buffer);
    }
}

/// How many of `cells` each part gets. What is there at all has at least one, what is not all leaves one free.
pub fn shares<const N: usize>(parts: [f64; N], total: f64, cells: usize) -> [usize; N] {
    let mut left = cells;
    let sum: f64 = parts.iter().sum();
    let total = total.max(sum);
    parts.map(|part| {
        if part <= 0.0 || total <= 0.0 || !part.is_finite() {
            return 0;
        }
        let share = (part / total * cells as f64).round() as usize;
        // Less than all, so something else has to be seen as well.
        let most = if part < total && cells > N {
            cells - 1
        } else {
            cells
        };
        let share = share.clamp(1, most.max(1)).min(left);
        left -= share;
        share
    })
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;
    use crate::kit::{THEMES, text_of};
    use proptest::prelude::*;

    #[test]
    fn bars_say_in_numbers_what_they_show() {
        let gauges = [
            Gauge::new("cores", 12.0, 16.0).down(1.0),
            Gauge::new("cores", 0.0, 16.0),
            Gauge::new("GPUs", 0.25, 4.0),
            Gauge::new("cores", 16.0, 16.0),
            Gauge::new("cores", 15_999.0, 16_000.0),
            Gauge::new("nodes", 0.0, 0.0),
            Gauge {
                write: |bytes| super::super::numbers::bytes(bytes as u64),
                ..Gauge::new("memory", 3e9, 8e9)
            },
        ];
        let mut shown = String::new();
        for (theme, width) in [
            (THEMES[0], 70),
            (THEMES[1], 70),
            (THEMES[0], 30),
            (THEMES[0], 16),
            (THEMES[0], 5),
        ] {
            let mut buffer = Buffer::empty(Rect::new(0, 0, width, gauges.len() as u16));
            draw(&gauges, theme, buffer.area, &mut buffer);
            let _ = write!(shown, "{width}:\n{}\n", text_of(&buffer));
        }
        insta::assert_snapshot!(shown);
    }

    proptest! {
        #[test]
        fn shares_fit(a in 0.0_f64..1e6, b in 0.0_f64..1e6, more in 0.0_f64..1e6, cells in 0_usize..100) {
            let [x, y] = shares([a, b], a + b + more, cells);
            prop_assert!(x + y <= cells);
            prop_assert!(cells < 4 || a == 0.0 || x > 0);
        }
    }
}
