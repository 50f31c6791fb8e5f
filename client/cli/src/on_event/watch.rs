//! Hears of a pilot what its parent does not know by itself: that an agent serves, and what alarms it raises. An
//! observer, so that nothing that a command does reaches the agent.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, SystemTime};

use scalems_client::locate::Located;
use scalems_client::protocol::event::{Alarm, Body, Topic};
use scalems_client::{ClientError, Session, Update};

use super::event::{Event, Kind};
use crate::commands::observe_located;

/// How soon it is tried again to reach an agent, and how soon an end is noticed.
const AGAIN: Duration = Duration::from_millis(500);
/// Alarms that are known: as many as an agent keeps.
const ALARMS: usize = 256;

/// Watches the pilot in this directory until `ending` says something, or nobody could any more.
pub(super) fn watch(directory: PathBuf, starts: bool, ending: &Receiver<()>, tell: impl Fn(Event)) {
    let mut watch = Watch {
        directory,
        starts,
        incarnation: 0,
        alarms: VecDeque::new(),
        tell,
    };
    while ending.recv_timeout(AGAIN) == Err(RecvTimeoutError::Timeout) {
        // Before it serves, and after its end, there is none.
        let session = Located::read(&watch.directory)
            .map_err(ClientError::from)
            .and_then(observe_located);
        if let Ok(session) = session
            && watch.listen(&session, ending)
        {
            return;
        }
    }
}

struct Watch<T> {
    directory: PathBuf,
    /// Whether it says that an agent serves.
    starts: bool,
    incarnation: u64,
    alarms: VecDeque<Alarm>,
    tell: T,
}

impl<T: Fn(Event)> Watch<T> {
    /// Listens as long as the session lives. Returns whether that is all.
    fn listen(&mut self, session: &Session, ending: &Receiver<()>) -> bool {
        let mut alarms = session.events(Topic::Alarms);
        loop {
            self.look(session);
            match alarms.next_within(AGAIN) {
                Ok(Some(
                    Update::Snapshot(Body::Alarms { alarms }) | Update::Event(Body::Alarms { alarms }),
                )) => {
                    for alarm in alarms {
                        self.alarm(alarm);
                    }
                }
                Ok(Some(_)) | Err(ClientError::TimedOut { .. }) => {}
                Ok(None) | Err(_) => return false,
            }
            if ending.try_recv() != Err(std::sync::mpsc::TryRecvError::Empty) {
                return true;
            }
        }
    }

    /// Says when another agent serves.
    fn look(&mut self, session: &Session) {
        let Some(pilot) = session
            .pilot()
            .filter(|pilot| pilot.incarnation != self.incarnation)
        else {
            return;
        };
        let first = self.incarnation == 0;
        self.incarnation = pilot.incarnation;
        self.alarms.clear();
        if !self.starts {
            return;
        }
        let again = if first { "" } else { " again" };
        (self.tell)(Event {
            incarnation: Some(pilot.incarnation),
            ..Event::now(
                Kind::AgentStarted,
                pilot.incarnation.to_string(),
                format!("the agent of pilot {} serves{again}", pilot.pilot_name),
            )
        });
    }

    fn alarm(&mut self, alarm: Alarm) {
        if self.alarms.contains(&alarm) {
            return;
        }
        if self.alarms.len() == ALARMS {
            self.alarms.pop_front();
        }
        let kind = match alarm.alarm.as_str() {
            "worker_lost" => Kind::WorkerLost,
            other => Kind::Alarm(other.to_owned()),
        };
        (self.tell)(Event {
            kind,
            at: SystemTime::now(),
            about: alarm.about.clone(),
            message: alarm.message.clone(),
            incarnation: Some(self.incarnation),
        });
        self.alarms.push_back(alarm);
    }
}
