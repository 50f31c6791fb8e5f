//! Keeps a filter: to the agent a worker that holds the tasks which the filter sees, and a client that submits what the filter
//! makes of them (decision 10). The filter's own program says what that is.

mod file;
mod held;
mod program;

use std::collections::HashMap;
use std::path::PathBuf;
use std::rc::Rc;

use anyhow::Context as _;
use scalems_agent::logging::Limit;
use scalems_agent::worker::{self, Connection, Deputy, DeputyOrder, StopSignal, Stopper, WorkerOptions};
use scalems_client::protocol::Role;
use scalems_client::protocol::client::Page;
use scalems_client::protocol::filter::{LABEL, OWN};
use scalems_client::protocol::select::Selector;
use scalems_client::protocol::state::Strength;
use scalems_client::{ClientError, Session};
use scalems_transport::ConnectionFile;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

pub(crate) use self::file::FilterFile;
use self::held::Held;
use self::program::Program;
use crate::args::{FilterArgs, LogArgs};
use crate::exit::Exit;

pub(crate) fn run(args: &FilterArgs) -> anyhow::Result<Exit> {
    let file = FilterFile::read(&args.file)?;
    let beside = args.connection.parent().unwrap_or(std::path::Path::new("."));
    let _files = args
        .log
        .go_on(beside, &format!("filter-{}", file.rule.name), Limit::WORKER);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, keep(args, file))?;
    if let Some(note) = &args.note {
        // Best effort: what stays names a process that is gone.
        let _gone = std::fs::remove_file(note);
    }
    Ok(Exit::Well)
}

async fn keep(args: &FilterArgs, file: FilterFile) -> anyhow::Result<()> {
    let mode = file.rule.mode();
    let client = args
        .connection
        .with_file_name(ConnectionFile::file_name(Role::Client));
    // By its name it comes back to what an earlier keeper of this filter has submitted.
    let session = Session::options()
        .name(&mode)
        .takeover(true)
        .software(concat!("scalems filter ", env!("CARGO_PKG_VERSION")))
        .connect(&client)
        .with_context(|| format!("connect filter {} to its pilot", file.rule.name))?;
    let earlier = earlier(&session, &file.rule.name)?;
    // Bounded by the seats of a filter.
    let (tell, mut orders) = mpsc::unbounded_channel();
    let deputy = Deputy::new(&mode, move |order| {
        // Nobody listens any more when all of this ends.
        let _told = tell.send(order);
    });
    let options = options(&args.connection, &mode, deputy.clone());
    let held = Rc::new(Held::new(
        file.rule.name.clone(),
        session,
        Program::start(file),
        deputy,
        earlier,
    ));
    let (stopper, stop) = Stopper::pair()?;
    let mut ended = serve(options, stop)?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                Some(DeputyOrder::Begin(lease)) => {
                    tokio::task::spawn_local(Rc::clone(&held).pass(lease));
                }
                Some(DeputyOrder::Stop(order)) => held.stop(&order),
                None => {}
            },
            reason = &mut ended => {
                let reason = reason.context("the thread of the filter's worker ended badly")??;
                tracing::info!(?reason, filter = mode, "a filter has ended");
                return Ok(());
            }
            _ = terminate.recv() => stopper.stop(std::time::Duration::ZERO),
            _ = interrupt.recv() => stopper.stop(std::time::Duration::ZERO),
        }
    }
}

type Ended = Result<worker::EndReason, worker::WorkerError>;

/// Runs the worker's side on a thread of its own.
fn serve(options: WorkerOptions, stop: StopSignal) -> anyhow::Result<oneshot::Receiver<Ended>> {
    let (done, ended) = oneshot::channel();
    std::thread::Builder::new()
        .name("scalems-worker".into())
        .spawn(move || {
            // Nobody listens any more when this process ends first.
            let _told = done.send(worker::run(&options, stop));
        })?;
    Ok(ended)
}

fn options(connection: &std::path::Path, mode: &str, deputy: Deputy) -> WorkerOptions {
    let directory = connection.with_file_name("filters");
    WorkerOptions {
        name: Some(mode.to_owned()),
        cores: Some(1),
        gpus: Some(0),
        memory_mib: Some(0),
        disk_mib: Some(0),
        log_directory: connection.with_file_name("logs"),
        deputy: Some(deputy),
        ..WorkerOptions::new(Connection::File(connection.to_owned()), directory.join("tasks"))
    }
}

/// What an earlier keeper of this filter has submitted and not done with, by what it is a part of. What is part of a task that has
/// ended meanwhile is ended too.
fn earlier(session: &Session, name: &str) -> Result<HashMap<String, u64>, ClientError> {
    let mut found = HashMap::new();
    let mut after = None;
    loop {
        let select = Selector {
            all: true,
            label: Some((OWN.to_owned(), name.to_owned())),
            ..Selector::default()
        };
        let page = Page {
            select,
            after,
            rows: 0,
        };
        let listing = match session.ask_submissions(page) {
            Ok(listing) => listing,
            Err(ClientError::Refused { refusal, .. }) if held::is_nothing(&refusal) => return Ok(found),
            Err(error) => return Err(error),
        };
        for row in listing.rows {
            let Some(part) = row.labels.get(LABEL) else {
                continue;
            };
            if is_wanted(session, part)? {
                found.insert(part.clone(), row.submission);
            } else {
                let select = Selector::submission(row.submission);
                session.cancel(select, Strength::Kill, "the task that it was a part of has ended")?;
            }
        }
        after = listing.next;
        if after.is_none() {
            return Ok(found);
        }
    }
}

/// Whether the task that something is a part of has not ended, or it is nobody's part.
fn is_wanted(session: &Session, part: &str) -> Result<bool, ClientError> {
    let Some((task, at)) = part.split_once('/') else {
        return Ok(true);
    };
    let Ok(select) = task.parse::<Selector>() else {
        return Ok(true);
    };
    if at.starts_with('+') {
        return Ok(true);
    }
    let page = Page {
        select,
        after: None,
        rows: 1,
    };
    match session.ask_tasks(page) {
        Ok(listing) => Ok(listing.rows.iter().any(|row| !row.state.is_final())),
        Err(ClientError::Refused { refusal, .. }) if held::is_nothing(&refusal) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The arguments of one that the pilot starts.
pub(crate) fn words(
    file: &std::path::Path,
    connection: &std::path::Path,
    note: &std::path::Path,
    log: &LogArgs,
) -> Vec<std::ffi::OsString> {
    let mut words: Vec<std::ffi::OsString> = vec!["filter".into(), "--connection".into(), connection.into()];
    words.extend(["--note".into(), note.into(), PathBuf::from(file).into()]);
    words.extend(log.words());
    words
}
