//! Other hosts, by the `ssh` that the user has: with its configuration, its agent, and what it asks on the terminal.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use scalems_transport::PrivateDir;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdin, Command};

/// What is kept of what ssh says, from its end.
const SAID: usize = 4 << 10;
/// What a command on the other host may write, bytes.
const MOST: u64 = 1 << 20;
/// An option of ssh: a connection that answers nothing for three times so many seconds is over.
pub(crate) const ALIVE: &str = "ServerAliveInterval=15";
/// How long ssh has to end after it was told to.
const END: Duration = Duration::from_secs(2);
/// What the other side says first.
const CONNECTED: &str = "scalems-connected";
/// What the connection's own command does there: nothing, for as long as we live.
const HOLD: &str = "echo scalems-connected; exec cat >/dev/null";

/// `[USER@]HOST`, as an option has it. What could be taken for an option of ssh is none.
pub(crate) fn host(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.@:%[]".contains(c);
    if text.is_empty() || text.starts_with(['-', '@']) || !text.chars().all(plain) {
        return Err(format!("{text:?} is no host: write HOST or USER@HOST"));
    }
    Ok(text.to_owned())
}

/// The host alone.
pub(crate) fn without_user(host: &str) -> &str {
    host.rsplit_once('@').map_or(host, |(_, host)| host)
}

/// A shell's command line that runs a script of one line with these arguments; whatever shell the user has there reads it.
pub(crate) fn line(script: &str, args: &[&str]) -> anyhow::Result<String> {
    let words = ["sh", "-c", script, "sh"].into_iter().chain(args.iter().copied());
    shlex::try_join(words).context("a word for the other host has a zero byte in it")
}

/// What ssh has said last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Said(Arc<Mutex<Vec<u8>>>);

impl Said {
    /// Keeps what comes.
    pub(crate) fn keep(&self, mut from: ChildStderr) -> tokio::task::JoinHandle<()> {
        let said = self.clone();
        tokio::spawn(async move {
            let mut some = [0; 1_024];
            while let Ok(count @ 1..) = from.read(&mut some).await {
                let mut all = said.0.lock().unwrap_or_else(PoisonError::into_inner);
                all.extend_from_slice(&some[..count]);
                let over = all.len().saturating_sub(SAID);
                all.drain(..over);
            }
        })
    }

    /// As a sentence.
    pub(crate) fn text(&self) -> String {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&all).trim().replace("\r\n", "\n");
        if text.is_empty() {
            "it gave no reason".to_owned()
        } else {
            text
        }
    }
}

/// Says why ssh could not be run.
pub(crate) fn missing(error: std::io::Error) -> anyhow::Error {
    if error.kind() == std::io::ErrorKind::NotFound {
        anyhow::anyhow!("there is no command ssh here: install it, and put it on the PATH")
    } else {
        anyhow::Error::from(error).context("run ssh")
    }
}

/// A connection to another host that commands and tunnels share, so that its user is asked once.
#[derive(Debug)]
pub(crate) struct Master {
    host: String,
    child: Child,
    /// Its end, also by ours, is the connection's.
    _input: ChildStdin,
    socket: PathBuf,
    said: Said,
    hears: tokio::task::JoinHandle<()>,
}

impl Master {
    /// Connects, with these further words for ssh; `asks`: whether its user may be asked something.
    pub(crate) async fn connect(
        host: &str,
        further: &[OsString],
        asks: bool,
        within: Duration,
    ) -> anyhow::Result<Self> {
        let user = nix::unistd::geteuid();
        let directory = PrivateDir::ensure(&std::path::Path::new("/tmp").join(format!("scalems-{user}")))?;
        let socket = directory.path().join(format!("ssh-{}", std::process::id()));
        // One of a process of this number that was killed.
        let _gone = std::fs::remove_file(&socket);
        let options = [
            "ControlPersist=no",
            "ExitOnForwardFailure=yes",
            ALIVE,
            "ServerAliveCountMax=3",
            if asks { "BatchMode=no" } else { "BatchMode=yes" },
        ];
        let mut command = Command::new("ssh");
        command.args(["-T", "-M", "-S"]).arg(&socket);
        for option in options {
            command.args(["-o", option]);
        }
        command
            .args(further)
            .args(["--", host, &line(HOLD, &[])?])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(missing)?;
        let said = Said::default();
        let hears = said.keep(child.stderr.take().context("its errors are piped")?);
        let out = child.stdout.take().context("its output is piped")?;
        let mut master = Self {
            host: host.to_owned(),
            _input: child.stdin.take().context("its input is piped")?,
            child,
            socket,
            said,
            hears,
        };
        match tokio::time::timeout(within, connected(out)).await {
            Ok(true) => Ok(master),
            Ok(false) => Err(master.ended().await),
            Err(_) => {
                let said = master.said.text();
                master.end().await;
                Err(anyhow::anyhow!(
                    "ssh did not reach {host} within {within:?}: {said}"
                ))
            }
        }
    }

    fn command(&self, words: &[&OsStr]) -> Command {
        let mut command = Command::new("ssh");
        command.arg("-S").arg(&self.socket);
        // Never a connection of its own.
        command.args(["-T", "-o", "ControlMaster=no", "-o", "BatchMode=yes"]);
        command
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    async fn run(&self, mut command: Command, what: &str, within: Duration) -> anyhow::Result<Vec<u8>> {
        let mut child = command.spawn().map_err(missing)?;
        let said = Said::default();
        let hears = said.keep(child.stderr.take().context("its errors are piped")?);
        let out = child.stdout.take().context("its output is piped")?;
        let whole = async {
            let mut bytes = Vec::new();
            out.take(MOST + 1).read_to_end(&mut bytes).await?;
            anyhow::ensure!(bytes.len() as u64 <= MOST, "{what}: the answer has no end");
            let status = child.wait().await?;
            hears.await?;
            anyhow::ensure!(status.success(), "{what}: {} ({status})", said.text());
            Ok(bytes)
        };
        match tokio::time::timeout(within, whole).await {
            Ok(result) => result,
            Err(_) => Err(anyhow::anyhow!("{what}: no answer within {within:?}")),
        }
    }

    /// Runs a script there, and gives what it wrote.
    pub(crate) async fn output(
        &self,
        script: &str,
        args: &[&str],
        within: Duration,
    ) -> anyhow::Result<Vec<u8>> {
        let line = line(script, args)?;
        let command = self.command(&["--".as_ref(), self.host.as_ref(), line.as_ref()]);
        let what = format!("a command on {}", self.host);
        self.run(command, &what, within).await
    }

    /// Begins, or ends, to forward a port of this host's loopback to an address as the other host sees it.
    pub(crate) async fn forward(
        &self,
        begin: bool,
        port: u16,
        to: (&str, u16),
        within: Duration,
    ) -> anyhow::Result<()> {
        let (host, far) = to;
        let host = if host.contains(':') {
            format!("[{host}]")
        } else {
            host.to_owned()
        };
        let way = format!("127.0.0.1:{port}:{host}:{far}");
        let order = if begin { "forward" } else { "cancel" };
        let words = ["-O", order, "-L", &way, "--", &self.host].map(OsStr::new);
        let what = format!("forward port {port} to {host}:{far}");
        self.run(self.command(&words), &what, within).await?;
        Ok(())
    }

    /// Waits for its end, which somebody else brings about, and says why it came.
    pub(crate) async fn ended(&mut self) -> anyhow::Error {
        let status = self.child.wait().await;
        // What it said last is on its way still.
        let _heard = tokio::time::timeout(END, &mut self.hears).await;
        let (host, said) = (&self.host, self.said.text());
        match status {
            Ok(status) => anyhow::anyhow!("ssh to {host} has ended ({status}): {said}"),
            Err(error) => anyhow::Error::from(error).context(format!("wait for ssh to {host}")),
        }
    }

    /// Ends it.
    pub(crate) async fn end(mut self) {
        if let Some(pid) = self.child.id() {
            let pid = nix::unistd::Pid::from_raw(pid.cast_signed());
            // It may just have ended by itself.
            let _told = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        }
        if tokio::time::timeout(END, self.child.wait()).await.is_err() {
            tracing::warn!(host = self.host, "ssh does not end, and is killed");
        }
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        // ssh takes it along, unless it was killed.
        let _gone = std::fs::remove_file(&self.socket);
    }
}

/// Whether it gets as far as to say so.
async fn connected(out: impl AsyncRead + Unpin) -> bool {
    let mut lines = BufReader::new(out.take(MOST)).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if line.trim() == CONNECTED {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ssh_would_take_for_an_option_is_no_host() {
        for fine in ["n1", "me@login.example.org", "fe80::1%eth0", "cluster_1"] {
            assert_eq!(host(fine).as_deref(), Ok(fine));
        }
        for wrong in [
            "",
            "-oProxyCommand=x",
            "@n1",
            "n1 n2",
            "n1;reboot",
            "a/b",
            "$(id)",
        ] {
            assert!(host(wrong).is_err(), "{wrong}");
        }
        assert_eq!(without_user("me@n1"), "n1");
        assert_eq!(without_user("n1"), "n1");
    }

    #[test]
    fn a_line_is_read_as_it_was_meant() {
        let args = ["a b", "$HOME", "it's", "", "`id`"];
        let line = line("printf \"%s|\" \"$@\"", &args).unwrap();
        for shell in ["sh", "bash"] {
            let output = std::process::Command::new(shell)
                .args(["-c", &line])
                .output()
                .unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stdout), "a b|$HOME|it's||`id`|");
        }
    }
}
