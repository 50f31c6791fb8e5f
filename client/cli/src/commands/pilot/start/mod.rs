//! `scalems pilot start`: the agent in this process, its workers as processes of their own, so that the
//! death of one is not the death of another.

mod job;
mod parent;
mod workers;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use scalems_agent::bus::BusHandle;
use scalems_agent::pilot::{JOURNAL, Journaling, Pilot, PilotOptions};
use scalems_client::locate;
use scalems_protocol::Role;
use scalems_transport::ConnectionFile;
use tokio::signal::unix::{SignalKind, signal};

use self::workers::{LocalWorker, shares};
use crate::Context;
use crate::args::{Output, PilotStartArgs};
use crate::exit::Exit;

/// A pilot without a name has this one.
pub(crate) const DEFAULT_NAME: &str = "default";
/// How long a pilot that is started behind may take to serve.
const START: Duration = Duration::from_secs(20);
/// After being told to end, a worker has its drain time and this.
const WORKER_END: Duration = Duration::from_secs(10);

/// How a signal's drain is bounded: the first one lets running tasks end for so long.
const SIGNAL_DRAIN: Duration = Duration::from_secs(10);

/// What is kept of the time before a job's end for ending programs and closing the journal.
const CLOSING: Duration = Duration::from_secs(20);

pub(crate) fn run(context: &Context, args: &PilotStartArgs) -> anyhow::Result<Exit> {
    let name = args
        .name
        .as_deref()
        .or(context.pilot.as_deref())
        .unwrap_or(DEFAULT_NAME);
    let directory = match &args.dir {
        Some(dir) => std::path::absolute(dir)?,
        None => locate::pilot_directory(name)?,
    };
    if args.batch.is_some() || args.restart {
        anyhow::ensure!(
            args.detach || journaling(args, &directory) != Journaling::None,
            "without a journal there is nothing that an agent could be started again from: leave out --restart, --batch or \
             --journal none"
        );
    }
    if let Some(batch) = args.batch {
        return job::run(batch.into(), args, &directory);
    }
    if args.detach {
        return behind(context, name, &directory);
    }
    if args.restart {
        return parent::run(own_words(&[("--restart", false)]), &directory);
    }
    let pilot = Pilot::open(&options(args, name, &directory))?;
    if nix::unistd::geteuid().is_root() {
        eprintln!("scalems: running as root: whoever gets the client's key is root here");
    }
    let handle = pilot.handle();
    let before = pilot.before();
    let worker_file = pilot.directory().join(ConnectionFile::file_name(Role::Worker));
    let journaled = journaling(args, &directory) != Journaling::None;
    // It is told of an end in order. After a failure, or a panic, another agent can go on from the journal.
    let (done, ended) = tokio::sync::oneshot::channel();
    let bus = std::thread::Builder::new()
        .name("scalems-bus".into())
        .spawn(move || {
            let result = pilot.run();
            // If nobody listens any more, the other side has ended first, by an error of its own.
            if result.is_ok() || !journaled {
                let _told = done.send(());
            }
            result
        })?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let count = if args.no_workers { 0 } else { args.workers };
    let workers = runtime.block_on(serve(args, &worker_file, count, handle, ended, || {
        announce(context, name, &directory, before);
    }));
    let ended = bus
        .join()
        .map_err(|_| anyhow::anyhow!("the bus thread panicked"))?;
    ended?;
    workers?;
    Ok(Exit::Well)
}

fn options(args: &PilotStartArgs, name: &str, directory: &Path) -> PilotOptions {
    let host = |address: std::net::IpAddr| {
        if address.is_unspecified() {
            scalems_agent::host_name()
        } else {
            address.to_string()
        }
    };
    PilotOptions {
        ipc: !args.tcp_only,
        tcp: args.tcp.map(|address| (address, host(address))),
        journal: journaling(args, directory),
        expected_workers: if args.no_workers { 0 } else { args.workers },
        open_to_workers: !args.closed,
        // A few beats fit into the time after which silence means that a worker is lost.
        beat_ms: args.agent.beat.min(args.agent.lost_after / 5).as_millis().max(1) as u64,
        lost_ms: args.agent.lost_after.as_millis() as u64,
        orphan_ms: args.agent.orphan_time.as_millis() as u64,
        retain_ms: args.agent.retain.as_millis() as u64,
        ..PilotOptions::new(name, directory)
    }
}

fn journaling(args: &PilotStartArgs, directory: &Path) -> Journaling {
    let path = match &args.agent.journal {
        Some(path) if path.as_os_str() == "none" => return Journaling::None,
        Some(path) => path.clone(),
        None => directory.join(JOURNAL),
    };
    if args.agent.accept_loss {
        Journaling::AcceptLoss(path)
    } else if args.agent.resume {
        Journaling::Resume(path)
    } else if args.agent.fresh {
        Journaling::Fresh(path)
    } else {
        Journaling::Keep(path)
    }
}

fn announce(context: &Context, name: &str, directory: &Path, before: Option<u64>) {
    match context.output {
        Output::Human => {
            println!("pilot {name} serves; its directory is {}", directory.display());
            if let Some(before) = before {
                println!(
                    "it goes on from its journal, with {before} submissions of before (a new one: --fresh)"
                );
            }
            println!("submit with: scalems submit --wait -- echo hello");
            println!("end it with Ctrl-C, or: scalems pilot stop --pilot {name}");
        }
        Output::Quiet => println!("{name}"),
        Output::Json | Output::Jsonl => {
            println!(
                "{}",
                serde_json::json!({
                    "pilot": name, "directory": directory, "pid": std::process::id(), "submissions": before
                })
            );
        }
    }
}

/// Looks after signals and workers until the bus has ended.
async fn serve(
    args: &PilotStartArgs,
    file: &Path,
    count: u32,
    handle: BusHandle,
    mut bus_ended: tokio::sync::oneshot::Receiver<()>,
    announce: impl FnOnce(),
) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut warning = signal(SignalKind::user_defined1())?;
    // From Grid Engine, which is about to end the job.
    let mut ended_soon = signal(SignalKind::user_defined2())?;
    // Whoever reads that it serves may end it by a signal at once.
    announce();
    let cpus = shares(args, count)?;
    let mut workers = tokio::task::JoinSet::new();
    let local = tokio::task::LocalSet::new();
    let (ending, told) = tokio::sync::watch::channel(false);
    for (number, cpus) in (1..=count).zip(cpus) {
        let worker = LocalWorker::new(args, file, number, cpus.as_deref());
        workers.spawn_local_on(worker.keep(told.clone()), &local);
    }
    let ended = async {
        let mut signals = 0;
        loop {
            tokio::select! {
                _ = terminate.recv() => signals += 1,
                _ = interrupt.recv() => signals += 1,
                _ = ended_soon.recv() => signals += 1,
                _ = hangup.recv() => continue,
                _ = warning.recv() => {
                    handle.stop(args.warning.saturating_sub(CLOSING));
                    continue;
                }
                ended = &mut bus_ended => return ended,
            }
            handle.stop(if signals == 1 {
                SIGNAL_DRAIN
            } else {
                Duration::ZERO
            });
        }
    };
    if local.run_until(ended).await.is_err() {
        // The next agent goes on with them, as after a death: they are neither told to end nor killed.
        std::mem::forget((workers, local));
        return Ok(());
    }
    // The agent told the workers to end that had joined; the others hear it now. They are given the time for
    // it, then killed with their handles.
    ending.send_replace(true);
    let all = async { while workers.join_next().await.is_some() {} };
    let gone = local.run_until(tokio::time::timeout(WORKER_END, all)).await;
    anyhow::ensure!(
        gone.is_ok(),
        "a worker of this pilot did not end within {WORKER_END:?} and was killed"
    );
    Ok(())
}

/// The words of this command, but for these options; those with a value may have it behind `=` or as the next word.
fn own_words(without: &[(&str, bool)]) -> Vec<OsString> {
    let mut words = std::env::args_os().skip(1);
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        let is = |name: &str| {
            let behind = word.as_encoded_bytes().strip_prefix(name.as_bytes());
            behind.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"="))
        };
        match without.iter().find(|(name, _)| is(name)) {
            Some((name, true)) if word == *name => drop(words.next()),
            Some(_) => {}
            None => kept.push(word),
        }
    }
    kept
}

/// This program's file, also when it was replaced on disk meanwhile.
pub(crate) fn own_program() -> std::io::Result<PathBuf> {
    let path = std::env::current_exe()?;
    Ok(if path.exists() {
        path
    } else {
        PathBuf::from("/proc/self/exe")
    })
}

/// Starts the same command without `--detach` in a session of its own, and waits until it serves.
fn behind(context: &Context, name: &str, directory: &Path) -> anyhow::Result<Exit> {
    use std::os::unix::process::CommandExt;
    let directory = scalems_transport::PrivateDir::ensure(directory)?;
    let log = directory.path().join("agent.log");
    let file = std::fs::OpenOptions::new().create(true).append(true).open(&log);
    let file = file.with_context(|| format!("open {}", log.display()))?;
    let args = own_words(&[("--detach", false)]);
    let mut command = std::process::Command::new(own_program()?);
    command
        .args(args)
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file);
    // SAFETY: between fork and exec only setsid is called, which is async-signal-safe.
    unsafe {
        command.pre_exec(|| nix::unistd::setsid().map(drop).map_err(std::io::Error::from));
    }
    let before = std::fs::metadata(&log).map_or(0, |facts| facts.len());
    let path = directory.path().join(ConnectionFile::file_name(Role::Client));
    let agent_before = ConnectionFile::read(&path).ok().map(|file| file.pid);
    let mut child = command.spawn().context("start the pilot")?;
    let until = Instant::now() + START;
    loop {
        if let Some(status) = child.try_wait()? {
            let text = std::fs::read(&log).unwrap_or_default();
            let told = String::from_utf8_lossy(text.get(before as usize..).unwrap_or_default()).into_owned();
            anyhow::bail!("the pilot ended at once ({status}): {}", told.trim());
        }
        // With a parent that starts it again the agent is not our own child.
        if ConnectionFile::read(&path).is_ok_and(|file| Some(file.pid) != agent_before) {
            break;
        }
        anyhow::ensure!(
            Instant::now() < until,
            "the pilot does not serve after {START:?}; see {}",
            log.display()
        );
        std::thread::sleep(Duration::from_millis(2));
    }
    match context.output {
        Output::Human => println!(
            "pilot {name} runs behind (process {}); log: {}",
            child.id(),
            log.display()
        ),
        Output::Quiet => println!("{name}"),
        Output::Json | Output::Jsonl => {
            let directory = directory.path();
            println!(
                "{}",
                serde_json::json!({"pilot": name, "directory": directory, "pid": child.id(), "log": log})
            );
        }
    }
    Ok(Exit::Well)
}
