//! The machine: limits, network, encryption, batch system.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit};
use scalems_agent::batch::{Kind, interface};
use scalems_agent::executor::memory_rule;
use scalems_agent::worker::{Connection, Machine, Maker, WorkerOptions};

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
        memory(),
        gpus(),
        batch(),
    ]
}

/// How a worker that is started here would keep tasks to their memory.
fn memory() -> Finding {
    Finding::fine("memory limits", format!("are {}", memory_rule()))
}

/// Those that a worker here would offer.
fn gpus() -> Finding {
    let about = "GPUs";
    let place = WorkerOptions::new(Connection::File(PathBuf::new()), "/tmp");
    let machine = match Machine::of(&place) {
        Ok(machine) => machine,
        Err(error) => {
            return Finding::warning(about, error.to_string(), "say with options what workers offer");
        }
    };
    let mut counts: Vec<(String, u32)> = Vec::new();
    for offered in &machine.gpus {
        let gpu = &offered.gpu;
        let maker = gpu.maker.map_or("unknown", Maker::name);
        let model = gpu.model.as_ref().map_or_else(|| maker.to_owned(), Clone::clone);
        match counts.iter_mut().find(|(known, _)| *known == model) {
            Some((_, count)) => *count += 1,
            None => counts.push((model, 1)),
        }
    }
    let found: Vec<String> = counts
        .iter()
        .map(|(model, count)| format!("{count} × {model}"))
        .collect();
    let found = if found.is_empty() {
        "none".to_owned()
    } else {
        found.join(", ")
    };
    let notes = &machine.notes;
    let said = if notes.is_empty() {
        found
    } else {
        format!("{found}: {}", notes.join("; "))
    };
    // Some machines have a tool and no device: pilots run all the same.
    if notes.is_empty() || machine.gpus.is_empty() {
        return Finding::fine(about, said);
    }
    let remedy = "say with --gpus how many GPUs workers offer, if these are not right";
    Finding::warning(about, said, remedy)
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
    // Commands of several may be installed, where one of them looks after the machine.
    let (mut answers, mut failed) = (Vec::new(), None);
    for kind in Kind::all_here() {
        match kind.system().answers() {
            Ok(said) => answers.push(format!("{}: {said}", kind.name())),
            Err(error) => {
                failed.get_or_insert(error);
            }
        }
    }
    match failed.filter(|_| answers.is_empty()) {
        None if answers.is_empty() => Finding::fine(about, "none here: pilots run where they are started"),
        None => Finding::fine(about, answers.join("; ")),
        // Pilots that are started here have no need of it.
        Some(error) => Finding::warning(
            about,
            error.to_string(),
            "ask your site; `pilot submit` does not work until then",
        ),
    }
}
