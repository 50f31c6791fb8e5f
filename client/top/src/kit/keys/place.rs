//! Where a key is pressed.

/// A screen, in the order of the digits that show it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Screen {
    /// The pilot as a whole.
    #[default]
    Overview,
    /// Submissions.
    Submissions,
    /// Tasks of one submission, or of all.
    Tasks,
    /// Workers.
    Workers,
    /// Failures, by reason and node.
    Faults,
    /// What happened.
    Events,
    /// What a task printed.
    Logs,
    /// This user's pilots.
    Pilots,
}

impl Screen {
    /// All, in the order of their digits.
    pub const ALL: [Self; 8] = [
        Self::Overview,
        Self::Submissions,
        Self::Tasks,
        Self::Workers,
        Self::Faults,
        Self::Events,
        Self::Logs,
        Self::Pilots,
    ];

    /// The name, as titles and settings write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Overview => "overview",
            Self::Submissions => "submissions",
            Self::Tasks => "tasks",
            Self::Workers => "workers",
            Self::Faults => "faults",
            Self::Events => "events",
            Self::Logs => "logs",
            Self::Pilots => "pilots",
        }
    }

    /// The screen called `name`, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|screen| screen.name() == name)
    }

    /// The digit that shows it.
    pub fn digit(self) -> char {
        char::from(b'1' + self as u8)
    }

    /// Where its keys are read.
    pub const fn place(self) -> Place {
        match self {
            Self::Overview => Place::Overview,
            Self::Submissions => Place::Submissions,
            Self::Tasks => Place::Tasks,
            Self::Workers => Place::Workers,
            Self::Faults => Place::Faults,
            Self::Events => Place::Events,
            Self::Logs => Place::Logs,
            Self::Pilots => Place::Pilots,
        }
    }
}

/// What has the keys: a screen, or what lies over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// [`Screen::Overview`].
    Overview,
    /// [`Screen::Submissions`].
    Submissions,
    /// [`Screen::Tasks`].
    Tasks,
    /// [`Screen::Workers`].
    Workers,
    /// [`Screen::Faults`].
    Faults,
    /// [`Screen::Events`].
    Events,
    /// [`Screen::Logs`].
    Logs,
    /// [`Screen::Pilots`].
    Pilots,
    /// Everything about one row; text that is scrolled.
    Details,
    /// A question with yes and no.
    Confirm,
    /// A list to choose from.
    Menu,
    /// An input line.
    Input,
    /// The help.
    Help,
}

impl Place {
    /// All.
    pub const ALL: [Self; 13] = [
        Self::Overview,
        Self::Submissions,
        Self::Tasks,
        Self::Workers,
        Self::Faults,
        Self::Events,
        Self::Logs,
        Self::Pilots,
        Self::Details,
        Self::Confirm,
        Self::Menu,
        Self::Input,
        Self::Help,
    ];

    /// Whether it has a table whose columns sort by their letters.
    pub fn has_columns(self) -> bool {
        LISTS.has(self)
    }
}

/// A set of places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Places(u16);

impl Places {
    pub(super) const fn of(places: &[Place]) -> Self {
        let (mut set, mut at) = (0, 0);
        while at < places.len() {
            set |= 1 << places[at] as u16;
            at += 1;
        }
        Self(set)
    }

    pub(super) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) const fn has(self, place: Place) -> bool {
        self.0 & 1 << place as u16 != 0
    }
}

/// Tables.
pub(super) const LISTS: Places = Places::of(&[
    Place::Submissions,
    Place::Tasks,
    Place::Workers,
    Place::Faults,
    Place::Events,
    Place::Pilots,
]);

/// All screens, and the details of a row.
pub(super) const SCREENS: Places = LISTS.and(Places::of(&[Place::Overview, Place::Logs, Place::Details]));

/// Everywhere.
pub(super) const EVERYWHERE: Places = Places::of(&Place::ALL);

/// What decides what a key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// What has the keys.
    pub place: Place,
    /// With `--readonly`: there are no actions.
    pub readonly: bool,
    /// A replay, which has a cursor of time, and no actions either.
    pub replay: bool,
}
