//! What the tests of the whole system are made of.
//!
//! [`sim`] runs the production machines of clients, agent and workers in one thread, under a seed that
//! decides all that happens to them. [`pilot`] starts the real program. [`terminal`] is one in which keys are typed.

pub mod pilot;
pub mod sim;
pub mod terminal;
