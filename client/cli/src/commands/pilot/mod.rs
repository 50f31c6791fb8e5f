//! `scalems pilot …`.

mod jobs;
mod log_level;
mod place;
mod remove;
pub(crate) mod start;
mod submit;

use std::time::{Duration, Instant};

use anyhow::Context as _;
use scalems_agent::batch::{Job, JobState};
use scalems_client::protocol::client::Status;
use scalems_client::protocol::event::Topic;
use scalems_client::{ClientError, Session, locate};

use self::jobs::{AgentsLife, Queued, Waited};
use super::connect;
use crate::Context;
use crate::args::{PilotCommand, PilotWaitArgs};
use crate::exit::Exit;
use crate::print;

/// After the drain time, how long a pilot may take to be gone.
const GONE: Duration = Duration::from_secs(20);

pub(crate) fn run(context: &Context, command: PilotCommand) -> anyhow::Result<Exit> {
    match command {
        PilotCommand::Start(mut args) => {
            // What it starts is told the same.
            args.each.log = args.log();
            start::run(context, &args)
        }
        PilotCommand::Submit(args) => submit::run(context, &args),
        PilotCommand::List => list(context),
        PilotCommand::Info => info(context),
        PilotCommand::Wait(args) => wait(context, &args),
        PilotCommand::Stop(args) => stop(context, args.drain),
        PilotCommand::LogLevel(args) => log_level::run(context, &args),
        PilotCommand::Remove(args) => remove::run(context, &args),
        PilotCommand::Prune(args) => remove::prune(context, &args),
    }
}

#[derive(serde::Serialize)]
struct Row {
    pilot: String,
    /// Of its agent; none before that serves.
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<std::path::PathBuf>,
    /// The batch system's job that it is, if it is one, and what that does.
    #[serde(skip_serializing_if = "Option::is_none")]
    job: Option<String>,
    state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    left_s: Option<u64>,
}

fn list(context: &Context) -> anyhow::Result<Exit> {
    let found = locate::list_in(&locate::home()?)?;
    let serves = |found: locate::Located| Row {
        pilot: found.file.pilot,
        host: Some(found.file.host),
        pid: Some(found.file.pid),
        file: Some(found.path),
        job: None,
        state: "serves".to_owned(),
        left_s: None,
    };
    let mut rows: Vec<Row> = found.into_iter().map(serves).collect();
    for queued in Queued::all()? {
        let row = rows.iter_mut().find(|row| row.pilot == queued.name);
        let job = match queued.look() {
            Ok(job) => job,
            Err(error) => {
                tracing::warn!(
                    pilot = queued.name,
                    "cannot find out what its job does: {error:#}"
                );
                continue;
            }
        };
        let over = job.is_over();
        match row {
            Some(row) => {
                row.job = Some(queued.submitted.job.clone());
                row.left_s = job.left.filter(|_| !over).map(|left| left.as_secs());
                let only_workers = queued.submitted.only_workers;
                if only_workers && job.state != JobState::Running {
                    row.state = format!("serves; its job {}", jobs::said(&job));
                } else if over {
                    row.state = format!("its job {}", jobs::said(&job));
                }
            }
            None if over => {}
            None => rows.push(Row {
                pilot: queued.name.clone(),
                host: None,
                pid: None,
                file: None,
                job: Some(queued.submitted.job.clone()),
                state: format!("its job {}", jobs::said(&job)),
                left_s: None,
            }),
        }
    }
    rows.sort_by(|a, b| a.pilot.cmp(&b.pilot));
    print::rows(
        context.output,
        &["pilot", "host", "process", "job", "time left", "state"],
        &rows,
        |row| {
            let text = |value: &Option<String>| value.clone().unwrap_or_default();
            vec![
                row.pilot.clone(),
                text(&row.host),
                row.pid.map(|pid| pid.to_string()).unwrap_or_default(),
                text(&row.job),
                row.left_s
                    .map(|left| print::time(left * 1_000))
                    .unwrap_or_default(),
                row.state.clone(),
            ]
        },
    )?;
    Ok(Exit::Well)
}

/// A pilot that does not serve, with its job and what that does.
struct Unserved {
    queued: Queued,
    job: Job,
    /// Who wrote the connection file that is of no use now.
    before: Option<AgentsLife>,
}

/// Connects to the pilot that is meant; if it does not serve and has a job that has not ended, that is looked at.
fn connect_or_job(context: &Context) -> anyhow::Result<Result<Session, Unserved>> {
    // From before: a pilot may begin to serve while it is not found.
    let mut lives = Queued::lives().unwrap_or_default();
    let error = match connect(context) {
        Ok(session) => return Ok(Ok(session)),
        Err(error) => error,
    };
    if !matches!(error, ClientError::Locate(_) | ClientError::Unreachable { .. }) {
        return Err(error.into());
    }
    match Queued::meant(context) {
        Ok(Some((queued, job))) => {
            let before = lives.remove(&queued.name);
            Ok(Err(Unserved { queued, job, before }))
        }
        Ok(None) => Err(error.into()),
        Err(other) => {
            tracing::warn!("cannot find out whether it has a job: {other:#}");
            Err(error.into())
        }
    }
}

#[derive(serde::Serialize)]
struct JobRow {
    pilot: String,
    job: String,
    state: String,
}

fn info(context: &Context) -> anyhow::Result<Exit> {
    match connect_or_job(context)? {
        Ok(session) => {
            let status = session.ask_status()?;
            let mut lines = lines(&status);
            if let Some((queued, job)) = job_of(&session) {
                lines.push(("job", format!("{} {}", queued.submitted.job, jobs::said(&job))));
            }
            print::one(context.output, &status, &lines)?;
            Ok(Exit::Well)
        }
        Err(Unserved { queued, job, .. }) => {
            let row = JobRow {
                pilot: queued.name.clone(),
                job: queued.submitted.job.clone(),
                state: jobs::said(&job),
            };
            let lines = [
                ("pilot", row.pilot.clone()),
                ("job", format!("{} {}", row.job, row.state)),
                ("state", "does not serve".to_owned()),
            ];
            print::one(context.output, &row, &lines)?;
            Ok(Exit::NoPilot)
        }
    }
}

/// The job that a pilot's workers came with, or will, if its agent is outside of jobs.
fn job_of(session: &Session) -> Option<(Queued, Job)> {
    let directory = session.connection_file()?.parent()?;
    let name = session.pilot()?.pilot_name.clone();
    let queued = Queued::read(&name, directory).ok()??;
    let job = queued.submitted.only_workers.then(|| queued.look())?;
    job.inspect_err(|error| tracing::warn!("cannot find out what its job does: {error:#}"))
        .ok()
        .map(|job| (queued, job))
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
        (
            "resources",
            print::resources(&status.resources, &status.fractions),
        ),
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
    let session = match connect_or_job(context)? {
        Ok(session) => session,
        Err(Unserved { queued, before, .. }) => match queued.until_served(before.as_ref(), Some(until))? {
            Waited::Serves(_) => connect(context)?,
            Waited::TimedOut => return Ok(Exit::TimedOut),
            Waited::Interrupted => return Ok(Exit::Interrupted),
        },
    };
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
    let session = match connect_or_job(context)? {
        Ok(session) => session,
        Err(Unserved { queued, job, .. }) => {
            let (name, id) = (&queued.name, &queued.submitted.job);
            anyhow::ensure!(
                job.is_to_come() || queued.submitted.only_workers,
                "the agent of pilot {name} is not reached, and its job {id} {}: it may be starting; the batch system's \
                 own command ends the job",
                jobs::said(&job)
            );
            queued.cancel()?;
            if context.output == crate::args::Output::Human {
                let what = if job.is_to_come() {
                    "had not begun; its job {id} is out of the queue"
                } else {
                    "does not serve any more; its job {id} is ended"
                };
                print::out(&format!("pilot {name} {}\n", what.replace("{id}", id)))?;
            }
            return Ok(Exit::Well);
        }
    };
    let name = session
        .pilot()
        .map(|pilot| pilot.pilot_name.clone())
        .unwrap_or_default();
    let file = session
        .connection_file()
        .context("the session has a file")?
        .to_owned();
    let job = job_of(&session).filter(|(_, job)| job.is_to_come());
    let mut events = session.events(Topic::Summary);
    match session.stop(None, drain) {
        // It may be gone faster than its answer is here.
        Ok(()) | Err(scalems_client::ClientError::Over(_)) => {}
        Err(error) => return Err(error.into()),
    }
    // One that runs ends by itself with its workers.
    if let Some((queued, _)) = job {
        queued.cancel()?;
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
