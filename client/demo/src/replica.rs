//! One replica: a window's trajectory in one generation, from its start or restart to its files.

use std::fmt;
use std::path::PathBuf;

use clap::Args;

use crate::dynamics::{Langevin, Stream, TIME_STEP_PS};
use crate::error::DemoError;
use crate::histogram::{BINS, Histogram, bin_of};
use crate::model::{self, Restrained};
use crate::store::{self, Restart, Sampled, restart_path, result_path};

/// Umbrella windows, and so replicas of a generation.
pub const WINDOWS: u32 = 64;
/// Generations are numbered from 1 to this.
pub const GENERATIONS_MAX: u32 = 99;
/// Sampled steps of a replica unless told otherwise: 25 ns, 0.10 to 0.15 s on a core of today.
pub const DEFAULT_STEPS: u64 = 2_500_000;
/// Fewer steps would leave blocks that are shorter than the memory of the motion.
pub const STEPS_MIN: u64 = 10_000;
/// More steps than this (10 μs, some 40 s) are a slip of the hand.
pub const STEPS_MAX: u64 = 1_000_000_000;
/// The seed that all streams of random numbers derive from unless told otherwise.
pub const DEFAULT_SEED: u64 = 20_130_101;

/// Blocks into which a trajectory is cut for its error bars.
pub(crate) const BLOCKS: u32 = 10;
/// Steps between two samples: 0.1 ps, about the time in which a position is forgotten.
const STRIDE: u32 = 10;

/// Arguments of one replica.
#[derive(Args, Clone, Debug)]
pub struct ReplicaArgs {
    /// Which umbrella window to sample, from 0
    #[arg(long, value_parser = clap::value_parser!(u32).range(..i64::from(WINDOWS)))]
    pub window: u32,
    /// 1 starts afresh; a later one goes on from the restart file of the one before
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(GENERATIONS_MAX)))]
    pub generation: u32,
    /// Directory of the ensemble's files
    #[arg(long)]
    pub dir: PathBuf,
    /// Restart file to go on from, if it is not the one in the directory
    #[arg(long)]
    pub restart: Option<PathBuf>,
    /// Time steps to sample, rounded down to a hundred; the first generation equilibrates for a tenth more
    #[arg(long, default_value_t = DEFAULT_STEPS, value_parser = clap::value_parser!(u64).range(STEPS_MIN..=STEPS_MAX))]
    pub steps: u64,
    /// What the random numbers derive from
    #[arg(long, default_value_t = DEFAULT_SEED)]
    pub seed: u64,
}

impl ReplicaArgs {
    /// The replica of `window` in `generation` with everything else as by default.
    pub fn new(window: u32, generation: u32, dir: impl Into<PathBuf>) -> Self {
        Self {
            window,
            generation,
            dir: dir.into(),
            restart: None,
            steps: DEFAULT_STEPS,
            seed: DEFAULT_SEED,
        }
    }

    fn check(&self) -> Result<(), DemoError> {
        let refuse = |name, value, allowed| Err(DemoError::Argument { name, value, allowed });
        if self.window >= WINDOWS {
            return refuse("--window", self.window.into(), "below 64");
        }
        if !(1..=GENERATIONS_MAX).contains(&self.generation) {
            return refuse("--generation", self.generation.into(), "from 1 to 99");
        }
        if !(STEPS_MIN..=STEPS_MAX).contains(&self.steps) {
            return refuse("--steps", self.steps, "from 10,000 to 1,000,000,000");
        }
        Ok(())
    }
}

/// What a replica has to say when it is done; shown, it is the one line of its standard output.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// The window that was sampled.
    pub window: u32,
    /// The generation it belongs to.
    pub generation: u32,
    /// Time steps sampled.
    pub steps: u64,
    /// Where the restraint pulled to.
    pub centre_nm: f64,
    /// Where the particle was on average.
    pub mean_nm: f64,
    /// The temperature of its motion.
    pub kinetic_temperature_k: f64,
    /// The file with the histograms.
    pub result: PathBuf,
    /// The file that the next generation goes on from.
    pub restart: PathBuf,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "window {:02} generation {}: {:.1} ns at {:+.3} nm, mean x {:+.4} nm, temperature {:.1} K",
            self.window,
            self.generation,
            self.steps as f64 * TIME_STEP_PS / 1000.0,
            self.centre_nm,
            self.mean_nm,
            self.kinetic_temperature_k,
        )
    }
}

/// Simulates one replica and publishes its result and its restart file.
///
/// The same arguments and restart file give the same files, bit for bit. The result is published last: where it
/// is, the restart file is too.
///
/// # Errors
///
/// [`DemoError::Argument`] for arguments outside their limits, [`DemoError::File`] when the restart file of the
/// generation before is missing or damaged, [`DemoError::Write`] when the results cannot be written.
pub fn run_replica(args: &ReplicaArgs) -> Result<Summary, DemoError> {
    args.check()?;
    let mut run = begin(args)?;

    let samples_per_block = args.steps / u64::from(BLOCKS * STRIDE);
    let mut blocks = Vec::with_capacity(BLOCKS as usize);
    let (mut sum_nm, mut sum_k) = (0.0, 0.0);
    for _ in 0..BLOCKS {
        let mut counts = [0; BINS];
        for _ in 0..samples_per_block {
            run.run(STRIDE);
            let state = run.state();
            let x_nm = state.position_nm[0];
            let bin = bin_of(x_nm).ok_or(DemoError::Escaped {
                window: args.window,
                x_nm,
            })?;
            counts[bin] += 1;
            sum_nm += x_nm;
            sum_k += state.kinetic_temperature_k();
        }
        blocks.push(Histogram::from_dense(&counts));
    }
    let samples = samples_per_block * u64::from(BLOCKS);
    let summary = Summary {
        window: args.window,
        generation: args.generation,
        steps: samples * u64::from(STRIDE),
        centre_nm: model::centre_nm(args.window, WINDOWS),
        mean_nm: sum_nm / samples as f64,
        kinetic_temperature_k: sum_k / samples as f64,
        result: result_path(&args.dir, args.window, args.generation),
        restart: restart_path(&args.dir, args.window, args.generation),
    };
    let restart = Restart {
        window: args.window,
        generation: args.generation,
        state: run.state(),
    };
    store::write(&summary.restart, &restart)?;
    let outcome = Sampled {
        window: args.window,
        generation: args.generation,
        steps: summary.steps,
        kinetic_temperature_k: summary.kinetic_temperature_k,
        blocks,
    };
    store::write(&summary.result, &outcome)?;
    Ok(summary)
}

/// The first generation starts in the middle of its window and equilibrates; the others simply go on.
fn begin(args: &ReplicaArgs) -> Result<Langevin<Restrained>, DemoError> {
    let centre_nm = model::centre_nm(args.window, WINDOWS);
    let potential = Restrained { centre_nm };
    let noise = Stream::new("replica", args.seed, &[args.window, args.generation]);
    if args.generation == 1 {
        let mut run = Langevin::start(potential, [centre_nm, 0.0], noise);
        run.run((args.steps / 10) as u32);
        return Ok(run);
    }
    let before = args.generation - 1;
    let path = args
        .restart
        .clone()
        .unwrap_or_else(|| restart_path(&args.dir, args.window, before));
    let restart: Restart = store::read(&path, args.window, before)?;
    Ok(Langevin::resume(potential, restart.state, noise))
}
