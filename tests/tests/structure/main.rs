//! The house rules that lints cannot see, read from the manifests and the sources.
//!
//! Every check is a function over (path, text) or over plain data, and each has tests beside it that feed it
//! something bad: a check that cannot fail shows nothing. The tests here run them over the real tree.

mod changelog;
mod dependencies;
mod finding;
mod forbidden_names;
mod ignored_tests;
mod layout;
mod links;
mod rust_source;
mod tree;
mod unfinished;
mod unsafe_code;
mod waiting;

use finding::{Finding, assert_clean};
use tree::{Language, TextFile, Tree};

/// Runs a check over all files of the tree that `wanted` picks, and fails with all that it found.
fn assert_tree(wanted: impl Fn(&TextFile) -> bool, check: impl Fn(&str, &str) -> Vec<Finding>) {
    let tree = Tree::load();
    let files: Vec<_> = tree.files.iter().filter(|file| wanted(file)).collect();
    assert!(
        !files.is_empty(),
        "no file of the tree was looked at: the check would always pass"
    );
    let findings: Vec<_> = files
        .iter()
        .flat_map(|file| check(&file.path, &file.text))
        .collect();
    assert_clean(&findings);
}

fn is_rust(file: &TextFile) -> bool {
    file.language == Language::Rust
}

#[test]
fn crates_depend_only_on_what_the_table_allows() {
    let findings: Vec<_> = dependencies::load()
        .iter()
        .flat_map(dependencies::check)
        .collect();
    assert_clean(&findings);
}

#[test]
fn pure_crates_name_nothing_impure() {
    assert_tree(is_rust, forbidden_names::check);
}

#[test]
fn files_are_short_and_plain() {
    assert_tree(|_| true, layout::check);
    assert_clean(&layout::stale(&Tree::load()));
}

#[test]
fn nothing_is_left_unfinished() {
    assert_tree(|_| true, unfinished::check);
}

#[test]
fn ignored_tests_say_why() {
    assert_tree(is_rust, ignored_tests::check);
}

#[test]
fn unsafe_code_is_listed_and_argued() {
    assert_tree(is_rust, unsafe_code::check);
    assert_clean(&unsafe_code::stale(&Tree::load()));
}

#[test]
fn nothing_waits_by_sleeping() {
    assert_tree(is_rust, waiting::check);
    assert_clean(&waiting::stale(&Tree::load()));
}

#[test]
fn links_in_documents_lead_somewhere() {
    let root = tree::root();
    assert_tree(
        |file| file.language == Language::Markdown,
        |path, text| links::check(path, text, |target| root.join(target).exists()),
    );
}

#[test]
fn changelog_has_the_version() {
    let path = tree::root().join("CHANGELOG.md");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_clean(&changelog::check(&text, &dependencies::version()));
}
