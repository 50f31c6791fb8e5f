//! Text that others wrote, made safe for a terminal: names and labels of tasks, what programs print, messages of errors.
//!
//! Whoever can submit a task can choose such text, and a terminal obeys what it is sent: it moves the cursor, changes its
//! title, turns the direction of writing, answers questions as if somebody typed. So nothing goes to the screen but what
//! went through [`shown`] or [`line()`]: what comes out has no control character, nothing that turns or hides other
//! characters, and the width that it is taken for.

mod escape;
mod safe;
mod width;

pub use safe::{LINE_BYTES, line, shown};
pub use width::{Align, cut, fit, pad, width, words, wrap};
