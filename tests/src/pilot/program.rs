//! The program under test.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The `scalems` that was built from this tree in the profile of these tests, or the one that `SCALEMS_BIN`
/// names.
///
/// Cargo builds the programs of another crate only if it is asked to, so it is asked here.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| env::var_os("SCALEMS_BIN").map_or_else(built, PathBuf::from))
}

/// The directory that has the program, for `PATH`.
pub(super) fn directory() -> &'static Path {
    program().parent().expect("a program has a directory")
}

fn built() -> PathBuf {
    // target/PROFILE/deps/THIS_TEST
    let test = env::current_exe().expect("a test knows its file");
    let directory = test
        .ancestors()
        .nth(2)
        .expect("a test lies in the target directory");
    let program = directory.join("scalems");
    // The runner starts a process for each test; one build for all of them is enough.
    let run = env::var("NEXTEST_RUN_ID").unwrap_or_default();
    let stamp = directory.join("scalems-tests.built");
    if !run.is_empty() && program.exists() && fs::read_to_string(&stamp).is_ok_and(|built| built == run) {
        return program;
    }
    let profile = match directory.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(other) => other,
    };
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args([
        "build",
        "--quiet",
        "--package",
        "scalems",
        "--bin",
        "scalems",
        "--profile",
        profile,
    ]);
    cargo
        .arg("--manifest-path")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"));
    cargo.arg("--target-dir").arg(
        directory
            .parent()
            .expect("a profile lies in the target directory"),
    );
    let status = cargo.stdin(Stdio::null()).status().expect("cargo runs");
    assert!(
        status.success() && program.exists(),
        "{cargo:?} did not build {}",
        program.display()
    );
    fs::write(&stamp, run).expect("the target directory can be written");
    program
}
