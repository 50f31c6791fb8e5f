//! What a check found, and how it is shown.

use std::fmt;

/// One breach of a house rule.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Where: a path from the root of the repository, or the name of a crate.
    pub(crate) path: String,
    /// The line, counted from 1; 0 where the whole file is meant.
    pub(crate) line: usize,
    /// What is wrong, and what to do instead.
    pub(crate) what: String,
}

impl Finding {
    pub(crate) fn new(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line,
            what: what.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(formatter, "{}: {}", self.path, self.what),
            line => write!(formatter, "{}:{line}: {}", self.path, self.what),
        }
    }
}

/// Fails with all findings at once, so that one run shows everything that is to be mended.
#[track_caller]
pub(crate) fn assert_clean(findings: &[Finding]) {
    let lines: Vec<_> = findings.iter().map(ToString::to_string).collect();
    assert!(
        lines.is_empty(),
        "house rules broken {} times:\n{}",
        lines.len(),
        lines.join("\n")
    );
}

/// The lines that a check complained of, for the tests of the checks.
pub(crate) fn lines(findings: &[Finding]) -> Vec<usize> {
    findings.iter().map(|finding| finding.line).collect()
}

#[test]
#[should_panic(expected = "a.rs:3: bad")]
fn a_finding_fails_the_test_and_says_where() {
    assert_clean(&[Finding::new("a.rs", 3, "bad")]);
}
