//! The monitor as a command of its own. What it shows is tested with `scalems top`, which is the same.

use std::process::{Command, Stdio};

/// Runs it without a terminal, in a home without pilots: its exit code, and what it said on its error stream.
fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let home = tempfile::tempdir().expect("a directory can be made");
    let output = Command::new(env!("CARGO_BIN_EXE_scalems-top"))
        .args(arguments)
        .env("SCALEMS_HOME", home.path())
        .env_remove("SCALEMS_PILOT")
        .stdin(Stdio::null())
        .output()
        .expect("it can be started");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it writes text");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn without_a_terminal_it_says_what_to_do() {
    let (code, _, said) = run(&[]);
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.starts_with("scalems-top: ") && said.contains("--once"),
        "{said}"
    );
}

#[test]
fn without_a_pilot_there_is_nothing_to_see() {
    let (code, out, said) = run(&["--once"]);
    assert_eq!((code, out.as_str()), (Some(3), ""), "{said}");
    assert!(said.contains("pilot"), "{said}");
}

#[test]
fn what_cannot_be_read_is_a_usage_error() {
    for arguments in [
        &["--screen", "nowhere"][..],
        &["--theme", "blue"],
        &["--once", "more"],
    ] {
        let (code, _, said) = run(arguments);
        assert_eq!(code, Some(2), "{said}");
    }
    let (code, out, _) = run(&["--help"]);
    assert!(code == Some(0) && out.contains("scalems-top --once"), "{out}");
}
