//! `scalems top`.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct TopReplayArgs {
    #[command(flatten)]
    pub(crate) top: scalems_top::TopArgs,
    /// Show what was, from the journal of the pilot that is named, or of this file or pilot's directory: at any time of a run that has
    /// ended, crashed, or runs.
    #[arg(long, value_name = "JOURNAL", num_args = 0..=1)]
    // Not given; given; given with a value.
    #[allow(
        clippy::option_option,
        reason = "that is how an option with a value that may be left out is read"
    )]
    pub(crate) replay: Option<Option<PathBuf>>,
}
