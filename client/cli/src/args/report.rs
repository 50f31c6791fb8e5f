//! `scalems report`.

use std::path::{Path, PathBuf};

use clap::Args;
use scalems_protocol::select::Selector;

use super::live;
use super::values::selector;
use crate::commands::report::By;

/// What a report is of: a table of submissions, or a page of the whole run.
#[derive(Clone, Debug)]
pub(crate) enum What {
    /// A table of these.
    Table(Selector),
    /// A page, in this file.
    Page(PathBuf),
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  scalems report\n  scalems report --by label:project\n  scalems report run.html\n  \
    scalems report --html run.html --pilot night"
)]
pub(crate) struct ReportArgs {
    /// Which submissions, for a table; without it, all. Or a file whose name ends in .html, for a page of the whole run.
    #[arg(value_parser = what, value_name = "SEL|FILE.html", add = live::selections())]
    pub(crate) what: Option<What>,
    /// What to put submissions of a table together by: `submission`, `name` (as without it), `mode`, `session`, or `label:KEY`.
    #[arg(long, value_parser = By::read, value_name = "WHAT")]
    pub(crate) by: Option<By>,
    /// Make a page of the whole run in this file, whatever its name.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["what", "by"])]
    pub(crate) html: Option<PathBuf>,
    /// For a page: the journal's file or the pilot's directory, instead of the pilot that is named.
    #[arg(long, value_name = "PATH")]
    pub(crate) journal: Option<PathBuf>,
}

/// A file's name, or a selector. What a selector calls a name may end as files do.
fn what(text: &str) -> Result<What, String> {
    let is_page = Path::new(text)
        .extension()
        .is_some_and(|end| end.eq_ignore_ascii_case("html"));
    if !is_page || (text.contains(':') && selector(text).is_ok()) {
        return selector(text).map(What::Table);
    }
    Ok(What::Page(text.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_what_ends_as_one() {
        for page in ["run.html", "RUN.HTML", "/tmp/a b.html", "1.html", "../last.html"] {
            assert!(
                matches!(what(page), Ok(What::Page(path)) if path.as_os_str() == page),
                "{page}"
            );
        }
        for table in ["1", "last", "name:run.html", "state:failed", "1-3"] {
            assert!(matches!(what(table), Ok(What::Table(_))), "{table}");
        }
        assert!(what("run.htm").is_err());
    }
}
