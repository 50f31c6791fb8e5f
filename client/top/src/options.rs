//! How the monitor is started.

use std::path::PathBuf;

use crate::kit::keys::Screen;
use crate::kit::theme::{ColorChoice, ThemeName};
use crate::source::Where;

/// What the monitor is started with.
#[derive(Clone, Debug)]
pub struct TopOptions {
    /// Which pilot.
    pub pilot: Where,
    /// Nothing may be done to it.
    pub readonly: bool,
    /// When there are colours.
    pub color: ColorChoice,
    /// Only characters of ASCII.
    pub ascii: bool,
    /// How it looks; none: as it did the last time.
    pub theme: Option<ThemeName>,
    /// The screen that is shown first; none: the one of the last time.
    pub screen: Option<Screen>,
    /// Where settings are kept; none: they are not.
    pub settings: Option<PathBuf>,
}

/// Why the monitor ended otherwise than by being left.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// The pilot cannot be reached.
    #[error(transparent)]
    Client(#[from] scalems_client::ClientError),
    /// The terminal cannot be used.
    #[error("the terminal cannot be used: {0}")]
    Terminal(#[source] std::io::Error),
    /// There is no terminal.
    #[error(
        "scalems top needs a terminal on its input and output: with --once it prints what there is to see and ends"
    )]
    NoTerminal,
    /// The agent has not said how it is in time.
    #[error("the pilot's agent has not answered within {0} s")]
    Silent(u64),
}

impl Failed {
    /// As other commands exit: 2 where it was asked for wrongly, 3 where the pilot is not reached.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NoTerminal => 2,
            Self::Terminal(_) => 1,
            Self::Client(_) | Self::Silent(_) => 3,
        }
    }
}
