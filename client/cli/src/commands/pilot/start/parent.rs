//! `scalems pilot start --restart`: a small parent that starts the agent again when it dies.

use std::ffi::OsString;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use scalems_agent::batch::Submitted;
use scalems_protocol::Role;
use scalems_transport::ConnectionFile;
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

use super::{own_program, workers};
use crate::exit::Exit;
use crate::on_event::{Event, Hooks, Kind};
use crate::print;

/// The first wait before the agent is started again; it doubles each time, up to the longest.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Lives that are shorter count as one row of failures, of which there may be so many.
const LONG_LIFE: Duration = Duration::from_mins(5);
const MOST_SHORT_LIVES: u32 = 10;

/// How often it is asked whether a job that the agent ends with is over.
const LOOK: Duration = Duration::from_secs(30);

/// Runs the agent with these arguments, and again with `--resume` after it has died, until it ends in order; with `ends_with_job` also
/// until the pilot's next job is over.
pub(super) fn run(
    args: Vec<OsString>,
    directory: &Path,
    ends_with_job: bool,
    hooks: &Hooks,
) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        if !ends_with_job {
            return supervise(args, directory, false, hooks).await;
        }
        let agent = supervise(args, directory, false, hooks);
        tokio::pin!(agent);
        tokio::select! {
            exit = &mut agent => return exit,
            () = job_over(directory) => {}
        }
        eprintln!("scalems: the job is over, and so is the agent");
        // As a signal of somebody else would.
        workers::terminate(std::process::id());
        agent.await
    })
}

/// Waits until the job is over that the pilot is submitted as after this. The batch system may be away for a while.
async fn job_over(directory: &Path) {
    let read = || Submitted::read(directory).ok().flatten();
    let before = read().map(|submitted| submitted.job);
    let mut look = tokio::time::interval(LOOK);
    loop {
        look.tick().await;
        let Some(submitted) = read().filter(|submitted| Some(&submitted.job) != before.as_ref()) else {
            continue;
        };
        let looked = move || submitted.system.system().look(&submitted.job);
        match tokio::task::spawn_blocking(looked).await {
            Ok(Ok(job)) if job.is_over() => return,
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::info!(%error, "cannot find out whether the job is over"),
            Err(error) => tracing::error!(%error, "whoever asks for the job is gone"),
        }
    }
}

/// As [`run`], beside other things. A hang-up is the end of a terminal that the agent outlives, or, with `hangup_ends`, of the job.
pub(super) async fn supervise(
    mut life: Vec<OsString>,
    directory: &Path,
    hangup_ends: bool,
    hooks: &Hooks,
) -> anyhow::Result<Exit> {
    let mut terminate = signal(SignalKind::terminate())?;
    // From a terminal these reach the agent as well.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    // From Grid Engine, which is about to end the job: the agent hears it as well.
    let mut ending = signal(SignalKind::user_defined2())?;
    // A batch system's word that the job's time is nearly over.
    let mut warning = signal(SignalKind::user_defined1())?;
    let (mut wait, mut short, mut lives) = (FIRST_WAIT, 0, 0);
    loop {
        lives += 1;
        let begun = Instant::now();
        let mut child = Command::new(own_program()?)
            .args(&life)
            .spawn()
            .context("start the agent")?;
        let pid = child.id();
        let mut asked = false;
        let status = loop {
            tokio::select! {
                status = child.wait() => break status?,
                _ = terminate.recv() => {
                    asked = true;
                    pid.into_iter().for_each(workers::terminate);
                }
                _ = warning.recv() => {
                    asked = true;
                    hooks.tell(nearly_over());
                    pid.into_iter().for_each(workers::warn);
                }
                _ = interrupt.recv() => asked = true,
                _ = ending.recv() => asked = true,
                _ = hangup.recv() => if hangup_ends {
                    asked = true;
                    // Two signals: there is no time to let anything end by itself.
                    pid.into_iter().for_each(workers::terminate);
                    pid.into_iter().for_each(workers::interrupt);
                },
            }
        };
        if status.success() || asked {
            return Ok(if status.success() {
                Exit::Well
            } else {
                Exit::Failed
            });
        }
        // One that could not even begin would not the next time.
        if !served(directory, pid) {
            let message = format!("the agent ended before it served ({status}): it is not started again");
            return Err(if lives == 1 {
                NeverServed(message).into()
            } else {
                anyhow::Error::msg(message)
            });
        }
        if begun.elapsed() >= LONG_LIFE {
            (wait, short) = (FIRST_WAIT, 0);
        }
        short += 1;
        anyhow::ensure!(
            short <= MOST_SHORT_LIVES,
            "the agent has died {short} times within {LONG_LIFE:?} of its start, the last time of {status}: it is not \
             started again; `scalems pilot start --resume` does it by hand"
        );
        let message = format!("the agent has died ({status}) and is started again in {wait:?}");
        eprintln!("scalems: {message}");
        tracing::warn!(pid, "{message}");
        let about = pid.map_or_else(String::new, |pid| pid.to_string());
        hooks.tell(Event::now(Kind::AgentLost, about, message));
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            _ = terminate.recv() => return Ok(Exit::Failed),
            _ = warning.recv() => return Ok(Exit::Failed),
            _ = interrupt.recv() => return Ok(Exit::Failed),
            _ = ending.recv() => return Ok(Exit::Failed),
        }
        wait = (2 * wait).min(LONGEST_WAIT);
        resume(&mut life);
    }
}

/// There never was a pilot.
#[derive(Debug)]
pub(super) struct NeverServed(String);

impl std::fmt::Display for NeverServed {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for NeverServed {}

/// The time of the pilot's job is nearly over.
pub(super) fn nearly_over() -> Event {
    Event::now(
        Kind::TimeNearlyOver,
        "",
        "the time of the job is nearly over: nothing new is started",
    )
}

/// The pilot's last event; none if it was never there.
pub(super) fn last_event(ended: &anyhow::Result<Exit>) -> Option<Event> {
    let (well, message) = match ended {
        Ok(Exit::Well) => (true, "the pilot has ended in order".to_owned()),
        Ok(_) => (
            false,
            "the pilot has ended, and its agent not in order".to_owned(),
        ),
        Err(error) if error.is::<NeverServed>() => return None,
        Err(error) => (false, print::error(error)),
    };
    Some(Event::now(Kind::PilotEnded { well }, "", message))
}

/// Makes of an agent's words those of one that goes on where another has ended.
pub(super) fn resume(life: &mut Vec<OsString>) {
    life.retain(|arg| arg != "--fresh" && arg != "--accept-loss");
    if !life.iter().any(|arg| arg == "--resume") {
        life.push("--resume".into());
    }
}

/// Whether the agent with this process got as far as to say where it is.
fn served(directory: &Path, pid: Option<u32>) -> bool {
    let file = ConnectionFile::read(&directory.join(ConnectionFile::file_name(Role::Client)));
    file.is_ok_and(|file| Some(file.pid) == pid)
}
