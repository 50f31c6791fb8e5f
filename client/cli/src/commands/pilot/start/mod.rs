//! `scalems pilot start`: the agent in this process, its workers as processes of their own, so that the
//! death of one is not the death of another.

mod filters;
mod job;
mod parent;
mod starter;
mod time;
mod workers;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use scalems_agent::bus::BusHandle;
use scalems_agent::logging::{self, Limit};
use scalems_agent::pilot::{JOURNAL, Journaling, Pilot, PilotOptions, Quota};
use scalems_client::locate;
use scalems_protocol::Role;
use scalems_protocol::filter::Rule;
use scalems_transport::ConnectionFile;
use scalems_transport::connection_file::Writer;
use tokio::signal::unix::{SignalKind, signal};

use self::starter::{Ground, NodeRoom, Slots, Starter};
use self::time::WorkerTime;
use self::workers::{Keeper, cpus_here, list, shares};
use crate::Context;
use crate::args::{LogArgs, Output, PilotStartArgs};
use crate::commands::filter::FilterFile;
use crate::exit::{Exit, Misuse};
use crate::metrics::Metrics;
use crate::on_event::{Event, Hooks, Kind, Whose};

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
    let log = |name| args.each.log.go_on(&directory, name, Limit::AGENT);
    let whose = Whose::new(name, &directory);
    let hooks = |starts| Hooks::start(&args.agent.on_event, &whose, starts);
    if let Some(batch) = args.batch {
        scalems_transport::PrivateDir::ensure(&directory)?;
        let _files = log("parent");
        let hooks = hooks(true)?;
        // A port that is taken is no reason to let a job go.
        let _metrics = metrics(args, &directory).unwrap_or_else(|error| {
            tracing::error!("nobody is told metrics: {error:#}");
            None
        });
        let ended = job::run(batch.into(), args, &directory, &hooks);
        hooks.end(parent::last_event(&ended));
        return ended;
    }
    for command in &args.agent.on_event {
        command.check().map_err(Misuse)?;
    }
    if args.detach {
        return behind(context, name, &directory, &args.each.log);
    }
    if args.restart {
        scalems_transport::PrivateDir::ensure(&directory)?;
        let _files = log("parent");
        let life = own_words(&[
            ("--restart", false),
            ("--ends-with-job", false),
            ("--on-event", true),
            ("--metrics", false),
            ("--metrics-public", false),
        ]);
        let _metrics = metrics(args, &directory)?;
        let hooks = hooks(true)?;
        let ended = parent::run(life, &directory, args.ends_with_job, &hooks);
        hooks.end(parent::last_event(&ended));
        return ended;
    }
    let filters = FilterFile::read_all(&args.agent.filter)?;
    let rules = filters.iter().map(|filter| filter.rule.clone()).collect();
    let pilot = Pilot::open(&options(args, name, &directory, rules))?;
    if nix::unistd::geteuid().is_root() {
        eprintln!("scalems: running as root: whoever gets the client's key is root here");
    }
    let _files = log("agent");
    let before = pilot.before();
    tracing::info!(
        pilot = name,
        pid = std::process::id(),
        submissions_of_before = before,
        "the agent serves"
    );
    let metrics = metrics_of(args, &directory)?;
    let hooks = hooks(false)?;
    let message = format!("the agent of pilot {name} serves");
    hooks.tell(Event::now(
        Kind::AgentStarted,
        std::process::id().to_string(),
        message,
    ));
    let ended = here(args, &directory, pilot, &hooks, || {
        announce(context, name, &directory, before, metrics.as_ref());
    });
    hooks.end(parent::last_event(&ended));
    ended
}

/// Runs the agent in this process, and keeps its workers, until the pilot has ended.
fn here(
    args: &PilotStartArgs,
    directory: &Path,
    pilot: Pilot,
    hooks: &Hooks,
    announce: impl FnOnce(),
) -> anyhow::Result<Exit> {
    let handle = pilot.handle();
    let worker_file = pilot.directory().join(ConnectionFile::file_name(Role::Worker));
    let journaled = journaling(args, directory) != Journaling::None;
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
    let workers = runtime.block_on(serve(args, &worker_file, count, handle, ended, hooks, announce));
    let ended = bus
        .join()
        .map_err(|_| anyhow::anyhow!("the bus thread panicked"))?;
    ended?;
    workers?;
    Ok(Exit::Well)
}

fn options(args: &PilotStartArgs, name: &str, directory: &Path, filters: Vec<Rule>) -> PilotOptions {
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
        // Filters join as workers do.
        expected_workers: if args.no_workers { 0 } else { args.workers } + filters.len() as u32,
        open_to_workers: !args.closed,
        quota: Quota {
            most: args.agent.max_workers,
            overcommit: args.agent.overcommit,
            starter: !args.closed,
        },
        // A few beats fit into the time after which silence means that a worker is lost.
        beat_ms: args.agent.beat.min(args.agent.lost_after / 5).as_millis().max(1) as u64,
        lost_ms: args.agent.lost_after.as_millis() as u64,
        orphan_ms: args.agent.orphan_time.as_millis() as u64,
        retain_ms: args.agent.retain.as_millis() as u64,
        filters,
        warning: args.batch.map(|_| args.warning),
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

/// Tells metrics in this process, which outlives the agent, if that is wanted and no other agent is here already.
fn metrics(args: &PilotStartArgs, directory: &Path) -> anyhow::Result<Option<Metrics>> {
    let file = ConnectionFile::read(&directory.join(ConnectionFile::file_name(Role::Client)));
    let taken = file.is_ok_and(|file| file.writer(&scalems_agent::host_name()) == Writer::Running);
    if taken {
        return Ok(None);
    }
    metrics_of(args, directory)
}

fn metrics_of(args: &PilotStartArgs, directory: &Path) -> anyhow::Result<Option<Metrics>> {
    let wanted = &args.agent.metrics;
    let start = |address| Metrics::of_pilot(address, wanted.metrics_public, directory);
    wanted.metrics.map(start).transpose()
}

fn announce(context: &Context, name: &str, directory: &Path, before: Option<u64>, metrics: Option<&Metrics>) {
    match context.output {
        Output::Human => {
            println!("pilot {name} serves; its directory is {}", directory.display());
            if let Some(before) = before {
                println!(
                    "it goes on from its journal, with {before} submissions of before (a new one: --fresh)"
                );
            }
            if let Some(metrics) = metrics {
                println!(
                    "metrics are at {}, for the token in {}",
                    metrics.url(),
                    metrics.token_file.display()
                );
            }
            println!("submit with: scalems submit --wait -- echo hello");
            println!("end it with Ctrl-C, or: scalems pilot stop --pilot {name}");
        }
        Output::Quiet => println!("{name}"),
        Output::Json | Output::Jsonl => {
            let mut said = serde_json::json!({
                "pilot": name, "directory": directory, "pid": std::process::id(), "submissions": before
            });
            if let Some(metrics) = metrics {
                said["metrics"] = metrics.url().into();
            }
            println!("{said}");
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
    hooks: &Hooks,
    announce: impl FnOnce(),
) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut warning = signal(SignalKind::user_defined1())?;
    // From Grid Engine, which is about to end the job.
    let mut ended_soon = signal(SignalKind::user_defined2())?;
    let mut left_alone = args.ends_with_stdin.then(end_of_stdin).transpose()?;
    // Whoever reads that it serves may end it by a signal at once.
    announce();
    let local = tokio::task::LocalSet::new();
    let (ending, told) = tokio::sync::watch::channel(false);
    let starter = local
        .run_until(async { keepers(args, file, count, told.clone()) })
        .await?;
    let filters = filters::keep(&local, args, file, &told)?;
    let workers = local.spawn_local(starter.run(!args.closed && !args.starts_elsewhere));
    let ended = async {
        let mut signals = 0;
        loop {
            tokio::select! {
                _ = terminate.recv() => signals += 1,
                _ = interrupt.recv() => signals += 1,
                _ = ended_soon.recv() => signals += 1,
                _ = hangup.recv() => continue,
                // Nobody waits for what runs.
                () = alone(&mut left_alone) => signals += 2,
                _ = warning.recv() => {
                    hooks.tell(parent::nearly_over());
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
        std::mem::forget((workers, filters, local));
        return Ok(());
    }
    // The agent told the workers to end that had joined; the others hear it now. They are given the time for it, then killed.
    ending.send_replace(true);
    local.run_until(filters::ended(filters)).await;
    let gone = local
        .run_until(tokio::time::timeout(3 * WORKER_END, workers))
        .await;
    // Also where not all of them are seen to have ended.
    starter::forget(file.parent().unwrap_or(Path::new(".")));
    match gone {
        Ok(killed) => anyhow::ensure!(
            !killed?,
            "a worker of this pilot did not end within {WORKER_END:?} and was killed"
        ),
        Err(_) => anyhow::bail!("a worker of this pilot does not end, though it was killed"),
    }
    Ok(())
}

/// Says when standard input has ended. A thread of its own: reading it cannot be called off otherwise.
fn end_of_stdin() -> anyhow::Result<tokio::sync::oneshot::Receiver<()>> {
    let (done, ended) = tokio::sync::oneshot::channel();
    std::thread::Builder::new()
        .name("scalems-stdin".into())
        .spawn(move || {
            let read = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
            if let Err(error) = read {
                eprintln!(
                    "scalems: standard input cannot be read ({error}): the pilot ends as if it were over"
                );
            }
            // If nobody listens any more, the pilot has ended first.
            let _told = done.send(());
        })?;
    Ok(ended)
}

/// Waits until standard input has ended, once; for ever if the pilot does not end with it.
async fn alone(ended: &mut Option<tokio::sync::oneshot::Receiver<()>>) {
    match ended {
        Some(receiver) => {
            // The thread sends in any case, and a panic of it is an end too.
            let _over = receiver.await;
            *ended = None;
        }
        None => std::future::pending().await,
    }
}

/// Who keeps the workers of this host, and starts more of them.
fn keepers(
    args: &PilotStartArgs,
    file: &Path,
    count: u32,
    told: tokio::sync::watch::Receiver<bool>,
) -> anyhow::Result<Starter> {
    let host = scalems_agent::host_name();
    let cpus = cpus_here()?;
    let (own, gpus) = (u64::from(args.cores.unwrap_or(0)), args.gpus.unwrap_or(0));
    // What it was told to offer it has, whatever is found.
    let found = std::thread::available_parallelism().map_or(1, |found| found.get() as u64);
    let node = NodeRoom {
        cores: Some(found.max(own * u64::from(count))),
        gpu_count: u64::from(gpus) * u64::from(count),
        memory_mib: scalems_agent::worker::memory_mib()
            .map(|found| found.max(args.memory.unwrap_or(0) * u64::from(count))),
        cpus: cpus.clone(),
        gpus: (0..gpus * count).collect(),
    };
    let directory = file.parent().unwrap_or(Path::new("."));
    let ground = Ground::Here {
        file: file.to_owned(),
        logs: args.each.words()?,
    };
    let nodes = [(host.clone(), node.clone())].into();
    let mut starter = Starter::new(directory, ground, nodes, told);
    if args.agent.resume && starter.go_on() {
        return Ok(starter);
    }
    // What was noted is of a pilot that was here before, or can be taken up by nobody: a later life of this one is not to find it.
    starter::forget(directory);
    for (number, share) in (1..=count).zip(shares(&cpus, args.cores, count)) {
        let place = number.to_string();
        let name = if number == 1 {
            host.clone()
        } else {
            format!("{host}-{number}")
        };
        let noted = directory.join("workers").join(&place);
        let mut words: Vec<OsString> = vec![own_program()?.into()];
        words.extend(workers::words(args, file)?);
        if count > 1 {
            words.extend(["--part".into(), format!("{number}/{count}").into()]);
        }
        words.extend([
            "--name".into(),
            name.clone().into(),
            "--place".into(),
            place.clone().into(),
        ]);
        words.extend(["--note".into(), noted.clone().into()]);
        if let Some(share) = &share {
            words.extend(["--cpus".into(), list(share).into()]);
        }
        let slots = Slots {
            // A worker that is told how many only has the first ones.
            cpus: share.unwrap_or_else(|| match args.cores {
                Some(cores) => cpus.iter().take(cores as usize).copied().collect(),
                None => cpus.clone(),
            }),
            gpus: (gpus * (number - 1)..gpus * number).collect(),
        };
        if gpus > 0 && count > 1 {
            words.extend(["--gpu-slots".into(), list(&slots.gpus).into()]);
        }
        let cores = args.cores.map_or(slots.cpus.len() as u64, u64::from);
        let offer = node.offer(cores, u64::from(gpus), args.memory);
        let keeper = Keeper {
            name,
            words,
            time: WorkerTime::default(),
            launch: None,
            note: Some(noted),
            log: None,
            resumes: args.agent.resume,
            patient: false,
        };
        starter.begin(place, host.clone(), offer, slots, Some(keeper));
    }
    Ok(starter)
}

/// The words of this command, but for these options; those with a value may have it behind `=` or as the next word.
pub(crate) fn own_words(without: &[(&str, bool)]) -> Vec<OsString> {
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
fn behind(context: &Context, name: &str, directory: &Path, log: &LogArgs) -> anyhow::Result<Exit> {
    use std::os::unix::process::CommandExt;
    let mut args = own_words(&[("--detach", false), ("--log-to", true)]);
    // It does not see that nobody sees what it says.
    let to = LogArgs {
        to: log.to,
        ..LogArgs::default()
    };
    args.extend(to.words());
    let directory = scalems_transport::PrivateDir::ensure(directory)?;
    let log = directory.path().join("agent.log");
    logging::keep_small(&log, Limit::AGENT.bytes)?;
    let file = std::fs::OpenOptions::new().create(true).append(true).open(&log);
    let file = file.with_context(|| format!("open {}", log.display()))?;
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
