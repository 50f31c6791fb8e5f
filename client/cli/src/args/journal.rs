//! `scalems journal …`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::values::duration;

#[derive(Debug, Subcommand)]
pub(crate) enum JournalCommand {
    /// Read all of it, and say whether it is whole.
    #[command(
        after_help = "Examples:\n  scalems journal verify --pilot night\n  scalems journal verify --salvage whole.sqlite"
    )]
    Verify(JournalVerifyArgs),
    /// Write its tasks for other programs.
    #[command(
        after_help = "Examples:\n  scalems journal export --format csv > tasks.csv\n  scalems journal export --format sqlite --to tasks.db"
    )]
    Export(JournalExportArgs),
    /// Forget what ended long ago, and make the file as small as it can be.
    #[command(after_help = "Example:\n  scalems journal prune --older-than 7d --pilot night")]
    Prune(JournalPruneArgs),
}

#[derive(Debug, Args)]
pub(crate) struct JournalVerifyArgs {
    #[command(flatten)]
    pub(crate) place: JournalPlace,
    /// Write what can be read of it, up to the first damage, to a new journal.
    #[arg(long, value_name = "COPY")]
    pub(crate) salvage: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct JournalPruneArgs {
    #[command(flatten)]
    pub(crate) place: JournalPlace,
    /// Submissions whose last task ended at least so long ago are forgotten, with results that nobody collected.
    #[arg(long, value_parser = duration, default_value = "30d", value_name = "TIME")]
    pub(crate) older_than: Duration,
}

/// Which journal. Its agent must have ended.
#[derive(Debug, Args)]
pub(crate) struct JournalPlace {
    /// The file, instead of the one in the pilot's directory.
    #[arg(value_name = "FILE")]
    pub(crate) path: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct JournalExportArgs {
    #[command(flatten)]
    pub(crate) place: JournalPlace,
    /// Lines of JSON, comma-separated values, or an SQLite database.
    #[arg(long, value_enum, default_value = "jsonl")]
    pub(crate) format: JournalFormat,
    /// The file to make.
    #[arg(long, value_name = "FILE")]
    pub(crate) to: Option<PathBuf>,
}

/// What is exported to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum JournalFormat {
    Jsonl,
    Csv,
    Sqlite,
}
