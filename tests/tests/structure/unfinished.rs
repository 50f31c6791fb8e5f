//! Marks of work that was put off: they belong into an issue, not into the tree.

use std::path::Path;

use crate::{
    finding::Finding,
    rust_source::{RustSource, line_of, words},
};

const MARKS: &[&str] = &["TODO", "FIXME", "XXX"];
const MACROS: &[&str] = &["todo", "unimplemented", "dbg"];

/// The marks in the file at `path`: in the comments and macros of a Rust source, anywhere in another file.
pub(crate) fn check(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut find_marks = |text: &str| {
        for mark in MARKS {
            let found = words(text, mark).map(|position| line_of(text, position));
            findings.extend(found.map(|line| Finding::new(path, line, format!("{mark}: do it, or file it"))));
        }
    };
    if Path::new(path)
        .extension()
        .is_none_or(|extension| extension != "rs")
    {
        find_marks(text);
        return findings;
    }
    let source = RustSource::split(text);
    find_marks(&source.comments);
    for name in MACROS {
        let calls = words(&source.code, name)
            .filter(|position| source.code[position + name.len()..].starts_with('!'));
        let found = calls.map(|position| line_of(&source.code, position));
        findings.extend(found.map(|line| Finding::new(path, line, format!("{name}! is left in"))));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::lines;

    #[test]
    fn marks_are_found_in_comments_and_in_other_files() {
        assert_eq!(
            lines(&check("a.rs", "let a = 1; // TODO more\n/* FIXME */")),
            [1, 2]
        );
        assert_eq!(lines(&check("a.py", "pass\nraise X  # XXX")), [2]);
        assert_eq!(lines(&check("a.md", "TODO: write this")), [1]);
    }

    #[test]
    fn macros_are_found_in_code() {
        assert_eq!(
            lines(&check(
                "a.rs",
                "fn f() { todo!() }\nfn g() { unimplemented!(\"x\") }"
            )),
            [1, 2]
        );
        assert_eq!(lines(&check("a.rs", "let x = dbg!(y);")), [1]);
    }

    #[test]
    fn other_words_pass() {
        assert!(check("a.rs", "let s = \"TODO\"; // a todo! in words\nlet todo = 1;").is_empty());
        assert!(check("run", "mktemp -d /tmp/x.XXXXXX").is_empty());
    }
}
