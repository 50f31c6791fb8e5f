//! Keeps the state: an observer of the agent, which comes back when that does.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use scalems_client::locate::Located;
use scalems_client::protocol::event::Topic;
use scalems_client::{ClientError, Session};

use super::state::State;
use crate::commands::observe_located;

/// How soon it is tried again to reach an agent.
const AGAIN: Duration = Duration::from_secs(1);
/// How soon it is noticed that the agent is gone.
const LOOK: Duration = Duration::from_millis(250);
/// What no topic tells is asked for at most so often, and only while somebody wants it.
const ASK: Duration = Duration::from_secs(5);

/// What is known, and whether somebody has asked for it.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    pub(super) state: Arc<Mutex<State>>,
    pub(super) wanted: Arc<AtomicBool>,
}

impl Known {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Follows the pilot of this directory, or connection file, as long as the process lives.
pub(super) fn follow(place: PathBuf, known: Known) -> std::io::Result<()> {
    std::thread::Builder::new()
        .name("scalems-follow".into())
        .spawn(move || {
            // One end of it is never dropped: this is how a thread waits and does nothing.
            let (_never, pause) = sync_channel::<()>(1);
            loop {
                match connect(&place) {
                    Ok(session) => listen(&session, &known),
                    Err(error) => tracing::debug!("the pilot is not reached for its metrics: {error}"),
                }
                known.state().lost();
                // Nobody says anything: the time is over.
                let _over = pause.recv_timeout(AGAIN);
            }
        })?;
    Ok(())
}

fn connect(place: &Path) -> Result<Session, ClientError> {
    observe_located(Located::read(place)?)
}

/// Takes in what the agent says until the session is over.
fn listen(session: &Session, known: &Known) {
    let (wake, woken) = sync_channel(1);
    let topics = [
        Topic::Summary,
        Topic::Workers,
        Topic::Alarms,
        Topic::Faults,
        Topic::Health,
    ];
    let mut listening = topics.map(|topic| {
        let wake = wake.clone();
        let waking = session.on_event(topic.clone(), move |_| {
            // One word is enough, however much has come.
            let _woken = wake.try_send(());
        });
        (session.events(topic), waking)
    });
    let mut asked: Option<Instant> = None;
    while session.over().is_none() {
        match session.pilot().filter(|_| session.is_connected()) {
            Some(pilot) => known.state().connected(&pilot.pilot_name, pilot.incarnation),
            None => known.state().lost(),
        }
        for (events, _) in &mut listening {
            while let Some(update) = events.try_next() {
                known.state().take(update);
            }
        }
        let due = asked.is_none_or(|at| at.elapsed() >= ASK && known.wanted.load(Ordering::Relaxed));
        if due && session.is_connected() {
            known.wanted.store(false, Ordering::Relaxed);
            asked = Some(Instant::now());
            if let Err(error) = ask(session, known) {
                tracing::debug!("the agent does not say how its workers are: {error}");
            }
        }
        // Whatever it says, the loop looks again.
        let _woken = woken.recv_timeout(LOOK);
    }
}

fn ask(session: &Session, known: &Known) -> Result<(), ClientError> {
    let status = session.ask_status()?;
    let rows = session.ask_workers()?;
    let mut state = known.state();
    // One that is reached again has another.
    if state.incarnation == status.incarnation {
        state.status = Some(Box::new(status));
        state.all_workers(rows);
    }
    Ok(())
}
