//! Scripts of the core: what comes in, and exactly what goes out (STYLE, point 10).

#![allow(clippy::unwrap_used, reason = "a test may fail here")]

mod again;
mod behind;
mod bringing;
mod cancels;
mod dependencies;
mod events;
mod filters;
mod hashes;
mod holdings;
mod journal;
mod life;
mod lines;
mod log_levels;
mod losses;
mod memory;
mod open;
mod reads;
mod refusals;
mod requested;
mod requests;
mod restored;
mod retries;
mod returning;
mod say;
mod schedule;
mod sessions;
mod spent;
mod spill;
mod stopping;
mod world;
