//! The machine: limits, network, encryption, batch system.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit};
use scalems_agent::batch::{Kind, interface};

use super::Finding;

/// Descriptors that an agent of a thousand workers needs, and some for its clients.
const DESCRIPTORS: u64 = 4_096;
/// Processes that a full node runs.
const PROCESSES: u64 = 1_024;
/// A connection to this host itself takes less.
const CONNECT: Duration = Duration::from_secs(2);

pub(super) fn check() -> Vec<Finding> {
    vec![
        limit(
            "descriptors",
            Resource::RLIMIT_NOFILE,
            DESCRIPTORS,
            "raise the hard limit (`ulimit -Hn`, limits.conf) on the agent's host",
        ),
        limit(
            "processes",
            Resource::RLIMIT_NPROC,
            PROCESSES,
            "raise the hard limit (`ulimit -Hu`, limits.conf) on the workers' hosts",
        ),
        encryption(),
        network(),
        batch(),
    ]
}

/// The soft limit is raised by whoever needs it: the hard one counts.
fn limit(about: &'static str, resource: Resource, least: u64, remedy: &str) -> Finding {
    match getrlimit(resource) {
        Err(errno) => Finding::warning(about, errno.to_string(), remedy),
        Ok((_, hard)) if hard < least => Finding::warning(
            about,
            format!("at most {hard}; large pilots need {least}"),
            remedy,
        ),
        Ok((_, nix::libc::RLIM_INFINITY)) => Finding::fine(about, "without limit"),
        Ok((_, hard)) => Finding::fine(about, format!("up to {hard}")),
    }
}

fn encryption() -> Finding {
    match scalems_transport::check_build() {
        Ok(()) => Finding::fine("encryption", "is built in"),
        Err(error) => Finding::problem(
            "encryption",
            error.to_string(),
            "build scalems as its README says",
        ),
    }
}

fn network() -> Finding {
    let about = "network";
    let elsewhere = "pilots of several nodes need one: name it with --interface or --tcp=ADDRESS";
    let address = match interface::address(None) {
        Ok(address) => address,
        Err(error) => return Finding::warning(about, error.to_string(), elsewhere),
    };
    let tried = TcpListener::bind(SocketAddr::new(address, 0))
        .and_then(|listener| TcpStream::connect_timeout(&listener.local_addr()?, CONNECT));
    match tried {
        Ok(_) => Finding::fine(
            about,
            format!("other hosts would reach a pilot here at {address}"),
        ),
        Err(error) => Finding::problem(
            about,
            format!("this host cannot reach itself at {address}: {error}"),
            "look whether a firewall closes high ports; --interface names another network",
        ),
    }
}

fn batch() -> Finding {
    let about = "batch system";
    let Some(kind) = Kind::here() else {
        return Finding::fine(about, "none here: pilots run where they are started");
    };
    match kind.system().answers() {
        Ok(said) => Finding::fine(about, format!("{}: {said}", kind.name())),
        // Pilots that are started here have no need of it.
        Err(error) => Finding::warning(
            about,
            error.to_string(),
            "ask your site; `pilot submit` does not work until then",
        ),
    }
}
