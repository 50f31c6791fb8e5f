//! Charts, as the template draws them: shapes in a fixed frame, ticks and what they are called.

use scalems_agent::journal::history::sums::{Bin, Load};
use scalems_agent::journal::history::{Moment, Outcome};
use serde::Serialize;

use super::words;

/// The frame of a chart over time: where its area begins and ends.
pub(super) const LEFT: f64 = 56.0;
pub(super) const RIGHT: f64 = 944.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 178.0;

/// A mark on an axis.
#[derive(Debug, Serialize)]
pub(super) struct Tick {
    pub(super) at: String,
    pub(super) text: String,
}

/// A shape of one kind.
#[derive(Debug, Serialize)]
pub(super) struct Shape {
    /// What it stands for, which is how it is drawn.
    pub(super) class: &'static str,
    /// An SVG path.
    pub(super) path: String,
}

/// A chart over time.
#[derive(Debug, Serialize)]
pub(super) struct Chart {
    pub(super) shapes: Vec<Shape>,
    pub(super) x: Vec<Tick>,
    pub(super) y: Vec<Tick>,
}

/// Time on the horizontal axis, from the first thing that happened to the last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    pub(super) from_us: u64,
    pub(super) upto_us: u64,
    pub(super) left: f64,
    pub(super) right: f64,
}

impl Scale {
    pub(super) fn x(&self, time_us: u64) -> f64 {
        let long = self.upto_us.saturating_sub(self.from_us).max(1) as f64;
        let at = time_us.clamp(self.from_us, self.upto_us) - self.from_us;
        self.left + (self.right - self.left) * at as f64 / long
    }

    /// Marks at round times since the first thing that happened.
    pub(super) fn ticks(&self) -> Vec<Tick> {
        let long = self.upto_us.saturating_sub(self.from_us).max(1);
        let step = time_step(long);
        (0..=long / step)
            .map(|nth| Tick {
                at: words::pixels(self.x(self.from_us + nth * step)),
                text: words::time_step(nth * step),
            })
            .collect()
    }
}

/// The least round time of which eight or fewer fit.
fn time_step(long: u64) -> u64 {
    const SECOND: u64 = 1_000_000;
    let small = (0..7).flat_map(|digits| [1, 2, 5].map(|first| first * 10_u64.pow(digits)));
    let seconds = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1_200, 1_800].map(|seconds| seconds * SECOND);
    let hours = [1, 2, 4, 6, 12, 24].map(|hours| hours * 3_600 * SECOND);
    let days = (1..20).map(|power| 24 * 3_600 * SECOND * (1 << power));
    let mut all = small
        .filter(|step| *step < SECOND)
        .chain(seconds)
        .chain(hours)
        .chain(days);
    all.find(|step| long / step <= 8).unwrap_or(long)
}

/// The height of a number, where the top is `most`.
fn y(value: f64, most: f64) -> f64 {
    BOTTOM - (BOTTOM - TOP) * (value / most).clamp(0.0, 1.0)
}

/// A round number that is no less, and the marks up to it.
fn heights(most: f64) -> (f64, Vec<Tick>) {
    let most = if most > 0.0 { most } else { 1.0 };
    let unit = 10_f64.powf(most.log10().floor());
    let step = [0.2, 0.5, 1.0, 2.0].map(|part| part * unit);
    let step = step
        .into_iter()
        .find(|step| most / step <= 4.0)
        .unwrap_or(unit * 5.0);
    let count = (most / step).ceil().max(1.0);
    let top = step * count;
    let text = |value: f64| {
        if value.fract() == 0.0 {
            words::count(value as u64)
        } else {
            format!("{value}")
        }
    };
    let ticks = (0..=count as u32).map(|nth| {
        let value = step * f64::from(nth);
        Tick {
            at: words::pixels(y(value, top)),
            text: text(value),
        }
    });
    (top, ticks.collect())
}

/// What was in use, by how it ended, the good at the bottom; as areas of steps. Without cores in use anywhere, how many tasks
/// ran.
pub(super) fn utilisation(loads: &[Load], scale: Scale) -> Chart {
    let cores = loads
        .iter()
        .any(|load| load.cores.iter().any(|cores| *cores > 0.0));
    let all = |load: &Load| {
        if cores {
            load.cores.iter().sum()
        } else {
            load.running
        }
    };
    let most = loads.iter().map(all).fold(0.0, f64::max);
    let (top, ticks) = heights(most);
    let mut below = vec![0.0; loads.len()];
    let mut shapes = Vec::new();
    for outcome in Outcome::ALL {
        let of = |load: &Load| match (cores, outcome) {
            (true, outcome) => load.cores[outcome as usize],
            (false, Outcome::Done) => load.running,
            (false, _) => 0.0,
        };
        if !loads.iter().any(|load| of(load) > 0.0) {
            continue;
        }
        let above: Vec<f64> = loads
            .iter()
            .zip(&below)
            .map(|(load, below)| below + of(load))
            .collect();
        let mut path = String::new();
        let steps = |values: &[f64], forth: bool| {
            let points = loads.iter().zip(values).map(|(load, value)| {
                let (left, right) = (scale.x(load.from_us), scale.x(load.upto_us));
                let (first, second) = if forth { (left, right) } else { (right, left) };
                let height = words::pixels(y(*value, top));
                format!("L{} {height}H{}", words::pixels(first), words::pixels(second))
            });
            let mut points: Vec<String> = points.collect();
            if !forth {
                points.reverse();
            }
            points.concat()
        };
        path.push_str(&steps(&above, true));
        path.push_str(&steps(&below, false));
        path.replace_range(0..1, "M");
        path.push('Z');
        shapes.push(Shape {
            class: outcome.name(),
            path,
        });
        below = above;
    }
    Chart {
        shapes,
        x: scale.ticks(),
        y: ticks,
    }
}

/// How many tasks waited and ran, as lines.
pub(super) fn states(moments: &[(u64, Moment)], scale: Scale) -> Chart {
    let most = moments
        .iter()
        .map(|(_, moment)| moment.waiting.max(moment.running))
        .max();
    let (top, ticks) = heights(most.unwrap_or(0) as f64);
    let line = |class, of: fn(&Moment) -> u64| {
        let points = moments.iter().enumerate().map(|(nth, (time, moment))| {
            let begin = if nth == 0 { 'M' } else { 'L' };
            let height = words::pixels(y(of(moment) as f64, top));
            format!("{begin}{} {height}", words::pixels(scale.x(*time)))
        });
        let path = points.collect();
        Shape { class, path }
    };
    Chart {
        shapes: vec![
            line("waiting", |moment| moment.waiting),
            line("running", |moment| moment.running),
        ],
        x: scale.ticks(),
        y: ticks,
    }
}

/// A bar of a histogram.
#[derive(Debug, Serialize)]
pub(super) struct Bar {
    pub(super) x: String,
    pub(super) y: String,
    pub(super) width: String,
    pub(super) height: String,
    pub(super) text: String,
    pub(super) count: String,
    /// What stands under it; nothing under some where there are many.
    pub(super) label: Option<String>,
    /// Where that stands.
    pub(super) middle: String,
}

/// A histogram.
#[derive(Debug, Serialize)]
pub(super) struct Histogram {
    pub(super) bars: Vec<Bar>,
    pub(super) y: Vec<Tick>,
}

/// Counts between steps, with the steps called by `name`.
pub(super) fn histogram(bins: &[Bin], name: fn(u64) -> String) -> Histogram {
    const WIDE: (f64, f64) = (48.0, 308.0);
    let most = bins.iter().map(|bin| bin.count).max().unwrap_or(0);
    let (top, ticks) = heights(most as f64);
    let each = (WIDE.1 - WIDE.0) / bins.len().max(1) as f64;
    let every = bins.len().div_ceil(5).max(1);
    let bars = bins.iter().enumerate().map(|(nth, bin)| {
        let x = WIDE.0 + each * nth as f64;
        let height = y(bin.count as f64, top);
        // One among many is seen too.
        let height = if bin.count > 0 {
            height.min(BOTTOM - 1.5)
        } else {
            height
        };
        Bar {
            x: words::pixels(x + 0.5),
            y: words::pixels(height),
            width: words::pixels((each - 1.0).clamp(0.5, 60.0)),
            height: words::pixels(BOTTOM - height),
            text: format!("{} to {}", name(bin.from), name(bin.upto)),
            count: words::count(bin.count),
            label: nth.is_multiple_of(every).then(|| name(bin.from)),
            middle: words::pixels(x),
        }
    });
    Histogram {
        bars: bars.collect(),
        y: ticks,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_a_few_marks_at_round_times() {
        for (long, step) in [
            (1, 1),
            (70_000, 10_000),
            (8_000_000, 1_000_000),
            (100_000_000, 20_000_000),
            (7_200_000_000, 1_200_000_000),
            (864_000_000_000, 172_800_000_000),
        ] {
            assert_eq!(time_step(long), step, "{long}");
        }
        assert!((1..64).all(|power| (1_u64 << power) / time_step(1 << power) <= 8));
    }

    #[test]
    fn heights_end_above_the_highest() {
        for (most, top, marks) in [
            (0.0, 1.0, 3),
            (1.0, 1.0, 3),
            (6.0, 6.0, 4),
            (7.0, 8.0, 5),
            (16.0, 20.0, 5),
            (999.0, 1_000.0, 3),
        ] {
            let (found, ticks) = heights(most);
            assert!((found - top).abs() < 1e-9, "{most}: {found}");
            assert_eq!(ticks.len(), marks, "{most}");
        }
    }
}
