//! What long-lived processes log, and where to.

use std::ffi::OsString;
use std::path::Path;

use clap::{Args, ValueEnum};
use scalems_agent::logging::{self, DIRECTORY, Files, Format, Limit};

/// Where the log of a process goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogTo {
    /// Standard error.
    Stderr,
    /// Files in `own-logs` of the pilot's directory, of a bounded size.
    Files,
}

/// How lines of a log look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people.
    Human,
    /// One JSON object a line.
    Json,
}

/// What agent, workers and filters log.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct LogArgs {
    /// What agent and workers log of themselves: `warn,scalems_agent::bus=debug`. Without it `warn`, in files `info`.
    #[arg(
        id = "log_level",
        long = "log-level",
        value_name = "LEVELS",
        env = "SCALEMS_LOG",
        hide_env_values = true
    )]
    pub(crate) level: Option<String>,
    /// How the lines of these logs look.
    #[arg(
        id = "log_format",
        long = "log-format",
        value_enum,
        value_name = "FORM",
        env = "SCALEMS_LOG_FORMAT",
        hide_env_values = true
    )]
    pub(crate) format: Option<LogFormat>,
    /// Where these logs go. Without it to files where nobody sees standard error: with --detach or in a job.
    #[arg(id = "log_to", long = "log-to", value_enum, value_name = "WHERE")]
    pub(crate) to: Option<LogTo>,
}

impl LogArgs {
    /// What a command logs that has no such options.
    pub(crate) fn of_environment() -> Self {
        let format = std::env::var("SCALEMS_LOG_FORMAT").ok();
        Self {
            level: std::env::var("SCALEMS_LOG").ok(),
            format: format.and_then(|text| LogFormat::from_str(&text, false).ok()),
            to: None,
        }
    }

    /// The levels that hold.
    pub(crate) fn levels(&self) -> &str {
        match (&self.level, self.to) {
            (Some(levels), _) => levels,
            (None, Some(LogTo::Files)) => "info",
            (None, _) => "warn",
        }
    }

    pub(crate) fn format(&self) -> Format {
        match self.format {
            Some(LogFormat::Json) => Format::Json,
            Some(LogFormat::Human) | None => Format::Human,
        }
    }

    /// The words that say the same again.
    pub(crate) fn words(&self) -> Vec<OsString> {
        let mut words = Vec::new();
        words.extend(self.level.as_ref().map(|levels| format!("--log-level={levels}")));
        let names = [
            self.format
                .and_then(|format| Some(("format", format.to_possible_value()?))),
            self.to.and_then(|to| Some(("to", to.to_possible_value()?))),
        ];
        let names = names.into_iter().flatten();
        words.extend(names.map(|(what, name)| format!("--log-{what}={}", name.get_name())));
        words.into_iter().map(OsString::from).collect()
    }

    /// Goes on in files of the pilot whose directory this is, if it is to. One that cannot has its log at standard error: it is no reason
    /// to do nothing.
    pub(crate) fn go_on(&self, directory: &Path, name: &str, limit: Limit) -> Option<Files> {
        if self.to != Some(LogTo::Files) {
            return None;
        }
        let files = logging::into_files(&directory.join(DIRECTORY), name, limit);
        files
            .inspect_err(|error| tracing::warn!("{error}: what is logged stays at standard error"))
            .ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_say_the_same() {
        let args = LogArgs {
            level: Some("warn,scalems_agent=debug".to_owned()),
            format: Some(LogFormat::Json),
            to: Some(LogTo::Files),
        };
        assert_eq!(
            args.words(),
            [
                "--log-level=warn,scalems_agent=debug",
                "--log-format=json",
                "--log-to=files"
            ]
        );
        assert!(LogArgs::default().words().is_empty());
    }
}
