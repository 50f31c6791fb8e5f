//! The commands.

pub(crate) mod pilot;
pub(crate) mod start;
pub(crate) mod worker;
