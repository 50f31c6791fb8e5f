//! The terminal: taken when the monitor begins, given back however it ends.
//!
//! It is raw, on its other screen, and tells of the mouse. All of that is taken back when the program ends, by itself, by an error,
//! by a panic or by a signal, and while the shell has it after Ctrl-Z.

use std::io::{self, BufWriter, Stdout, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill, raise};
use nix::unistd::{Pid, getpgrp, tcgetpgrp};
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::event::{self, DisableMouseCapture, EnableMouseCapture, Event};
use ratatui::crossterm::terminal::{
    BeginSynchronizedUpdate, EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen,
    disable_raw_mode, enable_raw_mode,
};
use ratatui::crossterm::{execute, queue};
use ratatui::{Frame, Terminal};

use crate::signals::Signals;

/// Events that are taken at once: a wheel turns faster than a screen is drawn.
const EVENTS: usize = 256;
/// Room for what a large screen takes: it is to be written at once.
const DRAWN: usize = 64 * 1024;
/// How long more input is waited for. Not at all would be nothing read: the library looks only within this time.
const MORE: Duration = Duration::from_millis(1);

/// Whether the terminal is ours: whoever gives it back first does it.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The terminal, while it is ours.
pub(crate) struct Screen {
    terminal: Terminal<CrosstermBackend<BufWriter<Stdout>>>,
    signals: Signals,
}

impl Screen {
    /// Takes the terminal.
    pub(crate) fn take() -> io::Result<Self> {
        let signals = Signals::listen(give_back)?;
        let before = std::panic::take_hook();
        let drawing = std::thread::current().id();
        std::panic::set_hook(Box::new(move |panic| {
            // What it says has to be read.
            give_back();
            before(panic);
            if std::thread::current().id() != drawing {
                // The loop would go on to draw, on the shell's screen, what does not change any more.
                std::process::exit(101);
            }
        }));
        enter()?;
        let output = BufWriter::with_capacity(DRAWN, io::stdout());
        let terminal = Terminal::new(CrosstermBackend::new(output))?;
        Ok(Self { terminal, signals })
    }

    /// Draws what differs from what was drawn before; the terminal shows all of it or nothing, if it knows how.
    pub(crate) fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        queue!(self.terminal.backend_mut(), BeginSynchronizedUpdate)?;
        self.terminal.draw(draw)?;
        execute!(self.terminal.backend_mut(), EndSynchronizedUpdate)
    }

    /// What came from the terminal, waited for so long at most. A signal comes at once, too.
    pub(crate) fn events(&mut self, wait: Duration) -> io::Result<Vec<Event>> {
        let mut events = Vec::new();
        let is_there = self.signals.wait_for_input(wait)?;
        let was_stopped = self.signals.was_stopped();
        if was_stopped {
            stop(|| raise(Signal::SIGSTOP))?;
        }
        if was_stopped || self.signals.was_resumed() {
            self.again()?;
            // As good a word as any for: draw all of it.
            events.push(Event::FocusGained);
        }
        if is_there {
            while events.len() < EVENTS && event::poll(MORE)? {
                events.push(event::read()?);
            }
        }
        #[cfg(debug_assertions)]
        fail_if_asked_to(&events);
        Ok(events)
    }

    /// The signal that asks the program to end, if one has come.
    pub(crate) fn ending(&self) -> Option<Signal> {
        self.signals.ending()
    }

    /// Whether the program was brought back by the shell since this was last asked.
    pub(crate) fn was_resumed(&self) -> bool {
        self.signals.was_resumed()
    }

    /// Leaves the terminal to the shell until it brings the program back.
    pub(crate) fn suspend(&mut self) -> io::Result<()> {
        // As the terminal does it for Ctrl-Z: whatever was started together stops together, such as a script around this.
        stop(|| kill(Pid::from_raw(0), Signal::SIGSTOP))?;
        self.again()
    }

    /// Takes the terminal again, and forgets what was on it.
    pub(crate) fn again(&mut self) -> io::Result<()> {
        // Brought back behind another program, as by bg: the terminal is not ours yet.
        while tcgetpgrp(io::stdin()).is_ok_and(|ahead| ahead != getpgrp()) {
            raise(Signal::SIGSTOP)?;
        }
        self.signals.was_resumed();
        // The shell has made it its own, whoever stopped this and whatever was given back then.
        give_back();
        enter()?;
        self.clear()
    }

    /// Forgets what is on the screen: the next one is drawn whole. Unlike the library's own way it does not ask the
    /// terminal for the cursor's place, which one that is far away may answer too late.
    pub(crate) fn clear(&mut self) -> io::Result<()> {
        let size = self.terminal.size()?;
        self.terminal.resize(size.into())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // What a panic left half drawn is written when the buffer is dropped, and would hold the shell's screen.
        let _gone = execute!(self.terminal.backend_mut(), EndSynchronizedUpdate);
        give_back();
    }
}

/// Gives the terminal back and stops until somebody brings the program back.
fn stop(halt: impl FnOnce() -> nix::Result<()>) -> io::Result<()> {
    give_back();
    halt()?;
    Ok(())
}

fn enter() -> io::Result<()> {
    if TAKEN.swap(true, Ordering::SeqCst) {
        return Ok(());
    }
    enable_raw_mode()?;
    // Before the first frame, or it would be seen on that.
    execute!(io::stdout(), EnterAlternateScreen, EnableMouseCapture, Hide)
}

/// Gives the terminal back, if it is ours. Nothing can be done about what fails here.
fn give_back() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        // First what cannot be held up by a terminal that takes nothing.
        let _gone = disable_raw_mode();
        let _gone = execute!(
            io::stdout(),
            EndSynchronizedUpdate,
            DisableMouseCapture,
            LeaveAlternateScreen,
            Show
        );
        let _gone = io::stdout().flush();
    }
}

/// Panics at a key where a test wants to see what that leaves of the terminal.
#[cfg(debug_assertions)]
fn fail_if_asked_to(events: &[Event]) {
    let is_key = events.iter().any(|event| matches!(event, Event::Key(_)));
    assert!(
        !is_key || std::env::var_os("SCALEMS_TOP_PANIC").is_none(),
        "a key was typed, and SCALEMS_TOP_PANIC is set"
    );
}
