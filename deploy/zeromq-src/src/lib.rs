//! The build of libzmq that `zmq-sys` calls, replaced.
//!
//! `zmq-sys` 0.12 asks the crate `zeromq-src` for a libzmq without libsodium, so without CURVE.
//! This crate stands in for it (by `[patch.crates-io]` in the root manifest), has the three methods
//! that `zmq-sys` calls, and gives it libzmq 4.3.5 linked with a libsodium built from the source
//! that its crate brings. No system library and no network are used.

/// What `zmq-sys` builds libzmq with.
#[derive(Debug, Default)]
pub struct Build;

/// The place of an external libsodium. There is none: it is bundled, so no value of this type exists.
#[derive(Debug)]
pub enum LibLocation {}

impl Build {
    /// A new build.
    pub fn new() -> Self {
        Self
    }

    /// Kept for the caller's sake: the bundled libsodium is linked whatever is asked for.
    pub fn with_libsodium(&mut self, _elsewhere: Option<LibLocation>) -> &mut Self {
        self
    }

    /// Builds libzmq and tells cargo how to link it.
    pub fn build(&mut self) {
        let sodium = upstream::LibLocation::new(env!("BUNDLED_SODIUM_LIB"), env!("BUNDLED_INCLUDE"));
        upstream::Build::new().with_libsodium(Some(sodium)).build();
    }
}
