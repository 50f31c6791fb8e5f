//! Signals: they wake the loop, which ends in order.

use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGWINCH};

/// Signals that end the monitor.
const ENDING: [i32; 4] = [SIGTERM, SIGHUP, SIGINT, SIGQUIT];

/// What signals have said.
pub(crate) struct Signals {
    /// The last one that asks for the end; 0: none.
    ending: Arc<AtomicUsize>,
    resumed: Arc<AtomicBool>,
    woken: UnixStream,
}

impl Signals {
    /// Begins to listen. The program is not ended by them any more.
    pub(crate) fn listen() -> io::Result<Self> {
        let ending = Arc::new(AtomicUsize::new(0));
        let resumed = Arc::new(AtomicBool::new(false));
        let (woken, wakes) = UnixStream::pair()?;
        woken.set_nonblocking(true)?;
        for signal in ENDING {
            signal_hook::flag::register_usize(signal, Arc::clone(&ending), signal as usize)?;
            signal_hook::low_level::pipe::register(signal, wakes.try_clone()?)?;
        }
        signal_hook::flag::register(SIGCONT, Arc::clone(&resumed))?;
        for signal in [SIGCONT, SIGWINCH] {
            signal_hook::low_level::pipe::register(signal, wakes.try_clone()?)?;
        }
        Ok(Self {
            ending,
            resumed,
            woken,
        })
    }

    pub(crate) fn ending(&self) -> Option<Signal> {
        let number = self.ending.load(Ordering::SeqCst);
        i32::try_from(number)
            .ok()
            .and_then(|number| Signal::try_from(number).ok())
    }

    pub(crate) fn was_resumed(&self) -> bool {
        self.resumed.swap(false, Ordering::SeqCst)
    }

    /// Waits until there is something to read from the terminal, or a signal comes, at most so long. Whether to look for input.
    pub(crate) fn wait_for_input(&self, wait: Duration) -> io::Result<bool> {
        let until = Instant::now() + wait;
        let input = io::stdin();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let mut sources = [
                PollFd::new(input.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.woken.as_fd(), PollFlags::POLLIN),
            ];
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            match poll(&mut sources, timeout) {
                Ok(_) => {}
                // The stream below says which it was.
                Err(nix::errno::Errno::EINTR) => continue,
                Err(error) => return Err(error.into()),
            }
            let [typed, woken] = sources.map(|source| source.any().unwrap_or(false));
            if woken {
                self.reset();
                // A new size is an event of the terminal's library.
                return Ok(true);
            }
            return Ok(typed);
        }
    }

    fn reset(&self) {
        let mut bytes = [0; 64];
        while matches!((&self.woken).read(&mut bytes), Ok(count) if count > 0) {}
    }
}
