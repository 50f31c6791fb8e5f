//! A batch job that has a pilot's workers only: its agent runs on the host where the job was submitted, before and after it.

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use scalems_agent::batch::{Allocation, BatchSystem};
use scalems_client::protocol::client::WorkerRow;
use scalems_client::protocol::event::Topic;
use scalems_client::{ClientError, Session};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::super::{CLOSING, SIGNAL_DRAIN, WORKER_END};
use super::{LOOK, Nodes};
use crate::args::PilotStartArgs;
use crate::exit::Exit;

/// An agent that does not serve by then has ended while the job was in the queue.
const SERVES: Duration = Duration::from_mins(1);

/// How often it is asked whether workers are gone: not all that a row says has an event.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// Keeps a worker on each node until the job's time is nearly over, somebody ends the job, or the pilot ends.
pub(super) fn run(
    system: Arc<dyn BatchSystem>,
    allocation: Allocation,
    args: &PilotStartArgs,
    directory: &Path,
) -> anyhow::Result<Exit> {
    let hangup_ends = system.hangup_ends();
    let own = allocation.nodes.clone();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let ended = runtime.block_on(async {
        let asked = asked_to_end(hangup_ends, args.warning.saturating_sub(CLOSING))?;
        let (ending, told) = watch::channel(false);
        let until = Rc::new(Cell::new(None));
        let starter = super::starter(&system, &allocation, args, directory, &until, told.clone())?;
        let nodes = Nodes::new(system, allocation, args, directory, told, (until, starter.left()))?;
        let served = tokio::time::timeout(SERVES, nodes.served()).await;
        anyhow::ensure!(
            served.is_ok(),
            "no agent of this pilot serves any more (looked in {}): the job has nothing to do",
            directory.display()
        );
        let local = tokio::task::LocalSet::new();
        let mut kept = local.spawn_local(nodes.keep());
        let starts = local.spawn_local(starter.run(true));
        local
            .run_until(async {
                let drain = tokio::select! {
                    // The pilot has ended, and with it the workers.
                    over = &mut kept => {
                        ending.send_replace(true);
                        return Ok(over.and(starts.await)?);
                    }
                    drain = asked => drain,
                };
                let place = directory.to_owned();
                let left = tokio::task::spawn_blocking(move || leave(&place, &own, drain)).await?;
                if let Err(error) = left {
                    tracing::warn!("workers are ended by their launchers: {error}");
                }
                ending.send_replace(true);
                Ok(kept.await.and(starts.await)?)
            })
            .await
            .map(|_| Exit::Well)
    });
    // Something may still wait for an agent that is gone.
    runtime.shutdown_background();
    ended
}

/// Waits until the job is asked to end, and says how long what runs may go on.
fn asked_to_end(
    hangup_ends: bool,
    warned: Duration,
) -> anyhow::Result<impl Future<Output = Duration> + use<>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    // From Grid Engine, which is about to end the job.
    let mut ended_soon = signal(SignalKind::user_defined2())?;
    // The job's time is nearly over.
    let mut warning = signal(SignalKind::user_defined1())?;
    Ok(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => return SIGNAL_DRAIN,
                _ = interrupt.recv() => return SIGNAL_DRAIN,
                _ = ended_soon.recv() => return SIGNAL_DRAIN,
                _ = warning.recv() => return warned,
                _ = hangup.recv() => if hangup_ends { return Duration::ZERO },
            }
        }
    })
}

/// Whether a place is on one of these nodes: that of its first worker, or of one that was requested.
fn is_at(place: &str, nodes: &[String]) -> bool {
    let is_node = |name: &str| nodes.iter().any(|node| node == name);
    is_node(place) || place.rsplit_once('.').is_some_and(|(node, _)| is_node(node))
}

/// Asks the agent to end the workers of these nodes, which takes in order what they have not done, and waits until they are gone.
fn leave(directory: &Path, nodes: &[String], drain: Duration) -> Result<(), ClientError> {
    let session = Session::options()
        .name("job")
        .shared()
        .connect_timeout(LOOK)
        .connect(directory)?;
    let own =
        |row: &&WorkerRow| row.state != "lost" && row.place.as_ref().is_some_and(|place| is_at(place, nodes));
    let mut events = session.events(Topic::Workers);
    for row in session.ask_workers()?.iter().filter(own) {
        match session.stop(Some(row.worker), drain) {
            // It may have ended by itself.
            Ok(()) | Err(ClientError::Refused { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    let until = Instant::now() + drain + WORKER_END;
    while session.ask_workers()?.iter().any(|row| own(&row)) {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        match events.next_within(left.min(ASK_AGAIN)) {
            Ok(_) | Err(ClientError::TimedOut { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requested_workers_are_at_their_node() {
        let nodes = ["n1", "n2.site"].map(str::to_owned);
        for place in ["n1", "n1.4", "n2.site", "n2.site.17"] {
            assert!(is_at(place, &nodes), "{place}");
        }
        for place in ["n11", "n2", "n2.4", "1", ""] {
            assert!(!is_at(place, &nodes), "{place}");
        }
    }
}
