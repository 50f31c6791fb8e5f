//! What goes over the scalems wire, and nothing else: types, framing, limits and errors.
//!
//! No sockets, no clock and no files: the crate only says what the bytes mean. The numbered
//! specifications in `docs/spec/` are its source; a type names the one it follows.
//!
//! A message is one header frame (a msgpack map with string keys) and any number of opaque data frames,
//! here called blobs. [`frame`] turns headers into bytes and back, [`scan`] checks them before anything is
//! decoded, [`client`] and [`worker`] hold the messages by the direction that they travel in.

pub mod amount;
mod bounded;
pub mod client;
pub mod error;
pub mod event;
pub mod filter;
pub mod frame;
pub mod function;
pub mod group;
pub mod hash;
pub mod id;
pub mod limits;
pub mod log_levels;
pub mod packed;
pub mod program;
pub mod progress;
pub mod role;
pub mod scan;
pub mod select;
pub mod state;
pub mod task;
pub mod token;
pub mod worker;

pub use amount::Amount;
pub use bytes::Bytes;
pub use error::{Code, Refusal, TaskError};
pub use frame::WireError;
pub use id::{Incarnation, JournalMark, Link, Origin, PilotId, TaskId};
pub use progress::Progress;
pub use role::Role;
pub use state::{Ending, TaskState};

/// The version of the wire protocol that this crate speaks (`docs/spec/1-bus`, section "Versions").
pub const VERSION: u8 = 1;

/// Whether a field has its default, and so stays off the wire.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
