//! The commands.

pub(crate) mod connect;
pub(crate) mod doctor;
pub(crate) mod events;
pub(crate) mod filter;
pub(crate) mod graph;
pub(crate) mod history;
pub(crate) mod journal;
pub(crate) mod logs;
pub(crate) mod metrics;
pub(crate) mod pilot;
pub(crate) mod progress;
pub(crate) mod report;
mod retry;
pub(crate) mod shell;
pub(crate) mod submit;
pub(crate) mod task;
pub(crate) mod top;
pub(crate) mod trace;
pub(crate) mod wait;
pub(crate) mod worker;

use std::path::Path;

use scalems_client::locate::{self, Located};
use scalems_client::protocol::Role;
use scalems_client::{ClientError, Session, SessionOptions};
use scalems_transport::ConnectionFile;

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

/// Connects to the pilot that is meant as an observer, which changes nothing; as a client where there is no file for observers.
pub(crate) fn observe(context: &Context) -> Result<Session, ClientError> {
    observe_located(located(context)?)
}

/// The connection file of the pilot that is meant.
pub(crate) fn located(context: &Context) -> Result<Located, ClientError> {
    let pilot = context.pilot.as_deref();
    let located = match std::env::var_os(CONNECTION).filter(|file| pilot.is_none() && !file.is_empty()) {
        Some(file) => Located::read(Path::new(&file)),
        None => locate::find(pilot),
    };
    Ok(located?)
}

/// The same with a pilot that was found.
pub(crate) fn observe_located(located: Located) -> Result<Session, ClientError> {
    let beside = located
        .path
        .with_file_name(ConnectionFile::file_name(Role::Observer));
    let observer = Located::read(&beside)
        .ok()
        .filter(|observer| observer.file.pilot_id == located.file.pilot_id);
    Session::options()
        // What the shell submitted last is the last here too.
        .name(SHELL)
        .shared()
        .software(concat!("scalems ", env!("CARGO_PKG_VERSION")))
        .connect_located(observer.unwrap_or(located))
}
