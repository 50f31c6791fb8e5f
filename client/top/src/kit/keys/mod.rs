//! The keys: one table, which says what each does where, what the footer says of it and what the help says.
//!
//! [`dispatch`] reads a key by it, [`footer`] and [`help`] show it; so no key does anything that the help does not say.

mod key;
mod place;
mod show;
mod table;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind};

pub use key::Key;
pub use place::{Context, Place, Screen};
pub use show::{HelpLine, Hint, footer, help, search};

use table::{ENTRIES, Entry};

macro_rules! commands {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        /// What a key, a click or a menu asks for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Command {
            $($(#[$doc])* $name,)+
            /// Show a screen.
            Go(Screen),
            /// Sort by the column with this key letter; again: the other way round.
            SortBy(char),
        }

        impl Command {
            /// Every command that stands for itself.
            pub const PLAIN: &[Self] = &[$(Self::$name),+];
        }
    };
}

commands! {
    /// Leave the program.
    Quit,
    /// Show what keys there are.
    Help,
    /// One level up: out of a dialog, out of a task, a submission, a pilot.
    Back,
    /// One level down, or what a dialog proposes.
    Open,
    /// Draw everything anew.
    Redraw,
    /// Leave the terminal to the shell until it brings the program back.
    Suspend,
    /// One row up.
    Up,
    /// One row down.
    Down,
    /// Half a screen up.
    HalfUp,
    /// Half a screen down.
    HalfDown,
    /// A screen up.
    PageUp,
    /// A screen down.
    PageDown,
    /// The first row.
    First,
    /// The last row.
    Last,
    /// Columns or text further left.
    Left,
    /// Columns or text further right.
    Right,
    /// The next panel, or screen.
    NextPanel,
    /// The panel, or screen, before.
    PreviousPanel,
    /// Type a filter.
    Filter,
    /// No filter any more.
    ClearFilter,
    /// Only what went wrong, or all again.
    OnlyFaults,
    /// Choose what to sort by.
    SortMenu,
    /// Choose which columns are there.
    Columns,
    /// Choose theme and such.
    Options,
    /// Mark the row, or unmark it.
    Mark,
    /// Mark all rows that are listed.
    MarkAll,
    /// Unmark all.
    UnmarkAll,
    /// The view stands still, or goes on; data comes all the same.
    Pause,
    /// Back to what is now.
    Live,
    /// One panel on the whole screen, or all again.
    Zoom,
    /// Less time on the same room.
    Finer,
    /// More time on the same room.
    Coarser,
    /// Everything that is known of the row.
    Details,
    /// Why a task is where it is.
    Explain,
    /// What a task printed.
    Logs,
    /// Output, errors, or both.
    Stream,
    /// Long lines in several rows, or cut.
    Wrap,
    /// Cancel tasks.
    Cancel,
    /// Submit failed tasks again.
    Retry,
    /// Let a worker end what runs and go.
    Drain,
    /// Stop a worker, or the pilot.
    Stop,
    /// Do it.
    Yes,
    /// Do not.
    No,
    /// A replay: one step back in time.
    StepBack,
    /// A replay: one step on.
    StepForward,
    /// A replay: half as fast.
    Slower,
    /// A replay: twice as fast.
    Faster,
    /// A replay: to the next fault.
    NextFault,
    /// A replay: to the fault before.
    PreviousFault,
    /// A replay: to the beginning.
    Start,
}

impl Command {
    /// Whether it changes anything at the pilot: such commands are confirmed, and there are none with `--readonly`.
    pub fn is_action(self) -> bool {
        ENTRIES.iter().any(|entry| entry.command == self && entry.action)
    }
}

/// What `key` asks for in `context`; `None`: nothing.
///
/// Of input lines only what ends them or goes through their history is said here; all else is theirs to read.
pub fn dispatch(key: KeyEvent, context: Context) -> Option<Command> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    let key = Key::from(key);
    if let Some(entry) = entries(context).find(|entry| entry.keys.contains(&key)) {
        return Some(entry.command);
    }
    match key.code {
        KeyCode::Char(letter @ 'A'..='Z') if key.is_plain() && context.place.has_columns() => {
            Some(Command::SortBy(letter))
        }
        _ => None,
    }
}

/// Whether `letter` may be the key letter of a column: upper case, and no key of its own anywhere.
pub fn is_column_letter(letter: char) -> bool {
    let key = Key::char(letter);
    letter.is_ascii_uppercase() && !ENTRIES.iter().any(|entry| entry.keys.contains(&key))
}

/// What is there in `context`.
fn entries(context: Context) -> impl Iterator<Item = &'static Entry> {
    ENTRIES.iter().filter(move |entry| entry.is_there(context))
}

#[cfg(test)]
mod tests;
