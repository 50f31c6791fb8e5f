//! Tasks: submissions, the states of their tasks, their dependencies and results.

pub mod dependency;
pub mod indices;
pub mod inputs;
pub mod results;
pub mod submission;
pub mod table;

pub use dependency::{Blocker, Standing};
pub use indices::Indices;
pub use inputs::Inputs;
pub use results::{Results, Sizes};
pub use submission::{Faults, Slot, Submission};
pub use table::Tasks;
