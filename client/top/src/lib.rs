//! The live monitor of a pilot: what `scalems top` and `scalems-top` show.
//!
//! [`kit`] is what screens are made of and knows nothing of pilots. [`model`] folds what the agent publishes into what is
//! shown, and knows no terminal. [`view`] draws the model. [`source`] is where news come from, of which [`replay`] is one, and [`app`] brings
//! keys, news and drawing together.

pub mod app;
mod args;
pub mod kit;
pub mod model;
mod once;
mod options;
pub mod replay;
mod run;
mod signals;
pub mod source;
mod terminal;
pub mod view;

pub use args::{Color, TopArgs};
pub use once::{Found, Shown, once, once_in, print_json};
pub use options::{Failed, TopOptions};
pub use run::{Opened, run};
