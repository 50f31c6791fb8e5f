//! `scalems pilot start --batch`: the first process of a batch job. It keeps the agent running on this node and one
//! worker on each node of the job, through one launch for all of them and one more for each node that comes back.

mod only_workers;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use scalems_agent::batch::{Allocation, BatchSystem, Job, JobState, Kind, Launch, Leading, interface};
use scalems_client::Session;
use scalems_client::protocol::client::WorkerRow;
use scalems_protocol::Role;
use scalems_transport::ConnectionFile;
use scalems_transport::connection_file::Writer;
use tokio::process::Command;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::starter::{Ground, Left, NodeRoom, Slots, Starter};
use super::{CLOSING, WORKER_END, own_program, own_words, parent, workers};
use crate::args::{LogArgs, PilotStartArgs};
use crate::exit::Exit;
use crate::on_event::Hooks;

/// How often it is looked whether the agent serves, before the workers are started.
const SERVES: Duration = Duration::from_millis(20);
/// So long the batch system may take to say how much time the job has, before workers are started that do not know it.
const ASKED: Duration = Duration::from_secs(3);
/// How often it is looked which nodes have no worker.
const LOOK: Duration = Duration::from_secs(10);
/// A launched worker has so long to join before its node counts as one without. Doubled with each further launch on
/// the node, up to the longest.
const JOINS: Duration = Duration::from_secs(30);
const LONGEST: Duration = Duration::from_mins(10);

pub(super) fn run(
    kind: Kind,
    args: &PilotStartArgs,
    directory: &Path,
    hooks: &Hooks,
) -> anyhow::Result<Exit> {
    let system: Arc<dyn BatchSystem> = kind.system().into();
    let allocation = system.allocation()?;
    if args.only_workers {
        return only_workers::run(system, allocation, args, directory);
    }
    let mut life = own_words(&[
        ("--batch", true),
        ("--interface", true),
        ("--restart", false),
        ("--log-to", true),
        ("--on-event", true),
        ("--metrics", false),
        ("--metrics-public", false),
        ("--cores", true),
        ("--gpus", true),
        ("--memory", true),
        ("--disk", true),
        ("--resource", true),
    ]);
    life.extend(["--no-workers".into(), "--starts-elsewhere".into()]);
    let to = LogArgs {
        to: args.each.log.to,
        ..LogArgs::default()
    };
    life.extend(to.words());
    // Put back into the queue, the job goes on with what it had begun; if it never came so far, it begins.
    let before = Leading::read(directory).is_some_and(|before| before.job == allocation.job);
    if allocation.again && before {
        parent::resume(&mut life);
    }
    match args.tcp {
        None => {
            let address = interface::address(args.interface.as_deref())?;
            life.push(format!("--tcp={address}").into());
        }
        Some(address) => anyhow::ensure!(
            !address.is_loopback(),
            "other nodes cannot reach {address}: leave out --tcp, or name an address of this node"
        ),
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let (ending, told) = watch::channel(false);
        let hangup_ends = system.hangup_ends();
        let until = Rc::new(Cell::new(None));
        let starter = starter(&system, &allocation, args, directory, &until, told.clone())?;
        let nodes = Nodes::new(system, allocation, args, directory, told, (until, starter.left()))?;
        let workers = tokio::task::LocalSet::new();
        let kept = workers.spawn_local(nodes.keep());
        let starts = workers.spawn_local(starter.run(true));
        let exit = workers
            .run_until(parent::supervise(life, directory, hangup_ends, hooks))
            .await;
        // The agent told its workers to end, if it ended in order.
        ending.send_replace(true);
        workers.run_until(kept).await?;
        workers.run_until(starts).await?;
        exit
    })
}

/// Who starts requested workers on the nodes of a job, where there is one each to begin with.
fn starter(
    system: &Arc<dyn BatchSystem>,
    allocation: &Allocation,
    args: &PilotStartArgs,
    directory: &Path,
    until: &Until,
    told: watch::Receiver<bool>,
) -> anyhow::Result<Starter> {
    let ends = Rc::clone(until);
    let left_ms = move || {
        ends.get()
            .map_or(0, |until| left(until).as_millis().max(1) as u64)
    };
    let ground = Ground::Job {
        system: Arc::clone(system),
        file: directory.join(ConnectionFile::file_name(Role::Worker)),
        logs: args.each.words()?,
        left_ms: Rc::new(left_ms),
    };
    let gpus = args.gpus.unwrap_or(0);
    let node = |name: &String| {
        let holds = allocation.holds.get(name).copied().unwrap_or_default();
        let cores = args.cores.or(holds.cores);
        NodeRoom {
            cores: cores.map(u64::from),
            gpu_count: u64::from(gpus),
            memory_mib: args.memory.or(holds.memory_mib),
            cpus: (0..cores.unwrap_or(0)).collect(),
            gpus: (0..gpus).collect(),
        }
    };
    let nodes: BTreeMap<String, NodeRoom> = allocation
        .nodes
        .iter()
        .map(|name| (name.clone(), node(name)))
        .collect();
    let mut starter = Starter::new(directory, ground, nodes.clone(), told);
    for (name, node) in nodes {
        let offer = node.offer(node.cores.unwrap_or(1), node.gpu_count, args.memory);
        let slots = Slots {
            cpus: node.cpus.clone(),
            gpus: node.gpus.clone(),
        };
        starter.begin(name.clone(), name, offer, slots, None);
    }
    Ok(starter)
}

/// When the job ends, as far as is known.
type Until = Rc<Cell<Option<Instant>>>;

/// What runs is ended so long before the job is.
fn left(until: Instant) -> Duration {
    until
        .saturating_duration_since(Instant::now())
        .saturating_sub(CLOSING)
}

/// The nodes of a job, each with its worker.
struct Nodes {
    system: Arc<dyn BatchSystem>,
    job: String,
    /// The node that the agent is on, if it is one of them.
    here: Option<String>,
    /// Whether the agent is outside of the job: it may end before the job does.
    only_workers: bool,
    directory: PathBuf,
    /// What runs a worker, behind the batch system's launcher.
    command: Vec<OsString>,
    /// The cores of nodes, where the workers there are not told.
    cores: BTreeMap<String, u32>,
    until: Until,
    /// Those whose workers were ended or replaced, and are not started again.
    left: Left,
    /// So long before that it takes nothing new.
    warning: Duration,
    /// Whether it was told so, or somebody else tells it.
    warned: bool,
    launches: JoinSet<()>,
    /// Tells that the pilot ends.
    ending: watch::Receiver<bool>,
    each: BTreeMap<String, Node>,
}

/// What was done for a node.
#[derive(Debug)]
struct Node {
    launched: Instant,
    /// How often in a row a worker was launched that did not join.
    launches: u32,
    /// Whether one has joined since: without a trace of it now somebody has ended it.
    joined: bool,
}

impl Node {
    fn new(now: Instant) -> Self {
        Self {
            launched: now,
            launches: 0,
            joined: false,
        }
    }

    /// How long the last launch is waited for.
    fn patience(&self) -> Duration {
        let doubled = 1 << self.launches.saturating_sub(1).min(10);
        (JOINS * doubled).min(LONGEST)
    }
}

impl Nodes {
    fn new(
        system: Arc<dyn BatchSystem>,
        allocation: Allocation,
        args: &PilotStartArgs,
        directory: &Path,
        ending: watch::Receiver<bool>,
        (until, left): (Until, Left),
    ) -> anyhow::Result<Self> {
        let file = directory.join(ConnectionFile::file_name(Role::Worker));
        let mut command: Vec<OsString> = vec![own_program()?.into()];
        command.extend(workers::words(args, &file)?);
        command.push(format!("--batch={}", system.kind().name()).into());
        let node = |name| (name, Node::new(Instant::now()));
        let warned = system.warns();
        Ok(Self {
            system,
            job: allocation.job,
            here: allocation.here.filter(|_| !args.only_workers),
            only_workers: args.only_workers,
            directory: directory.to_owned(),
            command,
            cores: if args.cores.is_some() {
                BTreeMap::new()
            } else {
                allocation.cores
            },
            until,
            left,
            warning: args.warning,
            warned,
            launches: JoinSet::new(),
            ending,
            each: allocation.nodes.into_iter().map(node).collect(),
        })
    }

    /// Starts the workers once the agent serves, and looks after them until it is told that the pilot ends.
    async fn keep(mut self) {
        let mut ending = self.ending.clone();
        tokio::select! {
            () = self.served() => {}
            _ = ending.wait_for(|ending| *ending) => return,
        }
        tokio::select! {
            found = tokio::time::timeout(ASKED, self.look()) => match found {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => tracing::warn!("cannot find out how much time the job has: {error:#}"),
                Err(_) => tracing::warn!("the batch system does not say at once how much time the job has"),
            },
            _ = ending.wait_for(|ending| *ending) => return,
        }
        if let Some(node) = &self.here {
            let leading = Leading {
                job: self.job.clone(),
                node: node.clone(),
            };
            if let Err(error) = leading.write(&self.directory) {
                tracing::warn!(%error, "cannot note which node the agent is on");
            }
        }
        let all: Vec<String> = self.each.keys().cloned().collect();
        self.launch(&all);
        let mut look = tokio::time::interval_at(tokio::time::Instant::now() + LOOK, LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = look.tick() => {}
                () = nearly_over(self.until.get(), self.warning), if !self.warned => {
                    self.warned = true;
                    // To this process, as the batch systems do that know when.
                    workers::warn(std::process::id());
                    continue;
                }
                Some(_) = self.launches.join_next(), if self.only_workers => {
                    if self.launches.is_empty() && self.is_left().await {
                        return;
                    }
                    continue;
                }
                _ = ending.wait_for(|ending| *ending) => break,
            }
            if self.until.get().is_none()
                && !self.warned
                && let Err(error) = self.look().await
            {
                tracing::info!("cannot find out how much time the job has: {error:#}");
            }
            tokio::select! {
                missing = self.missing() => match missing {
                    Ok(missing) if missing.is_empty() => {}
                    Ok(missing) => {
                        tracing::warn!(nodes = missing.join(","), "nodes of the job have no worker: one is started on each");
                        self.launch(&missing);
                    }
                    // The agent may be about to be started again.
                    Err(error) => tracing::info!("cannot find out which nodes have workers: {error:#}"),
                },
                _ = ending.wait_for(|ending| *ending) => break,
            }
        }
        // Each ends its launcher by itself, in time.
        while self.launches.join_next().await.is_some() {}
    }

    /// Whether there is no agent any more that would want workers. One that ends in order takes its connection files
    /// along, and may do so after it was asked and before it has answered.
    async fn is_left(&self) -> bool {
        let directory = self.directory.clone();
        let asked = tokio::task::spawn_blocking(move || ask(&directory));
        let answer = tokio::select! {
            answer = asked => answer,
            () = self.files_are_gone() => return true,
        };
        match answer {
            Ok(Ok(rows)) => rows.is_none(),
            Ok(Err(error)) => {
                tracing::warn!("all workers have ended, and no agent is reached: {error:#}");
                true
            }
            Err(_) => true,
        }
    }

    /// Waits until no agent says any more how it is reached.
    async fn files_are_gone(&self) {
        let file = self.directory.join(ConnectionFile::file_name(Role::Client));
        let mut look = tokio::time::interval(SERVES);
        while file.exists() {
            look.tick().await;
        }
    }

    /// Waits until an agent serves, on this host if it belongs to the job.
    async fn served(&self) {
        let file = self.directory.join(ConnectionFile::file_name(Role::Worker));
        let host = scalems_agent::host_name();
        let serves = || {
            let file = ConnectionFile::read(&file);
            file.is_ok_and(|file| match file.writer(&host) {
                Writer::Running => true,
                Writer::Unknown => self.only_workers,
                Writer::Gone => false,
            })
        };
        let mut look = tokio::time::interval(SERVES);
        while !serves() {
            look.tick().await;
        }
    }

    /// Starts workers on nodes, and waits for their end on the side.
    fn launch(&mut self, nodes: &[String]) {
        let mut command = self.command.clone();
        command.push(format!("--among={}", nodes.len()).into());
        if let Some(until) = self.until.get() {
            command.push(format!("--time-limit={}ms", left(until).as_millis()).into());
        }
        let now = Instant::now();
        for name in nodes {
            let node = self.each.entry(name.clone()).or_insert_with(|| Node::new(now));
            (node.launched, node.joined) = (now, false);
            node.launches += 1;
        }
        let (known, unknown): (Vec<String>, Vec<String>) = nodes
            .iter()
            .cloned()
            .partition(|node| self.cores.contains_key(node));
        let mut launches = Vec::new();
        if !unknown.is_empty() {
            launches.extend(self.system.launches(&unknown, &command));
        }
        for node in known {
            let cores = format!("--cores={}", self.cores[&node]);
            let command = [command.as_slice(), &[cores.into()]].concat();
            launches.extend(self.system.launches(&[node], &command));
        }
        for launch in launches {
            self.launches.spawn_local(launched(launch, self.ending.clone()));
        }
    }

    /// What the batch system says of the job.
    async fn look(&mut self) -> anyhow::Result<Job> {
        let (system, job) = (self.system.clone(), self.job.clone());
        let job = tokio::task::spawn_blocking(move || system.look(&job)).await??;
        self.until.set(job.left.map(|left| Instant::now() + left));
        Ok(job)
    }

    /// The nodes that have had no worker for longer than one takes to join, and that the job still has.
    async fn missing(&mut self) -> anyhow::Result<Vec<String>> {
        let directory = self.directory.clone();
        let rows = tokio::task::spawn_blocking(move || ask(&directory)).await??;
        // A pilot that ends takes its workers along.
        let Some(rows) = rows else {
            return Ok(Vec::new());
        };
        let mut missing = without_worker(&mut self.each, &rows, Instant::now());
        missing.retain(|node| !self.left.borrow().contains(node));
        if missing.is_empty() {
            return Ok(missing);
        }
        // Only now the batch system is asked: it has others to serve.
        let job = self.look().await?;
        anyhow::ensure!(job.state == JobState::Running, "the job is {:?}", job.state);
        Ok(missing
            .into_iter()
            .filter(|node| job.nodes.contains(node))
            .collect())
    }
}

/// The pilot's workers; none if it is ending.
fn ask(directory: &Path) -> anyhow::Result<Option<Vec<WorkerRow>>> {
    let options = Session::options().name("job").shared();
    let session = options.connect_timeout(LOOK).connect(directory)?;
    let ending = session.ask_status()?.stopping;
    let rows = session.ask_workers()?;
    Ok((!ending).then_some(rows))
}

/// A node counts as having a worker while the one that it began with is there, or has time to join, or has joined and is not lost: an agent
/// knows nothing any more of a worker that was ended.
fn without_worker(each: &mut BTreeMap<String, Node>, rows: &[WorkerRow], now: Instant) -> Vec<String> {
    let mut missing = Vec::new();
    for (name, node) in each {
        let mut own = rows
            .iter()
            .filter(|row| row.place.as_ref() == Some(name))
            .peekable();
        let lost = own.peek().is_some();
        if own.any(|row| row.state != "lost") {
            (node.joined, node.launches) = (true, 1);
            continue;
        }
        let patient = now.saturating_duration_since(node.launched) < node.patience();
        if (lost || !node.joined) && !patient {
            missing.push(name.clone());
        }
    }
    missing
}

/// Until so long before the end; without end if that is not known.
async fn nearly_over(end: Option<Instant>, before: Duration) {
    match end {
        Some(end) => {
            let now = Instant::now();
            tokio::time::sleep(end.saturating_duration_since(now).saturating_sub(before)).await;
        }
        None => std::future::pending().await,
    }
}

/// Runs a launcher to its end.
async fn launched(launch: Launch, mut ending: watch::Receiver<bool>) {
    let nodes = launch.nodes.join(",");
    let Some((launcher, words)) = launch.words.split_first() else {
        return;
    };
    let child = Command::new(launcher)
        .args(words)
        .stdin(Stdio::null())
        // Ctrl-C in a terminal reaches the agent, which drains the workers.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("run {}", launcher.display()));
    let mut child = match child {
        Ok(child) => child,
        Err(error) => return tracing::error!(nodes, "cannot start workers: {error:#}"),
    };
    let status = tokio::select! {
        status = child.wait() => Some(status),
        _ = ending.wait_for(|ending| *ending) => tokio::time::timeout(WORKER_END, child.wait()).await.ok(),
    };
    let status = if let Some(status) = status {
        status
    } else {
        tracing::warn!(nodes, "workers did not end within {WORKER_END:?} and are told to");
        child.id().into_iter().for_each(workers::terminate);
        let Ok(status) = tokio::time::timeout(WORKER_END, child.wait()).await else {
            tracing::error!(nodes, "their launcher does not end either, and is killed");
            return;
        };
        status
    };
    match status {
        Ok(status) if status.success() => {}
        Ok(status) => tracing::warn!(nodes, %status, "a launch of workers has ended"),
        Err(error) => tracing::error!(nodes, %error, "cannot wait for a launch of workers"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(worker: u64, name: &str, state: &str) -> WorkerRow {
        WorkerRow {
            worker,
            name: name.to_owned(),
            host: name.to_owned(),
            pid: 1,
            state: state.to_owned(),
            resources: Vec::new(),
            fractions: Vec::new(),
            leases: (0, 0),
            ended: 0,
            silent_ms: 0,
            beats: (0, 0),
            left_ms: None,
            place: Some(name.to_owned()),
            requested_by: None,
        }
    }

    #[test]
    fn nodes_whose_worker_is_lost_get_another() {
        let begun = Instant::now();
        let names = ["back", "fine", "lost", "silent", "stopped"];
        let mut each: BTreeMap<String, Node> = names
            .iter()
            .map(|name| ((*name).to_owned(), Node::new(begun)))
            .collect();
        let first = [
            row(1, "back", "active"),
            row(3, "fine", "active"),
            row(4, "lost", "active"),
            row(5, "stopped", "active"),
        ];
        assert!(
            without_worker(&mut each, &first, begun).is_empty(),
            "they have time to join"
        );
        let rows = [
            row(1, "back", "lost"),
            WorkerRow {
                place: Some("back".to_owned()),
                ..row(7, "back-7", "active")
            },
            row(3, "fine", "suspect"),
            row(4, "lost", "lost"),
        ];
        assert_eq!(
            without_worker(&mut each, &rows, begun + JOINS),
            ["lost", "silent"]
        );
    }

    #[test]
    fn the_next_launch_is_waited_for_longer_until_a_worker_has_joined() {
        let mut node = Node::new(Instant::now());
        let mut waits = Vec::new();
        for launches in 1..=8 {
            node.launches = launches;
            waits.push(node.patience().as_secs());
        }
        assert_eq!(waits, [30, 60, 120, 240, 480, 600, 600, 600]);
    }
}
