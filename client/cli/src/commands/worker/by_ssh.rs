//! `scalems worker start --ssh`: workers on other hosts, one ssh for each.
//!
//! The connection file goes over by standard input, into a directory that only its user can look into, and is used there if the host
//! does not see the pilot's own. As long as standard input is open the worker runs; its end is the worker's, unless a word came before.

use std::future::Future;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use scalems_client::Session;
use scalems_client::protocol::client::WorkerRow;
use scalems_client::protocol::event::Topic;
use scalems_protocol::Role;
use scalems_transport::ConnectionFile;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{ChildStdin, ChildStdout, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::SIGNAL_DRAIN;
use crate::Context;
use crate::args::WorkerStartArgs;
use crate::commands::connect;
use crate::exit::{Exit, Misuse};
use crate::print;
use crate::ssh::{self, Said};

/// So many hosts at once: each is a process here.
const MOST_HOSTS: usize = 1_000;
/// How often it is asked who has joined, where no event tells.
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// How long a worker may take to end after it was told to, beside what its tasks are given.
const END: Duration = Duration::from_secs(10);
/// How long a host may take to say that its worker stays.
const STAYS: Duration = Duration::from_secs(10);

/// Runs a worker on the other side: `$1` is the size of the connection file that comes first, `$2` its path here, `$3` the program,
/// `$4` whether what the worker says goes into a file. What tasks log does not go with the directory that is removed. The word `stay` leaves the worker alone when standard input ends.
const START: &str = "umask 077; n=$1; near=$2; program=$3; kept=$4; shift 4; trap \"\" HUP; \
    d=$(mktemp -d \"${TMPDIR:-/tmp}/scalems-ssh.XXXXXX\") || exit 1; file=$d/worker.json; \
    dd bs=1 count=\"$n\" of=\"$file\" 2>/dev/null || exit 1; \
    if [ -f \"$near\" ] && [ \"$(cat \"$near\")\" = \"$(cat \"$file\")\" ]; then file=$near; \
    else case \"$*\" in *--log-dir=*) ;; *) set -- \"$@\" \"--log-dir=$HOME/.scalems/logs\" ;; esac; fi; \
    exec 4<&0; if [ \"$kept\" = yes ]; then exec 3>\"$d/log\"; else exec 3>&2; fi; \
    \"$program\" worker start --connection \"$file\" \"$@\" </dev/null >&3 2>&3 4<&- & w=$!; \
    ( read word <&4; if [ \"$word\" = stay ]; then echo stays; else kill -TERM $w; fi ) & r=$!; \
    wait $w; s=$?; kill $r 2>/dev/null; \
    [ \"$kept\" = no ] || [ $s = 0 ] || tail -n 20 \"$d/log\" >&2; rm -rf \"$d\"; exit $s";

/// What became of a host's worker.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    Awaited,
    Joined(u64),
    Failed(String),
}

/// A host, and its worker.
struct Host {
    name: String,
    /// What its worker is called, before the agent has made that unique.
    called: String,
    fate: Fate,
}

#[derive(serde::Serialize)]
struct Row {
    host: String,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    worker: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

pub(super) fn run(context: &Context, args: &WorkerStartArgs, file: &Path) -> anyhow::Result<Exit> {
    let hosts = hosts(args)?;
    let worker = ConnectionFile::read(file)?;
    anyhow::ensure!(
        worker.role == Role::Worker,
        "{} is not for workers",
        file.display()
    );
    anyhow::ensure!(
        worker.requests.tcp.is_some(),
        "pilot {} listens on socket files only, which other hosts do not reach: start it with --tcp=ADDRESS",
        worker.pilot
    );
    let session = if args.connection.is_some() {
        let client = file.with_file_name(ConnectionFile::file_name(Role::Client));
        Session::options().name("ssh").shared().connect(client)?
    } else {
        connect(context)?
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(begin(context, args, file, hosts, session))
}

/// The hosts that are meant: those named, and those of the file.
fn hosts(args: &WorkerStartArgs) -> anyhow::Result<Vec<Host>> {
    let mut names = args.ssh.clone();
    if let Some(path) = &args.ssh_file {
        let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        for (number, line) in (1..).zip(text.lines()) {
            let host = line.split('#').next().unwrap_or_default().trim();
            if !host.is_empty() {
                let place = |why| Misuse(format!("{} line {number}: {why}", path.display()));
                names.push(ssh::host(host).map_err(place)?);
            }
        }
    }
    if names.is_empty() || names.len() > MOST_HOSTS {
        let count = names.len();
        return Err(Misuse(format!("{count} hosts are named: 1 to {MOST_HOSTS} are possible")).into());
    }
    let host = |name: String| Host {
        called: args
            .name
            .clone()
            .unwrap_or_else(|| ssh::without_user(&name).to_owned()),
        name,
        fate: Fate::Awaited,
    };
    Ok(names.into_iter().map(host).collect())
}

/// The worker's own options, for the other side.
fn words(args: &WorkerStartArgs, called: &str, hosts: usize) -> Vec<String> {
    let mut words = vec![format!("--name={called}"), format!("--among={hosts}")];
    let numbers = [
        ("--cores", args.cores.map(u64::from)),
        ("--gpus", args.gpus.map(u64::from)),
        ("--memory", args.memory),
        ("--disk", args.disk),
    ];
    for (option, number) in numbers {
        words.extend(number.map(|number| format!("{option}={number}")));
    }
    let resources = args.resource.iter();
    words.extend(resources.map(|(name, amount)| format!("--resource={name}={amount}")));
    let times = [
        ("--idle-timeout", args.idle_timeout),
        ("--time-limit", args.time_limit),
    ];
    for (option, time) in times {
        words.extend(time.map(|time| format!("{option}={}ms", time.as_millis())));
    }
    words.extend(args.dir.iter().map(|dir| format!("--dir={}", dir.display())));
    let each = &args.each;
    words.extend(
        each.log_dir
            .iter()
            .map(|dir| format!("--log-dir={}", dir.display())),
    );
    words.extend(each.log_limit.map(|limit| format!("--log-limit={limit}")));
    words.extend(each.python.iter().map(|python| {
        let name = python
            .name
            .as_ref()
            .map_or_else(String::new, |name| format!("{name}="));
        format!("--python={name}{}", python.path.display())
    }));
    words.extend(each.mode_words());
    words.extend(each.mpi.iter().map(|mpi| format!("--mpi={}", mpi.display())));
    words
}

/// Hears who is there, on a thread of its own, until nobody wants to know.
fn watch_workers(session: Session) -> anyhow::Result<watch::Receiver<Vec<WorkerRow>>> {
    let (tell, told) = watch::channel(session.ask_workers()?);
    std::thread::Builder::new()
        .name("scalems-joins".into())
        .spawn(move || {
            let mut events = session.events(Topic::Workers);
            while !tell.is_closed() {
                match session.ask_workers() {
                    Ok(rows) => drop(tell.send_replace(rows)),
                    Err(error) => return tracing::warn!(%error, "cannot hear who joins"),
                }
                // A gap, or nothing in time, is a reason to ask as well.
                let _heard = events.next_within(ASK_AGAIN);
            }
        })?;
    Ok(told)
}

/// This side of a worker that runs elsewhere; with it goes the worker.
struct Hold {
    pid: Option<u32>,
    input: ChildStdin,
    output: ChildStdout,
}

impl Hold {
    /// Lets the worker go on without it.
    async fn let_go(mut self) -> anyhow::Result<()> {
        self.input.write_all(b"stay\n").await?;
        let mut said = String::new();
        let mut lines = BufReader::new(self.output);
        tokio::time::timeout(STAYS, lines.read_line(&mut said))
            .await
            .context("it does not answer")??;
        anyhow::ensure!(said.trim() == "stays", "it said {said:?}");
        if let Some(pid) = self.pid {
            kill(Pid::from_raw(pid.cast_signed()), Signal::SIGTERM)?;
        }
        Ok(())
    }
}

/// Starts a host's worker. Gives what holds it, and what waits for its end.
async fn start(
    args: &WorkerStartArgs,
    file: &Path,
    text: &[u8],
    host: &Host,
    hosts: usize,
) -> anyhow::Result<(Hold, impl Future<Output = String> + use<>)> {
    let (size, near) = (text.len().to_string(), std::path::absolute(file)?);
    let near = near.to_str().context("the connection file's path is no text")?;
    let kept = if args.detach { "yes" } else { "no" };
    let own = words(args, &host.called, hosts);
    let words: Vec<&str> = [size.as_str(), near, &args.remote_program, kept]
        .into_iter()
        .chain(own.iter().map(String::as_str))
        .collect();
    let mut child = Command::new("ssh")
        .args([
            "-T",
            "-o",
            "BatchMode=yes",
            "-o",
            ssh::ALIVE,
            "-o",
            "ServerAliveCountMax=3",
        ])
        .args(["-o", &format!("ConnectTimeout={}", args.timeout.as_secs().max(1))])
        .args(&args.further)
        .args(["--", &host.name, &ssh::line(START, &words)?])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Ctrl-C is for this process, which lets the workers end in order.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(ssh::missing)?;
    let said = Said::default();
    let hears = said.keep(child.stderr.take().context("its errors are piped")?);
    let mut hold = Hold {
        pid: child.id(),
        input: child.stdin.take().context("its input is piped")?,
        output: child.stdout.take().context("its output is piped")?,
    };
    // It fits into a pipe. Whoever has ended already says so by its end.
    let _sent = hold.input.write_all(text).await;
    let ended = async move {
        let status = child.wait().await;
        let _heard = hears.await;
        match status {
            Ok(status) => why(status, &said.text()),
            Err(error) => error.to_string(),
        }
    };
    Ok((hold, ended))
}

/// Why a worker has ended.
fn why(status: ExitStatus, said: &str) -> String {
    match status.code() {
        Some(0) => "its worker has ended".to_owned(),
        Some(127) => format!("there is no scalems on its PATH, or not where --remote-program says: {said}"),
        _ => format!("{said} ({status})"),
    }
}

/// Takes in who is there: a worker that was not there before, of the name that a host's worker has.
fn note_joins(hosts: &mut [Host], rows: &[WorkerRow], before: u64) {
    for row in rows
        .iter()
        .filter(|row| row.worker > before && row.state == "active")
    {
        let name = row
            .name
            .strip_suffix(&format!("-{}", row.worker))
            .unwrap_or(&row.name);
        if hosts.iter().any(|host| host.fate == Fate::Joined(row.worker)) {
            continue;
        }
        let awaited = |host: &&mut Host| {
            host.fate == Fate::Awaited && [name, &row.name].contains(&host.called.as_str())
        };
        if let Some(host) = hosts.iter_mut().find(awaited) {
            host.fate = Fate::Joined(row.worker);
        }
    }
}

async fn begin(
    context: &Context,
    args: &WorkerStartArgs,
    file: &Path,
    mut hosts: Vec<Host>,
    session: Session,
) -> anyhow::Result<Exit> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let asked_to_end = async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    tokio::pin!(asked_to_end);
    let mut joins = watch_workers(session)?;
    let before = joins.borrow().iter().map(|row| row.worker).max().unwrap_or(0);
    let text = std::fs::read(file).with_context(|| format!("read {}", file.display()))?;
    let (mut ends, mut holds) = (JoinSet::new(), Vec::new());
    for at in 0..hosts.len() {
        let count = hosts.len();
        let host = &mut hosts[at];
        match start(args, file, &text, host, count).await {
            Ok((hold, ended)) => {
                ends.spawn(async move { (at, ended.await) });
                holds.push(Some(hold));
            }
            Err(error) => {
                host.fate = Fate::Failed(format!("{error:#}"));
                holds.push(None);
            }
        }
    }
    let deadline = tokio::time::sleep(args.timeout);
    tokio::pin!(deadline);
    let mut asked = false;
    while hosts.iter().any(|host| host.fate == Fate::Awaited) {
        tokio::select! {
            () = &mut asked_to_end => {
                asked = true;
                break;
            }
            Some(ended) = ends.join_next() => {
                let (at, why) = ended?;
                hosts[at].fate = Fate::Failed(why);
            }
            Ok(()) = joins.changed() => note_joins(&mut hosts, &joins.borrow_and_update(), before),
            () = &mut deadline => break,
        }
    }
    drop(joins);
    for (host, hold) in hosts.iter_mut().zip(&mut holds) {
        if host.fate == Fate::Awaited {
            let within = args.timeout;
            let told = if asked {
                "interrupted".to_owned()
            } else {
                format!("it has not joined within {within:?}")
            };
            host.fate = Fate::Failed(told);
            drop(hold.take());
        }
    }
    report(context, &hosts)?;
    let well = hosts.iter().all(|host| matches!(host.fate, Fate::Joined(_)));
    if args.detach && !asked {
        for (host, hold) in hosts.iter().zip(holds.iter_mut().map(Option::take)) {
            if let (Fate::Joined(_), Some(hold)) = (&host.fate, hold) {
                let left = hold.let_go().await;
                left.with_context(|| format!("leave the worker on {}", host.name))?;
            }
        }
    } else if !asked {
        tokio::select! {
            () = &mut asked_to_end => {}
            () = async { while ends.join_next().await.is_some() {} } => {}
        }
    }
    // The end of its input is a worker's.
    drop(holds);
    let rest = async { while ends.join_next().await.is_some() {} };
    if tokio::time::timeout(SIGNAL_DRAIN + END, rest).await.is_err() {
        eprintln!("scalems: some workers do not end, and their connections are cut");
    }
    Ok(if well { Exit::Well } else { Exit::Failed })
}

fn report(context: &Context, hosts: &[Host]) -> anyhow::Result<()> {
    let row = |host: &Host| {
        let (state, worker, reason) = match &host.fate {
            Fate::Joined(worker) => ("joined", Some(*worker), None),
            Fate::Failed(why) => ("failed", None, Some(why.clone())),
            Fate::Awaited => ("awaited", None, None),
        };
        Row {
            host: host.name.clone(),
            state,
            worker,
            reason,
        }
    };
    let rows: Vec<Row> = hosts.iter().map(row).collect();
    print::rows(
        context.output,
        &["host", "state", "worker", "reason"],
        &rows,
        |row| {
            vec![
                row.host.clone(),
                row.state.to_owned(),
                row.worker.map(|worker| worker.to_string()).unwrap_or_default(),
                row.reason.clone().unwrap_or_default(),
            ]
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str) -> Host {
        Host {
            name: name.to_owned(),
            called: ssh::without_user(name).to_owned(),
            fate: Fate::Awaited,
        }
    }

    fn row(worker: u64, name: &str) -> WorkerRow {
        WorkerRow {
            worker,
            name: name.to_owned(),
            host: "h".to_owned(),
            pid: 1,
            state: "active".to_owned(),
            resources: Vec::new(),
            fractions: Vec::new(),
            leases: (0, 0),
            ended: 0,
            silent_ms: 0,
            beats: (0, 0),
            left_ms: None,
            place: None,
            requested_by: None,
        }
    }

    #[test]
    fn workers_are_known_by_the_names_of_their_hosts() {
        let mut hosts = [host("me@n1"), host("n1"), host("n2"), host("n3")];
        let rows = [
            row(3, "n1"),
            row(4, "n2"),
            row(6, "n1-6"),
            row(7, "x"),
            row(8, "n1-8"),
        ];
        note_joins(&mut hosts, &rows, 3);
        let fates: Vec<&Fate> = hosts.iter().map(|host| &host.fate).collect();
        assert_eq!(
            fates,
            [
                &Fate::Joined(6),
                &Fate::Joined(8),
                &Fate::Joined(4),
                &Fate::Awaited
            ],
            "that of before is nobody's"
        );
        note_joins(&mut hosts, &rows, 3);
        assert_eq!(hosts[3].fate, Fate::Awaited, "each counts once");
    }

    /// Runs the other side's script with something in the program's place. The end of its input comes at once, or after its own end.
    fn there(program: &str, kept: &str, input: (&str, bool), near: &str) -> (i32, String, String) {
        use std::io::Write as _;
        let directory = tempfile::tempdir().unwrap();
        let stub = directory.path().join("scalems");
        std::fs::write(&stub, format!("#!/bin/sh\n{program}\n")).unwrap();
        let mut chmod = std::process::Command::new("chmod");
        assert!(chmod.arg("+x").arg(&stub).status().unwrap().success());
        let line = ssh::line(START, &["4", near, stub.to_str().unwrap(), kept, "--name=a b"]).unwrap();
        let mut child = std::process::Command::new("sh")
            .args(["-c", &line])
            .env("TMPDIR", directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.0.as_bytes()).unwrap();
        let _held = input.1.then_some(stdin);
        let output = child.wait_with_output().unwrap();
        let left = std::fs::read_dir(directory.path()).unwrap().count();
        assert_eq!(left, 1, "only the stub is left");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.code().unwrap_or(-1),
            text(&output.stdout),
            text(&output.stderr),
        )
    }

    #[test]
    fn the_other_side_has_the_file_for_itself_and_ends_with_its_input() {
        let (code, _, said) = there(
            "cat \"$4\"; stat -c %a \"$4\"; echo \"$5\"",
            "no",
            ("{..}", true),
            "/no",
        );
        assert_eq!((code, said.as_str()), (0, "{..}600\n--name=a b\n"));
        // Its input has ended: it is told to end.
        let (code, _, _) = there("exec tail -f /dev/null", "no", ("{..}", false), "/no");
        assert_eq!(code, 143, "by SIGTERM");
        let (code, out, _) = there("sleep 0.5; exit 5", "yes", ("{..}stay\n", false), "/no");
        assert_eq!((code, out.as_str()), (5, "stays\n"), "it was left alone");
        let (_, _, said) = there("echo because; exit 1", "yes", ("{..}", true), "/no");
        assert_eq!(said, "because\n", "what it said is told when it fails");
    }

    #[test]
    fn the_other_side_uses_the_pilots_own_file_where_it_sees_it() {
        let directory = tempfile::tempdir().unwrap();
        let near = directory.path().join("worker.json");
        std::fs::write(&near, "{..}").unwrap();
        let near = near.to_str().unwrap();
        let (_, _, said) = there("echo \"$4\"", "no", ("{..}", true), near);
        assert_eq!(said.trim(), near);
        let (_, _, said) = there("echo \"$4\"", "no", ("{,,}", true), near);
        assert_ne!(said.trim(), near, "it is another pilot's");
    }
}
