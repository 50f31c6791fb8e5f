//! Finds the file of a program before it is started, and the reason afterwards if it did not start.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};

use super::outcome::{StartError, Step};
use super::prepare::Prepared;
use super::spawn::Failure;
use super::spec::ProgramSpec;

/// What the C library searches when there is no PATH, without the current directory.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// The path to execute: as given if it has a slash, else the first executable of that name in PATH.
pub(super) fn program(spec: &ProgramSpec) -> Result<PathBuf, StartError> {
    let name = match (&spec.program, spec.argv.first()) {
        (Some(path), Some(_)) => path.as_os_str(),
        (None, Some(name)) if !name.is_empty() => name,
        _ => return Err(StartError::EmptyCommand),
    };
    if name.as_bytes().contains(&b'/') {
        return Ok(PathBuf::from(name));
    }
    let given = spec
        .env
        .iter()
        .find(|(variable, _)| variable == "PATH")
        .map(|(_, value)| value.as_os_str());
    let path = given.unwrap_or(OsStr::new(DEFAULT_PATH));
    let mut refused = None;
    for directory in path.as_bytes().split(|byte| *byte == b':') {
        // An empty part of PATH means the directory where the program runs, as for a shell.
        let directory = if directory.is_empty() {
            OsStr::new(".")
        } else {
            OsStr::from_bytes(directory)
        };
        let candidate = Path::new(directory).join(name);
        let here = absolute(spec, &candidate);
        if access(&here, AccessFlags::X_OK).is_ok() {
            if !here.is_dir() {
                return Ok(candidate);
            }
        } else if here.is_file() {
            refused.get_or_insert(candidate);
        }
    }
    Err(match refused {
        Some(program) => StartError::NotExecutable { program },
        None => StartError::NotInPath {
            program: name.to_string_lossy().into_owned(),
            path: given.map_or_else(
                || format!("{DEFAULT_PATH}, since the environment has none"),
                |path| path.to_string_lossy().into_owned(),
            ),
        },
    })
}

/// What the child's step and errno mean for this program.
pub(super) fn explain(failure: Failure, spec: &ProgramSpec, prepared: &Prepared) -> StartError {
    let Failure { step, errno } = failure;
    match (step, errno) {
        (Step::Directory, Errno::ENOENT) => StartError::DirectoryMissing {
            directory: spec.cwd.clone().unwrap_or_default(),
        },
        (Step::Directory, _) => StartError::DirectoryRefused {
            directory: spec.cwd.clone().unwrap_or_default(),
            errno,
        },
        (Step::Affinity, _) => StartError::CpusRefused {
            cpus: spec.cpus.clone(),
            errno,
        },
        (Step::Limits, _) => StartError::LimitsRefused { errno },
        (Step::Exec, _) => explain_exec(errno, spec, prepared),
        _ => StartError::from_errno(step, errno),
    }
}

/// The kernel's one number stands for several things; a look at the file tells which.
fn explain_exec(errno: Errno, spec: &ProgramSpec, prepared: &Prepared) -> StartError {
    let program = prepared.program();
    let file = absolute(spec, &program);
    match errno {
        Errno::ENOENT | Errno::ENOTDIR if !file.exists() => StartError::NotFound { program },
        // The file is there, so what is missing is what it asks for. ELOOP: a script run by a script run by …
        Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP => StartError::BadInterpreter {
            program,
            interpreter: interpreter(&file),
        },
        Errno::EACCES | Errno::EISDIR if file.is_dir() => StartError::IsDirectory { program },
        Errno::EACCES | Errno::EPERM => match script_interpreter(&file) {
            Some(interpreter) if access(&file, AccessFlags::X_OK).is_ok() => {
                StartError::BadInterpreter { program, interpreter }
            }
            _ => StartError::NotExecutable { program },
        },
        Errno::ENOEXEC => StartError::NotAProgram { program },
        Errno::ETXTBSY => StartError::Busy { program },
        Errno::E2BIG => StartError::TooLong {
            bytes: prepared.bytes(),
        },
        _ => StartError::from_errno(Step::Exec, errno),
    }
}

/// Seen from here, where the program sees it from its own directory.
fn absolute(spec: &ProgramSpec, path: &Path) -> PathBuf {
    spec.cwd
        .as_ref()
        .map_or_else(|| path.to_owned(), |cwd| cwd.join(path))
}

fn interpreter(file: &Path) -> String {
    script_interpreter(file).unwrap_or_else(|| "named in its header (its dynamic loader)".to_owned())
}

/// The program named in a `#!` line.
fn script_interpreter(file: &Path) -> Option<String> {
    let mut first = Vec::new();
    // The kernel reads no more than this of the line.
    File::open(file).ok()?.take(256).read_to_end(&mut first).ok()?;
    let line = first.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let name = line
        .split(|byte| matches!(byte, b' ' | b'\t'))
        .find(|part| !part.is_empty())?;
    // A carriage return from another system's editor is the usual reason, so it must be seen.
    Some(OsString::from_vec(name.to_vec()).to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(argv: &str, path: Option<&str>) -> Result<PathBuf, StartError> {
        let mut spec = ProgramSpec::new([argv]);
        spec.env.extend(path.map(|path| ("PATH".into(), path.into())));
        program(&spec)
    }

    #[test]
    fn the_given_path_is_searched_in_order() {
        assert_eq!(
            found("sh", Some("/nonexistent:/bin:/usr/bin")),
            Ok("/bin/sh".into())
        );
        assert_eq!(found("sh", None), Ok("/bin/sh".into()));
        assert_eq!(found("./sh", Some("/bin")), Ok("./sh".into()));
        assert_eq!(found("", Some("/bin")), Err(StartError::EmptyCommand));
        let missing = StartError::NotInPath {
            program: "sh".into(),
            path: "/nonexistent".into(),
        };
        assert_eq!(found("sh", Some("/nonexistent")), Err(missing));
    }

    #[test]
    fn directories_and_plain_files_in_path_are_passed_over() {
        let first = tempfile::tempdir().unwrap();
        std::fs::create_dir(first.path().join("sh")).unwrap();
        let path = format!("{}:/bin", first.path().display());
        assert_eq!(found("sh", Some(&path)), Ok("/bin/sh".into()));
        let plain = first.path().join("plain");
        std::fs::write(&plain, "x").unwrap();
        assert_eq!(
            found("plain", Some(&path)),
            Err(StartError::NotExecutable { program: plain })
        );
    }

    #[test]
    fn a_relative_part_of_path_is_seen_from_the_program() {
        let mut spec = ProgramSpec::new(["sh"]);
        spec.cwd = Some("/".into());
        spec.env.push(("PATH".into(), "bin".into()));
        assert_eq!(program(&spec), Ok("bin/sh".into()));
    }
}
