//! Whether the process that wrote a file still runs.

use std::fs;

use super::ConnectionFile;

/// What can be said of the agent that wrote a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writer {
    /// It runs, as far as one can see.
    Running,
    /// It has ended: the file is of an old session.
    Gone,
    /// It is on another host, or the system does not tell.
    Unknown,
}

impl ConnectionFile {
    /// Whether the agent that wrote the file still runs, seen from the host `here`.
    pub fn writer(&self, here: &str) -> Writer {
        if here != self.host || start_time(std::process::id()).is_none() {
            return Writer::Unknown;
        }
        match start_time(self.pid) {
            None => Writer::Gone,
            // The number was given to another process since.
            Some(started) if self.start_time.is_some_and(|told| told != started) => Writer::Gone,
            Some(_) => Writer::Running,
        }
    }
}

/// When a process of this host started, in clock ticks after the host's own start; with the id it names the
/// process for good. `None` if it does not run or the system does not tell.
pub fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses and may hold anything; the 22nd is the start.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    // A process that ended and was not waited for is gone as well.
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_told_apart() {
        let own = std::process::id();
        assert!(start_time(own).is_some());
        assert_eq!(start_time(own), start_time(own));
        assert_eq!(start_time(u32::MAX), None);
    }
}
