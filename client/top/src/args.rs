//! The command line of the monitor, which `scalems top` and `scalems-top` have in common.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum};
use scalems_client::locate;

use crate::kit::keys::Screen;
use crate::kit::settings::FILE_NAME;
use crate::kit::theme::{ColorChoice, ThemeName};
use crate::options::TopOptions;
use crate::source::Where;

/// When there are colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// Where the terminal has some, and `NO_COLOR` is not set.
    #[default]
    Auto,
    /// In any case.
    Always,
    /// Not at all.
    Never,
}

/// How the monitor is started.
#[derive(Clone, Debug, Default, Args)]
pub struct TopArgs {
    /// Only look: nothing can be canceled, retried, drained or stopped.
    #[arg(long)]
    pub readonly: bool,
    /// Print what there is to see, once, and end; with --output json for scripts.
    #[arg(long)]
    pub once: bool,
    /// The screen to begin with.
    #[arg(long, value_name = "SCREEN", value_parser = PossibleValuesParser::new(Screen::ALL.map(Screen::name)))]
    pub screen: Option<String>,
    /// How it looks.
    #[arg(long, value_name = "THEME", value_parser = PossibleValuesParser::new(ThemeName::ALL.map(ThemeName::name)))]
    pub theme: Option<String>,
    /// When there are colours.
    #[arg(long, value_enum, default_value = "auto", value_name = "WHEN")]
    pub color: Color,
    /// Draw with ASCII only.
    #[arg(long)]
    pub ascii: bool,
    /// Begin as if it were the first time, and keep nothing.
    #[arg(long)]
    pub no_settings: bool,
}

impl TopArgs {
    /// What the monitor of that pilot is started with.
    pub fn options(&self, pilot: Option<String>) -> TopOptions {
        TopOptions {
            // A path is never a name: names have no slash.
            pilot: match pilot {
                Some(path) if path.contains('/') => Where::At(PathBuf::from(path)),
                name => Where::Named(name),
            },
            readonly: self.readonly,
            color: match self.color {
                Color::Auto => ColorChoice::Auto,
                Color::Always => ColorChoice::Always,
                Color::Never => ColorChoice::Never,
            },
            ascii: self.ascii,
            theme: self.theme.as_deref().and_then(ThemeName::from_name),
            screen: self.screen.as_deref().and_then(Screen::from_name),
            settings: locate::home()
                .ok()
                .filter(|_| !self.no_settings)
                .map(|home| home.join(FILE_NAME)),
        }
    }
}
