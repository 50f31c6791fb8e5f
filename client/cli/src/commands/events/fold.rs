//! What updates of topics come to as lines: pure, so that a test says what each line is.

use std::collections::{BTreeMap, VecDeque};

use scalems_client::Update;
use scalems_client::protocol::client::{Counts, SubmissionRow, WorkerRow};
use scalems_client::protocol::event::{Alarm, Body, FaultGroup, Health, Topic};
use scalems_client::protocol::group::Run;
use scalems_client::protocol::{Progress, TaskState};
use serde_json::{Map, Value, json};

use crate::print;

/// Alarms that are known, so that a state that comes again tells none twice: twice what an agent keeps.
const ALARMS: usize = 512;

/// One line, without its time unless that is in it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Line {
    /// The topic's name.
    pub(super) topic: String,
    /// What happened.
    pub(super) kind: String,
    /// When, since the agent began, if that is not now.
    pub(super) at_ms: Option<u64>,
    /// What belongs to the kind.
    pub(super) fields: Map<String, Value>,
    /// The same for people.
    pub(super) text: String,
}

impl Line {
    pub(super) fn new(topic: impl Into<String>, kind: &str, fields: Value, text: String) -> Self {
        let Value::Object(fields) = fields else {
            unreachable!("fields have names")
        };
        Self {
            topic: topic.into(),
            kind: kind.to_owned(),
            at_ms: None,
            fields,
            text,
        }
    }
}

/// What has been said so far.
#[derive(Debug, Default)]
pub(super) struct Fold {
    /// Workers that are there, and their states.
    workers: BTreeMap<u64, String>,
    alarms: VecDeque<Alarm>,
}

impl Fold {
    /// The agent is another: it counts its alarms anew.
    pub(super) fn restarted(&mut self) {
        self.alarms.clear();
    }

    /// The lines of an update.
    pub(super) fn take(&mut self, topic: &Topic, update: &Update) -> Vec<Line> {
        let (body, state) = match update {
            Update::Snapshot(body) => (body, true),
            Update::Event(body) => (body, false),
            Update::Refused(refusal) => {
                let text = format!("{} is not told: {}", topic.name(), print::safe(&refusal.message));
                let fields = json!({"code": refusal.code.to_string(), "message": refusal.message});
                return vec![Line::new(topic.name(), "refused", fields, text)];
            }
        };
        match body {
            Body::Summary {
                tasks,
                workers,
                resources,
                fractions,
            } => {
                let (active, suspect, draining, lost) = workers;
                let fields = json!({
                    "tasks": tasks,
                    "workers": {"active": active, "suspect": suspect, "draining": draining, "lost": lost},
                    "resources": resources.iter().map(|(kind, total, used)| (kind.clone(), json!({"total": total, "used": used})))
                        .collect::<Map<_, _>>(),
                });
                let text = format!(
                    "{}; {active} workers; {}",
                    said(tasks),
                    print::resources(resources, fractions)
                );
                vec![Line::new("summary", "state", fields, text)]
            }
            Body::Tasks { runs, counts } => vec![tasks(topic, state, runs, counts)],
            Body::Progress { tasks } => tasks.iter().map(|said| progress(topic, said)).collect(),
            Body::Workers { rows } => rows.iter().filter_map(|row| self.worker(row, state)).collect(),
            Body::Alarms { alarms } => alarms.iter().filter_map(|alarm| self.alarm(alarm)).collect(),
            Body::Submissions { rows, gone, .. } => {
                let rows = rows.iter().map(|row| submission(row, state));
                rows.chain(gone.iter().map(|number| forgotten(*number))).collect()
            }
            Body::Faults { groups } => groups.iter().map(|group| fault(group, state)).collect(),
            Body::Health(health) => vec![self::health(health)],
            // It asks for the state, which comes.
            Body::Open => Vec::new(),
        }
    }

    fn worker(&mut self, row: &WorkerRow, state: bool) -> Option<Line> {
        let known = match row.state.as_str() {
            "lost" | "gone" => self.workers.remove(&row.worker),
            _ => self.workers.insert(row.worker, row.state.clone()),
        };
        let kind = match known {
            Some(before) if before == row.state => return None,
            Some(_) if row.state == "active" => "back",
            Some(_) => &row.state,
            None if state => "state",
            None if row.state == "active" => "joined",
            None => &row.state,
        };
        let what = match kind {
            "state" => format!("is {}", row.state),
            "joined" => "has joined".to_owned(),
            "back" => "is back".to_owned(),
            "lost" => "is lost".to_owned(),
            "gone" => "has ended".to_owned(),
            other => format!("is {other}"),
        };
        let text = format!(
            "worker {} ({}, on {}) {what}",
            row.worker,
            print::safe(&row.name),
            print::safe(&row.host)
        );
        let fields = json!({
            "worker": row.worker, "name": row.name, "host": row.host, "pid": row.pid, "state": row.state,
            "leases": {"ahead": row.leases.0, "running": row.leases.1}, "ended": row.ended, "left_ms": row.left_ms,
        });
        Some(Line::new("workers", kind, fields, text))
    }

    fn alarm(&mut self, alarm: &Alarm) -> Option<Line> {
        if self.alarms.contains(alarm) {
            return None;
        }
        if self.alarms.len() == ALARMS {
            self.alarms.pop_front();
        }
        self.alarms.push_back(alarm.clone());
        let text = format!(
            "alarm {} of {}: {}",
            print::safe(&alarm.alarm),
            print::safe(&alarm.about),
            print::safe(&alarm.message)
        );
        let fields = json!({"about": alarm.about, "message": alarm.message});
        let line = Line::new("alarms", &alarm.alarm, fields, text);
        Some(Line {
            at_ms: Some(alarm.at_ms),
            ..line
        })
    }
}

fn tasks(topic: &Topic, state: bool, runs: &[(Run, TaskState)], counts: &Counts) -> Line {
    let number = number(topic);
    let rows: Vec<Value> = runs
        .iter()
        .map(|(run, state)| json!({"offsets": [run.lo, run.hi], "attempt": run.attempt, "state": state.name()}))
        .collect();
    let changed: Vec<String> = runs
        .iter()
        .take(3)
        .map(|(run, state)| match run.count() {
            1 => format!("{} {}", run.lo, state.name()),
            _ => format!("{}-{} {}", run.lo, run.hi - 1, state.name()),
        })
        .collect();
    let (kind, text) = if state {
        ("state", said(counts))
    } else {
        let more = if runs.len() > changed.len() { ", …" } else { "" };
        (
            "tasks",
            format!("{}{more}; now {}", changed.join(", "), said(counts)),
        )
    };
    let fields = json!({"submission": number, "tasks": counts, "runs": rows});
    Line::new(topic.name(), kind, fields, format!("submission {number}: {text}"))
}

fn progress(topic: &Topic, progress: &Progress) -> Line {
    let Progress { run, fraction, text } = progress;
    let fields = json!({
        "submission": run.submission, "offset": run.lo, "attempt": run.attempt, "fraction": fraction, "text": text,
    });
    let text = format!(
        "submission {}: {} is at {:.0} % {}",
        run.submission,
        run.lo,
        fraction * 100.0,
        print::safe(text)
    );
    Line::new(topic.name(), "progress", fields, text.trim_end().to_owned())
}

/// What a line is: how something is, or that it has changed.
const fn changed(state: bool) -> &'static str {
    if state { "state" } else { "changed" }
}

fn submission(row: &SubmissionRow, state: bool) -> Line {
    let fields = json!({
        "submission": row.submission, "mode": row.mode, "name": row.name, "session": row.session,
        "labels": row.labels, "indices": row.indices, "tasks": row.tasks, "open": row.open,
    });
    let name = row
        .name
        .as_deref()
        .map_or_else(String::new, |name| format!(" ({})", print::safe(name)));
    let text = format!("submission {}{name}: {}", row.submission, said(&row.tasks));
    Line::new("submissions", changed(state), fields, text)
}

fn forgotten(submission: u64) -> Line {
    let text = format!("submission {submission} is forgotten");
    Line::new("submissions", "gone", json!({"submission": submission}), text)
}

fn fault(group: &FaultGroup, state: bool) -> Line {
    let (submission, index) = group.last;
    let fields = json!({
        "code": group.code, "what": group.what, "host": group.host, "worker": group.worker, "message": group.message,
        "failed": group.failed, "retried": group.retried, "last": format!("{submission}.{index}"),
    });
    let what = [&group.code, &group.what].map(|text| print::safe(text));
    let on = if group.host.is_empty() {
        String::new()
    } else {
        format!(" on {}", print::safe(&group.host))
    };
    let text = format!(
        "{}{on}: {} failed, {} tried again; the last was {submission}.{index}: {}",
        what.join(" ").trim_end(),
        group.failed,
        group.retried,
        print::safe(&group.message)
    );
    let line = Line::new("faults", changed(state), fields, text);
    Line {
        at_ms: Some(group.at_ms),
        ..line
    }
}

fn health(health: &Health) -> Line {
    let text = format!(
        "the agent: {} rounds in {} ms, the longest {} µs; {} MiB; {} tasks have ended",
        health.rounds,
        health.span_ms,
        health.round_us.2,
        health.rss_bytes >> 20,
        health.ended
    );
    let mut fields = serde_json::to_value(health).unwrap_or_default();
    if let Value::Object(fields) = &mut fields {
        // The line has it.
        fields.remove("at_ms");
    }
    let line = Line::new("health", "state", fields, text);
    Line {
        at_ms: Some(health.at_ms),
        ..line
    }
}

/// All of a submission has ended.
pub(super) fn ended(submission: u64, counts: &Counts) -> Line {
    let fields = json!({"submission": submission, "tasks": counts});
    let text = format!("submission {submission} has ended: {}", said(counts));
    Line::new(Topic::Submission(submission).name(), "ended", fields, text)
}

fn number(topic: &Topic) -> u64 {
    match topic {
        Topic::Submission(number) => *number,
        _ => 0,
    }
}

/// Counts that are not 0.
fn said(counts: &Counts) -> String {
    let mut counts = *counts;
    let some: Vec<String> = TaskState::ALL
        .into_iter()
        .filter_map(|state| match *counts.of(state) {
            0 => None,
            count => Some(format!("{count} {}", state.name())),
        })
        .collect();
    if some.is_empty() {
        "no tasks".to_owned()
    } else {
        some.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(worker: u64, state: &str) -> WorkerRow {
        WorkerRow {
            worker,
            name: "w\u{1b}[2J".to_owned(),
            host: "n1".to_owned(),
            pid: 7,
            state: state.to_owned(),
            resources: Vec::new(),
            fractions: Vec::new(),
            leases: (2, 1),
            ended: 5,
            silent_ms: 0,
            beats: (0, 0),
            left_ms: None,
            place: None,
            requested_by: None,
        }
    }

    fn workers(fold: &mut Fold, update: impl Fn(Body) -> Update, rows: &[WorkerRow]) -> Vec<String> {
        let rows = rows.to_vec();
        let lines = fold.take(&Topic::Workers, &update(Body::Workers { rows }));
        lines.into_iter().map(|line| line.kind).collect()
    }

    #[test]
    fn a_worker_is_told_of_when_its_state_changes() {
        let mut fold = Fold::default();
        let state = [row(1, "active"), row(2, "suspect")];
        assert_eq!(workers(&mut fold, Update::Snapshot, &state), ["state", "state"]);
        // That comes again after a gap.
        assert!(workers(&mut fold, Update::Snapshot, &state).is_empty());
        for (change, kind) in [
            (row(2, "active"), "back"),
            (row(3, "active"), "joined"),
            (row(3, "draining"), "draining"),
            (row(3, "gone"), "gone"),
            (row(1, "lost"), "lost"),
            (row(1, "active"), "joined"),
        ] {
            assert_eq!(workers(&mut fold, Update::Event, &[change]), [kind]);
        }
        assert!(workers(&mut fold, Update::Event, &[row(1, "active")]).is_empty());
    }

    #[test]
    fn what_others_named_reaches_no_terminal_as_it_is() {
        let rows = vec![row(1, "active")];
        let lines = Fold::default().take(&Topic::Workers, &Update::Event(Body::Workers { rows }));
        assert_eq!(lines[0].text, "worker 1 (w\\u{1b}[2J, on n1) has joined");
        assert_eq!(lines[0].fields["name"], "w\u{1b}[2J");
    }

    #[test]
    fn an_alarm_is_told_once_in_a_life_of_the_agent() {
        let alarm = Alarm {
            alarm: "worker_lost".to_owned(),
            about: "w".to_owned(),
            message: "silent".to_owned(),
            at_ms: 12,
        };
        let body = Body::Alarms { alarms: vec![alarm] };
        let mut fold = Fold::default();
        let lines = fold.take(&Topic::Alarms, &Update::Event(body.clone()));
        assert_eq!(
            (lines[0].kind.as_str(), lines[0].at_ms),
            ("worker_lost", Some(12))
        );
        assert!(
            fold.take(&Topic::Alarms, &Update::Snapshot(body.clone()))
                .is_empty()
        );
        fold.restarted();
        assert_eq!(fold.take(&Topic::Alarms, &Update::Snapshot(body)).len(), 1);
    }

    #[test]
    fn tasks_are_told_by_runs_and_counts() {
        let run = |lo, hi| Run {
            submission: 5,
            lo,
            hi,
            attempt: 1,
        };
        let counts = Counts {
            running: 10,
            done: 1,
            ..Counts::default()
        };
        let body = Body::Tasks {
            runs: vec![(run(0, 10), TaskState::Running), (run(10, 11), TaskState::Done)],
            counts,
        };
        let lines = Fold::default().take(&Topic::Submission(5), &Update::Event(body.clone()));
        assert_eq!(
            lines[0].text,
            "submission 5: 0-9 running, 10 done; now 10 running, 1 done"
        );
        assert_eq!(
            lines[0].fields["runs"][0],
            json!({"offsets": [0, 10], "attempt": 1, "state": "running"})
        );
        let lines = Fold::default().take(&Topic::Submission(5), &Update::Snapshot(body));
        assert_eq!(lines[0].kind, "state");
    }
}
