//! The terminal: taken when the monitor begins, given back however it ends.
//!
//! It is raw, on its other screen, and tells of the mouse. All of that is taken back when the program ends, by itself, by an error,
//! by a panic or by a signal, and while the shell has it after Ctrl-Z.

use std::io::{self, Stdout, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, raise};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{self, DisableMouseCapture, EnableMouseCapture, Event};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};

use crate::signals::Signals;

/// Whether the terminal is ours: whoever gives it back first does it.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The terminal, while it is ours.
pub(crate) struct Screen {
    /// What is drawn to.
    pub(crate) terminal: Terminal<CrosstermBackend<Stdout>>,
    signals: Signals,
}

impl Screen {
    /// Takes the terminal.
    pub(crate) fn take() -> io::Result<Self> {
        let signals = Signals::listen()?;
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            // What it says has to be read.
            give_back();
            before(panic);
        }));
        enter()?;
        let terminal = Terminal::new(CrosstermBackend::new(io::stdout()))?;
        Ok(Self { terminal, signals })
    }

    /// What came from the terminal, waited for so long at most. A signal comes at once, too.
    pub(crate) fn events(&mut self, wait: Duration) -> io::Result<Vec<Event>> {
        let mut events = Vec::new();
        if self.signals.wait_for_input(wait)? {
            // All that is there: a wheel turns faster than a screen is drawn.
            while events.len() < 256 && event::poll(Duration::ZERO)? {
                events.push(event::read()?);
            }
        }
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
        give_back();
        raise(Signal::SIGSTOP)?;
        self.again()
    }

    /// Takes the terminal again, and forgets what was on it.
    pub(crate) fn again(&mut self) -> io::Result<()> {
        enter()?;
        self.terminal.clear()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

fn enter() -> io::Result<()> {
    if TAKEN.swap(true, Ordering::SeqCst) {
        return Ok(());
    }
    enable_raw_mode()?;
    execute!(io::stdout(), EnterAlternateScreen, EnableMouseCapture)
}

/// Gives the terminal back, if it is ours. Nothing can be done about what fails here.
fn give_back() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        let _gone = execute!(
            io::stdout(),
            DisableMouseCapture,
            LeaveAlternateScreen,
            ratatui::crossterm::cursor::Show
        );
        let _gone = disable_raw_mode();
        let _gone = io::stdout().flush();
    }
}
