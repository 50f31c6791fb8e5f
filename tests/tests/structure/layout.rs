//! Files that can be read: short, and without invisible differences.

use crate::{finding::Finding, tree::Tree};

/// A file longer than this does more than one thing; the readable median is near 150.
const MAX_LINES: usize = 800;

/// Longer files, each with the reason why it is not split.
const LONG: &[(&str, &str)] = &[];

/// Whether the file at `path` is short and plain.
pub(crate) fn check(path: &str, text: &str) -> Vec<Finding> {
    check_with(path, text, LONG)
}

fn check_with(path: &str, text: &str, long: &[(&str, &str)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let lines = text.lines().count();
    if lines > MAX_LINES && !long.iter().any(|(listed, _)| *listed == path) {
        findings.push(Finding::new(
            path,
            0,
            format!("{lines} lines, over {MAX_LINES}: split it"),
        ));
    }
    for (number, line) in (1..).zip(text.split('\n')) {
        if line.contains('\t') {
            findings.push(Finding::new(path, number, "a tab: indent with spaces"));
        }
        if line.ends_with([' ', '\r']) {
            findings.push(Finding::new(path, number, "space at the end of the line"));
        }
    }
    if !text.is_empty() && !text.ends_with('\n') {
        findings.push(Finding::new(path, lines, "no newline at the end of the file"));
    }
    findings
}

/// Entries of the list of long files that are needed no more.
pub(crate) fn stale(tree: &Tree) -> Vec<Finding> {
    let needed = |path: &str| {
        tree.get(path)
            .is_some_and(|file| file.text.lines().count() > MAX_LINES)
    };
    let stale = LONG.iter().filter(|(path, _)| !needed(path));
    stale
        .map(|(path, _)| Finding::new(path, 0, "listed as long, but is not: remove it from the list"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::lines;

    #[test]
    fn long_files_need_a_reason() {
        let text = "x\n".repeat(MAX_LINES + 1);
        assert_eq!(lines(&check_with("a.rs", &text, &[])), [0]);
        assert!(check_with("a.rs", &text, &[("a.rs", "a table")]).is_empty());
        assert!(check_with("a.rs", &text[2..], &[]).is_empty());
    }

    #[test]
    fn invisible_differences_are_seen() {
        assert_eq!(lines(&check("a.rs", "a\n\tb\nc \nd\r\n")), [2, 3, 4]);
        assert_eq!(lines(&check("a.rs", "a\nb")), [2]);
        assert!(check("a.rs", "").is_empty());
        assert!(check("a.rs", "a\n  b\n").is_empty());
    }
}
