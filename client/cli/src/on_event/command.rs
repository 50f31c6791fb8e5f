//! A command as its user writes it, and one run of it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use super::event::{Event, Whose};

/// How long a command may take.
pub(super) const DEADLINE: Duration = Duration::from_secs(30);
/// How long what one that has ended wrote is read: what it left behind may hold its standard error open for ever.
const REST: Duration = Duration::from_millis(100);
/// So much of what one that failed wrote last is told.
const LAST_WORDS: usize = 1_000;

/// A command: a program and its words, split as a shell does it; no shell runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OnEvent {
    words: Vec<String>,
}

impl OnEvent {
    /// Reads it. A program with a slash is taken from where that is said, since the command runs elsewhere.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let mut words = shlex::split(text)
            .filter(|words| !words.is_empty())
            .ok_or_else(|| {
                format!(
                    "{text:?} is no command: write a program and its words, with quotes closed, or sh -c '…'"
                )
            })?;
        if let Some(program) = words.first_mut()
            && program.contains('/')
            && let Ok(path) = std::path::absolute(&*program)
        {
            *program = path.to_string_lossy().into_owned();
        }
        Ok(Self { words })
    }

    /// As it is read again.
    pub(crate) fn text(&self) -> String {
        // What was split has no words that cannot be said.
        shlex::try_join(self.words.iter().map(String::as_str)).unwrap_or_default()
    }

    /// Fails if there is no such program here.
    pub(crate) fn check(&self) -> Result<(), String> {
        let program = &self.words[0];
        let runs = |path: &Path| {
            path.metadata()
                .is_ok_and(|facts| facts.is_file() && facts.permissions().mode() & 0o111 != 0)
        };
        let paths = std::env::var_os("PATH").unwrap_or_default();
        let found = if program.contains('/') {
            runs(Path::new(program))
        } else {
            std::env::split_paths(&paths).any(|path: PathBuf| runs(&path.join(program)))
        };
        if found {
            Ok(())
        } else {
            Err(format!(
                "--on-event {}: there is no program {program} here that can be run",
                self.text()
            ))
        }
    }

    /// Runs it once, as its own process group, and says why it did not go well.
    pub(super) async fn run(&self, event: &Event, whose: &Whose, within: Duration) -> Result<(), String> {
        let mut command = Command::new(&self.words[0]);
        command
            .args(&self.words[1..])
            .envs(event.variables(whose))
            .current_dir(&whose.directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // Ctrl-C is for the pilot.
            .process_group(0)
            .kill_on_drop(true);
        let mut child = command
            .spawn()
            .map_err(|error| format!("it cannot be started: {error}"))?;
        let group = child.id();
        let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
        let said = event.json(whose);
        let mut last = Vec::new();
        let ended = {
            let write = async {
                if let Some(mut stdin) = stdin {
                    // One that does not read it does not want it.
                    let _written = stdin.write_all(said.as_bytes()).await;
                }
            };
            let read = async {
                if let Some(mut stderr) = stderr {
                    let mut part = [0; LAST_WORDS];
                    while let Ok(count @ 1..) = stderr.read(&mut part).await {
                        last.extend_from_slice(&part[..count]);
                        last.drain(..last.len().saturating_sub(LAST_WORDS));
                    }
                }
            };
            let io = async { tokio::join!(write, read) };
            let ended = async {
                tokio::pin!(io);
                tokio::select! {
                    _ = &mut io => child.wait().await,
                    status = child.wait() => {
                        // What it has said last is in the pipe.
                        let _rest = tokio::time::timeout(REST, &mut io).await;
                        status
                    }
                }
            };
            tokio::time::timeout(within, ended).await
        };
        match ended {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => {
                let last = String::from_utf8_lossy(&last);
                Err(format!("it ended with {status}: {}", last.trim()))
            }
            Ok(Err(error)) => Err(format!("its end cannot be waited for: {error}")),
            Err(_) => {
                if let Some(group) = group {
                    // It may have ended meanwhile.
                    let _killed = killpg(Pid::from_raw(group.cast_signed()), Signal::SIGKILL);
                }
                let _reaped = tokio::time::timeout(Duration::from_secs(1), child.wait()).await;
                Err(format!("it took longer than {within:?} and was killed"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::on_event::event::Kind;

    fn run(text: &str, within: Duration) -> Result<(), String> {
        let home = tempfile::tempdir().unwrap();
        let whose = Whose::new("night", home.path());
        let event = Event::now(Kind::AgentStarted, "7", "the agent serves");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let command = OnEvent::read(text).unwrap();
        runtime.block_on(command.run(&event, &whose, within))
    }

    #[test]
    fn a_command_is_split_and_said_again() {
        let command = OnEvent::read("sh -c 'echo \"$SCALEMS_EVENT\"' x").unwrap();
        assert_eq!(command.words, ["sh", "-c", "echo \"$SCALEMS_EVENT\"", "x"]);
        assert_eq!(OnEvent::read(&command.text()).unwrap(), command);
        assert!(OnEvent::read("./here now").unwrap().words[0].starts_with('/'));
        for text in ["", "  ", "sh -c 'open"] {
            assert!(
                OnEvent::read(text).unwrap_err().contains("is no command"),
                "{text}"
            );
        }
        assert!(command.check().is_ok());
        let missing = OnEvent::read("/nowhere/notify now").unwrap();
        assert!(
            missing
                .check()
                .unwrap_err()
                .contains("no program /nowhere/notify")
        );
    }

    #[test]
    fn how_it_went_is_said() {
        let long = DEADLINE;
        assert_eq!(
            run(
                "sh -c 'grep -q agent_started && test $SCALEMS_PILOT = night'",
                long
            ),
            Ok(())
        );
        // One that does not read what it is told is fine.
        assert_eq!(run("true", long), Ok(()));
        let error = run("sh -c 'echo first >&2; echo because >&2; exit 3'", long).unwrap_err();
        assert!(
            error.contains("exit status: 3") && error.contains("because"),
            "{error}"
        );
        assert!(
            run("/nowhere/at/all", long)
                .unwrap_err()
                .contains("cannot be started")
        );
        // What is left behind with its standard error open holds nothing up.
        assert_eq!(run("sh -c 'sleep 600 & exit 0'", long), Ok(()));
        let error = run("sh -c 'sleep 600; true'", Duration::from_millis(200)).unwrap_err();
        assert!(error.contains("was killed"), "{error}");
    }
}
