//! A test that is not run by default says why.

use crate::{
    finding::Finding,
    rust_source::{RustSource, line_of},
};

/// The `#[ignore]` attributes without a reason in the source at `path`.
pub(crate) fn check(path: &str, text: &str) -> Vec<Finding> {
    let code = RustSource::split(text).code;
    let mut findings = Vec::new();
    for (position, _) in code.match_indices("ignore") {
        let opens = code[..position].trim_end().ends_with("#[");
        if opens && code[position + "ignore".len()..].trim_start().starts_with(']') {
            let what = "an ignored test without a reason: write #[ignore = \"why\"]";
            findings.push(Finding::new(path, line_of(&code, position), what));
        }
    }
    findings
}

#[test]
fn an_ignored_test_needs_a_reason() {
    let bad = "#[test]\n#[ignore]\nfn a() {}\n#[ ignore ]\nfn b() {}";
    assert_eq!(crate::finding::lines(&check("a.rs", bad)), [2, 4]);
    assert!(check("a.rs", "#[ignore = \"long: an hour\"]\nfn a() {}\n// #[ignore]").is_empty());
}
