//! What a pilot's commands are told.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::json;

use crate::moment::iso;

/// Bytes of a text in a program's environment: more would keep it from being started.
const TEXT: usize = 4_096;

/// Something that a user or a site may want to do something about.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) kind: Kind,
    /// When.
    pub(crate) at: SystemTime,
    /// What it is about: a worker's name, an agent's process.
    pub(crate) about: String,
    /// What happened, for people.
    pub(crate) message: String,
    /// The agent's life, where that is known.
    pub(crate) incarnation: Option<u64>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The agent serves, for the first time or again.
    AgentStarted,
    /// The agent has died; its parent starts it again.
    AgentLost,
    /// A worker is lost.
    WorkerLost,
    /// Another alarm, by its name.
    Alarm(String),
    /// The time of the job is nearly over.
    TimeNearlyOver,
    /// The pilot has ended, in order or not.
    PilotEnded { well: bool },
}

impl Kind {
    /// As `SCALEMS_EVENT` has it.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::AgentStarted => "agent_started",
            Self::AgentLost => "agent_lost",
            Self::WorkerLost => "worker_lost",
            Self::Alarm(_) => "alarm",
            Self::TimeNearlyOver => "time_nearly_over",
            Self::PilotEnded { .. } => "pilot_ended",
        }
    }
}

/// Whose events they are.
#[derive(Clone, Debug)]
pub(crate) struct Whose {
    pub(crate) pilot: String,
    pub(crate) directory: PathBuf,
}

impl Event {
    pub(crate) fn now(kind: Kind, about: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            kind,
            at: SystemTime::now(),
            about: about.into(),
            message: message.into(),
            incarnation: None,
        }
    }

    fn alarm(&self) -> Option<&str> {
        match &self.kind {
            Kind::WorkerLost => Some("worker_lost"),
            Kind::Alarm(name) => Some(name),
            _ => None,
        }
    }

    const fn well(&self) -> Option<bool> {
        match self.kind {
            Kind::PilotEnded { well } => Some(well),
            _ => None,
        }
    }

    /// What is on the command's standard input: one JSON object, in one line.
    pub(crate) fn json(&self, whose: &Whose) -> String {
        let object = json!({
            "event": self.kind.name(),
            "at": iso(self.at),
            "pilot": whose.pilot,
            "directory": whose.directory.to_string_lossy(),
            "incarnation": self.incarnation,
            "alarm": self.alarm(),
            "about": self.about,
            "message": self.message,
            "well": self.well(),
        });
        format!("{object}\n")
    }

    /// The same in its environment.
    pub(crate) fn variables(&self, whose: &Whose) -> Vec<(&'static str, String)> {
        let mut variables = vec![
            ("SCALEMS_EVENT", self.kind.name().to_owned()),
            ("SCALEMS_EVENT_AT", iso(self.at)),
            ("SCALEMS_EVENT_ABOUT", text(&self.about)),
            ("SCALEMS_EVENT_MESSAGE", text(&self.message)),
            ("SCALEMS_PILOT", whose.pilot.clone()),
            ("SCALEMS_CONNECTION", text(&whose.directory.to_string_lossy())),
        ];
        variables.extend(self.alarm().map(|alarm| ("SCALEMS_EVENT_ALARM", text(alarm))));
        variables.extend(self.well().map(|well| ("SCALEMS_EVENT_WELL", well.to_string())));
        let incarnation = self.incarnation.map(|number| number.to_string());
        variables.extend(incarnation.map(|number| ("SCALEMS_EVENT_INCARNATION", number)));
        variables
    }
}

/// As an environment can have it.
fn text(text: &str) -> String {
    let end = text.floor_char_boundary(TEXT);
    text[..end].replace('\0', "")
}

/// The directory of a pilot and its name.
impl Whose {
    pub(crate) fn new(pilot: &str, directory: &Path) -> Self {
        Self {
            pilot: pilot.to_owned(),
            directory: directory.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_told_the_same_in_two_ways() {
        let whose = Whose::new("night", Path::new("/p/night"));
        let long = format!("silent\0 {}", "ß".repeat(5_000));
        let event = Event {
            incarnation: Some(2),
            ..Event::now(Kind::WorkerLost, "n1", long.clone())
        };
        let said: serde_json::Value = serde_json::from_str(&event.json(&whose)).unwrap();
        assert_eq!(said["event"], "worker_lost");
        assert_eq!(said["alarm"], "worker_lost");
        assert_eq!(said["message"], long);
        assert_eq!(said["well"], serde_json::Value::Null);
        let variables: std::collections::BTreeMap<_, _> = event.variables(&whose).into_iter().collect();
        assert_eq!(variables["SCALEMS_EVENT"], "worker_lost");
        assert_eq!(variables["SCALEMS_EVENT_INCARNATION"], "2");
        let message = &variables["SCALEMS_EVENT_MESSAGE"];
        assert!(message.len() <= TEXT && !message.contains('\0'), "{message}");
        let ended = Event::now(Kind::PilotEnded { well: false }, "", "killed");
        assert!(
            ended
                .variables(&whose)
                .contains(&("SCALEMS_EVENT_WELL", "false".to_owned()))
        );
    }
}
