//! The one place where a process is made.
//!
//! A child is made the way `posix_spawn` makes it: it borrows the parent's memory (`CLONE_VM`) while the
//! calling thread sleeps (`CLONE_VFORK`) until the child has become another program or has ended. Nothing is
//! copied, so the cost does not grow with the worker's memory. `posix_spawn` itself will not do because it can
//! neither pin, nor limit, nor set a death signal, nor hand out a pidfd without a race.
//!
//! # The rules that make this sound
//!
//! 1. Everything the child needs is prepared before ([`Launch`]); it only reads it, through plain pointers that
//!    stay valid because the parent's thread sleeps in this module's frame.
//! 2. Between clone and exec the child only calls what is async-signal-safe, on a stack of its own. It does not
//!    allocate, lock, panic, run destructors or return.
//! 3. The calling thread has every signal blocked (the spawner threads block them when they start), so that no
//!    handler of the worker runs in the child. The child unblocks them last, after resetting all handlers.
//! 4. It writes to the parent's memory in exactly three places: its own stack, `errno` of the sleeping thread,
//!    and the atomic cells of [`Launch::slot`] and of the error report, which live in shared memory so that they
//!    also work where the memory is copied.
//!
//! Where the kernel or a container refuses these flags, [`Method`] falls back step by step to what always works.

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};

use nix::errno::Errno;

use super::outcome::Step;
use super::sys::{self, SharedCells};

/// How a child is made. Each is tried once; the first that the system allows stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Memory borrowed, and a pidfd with it: Linux 5.2.
    Borrowed,
    /// Memory borrowed; the pidfd, if there are any, is opened after.
    BorrowedPlain,
    /// Memory copied, as `fork` does, and a thread that waits for each program's end: it needs nothing new.
    Copied,
}

impl Method {
    fn flags(self) -> c_int {
        libc::SIGCHLD
            | libc::CLONE_VFORK
            | match self {
                Self::Borrowed => libc::CLONE_VM | libc::CLONE_PIDFD,
                Self::BorrowedPlain => libc::CLONE_VM,
                Self::Copied => 0,
            }
    }

    fn next(self) -> Option<Self> {
        match self {
            Self::Borrowed => Some(Self::BorrowedPlain),
            Self::BorrowedPlain => Some(Self::Copied),
            Self::Copied => None,
        }
    }
}

/// Everything a child needs, prepared.
pub(super) struct Launch<'a> {
    pub(super) program: &'a CStr,
    /// Ends with a null pointer, as does `envp`.
    pub(super) argv: &'a [*const c_char],
    pub(super) envp: &'a [*const c_char],
    pub(super) cwd: Option<&'a CStr>,
    /// What become descriptors 0, 1 and 2; all three are above 2.
    pub(super) stdio: [BorrowedFd<'a>; 3],
    /// Kept under its own number, above 2.
    pub(super) inherit: Option<BorrowedFd<'a>>,
    /// Bits of the CPUs to run on; empty leaves it alone.
    pub(super) cpus: &'a [u64],
    pub(super) limits: &'a [(c_int, libc::rlimit)],
    /// The `cgroup.procs` of the group to be in.
    pub(super) joins: Option<BorrowedFd<'a>>,
    /// The child's id is put here before it becomes the program.
    pub(super) slot: Option<&'a AtomicI32>,
}

/// A new process.
#[derive(Debug)]
pub(super) struct Spawned {
    pub(super) pid: i32,
    /// Absent only on kernels without pidfds.
    pub(super) pidfd: Option<OwnedFd>,
}

/// Where it went wrong. No process is left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) step: Step,
    pub(super) errno: Errno,
}

/// Makes children, one at a time, for one thread. They die with that thread.
pub(super) struct Launcher {
    method: Cell<Method>,
    stack: Stack,
    /// Step (as an index plus one) and errno of a child that failed.
    report: SharedCells,
    has_close_range: bool,
    parent: i32,
    /// Where its thread may run by itself, and where it may now; empty: by itself.
    everywhere: Vec<u64>,
    pinned: Vec<u64>,
}

impl Launcher {
    /// For the thread that will call [`Launcher::spawn`], which must have all signals blocked.
    pub(super) fn new(method: Method) -> io::Result<Self> {
        Ok(Self {
            method: Cell::new(method),
            stack: Stack::new()?,
            report: SharedCells::new(2)?,
            has_close_range: sys::has_close_range(),
            parent: std::process::id() as i32,
            everywhere: sys::affinity()?,
            pinned: Vec::new(),
        })
    }

    /// Makes a process and returns once it is the program, or could not become it.
    pub(super) fn spawn(&mut self, launch: &Launch<'_>) -> Result<Spawned, Failure> {
        assert!(
            launch
                .stdio
                .iter()
                .chain(&launch.inherit)
                .all(|fd| fd.as_raw_fd() > 2),
            "descriptors 0 to 2 are taken when the executor starts"
        );
        self.pin(launch.cpus).map_err(|errno| Failure {
            step: Step::Affinity,
            errno,
        })?;
        let [step, errno] = &*self.report else {
            unreachable!("the report has two cells")
        };
        step.store(0, Ordering::Relaxed);
        let plan = Plan {
            launch,
            step,
            errno,
            parent: self.parent,
            last_fd: if self.has_close_range {
                None
            } else {
                Some(highest_descriptor())
            },
        };
        let (pid, pidfd) = self.clone_child(&plan)?;
        let failed = step.load(Ordering::Acquire);
        if failed != 0 {
            if let Some(slot) = launch.slot {
                slot.store(0, Ordering::Relaxed);
            }
            // It has reported and is ending: no wait worth the name.
            sys::reap_ending(pid).map_err(|errno| Failure {
                step: Step::Watch,
                errno,
            })?;
            let step = Step::ALL.get(failed as usize - 1).copied().unwrap_or(Step::Exec);
            return Err(Failure {
                step,
                errno: Errno::from_raw(errno.load(Ordering::Relaxed)),
            });
        }
        Ok(Spawned {
            pid,
            pidfd: pidfd.or_else(|| self.pidfd_of(pid)),
        })
    }

    /// Has the thread run where its child is to run, which inherits that. Moving a child that runs already would
    /// take longer than all else it does, and a thread that is woken where its program ended takes up at once.
    fn pin(&mut self, cpus: &[u64]) -> Result<(), Errno> {
        if self.pinned != cpus {
            sys::set_affinity(if cpus.is_empty() { &self.everywhere } else { cpus })?;
            self.pinned.clear();
            self.pinned.extend_from_slice(cpus);
        }
        Ok(())
    }

    /// Lets the thread run anywhere again.
    pub(super) fn unpin(&mut self) {
        if let Err(errno) = self.pin(&[]) {
            tracing::warn!(%errno, "a spawner stays where its last program ran");
            // Not tried again and again: the next program sets it anew.
            self.pinned.clear();
        }
    }

    pub(super) fn is_pinned(&self) -> bool {
        !self.pinned.is_empty()
    }

    fn pidfd_of(&self, pid: i32) -> Option<OwnedFd> {
        if self.method.get() == Method::Copied {
            return None;
        }
        // None on old kernels, and where there are no descriptors left: then a thread waits.
        sys::pidfd_open(pid).ok()
    }

    fn clone_child(&self, plan: &Plan<'_>) -> Result<(i32, Option<OwnedFd>), Failure> {
        loop {
            let mut pidfd: RawFd = -1;
            // SAFETY: the entry point never returns; the stack is ours alone and big enough; `plan` and all it
            // points to outlive the child's use of them, since VFORK holds this thread until the child has
            // become a program or ended. The module's four rules cover the rest.
            let made = unsafe {
                libc::clone(
                    child,
                    self.stack.top(),
                    self.method.get().flags(),
                    ptr::from_ref(plan).cast_mut().cast::<c_void>(),
                    &raw mut pidfd,
                )
            };
            match (Errno::result(made), self.method.get().next()) {
                (Ok(pid), _) => {
                    // SAFETY: the kernel has just made this descriptor for us, closed on exec.
                    let pidfd = (pidfd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(pidfd) });
                    return Ok((pid, pidfd));
                }
                // What kernels say to flags they do not know, and containers to flags they do not want.
                (Err(Errno::EINVAL | Errno::ENOSYS | Errno::EPERM), Some(next)) => self.method.set(next),
                (Err(errno), _) => {
                    return Err(Failure {
                        step: Step::Clone,
                        errno,
                    });
                }
            }
        }
    }
}

/// Makes a copy of this process that runs `entry` and nothing else of it, with signal handling untouched.
///
/// # Safety
/// `entry` must not return, and keep to what is allowed after `fork` in a process with threads.
pub(super) unsafe fn fork_into(
    entry: extern "C" fn(*mut c_void) -> c_int,
    argument: *mut c_void,
) -> io::Result<i32> {
    let stack = Stack::new()?;
    // SAFETY: without CLONE_VM the child has its own copy of the stack and of all memory.
    let made = unsafe { libc::clone(entry, stack.top(), libc::SIGCHLD, argument) };
    Ok(Errno::result(made)?)
}

struct Plan<'a> {
    launch: &'a Launch<'a>,
    step: &'a AtomicI32,
    errno: &'a AtomicI32,
    parent: i32,
    /// Highest descriptor to close one by one, where there is no `close_range`.
    last_fd: Option<RawFd>,
}

/// The child's life. See the module's rules before changing anything here.
extern "C" fn child(plan: *mut c_void) -> c_int {
    // SAFETY: the parent passed a `Plan` and sleeps until we are done with it.
    let plan = unsafe { &*plan.cast::<Plan<'_>>() };
    // SAFETY: we are the child, on our own stack, signals blocked.
    let failed = unsafe { become_program(plan) };
    plan.errno.store(Errno::last_raw(), Ordering::Relaxed);
    plan.step.store(failed as c_int + 1, Ordering::Release);
    // SAFETY: ends this process without running anything else.
    unsafe { libc::_exit(127) }
}

/// Returns the step that failed, with `errno` as it left it.
///
/// # Safety
/// Only for the child of a clone, by the module's rules.
unsafe fn become_program(plan: &Plan<'_>) -> Step {
    let launch = plan.launch;
    // SAFETY: every call below is async-signal-safe and gets pointers that `Launch` keeps valid.
    unsafe {
        if libc::setpgid(0, 0) != 0 {
            return Step::Group;
        }
        if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) != 0 {
            return Step::DeathSignal;
        }
        // The worker may have died before the call above; then no signal comes any more.
        if libc::getppid() != plan.parent {
            libc::_exit(127);
        }
        if let Some(slot) = launch.slot {
            slot.store(libc::getpid(), Ordering::Relaxed);
        }
        // By itself and before it is the program: nothing that it starts is outside.
        if let Some(group) = launch.joins
            && libc::write(group.as_raw_fd(), c"0".as_ptr().cast(), 1) != 1
        {
            return Step::MemoryGroup;
        }
        for (resource, limit) in launch.limits {
            if libc::setrlimit(*resource as _, limit) != 0 {
                return Step::Limits;
            }
        }
        if !arrange_descriptors(launch, plan.last_fd) {
            return Step::Descriptors;
        }
        if let Some(cwd) = launch.cwd
            && libc::chdir(cwd.as_ptr()) != 0
        {
            return Step::Directory;
        }
        reset_signals();
        libc::execve(
            launch.program.as_ptr(),
            launch.argv.as_ptr(),
            launch.envp.as_ptr(),
        );
    }
    Step::Exec
}

/// Leaves the program 0, 1, 2 and what it inherits by wish.
///
/// # Safety
/// As [`become_program`].
unsafe fn arrange_descriptors(launch: &Launch<'_>, last_fd: Option<RawFd>) -> bool {
    // SAFETY: plain descriptor calls; the copies in this process are nobody else's.
    unsafe {
        for (target, source) in (0..).zip(&launch.stdio) {
            if libc::dup2(source.as_raw_fd(), target) < 0 {
                return false;
            }
        }
        let Some(kept) = launch.inherit else {
            return close_all(3, u32::MAX, last_fd);
        };
        let kept = kept.as_raw_fd();
        libc::fcntl(kept, libc::F_SETFD, 0) == 0
            && close_all(3, kept as u32 - 1, last_fd)
            && close_all(kept as u32 + 1, u32::MAX, last_fd)
    }
}

/// # Safety
/// As [`become_program`].
unsafe fn close_all(first: u32, last: u32, last_fd: Option<RawFd>) -> bool {
    if first > last {
        return true;
    }
    // SAFETY: as in `arrange_descriptors`.
    unsafe {
        match last_fd {
            None => libc::syscall(libc::SYS_close_range, first, last, 0) == 0,
            Some(highest) => {
                for fd in first..=last.min(highest as u32) {
                    libc::close(fd as RawFd);
                }
                true
            }
        }
    }
}

/// Default action for every signal, and none blocked: what a program may expect.
///
/// Handlers would be reset by exec anyway, but ignored signals would stay ignored, and Rust ignores SIGPIPE.
///
/// # Safety
/// As [`become_program`].
unsafe fn reset_signals() {
    // SAFETY: zeros are a valid sigaction (SIG_DFL, no flags, empty mask) and a valid empty set. The calls that
    // fail are those for SIGKILL, SIGSTOP and the C library's own signals, which need no reset.
    unsafe {
        let action: libc::sigaction = std::mem::zeroed();
        for signal in 1..=64 {
            libc::sigaction(signal, &raw const action, ptr::null_mut());
        }
        let none: libc::sigset_t = std::mem::zeroed();
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
    }
}

/// Where there is no `close_range`: the last number worth closing. Ours are all closed on exec; this is for what
/// a library may have left open, and such were open before this call.
fn highest_descriptor() -> RawFd {
    let mut highest = 2;
    if let Ok(directory) = std::fs::File::open("/proc/self/fd") {
        // What cannot be listed is left to close-on-exec.
        let _unlisted = sys::each_number(&directory, &mut |fd| highest = highest.max(fd));
    }
    highest
}

/// Memory for the child to run on until it becomes the program.
struct Stack {
    base: *mut c_void,
}

// SAFETY: plain memory that only its owner hands out.
unsafe impl Send for Stack {}

impl Stack {
    /// The child's frames need some hundred bytes, the C library's a few thousand.
    const SIZE: usize = 64 * 1024;
    /// Unmapped below, so that an overflow ends the child and not the worker's memory.
    const GUARD: usize = 64 * 1024;

    fn new() -> io::Result<Self> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK;
        // SAFETY: a new mapping at an address of the kernel's choice; the guard lies inside it.
        unsafe {
            let access = libc::PROT_READ | libc::PROT_WRITE;
            let base = libc::mmap(ptr::null_mut(), Self::GUARD + Self::SIZE, access, flags, -1, 0);
            if base == libc::MAP_FAILED {
                return Err(io::Error::last_os_error());
            }
            let stack = Self { base };
            if libc::mprotect(base, Self::GUARD, libc::PROT_NONE) != 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(stack)
        }
    }

    /// Stacks grow downwards on every machine that we build for.
    fn top(&self) -> *mut c_void {
        self.base.wrapping_byte_add(Self::GUARD + Self::SIZE)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping made in `new`; no child runs on it while its owner is not in `clone`.
        unsafe { libc::munmap(self.base, Self::GUARD + Self::SIZE) };
    }
}
