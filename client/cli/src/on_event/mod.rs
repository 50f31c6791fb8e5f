//! Commands that are run when something happens to a pilot (`--on-event`): by the process that outlives the agent, a
//! few at once, each for a short time, and whatever they do changes nothing for the pilot.

mod command;
mod event;
mod watch;

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;

use self::command::DEADLINE;
pub(crate) use self::command::OnEvent;
pub(crate) use self::event::{Event, Kind, Whose};

/// Commands that run at once.
const AT_ONCE: usize = 4;
/// Events that wait for that: a rack of nodes that goes. What comes over it is logged and dropped.
const WAITING: usize = 256;
/// After its last event what runs and waits has so long.
const LAST: Duration = Duration::from_secs(32);

/// Runs commands for what happens to a pilot.
pub(crate) struct Hooks(Option<Running>);

struct Running {
    events: mpsc::Sender<Event>,
    closing: oneshot::Sender<()>,
    over: std::sync::mpsc::Receiver<()>,
    stop_watching: SyncSender<()>,
    watching: JoinHandle<()>,
}

impl Hooks {
    /// Begins to, if there are commands. `starts`: it also finds out by itself when an agent serves.
    pub(crate) fn start(commands: &[OnEvent], whose: &Whose, starts: bool) -> std::io::Result<Self> {
        if commands.is_empty() {
            return Ok(Self(None));
        }
        let (events, taken) = mpsc::channel(WAITING);
        let (closing, closed) = oneshot::channel();
        let (tell, over) = sync_channel(1);
        let (commands, own) = (commands.to_vec(), whose.clone());
        std::thread::Builder::new()
            .name("scalems-events".into())
            .spawn(move || {
                match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                    Ok(runtime) => runtime.block_on(async {
                        tokio::select! {
                            () = serve(commands, own, taken) => {}
                            () = too_late(closed) => {
                                tracing::error!("commands of --on-event are not over {LAST:?} after the pilot's end, and are killed");
                            }
                        }
                    }),
                    Err(error) => tracing::error!(%error, "no command is run for events"),
                }
                // Nobody waits any more if it took too long.
                let _told = tell.send(());
            })?;
        let (stop_watching, told) = sync_channel(1);
        let (directory, to) = (whose.directory.clone(), events.clone());
        let watching = std::thread::Builder::new()
            .name("scalems-watch".into())
            .spawn(move || watch::watch(directory, starts, &told, |event| put(&to, event)))?;
        Ok(Self(Some(Running {
            events,
            closing,
            over,
            stop_watching,
            watching,
        })))
    }

    /// Tells them, and comes back at once.
    pub(crate) fn tell(&self, event: Event) {
        if let Some(running) = &self.0 {
            put(&running.events, event);
        }
    }

    /// Tells them the last event, if there is one, and waits for what they do about it.
    pub(crate) fn end(self, last: Option<Event>) {
        let Some(running) = self.0 else { return };
        // It ends by itself if it has gone already.
        let _told = running.stop_watching.try_send(());
        if running.watching.join().is_err() {
            tracing::error!("whoever watched the pilot for its commands has panicked");
        }
        if let Some(last) = last {
            put(&running.events, last);
        }
        drop(running.events);
        // Nobody hears it only when all is over.
        let _told = running.closing.send(());
        // It has a deadline of its own, and some time for it.
        let _over = running.over.recv_timeout(LAST + DEADLINE);
    }
}

fn put(events: &mpsc::Sender<Event>, event: Event) {
    if let Err(error) = events.try_send(event) {
        let (mpsc::error::TrySendError::Full(event) | mpsc::error::TrySendError::Closed(event)) = error;
        tracing::error!(
            event = event.kind.name(),
            about = event.about,
            "no command is run for it: {WAITING} events wait"
        );
    }
}

/// The time after a pilot's end is over.
async fn too_late(closed: oneshot::Receiver<()>) {
    // Whoever would say it is gone: that is an end too.
    let _closed = closed.await;
    tokio::time::sleep(LAST).await;
}

async fn serve(commands: Vec<OnEvent>, whose: Whose, mut events: mpsc::Receiver<Event>) {
    let (whose, room) = (Arc::new(whose), Arc::new(Semaphore::new(AT_ONCE)));
    let mut runs = JoinSet::new();
    while let Some(event) = events.recv().await {
        let event = Arc::new(event);
        for command in &commands {
            // Not before there is room: what waits waits in the queue, which has a bound.
            let Ok(seat) = Arc::clone(&room).acquire_owned().await else {
                return;
            };
            let (command, event, whose) = (command.clone(), Arc::clone(&event), Arc::clone(&whose));
            runs.spawn(async move {
                let (text, name) = (command.text(), event.kind.name());
                match command.run(&event, &whose, DEADLINE).await {
                    Ok(()) => tracing::info!(event = name, command = text, "a command was run"),
                    Err(error) => tracing::error!(event = name, command = text, "a command failed: {error}"),
                }
                drop(seat);
            });
        }
        while runs.try_join_next().is_some() {}
    }
    while runs.join_next().await.is_some() {}
}
