//! What is known of a pilot, as it was told last: pure.

use std::collections::{BTreeMap, VecDeque};

use scalems_client::Update;
use scalems_client::protocol::Amount;
use scalems_client::protocol::client::{Counts, Status, WorkerRow};
use scalems_client::protocol::event::{Alarm, Body, FaultGroup, Health};

/// Alarms that are told by their name; others are `other`. The list of the specification.
const NAMES: [&str; 6] = [
    "worker_lost",
    "hash_differs",
    "crash_limit",
    "agent_full",
    "disk_full",
    "stalled",
];
/// Alarms that are known, so that none is counted twice: twice what an agent keeps.
const ALARMS: usize = 512;

/// What an agent has said of itself and its pilot.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    /// The pilot's name.
    pub(super) pilot: String,
    /// Whether the agent is reached, and which life of it.
    pub(super) up: bool,
    pub(super) incarnation: u64,
    pub(super) counts: Option<Counts>,
    /// Active, suspect, draining, lost.
    pub(super) workers: (u64, u64, u64, u64),
    /// By kind: total, in use.
    pub(super) resources: BTreeMap<String, (f64, f64)>,
    /// By number.
    pub(super) rows: BTreeMap<u64, WorkerRow>,
    pub(super) status: Option<Box<Status>>,
    pub(super) health: Option<Box<Health>>,
    /// By code and host: failed, tried again.
    pub(super) faults: BTreeMap<(String, String), (u64, u64)>,
    groups: BTreeMap<(String, String, String), FaultGroup>,
    /// By name.
    pub(super) alarms: BTreeMap<&'static str, u64>,
    seen: VecDeque<Alarm>,
}

impl State {
    /// The agent is reached; another one counts anew.
    pub(super) fn connected(&mut self, pilot: &str, incarnation: u64) {
        if self.incarnation != incarnation {
            *self = Self {
                alarms: std::mem::take(&mut self.alarms),
                ..Self::default()
            };
        }
        pilot.clone_into(&mut self.pilot);
        (self.up, self.incarnation) = (true, incarnation);
    }

    /// The agent is not reached.
    pub(super) fn lost(&mut self) {
        self.up = false;
    }

    /// Takes in what a topic says. Every body says how things are.
    pub(super) fn take(&mut self, update: Update) {
        let (body, whole) = match update {
            Update::Snapshot(body) => (body, true),
            Update::Event(body) => (body, false),
            Update::Refused(_) => return,
        };
        match body {
            Body::Summary {
                tasks,
                workers,
                resources,
                fractions,
            } => {
                (self.counts, self.workers) = (Some(tasks), workers);
                self.resources = amounts(&resources, &fractions);
            }
            Body::Workers { rows } => {
                for row in rows {
                    self.worker(row);
                }
            }
            Body::Faults { groups } => self.fault(groups, whole),
            Body::Alarms { alarms } => alarms.into_iter().for_each(|alarm| self.alarm(alarm)),
            Body::Health(health) => self.health = Some(health),
            _ => {}
        }
    }

    /// All workers, as they were asked for.
    pub(super) fn all_workers(&mut self, rows: Vec<WorkerRow>) {
        self.rows.clear();
        for row in rows {
            self.worker(row);
        }
    }

    fn worker(&mut self, row: WorkerRow) {
        if matches!(row.state.as_str(), "lost" | "gone") {
            self.rows.remove(&row.worker);
        } else {
            self.rows.insert(row.worker, row);
        }
    }

    fn fault(&mut self, groups: Vec<FaultGroup>, whole: bool) {
        if whole {
            self.groups.clear();
        }
        for group in groups {
            let key = (group.code.clone(), group.what.clone(), group.host.clone());
            self.groups.insert(key, group);
        }
        self.faults.clear();
        for group in self.groups.values() {
            let key = (group.code.clone(), group.host.clone());
            let (failed, retried) = self.faults.entry(key).or_default();
            *failed += group.failed;
            *retried += group.retried;
        }
    }

    fn alarm(&mut self, alarm: Alarm) {
        if self.seen.contains(&alarm) {
            return;
        }
        let name = NAMES.into_iter().find(|name| *name == alarm.alarm);
        *self.alarms.entry(name.unwrap_or("other")).or_default() += 1;
        if self.seen.len() == ALARMS {
            self.seen.pop_front();
        }
        self.seen.push_back(alarm);
    }
}

/// Exact amounts by kind.
fn amounts(
    resources: &[(String, u64, u64)],
    fractions: &[(String, Amount, Amount)],
) -> BTreeMap<String, (f64, f64)> {
    let whole = resources
        .iter()
        .map(|(kind, total, used)| (kind.clone(), (*total as f64, *used as f64)));
    let mut all: BTreeMap<String, (f64, f64)> = whole.collect();
    let number = |amount: &Amount| amount.to_string().parse::<f64>().unwrap_or_default();
    for (kind, total, used) in fractions {
        all.insert(kind.clone(), (number(total), number(used)));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_again_counts_once() {
        let alarm = |name: &str| Alarm {
            alarm: name.to_owned(),
            about: "w".to_owned(),
            message: String::new(),
            at_ms: 1,
        };
        let alarms = vec![alarm("worker_lost"), alarm("something_new")];
        let mut state = State::default();
        state.connected("night", 1);
        state.take(Update::Event(Body::Alarms {
            alarms: alarms.clone(),
        }));
        state.take(Update::Snapshot(Body::Alarms { alarms }));
        assert_eq!(state.alarms, [("other", 1), ("worker_lost", 1)].into());
        let group = |what: &str, failed| FaultGroup {
            code: "exit_code".to_owned(),
            what: what.to_owned(),
            host: "n1".to_owned(),
            failed,
            ..FaultGroup::default()
        };
        let groups = |groups| Update::Event(Body::Faults { groups });
        state.take(groups(vec![group("exit 1", 2), group("exit 3", 1)]));
        state.take(groups(vec![group("exit 3", 4)]));
        let key = ("exit_code".to_owned(), "n1".to_owned());
        assert_eq!(state.faults[&key], (6, 0));
        // Another agent counts anew; what this program counts goes on.
        state.connected("night", 2);
        assert!(state.faults.is_empty());
        assert_eq!(state.alarms["worker_lost"], 1);
    }

    #[test]
    fn parts_of_a_resource_are_exact() {
        let fractions = [("gpus".to_owned(), Amount::whole(2), "0.5".parse().unwrap())];
        let all = amounts(
            &[("gpus".to_owned(), 2, 1), ("cores".to_owned(), 8, 3)],
            &fractions,
        );
        assert_eq!(
            all,
            [("gpus".to_owned(), (2.0, 0.5)), ("cores".to_owned(), (8.0, 3.0))].into()
        );
    }
}
