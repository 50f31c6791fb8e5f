//! Tasks: submissions, the states of their tasks, their dependencies and results.

pub mod dependency;
pub mod indices;
pub mod inputs;
pub mod submission;
pub mod table;

pub use dependency::{Blocker, Standing};
pub use indices::Indices;
pub use inputs::Inputs;
pub use submission::{Faults, Slot, Submission};
pub use table::Tasks;
