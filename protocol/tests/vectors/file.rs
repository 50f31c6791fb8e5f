//! The checked-in files: compared with what the types give, or written anew.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// Set it to write the files instead of comparing with them.
const WRITE: &str = "SCALEMS_WRITE_VECTORS";

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/vectors")
        .join(format!("{name}.json"))
}

/// The vectors of the file `name`.
pub(crate) fn read(name: &str) -> Vec<Value> {
    let path = path(name);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let file: Value = serde_json::from_str(&text).expect("a vector file is JSON");
    assert_eq!(
        file["protocol"],
        json!(scalems_protocol::VERSION),
        "{name}: vectors of another version"
    );
    file["vectors"]
        .as_array()
        .expect("a vector file has vectors")
        .clone()
}

/// Compares the file `name` with `vectors`, or writes it.
pub(crate) fn check(name: &str, about: &str, vectors: &[Value]) {
    if std::env::var_os(WRITE).is_some() {
        // One vector a line: a change then shows in a diff as what it is.
        let lines: Vec<String> = vectors.iter().map(|vector| format!("    {vector}")).collect();
        let head = format!(
            "  \"about\": {},\n  \"protocol\": {},",
            json!(about),
            scalems_protocol::VERSION
        );
        let text = format!("{{\n{head}\n  \"vectors\": [\n{}\n  ]\n}}\n", lines.join(",\n"));
        let path = path(name);
        fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
    let kept = read(name);
    for (kept, made) in kept.iter().zip(vectors) {
        assert_eq!(
            kept, made,
            "{name}: a vector changed; if it should, run the test with {WRITE}=1"
        );
    }
    assert_eq!(
        kept.len(),
        vectors.len(),
        "{name}: vectors came or went; if they should, run with {WRITE}=1"
    );
}
