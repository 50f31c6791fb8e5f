//! The file that says what a filter is.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use scalems_client::protocol::filter::{Rule, is_name};
use scalems_client::protocol::limits;
use serde::Deserialize;

use crate::exit::Misuse;

/// How long a filter may take for an answer unless its file says otherwise.
const TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    run: Vec<String>,
    #[serde(default)]
    modes: Vec<String>,
    label: Option<String>,
    timeout: Option<String>,
}

/// A filter as its file says.
#[derive(Clone, Debug)]
pub(crate) struct FilterFile {
    /// Which tasks it sees.
    pub(crate) rule: Rule,
    /// Its program, with arguments.
    pub(crate) run: Vec<String>,
    /// Where that begins: beside the file.
    pub(crate) directory: PathBuf,
    /// How long it may take for one answer.
    pub(crate) timeout: Duration,
}

impl FilterFile {
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let what = || format!("read the filter in {}", path.display());
        let text = std::fs::read_to_string(path).with_context(what)?;
        let written: Written = toml::from_str(&text).with_context(what)?;
        let wrong = |why: String| Misuse(format!("the filter in {} {why}", path.display()));
        let Written {
            name,
            run,
            modes,
            label,
            timeout,
        } = written;
        ensure!(
            is_name(&name),
            wrong(format!(
                "is called {name:?}: use 1 to 64 letters, digits, '-' and '_'"
            ))
        );
        ensure!(
            !run.is_empty(),
            wrong("has no program: say run = [PROGRAM, ARGS…]".into())
        );
        let label = label.map(|label| {
            let parts = label.split_once('=');
            parts
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .ok_or_else(|| wrong(format!("has the label {label:?}: write KEY=VALUE")))
        });
        let timeout = timeout.map(|text| {
            crate::args::duration(&text)
                .map_err(|problem| wrong(format!("has the timeout {text:?}: {problem}")))
        });
        let directory = std::path::absolute(path)?;
        Ok(Self {
            rule: Rule {
                name,
                modes,
                label: label.transpose()?,
            },
            run,
            directory: directory.parent().map(Path::to_owned).unwrap_or_default(),
            timeout: timeout.transpose()?.unwrap_or(TIMEOUT),
        })
    }

    /// Those of a pilot: each name once.
    pub(crate) fn read_all(paths: &[PathBuf]) -> anyhow::Result<Vec<Self>> {
        ensure!(
            paths.len() <= limits::FILTERS,
            Misuse(format!("a pilot has at most {} filters", limits::FILTERS))
        );
        let mut all: Vec<Self> = Vec::new();
        for path in paths {
            let filter = Self::read(path)?;
            ensure!(
                all.iter().all(|other| other.rule.name != filter.rule.name),
                Misuse(format!("two filters are called {}", filter.rule.name))
            );
            all.push(filter);
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> anyhow::Result<FilterFile> {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("filter.toml");
        std::fs::write(&path, text).expect("it is written");
        FilterFile::read(&path)
    }

    #[test]
    fn a_file_says_what_a_filter_is() {
        let filter = read(
            "name = 'check'\nrun = ['./check', '-v']\nmodes = ['task.shell']\nlabel = 'project=fold'\ntimeout = '2m'",
        )
        .expect("it is one");
        assert_eq!(filter.rule.mode(), "filter.check");
        assert_eq!(filter.rule.label, Some(("project".into(), "fold".into())));
        assert_eq!(filter.timeout, Duration::from_secs(120));
        assert!(filter.directory.is_absolute());
    }

    #[test]
    fn what_is_wrong_in_a_file_is_said() {
        for (text, said) in [
            ("run = ['x']", "name"),
            ("name = 'a b'\nrun = ['x']", "letters"),
            ("name = 'a'\nrun = []", "no program"),
            ("name = 'a'\nrun = ['x']\nlabel = 'x'", "KEY=VALUE"),
            ("name = 'a'\nrun = ['x']\ntimeout = 'soon'", "timeout"),
            ("name = 'a'\nrun = ['x']\nmode = 'y'", "mode"),
        ] {
            let error = format!("{:#}", read(text).expect_err("it is wrong"));
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
