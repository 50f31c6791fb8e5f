//! Reads `/proc` without allocating, so that the [guard](super::guard) can do it in a forked child as well.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use nix::unistd::read;

use super::sys;

/// What `/proc/PID/stat` tells about one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) pid: i32,
    pub(super) parent: i32,
    pub(super) group: i32,
    pub(super) session: i32,
    /// Has ended and waits to be reaped.
    pub(super) zombie: bool,
    /// Clock ticks since boot: tells a process from a later one with the same id.
    pub(super) start: u64,
}

/// The open directory `/proc`.
#[derive(Debug)]
pub(super) struct Proc(File);

impl Proc {
    pub(super) fn open() -> io::Result<Self> {
        File::open("/proc").map(Self)
    }

    pub(super) fn descriptor(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Every process there is. One that ends meanwhile may be missing.
    ///
    /// The directory is opened anew: a position in it is shared by all who hold it.
    pub(super) fn all(&self) -> Result<Vec<Stat>, Errno> {
        let mut found = Vec::new();
        self.each(&mut |pid| found.extend(self.stat(pid)))?;
        Ok(found)
    }

    /// Calls `each` with every process id.
    pub(super) fn each(&self, each: &mut dyn FnMut(i32)) -> Result<(), Errno> {
        let directory = openat(
            &self.0,
            c".",
            OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
            Mode::empty(),
        )?;
        sys::each_number(&directory, each)
    }

    /// One process, if it is (still) there.
    pub(super) fn stat(&self, pid: i32) -> Option<Stat> {
        let file = self.open_of(pid, b"/stat\0")?;
        // The command's name has at most 64 bytes, all else are some 50 numbers.
        let mut buffer = [0_u8; 1536];
        let length = read(&file, &mut buffer).ok()?;
        parse_stat(pid, buffer.get(..length)?)
    }

    /// Whether the process was started with exactly this `NAME=value` in its environment.
    pub(super) fn environment_has(&self, pid: i32, entry: &[u8]) -> bool {
        let Some(file) = self.open_of(pid, b"/environ\0") else {
            return false;
        };
        let mut search = EntrySearch::new(entry);
        let mut buffer = [0_u8; 4096];
        while let Ok(length @ 1..) = read(&file, &mut buffer) {
            if buffer.iter().take(length).any(|byte| search.feed(*byte)) {
                return true;
            }
        }
        search.feed(0)
    }

    fn open_of(&self, pid: i32, name: &[u8]) -> Option<OwnedFd> {
        let mut path = [0_u8; 24];
        let digits = write_number(&mut path, pid)?;
        path.get_mut(digits..digits + name.len())?.copy_from_slice(name);
        let path = CStr::from_bytes_until_nul(&path).ok()?;
        openat(
            self.0.as_fd(),
            path,
            OFlag::O_RDONLY | OFlag::O_CLOEXEC,
            Mode::empty(),
        )
        .ok()
    }
}

/// Writes a positive number in decimal digits and returns how many.
fn write_number(into: &mut [u8], number: i32) -> Option<usize> {
    let mut rest = u32::try_from(number).ok()?;
    let digits = rest.checked_ilog10().map_or(1, |log| log as usize + 1);
    for place in into.get_mut(..digits)?.iter_mut().rev() {
        *place = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    Some(digits)
}

/// The command's name, the second field, may contain anything; the last `)` ends it.
fn parse_stat(pid: i32, line: &[u8]) -> Option<Stat> {
    let after_name = line.iter().rposition(|byte| *byte == b')')? + 1;
    let mut fields = line
        .get(after_name..)?
        .split(|byte| *byte == b' ')
        .filter(|field| !field.is_empty());
    let state = *fields.next()?.first()?;
    let mut number = || -> Option<i64> { std::str::from_utf8(fields.next()?).ok()?.parse().ok() };
    let parent = number()? as i32;
    let group = number()? as i32;
    let session = number()? as i32;
    // From the terminal (field 7) to the 21st lie 15 numbers; start time is the 22nd.
    for _ in 7..=21 {
        number()?;
    }
    let start = number()? as u64;
    Some(Stat {
        pid,
        parent,
        group,
        session,
        zombie: matches!(state, b'Z' | b'X' | b'x'),
        start,
    })
}

/// Finds one zero-terminated string among many, fed byte by byte.
struct EntrySearch<'a> {
    wanted: &'a [u8],
    matched: Option<usize>,
}

impl<'a> EntrySearch<'a> {
    fn new(wanted: &'a [u8]) -> Self {
        Self {
            wanted,
            matched: Some(0),
        }
    }

    fn feed(&mut self, byte: u8) -> bool {
        if byte == 0 {
            return self.matched.replace(0) == Some(self.wanted.len());
        }
        self.matched = self
            .matched
            .filter(|at| self.wanted.get(*at) == Some(&byte))
            .map(|at| at + 1);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_found_with_its_parent() {
        let proc = Proc::open().unwrap();
        let own = std::process::id() as i32;
        let stat = proc.stat(own).unwrap();
        assert_eq!(stat.parent, nix::unistd::getppid().as_raw());
        assert_eq!(stat.group, nix::unistd::getpgrp().as_raw());
        assert!(!stat.zombie && stat.start > 0);
        assert!(
            proc.all()
                .unwrap()
                .iter()
                .any(|one| one.pid == own && one.start == stat.start)
        );
    }

    #[test]
    fn a_name_with_brackets_does_not_confuse() {
        let line = b"7 (a) R 1 (x) S 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 2222 23\n";
        let expected = Stat {
            pid: 7,
            parent: 3,
            group: 4,
            session: 5,
            zombie: false,
            start: 2222,
        };
        assert_eq!(parse_stat(7, line), Some(expected));
        assert_eq!(parse_stat(7, b"7 (x) Z 3"), None);
    }

    #[test]
    fn an_entry_matches_whole_or_not_at_all() {
        let holds = |entry: &[u8], environment: &[u8]| {
            let mut search = EntrySearch::new(entry);
            environment.iter().chain(&[0]).any(|byte| search.feed(*byte))
        };
        assert!(holds(b"T=5.1", b"A=1\0T=5.1\0B=2"));
        assert!(holds(b"T=5.1", b"A=1\0T=5.1"));
        assert!(!holds(b"T=5.1", b"A=1\0T=5.10\0XT=5.1\0T=5."));
    }

    #[test]
    fn numbers_are_written_in_full() {
        for number in [1, 9, 10, 32768, i32::MAX] {
            let mut buffer = [0; 12];
            let digits = write_number(&mut buffer, number).unwrap();
            assert_eq!(&buffer[..digits], number.to_string().as_bytes());
        }
    }
}
