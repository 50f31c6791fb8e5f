//! `scalems worker …`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use nix::fcntl::{Flock, FlockArg};
use scalems_agent::batch::{Kind, Leading, Share};
use scalems_agent::worker::{self, Connection, EndReason, Stopper, WorkerOptions};
use scalems_client::locate;
use scalems_protocol::Role;
use scalems_transport::{ConnectionFile, PrivateDir};
use tokio::signal::unix::{SignalKind, signal};

use super::connect;
use crate::Context;
use crate::args::{WorkerCommand, WorkerStartArgs};
use crate::exit::Exit;
use crate::print;

/// The first signal lets running tasks end for so long.
const SIGNAL_DRAIN: Duration = Duration::from_secs(10);

pub(crate) fn run(context: &Context, command: WorkerCommand) -> anyhow::Result<Exit> {
    match command {
        WorkerCommand::Start(args) => start(context, &args),
        WorkerCommand::List => list(context),
        WorkerCommand::Info { worker } => info(context, worker),
        WorkerCommand::Stop { worker, drain } => {
            connect(context)?.stop(Some(worker), drain)?;
            Ok(Exit::Well)
        }
    }
}

fn list(context: &Context) -> anyhow::Result<Exit> {
    let rows = connect(context)?.ask_workers()?;
    let head = [
        "worker",
        "name",
        "host",
        "process",
        "state",
        "resources",
        "ahead",
        "running",
        "ended",
        "time left",
    ];
    print::rows(context.output, &head, &rows, |row| {
        vec![
            row.worker.to_string(),
            row.name.clone(),
            row.host.clone(),
            row.pid.to_string(),
            row.state.clone(),
            print::resources(&row.resources),
            row.leases.0.to_string(),
            row.leases.1.to_string(),
            row.ended.to_string(),
            row.left_ms.map_or_else(String::new, print::time),
        ]
    })?;
    Ok(Exit::Well)
}

fn info(context: &Context, number: u64) -> anyhow::Result<Exit> {
    let rows = connect(context)?.ask_workers()?;
    let Some(row) = rows.into_iter().find(|row| row.worker == number) else {
        anyhow::bail!("the pilot has no worker {number}; `scalems worker list` shows them");
    };
    let lines = [
        ("worker", row.worker.to_string()),
        ("name", row.name.clone()),
        ("host", row.host.clone()),
        ("process", row.pid.to_string()),
        ("state", row.state.clone()),
        ("resources", print::resources(&row.resources)),
        (
            "leases",
            format!("{} ahead, {} running", row.leases.0, row.leases.1),
        ),
        ("ended", format!("{} tasks", row.ended)),
        (
            "time left",
            row.left_ms
                .map_or_else(|| "no end is known".to_owned(), print::time),
        ),
        ("heard", format!("{} ago", print::time(row.silent_ms))),
        (
            "beats",
            format!("{} equal, {} different", row.beats.0, row.beats.1),
        ),
    ];
    print::one(context.output, &row, &lines)?;
    Ok(Exit::Well)
}

fn start(context: &Context, args: &WorkerStartArgs) -> anyhow::Result<Exit> {
    let file = match &args.connection {
        Some(path) if path.is_dir() => path.join(ConnectionFile::file_name(Role::Worker)),
        Some(path) => path.clone(),
        None => locate::find(context.pilot.as_deref())?
            .path
            .with_file_name(ConnectionFile::file_name(Role::Worker)),
    };
    if let Some(list) = &args.cpus {
        pin(list)?;
    }
    let place = args.batch.map(|_| only_one_here(&file)).transpose()?;
    if matches!(place, Some(None)) {
        eprintln!(
            "scalems: a worker of this pilot runs on {} already",
            scalems_agent::host_name()
        );
        return Ok(Exit::Well);
    }
    let directory = match (&args.dir, file.parent()) {
        (Some(dir), _) => dir.clone(),
        (None, Some(parent)) => parent.join("tasks"),
        (None, None) => "tasks".into(),
    };
    let options = WorkerOptions {
        name: args.name.clone(),
        cores: args.cores,
        gpus: args.gpus.unwrap_or(0),
        memory_mib: args.memory,
        // One that the pilot's job launches has all that the job has here.
        share: args
            .batch
            .map_or_else(Share::default, |batch| Kind::from(batch).system().share()),
        // What runs is asked to end before the time is over.
        time_limit: args.time_limit.map(|limit| match args.batch {
            Some(_) => limit,
            None => limit.saturating_sub(SIGNAL_DRAIN),
        }),
        ..WorkerOptions::new(Connection::File(file.clone()), directory)
    };
    let (stopper, signal_in) = Stopper::pair()?;
    let bus = std::thread::Builder::new()
        .name("scalems-worker".into())
        .spawn(move || worker::run(&options, signal_in))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (done, ended) = tokio::sync::oneshot::channel();
    let waiter = std::thread::spawn(move || {
        let result = bus.join();
        // Nobody listens any more only when the signals' side has ended, which waits for this.
        let _sent = done.send(());
        result
    });
    // The end of a job is its batch system's, which may also put it off.
    let own_end = args.time_limit.filter(|_| args.batch.is_none());
    runtime.block_on(signals(&stopper, own_end, ended))?;
    let result = waiter
        .join()
        .and_then(|result| result)
        .map_err(|_| anyhow::anyhow!("the worker's thread panicked"))?;
    let reason = result?;
    drop(place);
    tracing::info!(?reason, "the worker has ended");
    if let (Some(batch), EndReason::Orphaned) = (args.batch, &reason) {
        end_headless_job(batch.into(), &file)?;
    }
    if let Some(note) = &args.note {
        // Best effort: what stays names a process that is gone.
        let _gone = std::fs::remove_file(note);
    }
    Ok(Exit::Well)
}

/// Ends the job that this worker is part of if the agent's node is none of its nodes any more: nobody else would, and it
/// would be paid for to its end.
fn end_headless_job(kind: Kind, connection: &Path) -> anyhow::Result<()> {
    let system = kind.system();
    let Some(id) = system.own_job() else {
        return Ok(());
    };
    let Some(leading) = connection.parent().and_then(Leading::read) else {
        return Ok(());
    };
    if leading.is_lost(&id, &system.look(&id)?) {
        let node = leading.node;
        eprintln!("scalems: job {id} has lost {node} with its agent, and no other came: the job is ended");
        system.cancel(&id)?;
    }
    Ok(())
}

/// Holds the place of this pilot's worker on this node. None: there is one, which was out of reach for a while.
fn only_one_here(connection: &Path) -> anyhow::Result<Option<Place>> {
    let user = nix::unistd::geteuid();
    let directory = PrivateDir::ensure(&Path::new("/tmp").join(format!("scalems-{user}")))?;
    let id = ConnectionFile::read(connection)?.pilot_id.to_string();
    let path = directory.path().join(format!("{}.worker", &id[..16]));
    let file = std::fs::File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .with_context(|| format!("open {}", path.display()))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(held) => Ok(Some(Place { path, _held: held })),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, errno)) => Err(errno).with_context(|| format!("lock {}", path.display())),
    }
}

/// The place of a worker on its node, as long as it runs.
struct Place {
    path: PathBuf,
    _held: Flock<std::fs::File>,
}

impl Drop for Place {
    fn drop(&mut self) {
        // Best effort: an empty file that nobody holds is in nobody's way.
        let _gone = std::fs::remove_file(&self.path);
    }
}

async fn signals(
    stopper: &Stopper,
    time_limit: Option<Duration>,
    mut ended: tokio::sync::oneshot::Receiver<()>,
) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    // What Grid Engine says before it ends what runs in a job, and before it stops it.
    let mut ending = signal(SignalKind::user_defined2())?;
    let mut stopping = signal(SignalKind::user_defined1())?;
    let over = tokio::time::sleep(time_limit.unwrap_or_default().saturating_sub(SIGNAL_DRAIN));
    tokio::pin!(over);
    let mut timed = time_limit.is_some();
    let mut count = 0;
    loop {
        tokio::select! {
            _ = terminate.recv() => count += 1,
            _ = interrupt.recv() => count += 1,
            _ = ending.recv() => count += 1,
            _ = stopping.recv() => continue,
            () = &mut over, if timed => {
                timed = false;
                if count == 0 {
                    stopper.stop(SIGNAL_DRAIN.min(time_limit.unwrap_or_default()));
                }
                continue;
            }
            _ = &mut ended => return Ok(()),
        }
        stopper.stop(if count == 1 { SIGNAL_DRAIN } else { Duration::ZERO });
    }
}

/// Keeps this process, and so its tasks, to some cores.
fn pin(list: &str) -> anyhow::Result<()> {
    let mut set = nix::sched::CpuSet::new();
    for part in list.split(',') {
        let (from, to, step) = scalems_protocol::select::read_range(part)
            .with_context(|| format!("{list:?} is no list of cores: write 0-3,8"))?;
        for cpu in (from..=to).step_by(step as usize) {
            set.set(cpu as usize).with_context(|| format!("core {cpu}"))?;
        }
    }
    nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &set)
        .with_context(|| format!("keep to cores {list}"))
}
