//! All metrics, each once: its name, what it is, its labels and what it says. The guide's table and the dashboard are
//! held to this by tests.

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// How much there is now.
    Gauge,
    /// How much there was since the agent began.
    Counter,
    /// A fact, which is in its labels.
    Info,
}

/// One metric.
#[derive(Debug)]
pub(super) struct Metric {
    /// With its unit and, for a counter, `_total`.
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// Its labels; each has few values, whatever a pilot does.
    pub(super) labels: &'static [&'static str],
    /// What it says.
    pub(super) help: &'static str,
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric {
        name,
        kind: Kind::Gauge,
        labels,
        help,
    }
}

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric {
        kind: Kind::Counter,
        ..gauge(name, labels, help)
    }
}

pub(super) const BUILD: Metric = Metric {
    kind: Kind::Info,
    ..gauge(
        "scalems_build_info",
        &["version", "protocol"],
        "The program that answers",
    )
};
pub(super) const PILOT: Metric = Metric {
    kind: Kind::Info,
    ..gauge("scalems_pilot_info", &["pilot"], "The pilot that this is about")
};
pub(super) const UP: Metric = gauge(
    "scalems_up",
    &[],
    "Whether the agent is reached: without it there is nothing else",
);
pub(super) const INCARNATION: Metric = gauge("scalems_agent_incarnation", &[], "The agent's life, from 1");
pub(super) const AGE: Metric = gauge("scalems_agent_age_seconds", &[], "Time since the agent began");
pub(super) const TASKS: Metric = gauge("scalems_tasks", &["state"], "Tasks that are known, by state");
pub(super) const ENDED: Metric = counter(
    "scalems_tasks_ended_total",
    &[],
    "Tasks that have ended in this life of the agent",
);
pub(super) const WAITED: Metric = gauge(
    "scalems_task_wait_seconds",
    &["at"],
    "From when tasks were submitted until a worker was given them, in the last second",
);
pub(super) const RAN: Metric = gauge(
    "scalems_task_run_seconds",
    &["at"],
    "How long tasks ran that ended in the last second",
);
pub(super) const SUBMISSIONS: Metric = gauge("scalems_submissions", &[], "Submissions that are known");
pub(super) const CLIENTS: Metric = gauge("scalems_clients", &[], "Clients that are attached, observers too");
pub(super) const WORKERS: Metric = gauge("scalems_workers", &["state"], "Workers, by state");
pub(super) const LOST: Metric = counter("scalems_workers_lost_total", &[], "Workers that were lost");
pub(super) const CAPACITY: Metric = gauge(
    "scalems_resource_capacity",
    &["resource"],
    "What the workers offer, by kind, but memory and disk",
);
pub(super) const USED: Metric = gauge("scalems_resource_used", &["resource"], "What of it tasks have");
pub(super) const MEMORY: Metric = gauge(
    "scalems_memory_capacity_bytes",
    &[],
    "Memory that the workers offer",
);
pub(super) const MEMORY_USED: Metric = gauge(
    "scalems_memory_used_bytes",
    &[],
    "What of it tasks have asked for",
);
pub(super) const DISK: Metric = gauge("scalems_disk_capacity_bytes", &[], "Disk that the workers offer");
pub(super) const DISK_USED: Metric = gauge("scalems_disk_used_bytes", &[], "What of it tasks have asked for");
pub(super) const WORKER_RUNNING: Metric = gauge(
    "scalems_worker_tasks_running",
    &["worker", "host"],
    "Tasks that run there",
);
pub(super) const WORKER_AHEAD: Metric = gauge(
    "scalems_worker_tasks_ahead",
    &["worker", "host"],
    "Tasks that it was given and has not started",
);
pub(super) const WORKER_ENDED: Metric = counter(
    "scalems_worker_tasks_ended_total",
    &["worker", "host"],
    "Tasks that have ended there",
);
pub(super) const TIME_LEFT: Metric = gauge(
    "scalems_time_left_seconds",
    &[],
    "How long the last worker will be there, where that is known",
);
pub(super) const ALARMS: Metric = counter(
    "scalems_alarms_total",
    &["alarm"],
    "Alarms since this program listens",
);
pub(super) const FAILED: Metric = counter(
    "scalems_faults_failed_total",
    &["code", "host"],
    "Tasks that failed, by the code of their error",
);
pub(super) const RETRIED: Metric = counter(
    "scalems_faults_retried_total",
    &["code", "host"],
    "Attempts that failed and were followed by another",
);
pub(super) const ROUNDS: Metric = gauge(
    "scalems_agent_rounds",
    &[],
    "Rounds of the agent's bus in the last second",
);
pub(super) const ROUND: Metric = gauge(
    "scalems_agent_round_seconds",
    &["at"],
    "How long a round took, without waiting, in the last second",
);
pub(super) const QUEUE: Metric = gauge(
    "scalems_agent_queue_depth",
    &["queue"],
    "What is kept in bounds: how much there is",
);
pub(super) const QUEUE_LIMIT: Metric = gauge(
    "scalems_agent_queue_limit",
    &["queue"],
    "What is kept in bounds: the bound",
);
pub(super) const RESIDENT: Metric = gauge(
    "scalems_agent_resident_memory_bytes",
    &[],
    "Memory of the agent's process",
);
pub(super) const CPU: Metric = counter(
    "scalems_agent_cpu_seconds_total",
    &[],
    "Processor time of the agent's process",
);
pub(super) const DROPPED: Metric = counter(
    "scalems_events_dropped_total",
    &[],
    "Events that could not be published",
);
pub(super) const REFUSED: Metric = counter(
    "scalems_agent_counted_total",
    &["what"],
    "What the agent has refused or dropped, as pilot info has it",
);
pub(super) const JOURNAL_RECORDS: Metric = gauge(
    "scalems_journal_waiting_records",
    &[],
    "Records that are not on disk",
);
pub(super) const JOURNAL_BYTES: Metric =
    gauge("scalems_journal_waiting_bytes", &[], "Bytes of these records");
pub(super) const JOURNAL_SIZE: Metric = gauge(
    "scalems_journal_size_bytes",
    &[],
    "Bytes of the journal's file, its log included",
);
pub(super) const JOURNAL_COMMIT: Metric = gauge(
    "scalems_journal_commit_seconds",
    &["at"],
    "How long a commit took, in the last second",
);
pub(super) const JOURNAL_FULL: Metric = gauge(
    "scalems_journal_full",
    &[],
    "Whether the disk has no room for records",
);

/// All of them, in the order in which they are told.
pub(super) const ALL: [&Metric; 39] = [
    &BUILD,
    &PILOT,
    &UP,
    &INCARNATION,
    &AGE,
    &TASKS,
    &ENDED,
    &WAITED,
    &RAN,
    &SUBMISSIONS,
    &CLIENTS,
    &WORKERS,
    &LOST,
    &CAPACITY,
    &USED,
    &MEMORY,
    &MEMORY_USED,
    &DISK,
    &DISK_USED,
    &WORKER_RUNNING,
    &WORKER_AHEAD,
    &WORKER_ENDED,
    &TIME_LEFT,
    &ALARMS,
    &FAILED,
    &RETRIED,
    &ROUNDS,
    &ROUND,
    &QUEUE,
    &QUEUE_LIMIT,
    &RESIDENT,
    &CPU,
    &DROPPED,
    &REFUSED,
    &JOURNAL_RECORDS,
    &JOURNAL_BYTES,
    &JOURNAL_SIZE,
    &JOURNAL_COMMIT,
    &JOURNAL_FULL,
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const GUIDE: &str = include_str!("../../../../docs/guide/metrics.md");
    const DASHBOARD: &str = include_str!("../../../../deploy/grafana/scalems.json");

    fn row(metric: &Metric) -> String {
        let kind = match metric.kind {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
            Kind::Info => "info",
        };
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let row = format!(
            "| `{}` | {kind} | {} | {} |",
            metric.name,
            labels.join(", "),
            metric.help
        );
        row.replace("|  |", "| |")
    }

    fn names(text: &str) -> BTreeSet<&str> {
        text.split(|c: char| !(c.is_ascii_lowercase() || c == '_'))
            .filter(|word| word.starts_with("scalems_") && *word != "scalems_")
            .collect()
    }

    #[test]
    fn names_have_their_units_and_are_there_once() {
        let all: BTreeSet<&str> = ALL.iter().map(|metric| metric.name).collect();
        assert_eq!(all.len(), ALL.len());
        for metric in ALL {
            let name = metric.name;
            assert!(name.starts_with("scalems_"), "{name}");
            assert_eq!(metric.kind == Kind::Counter, name.ends_with("_total"), "{name}");
            assert_eq!(metric.kind == Kind::Info, name.ends_with("_info"), "{name}");
            assert!(
                !metric.help.ends_with('.') && !metric.help.contains('|'),
                "{name}"
            );
        }
    }

    #[test]
    fn the_guide_has_all_of_them_and_no_others() {
        let rows: Vec<&str> = GUIDE
            .lines()
            .filter(|line| line.starts_with("| `scalems_"))
            .collect();
        let expected: Vec<String> = ALL.into_iter().map(row).collect();
        assert_eq!(rows, expected, "the table should be:\n{}", expected.join("\n"));
        let known: BTreeSet<&str> = ALL.iter().map(|metric| metric.name).collect();
        let unknown: Vec<_> = names(GUIDE).difference(&known).copied().collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }

    #[test]
    fn the_dashboard_shows_only_what_there_is() {
        let dashboard: serde_json::Value = serde_json::from_str(DASHBOARD).unwrap();
        for field in [
            "title",
            "uid",
            "schemaVersion",
            "panels",
            "templating",
            "time",
            "refresh",
            "tags",
        ] {
            assert!(!dashboard[field].is_null(), "{field}");
        }
        let variables = dashboard["templating"]["list"].as_array().unwrap();
        assert_eq!(variables[0]["type"], "datasource");
        let known: BTreeSet<&str> = ALL.iter().map(|metric| metric.name).collect();
        let (mut ids, mut shown) = (BTreeSet::new(), BTreeSet::new());
        for panel in dashboard["panels"].as_array().unwrap() {
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
            for side in ["x", "y", "w", "h"] {
                assert!(panel["gridPos"][side].is_u64(), "{panel}");
            }
            if panel["type"] == "row" {
                continue;
            }
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{panel}");
            for target in panel["targets"].as_array().unwrap() {
                assert!(target["refId"].is_string(), "{target}");
                shown.extend(names(target["expr"].as_str().unwrap()));
            }
        }
        let unknown: Vec<_> = shown.difference(&known).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
        assert!(shown.len() > 20, "{shown:?}");
    }
}
