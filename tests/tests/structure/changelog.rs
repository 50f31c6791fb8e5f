//! The changelog keeps up with the version.

use crate::finding::Finding;

/// Whether the changelog has a heading for `version`.
pub(crate) fn check(text: &str, version: &str) -> Vec<Finding> {
    let names = |line: &str| {
        let heading = line.strip_prefix("## ")?;
        Some(heading.trim_start_matches(['[', 'v']).split([']', ' ']).next()? == version)
    };
    if text.lines().any(|line| names(line) == Some(true)) {
        return Vec::new();
    }
    vec![Finding::new(
        "CHANGELOG.md",
        0,
        format!("no heading \"## {version}\" for the version of Cargo.toml"),
    )]
}

#[test]
fn the_version_needs_a_heading() {
    assert!(check("# Changes\n\n## 0.2.0 (unreleased)\n", "0.2.0").is_empty());
    assert!(check("## [0.2.0] - today\n", "0.2.0").is_empty());
    assert_eq!(check("## 0.2.0\n", "0.2.1").len(), 1);
    assert_eq!(check("text about 0.2.1\n## 0.2.10\n", "0.2.1").len(), 1);
}
