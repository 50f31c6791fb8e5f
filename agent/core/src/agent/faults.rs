//! What went wrong with tasks, put together by reason and host, for people.
//!
//! It is what this life has seen, and lasts no longer: what each task failed of is in its result.

use std::collections::{BTreeMap, BTreeSet};

use scalems_protocol::TaskError;
use scalems_protocol::error::Code;
use scalems_protocol::event::{Body, FaultGroup, Topic};
use scalems_protocol::limits;

use super::Agent;
use crate::interface::Action;
use crate::record::Ended;

/// The name of the group of what is in no other, since there are too many.
const OTHER: &str = "other";
/// Bytes of what was said that are kept, a line or two, and of the name of an exception.
const MESSAGE_BYTES: usize = 1_024;
const WHAT_BYTES: usize = 256;

/// What tells groups apart: code, what, host.
type Key = (String, String, String);

/// The groups.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    groups: BTreeMap<Key, FaultGroup>,
    /// Those that changed since it was last told, as long as somebody listens.
    changed: BTreeSet<Key>,
}

impl Faults {
    pub(super) fn nobody_listens(&mut self) {
        self.changed.clear();
    }

    pub(super) fn body(&self) -> Body {
        Body::Faults {
            groups: self.groups.values().cloned().collect(),
        }
    }
}

/// Attempts that failed alike.
pub(super) struct Failing<'a> {
    pub(super) submission: u64,
    /// The offset of the last one.
    pub(super) last: u32,
    pub(super) count: u64,
    /// The worker that had them; 0: none, or it is not known.
    pub(super) worker: u32,
    pub(super) exit_code: Option<i32>,
    pub(super) error: Option<&'a TaskError>,
    /// Whether another attempt follows.
    pub(super) again: bool,
}

impl<'a> Failing<'a> {
    pub(super) fn of(ended: &'a Ended, again: bool) -> Self {
        Self {
            submission: ended.run.submission,
            last: ended.run.hi.saturating_sub(1),
            count: u64::from(ended.run.count()),
            worker: ended.worker,
            exit_code: ended.exit_code,
            error: ended.error.as_ref(),
            again,
        }
    }
}

impl Agent {
    /// Attempts have failed.
    pub(super) fn note_fault(&mut self, failing: &Failing<'_>) {
        let worker = self.workers.get(&failing.worker);
        let (host, worker) = worker.map_or_else(Default::default, |worker| {
            (worker.host.clone(), worker.name.clone())
        });
        let error = failing.error;
        let code = error.map_or(Code::ExitCode, |error| error.code).text().to_owned();
        let what = error
            .and_then(|error| error.class.as_deref())
            .map(|class| shortened(class, WHAT_BYTES).to_owned())
            .or_else(|| failing.exit_code.map(|code| format!("exit {code}")))
            .unwrap_or_default();
        let Some(submission) = self.tasks.get(failing.submission) else {
            return;
        };
        let last = (failing.submission, submission.index(failing.last));
        let mut key = (code, what, host);
        let faults = &mut self.faults;
        if faults.groups.len() >= limits::FAULT_GROUPS - 1 && !faults.groups.contains_key(&key) {
            key = (OTHER.to_owned(), String::new(), String::new());
        }
        let (code, what, host) = key.clone();
        let group = faults.groups.entry(key.clone()).or_insert_with(|| FaultGroup {
            code,
            what,
            host,
            ..FaultGroup::default()
        });
        if failing.again {
            group.retried += failing.count;
        } else {
            group.failed += failing.count;
        }
        group.worker = worker;
        group.message = error.map_or_else(String::new, |error| {
            shortened(&error.message, MESSAGE_BYTES).to_owned()
        });
        group.last = last;
        group.at_ms = (self.now - self.begun) / 1_000;
        if self.listens_to(&Topic::Faults) {
            self.faults.changed.insert(key);
        }
    }

    /// Publishes the groups that changed.
    pub(super) fn publish_faults(&mut self, out: &mut Vec<Action>) {
        let changed = std::mem::take(&mut self.faults.changed);
        let groups: Vec<FaultGroup> = changed
            .iter()
            .filter_map(|key| self.faults.groups.get(key).cloned())
            .collect();
        if !groups.is_empty() {
            self.publish_one(Topic::Faults, Body::Faults { groups }, out);
        }
    }
}

fn shortened(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}
