//! Scripts of the core: what comes in, and exactly what goes out (STYLE, point 10).

mod dependencies;
mod life;
mod lines;
mod retries;
mod say;
mod world;
