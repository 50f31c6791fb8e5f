//! The table itself.

use ratatui::crossterm::event::KeyCode;

use super::place::{Context, EVERYWHERE, LISTS, Place, Places, SCREENS, Screen};
use super::{Command, Key};

/// Under which heading the help has a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Group {
    Everywhere,
    Moving,
    Screens,
    Rows,
    View,
    Actions,
    Time,
    Dialogs,
}

impl Group {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Everywhere => "Everywhere",
            Self::Moving => "Moving",
            Self::Screens => "Screens",
            Self::Rows => "Rows",
            Self::View => "View",
            Self::Actions => "Actions",
            Self::Time => "Replay",
            Self::Dialogs => "Dialogs",
        }
    }
}

/// Of what kind of view.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    Always,
    Live,
    Replay,
}

/// One line of the table. A command may have several, where its keys or words differ between places.
pub(super) struct Entry {
    pub(super) command: Command,
    /// The first is the one that the footer names.
    pub(super) keys: &'static [Key],
    places: Places,
    when: When,
    pub(super) group: Group,
    /// One or two words for the footer.
    pub(super) label: &'static str,
    /// A sentence for the help.
    pub(super) help: &'static str,
    /// It changes something at the pilot.
    pub(super) action: bool,
    /// Its place in the footer, from 1; 0: it is not there.
    pub(super) rank: u8,
}

impl Entry {
    pub(super) fn is_there(&self, context: Context) -> bool {
        let fits = match self.when {
            When::Always => true,
            When::Live => !context.replay,
            When::Replay => context.replay,
        };
        fits && self.places.has(context.place) && !(self.action && (context.readonly || context.replay))
    }

    const fn keys(mut self, keys: &'static [Key]) -> Self {
        self.keys = keys;
        self
    }

    const fn at(mut self, places: Places) -> Self {
        self.places = places;
        self
    }

    const fn only(mut self, places: &[Place]) -> Self {
        self.places = Places::of(places);
        self
    }

    /// Label and rank for the footer.
    const fn footer(mut self, rank: u8, label: &'static str) -> Self {
        self.rank = rank;
        self.label = label;
        self
    }

    const fn live(mut self) -> Self {
        self.when = When::Live;
        self
    }

    const fn replay(mut self) -> Self {
        self.when = When::Replay;
        self
    }

    const fn action(mut self) -> Self {
        self.action = true;
        self
    }
}

/// What is everywhere on screens, until more is said.
const fn does(command: Command, group: Group, help: &'static str) -> Entry {
    Entry {
        command,
        keys: &[],
        places: SCREENS,
        when: When::Always,
        group,
        label: "",
        help,
        action: false,
        rank: 0,
    }
}

const fn c(character: char) -> Key {
    Key::char(character)
}

const fn go(screen: Screen, keys: &'static [Key], help: &'static str) -> Entry {
    does(Command::Go(screen), Group::Screens, help).keys(keys)
}

const UP: Key = Key::code(KeyCode::Up);
const DOWN: Key = Key::code(KeyCode::Down);
const HOME: Key = Key::code(KeyCode::Home);
const END: Key = Key::code(KeyCode::End);
const ENTER: Key = Key::code(KeyCode::Enter);
const ESC: Key = Key::code(KeyCode::Esc);
const BACKSPACE: Key = Key::code(KeyCode::Backspace);
const SPACE: Key = Key::char(' ');

/// Whatever scrolls or has rows.
const SCROLLED: Places = SCREENS.and(Places::of(&[Place::Help]));
/// Whatever is moved in.
const MOVED: Places = SCROLLED.and(Places::of(&[Place::Menu]));
/// Where the newest is last, so that the end is what is now.
const FLOWING: &[Place] = &[Place::Overview, Place::Events, Place::Logs];
/// Where tasks can be meant.
const OF_TASKS: &[Place] = &[Place::Submissions, Place::Tasks, Place::Faults, Place::Details];

/// All keys.
pub(super) const ENTRIES: &[Entry] = &[
    // Everywhere.
    does(Command::Quit, Group::Everywhere, "Quit.")
        .keys(&[c('q')])
        .footer(99, "quit"),
    does(Command::Quit, Group::Everywhere, "Quit, whatever is open.")
        .keys(&[Key::ctrl('c')])
        .at(EVERYWHERE),
    does(Command::Help, Group::Everywhere, "Show this help.")
        .keys(&[c('?'), Key::code(KeyCode::F(1))])
        .footer(98, "help"),
    does(Command::Back, Group::Everywhere, "Go up one level; never quits.").keys(&[ESC, BACKSPACE]),
    does(Command::Redraw, Group::Everywhere, "Draw the screen anew.")
        .keys(&[Key::ctrl('l')])
        .at(EVERYWHERE),
    does(
        Command::Suspend,
        Group::Everywhere,
        "Leave the terminal to the shell; fg comes back.",
    )
    .keys(&[Key::ctrl('z')])
    .at(EVERYWHERE),
    // Moving.
    does(Command::Up, Group::Moving, "One row up.")
        .keys(&[UP, c('k')])
        .at(MOVED),
    does(Command::Down, Group::Moving, "One row down.")
        .keys(&[DOWN, c('j')])
        .at(MOVED),
    does(Command::HalfUp, Group::Moving, "Half a screen up.")
        .keys(&[Key::ctrl('u')])
        .at(SCROLLED),
    does(Command::HalfDown, Group::Moving, "Half a screen down.")
        .keys(&[Key::ctrl('d')])
        .at(SCROLLED),
    does(Command::PageUp, Group::Moving, "A screen up.")
        .keys(&[Key::code(KeyCode::PageUp), Key::ctrl('b')])
        .at(MOVED),
    does(Command::PageDown, Group::Moving, "A screen down.")
        .keys(&[Key::code(KeyCode::PageDown), Key::ctrl('f')])
        .at(MOVED),
    does(Command::First, Group::Moving, "The first row.")
        .keys(&[c('g')])
        .at(MOVED),
    does(Command::First, Group::Moving, "The first row.")
        .keys(&[HOME])
        .live()
        .at(SCREENS),
    does(Command::Last, Group::Moving, "The last row.")
        .keys(&[c('G')])
        .at(MOVED),
    does(Command::Last, Group::Moving, "The last row.")
        .keys(&[END])
        .live()
        .only(&[
            Place::Submissions,
            Place::Tasks,
            Place::Workers,
            Place::Faults,
            Place::Pilots,
            Place::Details,
        ]),
    does(Command::Left, Group::Moving, "Columns or text further left.").keys(&[Key::code(KeyCode::Left)]),
    does(Command::Right, Group::Moving, "Columns or text further right.").keys(&[Key::code(KeyCode::Right)]),
    does(
        Command::NextPanel,
        Group::Moving,
        "The next panel; where there is one only, the next screen.",
    )
    .keys(&[Key::code(KeyCode::Tab)]),
    does(
        Command::PreviousPanel,
        Group::Moving,
        "The panel, or screen, before.",
    )
    .keys(&[Key::code(KeyCode::BackTab)]),
    // Screens.
    go(Screen::Overview, &[c('1')], "The pilot as a whole."),
    go(Screen::Submissions, &[c('2')], "Submissions."),
    go(
        Screen::Tasks,
        &[c('3')],
        "Tasks of the submission that was opened, or of all.",
    ),
    go(
        Screen::Workers,
        &[c('4')],
        "Workers, with their cores and what runs on them.",
    ),
    go(Screen::Faults, &[c('5')], "What went wrong, by reason and node."),
    go(Screen::Events, &[c('6')], "What happened, as it happens."),
    go(Screen::Logs, &[c('7')], "What the chosen task printed."),
    go(Screen::Pilots, &[c('8')], "Your pilots."),
    // Rows.
    does(
        Command::Open,
        Group::Rows,
        "Go down one level: into a submission, a task, a worker, a group of faults, a pilot.",
    )
    .keys(&[ENTER])
    .at(LISTS.and(Places::of(&[Place::Overview])))
    .footer(1, "open"),
    does(
        Command::Details,
        Group::Rows,
        "Everything that is known of the row: what was asked, and what became of it.",
    )
    .keys(&[c('d'), c('i')])
    .at(LISTS)
    .footer(7, "details"),
    does(Command::Explain, Group::Rows, "Why a task is where it is.")
        .keys(&[c('e')])
        .only(&[Place::Tasks, Place::Submissions, Place::Faults, Place::Details])
        .footer(6, "explain"),
    does(Command::Logs, Group::Rows, "What the task printed.")
        .keys(&[c('l')])
        .only(&[Place::Tasks, Place::Workers, Place::Faults, Place::Details])
        .footer(4, "logs"),
    does(
        Command::Mark,
        Group::Rows,
        "Mark the row, or unmark it: actions are for all that are marked.",
    )
    .keys(&[SPACE])
    .live()
    .only(&[Place::Submissions, Place::Tasks, Place::Workers, Place::Faults])
    .footer(9, "mark"),
    does(
        Command::MarkAll,
        Group::Rows,
        "Mark all rows that the filter lets through.",
    )
    .keys(&[c('a')])
    .live()
    .only(&[Place::Submissions, Place::Tasks, Place::Workers, Place::Faults]),
    does(Command::UnmarkAll, Group::Rows, "Unmark all.")
        .keys(&[c('u')])
        .live()
        .only(&[Place::Submissions, Place::Tasks, Place::Workers, Place::Faults]),
    // View.
    does(
        Command::Filter,
        Group::View,
        "Filter: text, !text, or such as state=failed and retries>2.",
    )
    .keys(&[c('/')])
    .at(LISTS.and(Places::of(&[Place::Logs, Place::Details])))
    .footer(2, "filter"),
    does(Command::ClearFilter, Group::View, "Take the filter away.")
        .keys(&[Key::code(KeyCode::Delete)])
        .at(LISTS.and(Places::of(&[Place::Logs, Place::Details]))),
    does(
        Command::OnlyFaults,
        Group::View,
        "Only what went wrong, or all again.",
    )
    .keys(&[c('!')])
    .only(&[Place::Submissions, Place::Tasks, Place::Workers, Place::Events]),
    does(
        Command::SortMenu,
        Group::View,
        "Choose what to sort by; Shift and the letter of a column does it at once, again reverses.",
    )
    .keys(&[c('s'), Key::code(KeyCode::F(6))])
    .at(LISTS)
    .footer(4, "sort"),
    does(Command::Columns, Group::View, "Choose which columns are shown.")
        .keys(&[Key::code(KeyCode::F(3))])
        .at(LISTS),
    does(
        Command::Options,
        Group::View,
        "Choose the theme, and what else is kept.",
    )
    .keys(&[Key::code(KeyCode::F(2))]),
    does(
        Command::Pause,
        Group::View,
        "The view stands still, or goes on; nothing is lost meanwhile.",
    )
    .keys(&[c('f')])
    .live()
    .at(LISTS.and(Places::of(&[Place::Details]))),
    does(
        Command::Pause,
        Group::View,
        "The view stands still, or goes on; nothing is lost meanwhile.",
    )
    .keys(&[c('f'), SPACE])
    .live()
    .only(&[Place::Overview])
    .footer(4, "pause"),
    does(
        Command::Pause,
        Group::View,
        "The view stands still, or goes on; nothing is lost meanwhile.",
    )
    .keys(&[SPACE])
    .live()
    .only(&[Place::Events, Place::Pilots, Place::Details]),
    does(Command::Pause, Group::View, "Follow the output, or stand still.")
        .keys(&[c('f'), SPACE])
        .live()
        .only(&[Place::Logs])
        .footer(1, "follow"),
    does(Command::Live, Group::View, "Back to what is now.")
        .keys(&[c('r')])
        .live()
        .footer(12, "live"),
    does(Command::Live, Group::View, "Back to what is now.")
        .keys(&[END])
        .live()
        .only(FLOWING),
    does(
        Command::Zoom,
        Group::View,
        "One panel on the whole screen, or all again.",
    )
    .keys(&[c('z')])
    .only(&[Place::Overview, Place::Workers, Place::Logs, Place::Details])
    .footer(5, "zoom"),
    does(Command::Finer, Group::View, "Less time on the same room.")
        .keys(&[c('+'), c('=')])
        .only(&[Place::Overview])
        .footer(6, "finer"),
    does(Command::Coarser, Group::View, "More time on the same room.")
        .keys(&[c('-')])
        .only(&[Place::Overview])
        .footer(7, "coarser"),
    does(Command::Stream, Group::View, "Output, errors, or both.")
        .keys(&[c('o')])
        .only(&[Place::Logs])
        .footer(3, "stream"),
    does(Command::Wrap, Group::View, "Long lines in several rows, or cut.")
        .keys(&[c('w')])
        .only(&[Place::Logs, Place::Details])
        .footer(4, "wrap"),
    // Actions.
    does(
        Command::Cancel,
        Group::Actions,
        "Cancel the task, the submission, or all that are marked.",
    )
    .keys(&[c('c')])
    .only(OF_TASKS)
    .action()
    .footer(5, "cancel"),
    does(
        Command::Retry,
        Group::Actions,
        "Submit what failed again, with the same data.",
    )
    .keys(&[c('t')])
    .only(OF_TASKS)
    .action()
    .footer(8, "retry"),
    does(
        Command::Drain,
        Group::Actions,
        "Let the worker end what runs on it, and go.",
    )
    .keys(&[c('x')])
    .only(&[Place::Workers])
    .action()
    .footer(5, "drain"),
    does(
        Command::Stop,
        Group::Actions,
        "Stop the worker; elsewhere the pilot.",
    )
    .keys(&[Key::ctrl('x')])
    .only(&[Place::Overview, Place::Workers, Place::Pilots])
    .action()
    .footer(6, "stop"),
    // Time.
    does(Command::Pause, Group::Time, "Play, or stand still.")
        .keys(&[SPACE, c('f')])
        .replay()
        .footer(2, "play"),
    does(Command::StepBack, Group::Time, "One step back.")
        .keys(&[c('['), c(',')])
        .replay()
        .footer(3, "back"),
    does(Command::StepForward, Group::Time, "One step on.")
        .keys(&[c(']'), c('.')])
        .replay()
        .footer(3, "on"),
    does(Command::Slower, Group::Time, "Half as fast.")
        .keys(&[c('<')])
        .replay()
        .footer(10, "slower"),
    does(Command::Faster, Group::Time, "Twice as fast.")
        .keys(&[c('>')])
        .replay()
        .footer(10, "faster"),
    does(Command::NextFault, Group::Time, "To the next fault.")
        .keys(&[c('n')])
        .replay()
        .footer(2, "fault"),
    does(Command::PreviousFault, Group::Time, "To the fault before.")
        .keys(&[c('N')])
        .replay(),
    does(Command::Start, Group::Time, "To the beginning.")
        .keys(&[HOME])
        .replay(),
    does(Command::Live, Group::Time, "To the end of what is known.")
        .keys(&[END, c('r')])
        .replay(),
    // Dialogs.
    does(Command::Yes, Group::Dialogs, "Do it.")
        .keys(&[ENTER, c('y')])
        .only(&[Place::Confirm])
        .footer(1, "yes"),
    does(Command::No, Group::Dialogs, "Do not.")
        .keys(&[ESC, c('n'), BACKSPACE])
        .only(&[Place::Confirm])
        .footer(2, "no"),
    does(Command::Open, Group::Dialogs, "Take it.")
        .keys(&[ENTER, SPACE])
        .only(&[Place::Menu])
        .footer(1, "take"),
    does(Command::Back, Group::Dialogs, "Close.")
        .keys(&[ESC, BACKSPACE, c('q')])
        .only(&[Place::Menu])
        .footer(2, "close"),
    does(Command::Open, Group::Dialogs, "Take it.")
        .keys(&[ENTER])
        .only(&[Place::Input])
        .footer(1, "take"),
    does(Command::Back, Group::Dialogs, "Leave all as it was.")
        .keys(&[ESC])
        .only(&[Place::Input])
        .footer(2, "leave"),
    does(Command::Up, Group::Dialogs, "What was typed before.")
        .keys(&[UP, Key::ctrl('p')])
        .only(&[Place::Input])
        .footer(3, "older"),
    does(Command::Down, Group::Dialogs, "What was typed after it.")
        .keys(&[DOWN, Key::ctrl('n')])
        .only(&[Place::Input])
        .footer(4, "newer"),
    does(Command::Filter, Group::Dialogs, "Search the help.")
        .keys(&[c('/')])
        .only(&[Place::Help])
        .footer(1, "search"),
    does(Command::Back, Group::Dialogs, "Close.")
        .keys(&[ESC, BACKSPACE, c('q'), c('?'), Key::code(KeyCode::F(1))])
        .only(&[Place::Help])
        .footer(2, "close"),
];
