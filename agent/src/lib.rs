//! The scalems agent and worker: sockets, processes and clocks around the pure core.
//!
//! [`pilot`] opens a pilot and [`bus`] serves it; [`worker`] takes leases and [`executor`] runs programs.

pub mod batch;
pub mod bus;
pub mod executor;
mod functions;
pub mod journal;
pub mod logging;
mod mpi;
pub mod pilot;
mod process;
mod spill;
pub mod worker;

/// The name of this host, as others know it.
pub fn host_name() -> String {
    nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok())
        .unwrap_or_else(|| "localhost".to_owned())
}
