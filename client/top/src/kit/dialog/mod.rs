//! What lies over a screen: questions, lists to choose from, an input line, the help.
//!
//! Each keeps its state and draws itself. Keys come as commands ([`crate::kit::keys`]); what a dialog decides it hands back, and does
//! nothing itself.

mod boxed;
mod confirm;
mod help;
mod input;
mod menu;

pub use confirm::Confirm;
pub use help::Help;
pub use input::Input;
pub use menu::{Item, Menu};

#[cfg(test)]
mod tests;
