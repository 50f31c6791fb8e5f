//! What processes are known by, so that another process can tell whether they are over: one on their host by itself, one elsewhere
//! by what a batch system says of their job.

use std::io;

use nix::errno::Errno;
use scalems_protocol::limits;
use scalems_transport::connection_file::start_time;

use crate::batch::JobPart;

/// Before what follows is a part of a batch job.
const PART: &str = " @";

/// The start of the host and the space of process numbers that this process sees.
fn space() -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let numbers = std::fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{} {}", boot.trim(), numbers.to_str()?))
}

/// What these processes of ours are known by together; empty if the system does not tell.
pub(crate) fn name(pids: &[u32]) -> String {
    let started = |pid: &u32| Some(format!(" {pid}:{}", start_time(*pid)?));
    let all: Option<String> = pids.iter().map(started).collect();
    let Some((space, all)) = space().zip(all) else {
        return String::new();
    };
    let here = space + &all;
    let named = JobPart::own().map(|part| format!("{here}{PART}{part}"));
    named
        .filter(|named| named.len() <= limits::NAME_BYTES)
        .unwrap_or(here)
}

/// Where the processes of this name run in a batch system.
pub(crate) fn part(name: &str) -> Option<JobPart> {
    name.split_once(PART)?.1.parse().ok()
}

/// Whether processes of this name, if they run, could be seen from here.
pub(crate) fn is_of_here(name: &str) -> bool {
    space().is_some_and(|space| {
        name.strip_prefix(&space)
            .is_some_and(|rest| rest.starts_with(' '))
    })
}

/// Whether all processes that are known by `name` are over. What cannot be told from this host may still run.
pub(crate) fn are_over(name: &str) -> bool {
    let name = name.split_once(PART).map_or(name, |(here, _)| here);
    let Some(all) = space().and_then(|space| name.strip_prefix(&space)) else {
        return false;
    };
    let over = |process: &str| {
        let (pid, start) = process.split_once(':')?;
        let (pid, start): (u32, u64) = (pid.parse().ok()?, start.parse().ok()?);
        match start_time(pid) {
            Some(found) => Some(found != start),
            // Gone, or not to be read for want of a descriptor.
            None => Some(is_gone(pid)),
        }
    };
    let mut all = all.split_ascii_whitespace().peekable();
    all.peek().is_some() && all.all(|process| over(process) == Some(true))
}

/// Whether there is no such process, or only what is left of it until it is reaped.
fn is_gone(pid: u32) -> bool {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Err(error) => {
            error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(Errno::ESRCH as i32)
        }
        Ok(stat) => stat
            .rsplit_once(") ")
            .is_some_and(|(_, rest)| rest.starts_with(['Z', 'X'])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_over_once_all_of_them_are() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let own = std::process::id();
        let both = name(&[own, child.id()]);
        let one = name(&[child.id()]);
        assert!(!are_over(&one));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(are_over(&one));
        assert!(!are_over(&both), "{both}");
        assert_eq!(
            name(&[child.id()]),
            "",
            "one that is over is not known by anything"
        );
        let part = "slurm:hpc:4711:0:n17";
        assert!(are_over(&format!("{one} @{part}")), "it is known without its job");
        assert_eq!(
            super::part(&format!("{one} @{part}")),
            Some(part.parse().unwrap())
        );
        assert_eq!(super::part(&one), None);
        // What is not known, known elsewhere, or no name may still run.
        let elsewhere = one.replacen(|c: char| c.is_ascii_hexdigit(), "x", 1);
        let space = space().unwrap();
        for other in [
            "",
            &elsewhere,
            &space,
            &format!("{space} 1"),
            &format!("{space} x:y"),
        ] {
            assert!(!are_over(other), "{other}");
        }
    }
}
