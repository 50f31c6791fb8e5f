//! Langevin dynamics of one particle in the plane, and the random numbers that drive it.
//!
//! The integrator is BAOAB (Leimkuhler and Matthews, 2013): kick, drift, friction and noise, drift, kick. Its
//! averages over positions are exact for a harmonic potential at any stable time step, and of fourth order in
//! the step at high friction; at [`TIME_STEP_PS`] the error lies far below what sampling resolves.

use rand_distr::{Distribution, StandardNormal};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::model::{GAS_CONSTANT, KT, MASS_U, Potential};

/// The time step. The stiffest motion has a period of 0.7 ps, 74 steps.
pub(crate) const TIME_STEP_PS: f64 = 0.01;
/// The friction of the bath: position correlations in a window die within about 1 ps.
const FRICTION_PER_PS: f64 = 5.0;

/// Where the particle is and how it moves: all that a later generation needs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) position_nm: [f64; 2],
    pub(crate) velocity_nm_per_ps: [f64; 2],
}

impl State {
    pub(crate) fn is_finite(&self) -> bool {
        self.position_nm
            .iter()
            .chain(&self.velocity_nm_per_ps)
            .all(|value| value.is_finite())
    }

    /// The temperature that the present velocities stand for.
    pub(crate) fn kinetic_temperature_k(&self) -> f64 {
        let [u, v] = self.velocity_nm_per_ps;
        0.5 * MASS_U * (u * u + v * v) / GAS_CONSTANT
    }
}

/// A stream of normal random numbers of its own for every (seed, purpose).
///
/// Xoshiro256++ is seeded with a fingerprint of what the stream is for, so neighbouring seeds, windows and
/// generations have streams that have nothing to do with each other.
#[derive(Clone, Debug)]
pub(crate) struct Stream(Xoshiro256PlusPlus);

impl Stream {
    pub(crate) fn new(purpose: &str, seed: u64, numbers: &[u32]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"scalems demo ");
        hasher.update(purpose.as_bytes());
        hasher.update(&seed.to_le_bytes());
        for number in numbers {
            hasher.update(&number.to_le_bytes());
        }
        Self(Xoshiro256PlusPlus::from_seed(*hasher.finalize().as_bytes()))
    }

    #[inline]
    pub(crate) fn normal(&mut self) -> f64 {
        StandardNormal.sample(&mut self.0)
    }

    /// A number below `bound`, all equally likely.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        // The high word of a product with a 64-bit number; the bias, bound / 2^64, is beyond notice.
        ((u128::from(self.0.next_u64()) * bound as u128) >> 64) as usize
    }
}

/// A particle on its way.
#[derive(Clone, Debug)]
pub(crate) struct Langevin<P> {
    potential: P,
    state: State,
    gradient: [f64; 2],
    noise: Stream,
    kick: f64,
    drift: f64,
    damping: f64,
    heating: f64,
}

impl<P: Potential> Langevin<P> {
    /// Goes on from `state`.
    pub(crate) fn resume(potential: P, state: State, noise: Stream) -> Self {
        let damping = (-FRICTION_PER_PS * TIME_STEP_PS).exp();
        Self {
            gradient: potential.gradient(state.position_nm),
            potential,
            state,
            noise,
            kick: 0.5 * TIME_STEP_PS / MASS_U,
            drift: 0.5 * TIME_STEP_PS,
            damping,
            heating: ((1.0 - damping * damping) * KT / MASS_U).sqrt(),
        }
    }

    /// Begins at `position_nm` with velocities drawn from the bath.
    pub(crate) fn start(potential: P, position_nm: [f64; 2], mut noise: Stream) -> Self {
        let thermal = (KT / MASS_U).sqrt();
        let velocity_nm_per_ps = [thermal * noise.normal(), thermal * noise.normal()];
        Self::resume(
            potential,
            State {
                position_nm,
                velocity_nm_per_ps,
            },
            noise,
        )
    }

    pub(crate) fn state(&self) -> State {
        self.state
    }

    /// Advances by `steps` time steps.
    pub(crate) fn run(&mut self, steps: u32) {
        let State {
            position_nm: [mut x, mut y],
            velocity_nm_per_ps: [mut u, mut v],
        } = self.state;
        let [mut along, mut across] = self.gradient;
        for _ in 0..steps {
            u -= self.kick * along;
            v -= self.kick * across;
            x += self.drift * u;
            y += self.drift * v;
            u = self.damping * u + self.heating * self.noise.normal();
            v = self.damping * v + self.heating * self.noise.normal();
            x += self.drift * u;
            y += self.drift * v;
            [along, across] = self.potential.gradient([x, y]);
            u -= self.kick * along;
            v -= self.kick * across;
        }
        self.gradient = [along, across];
        self.state = State {
            position_nm: [x, y],
            velocity_nm_per_ps: [u, v],
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Springs of different strength along two axes turned against x and y, so that x and y are coupled.
    struct Harmonic;

    const SOFT: f64 = 300.0;
    const STIFF: f64 = 1500.0;

    impl Potential for Harmonic {
        fn gradient(&self, [x, y]: [f64; 2]) -> [f64; 2] {
            let (mean, half) = (0.5 * (SOFT + STIFF), 0.5 * (STIFF - SOFT));
            [mean * x - half * y, mean * y - half * x]
        }
    }

    /// Mean and standard error of `BATCHES` batch means.
    fn mean_and_error(batches: &[f64]) -> (f64, f64) {
        let count = batches.len() as f64;
        let mean = batches.iter().sum::<f64>() / count;
        let variance = batches.iter().map(|b| (b - mean).powi(2)).sum::<f64>() / (count - 1.0);
        (mean, (variance / count).sqrt())
    }

    fn batches(mut measure: impl FnMut(&State, &State) -> f64) -> Vec<f64> {
        let mut run = Langevin::start(Harmonic, [0.0, 0.0], Stream::new("test", 11, &[]));
        run.run(1000);
        (0..40)
            .map(|_| {
                let mut sum = 0.0;
                for _ in 0..2000 {
                    let before = run.state();
                    run.run(5);
                    sum += measure(&before, &run.state());
                }
                sum / 2000.0
            })
            .collect()
    }

    fn assert_mean(batches: &[f64], expected: f64) {
        let (mean, error) = mean_and_error(batches);
        assert!(
            (mean - expected).abs() < 4.0 * error,
            "{mean} ± {error} instead of {expected}"
        );
    }

    #[test]
    fn energy_is_shared_equally_by_both_springs() {
        let soft = |state: &State| 0.5 * (state.position_nm[0] + state.position_nm[1]).powi(2);
        let stiff = |state: &State| 0.5 * (state.position_nm[0] - state.position_nm[1]).powi(2);
        assert_mean(&batches(|_, now| SOFT * soft(now)), KT);
        assert_mean(&batches(|_, now| STIFF * stiff(now)), KT);
    }

    #[test]
    fn velocities_have_the_temperature_of_the_bath() {
        let (mean, error) = mean_and_error(&batches(|_, now| now.kinetic_temperature_k()));
        // BAOAB's velocities are cold by (ω dt)² / 4: 0.2 % of the stiff motion.
        assert!(
            (mean - crate::model::TEMPERATURE_K).abs() < 4.0 * error + 0.6,
            "{mean} ± {error}"
        );
    }

    #[test]
    fn detailed_balance_leaves_no_current() {
        // In equilibrium, paths run both ways equally often: the area swept per step has mean zero, and a
        // position is correlated with a later one as the later one is with the earlier.
        let swept = batches(|before, now| {
            let ([x0, y0], [x1, y1]) = (before.position_nm, now.position_nm);
            x0 * y1 - y0 * x1
        });
        assert_mean(&swept, 0.0);
        let skewed = batches(|before, now| {
            let (x0, x1) = (before.position_nm[0], now.position_nm[0]);
            x0.powi(3) * x1 - x0 * x1.powi(3)
        });
        assert_mean(&skewed, 0.0);
    }

    #[test]
    fn streams_differ_by_purpose_seed_and_number() {
        let first = |mut stream: Stream| stream.normal().to_bits();
        let reference = first(Stream::new("replica", 1, &[2, 3]));
        assert_eq!(reference, first(Stream::new("replica", 1, &[2, 3])));
        for other in [
            Stream::new("replica", 1, &[3, 2]),
            Stream::new("replica", 2, &[2, 3]),
            Stream::new("bootstrap", 1, &[2, 3]),
        ] {
            assert_ne!(reference, first(other));
        }
    }
}
