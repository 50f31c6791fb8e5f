//! `unsafe` stands in a few audited files only, and each time with the argument why it is sound.

use crate::{
    finding::Finding,
    rust_source::{RustSource, line_of, words},
    tree::{Language, Tree},
};

/// The files that may hold `unsafe`, each with what it is needed for.
const AUDITED: &[(&str, &str)] = &[
    (
        "agent/examples/spawn_rate.rs",
        "the limit that spawning is measured against: posix_spawn itself",
    ),
    (
        "client/cli/src/bench/child.rs",
        "the limit that spawning is measured against: posix_spawn itself",
    ),
    (
        "client/cli/src/interrupt.rs",
        "a signal handler that ends what a benchmark has started",
    ),
    (
        "client/cli/src/commands/pilot/start/mod.rs",
        "setsid between fork and exec of a pilot that runs behind",
    ),
    (
        "agent/src/executor/guard.rs",
        "a copy of the worker that may only make plain kernel calls",
    ),
    (
        "agent/src/executor/spawn.rs",
        "clone3, and the child's life until exec",
    ),
    (
        "agent/src/executor/sys.rs",
        "safe faces for kernel calls that nix has not",
    ),
    (
        "agent/src/spill.rs",
        "maps a private file without a name, which nobody else can shorten",
    ),
    (
        "agent/tests/executor/finding.rs",
        "leaves a descriptor open as a careless library would",
    ),
    (
        "agent/tests/executor/rig.rs",
        "waits for the end of processes that are not the test's children",
    ),
    (
        "protocol/tests/hostile/allocation.rs",
        "an allocator that counts, for limits on memory",
    ),
    (
        "protocol/transport/src/raw.rs",
        "calls into libzmq that the zmq crate has not",
    ),
    (
        "protocol/transport/src/shelf/mapping.rs",
        "maps files of shared memory, which processes of one user only shorten or change by agreement",
    ),
];

/// How many lines a statement may have before the one with `unsafe`, below its comment.
const MAX_STATEMENT_LINES: usize = 3;

/// The unsafe code in the source at `path` that is not listed or not argued.
pub(crate) fn check(path: &str, text: &str) -> Vec<Finding> {
    check_with(path, text, AUDITED)
}

fn check_with(path: &str, text: &str, audited: &[(&str, &str)]) -> Vec<Finding> {
    let source = RustSource::split(text);
    let code: Vec<_> = source.code.lines().collect();
    let comments: Vec<_> = source.comments.lines().collect();
    let listed = audited.iter().any(|(listed, _)| *listed == path);
    let mut findings = Vec::new();
    for position in words(&source.code, "unsafe") {
        let line = line_of(&source.code, position);
        if !listed {
            findings.push(Finding::new(
                path,
                line,
                "unsafe code in a file that is not listed as audited",
            ));
        }
        if !is_argued(&code, &comments, line - 1) {
            findings.push(Finding::new(
                path,
                line,
                "unsafe without a `SAFETY:` comment (or `# Safety`) above it",
            ));
        }
    }
    findings
}

/// Whether a comment on the line, or right above the statement that it belongs to, argues for it.
fn is_argued(code: &[&str], comments: &[&str], line: usize) -> bool {
    let argues = |line: usize| comments[line].contains("SAFETY:") || comments[line].contains("# Safety");
    if argues(line) {
        return true;
    }
    let mut statement_lines = 0;
    for above in (0..line).rev() {
        let text = code[above].trim();
        let is_comment = text.is_empty() && !comments[above].trim().is_empty();
        if argues(above) {
            return true;
        }
        if is_comment || text.starts_with("#[") {
            continue;
        }
        // A finished statement, or a gap, ends the reach of what is above it.
        statement_lines += 1;
        if text.is_empty() || text.ends_with([';', '{', '}']) || statement_lines > MAX_STATEMENT_LINES {
            return false;
        }
    }
    false
}

/// Entries of the list of audited files that hold no unsafe code any more.
pub(crate) fn stale(tree: &Tree) -> Vec<Finding> {
    let holds = |path: &str| {
        let file = tree.get(path).filter(|file| file.language == Language::Rust);
        file.is_some_and(|file| {
            words(&RustSource::split(&file.text).code, "unsafe")
                .next()
                .is_some()
        })
    };
    let stale = AUDITED.iter().filter(|(path, _)| !holds(path));
    stale
        .map(|(path, _)| Finding::new(path, 0, "listed as audited, but holds no unsafe code"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::lines;

    fn argued(text: &str) -> Vec<usize> {
        lines(&check_with("a.rs", text, &[("a.rs", "for the test")]))
    }

    #[test]
    fn a_file_must_be_listed() {
        let text = "// SAFETY: the pointer is ours.\nunsafe { f() }";
        assert_eq!(lines(&check_with("b.rs", text, &[])), [2]);
        assert!(argued(text).is_empty());
    }

    #[test]
    fn each_use_must_be_argued() {
        assert_eq!(argued("unsafe { f() }"), [1]);
        assert_eq!(argued("// SAFETY: one.\nunsafe { f() };\nunsafe { g() }"), [3]);
        assert_eq!(argued("// SAFETY: too far.\n\nunsafe { f() }"), [3]);
        assert_eq!(
            argued("/// Does it.\nunsafe fn f() {}\nunsafe impl Send for A {}"),
            [2, 3]
        );
    }

    #[test]
    fn arguments_near_the_use_count() {
        assert!(
            argued("let a = 1;\n// SAFETY: a is alive,\n// and ours.\nlet b =\n    unsafe { f(a) };")
                .is_empty()
        );
        assert!(
            argued("/// F.\n///\n/// # Safety\n/// `a` is valid.\n#[inline]\npub unsafe fn f() {}")
                .is_empty()
        );
        assert!(argued("unsafe { f() } // SAFETY: no arguments.").is_empty());
        assert!(argued("// no unsafe here\nlet s = \"unsafe\"; let unsafe_count = 0;").is_empty());
    }
}
