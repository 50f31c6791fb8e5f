//! `scalems graph`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::Shown;
use super::values::duration;

#[derive(Debug, Args)]
#[command(
    after_help = "A file has a table for each submission:\n\n  [defaults]\n  env = { OMP_NUM_THREADS = 2 }\n\n  [[task]]\n  \
    name = \"prepare\"\n  command = \"./prepare --box 5\"\n\n  [[task]]\n  name = \"run\"\n  array = \"0-9\"\n  cores = 2\n  \
    after = \"prepare\"\n  command = [\"./run\", \"replica-%{INDEX}\"]\n\n`after` may be a list, and say how the other ended, \
    [\"prepare:any\", \"run:each\"]; numbers are submissions\nthat there are. Everything else is named as in `scalems submit --help`.\
    \n\nExamples:\n  scalems graph graph.toml --dry-run\n  scalems graph graph.toml --wait"
)]
pub(crate) struct GraphArgs {
    /// What to submit, in TOML; `-`: what comes in here.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Say what would be submitted, and submit nothing.
    #[arg(long, conflicts_with = "wait")]
    pub(crate) dry_run: bool,
    /// Wait until all has ended; the exit code says whether all went well.
    #[arg(long)]
    pub(crate) wait: bool,
    /// At most so long.
    #[arg(long, value_parser = duration, requires = "wait", value_name = "TIME")]
    pub(crate) timeout: Option<Duration>,
    /// Whether to show how far the tasks are.
    #[arg(long, value_enum, requires = "wait", num_args = 0..=1, require_equals = true, default_missing_value = "always", value_name = "WHEN")]
    pub(crate) progress: Option<Shown>,
}
