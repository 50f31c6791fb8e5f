//! The text files of the repository.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Folders that hold nothing written here by hand.
const SKIPPED_NAMES: &[&str] = &[".git", ".venv", "__pycache__", "node_modules", "target"];

/// Folders with other people's sources, kept as they came.
const VENDORED: &[&str] = &["deploy/zeromq-src/vendor"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Language {
    Rust,
    Markdown,
    /// Python, shell, configuration: whatever a person writes here besides.
    Other,
}

pub(crate) struct TextFile {
    /// From the root of the repository, with `/` between the parts.
    pub(crate) path: String,
    pub(crate) text: String,
    pub(crate) language: Language,
}

pub(crate) struct Tree {
    pub(crate) files: Vec<TextFile>,
}

impl Tree {
    pub(crate) fn load() -> Self {
        let mut files = Vec::new();
        collect(&root(), "", &mut files);
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Self { files }
    }

    pub(crate) fn get(&self, path: &str) -> Option<&TextFile> {
        self.files.iter().find(|file| file.path == path)
    }
}

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests' crate lies in the repository")
        .to_owned()
}

fn collect(folder: &Path, prefix: &str, files: &mut Vec<TextFile>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries {
        let entry = entry.unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let kind = entry.file_type().expect("a listed entry has a type");
        let name = entry
            .file_name()
            .into_string()
            .expect("names in the repository are UTF-8");
        let path = format!("{prefix}{name}");
        if kind.is_dir() {
            if !SKIPPED_NAMES.contains(&name.as_str()) && !VENDORED.contains(&path.as_str()) {
                collect(&entry.path(), &format!("{path}/"), files);
            }
        } else if kind.is_file() && may_be_text(&name) {
            // A file may go away between the listing and the reading, while somebody works in the tree.
            let Ok(bytes) = fs::read(entry.path()) else {
                continue;
            };
            if let Some(language) = language(&name, &bytes) {
                let text = String::from_utf8(bytes).unwrap_or_else(|_| panic!("{path}: not UTF-8"));
                files.push(TextFile { path, text, language });
            }
        }
    }
}

fn may_be_text(name: &str) -> bool {
    match name.rsplit_once('.') {
        None | Some(("", _)) => true,
        Some((_, extension)) => {
            matches!(
                extension,
                "rs" | "md" | "py" | "pyi" | "sh" | "toml" | "yml" | "yaml" | "c" | "h"
            )
        }
    }
}

/// A file without an extension counts where it is a script; licence texts and data do not.
fn language(name: &str, bytes: &[u8]) -> Option<Language> {
    match name.rsplit_once('.') {
        Some((_, "rs")) => Some(Language::Rust),
        Some((_, "md")) => Some(Language::Markdown),
        None | Some(("", _)) => bytes.starts_with(b"#!").then_some(Language::Other),
        Some(_) => Some(Language::Other),
    }
}

#[test]
fn the_walk_finds_this_file_and_the_scripts() {
    let tree = Tree::load();
    let here = tree
        .get("tests/tests/structure/tree.rs")
        .expect("this file is in the tree");
    assert_eq!(here.language, Language::Rust);
    assert_eq!(
        tree.get("tests/run").expect("the test command").language,
        Language::Other
    );
    assert!(tree.files.iter().all(|file| !file.path.starts_with("target/")));
}

#[test]
fn only_text_written_here_is_looked_at() {
    assert_eq!(language("LICENSE-MIT", b"MIT License"), None);
    assert_eq!(language("run", b"#!/bin/sh\n"), Some(Language::Other));
    assert!(!may_be_text("ubq.pdb") && !may_be_text("screen.snap") && !may_be_text("Cargo.lock"));
    assert!(may_be_text("Makefile") && may_be_text("a.b.rs") && may_be_text(".gitignore"));
}
