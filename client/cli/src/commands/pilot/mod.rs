//! `scalems pilot …`.

pub(crate) mod start;

use std::time::{Duration, Instant};

use anyhow::Context as _;
use scalems_agent::pilot::Removed;
use scalems_client::locate;
use scalems_client::protocol::client::Status;
use scalems_client::protocol::event::Topic;

use super::connect;
use crate::Context;
use crate::args::{PilotCommand, PilotRemoveArgs, PilotWaitArgs};
use crate::exit::Exit;
use crate::print;

/// After the drain time, how long a pilot may take to be gone.
const GONE: Duration = Duration::from_secs(20);

pub(crate) fn run(context: &Context, command: PilotCommand) -> anyhow::Result<Exit> {
    match command {
        PilotCommand::Start(args) => start::run(context, &args),
        PilotCommand::List => list(context),
        PilotCommand::Info => info(context),
        PilotCommand::Wait(args) => wait(context, &args),
        PilotCommand::Stop(args) => stop(context, args.drain),
        PilotCommand::Remove(args) => remove(context, &args),
    }
}

#[derive(serde::Serialize)]
struct Row {
    pilot: String,
    host: String,
    pid: u32,
    file: std::path::PathBuf,
}

fn list(context: &Context) -> anyhow::Result<Exit> {
    let found = locate::list_in(&locate::home()?)?;
    let rows: Vec<Row> = found
        .into_iter()
        .map(|found| Row {
            pilot: found.file.pilot,
            host: found.file.host,
            pid: found.file.pid,
            file: found.path,
        })
        .collect();
    print::rows(
        context.output,
        &["pilot", "host", "process", "connection file"],
        &rows,
        |row| {
            vec![
                row.pilot.clone(),
                row.host.clone(),
                row.pid.to_string(),
                row.file.display().to_string(),
            ]
        },
    )?;
    Ok(Exit::Well)
}

fn info(context: &Context) -> anyhow::Result<Exit> {
    let session = connect(context)?;
    let status = session.ask_status()?;
    print::one(context.output, &status, &lines(&status))?;
    Ok(Exit::Well)
}

fn lines(status: &Status) -> Vec<(&'static str, String)> {
    let tasks = status.tasks;
    let (joined, suspect, draining, lost) = status.workers;
    let mut lines = vec![
        ("pilot", status.pilot_name.clone()),
        ("up", print::time(status.up_ms)),
        (
            "workers",
            format!("{joined} active, {suspect} suspect, {draining} draining, {lost} lost so far"),
        ),
        ("resources", print::resources(&status.resources)),
        (
            "tasks",
            format!(
                "{} waiting, {} ready, {} leased, {} running, {} done, {} failed, {} canceled",
                tasks.waiting,
                tasks.ready,
                tasks.leased,
                tasks.running,
                tasks.done,
                tasks.failed,
                tasks.canceled
            ),
        ),
        ("submissions", status.submissions.to_string()),
        ("clients", status.clients.to_string()),
        ("modes", status.modes.join(", ")),
    ];
    if status.stopping {
        lines.push(("state", "ending".into()));
    }
    for trouble in &status.trouble {
        lines.push(("trouble", trouble.clone()));
    }
    for (what, count) in &status.counters {
        lines.push(("counted", format!("{what}: {count}")));
    }
    lines
}

fn wait(context: &Context, args: &PilotWaitArgs) -> anyhow::Result<Exit> {
    let until = Instant::now() + args.timeout;
    let session = connect(context)?;
    let mut events = session.events(Topic::Workers);
    loop {
        let status = session.ask_status()?;
        if status.workers.0 >= args.workers {
            print::one(context.output, &status, &lines(&status))?;
            return Ok(Exit::Well);
        }
        let left = until.saturating_duration_since(Instant::now());
        let came = match events.next_within(left) {
            Ok(update) => update.is_some(),
            Err(scalems_client::ClientError::TimedOut { .. }) => false,
            Err(error) => return Err(error.into()),
        };
        if !came {
            eprintln!(
                "scalems: {} of {} workers joined within {:?}",
                status.workers.0, args.workers, args.timeout
            );
            return Ok(Exit::TimedOut);
        }
    }
}

fn stop(context: &Context, drain: Duration) -> anyhow::Result<Exit> {
    let session = connect(context)?;
    let name = session
        .pilot()
        .map(|pilot| pilot.pilot_name.clone())
        .unwrap_or_default();
    let file = session
        .connection_file()
        .context("the session has a file")?
        .to_owned();
    let mut events = session.events(Topic::Summary);
    match session.stop(None, drain) {
        // It may be gone faster than its answer is here.
        Ok(()) | Err(scalems_client::ClientError::Over(_)) => {}
        Err(error) => return Err(error.into()),
    }
    // The agent says goodbye to its clients last; then the session is over and its events end.
    let until = Instant::now() + drain + GONE;
    while session.over().is_none() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            eprintln!(
                "scalems: pilot {name} still runs after {:?}; see {}",
                drain + GONE,
                file.display()
            );
            return Ok(Exit::TimedOut);
        }
        match events.next_within(left) {
            Ok(_)
            | Err(scalems_client::ClientError::TimedOut { .. } | scalems_client::ClientError::Over(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    if !released(&file, until.saturating_duration_since(Instant::now()))? {
        eprintln!("scalems: the agent of pilot {name} has said goodbye and its process has not ended yet");
        return Ok(Exit::TimedOut);
    }
    if context.output == crate::args::Output::Human {
        print::out(&format!("pilot {name} has ended\n"))?;
    }
    Ok(Exit::Well)
}

fn remove(context: &Context, args: &PilotRemoveArgs) -> anyhow::Result<Exit> {
    let name = args.name.as_deref().or(context.pilot.as_deref());
    let name = name.unwrap_or(start::DEFAULT_NAME);
    let directory = match &args.dir {
        Some(dir) => std::path::absolute(dir)?,
        None => locate::pilot_directory(name)?,
    };
    let place = directory.display();
    match scalems_agent::pilot::remove(name, &directory, args.force)? {
        Removed::Unfinished(tasks) => {
            anyhow::bail!(
                "pilot {name} has {tasks} unfinished tasks, and nothing was removed: --force removes it all the same, \
                 `scalems pilot start --resume --name {name}` goes on with them"
            )
        }
        Removed::All if context.output == crate::args::Output::Human => {
            print::out(&format!("pilot {name} is removed: {place}\n"))?;
        }
        Removed::AllButOthers if context.output == crate::args::Output::Human => {
            print::out(&format!(
                "pilot {name} is removed; files that are not its own stay in {place}\n"
            ))?;
        }
        Removed::All | Removed::AllButOthers => {}
    }
    Ok(Exit::Well)
}

/// Waits until the pilot's process has let go of its name, which it holds to its end. A pilot on another
/// host, whose lock cannot be waited for here, counts as gone.
fn released(file: &std::path::Path, within: Duration) -> anyhow::Result<bool> {
    let Ok(lock) = std::fs::File::open(file.with_file_name("lock")) else {
        return Ok(true);
    };
    let (told, hear) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let locked = nix::fcntl::Flock::lock(lock, nix::fcntl::FlockArg::LockShared);
        // Nobody listens any more once the time was over.
        let _told = told.send(locked.map(drop).map_err(|(_, errno)| errno));
    });
    match hear.recv_timeout(within) {
        Ok(Ok(())) => Ok(true),
        Ok(Err(errno)) => Err(errno).context("wait for the pilot's lock"),
        Err(_) => Ok(false),
    }
}
