//! Programs that cannot start, and what is said about it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use nix::errno::Errno;
use scalems_agent::executor::{Exit, FileMade, Limit, LogFile, ProgramSpec, Resource, StartError, Stdin};

use super::rig::{Rig, shell};

fn refusal(spec: ProgramSpec) -> StartError {
    let mut rig = Rig::new();
    let outcome = rig.run(spec);
    let Exit::NotStarted(error) = outcome.exit else {
        panic!("it started: {outcome:?}")
    };
    // The executor is none the worse for it.
    assert_eq!(rig.run(shell("exit 0")).exit, Exit::Exited(0));
    error
}

fn file(directory: &Path, mode: u32, content: &str) -> PathBuf {
    let path = directory.join("program");
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

#[test]
fn not_in_path() {
    let mut spec = ProgramSpec::new(["no-such-program"]);
    spec.env.push(("PATH".into(), "/bin:/usr/bin".into()));
    let error = refusal(spec);
    assert_eq!(
        error,
        StartError::NotInPath {
            program: "no-such-program".into(),
            path: "/bin:/usr/bin".into()
        }
    );
    assert!(error.to_string().contains("/bin:/usr/bin") && !error.is_transient());
}

#[test]
fn no_such_file() {
    let program = PathBuf::from("/nonexistent/program");
    assert_eq!(
        refusal(ProgramSpec::new([&program])),
        StartError::NotFound { program }
    );
}

#[test]
fn nothing_to_run() {
    assert_eq!(refusal(ProgramSpec::new::<&str>([])), StartError::EmptyCommand);
    assert_eq!(refusal(ProgramSpec::new([""])), StartError::EmptyCommand);
}

#[test]
fn not_executable() {
    let directory = tempfile::tempdir().unwrap();
    let program = file(directory.path(), 0o644, "#!/bin/sh\n");
    assert_eq!(
        refusal(ProgramSpec::new([&program])),
        StartError::NotExecutable { program }
    );
}

#[test]
fn a_directory() {
    let program = PathBuf::from("/usr/bin");
    assert_eq!(
        refusal(ProgramSpec::new([&program])),
        StartError::IsDirectory { program }
    );
}

#[test]
fn a_script_without_a_first_line() {
    let directory = tempfile::tempdir().unwrap();
    let program = file(directory.path(), 0o755, "echo hello\n");
    assert_eq!(
        refusal(ProgramSpec::new([&program])),
        StartError::NotAProgram { program }
    );
}

#[test]
fn a_script_whose_interpreter_is_missing() {
    let directory = tempfile::tempdir().unwrap();
    let program = file(directory.path(), 0o755, "#! /no/such/python -u\n");
    let interpreter = "/no/such/python".to_owned();
    assert_eq!(
        refusal(ProgramSpec::new([&program])),
        StartError::BadInterpreter { program, interpreter }
    );
}

#[test]
fn a_script_from_another_system_shows_why() {
    let directory = tempfile::tempdir().unwrap();
    let program = file(directory.path(), 0o755, "#!/bin/sh\r\necho hello\r\n");
    let error = refusal(ProgramSpec::new([&program]));
    assert!(error.to_string().contains("/bin/sh\\r"), "{error}");
}

#[test]
fn a_script_whose_interpreter_may_not_be_run() {
    let directory = tempfile::tempdir().unwrap();
    let program = file(directory.path(), 0o755, "#!/etc/passwd\n");
    let interpreter = "/etc/passwd".to_owned();
    assert_eq!(
        refusal(ProgramSpec::new([&program])),
        StartError::BadInterpreter { program, interpreter }
    );
}

#[test]
fn a_missing_directory() {
    let mut spec = shell("exit 0");
    spec.cwd = Some("/nonexistent/here".into());
    assert_eq!(
        refusal(spec),
        StartError::DirectoryMissing {
            directory: "/nonexistent/here".into()
        }
    );
}

#[test]
fn a_directory_that_is_none() {
    let mut spec = shell("exit 0");
    spec.cwd = Some("/etc/passwd".into());
    let directory = PathBuf::from("/etc/passwd");
    assert_eq!(
        refusal(spec),
        StartError::DirectoryRefused {
            directory: directory.clone(),
            errno: Errno::ENOTDIR
        }
    );
    let mut spec = shell("exit 0");
    spec.cwd = Some(directory.join("below"));
    spec.create_cwd = true;
    let error = refusal(spec);
    assert!(
        matches!(
            error,
            StartError::DirectoryRefused {
                errno: Errno::ENOTDIR,
                ..
            }
        ),
        "{error:?}"
    );
}

#[test]
fn files_that_cannot_be_opened() {
    let mut spec = shell("exit 0");
    spec.stdin = Stdin::File("/nonexistent/input".into());
    let path = PathBuf::from("/nonexistent/input");
    assert_eq!(
        refusal(spec),
        StartError::InputFile {
            path,
            errno: Errno::ENOENT
        }
    );
    let mut spec = shell("exit 0");
    let path = PathBuf::from("/nonexistent/output");
    spec.stdout.file = Some(LogFile {
        path: path.clone(),
        cap: 1,
        keep: scalems_protocol::program::Keep::All,
        made: FileMade::AtStart,
    });
    assert_eq!(
        refusal(spec),
        StartError::OutputFile {
            path,
            errno: Errno::ENOENT
        }
    );
}

#[test]
fn cpus_that_are_not_there() {
    let mut spec = shell("exit 0");
    spec.cpus = vec![4095];
    assert_eq!(
        refusal(spec),
        StartError::CpusRefused {
            cpus: vec![4095],
            errno: Errno::EINVAL
        }
    );
}

#[test]
fn a_limit_that_contradicts_itself() {
    let mut spec = shell("exit 0");
    spec.limits = vec![Limit {
        resource: Resource::OpenFiles,
        soft: 10,
        hard: 5,
    }];
    assert_eq!(refusal(spec), StartError::LimitsRefused { errno: Errno::EINVAL });
}

#[test]
fn too_much_to_pass() {
    let mut spec = shell("exit 0");
    spec.argv.push("x".repeat(4 << 20).into());
    assert!(matches!(refusal(spec), StartError::TooLong { bytes } if bytes > 4 << 20));
}

#[test]
fn zero_bytes() {
    let error = refusal(ProgramSpec::new(["sh\0", "-c"]));
    assert!(matches!(error, StartError::ZeroByte { .. }), "{error:?}");
}

#[test]
fn a_file_being_written() {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("program");
    fs::copy("/bin/true", &program).unwrap();
    let _open = fs::File::options().append(true).open(&program).unwrap();
    let error = refusal(ProgramSpec::new([&program]));
    assert_eq!(error, StartError::Busy { program });
    assert!(error.is_transient());
}

#[test]
fn input_for_a_program_that_never_starts_is_no_trouble() {
    let mut spec = ProgramSpec::new(["/nonexistent/program"]);
    spec.stdin = Stdin::Data(Bytes::from(vec![0; 1 << 20]));
    assert!(matches!(refusal(spec), StartError::NotFound { .. }));
}
