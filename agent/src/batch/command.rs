//! Running another program's commands, with an end to waiting.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::os::fd::AsFd;

/// A controller that is busy answers late; one that is gone makes its commands wait for minutes.
const LIMIT: Duration = Duration::from_secs(30);
/// What one of them may write, bytes.
const MOST: u64 = 16 << 20;

/// Why a command did not give what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It is not there.
    #[error("there is no command {command}: is {system} installed here, and on the PATH?")]
    Missing {
        /// The command.
        command: String,
        /// The batch system.
        system: &'static str,
    },
    /// It could not be run.
    #[error("cannot run {command}: {source}")]
    Run {
        /// The command.
        command: String,
        /// Why.
        source: io::Error,
    },
    /// It said no.
    #[error("{command}: {} ({status})", if said.is_empty() { "failed without a word" } else { said })]
    Refused {
        /// The command.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// What it wrote to its error output.
        said: String,
    },
    /// It did not end.
    #[error("{command} did not answer within {LIMIT:?} and was ended: is the batch system reachable?")]
    Silent {
        /// The command.
        command: String,
    },
}

/// Runs a command of a batch system to its end, and gives what it wrote.
pub(super) fn run(system: &'static str, command: &str, args: &[OsString]) -> Result<String, CommandError> {
    run_within(LIMIT, system, command, args)
}

/// As [`run`], of any tool, with a bound of its own.
pub(crate) fn run_within(
    limit: Duration,
    system: &'static str,
    command: &str,
    args: &[OsString],
) -> Result<String, CommandError> {
    // What a user has set for lists of their own would hide jobs and nodes from us.
    let hides = |name: &std::ffi::OsStr| {
        let name = name.as_encoded_bytes();
        [&b"SQUEUE_"[..], b"SINFO_", b"SCONTROL_"]
            .iter()
            .any(|start| name.starts_with(start))
    };
    let mut child = Command::new(command);
    for (name, _) in std::env::vars_os().filter(|(name, _)| hides(name)) {
        child.env_remove(name);
    }
    child.args(args);
    end_within(limit, system, command, child)
}

/// Runs a command to its end with nothing to read, and gives what it wrote. `called` is what errors call it.
pub(crate) fn end_within(
    limit: Duration,
    system: &'static str,
    called: &str,
    mut command: Command,
) -> Result<String, CommandError> {
    let failed = |source| CommandError::Run {
        command: called.to_owned(),
        source,
    };
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // It is ended with what it started.
        .process_group(0)
        .spawn();
    let mut child = child.map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => CommandError::Missing {
            command: called.to_owned(),
            system,
        },
        _ => failed(source),
    })?;
    let said = child.stdout.take().map(read);
    let complained = child.stderr.take().map(read);
    let ended = ended_within(limit, child.id()).map_err(failed)?;
    if !ended {
        let group = nix::unistd::Pid::from_raw(child.id() as i32);
        killpg(group, Signal::SIGKILL).map_err(|errno| failed(errno.into()))?;
    }
    let status = child.wait().map_err(failed)?;
    if !ended {
        // What has left its group may hold the pipes open: they are not waited for.
        return Err(CommandError::Silent {
            command: called.to_owned(),
        });
    }
    let text = |reader: Option<std::thread::JoinHandle<Vec<u8>>>| {
        let bytes = reader.and_then(|reader| reader.join().ok()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).trim().to_owned()
    };
    let (said, complained) = (text(said), text(complained));
    if !status.success() {
        return Err(CommandError::Refused {
            command: called.to_owned(),
            status,
            said: complained,
        });
    }
    Ok(said)
}

fn read(from: impl Read + Send + 'static) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read before an error is what there is; the exit status says whether it is enough.
        let _whole = from.take(MOST).read_to_end(&mut bytes);
        bytes
    })
}

fn ended_within(limit: Duration, pid: u32) -> io::Result<bool> {
    let pid = Pid::from_raw(pid as i32).ok_or(io::ErrorKind::NotFound)?;
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    let wait = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
    loop {
        let mut sources = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
        match poll(&mut sources, wait) {
            Ok(count) => return Ok(count > 0),
            Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(line: &str, limit: Duration) -> Result<String, CommandError> {
        run_within(limit, "test", "sh", &["-c".into(), line.into()])
    }

    #[test]
    fn a_command_gives_what_it_wrote() {
        assert_eq!(sh("echo one; echo two >&2", LIMIT).unwrap(), "one");
        let much = sh("head -c 300000 /dev/zero | tr '\\0' x", LIMIT).unwrap();
        assert_eq!(much.len(), 300_000, "more than a pipe holds");
    }

    #[test]
    fn a_refusal_has_the_commands_own_words() {
        let error = sh("echo no partition >&2; exit 3", LIMIT).unwrap_err();
        assert_eq!(error.to_string(), "sh: no partition (exit status: 3)");
        let error = sh("exit 4", LIMIT).unwrap_err();
        assert_eq!(error.to_string(), "sh: failed without a word (exit status: 4)");
    }

    #[test]
    fn a_command_that_hangs_is_ended() {
        let error = sh("sleep 600", Duration::from_millis(50)).unwrap_err();
        assert!(matches!(error, CommandError::Silent { .. }), "{error}");
    }

    #[test]
    fn a_command_that_is_not_there_is_named() {
        let error = run("slurm", "scalems-no-such-command", &[]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no command scalems-no-such-command: is slurm installed here, and on the PATH?"
        );
    }
}
