//! What the screens are made of, and what knows nothing of pilots: keys, themes, tables, the filter language, text that is
//! safe to show. All of it is state and drawing; what is drawn goes to a buffer, never to a terminal.

pub mod keys;
pub mod query;
pub mod table;
pub mod text;
pub mod theme;
