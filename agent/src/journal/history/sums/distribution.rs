//! How numbers are distributed.

/// Numbers, by how many there are of each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Distribution {
    /// How many.
    pub count: u64,
    /// The least, the middle one, those that 95 and 99 of a hundred are no larger than, and the largest.
    pub min: u64,
    /// The middle one.
    pub median: u64,
    /// 95 of a hundred are no larger.
    pub p95: u64,
    /// 99 of a hundred are no larger.
    pub p99: u64,
    /// The largest.
    pub max: u64,
    /// All together.
    pub sum: u128,
    /// How many there are between the steps 0, 1, 2, 5, 10, …, from the first to the last that has some.
    pub bins: Vec<Bin>,
}

/// Numbers between two steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bin {
    /// They are no less than this.
    pub from: u64,
    /// And less than this.
    pub upto: u64,
    /// How many.
    pub count: u64,
}

impl Distribution {
    /// The mean.
    pub fn mean(&self) -> f64 {
        self.sum as f64 / self.count.max(1) as f64
    }
}

/// The step that a number lies behind: 0, 1, 2, 5, 10, 20, 50, ….
fn step(value: u64) -> u64 {
    let Some(digits) = value.checked_ilog10() else {
        return 0;
    };
    let unit = 10_u64.pow(digits);
    match value / unit {
        0 | 1 => unit,
        2..5 => 2 * unit,
        _ => 5 * unit,
    }
}

fn next_step(step: u64) -> u64 {
    match step.to_string().as_bytes().first() {
        Some(b'0') => 1,
        Some(b'2') => (step / 2).saturating_mul(5),
        _ => step.saturating_mul(2),
    }
}

/// The distribution of numbers, each with how often it is there.
pub fn distribution(mut numbers: Vec<(u64, u64)>) -> Distribution {
    numbers.retain(|(_, count)| *count > 0);
    numbers.sort_unstable();
    let (Some(first), Some(last)) = (numbers.first(), numbers.last()) else {
        return Distribution::default();
    };
    let count = numbers.iter().map(|(_, count)| *count).sum::<u64>();
    let mut found = Distribution {
        count,
        min: first.0,
        max: last.0,
        sum: numbers
            .iter()
            .map(|(value, count)| u128::from(*value) * u128::from(*count))
            .sum(),
        ..Distribution::default()
    };
    // The nth of them all, counted from 1.
    let nth = |hundredths: u64| (u128::from(count) * u128::from(hundredths)).div_ceil(100).max(1);
    let mut marks = [
        (nth(50), &mut found.median),
        (nth(95), &mut found.p95),
        (nth(99), &mut found.p99),
    ];
    let mut seen = 0_u128;
    for (value, count) in &numbers {
        let before = seen;
        seen += u128::from(*count);
        for (nth, mark) in &mut marks {
            if before < *nth && *nth <= seen {
                **mark = *value;
            }
        }
        let from = step(*value);
        while let Some(bin) = found.bins.last()
            && bin.upto < from
        {
            let (from, upto) = (bin.upto, next_step(bin.upto));
            found.bins.push(Bin { from, upto, count: 0 });
        }
        match found.bins.last_mut() {
            Some(bin) if bin.from == from => bin.count += count,
            _ => found.bins.push(Bin {
                from,
                upto: next_step(from),
                count: *count,
            }),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_go_on_by_one_two_and_five() {
        let mut steps = vec![0];
        while steps.len() < 9 {
            steps.push(next_step(*steps.last().unwrap()));
        }
        assert_eq!(steps, [0, 1, 2, 5, 10, 20, 50, 100, 200]);
        for (value, under) in [(0, 0), (1, 1), (4, 2), (9, 5), (10, 10), (19, 10), (999, 500)] {
            assert_eq!(step(value), under, "{value}");
        }
        assert_eq!(step(u64::MAX), 10_000_000_000_000_000_000);
    }

    #[test]
    fn of_nothing_there_is_nothing() {
        assert_eq!(distribution(vec![(3, 0)]), Distribution::default());
    }

    #[test]
    fn each_number_counts_as_often_as_it_is_there() {
        let found = distribution(vec![(100, 1), (3, 98), (1_000, 1)]);
        assert_eq!(
            (found.count, found.min, found.max, found.sum),
            (100, 3, 1_000, 1_394)
        );
        assert_eq!((found.median, found.p95, found.p99), (3, 3, 100));
        let bins: Vec<_> = found.bins.iter().map(|bin| (bin.from, bin.count)).collect();
        assert_eq!(
            bins,
            [
                (2, 98),
                (5, 0),
                (10, 0),
                (20, 0),
                (50, 0),
                (100, 1),
                (200, 0),
                (500, 0),
                (1_000, 1)
            ]
        );
        // The largest number there is lies in a bin too.
        assert_eq!(distribution(vec![(u64::MAX, 1), (0, 1)]).bins.len(), 59);
    }
}
