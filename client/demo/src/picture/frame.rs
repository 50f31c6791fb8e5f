//! A panel's axes: where values lie on the paper, and the ticks that say so.

use super::label::number;
use super::scene::{Anchor, GREY, INK, Scene, Stroke, Text};

/// Length of a tick.
const TICK: f64 = 5.0;
/// Size of the numbers and of the axes' names.
pub(super) const NUMBER_SIZE: f64 = 12.0;
pub(super) const NAME_SIZE: f64 = 13.5;
const AXIS: Stroke = Stroke::new(INK, 1.0);

/// A panel with linear axes: `left..right` and `top..bottom` on the paper, `x` and `y` in values.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) across: (f64, f64),
    pub(super) down: (f64, f64),
    pub(super) x: (f64, f64),
    pub(super) y: (f64, f64),
}

impl Frame {
    /// The place of a value.
    pub(super) fn at(&self, x: f64, y: f64) -> (f64, f64) {
        (self.column(x), self.row(y))
    }

    pub(super) fn column(&self, x: f64) -> f64 {
        self.across.0 + (x - self.x.0) / (self.x.1 - self.x.0) * (self.across.1 - self.across.0)
    }

    pub(super) fn row(&self, y: f64) -> f64 {
        self.down.1 - (y - self.y.0) / (self.y.1 - self.y.0) * (self.down.1 - self.down.0)
    }

    /// The vertical axis with ticks at `ticks`, its name beside it.
    pub(super) fn left_axis(&self, scene: &mut Scene, ticks: &Ticks, name: &str) {
        let left = self.across.0;
        scene.line(vec![(left, self.down.0), (left, self.down.1)], AXIS);
        for value in &ticks.values {
            let y = self.row(*value);
            scene.line(vec![(left - TICK, y), (left, y)], AXIS);
            let label = number(*value, ticks.decimals);
            scene.text(Text::new(left - TICK - 4.0, y + 4.3, NUMBER_SIZE, label).anchor(Anchor::End));
        }
        let middle = 0.5 * (self.down.0 + self.down.1);
        scene.text(
            Text::new(left - 52.0, middle, NAME_SIZE, name)
                .anchor(Anchor::Middle)
                .upright(),
        );
    }

    /// The horizontal axis; without a name it has ticks but no numbers, being that of the panel below.
    pub(super) fn bottom_axis(&self, scene: &mut Scene, ticks: &Ticks, name: Option<&str>) {
        let bottom = self.down.1;
        scene.line(vec![(self.across.0, bottom), (self.across.1, bottom)], AXIS);
        for value in &ticks.values {
            let x = self.column(*value);
            scene.line(vec![(x, bottom), (x, bottom + TICK)], AXIS);
            if name.is_some() {
                let label = number(*value, ticks.decimals);
                scene.text(Text::new(x, bottom + TICK + 14.0, NUMBER_SIZE, label).anchor(Anchor::Middle));
            }
        }
        if let Some(name) = name {
            let middle = 0.5 * (self.across.0 + self.across.1);
            scene.text(Text::new(middle, bottom + 39.0, NAME_SIZE, name).anchor(Anchor::Middle));
        }
    }

    /// A thin line across the panel.
    pub(super) fn guide(&self, scene: &mut Scene, y: f64) {
        let y = self.row(y);
        scene.line(
            vec![(self.across.0, y), (self.across.1, y)],
            Stroke::new(GREY, 0.8),
        );
    }
}

/// Round values along an axis.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ticks {
    pub(super) values: Vec<f64>,
    decimals: usize,
}

impl Ticks {
    /// Multiples of 1, 2 or 5 times a power of ten within `low..=high`, at most `most` (and at least two).
    pub(super) fn within((low, high): (f64, f64), most: u32) -> Self {
        let rough = ((high - low) / f64::from(most.max(2))).max(1e-12);
        let power = 10.0_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .map(|m| m * power)
            .into_iter()
            .find(|step| *step >= rough * 0.999_999);
        let step = step.unwrap_or(10.0 * power);
        let first = (low / step - 1e-9).ceil();
        let count = ((high / step + 1e-9).floor() - first).max(0.0) as u32;
        let values = (0..=count).map(|i| (first + f64::from(i)) * step).collect();
        Self {
            values,
            decimals: (-(step.log10() + 1e-9).floor()).max(0.0) as usize,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within() {
        let ticks = |range, most| {
            let ticks = Ticks::within(range, most);
            ticks
                .values
                .iter()
                .map(|value| number(*value, ticks.decimals))
                .collect::<Vec<_>>()
        };
        assert_eq!(ticks((0.0, 14.0), 8), ["0", "2", "4", "6", "8", "10", "12", "14"]);
        assert_eq!(ticks((-0.021, 0.034), 5), ["−0.02", "0.00", "0.02"]);
        assert_eq!(
            ticks((-1.62, 1.62), 8),
            ["−1.5", "−1.0", "−0.5", "0.0", "0.5", "1.0", "1.5"]
        );
    }

    #[test]
    fn values_lie_between_the_edges() {
        let frame = Frame {
            across: (10.0, 110.0),
            down: (20.0, 70.0),
            x: (-1.0, 1.0),
            y: (0.0, 5.0),
        };
        assert_eq!(frame.at(-1.0, 0.0), (10.0, 70.0));
        assert_eq!(frame.at(1.0, 5.0), (110.0, 20.0));
    }
}
