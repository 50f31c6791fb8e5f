//! `scalems connect`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::values::duration;
use crate::ssh;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  scalems connect login.example.org\n  scalems connect login.example.org --detach -- -o Compression=yes"
)]
pub(crate) struct ConnectArgs {
    /// Where the pilot is, or from where its agent can be reached.
    #[arg(value_parser = ssh::host, value_name = "[USER@]HOST")]
    pub(crate) host: String,
    /// The pilot's directory there, instead of the one that its name gives.
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// The name that the pilot has here, instead of its own.
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Come back once the pilot is reached, and keep the tunnel behind.
    #[arg(long)]
    pub(crate) detach: bool,
    /// At most so long until the pilot is reached.
    #[arg(long, value_parser = duration, default_value = "60s", value_name = "TIME")]
    pub(crate) timeout: Duration,
    /// This is what stays behind: nobody is there to be asked.
    #[arg(long, hide = true, conflicts_with = "detach")]
    pub(crate) behind: bool,
    /// Further words for ssh, such as `-p 2222`.
    #[arg(last = true, value_name = "ARGS")]
    pub(crate) further: Vec<OsString>,
}
