//! The live monitor of a pilot: what `scalems top` and `scalems-top` show.
//!
//! [`kit`] is what screens are made of and knows nothing of pilots. [`model`] folds what the agent publishes into what is
//! shown, and knows no terminal. [`view`] draws the model. [`source`] is where news come from, and [`app`] brings
//! keys, news and drawing together.

pub mod kit;
pub mod model;
pub mod source;
