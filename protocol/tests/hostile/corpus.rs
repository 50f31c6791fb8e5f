//! Headers that once did harm, or that are made to: `tests/corpus/*.hex`.
//!
//! A file is one header as hexadecimal digits; blanks and line ends do not count, and what follows a `#` in a
//! line is about it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::decoders::decode_all;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/corpus")
}

/// The bytes that a corpus file holds.
pub(crate) fn parse(text: &str) -> Vec<u8> {
    let digits: String = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default())
        .flat_map(|line| line.chars().filter(|character| !character.is_whitespace()))
        .collect();
    assert!(
        digits.len().is_multiple_of(2) && digits.is_ascii(),
        "hexadecimal digits come in pairs"
    );
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal digits"))
        .collect()
}

/// The files of the corpus, by name.
pub(crate) fn all() -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<(String, Vec<u8>)> = fs::read_dir(folder())
        .expect("tests/corpus is there")
        .map(|entry| entry.expect("a folder lists").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "hex"))
        .map(|path| {
            let text = fs::read_to_string(&path).expect("a corpus file reads");
            (
                path.file_name()
                    .expect("a file has a name")
                    .to_string_lossy()
                    .into_owned(),
                parse(&text),
            )
        })
        .collect();
    all.sort();
    all
}

#[test]
fn the_corpus_does_no_harm() {
    let all = all();
    assert!(all.len() >= 20, "the corpus has {} files", all.len());
    for (name, header) in all {
        println!("{name}");
        decode_all(&header);
        // The same, cut at each place.
        for length in 0..header.len().min(256) {
            decode_all(&header[..length]);
        }
    }
}
