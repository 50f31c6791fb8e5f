//! From the replicas' histograms to a free energy with error bars.

use std::path::Path;

use crate::dynamics::Stream;
use crate::error::DemoError;
use crate::histogram::{BIN_NM, BINS, Histogram, edge_nm};
use crate::model::{self, KT, UMBRELLA_SPRING};
use crate::replica::{BLOCKS, GENERATIONS_MAX, WINDOWS};
use crate::store::{self, Sampled, result_path};
use crate::wham::Wham;

/// Fine bins to a point of the profile: 0.05 nm.
const BINS_PER_POINT: usize = 10;
/// The first fine bin of the region that is reported, −1.5 nm.
const FIRST_BIN: usize = 100;
/// Points of the profile, up to 1.5 nm.
const POINTS: usize = 60;
/// Resampled data sets behind the error bars: they make an error bar good to 7 %.
const RESAMPLES: u32 = 100;
/// Fine bins to a value of a window's density, for drawing.
const BINS_PER_DENSITY: usize = 2;

/// The free energy along x as it was measured, beside the exact one.
///
/// Energies are in kT. Zero is the lowest point of the exact curve; both curves are aligned by the total
/// probability of the region, so no constant is fitted.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// Generations that went into it, from the first.
    pub generations: u32,
    /// Points at even distances over the region.
    pub points: Vec<Point>,
    /// From the left well's bottom to the top of the barrier.
    pub left_depth: Quantity,
    /// From the right well's bottom to the top of the barrier.
    pub right_depth: Quantity,
    /// Free energy of being on the right of the barrier less that of being on the left: `−ln P(right)/P(left)`.
    pub right_over_left: Quantity,
    /// Root mean square of measured less exact over all points.
    pub rms_error: f64,
    /// What each window sampled, for the picture.
    pub densities: Vec<WindowDensity>,
    /// Least overlap of two neighbouring windows: 1 for equal densities, 0 for disjoint ones.
    pub least_overlap: f64,
    /// Mean temperature of the motion over all replicas.
    pub kinetic_temperature_k: f64,
    /// Time simulated by all replicas together.
    pub simulated_ns: f64,
    /// Positions that were counted.
    pub samples: u64,
    /// Newton iterations that WHAM took.
    pub iterations: u32,
    /// What one more self-consistent iteration would change in a window's free energy, at most.
    pub residual: f64,
}

/// One point of the profile: the mean over an interval around `x_nm`, measured and exact alike.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Middle of the interval.
    pub x_nm: f64,
    /// As measured.
    pub measured: f64,
    /// Standard error by bootstrap over blocks.
    pub error: f64,
    /// As it is.
    pub exact: f64,
}

/// A number that was measured and is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantity {
    /// As measured.
    pub measured: f64,
    /// Standard error by bootstrap over blocks.
    pub error: f64,
    /// As it is.
    pub exact: f64,
}

/// What one window sampled.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowDensity {
    /// Where its restraint pulls to.
    pub centre_nm: f64,
    /// Position and probability density (per nm), in order.
    pub curve: Vec<(f64, f64)>,
}

/// All blocks of one window, over the generations.
struct WindowBlocks {
    blocks: Vec<Histogram>,
    samples: f64,
}

/// Free energies that come out of one solution, measured or exact.
struct Estimate {
    points: Vec<f64>,
    right_over_left: f64,
}

/// Where the exact profile has its wells and its barrier, as indices of points.
struct Landmarks {
    left: usize,
    barrier: usize,
    right: usize,
}

/// Unites all windows of the generations 1 to `generations` whose results lie in `dir`.
///
/// Error bars come from a bootstrap over blocks of each trajectory with fixed random numbers, so the same files
/// give the same profile.
///
/// # Errors
///
/// [`DemoError::File`] names the first result that is missing or damaged; [`DemoError::Gap`],
/// [`DemoError::Disjoint`] and [`DemoError::NotConverged`] say that there was too little sampling.
pub fn analyse(dir: &Path, generations: u32) -> Result<Profile, DemoError> {
    if !(1..=GENERATIONS_MAX).contains(&generations) {
        let value = generations.into();
        return Err(DemoError::Argument {
            name: "generations",
            value,
            allowed: "from 1 to 99",
        });
    }
    let mut results = Vec::new();
    for window in 0..WINDOWS {
        for generation in 1..=generations {
            let path = result_path(dir, window, generation);
            results.push(store::read::<Sampled>(&path, window, generation)?);
        }
    }
    let windows: Vec<WindowBlocks> = results
        .chunks(generations as usize)
        .map(|results| {
            let blocks: Vec<Histogram> = results.iter().flat_map(|result| result.blocks.clone()).collect();
            let samples = blocks.iter().map(Histogram::total).sum::<u64>() as f64;
            WindowBlocks { blocks, samples }
        })
        .collect();

    let centres: Vec<f64> = (0..WINDOWS)
        .map(|window| model::centre_nm(window, WINDOWS))
        .collect();
    let histograms: Vec<[f64; BINS]> = windows.iter().map(|window| sum(&window.blocks)).collect();
    let pooled = pool(&histograms);
    let samples: Vec<f64> = windows.iter().map(|window| window.samples).collect();
    let wham = Wham::new(&centres);
    let solution = wham.solve(&pooled, &samples, &first_guess(&centres, &histograms))?;
    let measured = Estimate::of_density(&solution.density)?;
    let exact = Estimate::exact();
    let landmarks = Landmarks::of(&exact.points);

    let mut spread = Spread::new(&measured, &landmarks);
    let mut random = Stream::new("bootstrap", 0, &[generations]);
    for _ in 0..RESAMPLES {
        let mut pooled = [0.0; BINS];
        let mut drawn = vec![0.0; windows.len()];
        for (window, drawn) in windows.iter().zip(&mut drawn) {
            for _ in &window.blocks {
                let block = &window.blocks[random.below(window.blocks.len())];
                block.add_to(&mut pooled);
                *drawn += block.total() as f64;
            }
        }
        let resampled = wham.solve(&pooled, &drawn, &solution.offsets)?;
        spread.add(&Estimate::of_density(&resampled.density)?, &landmarks);
    }
    // Blocks drawn with replacement vary by (n − 1)/n less than new ones would.
    let blocks = f64::from(BLOCKS * generations);
    let errors = spread.errors(blocks / (blocks - 1.0));

    let zero = exact.points[landmarks.left].min(exact.points[landmarks.right]);
    let points: Vec<Point> = (0..POINTS)
        .map(|index| Point {
            x_nm: edge_nm(FIRST_BIN + index * BINS_PER_POINT) + 0.5 * BINS_PER_POINT as f64 * BIN_NM,
            measured: measured.points[index] - zero,
            error: errors[index],
            exact: exact.points[index] - zero,
        })
        .collect();
    let square: f64 = points
        .iter()
        .map(|point| (point.measured - point.exact).powi(2))
        .sum();
    let derived = measured
        .derived(&landmarks)
        .into_iter()
        .zip(exact.derived(&landmarks))
        .zip(&errors[POINTS..]);
    let derived: Vec<Quantity> = derived
        .map(|((measured, exact), error)| Quantity {
            measured,
            error: *error,
            exact,
        })
        .collect();

    let replicas = results.len() as f64;
    let steps: u64 = results.iter().map(|result| result.steps).sum();
    Ok(Profile {
        generations,
        rms_error: (square / POINTS as f64).sqrt(),
        points,
        left_depth: derived[0],
        right_depth: derived[1],
        right_over_left: derived[2],
        least_overlap: least_overlap(&histograms, &samples),
        densities: centres
            .iter()
            .zip(&histograms)
            .map(|(centre, counts)| density(*centre, counts))
            .collect(),
        kinetic_temperature_k: results
            .iter()
            .map(|result| result.kinetic_temperature_k)
            .sum::<f64>()
            / replicas,
        simulated_ns: steps as f64 * crate::dynamics::TIME_STEP_PS / 1000.0,
        samples: samples.iter().sum::<f64>() as u64,
        iterations: solution.iterations,
        residual: solution.residual,
    })
}

impl Estimate {
    /// From probabilities on the fine grid.
    fn of_density(density: &[f64]) -> Result<Self, DemoError> {
        let region = &density[FIRST_BIN..FIRST_BIN + POINTS * BINS_PER_POINT];
        let inside: f64 = region.iter().sum();
        let mut points = Vec::with_capacity(POINTS);
        for (index, bins) in region.chunks(BINS_PER_POINT).enumerate() {
            let probability: f64 = bins.iter().sum();
            if probability <= 0.0 {
                let first = FIRST_BIN + index * BINS_PER_POINT;
                return Err(DemoError::Gap {
                    low_nm: edge_nm(first),
                    high_nm: edge_nm(first + BINS_PER_POINT),
                });
            }
            points.push(-(probability / inside).ln());
        }
        Ok(Self::from_points(points))
    }

    fn exact() -> Self {
        let end = |point: usize| edge_nm(FIRST_BIN + point * BINS_PER_POINT);
        let inside = model::free_energy_of(end(0), end(POINTS));
        Self::from_points(
            (0..POINTS)
                .map(|point| model::free_energy_of(end(point), end(point + 1)) - inside)
                .collect(),
        )
    }

    fn from_points(points: Vec<f64>) -> Self {
        // The barrier's top is at x = 0 to within a point; there the probability is too small to matter.
        let side = |points: &[f64]| -points.iter().map(|f| (-f).exp()).sum::<f64>().ln();
        let (left, right) = points.split_at(POINTS / 2);
        Self {
            right_over_left: side(right) - side(left),
            points,
        }
    }

    /// The depths of the left and the right well and the difference between the sides.
    fn derived(&self, at: &Landmarks) -> [f64; 3] {
        let top = self.points[at.barrier];
        [
            top - self.points[at.left],
            top - self.points[at.right],
            self.right_over_left,
        ]
    }
}

impl Landmarks {
    /// Taken from the exact profile and used for both: a minimum taken over noisy points would be too low.
    fn of(exact: &[f64]) -> Self {
        let (left, right) = exact.split_at(POINTS / 2);
        let lowest = |points: &[f64]| {
            let order = |a: &usize, b: &usize| points[*a].total_cmp(&points[*b]);
            (0..points.len()).min_by(order).expect("a side has points")
        };
        let (left, right) = (lowest(left), POINTS / 2 + lowest(right));
        let barrier = (left..=right)
            .max_by(|a, b| exact[*a].total_cmp(&exact[*b]))
            .expect("two wells");
        Self { left, barrier, right }
    }
}

/// Sums over the resampled data sets, of deviations from the estimate to keep digits.
struct Spread {
    around: Vec<f64>,
    sum: Vec<f64>,
    square: Vec<f64>,
    count: f64,
}

impl Spread {
    fn new(estimate: &Estimate, landmarks: &Landmarks) -> Self {
        let around = Self::values(estimate, landmarks);
        let zero = vec![0.0; around.len()];
        Self {
            around,
            sum: zero.clone(),
            square: zero,
            count: 0.0,
        }
    }

    fn values(estimate: &Estimate, landmarks: &Landmarks) -> Vec<f64> {
        estimate
            .points
            .iter()
            .copied()
            .chain(estimate.derived(landmarks))
            .collect()
    }

    fn add(&mut self, estimate: &Estimate, landmarks: &Landmarks) {
        self.count += 1.0;
        for (index, value) in Self::values(estimate, landmarks).into_iter().enumerate() {
            let deviation = value - self.around[index];
            self.sum[index] += deviation;
            self.square[index] += deviation * deviation;
        }
    }

    /// Standard deviations, with the variance multiplied by `correction`.
    fn errors(&self, correction: f64) -> Vec<f64> {
        let variance = |(sum, square): (&f64, &f64)| (square - sum * sum / self.count) / (self.count - 1.0);
        self.sum
            .iter()
            .zip(&self.square)
            .map(|pair| (variance(pair).max(0.0) * correction).sqrt())
            .collect()
    }
}

/// Windows' free energies by integrating the mean force of the restraints from centre to centre.
fn first_guess(centres_nm: &[f64], histograms: &[[f64; BINS]]) -> Vec<f64> {
    let force: Vec<f64> = centres_nm
        .iter()
        .zip(histograms)
        .map(|(centre, counts)| {
            let total: f64 = counts.iter().sum();
            let mean = |(bin, count): (usize, &f64)| count * (edge_nm(bin) + 0.5 * BIN_NM);
            let mean_nm = counts.iter().enumerate().map(mean).sum::<f64>() / total;
            UMBRELLA_SPRING / KT * (centre - mean_nm)
        })
        .collect();
    let mut offsets = vec![0.0; centres_nm.len()];
    for window in 1..offsets.len() {
        let distance = centres_nm[window] - centres_nm[window - 1];
        offsets[window] = offsets[window - 1] + 0.5 * (force[window - 1] + force[window]) * distance;
    }
    offsets
}

fn sum(blocks: &[Histogram]) -> [f64; BINS] {
    let mut counts = [0.0; BINS];
    for block in blocks {
        block.add_to(&mut counts);
    }
    counts
}

fn pool(histograms: &[[f64; BINS]]) -> [f64; BINS] {
    let mut pooled = [0.0; BINS];
    for counts in histograms {
        pooled
            .iter_mut()
            .zip(counts)
            .for_each(|(sum, count)| *sum += count);
    }
    pooled
}

fn least_overlap(histograms: &[[f64; BINS]], samples: &[f64]) -> f64 {
    let pairs = histograms.windows(2).zip(samples.windows(2));
    let overlap = |(counts, n): (&[[f64; BINS]], &[f64])| -> f64 {
        counts[0]
            .iter()
            .zip(&counts[1])
            .map(|(a, b)| (a / n[0]).min(b / n[1]))
            .sum()
    };
    pairs.map(overlap).fold(1.0, f64::min)
}

fn density(centre_nm: f64, counts: &[f64; BINS]) -> WindowDensity {
    let total: f64 = counts.iter().sum();
    let width = BINS_PER_DENSITY as f64 * BIN_NM;
    let values: Vec<f64> = counts
        .chunks(BINS_PER_DENSITY)
        .map(|c| c.iter().sum::<f64>() / total / width)
        .collect();
    let first = values.iter().position(|v| *v > 0.0).unwrap_or(0);
    let last = values.iter().rposition(|v| *v > 0.0).unwrap_or(0);
    // One empty value on either side closes the curve at the base line.
    let shown = first.saturating_sub(1)..(last + 2).min(values.len());
    let curve = shown
        .map(|i| (edge_nm(i * BINS_PER_DENSITY) + 0.5 * width, values[i]))
        .collect();
    WindowDensity { centre_nm, curve }
}
