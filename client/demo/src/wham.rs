//! Joins the windows: the weighted histogram analysis method, solved as a convex problem.
//!
//! With `M_l` counts in bin l over all windows, `N_i` samples of window i and `c_il` the mean Boltzmann factor of
//! restraint i in bin l, the most likely density is `p_l = M_l / Σ_i N_i exp(g_i) c_il`, where the windows' free
//! energies g (in kT) minimise `Σ_l M_l ln Σ_i N_i exp(g_i) c_il − Σ_i N_i g_i` (Zhu and Hummer, 2012). The
//! function is convex, so Newton's method with a step that is halved until the function falls gets there in a few
//! iterations, where iterating the WHAM equations themselves takes thousands.

use crate::error::DemoError;
use crate::histogram::{BIN_NM, BINS, edge_nm};
use crate::model::umbrella;

/// Converged when one more self-consistent iteration would change no window's free energy by more (in kT).
pub(crate) const TOLERANCE: f64 = 1e-9;
/// Newton's method takes four to eight; what has not converged by now never will.
pub(crate) const ITERATIONS_MAX: u32 = 50;
/// Restraints of more than this (in kT) have no counts and are left out: exp(−100) is 4e-44.
const UMBRELLA_MAX: f64 = 100.0;
/// Shares of a window in a bin below this are left out of the curvature, which decides how fast the minimum is
/// found but not where it is.
const SHARE_MIN: f64 = 1e-6;

/// The restraints on the grid, made once and used for every solution.
pub(crate) struct Wham {
    /// For each bin, the windows that reach it and their mean Boltzmann factor there.
    factors: Vec<Vec<(usize, f64)>>,
    windows: usize,
}

/// The joined windows.
pub(crate) struct Solution {
    /// Probability of each bin, summing to 1.
    pub(crate) density: Vec<f64>,
    /// Free energy of each window relative to the first, in kT: what the next solution may start from.
    pub(crate) offsets: Vec<f64>,
    pub(crate) iterations: u32,
    pub(crate) residual: f64,
}

/// The function to minimise with its derivatives, at one point.
struct Slope {
    value: f64,
    gradient: Vec<f64>,
    /// Row by row, the lower triangle.
    curvature: Vec<f64>,
    residual: f64,
}

impl Wham {
    pub(crate) fn new(centres_nm: &[f64]) -> Self {
        let factors = (0..BINS)
            .map(|bin| {
                let reach = centres_nm.iter().enumerate();
                reach
                    .filter_map(|(window, centre)| mean_factor(*centre, bin).map(|c| (window, c)))
                    .collect()
            })
            .collect();
        Self {
            factors,
            windows: centres_nm.len(),
        }
    }

    /// Solves for the density. `pooled` has the counts of all windows, `samples` each window's number, and `start`
    /// a guess of the windows' free energies.
    pub(crate) fn solve(
        &self,
        pooled: &[f64; BINS],
        samples: &[f64],
        start: &[f64],
    ) -> Result<Solution, DemoError> {
        let mut offsets = start.to_vec();
        let mut here = self.slope(pooled, samples, &offsets);
        let mut iterations = 0;
        loop {
            // The first window's free energy is the reference and stays. That the rest is determined is asked
            // even of a point that is good already: windows without a common sample are content with any offset.
            let step = solve_positive(&here.curvature, &here.gradient).ok_or(DemoError::Disjoint)?;
            if here.residual <= TOLERANCE {
                break;
            }
            let failed = DemoError::NotConverged {
                iterations,
                residual: here.residual,
            };
            if iterations == ITERATIONS_MAX {
                return Err(failed);
            }
            iterations += 1;
            let mut length = 1.0;
            here = loop {
                let trial: Vec<f64> = offsets.iter().zip(&step).map(|(g, s)| g - length * s).collect();
                let there = self.slope(pooled, samples, &trial);
                // Close to the minimum the values differ by rounding alone; there the residual decides.
                if there.value < here.value || there.residual < here.residual {
                    offsets = trial;
                    break there;
                }
                length *= 0.5;
                if length < 1e-6 {
                    return Err(failed);
                }
            };
        }
        Ok(Solution {
            density: self.density(pooled, samples, &offsets),
            offsets,
            iterations,
            residual: here.residual,
        })
    }

    fn slope(&self, pooled: &[f64; BINS], samples: &[f64], offsets: &[f64]) -> Slope {
        let n = self.windows;
        let weights = weights(samples, offsets);
        let mut visits = vec![0.0; n];
        let mut curvature = vec![0.0; n * n];
        let mut value = -samples
            .iter()
            .zip(offsets)
            .map(|(count, g)| count * g)
            .sum::<f64>();
        let mut shares: Vec<(usize, f64)> = Vec::with_capacity(n);
        for (factors, count) in self.factors.iter().zip(pooled).filter(|(_, count)| **count > 0.0) {
            let total: f64 = factors.iter().map(|(window, c)| weights[*window] * c).sum();
            value += count * total.ln();
            shares.clear();
            for (window, c) in factors {
                let share = weights[*window] * c / total;
                visits[*window] += count * share;
                if share > SHARE_MIN {
                    shares.push((*window, share));
                }
            }
            // The lower triangle is all that is read: the windows come in order.
            for (index, (a, share)) in shares.iter().enumerate() {
                curvature[a * n + a] += count * share;
                for (b, other) in &shares[..=index] {
                    curvature[a * n + b] -= count * share * other;
                }
            }
        }
        let gradient: Vec<f64> = visits
            .iter()
            .zip(samples)
            .map(|(visits, count)| visits - count)
            .collect();
        let residual = gradient
            .iter()
            .zip(samples)
            .map(|(g, count)| (g / count).abs())
            .fold(0.0, f64::max);
        Slope {
            value,
            gradient,
            curvature,
            residual,
        }
    }

    fn density(&self, pooled: &[f64; BINS], samples: &[f64], offsets: &[f64]) -> Vec<f64> {
        let weights = weights(samples, offsets);
        let density: Vec<f64> = self
            .factors
            .iter()
            .zip(pooled)
            .map(|(factors, count)| {
                let total: f64 = factors.iter().map(|(window, c)| weights[*window] * c).sum();
                if *count > 0.0 { count / total } else { 0.0 }
            })
            .collect();
        let sum: f64 = density.iter().sum();
        density.into_iter().map(|p| p / sum).collect()
    }
}

fn weights(samples: &[f64], offsets: &[f64]) -> Vec<f64> {
    samples
        .iter()
        .zip(offsets)
        .map(|(count, g)| count * g.exp())
        .collect()
}

/// The Boltzmann factor of a restraint averaged over a bin (Simpson's rule), unless it is too small to matter.
fn mean_factor(centre_nm: f64, bin: usize) -> Option<f64> {
    let factor = |x_nm: f64| (-umbrella(centre_nm, x_nm)).exp();
    let left = edge_nm(bin);
    let middle = left + 0.5 * BIN_NM;
    (umbrella(centre_nm, middle) < UMBRELLA_MAX)
        .then(|| (factor(left) + 4.0 * factor(middle) + factor(left + BIN_NM)) / 6.0)
}

/// Solves `A x = b` with `x[0] = 0` for a matrix that is symmetric and, without its first row and column, positive
/// definite (Cholesky). None where it is not: some windows then share no sample with the others.
fn solve_positive(matrix: &[f64], right: &[f64]) -> Option<Vec<f64>> {
    let n = right.len();
    let mut lower = matrix.to_vec();
    let mut x = right.to_vec();
    x[0] = 0.0;
    for row in 1..n {
        for column in 1..=row {
            let known: f64 = (1..column)
                .map(|k| lower[row * n + k] * lower[column * n + k])
                .sum();
            let rest = lower[row * n + column] - known;
            lower[row * n + column] = if row > column {
                rest / lower[column * n + column]
            } else if rest > 1e-12 * matrix[row * n + row] {
                rest.sqrt()
            } else {
                return None;
            };
        }
        let known: f64 = (1..row).map(|k| lower[row * n + k] * x[k]).sum();
        x[row] = (x[row] - known) / lower[row * n + row];
    }
    for row in (1..n).rev() {
        let known: f64 = (row + 1..n).map(|k| lower[k * n + row] * x[k]).sum();
        x[row] = (x[row] - known) / lower[row * n + row];
    }
    Some(x)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{centre_nm, free_energy};

    /// The counts that infinitely long sampling of a known density would give.
    fn expected_counts(centres: &[f64], samples: &[f64]) -> ([f64; BINS], Vec<f64>) {
        let density: Vec<f64> = (0..BINS)
            .map(|bin| (-free_energy(edge_nm(bin) + 0.5 * BIN_NM)).exp())
            .collect();
        let mut pooled = [0.0; BINS];
        for (centre, count) in centres.iter().zip(samples) {
            let restrained: Vec<f64> = (0..BINS)
                .map(|bin| density[bin] * mean_factor(*centre, bin).unwrap_or(0.0))
                .collect();
            let sum: f64 = restrained.iter().sum();
            pooled
                .iter_mut()
                .zip(restrained)
                .for_each(|(total, p)| *total += count * p / sum);
        }
        (pooled, density)
    }

    #[test]
    fn exact_counts_give_back_the_exact_density() {
        let centres: Vec<f64> = (0..64).map(|window| centre_nm(window, 64)).collect();
        let samples: Vec<f64> = (0..64).map(|window| 1000.0 + 50.0 * f64::from(window)).collect();
        let (pooled, density) = expected_counts(&centres, &samples);
        // From no knowledge at all: the path is longer, the end the same.
        let solution = Wham::new(&centres).solve(&pooled, &samples, &[0.0; 64]).unwrap();
        assert!(solution.residual <= TOLERANCE && solution.iterations < ITERATIONS_MAX);
        let sum: f64 = density.iter().sum();
        for (bin, (found, exact)) in solution
            .density
            .iter()
            .zip(&density)
            .enumerate()
            .skip(100)
            .take(600)
        {
            let error = (found / (exact / sum)).ln();
            assert!(
                error.abs() < 1e-6,
                "bin {bin}: {error} kT after {} iterations",
                solution.iterations
            );
        }
    }

    #[test]
    fn windows_that_share_nothing_are_refused() {
        let centres = [-1.2, 1.2];
        let samples = [1000.0, 1000.0];
        let mut pooled = [0.0; BINS];
        (pooled[160], pooled[640]) = (1000.0, 1000.0);
        assert!(matches!(
            Wham::new(&centres).solve(&pooled, &samples, &[0.0, 3.0]),
            Err(DemoError::Disjoint)
        ));
    }
}
