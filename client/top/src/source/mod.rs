//! Where news come from.
