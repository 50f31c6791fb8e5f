//! The commands.

pub(crate) mod logs;
pub(crate) mod pilot;
pub(crate) mod start;
pub(crate) mod submit;
pub(crate) mod task;
pub(crate) mod wait;
pub(crate) mod worker;

use scalems_client::{ClientError, Session};

use crate::Context;

/// The shell's session, which all terminals share.
const SHELL: &str = "shell";

/// Connects to the pilot that is meant.
pub(crate) fn connect(context: &Context) -> Result<Session, ClientError> {
    Session::options()
        .name(SHELL)
        .shared()
        .software(concat!("scalems ", env!("CARGO_PKG_VERSION")))
        .find(context.pilot.as_deref())
}
