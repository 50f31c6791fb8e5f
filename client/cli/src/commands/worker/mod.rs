//! `scalems worker …`.

mod by_ssh;
mod request;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use nix::fcntl::{Flock, FlockArg};
use scalems_agent::batch::{Kind, Leading, Share};
use scalems_agent::logging::Limit;
use scalems_agent::worker::{self, Connection, EndReason, Machine, Part, Registrars, Stopper, WorkerOptions};
use scalems_client::locate;
use scalems_protocol::Role;
use scalems_transport::{ConnectionFile, PrivateDir};
use tokio::signal::unix::{SignalKind, signal};

use super::connect;
use crate::Context;
use crate::args::{WorkerCommand, WorkerDetectArgs, WorkerStartArgs};
use crate::exit::Exit;
use crate::print;

/// The first signal lets running tasks end for so long.
const SIGNAL_DRAIN: Duration = Duration::from_secs(10);

/// More CPUs and GPUs than any machine has.
const MOST: u64 = 1 << 16;

pub(crate) fn run(context: &Context, command: WorkerCommand) -> anyhow::Result<Exit> {
    match command {
        WorkerCommand::Start(args) => start(context, &args),
        WorkerCommand::Detect(args) => detect(context, &args),
        WorkerCommand::List => list(context),
        WorkerCommand::Info { worker } => info(context, worker),
        WorkerCommand::Request(args) => request::request(context, args.layout, None),
        WorkerCommand::Replace(args) => {
            request::request(context, args.layout, Some((args.worker, args.drain)))
        }
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
        "requested by",
    ];
    print::rows(context.output, &head, &rows, |row| {
        vec![
            row.worker.to_string(),
            row.name.clone(),
            row.host.clone(),
            row.pid.to_string(),
            row.state.clone(),
            print::resources(&row.resources, &row.fractions),
            row.leases.0.to_string(),
            row.leases.1.to_string(),
            row.ended.to_string(),
            row.left_ms.map_or_else(String::new, print::time),
            row.requested_by.clone().unwrap_or_default(),
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
        ("resources", print::resources(&row.resources, &row.fractions)),
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
        (
            "requested by",
            match (&row.requested_by, &row.place) {
                (Some(session), _) => format!("session {session}"),
                (None, Some(_)) => "nobody: it came with the pilot".to_owned(),
                (None, None) => "nobody: it was started by hand".to_owned(),
            },
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

/// What a worker here would offer.
fn detect(context: &Context, args: &WorkerDetectArgs) -> anyhow::Result<Exit> {
    let directory = args.dir.clone().unwrap_or_else(|| ".".into());
    let options = WorkerOptions {
        share: args
            .batch
            .map_or_else(Share::default, |batch| Kind::from(batch).system().share()),
        ..WorkerOptions::new(Connection::File(PathBuf::new()), std::path::absolute(directory)?)
    };
    let machine = Machine::of(&options)?;
    let how = if machine.pinned {
        "tasks are pinned to them"
    } else {
        "counted, shared with others"
    };
    let mut lines = vec![
        ("host", machine.host.clone()),
        (
            "cores",
            format!("{}: {} ({how})", machine.cpus.len(), numbers(&machine.cpus)),
        ),
        ("memory", format!("{} MiB", machine.memory_mib)),
    ];
    for (name, amount) in &machine.named {
        let unit = if name == worker::DISK { " MiB" } else { "" };
        lines.push((name, format!("{amount}{unit}")));
    }
    if machine.gpus.is_empty() {
        lines.push(("gpus", "none".to_owned()));
    }
    lines.extend(machine.gpus.iter().map(|offered| ("gpu", gpu(offered))));
    let near = |node: &worker::Node| {
        if node.gpus.is_empty() {
            format!("cores {}", numbers(&node.cpus))
        } else {
            format!("cores {}, GPUs {}", numbers(&node.cpus), numbers(&node.gpus))
        }
    };
    lines.extend(machine.nodes.iter().map(|node| ("near", near(node))));
    lines.extend(machine.notes.iter().map(|note| ("note", note.clone())));
    print::one(context.output, &machine, &lines)?;
    Ok(Exit::Well)
}

/// One GPU, in a line.
fn gpu(offered: &worker::Offered) -> String {
    let gpu = &offered.gpu;
    let maker = gpu.maker.map_or("of an unknown maker", worker::Maker::name);
    let mut text = format!("{}: {maker}", offered.number);
    if let Some(model) = &gpu.model {
        text = format!("{text} {model}");
    }
    if let Some(memory) = gpu.memory_mib {
        text = format!("{text}, {memory} MiB");
    }
    if let Some(maker) = gpu.maker {
        text = format!("{text}, {}={}", maker.variable(), gpu.id);
    }
    if let Some(bus) = &gpu.bus {
        text = format!("{text}, at {bus}");
    }
    text
}

/// Numbers as people write them: `0-3,8`.
fn numbers(numbers: &[u32]) -> String {
    let runs = numbers.chunk_by(|one, next| one + 1 == *next);
    let text = runs.filter_map(|run| match run {
        [] => None,
        [one] => Some(one.to_string()),
        [first, .., last] => Some(format!("{first}-{last}")),
    });
    text.collect::<Vec<_>>().join(",")
}

fn start(context: &Context, args: &WorkerStartArgs) -> anyhow::Result<Exit> {
    let file = match &args.connection {
        Some(path) if path.is_dir() => path.join(ConnectionFile::file_name(Role::Worker)),
        Some(path) => path.clone(),
        None => locate::find(context.pilot.as_deref())?
            .path
            .with_file_name(ConnectionFile::file_name(Role::Worker)),
    };
    if !args.ssh.is_empty() || args.ssh_file.is_some() {
        return by_ssh::run(context, args, &file);
    }
    if let Some(list) = &args.cpus {
        pin(list)?;
    }
    // One that the pilot's job launches has all that the job has here.
    let mut share = args
        .batch
        .map_or_else(Share::default, |batch| Kind::from(batch).system().share());
    if let Some(slots) = &args.cpu_slots
        && pin_slots(slots, share.cores)?
    {
        share.cores = None;
    }
    let own = args.place.as_deref().unwrap_or_default();
    let place = args
        .batch
        .map(|_| only_one_here(&file, share.node.as_deref(), own))
        .transpose()?;
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
    let named = args
        .name
        .as_deref()
        .or(share.node.as_deref())
        .or(args.place.as_deref())
        .map_or_else(scalems_agent::host_name, str::to_owned);
    let beside = file.parent().unwrap_or(Path::new("."));
    let _files = args
        .each
        .log
        .go_on(beside, &format!("worker-{named}"), Limit::WORKER);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let called = args.name.as_deref().or(share.node.as_deref());
    let delay = worker::join_delay(
        &called.map_or_else(scalems_agent::host_name, str::to_owned),
        args.among,
    );
    // Whoever ends it meanwhile ends nothing else.
    runtime.block_on(async { tokio::time::sleep(delay).await });
    let given = WorkerOptions::new(Connection::File(file.clone()), directory);
    // Beside the connection file, whatever directory tasks have.
    let log_directory = args.each.log_dir.clone();
    let log_directory = log_directory.unwrap_or_else(|| file.with_file_name("logs"));
    // The end of a job is its batch system's, which may also put it off; its own end is the worker's.
    let (own_end, job_end) = match args.batch {
        Some(_) => (args.own_limit, args.time_limit),
        None => (args.time_limit, None),
    };
    let options = WorkerOptions {
        log_directory,
        log_limit: args.each.log_limit.unwrap_or(given.log_limit),
        name: args.name.clone(),
        cores: args.cores,
        gpus: args.gpus,
        memory_mib: args.memory,
        disk_mib: args.disk,
        part: args.part.unwrap_or(Part::WHOLE),
        resources: args.resource.clone(),
        idle: args.idle_timeout,
        pythons: args.each.python.clone(),
        warm: args.each.warm.clone(),
        modes: Registrars {
            modules: args.each.mode_module.clone(),
            installed: args.each.installed_modes,
        },
        mpi: args.each.mpi.clone(),
        gpu_numbers: args.gpu_slots.as_deref().map(read_numbers).transpose()?,
        // The one that a node of a job begins with is known by the node.
        place: args.place.clone().or_else(|| share.node.clone()),
        share,
        // What runs is asked to end before the time is over.
        time_limit: job_end
            .into_iter()
            .chain(own_end.map(|limit| limit.saturating_sub(SIGNAL_DRAIN)))
            .min(),
        ..given
    };
    let (stopper, signal_in) = Stopper::pair()?;
    let bus = std::thread::Builder::new()
        .name("scalems-worker".into())
        .spawn(move || worker::run(&options, signal_in))?;
    let (done, ended) = tokio::sync::oneshot::channel();
    let waiter = std::thread::spawn(move || {
        let result = bus.join();
        // Nobody listens any more only when the signals' side has ended, which waits for this.
        let _sent = done.send(());
        result
    });
    runtime.block_on(signals(&stopper, own_end, ended))?;
    let result = waiter
        .join()
        .and_then(|result| result)
        .map_err(|_| anyhow::anyhow!("the worker's thread panicked"))?;
    let reason = result?;
    drop(place);
    tracing::info!(?reason, "the worker has ended");
    if reason == EndReason::Idle {
        eprintln!("scalems: the worker has ended: {reason}");
    }
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

/// Holds a place of this pilot's workers on this node, the one that it begins with or one of its `own`. None: there is one, which was
/// out of reach for a while.
fn only_one_here(connection: &Path, node: Option<&str>, own: &str) -> anyhow::Result<Option<Place>> {
    let user = nix::unistd::geteuid();
    let directory = PrivateDir::ensure(&Path::new("/tmp").join(format!("scalems-{user}")))?;
    let id = ConnectionFile::read(connection)?.pilot_id.to_string();
    // A host may be several nodes, by other names than its own.
    let host = scalems_agent::host_name();
    let node = node.filter(|node| *node != host && host.split('.').next() != Some(*node));
    let node = node
        .into_iter()
        .chain(Some(own).filter(|own| !own.is_empty()))
        .map(|name| format!(".{}", name.replace('/', "_")))
        .collect::<String>();
    let path = directory.path().join(format!("{}{node}.worker", &id[..16]));
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
    for cpu in read_numbers(list)? {
        set.set(cpu as usize).with_context(|| format!("core {cpu}"))?;
    }
    nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &set)
        .with_context(|| format!("keep to cores {list}"))
}

/// The same with some of those that it may use, counted from 0, if these are all of its job's. Whether it was so.
fn pin_slots(list: &str, job: Option<u32>) -> anyhow::Result<bool> {
    let own =
        nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0)).context("read the affinity mask")?;
    let own: Vec<usize> = (0..nix::sched::CpuSet::count())
        .filter(|cpu| own.is_set(*cpu) == Ok(true))
        .collect();
    let mut set = nix::sched::CpuSet::new();
    for slot in read_numbers(list)? {
        let Some(cpu) = own.get(slot as usize) else {
            return Ok(false);
        };
        set.set(*cpu).with_context(|| format!("core {cpu}"))?;
    }
    if job.is_some_and(|job| job as usize != own.len()) {
        return Ok(false);
    }
    nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &set)
        .with_context(|| format!("keep to the cores {list} of the job's"))?;
    Ok(true)
}

/// Reads `0-3,8`.
fn read_numbers(list: &str) -> anyhow::Result<Vec<u32>> {
    let mut all = Vec::new();
    for part in list.split(',') {
        let (from, to, step) = scalems_protocol::select::read_range(part)
            .with_context(|| format!("{list:?} is no list of numbers: write 0-3,8"))?;
        anyhow::ensure!(to < MOST, "{list:?} has numbers of {MOST} and more");
        all.extend((from..=to).step_by(step as usize).map(|number| number as u32));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::numbers;

    #[test]
    fn neighbours_are_written_as_one() {
        assert_eq!(numbers(&[0, 1, 2, 3, 8, 10, 11]), "0-3,8,10-11");
        assert_eq!(numbers(&[]), "");
    }
}
