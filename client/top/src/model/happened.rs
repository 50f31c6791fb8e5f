//! What happened, in the order in which it was heard of.

use std::collections::VecDeque;
use std::time::Duration;

/// Entries that are kept.
const ENTRIES: usize = 2_000;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// It asks for nothing.
    Info,
    /// Something went well.
    Good,
    /// It may soon need somebody.
    Warn,
    /// It needs somebody.
    Bad,
}

impl Kind {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Good => "good",
            Self::Warn => "warning",
            Self::Bad => "fault",
        }
    }
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happened {
    /// Counts them.
    pub number: u64,
    /// When it was heard of.
    pub at: Duration,
    /// How bad it is.
    pub kind: Kind,
    /// What it is about.
    pub about: String,
    /// What happened.
    pub text: String,
}

/// What happened.
#[derive(Clone, Debug, Default)]
pub struct Log {
    entries: VecDeque<Happened>,
    count: u64,
}

impl Log {
    /// Something happened.
    pub fn add(&mut self, at: Duration, kind: Kind, about: &str, text: String) {
        self.count += 1;
        if self.entries.len() == ENTRIES {
            self.entries.pop_front();
        }
        self.entries.push_back(Happened {
            number: self.count,
            at,
            kind,
            about: about.to_owned(),
            text,
        });
    }

    /// What is kept of it, oldest first.
    pub fn entries(&self) -> &VecDeque<Happened> {
        &self.entries
    }
}
