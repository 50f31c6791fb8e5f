//! Placeholder.
pub mod executor;
