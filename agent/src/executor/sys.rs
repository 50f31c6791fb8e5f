//! Safe faces for the few kernel calls that `nix` has none for.

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::AtomicI32;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::resource::{UsageWho, getrusage};

/// What a process and the descendants it waited for have used.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Usage {
    pub(super) cpu: Duration,
    pub(super) peak_rss: u64,
}

impl Usage {
    /// Adds what another process of the same program has used.
    pub(super) fn join(&mut self, other: Self) {
        self.cpu += other.cpu;
        self.peak_rss = self.peak_rss.max(other.peak_rss);
    }
}

/// A raw wait status and what the process used.
pub(super) type Reaped = (i32, Usage);

/// Reaps one child if it has ended. `None`: it still runs.
pub(super) fn reap(pid: i32) -> Result<Option<Reaped>, Errno> {
    wait(pid, libc::WNOHANG)
}

/// Reaps a child that is about to end.
pub(super) fn reap_ending(pid: i32) -> Result<Option<Reaped>, Errno> {
    wait(pid, 0)
}

fn wait(pid: i32, options: i32) -> Result<Option<Reaped>, Errno> {
    let mut status = 0;
    // SAFETY: `rusage` is plain numbers, for which zeros are valid.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: both pointers are to live locals of the right types.
        let done = unsafe { libc::wait4(pid, &raw mut status, options, &raw mut usage) };
        match Errno::result(done) {
            Ok(0) => return Ok(None),
            Ok(_) => break,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    let cpu = duration(usage.ru_utime) + duration(usage.ru_stime);
    Ok(Some((
        status,
        Usage {
            cpu,
            peak_rss: usage.ru_maxrss as u64 * 1024,
        },
    )))
}

fn duration(time: libc::timeval) -> Duration {
    Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000)
}

/// The largest resident size that this process has had.
pub(super) fn own_peak() -> u64 {
    getrusage(UsageWho::RUSAGE_SELF).map_or(u64::MAX, |usage| usage.max_rss() as u64 * 1024)
}

/// The CPUs that the calling thread may run on: bit n of word n / 64 for CPU n. As many as there may be, which the
/// C library's own type is too small for.
pub(super) fn affinity() -> io::Result<Vec<u64>> {
    const WORDS: usize = 8_192 / 64;
    let mut mask = vec![0_u64; WORDS];
    // SAFETY: the buffer is writable for as many bytes as are said.
    let filled = unsafe {
        libc::syscall(
            libc::SYS_sched_getaffinity,
            0,
            size_of_val(mask.as_slice()),
            mask.as_mut_ptr(),
        )
    };
    mask.truncate(Errno::result(filled)? as usize / size_of::<u64>());
    Ok(mask)
}

/// Sets them.
pub(super) fn set_affinity(mask: &[u64]) -> Result<(), Errno> {
    // SAFETY: the buffer is readable for as many bytes as are said.
    let set = unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, size_of_val(mask), mask.as_ptr()) };
    Errno::result(set).map(drop)
}

/// A descriptor that becomes readable when the process ends.
pub(super) fn pidfd_open(pid: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: no pointers are passed; the result is checked and owned by nobody else.
    unsafe {
        let fd = Errno::result(libc::syscall(libc::SYS_pidfd_open, pid, 0))?;
        Ok(OwnedFd::from_raw_fd(fd as i32))
    }
}

/// Sends SIGKILL to exactly the process that the descriptor was opened for.
pub(super) fn pidfd_kill(pidfd: impl AsFd) -> Result<(), Errno> {
    let fd = pidfd.as_fd().as_raw_fd();
    // SAFETY: the siginfo pointer may be null: the kernel then fills it in as for kill().
    let sent = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            fd,
            libc::SIGKILL,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    Errno::result(sent).map(drop)
}

/// Whether the kernel can close a range of descriptors (Linux 5.9).
pub(super) fn has_close_range() -> bool {
    // SAFETY: no pointers; the range holds no descriptor that can exist.
    unsafe { libc::syscall(libc::SYS_close_range, u32::MAX, u32::MAX, 0) == 0 }
}

/// Names of the entries of an open directory that are numbers, without allocating.
///
/// `each` gets the process ids of `/proc`; it may not be called for processes that come or go meanwhile.
pub(super) fn each_number(directory: impl AsFd, each: &mut dyn FnMut(i32)) -> Result<(), Errno> {
    /// Offset of the name in the kernel's `linux_dirent64`: inode, offset, record length, type.
    const NAME: usize = 8 + 8 + 2 + 1;
    let mut buffer = [0_u64; 512];
    let bytes = size_of_val(&buffer);
    loop {
        let fd = directory.as_fd().as_raw_fd();
        // SAFETY: the buffer is writable for exactly `bytes` bytes.
        let filled = unsafe { libc::syscall(libc::SYS_getdents64, fd, buffer.as_mut_ptr(), bytes) };
        let filled = Errno::result(filled)? as usize;
        if filled == 0 {
            return Ok(());
        }
        // SAFETY: the kernel has initialised `filled <= bytes` bytes, and any byte is a valid u8.
        let mut rest = unsafe { std::slice::from_raw_parts(buffer.as_ptr().cast::<u8>(), filled.min(bytes)) };
        while let Some([low, high]) = rest.get(16..18) {
            let length = usize::from(u16::from_ne_bytes([*low, *high])).max(NAME);
            if let Some(number) = rest.get(NAME..length).and_then(leading_number) {
                each(number);
            }
            rest = rest.get(length..).unwrap_or_default();
        }
    }
}

/// The number that a zero-terminated name consists of.
fn leading_number(name: &[u8]) -> Option<i32> {
    let mut number = 0_i32;
    let mut digits = 0;
    for byte in name.iter().take_while(|byte| **byte != 0) {
        if !byte.is_ascii_digit() {
            return None;
        }
        number = number.checked_mul(10)?.checked_add(i32::from(byte - b'0'))?;
        digits += 1;
    }
    (digits > 0).then_some(number)
}

/// Descriptors 0 to 2 must be open, or a program's pipes could get these numbers and lose them again in the
/// child. Rust sees to it in its own binaries; in a library of somebody else's process nobody does.
pub(super) fn take_standard_descriptors() -> io::Result<()> {
    for standard in [0, 1, 2] {
        // SAFETY: the number is only asked about, not used as an owner.
        let fd = unsafe { BorrowedFd::borrow_raw(standard) };
        if fcntl(fd, FcntlArg::F_GETFD).is_err() {
            // The lowest free number is this one. It stays open for the life of the process.
            std::mem::forget(File::options().read(true).write(true).open("/dev/null")?);
        }
    }
    Ok(())
}

/// Numbers in memory that forked children see too, and change for everybody.
#[derive(Debug)]
pub(super) struct SharedCells {
    cells: *const AtomicI32,
    count: usize,
}

// SAFETY: the cells are atomics, which any thread may use; the mapping lives as long as the value.
unsafe impl Send for SharedCells {}
// SAFETY: as above.
unsafe impl Sync for SharedCells {}

impl SharedCells {
    /// `count` zeros. Pages are taken from the system when first touched.
    pub(super) fn new(count: usize) -> io::Result<Self> {
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        let bytes = count * size_of::<AtomicI32>();
        // SAFETY: a new anonymous mapping at an address of the kernel's choice touches no other memory.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                flags,
                -1,
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self {
            cells: address.cast(),
            count,
        })
    }
}

impl Deref for SharedCells {
    type Target = [AtomicI32];

    fn deref(&self) -> &[AtomicI32] {
        // SAFETY: the mapping is page-aligned, zeroed and lives as long as self; zero is a valid atomic.
        unsafe { std::slice::from_raw_parts(self.cells, self.count) }
    }
}

impl Drop for SharedCells {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping made in `new`, to which no reference can outlive self.
        unsafe { libc::munmap(self.cells.cast_mut().cast(), self.count * size_of::<AtomicI32>()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_proc_include_our_own() {
        let proc = std::fs::File::open("/proc").unwrap();
        let mut seen = Vec::new();
        each_number(&proc, &mut |pid| seen.push(pid)).unwrap();
        assert!(seen.contains(&(std::process::id() as i32)));
        assert!(seen.contains(&1));
    }

    #[test]
    fn only_whole_numbers_count() {
        assert_eq!(leading_number(b"123\0xyz"), Some(123));
        assert_eq!(leading_number(b"12a\0"), None);
        assert_eq!(leading_number(b"\0"), None);
        assert_eq!(leading_number(b"99999999999\0"), None);
    }

    #[test]
    fn reaping_what_is_no_child_is_an_error() {
        assert_eq!(reap(1).unwrap_err(), Errno::ECHILD);
    }
}
