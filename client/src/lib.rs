//! The Rust client library of scalems: submit tasks to a pilot, and get their results.
//!
//! A [`Session`] is a client's life with a pilot. Tasks are described by [`Task`], submitted one by one, in
//! numbers, or as an array, and known by handles: [`TaskHandle`] and [`ArrayHandle`], which can be waited for,
//! polled, awaited in async code of any executor, or asked to call back.
//!
//! ```no_run
//! use std::time::Duration;
//! use scalems_client::{Session, Task};
//!
//! // The only pilot that runs; or by name, or by its connection file.
//! let session = Session::find(None)?;
//! let handle = session.submit(Task::program(["hostname"]).cores(1).retries(2))?;
//! let result = handle.wait(Duration::from_secs(60))?;
//! println!("it ran on {}", result.program()?.host);
//! # Ok::<(), scalems_client::ClientError>(())
//! ```
//!
//! # What one may rely on
//!
//! - Every handle comes to an end exactly once: with the task's result, or with an error that says why there
//!   will never be one.
//! - A break of the connection loses nothing: the session comes back by itself, says again what was not
//!   answered, and gets again what it did not take in. An agent that stays away for
//!   [`SessionOptions::give_up_after`], or whose place another pilot takes, ends the session, and with it every
//!   handle.
//! - Submitting never waits. What the agent has no room for waits in this process, within a bound; over it
//!   submitting fails with [`ClientError::BacklogFull`].
//! - Every wait takes a time. Where it may be left out it lasts as long as the session lives.
//!
//! # Threads
//!
//! A session has one thread, which drives its sockets and calls callbacks; a thread that waits for little does
//! so itself in the meantime, which is the shortest way. Everything here can be used from any thread. The rules of
//! the session are in [`machine`], which is pure; [`Session::carried`] is a session whose messages the caller
//! carries, for tests and simulators.

mod array;
mod asks;
mod batch;
mod calls;
mod carrier;
mod driver;
mod error;
mod events;
pub mod filter;
mod handle;
mod helm;
mod intake;
pub mod locate;
pub mod machine;
mod options;
pub mod packed;
mod pending;
mod result;
mod session;
mod shared;
mod task;
pub mod units;
mod workers;

pub use array::{ArrayCounts, ArrayHandle};
pub use asks::{HeldResult, ResultsPage};
pub use calls::HeldSubmission;
pub use carrier::{Carried, Carrier};
pub use error::ClientError;
pub use events::{Events, Listening};
pub use handle::{AsCompleted, TaskHandle, as_completed, wait_all, wait_any};
pub use machine::{Attached, SessionEnd, Update};
pub use options::SessionOptions;
pub use pending::Pending;
pub use result::{TaskResult, UnclaimedResults};
/// The types of the wire that the library hands through: selectors, rows, strengths, errors.
pub use scalems_protocol as protocol;
pub use scalems_transport::keep_freed_memory;
pub use session::Session;
pub use task::{Indices, Task};
pub use workers::WorkersAsked;
