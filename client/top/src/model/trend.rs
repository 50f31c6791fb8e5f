//! How a number went over time, in bounded memory: the finer, the nearer to now.

use std::collections::VecDeque;
use std::time::Duration;

/// Points that are kept: at one a second, an hour and more.
const POINTS: usize = 4_096;

/// A number at a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// When.
    pub at: Duration,
    /// The number.
    pub value: f64,
}

/// A number over time.
#[derive(Clone, Debug, Default)]
pub struct Trend {
    points: VecDeque<Point>,
}

impl Trend {
    /// The number is `value` now.
    pub fn add(&mut self, at: Duration, value: f64) {
        if self.points.len() == POINTS {
            self.points.pop_front();
        }
        self.points.push_back(Point { at, value });
    }

    /// The last number.
    pub fn last(&self) -> Option<f64> {
        self.points.back().map(|point| point.value)
    }

    /// Forgets all: another pilot begins.
    pub fn clear(&mut self) {
        self.points.clear();
    }

    /// The means over `count` spans of `span` each, the last of which ends at `now`; none where nothing was said.
    ///
    /// A number holds until the next one, for as long as `holds`.
    pub fn means(&self, now: Duration, span: Duration, count: usize, holds: Duration) -> Vec<Option<f64>> {
        let mut sums = vec![(0.0, 0_u32); count];
        let span_s = span.as_secs_f64().max(1e-3);
        let place = |at: Duration| {
            let age = now.saturating_sub(at).as_secs_f64();
            // What was said at the end of a span belongs to the next one; what is said now to the last.
            let back = (age / span_s).ceil().max(1.0) as usize;
            count.checked_sub(back)
        };
        for point in &self.points {
            if let Some((sum, number)) = place(point.at).and_then(|place| sums.get_mut(place)) {
                *sum += point.value;
                *number += 1;
            }
        }
        let mut means: Vec<Option<f64>> = sums
            .into_iter()
            .map(|(sum, number)| (number > 0).then(|| sum / f64::from(number)))
            .collect();
        let most = (holds.as_secs_f64() / span_s).ceil() as usize;
        let mut held: Option<(f64, usize)> = None;
        for mean in &mut means {
            match (*mean, held) {
                (Some(value), _) => held = Some((value, 0)),
                (None, Some((value, since))) if since < most => {
                    *mean = Some(value);
                    held = Some((value, since + 1));
                }
                (None, _) => held = None,
            }
        }
        means
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn means_of_spans_and_gaps() {
        let mut trend = Trend::default();
        for (at, value) in [(1, 2.0), (2, 4.0), (8, 10.0)] {
            trend.add(at * SECOND, value);
        }
        let means = trend.means(10 * SECOND, 2 * SECOND, 5, Duration::ZERO);
        assert_eq!(
            means,
            [Some(2.0), Some(4.0), None, None, Some(10.0)].map(|mean| mean)
        );
        let held = trend.means(10 * SECOND, 2 * SECOND, 5, 2 * SECOND);
        assert_eq!(held, [Some(2.0), Some(4.0), Some(4.0), None, Some(10.0)]);
        assert_eq!(trend.last(), Some(10.0));
    }

    #[test]
    fn memory_is_bounded() {
        let mut trend = Trend::default();
        for second in 0..10_000_u32 {
            trend.add(second * SECOND, f64::from(second));
        }
        assert_eq!(trend.points.len(), POINTS);
        assert_eq!(trend.means(10_000 * SECOND, SECOND, 1, SECOND), [Some(9_999.0)]);
    }
}
