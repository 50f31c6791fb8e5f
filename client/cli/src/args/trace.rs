//! `scalems trace …`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use scalems_agent::journal::trace::SLICES;

#[derive(Debug, Subcommand)]
pub(crate) enum TraceCommand {
    /// Write a timeline that Perfetto and Chrome's tracing show: a row for each core and each GPU.
    ///
    /// It is made from the pilot's journal, whether the pilot has ended, was killed, or runs.
    #[command(
        after_help = "Examples:\n  scalems trace export --out run.trace.json\n  scalems trace export --pilot night --out night.trace.json"
    )]
    Export(TraceExportArgs),
}

/// Which journal. Its agent may run.
#[derive(Debug, Args)]
pub(crate) struct HistoryPlace {
    /// The journal's file or the pilot's directory, instead of the pilot that is named.
    #[arg(value_name = "JOURNAL")]
    pub(crate) path: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct TraceExportArgs {
    #[command(flatten)]
    pub(crate) place: HistoryPlace,
    /// The file to make; without it, standard output.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// At most so many slices: with more, short neighbours of a row are joined.
    #[arg(long, value_name = "N", default_value_t = SLICES, value_parser = slices)]
    pub(crate) slices: usize,
}

/// More than viewers can take is no use to anybody.
fn slices(text: &str) -> Result<usize, String> {
    const MOST: usize = 5_000_000;
    let wrong = || format!("{text:?} is no number of slices: write one from 1 to {MOST}");
    let count = text.parse().map_err(|_| wrong())?;
    if (1..=MOST).contains(&count) {
        Ok(count)
    } else {
        Err(wrong())
    }
}
