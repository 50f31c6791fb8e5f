//! The surface on which the particle moves, its exact free energy, and the restraints.
//!
//! Units are those of molecular dynamics: nm, ps, u, kJ/mol; free energies are given in kT.
//!
//! The potential is `V(x, y) / kT = H (x² − 1)² + T x + κ(x) y² / 2` with `κ(x) = K exp(N x)`: a double well
//! in x (nm) across which a channel in y narrows to the right. The integral over y is Gaussian, so the free
//! energy along x is known exactly: `F(x) / kT = H (x² − 1)² + T x + N x / 2`. The last term is entropy: it is
//! nowhere in the potential along y = 0, and a sampling program gets it right only by sampling.

/// Temperature of the heat bath.
pub const TEMPERATURE_K: f64 = 300.0;
/// The molar gas constant, in kJ/(mol K).
pub const GAS_CONSTANT: f64 = 0.008_314_462_618;
/// Thermal energy, in kJ/mol.
pub const KT: f64 = GAS_CONSTANT * TEMPERATURE_K;
/// Mass of the particle in both coordinates, in u.
pub const MASS_U: f64 = 20.0;
/// Spring constant of the umbrella restraints, in kJ/(mol nm²).
pub const UMBRELLA_SPRING: f64 = 1000.0;
/// Where the first window's restraint pulls to; the last one's is the mirror image.
pub const FIRST_CENTRE_NM: f64 = -1.5;

/// Height of the symmetric part of the barrier, in kT.
const HEIGHT: f64 = 8.0;
/// Slope of the potential, in kT/nm.
const TILT: f64 = 0.75;
/// How fast the channel narrows, in 1/nm.
const NARROWING: f64 = 1.0;
/// Stiffness of the channel at x = 0, in kT/nm².
const STIFFNESS: f64 = 80.0;

/// Something that pulls at a particle in the plane.
pub(crate) trait Potential {
    /// Gradient of the energy at `[x, y]`, in kJ/(mol nm).
    fn gradient(&self, at: [f64; 2]) -> [f64; 2];
}

/// The surface together with one window's restraint.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Restrained {
    pub(crate) centre_nm: f64,
}

impl Potential for Restrained {
    #[inline]
    fn gradient(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        let stiffness = STIFFNESS * (NARROWING * x).exp();
        let along = 4.0 * HEIGHT * x * (x * x - 1.0) + TILT + 0.5 * NARROWING * stiffness * y * y;
        [
            KT * along + UMBRELLA_SPRING * (x - self.centre_nm),
            KT * stiffness * y,
        ]
    }
}

/// The restraint's energy at `x_nm`, in kT.
pub(crate) fn umbrella(centre_nm: f64, x_nm: f64) -> f64 {
    let distance = x_nm - centre_nm;
    0.5 * UMBRELLA_SPRING / KT * distance * distance
}

/// Where the restraint of `window` out of `windows` pulls to.
pub fn centre_nm(window: u32, windows: u32) -> f64 {
    let last = f64::from(windows.max(2) - 1);
    FIRST_CENTRE_NM * (1.0 - 2.0 * f64::from(window) / last)
}

/// The exact free energy along x, in kT, up to a constant.
pub fn free_energy(x_nm: f64) -> f64 {
    let well = x_nm * x_nm - 1.0;
    HEIGHT * well * well + (TILT + 0.5 * NARROWING) * x_nm
}

/// The potential along the middle of the channel, in kT, equal to [`free_energy`] at x = 0: what is left when
/// entropy is left out.
pub fn potential(x_nm: f64) -> f64 {
    free_energy(x_nm) - 0.5 * NARROWING * x_nm
}

/// `−ln ∫ exp(−F) dx` over an interval: the exact free energy of finding the particle there, in kT, with the
/// constant of [`free_energy`].
pub(crate) fn free_energy_of(low_nm: f64, high_nm: f64) -> f64 {
    // Simpson's rule on pieces of about 1 pm: the error is below 1e-9 kT, far under any sampling error.
    let pieces = ((high_nm - low_nm) / 1e-3).ceil().max(1.0);
    let width = (high_nm - low_nm) / pieces;
    let weight = |x: f64| (-free_energy(x)).exp();
    let total: f64 = (0..pieces as u32)
        .map(|piece| {
            let left = low_nm + f64::from(piece) * width;
            width / 6.0 * (weight(left) + 4.0 * weight(left + 0.5 * width) + weight(left + width))
        })
        .sum();
    -total.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn energy(centre_nm: f64, x: f64, y: f64) -> f64 {
        let well = x * x - 1.0;
        let stiffness = STIFFNESS * (NARROWING * x).exp();
        KT * (HEIGHT * well * well + TILT * x + 0.5 * stiffness * y * y + umbrella(centre_nm, x))
    }

    #[test]
    fn the_gradient_is_that_of_the_energy() {
        let window = Restrained { centre_nm: 0.4 };
        let step = 1e-6;
        for (x, y) in [(-1.2, 0.1), (0.0, -0.2), (0.7, 0.05), (1.4, 0.0)] {
            let [along, across] = window.gradient([x, y]);
            let numeric_x = (energy(0.4, x + step, y) - energy(0.4, x - step, y)) / (2.0 * step);
            let numeric_y = (energy(0.4, x, y + step) - energy(0.4, x, y - step)) / (2.0 * step);
            assert!((along - numeric_x).abs() < 1e-4, "{along} {numeric_x}");
            assert!((across - numeric_y).abs() < 1e-4, "{across} {numeric_y}");
        }
    }

    #[test]
    fn integrating_the_channel_out_gives_the_exact_free_energy() {
        let marginal = |x: f64| {
            let total: f64 = (-4000..=4000)
                .map(|i| f64::from(i) * 5e-4)
                .map(|y| (-(energy(x, x, y)) / KT).exp() * 5e-4)
                .sum();
            -total.ln()
        };
        let constant = marginal(0.0) - free_energy(0.0);
        for x in [-1.4, -1.0, -0.3, 0.5, 1.0, 1.4] {
            assert!((marginal(x) - free_energy(x) - constant).abs() < 1e-6, "at {x}");
        }
    }

    #[test]
    fn windows_span_the_coordinate_evenly() {
        assert!((centre_nm(0, 64) + 1.5).abs() < 1e-12);
        assert!((centre_nm(63, 64) - 1.5).abs() < 1e-12);
        assert!((centre_nm(31, 64) + centre_nm(32, 64)).abs() < 1e-12);
    }
}
