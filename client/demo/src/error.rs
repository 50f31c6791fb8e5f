//! What can go wrong in a replica or in the analysis, and with which file.

use std::path::PathBuf;

use thiserror::Error;

/// Why a replica or the analysis gave up.
#[derive(Debug, Error)]
pub enum DemoError {
    /// An argument lies outside its limits.
    #[error("{name} is {value}, but must be {allowed}")]
    Argument {
        /// The argument's name as it is typed.
        name: &'static str,
        /// What was given.
        value: u64,
        /// What would have been accepted.
        allowed: &'static str,
    },
    /// A file that another replica should have left is missing, unreadable or damaged.
    #[error("window {window} of generation {generation}: {} {fault}", path.display())]
    File {
        /// Whose file it is.
        window: u32,
        /// The generation that wrote it, or should have.
        generation: u32,
        /// Where it was looked for.
        path: PathBuf,
        /// What is wrong with it.
        fault: Fault,
    },
    /// A replica's own output could not be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file, by its final name.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// The particle left the grid: the integration has become unstable.
    #[error("window {window}: the particle left the grid at x = {x_nm} nm")]
    Escaped {
        /// The window that was sampled.
        window: u32,
        /// Where the particle was found.
        x_nm: f64,
    },
    /// A part of the coordinate was never visited.
    #[error("no sample between {low_nm:.3} and {high_nm:.3} nm; sample with more steps")]
    Gap {
        /// Lower edge of the empty bin.
        low_nm: f64,
        /// Upper edge of the empty bin.
        high_nm: f64,
    },
    /// Some windows have no sample in the reach of the others.
    #[error("the windows do not overlap and cannot be joined; sample with more steps")]
    Disjoint,
    /// WHAM did not reach its tolerance.
    #[error("WHAM did not converge: after {iterations} iterations the residual is {residual:.1e} kT")]
    NotConverged {
        /// Iterations done.
        iterations: u32,
        /// Largest change that one more self-consistent step would make to a window's free energy.
        residual: f64,
    },
    /// A span of the timeline has no place on a time axis.
    #[error("a span of worker {worker} runs from {start_s} s to {end_s} s")]
    Span {
        /// The worker that the span names.
        worker: String,
        /// When it is said to begin.
        start_s: f64,
        /// When it is said to end.
        end_s: f64,
    },
    /// The picture could not be drawn as pixels.
    #[error("cannot draw the picture at scale {scale}: {reason}")]
    Raster {
        /// Pixels per unit of the drawing.
        scale: f32,
        /// What failed.
        reason: String,
    },
}

/// What is wrong with a file.
#[derive(Debug, Error)]
pub enum Fault {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(#[from] std::io::Error),
    /// It does not begin as a file of this kind does.
    #[error("is not a {0} file of this version")]
    Foreign(&'static str),
    /// Its content does not have the fingerprint it was written with.
    #[error("is damaged: its content does not match its fingerprint")]
    Damaged,
    /// Its content is whole but has the wrong shape.
    #[error("has unexpected content: {0}")]
    Shape(#[from] serde_json::Error),
    /// It is sound, but belongs to another replica, or has values that cannot be.
    #[error("does not fit: {0}")]
    Mismatch(&'static str),
}
