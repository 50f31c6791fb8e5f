//! Ends what a dead worker leaves behind.
//!
//! The kernel kills a program's main process with the worker, but not what that process has started: of
//! `sh -c "simulate"` only the shell would die. So the worker keeps a small copy of itself beside it that does
//! nothing but wait for its death, however it comes, and then kills the process groups of its programs, and
//! every process that bears the worker's mark in its environment.
//!
//! The copy is made from a process with threads, so it may not allocate, lock or panic: it uses what it was
//! given, its stack, and plain kernel calls.

use std::ffi::{c_int, c_void};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, pipe2};

use super::proc::Proc;
use super::spawn::fork_into;
use super::sys::{self, SharedCells};

/// Time between rounds of killing: what was just killed needs some to be gone.
static PAUSE: libc::timespec = libc::timespec {
    tv_sec: 0,
    tv_nsec: 10_000_000,
};

/// Two seconds of rounds: beyond that, what is left cannot be killed.
const ROUNDS: u32 = 200;

/// The guard of this process. Dropping it dismisses it: whoever drops it has ended the programs.
#[derive(Debug)]
pub(super) struct Guard {
    pid: i32,
    /// Closed by the kernel when this process dies; the guard sees that.
    _lifeline: OwnedFd,
}

/// What the copy needs.
struct Post<'a> {
    cells: &'a [AtomicI32],
    mark: Option<&'a [u8]>,
    lifeline: RawFd,
    proc: Proc,
}

impl Guard {
    /// `cells` holds the process ids of the programs that run, zero for none; `mark` is a `NAME=value` that
    /// only this worker's programs have in their environment.
    pub(super) fn start(cells: &SharedCells, mark: Option<&[u8]>) -> io::Result<Self> {
        let (lifeline, ours) = pipe2(OFlag::O_CLOEXEC)?;
        let post = Post {
            cells,
            mark,
            lifeline: lifeline.as_raw_fd(),
            proc: Proc::open()?,
        };
        // SAFETY: `stand` keeps to the rules of a forked child and never returns. `post` is copied with our memory.
        let pid = unsafe { fork_into(stand, ptr::from_ref(&post).cast_mut().cast()) }?;
        Ok(Self { pid, _lifeline: ours })
    }

    pub(super) fn pid(&self) -> i32 {
        self.pid
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let pid = Pid::from_raw(self.pid);
        match kill(pid, Signal::SIGKILL).and_then(|()| sys::reap_ending(self.pid)) {
            // ESRCH and ECHILD: it was killed by somebody, and reaped by a lost part of this process.
            Ok(_) | Err(Errno::ESRCH | Errno::ECHILD) => {}
            Err(errno) => tracing::warn!(pid = self.pid, %errno, "the guard cannot be ended"),
        }
    }
}

/// The copy's life.
extern "C" fn stand(post: *mut c_void) -> c_int {
    // SAFETY: the argument that `start` passed, in our copy of its memory.
    let post = unsafe { &*post.cast::<Post<'_>>() };
    // SAFETY: plain kernel calls on our own process. What fails here only makes the guard easier to kill, or
    // leaves it a descriptor.
    unsafe {
        libc::setsid();
        libc::prctl(libc::PR_SET_NAME, c"scalems-guard".as_ptr());
        for signal in [
            libc::SIGHUP,
            libc::SIGINT,
            libc::SIGTERM,
            libc::SIGQUIT,
            libc::SIGPIPE,
        ] {
            libc::signal(signal, libc::SIG_IGN);
        }
        libc::chdir(c"/".as_ptr());
        leave_open(post);
        let mut nothing = 0_u8;
        // Nothing is ever written, so it returns when the last end for writing is closed: the worker is dead.
        while libc::read(post.lifeline, (&raw mut nothing).cast(), 1) < 0 && Errno::last_raw() == libc::EINTR
        {
        }
        for _ in 0..ROUNDS {
            if !kill_all(post) {
                break;
            }
            libc::nanosleep(&raw const PAUSE, ptr::null_mut());
        }
        libc::_exit(0)
    }
}

/// Closes all but two descriptors: a socket that stayed open would hide the worker's death from its peers.
///
/// # Safety
/// Only in the forked copy: the descriptors it closes have owners in the memory that was copied.
unsafe fn leave_open(post: &Post<'_>) {
    let kept = [post.lifeline, post.proc.descriptor()];
    let (low, high) = (kept[0].min(kept[1]) as u32, kept[0].max(kept[1]) as u32);
    // SAFETY: see above; nothing of the copied memory uses a descriptor any more.
    unsafe {
        for (first, last) in [(0, low - 1), (low + 1, high - 1), (high + 1, u32::MAX)] {
            if first <= last && libc::syscall(libc::SYS_close_range, first, last, 0) != 0 {
                for fd in first..=last.min(65_536) {
                    libc::close(fd as RawFd);
                }
            }
        }
    }
}

/// One round. Returns whether anything that lives was there to be killed: what has ended may wait long for whoever reaps
/// it, and does nothing any more.
fn kill_all(post: &Post<'_>) -> bool {
    let mut found = false;
    let mut killed = false;
    for cell in post.cells {
        let pid = cell.load(Ordering::Relaxed);
        killed |= pid > 1 && killpg(Pid::from_raw(pid), Signal::SIGKILL).is_ok();
    }
    let listed = post.proc.each(&mut |pid| {
        let Some(stat) = post.proc.stat(pid).filter(|stat| !stat.zombie) else {
            return;
        };
        let of_program = stat.group > 1
            && post
                .cells
                .iter()
                .any(|cell| cell.load(Ordering::Relaxed) == stat.group);
        // The copy's own environment is the worker's, which does not bear the mark: only its programs do.
        let marked = || post.mark.is_some_and(|mark| post.proc.environment_has(pid, mark));
        if (of_program || marked()) && kill(Pid::from_raw(pid), Signal::SIGKILL).is_ok() {
            found = true;
        }
    });
    found || (listed.is_err() && killed)
}
