//! Signals: they wake the loop, which ends or stops in order. Where the loop does not come to it, they end the program
//! all the same.

use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGWINCH};
use signal_hook::iterator::{Handle, Signals as Iterator};

/// Signals that end the monitor.
const ENDING: [i32; 4] = [SIGTERM, SIGHUP, SIGINT, SIGQUIT];
/// How long the loop may take to end after one of them: it may hang in a terminal that takes nothing.
const GRACE: Duration = Duration::from_secs(2);

/// What signals have said.
#[derive(Default)]
struct Said {
    /// The first one that asked for the end; 0: none.
    ending: AtomicI32,
    stopped: AtomicBool,
    resumed: Arc<AtomicBool>,
}

/// Signals that are listened to, until this is dropped.
pub(crate) struct Signals {
    said: Arc<Said>,
    woken: UnixStream,
    handle: Handle,
    /// Dropped with this: so the listener knows that the loop has ended.
    _loop: Sender<()>,
}

impl Signals {
    /// Begins to listen. The program is not ended by them any more. Where the loop does not end in time after one that
    /// asks for it, `last` is done and the program ended.
    pub(crate) fn listen(last: fn()) -> io::Result<Self> {
        let said = Arc::new(Said::default());
        let (woken, wakes) = UnixStream::pair()?;
        woken.set_nonblocking(true)?;
        // A wake-up that is there already is enough.
        wakes.set_nonblocking(true)?;
        // Known before anything else is done in the new life: no thread has to come to it first.
        signal_hook::flag::register(SIGCONT, Arc::clone(&said.resumed))?;
        let mut signals = Iterator::new(ENDING.into_iter().chain([SIGTSTP, SIGCONT, SIGWINCH]))?;
        let handle = signals.handle();
        let (of_loop, ended) = channel();
        let listener = Listener {
            said: Arc::clone(&said),
            wakes,
            ended,
            last,
        };
        std::thread::Builder::new()
            .name("scalems-signals".to_owned())
            .spawn(move || listener.run(&mut signals))?;
        Ok(Self {
            said,
            woken,
            handle,
            _loop: of_loop,
        })
    }

    /// The signal that asks the program to end, if one has come.
    pub(crate) fn ending(&self) -> Option<Signal> {
        Signal::try_from(self.said.ending.load(Ordering::SeqCst)).ok()
    }

    /// Whether somebody wanted the program to stop for a while, since this was last asked.
    pub(crate) fn was_stopped(&self) -> bool {
        self.said.stopped.swap(false, Ordering::SeqCst)
    }

    /// Whether the program was brought back since this was last asked.
    pub(crate) fn was_resumed(&self) -> bool {
        self.said.resumed.swap(false, Ordering::SeqCst)
    }

    /// Waits until there is something to read from the terminal, or a signal comes, at most so long. Whether to look
    /// for input.
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
                Err(Errno::EINTR) => continue,
                Err(error) => return Err(error.into()),
            }
            let [typed, woken] = sources.map(|source| source.revents().unwrap_or(PollFlags::empty()));
            if typed.intersects(PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL) {
                // The terminal is gone. Its signal may come later, or never, as under nohup.
                self.said.end(SIGHUP);
                return Ok(false);
            }
            if !woken.is_empty() {
                self.reset();
                // A new size is an event of the terminal's library; nothing is read once the program is to end.
                return Ok(self.ending().is_none());
            }
            return Ok(!typed.is_empty());
        }
    }

    fn reset(&self) {
        let mut bytes = [0; 64];
        while matches!((&self.woken).read(&mut bytes), Ok(count) if count > 0) {}
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.handle.close();
    }
}

impl Said {
    fn end(&self, signal: i32) {
        // The first one says how the program ended.
        let _said = self
            .ending
            .compare_exchange(0, signal, Ordering::SeqCst, Ordering::SeqCst);
    }
}

/// The thread that takes signals in.
struct Listener {
    said: Arc<Said>,
    wakes: UnixStream,
    ended: Receiver<()>,
    last: fn(),
}

impl Listener {
    fn run(mut self, signals: &mut Iterator) {
        for signal in signals.forever() {
            match signal {
                SIGTSTP => self.said.stopped.store(true, Ordering::SeqCst),
                SIGCONT | SIGWINCH => {}
                _ => self.said.end(signal),
            }
            // One that is full has woken the loop already.
            let _full = self.wakes.write(&[0]);
            if ENDING.contains(&signal) {
                match self.ended.recv_timeout(GRACE) {
                    Err(RecvTimeoutError::Timeout) => self.end_without_the_loop(signal),
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        }
    }

    fn end_without_the_loop(&self, signal: i32) {
        // What the loop hangs in may hold this up, too.
        let (done, is_done) = channel();
        let last = self.last;
        let begun = std::thread::Builder::new().spawn(move || {
            last();
            let _gone = done.send(());
        });
        if begun.is_ok() {
            let _late = is_done.recv_timeout(GRACE / 4);
        }
        std::process::exit(128 + signal);
    }
}
