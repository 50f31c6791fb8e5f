//! The grid on which positions are counted, and the counts of one stretch of sampling.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// Lower end of the grid. At its ends the free energy is above 70 kT: nothing ever gets there.
const LOW_NM: f64 = -2.0;
/// Width of a bin. WHAM takes the density as flat within a bin; at 5 pm this costs less than 0.001 kT.
pub(crate) const BIN_NM: f64 = 0.005;
/// Bins from −2 to 2 nm.
pub(crate) const BINS: usize = 800;

/// Lower edge of a bin.
pub(crate) fn edge_nm(bin: usize) -> f64 {
    LOW_NM + bin as f64 * BIN_NM
}

/// The bin that holds `x_nm`, unless that lies outside the grid or is no number.
pub(crate) fn bin_of(x_nm: f64) -> Option<usize> {
    let bin = ((x_nm - LOW_NM) / BIN_NM).floor();
    (bin >= 0.0 && bin < BINS as f64).then_some(bin as usize)
}

/// Counts on a part of the grid.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Histogram {
    first_bin: usize,
    counts: Vec<u64>,
}

impl Histogram {
    /// Keeps the bins of `dense` from the first to the last that is not empty.
    pub(crate) fn from_dense(dense: &[u64; BINS]) -> Self {
        let first_bin = dense.iter().position(|count| *count > 0).unwrap_or(0);
        let end = dense
            .iter()
            .rposition(|count| *count > 0)
            .map_or(first_bin, |last| last + 1);
        Self {
            first_bin,
            counts: dense[first_bin..end].to_vec(),
        }
    }

    /// Whether all counts lie on the grid, as they must after reading them from a file.
    pub(crate) fn is_on_grid(&self) -> bool {
        self.first_bin
            .checked_add(self.counts.len())
            .is_some_and(|end| end <= BINS)
    }

    pub(crate) fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The bins it covers.
    pub(crate) fn range(&self) -> Range<usize> {
        self.first_bin..self.first_bin + self.counts.len()
    }

    /// Adds its counts to a dense array over the whole grid.
    pub(crate) fn add_to(&self, dense: &mut [f64; BINS]) {
        for (sum, count) in dense[self.range()].iter_mut().zip(&self.counts) {
            *sum += *count as f64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_fall_into_the_bin_whose_edges_enclose_them() {
        for x in [-2.0, -1.0001, 0.0, 0.3333, 1.9999] {
            let bin = bin_of(x).unwrap();
            assert!(edge_nm(bin) <= x && x < edge_nm(bin + 1), "{x} in {bin}");
        }
        for outside in [-2.0001, 2.0, f64::NAN, f64::INFINITY] {
            assert_eq!(bin_of(outside), None);
        }
    }

    #[test]
    fn trimming_keeps_every_count() {
        let mut dense = [0; BINS];
        (dense[17], dense[20], dense[799]) = (3, 4, 5);
        let histogram = Histogram::from_dense(&dense);
        assert_eq!(histogram.range(), 17..800);
        assert_eq!(histogram.total(), 12);
        let mut back = [0.0; BINS];
        histogram.add_to(&mut back);
        assert!(back.iter().zip(dense).all(|(a, b)| (*a - b as f64).abs() < 1e-12));
        assert_eq!(Histogram::from_dense(&[0; BINS]).total(), 0);
    }

    #[test]
    fn counts_off_the_grid_are_noticed() {
        assert!(
            !Histogram {
                first_bin: 799,
                counts: vec![1, 1]
            }
            .is_on_grid()
        );
        assert!(
            !Histogram {
                first_bin: usize::MAX,
                counts: vec![1]
            }
            .is_on_grid()
        );
    }
}
