//! Nothing waits by sleeping: a test that does is slow on a fast machine and fails on a slow one.

use crate::{
    finding::Finding,
    rust_source::{RustSource, line_of, words},
    tree::Tree,
};

/// Files that may sleep, each with the reason why no event could be waited for.
const ALLOWED: &[(&str, &str)] = &[
    (
        "agent/src/batch/part.rs",
        "a batch system tells only who asks what became of a job",
    ),
    (
        "agent/src/journal/owner.rs",
        "whether an owner on another host lives is said by the time of its file alone",
    ),
    (
        "agent/src/journal/store/patience.rs",
        "SQLite does not tell that another process has let go",
    ),
    (
        "client/cli/src/commands/logs/follow.rs",
        "of a program that is about to start, or that many others read, nothing can be waited for",
    ),
    (
        "client/cli/src/bench/idle.rs",
        "what is measured is a time in which nothing happens",
    ),
    (
        "client/cli/src/commands/pilot/start/mod.rs",
        "a pilot that starts behind says by a file that it serves, or ends: nothing tells of either",
    ),
    (
        "client/cli/src/commands/pilot/jobs.rs",
        "whether a job serves is said by a file that other hosts write, and by a batch system that tells only who asks",
    ),
    (
        "client/cli/src/demo/timeline.rs",
        "the demo looks, at most for a second, whether a replica runs at the worker that it is about to kill",
    ),
];

/// The sleeps in the source at `path`: of a thread anywhere, of any kind in test code. Around the core a
/// tokio timer is how a deadline is kept, so it passes there.
pub(crate) fn check(path: &str, text: &str) -> Vec<Finding> {
    check_with(path, text, ALLOWED)
}

fn check_with(path: &str, text: &str, allowed: &[(&str, &str)]) -> Vec<Finding> {
    if allowed.iter().any(|(allowed, _)| *allowed == path) {
        return Vec::new();
    }
    let code = RustSource::split(text).code;
    let tests_from = if path.split('/').any(|folder| folder == "tests") {
        0
    } else {
        // By custom the tests of a module are its end.
        code.find("#[cfg(test)]").unwrap_or(code.len())
    };
    let sleeps = words(&code, "sleep").filter(|&position| is_call(&code, position, position >= tests_from));
    let finding = |position| {
        Finding::new(
            path,
            line_of(&code, position),
            "waits by sleeping: wait for the event",
        )
    };
    sleeps.map(finding).collect()
}

fn is_call(code: &str, position: usize, in_test: bool) -> bool {
    let before = code[..position].trim_end();
    let called = code[position + "sleep".len()..].trim_start().starts_with('(');
    if before.ends_with("thread::") {
        return true;
    }
    let of_tokio = before.ends_with("time::");
    let bare = !before.ends_with([':', '.']) && !before.ends_with("fn");
    in_test && called && (of_tokio || bare)
}

/// Entries of the list that name no file.
pub(crate) fn stale(tree: &Tree) -> Vec<Finding> {
    let stale = ALLOWED.iter().filter(|(path, _)| tree.get(path).is_none());
    stale
        .map(|(path, _)| Finding::new(path, 0, "may sleep, but does not exist"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::lines;

    #[test]
    fn sleeping_threads_are_found_everywhere() {
        assert_eq!(
            lines(&check_with(
                "agent/src/a.rs",
                "std::thread::sleep(d);\nthread::sleep(d)",
                &[]
            )),
            [1, 2]
        );
        assert_eq!(lines(&check_with("a.rs", "use std::thread::sleep;", &[])), [1]);
        assert!(check_with("a.rs", "thread::sleep(d)", &[("a.rs", "no event to wait for")]).is_empty());
    }

    #[test]
    fn sleeping_tests_are_found() {
        assert_eq!(
            lines(&check_with(
                "tests/tests/e2e.rs",
                "tokio::time::sleep(d).await;",
                &[]
            )),
            [1]
        );
        assert_eq!(
            lines(&check_with("tests/tests/e2e.rs", "\nsleep(d).await;", &[])),
            [2]
        );
        let module = "time::sleep(d).await;\n#[cfg(test)]\nmod tests { fn f() { time::sleep(d).await } }";
        assert_eq!(lines(&check_with("agent/src/a.rs", module, &[])), [3]);
    }

    #[test]
    fn other_sleeps_pass() {
        let text =
            "Mode::sleep(5); task.sleep(5); fn sleep() {} Command::new(\"sleep\"); // thread::sleep(1)";
        assert!(check_with("tests/tests/e2e.rs", text, &[]).is_empty());
    }
}
