//! The state as `OpenMetrics` text.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use scalems_client::protocol::event::Spread;
use scalems_client::protocol::{TaskState, VERSION};

use super::names::{self, Kind, Metric};
use super::state::State;

/// Workers that are told one by one; of more there are sums only.
const WORKERS: usize = 1_024;
/// Values of a label that others choose, such as kinds of resources; what comes over it is left out.
const VALUES: usize = 512;
/// Bytes of such a value.
const VALUE: usize = 256;

/// A sample: its labels' values, and how much.
type Sample = (Vec<String>, f64);

#[derive(Debug)]
struct Told(Arc<Mutex<State>>);

/// All that is known, as text.
pub(super) fn text(state: &Arc<Mutex<State>>) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Told(Arc::clone(state))));
    let mut out = String::new();
    text::encode(&mut out, &registry)?;
    Ok(out)
}

impl Collector for Told {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (metric, samples) in samples(&state) {
            encode(&mut encoder, metric, samples)?;
        }
        Ok(())
    }
}

fn encode(encoder: &mut DescriptorEncoder<'_>, metric: &Metric, samples: Vec<Sample>) -> fmt::Result {
    let (kind, end) = match metric.kind {
        Kind::Gauge => (MetricType::Gauge, ""),
        Kind::Counter => (MetricType::Counter, "_total"),
        Kind::Info => (MetricType::Info, "_info"),
    };
    let name = metric.name.strip_suffix(end).unwrap_or(metric.name);
    let units = [("_seconds", Unit::Seconds), ("_bytes", Unit::Bytes)];
    let unit = units.iter().find(|(end, _)| name.ends_with(end));
    let name = unit.map_or(name, |(end, _)| name.strip_suffix(end).unwrap_or(name));
    if samples.is_empty() {
        return Ok(());
    }
    let mut family = encoder.encode_descriptor(name, metric.help, unit.map(|(_, unit)| unit), kind)?;
    for (values, value) in samples.into_iter().take(WORKERS.max(VALUES)) {
        let labels: Vec<(&str, String)> = metric.labels.iter().copied().zip(values).collect();
        match metric.kind {
            Kind::Info => family.encode_info(&labels)?,
            Kind::Counter if labels.is_empty() => {
                family.encode_counter::<NoLabelSet, f64, u64>(&value, None)?;
            }
            Kind::Gauge if labels.is_empty() => family.encode_gauge(&value)?,
            Kind::Counter => family
                .encode_family(&labels)?
                .encode_counter::<NoLabelSet, f64, u64>(&value, None)?,
            Kind::Gauge => family.encode_family(&labels)?.encode_gauge(&value)?,
        }
    }
    Ok(())
}

/// What there is to say of a state.
fn samples(state: &State) -> Vec<(&'static Metric, Vec<Sample>)> {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let mut all = vec![
        (&names::BUILD, vec![(vec![version, VERSION.to_string()], 1.0)]),
        (&names::UP, one(f64::from(u8::from(state.up)))),
    ];
    if !state.pilot.is_empty() {
        all.push((&names::PILOT, vec![(vec![value(&state.pilot)], 1.0)]));
    }
    // What was known before would look like what is.
    if state.up {
        pilot(state, &mut all);
        workers(state, &mut all);
        agent(state, &mut all);
    }
    all.sort_by_key(|(metric, _)| names::ALL.iter().position(|known| known.name == metric.name));
    all
}

fn pilot(state: &State, all: &mut Vec<(&'static Metric, Vec<Sample>)>) {
    all.push((&names::INCARNATION, one(state.incarnation as f64)));
    if let Some(mut counts) = state.counts {
        let by_state = TaskState::ALL.map(|state| (vec![state.name().to_owned()], *counts.of(state) as f64));
        all.push((&names::TASKS, by_state.into()));
        let (active, suspect, draining, lost) = state.workers;
        let by_state = [("active", active), ("suspect", suspect), ("draining", draining)];
        let by_state = by_state.map(|(name, count)| (vec![name.to_owned()], count as f64));
        all.push((&names::WORKERS, by_state.into()));
        all.push((&names::LOST, one(lost as f64)));
    }
    let sized = [
        ("memory", &names::MEMORY, &names::MEMORY_USED),
        ("disk", &names::DISK, &names::DISK_USED),
    ];
    for (kind, capacity, used) in sized {
        if let Some((total, in_use)) = state.resources.get(kind) {
            // They are counted in MiB.
            all.push((capacity, one(total * 1_048_576.0)));
            all.push((used, one(in_use * 1_048_576.0)));
        }
    }
    let others = || {
        let others = state.resources.iter();
        others
            .filter(|(kind, _)| !matches!(kind.as_str(), "memory" | "disk"))
            .take(VALUES)
    };
    all.push((
        &names::CAPACITY,
        others()
            .map(|(kind, (total, _))| (vec![value(kind)], *total))
            .collect(),
    ));
    all.push((
        &names::USED,
        others()
            .map(|(kind, (_, used))| (vec![value(kind)], *used))
            .collect(),
    ));
    let faults = |which: fn(&(u64, u64)) -> u64| {
        let faults = state.faults.iter().take(VALUES);
        faults
            .map(|((code, host), counts)| (vec![value(code), value(host)], which(counts) as f64))
            .collect()
    };
    all.push((&names::FAILED, faults(|counts| counts.0)));
    all.push((&names::RETRIED, faults(|counts| counts.1)));
    let alarms = state.alarms.iter();
    let alarms = alarms.map(|(name, count)| (vec![(*name).to_owned()], *count as f64));
    all.push((&names::ALARMS, alarms.collect()));
    if let Some(status) = &state.status {
        all.push((&names::SUBMISSIONS, one(status.submissions as f64)));
        all.push((&names::CLIENTS, one(status.clients as f64)));
        let counted = status.counters.iter().take(VALUES);
        let counted = counted.map(|(what, count)| (vec![value(what)], *count as f64));
        all.push((&names::REFUSED, counted.collect()));
    }
}

fn workers(state: &State, all: &mut Vec<(&'static Metric, Vec<Sample>)>) {
    type Which = fn(&scalems_client::protocol::client::WorkerRow) -> u64;
    let kinds: [(&'static Metric, Which); 3] = [
        (&names::WORKER_RUNNING, |row| row.leases.1),
        (&names::WORKER_AHEAD, |row| row.leases.0),
        (&names::WORKER_ENDED, |row| row.ended),
    ];
    for (metric, which) in kinds {
        let rows = state.rows.values();
        let samples = if state.rows.len() > WORKERS {
            let sum: u64 = rows.map(which).sum();
            vec![(vec!["all".to_owned(), "all".to_owned()], sum as f64)]
        } else {
            rows.map(|row| (vec![value(&row.name), value(&row.host)], which(row) as f64))
                .collect()
        };
        all.push((metric, samples));
    }
}

fn agent(state: &State, all: &mut Vec<(&'static Metric, Vec<Sample>)>) {
    let Some(health) = &state.health else { return };
    all.push((&names::AGE, one(health.at_ms as f64 / 1_000.0)));
    all.push((&names::ENDED, one(health.ended as f64)));
    all.push((&names::WAITED, spread(health.start_wait_us)));
    all.push((&names::RAN, spread(health.ran_us)));
    all.push((&names::ROUNDS, one(health.rounds as f64)));
    all.push((&names::ROUND, spread(health.round_us)));
    let queues = |which: fn(&(String, u64, u64)) -> u64| {
        let queues = health.queues.iter().take(VALUES);
        queues
            .map(|queue| (vec![value(&queue.0)], which(queue) as f64))
            .collect()
    };
    all.push((&names::QUEUE, queues(|queue| queue.1)));
    all.push((&names::QUEUE_LIMIT, queues(|queue| queue.2)));
    all.push((&names::RESIDENT, one(health.rss_bytes as f64)));
    all.push((&names::CPU, one(health.cpu_us as f64 / 1e6)));
    all.push((&names::DROPPED, one(health.events_dropped as f64)));
    if let Some(left) = health.left_ms {
        all.push((&names::TIME_LEFT, one(left as f64 / 1_000.0)));
    }
    if let Some(journal) = &health.journal {
        all.push((&names::JOURNAL_RECORDS, one(journal.waiting_records as f64)));
        all.push((&names::JOURNAL_BYTES, one(journal.waiting_bytes as f64)));
        all.push((&names::JOURNAL_SIZE, one(journal.size_bytes as f64)));
        all.push((&names::JOURNAL_COMMIT, spread(journal.commit_us)));
        all.push((&names::JOURNAL_FULL, one(f64::from(u8::from(journal.full)))));
    }
}

fn one(value: f64) -> Vec<Sample> {
    vec![(Vec::new(), value)]
}

fn spread((half, most, all): Spread) -> Vec<Sample> {
    [("p50", half), ("p99", most), ("max", all)]
        .map(|(at, us)| (vec![at.to_owned()], us as f64 / 1e6))
        .into()
}

/// A label's value that somebody else chose: the library escapes it.
fn value(text: &str) -> String {
    text[..text.floor_char_boundary(VALUE)].to_owned()
}

#[cfg(test)]
mod tests {
    use scalems_client::Update;
    use scalems_client::protocol::client::{Counts, WorkerRow};
    use scalems_client::protocol::event::{Body, Health, JournalHealth};

    use super::*;

    fn row(worker: u64, name: &str) -> WorkerRow {
        WorkerRow {
            worker,
            name: name.to_owned(),
            host: "n1".to_owned(),
            pid: 7,
            state: "active".to_owned(),
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

    fn full() -> State {
        let mut state = State::default();
        state.connected("night", 2);
        state.take(Update::Snapshot(Body::Summary {
            tasks: Counts {
                done: 3,
                ..Counts::default()
            },
            workers: (1, 0, 0, 4),
            resources: vec![
                ("cores".to_owned(), 8, 3),
                ("memory".to_owned(), 2, 1),
                ("disk".to_owned(), 4, 0),
            ],
            fractions: Vec::new(),
        }));
        state.take(Update::Event(Body::Health(Box::new(Health {
            at_ms: 1_500,
            ended: 3,
            round_us: (10, 20, 3_000_000),
            queues: vec![("journal".to_owned(), 1, 9)],
            journal: Some(JournalHealth::default()),
            left_ms: Some(5_000),
            ..Health::default()
        }))));
        state
    }

    fn said(state: State) -> String {
        text(&Arc::new(Mutex::new(state))).unwrap()
    }

    #[test]
    fn units_are_base_units() {
        let text = said(full());
        for line in [
            "scalems_tasks{state=\"done\"} 3.0",
            "scalems_workers_lost_total 4.0",
            "scalems_memory_capacity_bytes 2097152.0",
            "# UNIT scalems_memory_capacity_bytes bytes",
            "# TYPE scalems_workers_lost counter",
            "# HELP scalems_tasks Tasks that are known, by state",
            "scalems_agent_round_seconds{at=\"max\"} 3.0",
            "scalems_time_left_seconds 5.0",
            "scalems_pilot_info{pilot=\"night\"} 1",
        ] {
            assert!(text.lines().any(|said| said == line), "{line}:\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn an_agent_that_is_not_reached_has_no_numbers() {
        let mut state = full();
        state.lost();
        let text = said(state);
        assert!(
            text.contains("scalems_up 0.0") && text.contains("scalems_pilot_info"),
            "{text}"
        );
        assert!(!text.contains("scalems_tasks"), "{text}");
    }

    #[test]
    fn what_others_named_stays_a_value() {
        let mut state = full();
        state.all_workers(vec![row(1, "w\"} 1\nscalems_up 7\\"), row(2, &"ß".repeat(400))]);
        let text = said(state);
        let running: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("scalems_worker_tasks_running{"))
            .collect();
        assert_eq!(
            running[0],
            "scalems_worker_tasks_running{worker=\"w\\\"} 1\\nscalems_up 7\\\\\",host=\"n1\"} 1.0"
        );
        assert!(running[1].len() < 400, "{}", running[1]);
    }

    #[test]
    fn of_too_many_workers_there_are_sums() {
        let mut state = full();
        state.all_workers(
            (1..=1_025)
                .map(|number| row(number, &format!("w{number}")))
                .collect(),
        );
        let text = said(state);
        let lines = text
            .lines()
            .filter(|line| line.starts_with("scalems_worker_tasks_ended_total{"));
        assert_eq!(
            lines.collect::<Vec<_>>(),
            ["scalems_worker_tasks_ended_total{worker=\"all\",host=\"all\"} 5125.0"]
        );
    }
}
