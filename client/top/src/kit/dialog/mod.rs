//! What lies over a screen: questions, lists to choose from, an input line, the help; and the line with the last message.
//!
//! Each keeps its state and draws itself. Keys come as commands ([`crate::kit::keys`]); what a dialog decides it hands back, and does
//! nothing itself.

mod boxed;
mod confirm;
mod help;
mod input;
mod menu;
mod message;

pub use confirm::Confirm;
pub use help::Help;
pub use input::Input;
pub use menu::{Item, Menu};
pub use message::Messages;

#[cfg(test)]
mod tests;
