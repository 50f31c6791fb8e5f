//! The commands.

pub(crate) mod connect;
pub(crate) mod doctor;
pub(crate) mod filter;
pub(crate) mod graph;
pub(crate) mod journal;
pub(crate) mod logs;
pub(crate) mod pilot;
pub(crate) mod progress;
pub(crate) mod report;
mod retry;
pub(crate) mod shell;
pub(crate) mod submit;
pub(crate) mod task;
pub(crate) mod top;
pub(crate) mod wait;
pub(crate) mod worker;

use scalems_client::{ClientError, Session, SessionOptions};

use crate::Context;

/// The shell's session, which all terminals share.
const SHELL: &str = "shell";

/// The connection file of the pilot that runs this program, which the worker tells it.
pub(crate) const CONNECTION: &str = "SCALEMS_CONNECTION";

/// Connects to the pilot that is meant: the one that is named, or the one that runs this program as a task, or
/// the only one.
pub(crate) fn connect(context: &Context) -> Result<Session, ClientError> {
    let options = Session::options()
        .name(SHELL)
        .shared()
        .software(concat!("scalems ", env!("CARGO_PKG_VERSION")));
    connect_with(options, context.pilot.as_deref())
}

/// The same in another session than the shell's.
pub(crate) fn connect_with(options: SessionOptions, pilot: Option<&str>) -> Result<Session, ClientError> {
    match std::env::var_os(CONNECTION).filter(|file| pilot.is_none() && !file.is_empty()) {
        Some(file) => options.connect(file),
        None => options.find(pilot),
    }
}
