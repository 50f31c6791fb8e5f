//! What is known of the pilot, folded from what it publishes. No terminal, no clock: whoever calls says what time it is.

mod happened;
mod trend;

use std::collections::BTreeMap;
use std::time::Duration;

use scalems_client::Update;
use scalems_protocol::Amount;
use scalems_protocol::client::{Counts, Explanation, Status, SubmissionRow, TaskRow, WorkerRow};
use scalems_protocol::event::{Alarm, Body, FaultGroup, Health, Topic};

pub use happened::{Happened, Kind, Log};
pub use trend::{Point, Trend};

use crate::source::Link;

/// Submissions that are remembered: the newest. The counts of all are in the summary.
const SUBMISSIONS: usize = 1_000;
/// Alarms that are remembered: as many as the agent remembers.
const ALARMS: usize = 256;
/// Workers that are not there any more and are shown all the same.
const GONE_WORKERS: usize = 64;

/// Counts of everything, as they are published.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// Tasks by state.
    pub tasks: Counts,
    /// Workers: active, suspect, draining, lost.
    pub workers: (u64, u64, u64, u64),
    /// Resources by kind: kind, total, in use.
    pub resources: Vec<(String, u64, u64)>,
    /// Those that are not whole.
    pub fractions: Vec<(String, Amount, Amount)>,
}

impl Summary {
    /// How much there is of a kind, and how much of it is in use.
    pub fn resource(&self, kind: &str) -> Option<(f64, f64)> {
        let whole = self.fractions.iter().find(|(name, ..)| name == kind);
        if let Some((_, total, used)) = whole {
            return Some((total.as_f64(), used.as_f64()));
        }
        let found = self.resources.iter().find(|(name, ..)| name == kind);
        found.map(|(_, total, used)| (*total as f64, *used as f64))
    }
}

/// A worker, and when that was said.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerSeen {
    /// What was said.
    pub row: WorkerRow,
    /// When: what it says of times was so then.
    pub at: Duration,
}

/// What is known of the pilot. Times are since the monitor began.
#[derive(Clone, Debug)]
pub struct Model {
    /// The pilot's name.
    pub pilot: String,
    /// How it is reached.
    pub link: Link,
    /// Now.
    pub now: Duration,
    /// When something last was heard.
    pub heard: Option<Duration>,
    /// Counts of everything.
    pub summary: Summary,
    /// How the agent is.
    pub health: Option<Health>,
    /// What only a question tells.
    pub status: Option<Status>,
    /// Submissions by number, the newest.
    pub submissions: BTreeMap<u64, SubmissionSeen>,
    /// How many submissions there are.
    pub submissions_total: u64,
    /// Workers by number.
    pub workers: BTreeMap<u64, WorkerSeen>,
    /// What went wrong, by reason and host.
    pub faults: BTreeMap<(String, String, String), FaultGroup>,
    /// What somebody should look at, oldest first.
    pub alarms: Vec<Alarm>,
    /// What happened.
    pub log: Log,
    /// Tasks that ended, a second.
    pub throughput: Trend,
    /// How long tasks waited for a worker, seconds: the middle.
    pub wait: Trend,
    /// How much of the cores was in use, from 0 to 1.
    pub utilisation: Trend,
    /// Tasks of the screen of tasks, by place; which that is the screen knows.
    pub tasks: Vec<TaskRow>,
    /// Whether there are more of them than one page has.
    pub more_tasks: bool,
    /// Tasks that run, for the screen of workers.
    pub running: Vec<TaskRow>,
    /// One task: everything.
    pub explanation: Option<Result<Explanation, String>>,
    ended_before: Option<(Duration, u64)>,
}

/// A submission, and when that was said.
#[derive(Clone, Debug, PartialEq)]
pub struct SubmissionSeen {
    /// What was said.
    pub row: SubmissionRow,
    /// When.
    pub at: Duration,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            pilot: String::new(),
            link: Link::Connecting,
            now: Duration::ZERO,
            heard: None,
            summary: Summary::default(),
            health: None,
            status: None,
            submissions: BTreeMap::new(),
            submissions_total: 0,
            workers: BTreeMap::new(),
            faults: BTreeMap::new(),
            alarms: Vec::new(),
            log: Log::default(),
            throughput: Trend::default(),
            wait: Trend::default(),
            utilisation: Trend::default(),
            tasks: Vec::new(),
            more_tasks: false,
            running: Vec::new(),
            explanation: None,
            ended_before: None,
        }
    }
}

impl Model {
    /// A model of the pilot of that name.
    pub fn new(pilot: impl Into<String>) -> Self {
        Self {
            pilot: pilot.into(),
            ..Self::default()
        }
    }

    /// It is `now`, and the pilot is reached like this. Returns whether that changes what is shown.
    pub fn tick(&mut self, now: Duration, link: Link) -> bool {
        // The time of a replay is told with its news.
        if !matches!(link, Link::Replay(_)) {
            self.now = now;
        }
        if self.link == link {
            return false;
        }
        let kind = match (&self.link, &link) {
            (_, Link::Lost) => Some((
                Kind::Bad,
                "the agent is not heard of: it is looked for".to_owned(),
            )),
            (_, Link::Over(why)) => Some((Kind::Bad, format!("the agent is gone: {why}"))),
            (Link::Lost, Link::Live) => Some((Kind::Good, "the agent is heard of again".to_owned())),
            _ => None,
        };
        if let Some((kind, text)) = kind {
            self.log.add(now, kind, "agent", text);
        }
        self.link = link;
        true
    }

    /// It is `now`, whatever a clock says.
    pub fn at(&mut self, now: Duration) {
        self.now = now;
    }

    /// Forgets what was, but for what was asked for: the answers of another time stand until those of this one come.
    pub fn anew(&mut self) {
        let before = std::mem::take(self);
        *self = Self {
            pilot: before.pilot,
            link: before.link,
            status: before.status,
            tasks: before.tasks,
            more_tasks: before.more_tasks,
            running: before.running,
            explanation: before.explanation,
            ..Self::default()
        };
    }

    /// Takes in what was published.
    pub fn update(&mut self, topic: &Topic, update: Update) {
        self.heard = Some(self.now);
        match update {
            Update::Snapshot(body) => self.take(body, true),
            Update::Event(body) => self.take(body, false),
            // Older agents lack some topics; of the others there always is a state.
            Update::Refused(refusal) => {
                let text = format!("{}: {}", topic.name(), refusal.message);
                self.log.add(self.now, Kind::Warn, "monitor", text);
            }
        }
    }

    fn take(&mut self, body: Body, whole: bool) {
        match body {
            Body::Summary {
                tasks,
                workers,
                resources,
                fractions,
            } => {
                self.summary = Summary {
                    tasks,
                    workers,
                    resources,
                    fractions,
                };
                if let Some((total, used)) = self.summary.resource("cores").filter(|(total, _)| *total > 0.0)
                {
                    self.utilisation.add(self.now, used / total);
                }
            }
            Body::Health(health) => self.take_health(*health, whole),
            Body::Submissions { rows, gone, total } => self.take_submissions(rows, &gone, total, whole),
            Body::Workers { rows } => self.take_workers(rows, whole),
            Body::Faults { groups } => self.take_faults(groups, whole),
            Body::Alarms { alarms } => self.take_alarms(alarms, whole),
            Body::Open | Body::Tasks { .. } | Body::Progress { .. } => {}
        }
    }

    fn take_health(&mut self, health: Health, whole: bool) {
        let before = self.ended_before.replace((self.now, health.ended));
        if whole {
            self.health = Some(health);
            return;
        }
        // A new life of the agent counts anew.
        if let Some((_, ended)) = before.filter(|(_, ended)| *ended <= health.ended && health.span_ms > 0) {
            let rate = (health.ended - ended) as f64 * 1e3 / health.span_ms as f64;
            self.throughput.add(self.now, rate);
        }
        self.wait.add(self.now, health.start_wait_us.0 as f64 / 1e6);
        self.health = Some(health);
    }

    fn take_submissions(&mut self, rows: Vec<SubmissionRow>, gone: &[u64], total: u64, whole: bool) {
        if whole {
            let newest: std::collections::BTreeSet<u64> = rows.iter().map(|row| row.submission).collect();
            let first = newest.first().copied().unwrap_or(u64::MAX);
            // Of what is older than what a snapshot has room for, what was known before may be so still.
            self.submissions
                .retain(|number, _| *number < first || newest.contains(number));
        }
        for number in gone {
            self.submissions.remove(number);
        }
        self.submissions_total = total;
        for row in rows {
            let number = row.submission;
            let at = self.now;
            let over = |row: &SubmissionRow| row.tasks.unfinished() == 0 && !row.open;
            let name = row.name.clone().unwrap_or_else(|| row.mode.clone());
            let said = match self.submissions.get(&number) {
                None if !whole => Some((
                    Kind::Info,
                    format!("{name}: {} tasks submitted", row.tasks.total()),
                )),
                Some(before) if !over(&before.row) && over(&row) => {
                    let Counts {
                        done,
                        failed,
                        canceled,
                        ..
                    } = row.tasks;
                    let kind = if failed > 0 {
                        Kind::Bad
                    } else if canceled > 0 {
                        Kind::Warn
                    } else {
                        Kind::Good
                    };
                    Some((
                        kind,
                        format!("{name}: over, {done} done, {failed} failed, {canceled} canceled"),
                    ))
                }
                _ => None,
            };
            if let Some((kind, text)) = said {
                self.log
                    .add(self.now, kind, &format!("submission {number}"), text);
            }
            self.submissions.insert(number, SubmissionSeen { row, at });
        }
        while self.submissions.len() > SUBMISSIONS {
            self.submissions.pop_first();
        }
    }

    fn take_workers(&mut self, rows: Vec<WorkerRow>, whole: bool) {
        if whole {
            self.workers.clear();
        }
        for row in rows {
            let before = self.workers.get(&row.worker).map(|seen| seen.row.state.as_str());
            if !whole && before != Some(row.state.as_str()) {
                let kind = match row.state.as_str() {
                    "active" => Kind::Good,
                    "lost" => Kind::Bad,
                    "suspect" => Kind::Warn,
                    _ => Kind::Info,
                };
                let text = match before {
                    None => format!("joined on {}: {}", row.host, row.state),
                    Some(before) => format!("was {before}, is {}", row.state),
                };
                self.log
                    .add(self.now, kind, &format!("worker {}", row.name), text);
            }
            let at = self.now;
            self.workers.insert(row.worker, WorkerSeen { row, at });
        }
        let is_over = |seen: &WorkerSeen| matches!(seen.row.state.as_str(), "lost" | "gone");
        let mut over = self.workers.values().filter(|seen| is_over(seen)).count();
        self.workers.retain(|_, seen| {
            let forget = over > GONE_WORKERS && is_over(seen);
            over -= usize::from(forget);
            !forget
        });
    }

    fn take_faults(&mut self, groups: Vec<FaultGroup>, whole: bool) {
        if whole {
            self.faults.clear();
        }
        for group in groups {
            let key = (group.code.clone(), group.what.clone(), group.host.clone());
            let before = self.faults.get(&key).map_or(0, |before| before.failed);
            if !whole && group.failed > before {
                let (submission, index) = group.last;
                let what = if group.what.is_empty() {
                    &group.code
                } else {
                    &group.what
                };
                let count = group.failed - before;
                let text = format!("{count} failed, {what}: {}", group.message);
                self.log
                    .add(self.now, Kind::Bad, &format!("task {submission}.{index}"), text);
            }
            self.faults.insert(key, group);
        }
    }

    fn take_alarms(&mut self, alarms: Vec<Alarm>, whole: bool) {
        if whole {
            self.alarms.clear();
        }
        for alarm in alarms {
            if !whole {
                let text = format!("{}: {}", alarm.alarm, alarm.message);
                self.log.add(self.now, Kind::Bad, &alarm.about, text);
            }
            self.alarms.push(alarm);
        }
        let over = self.alarms.len().saturating_sub(ALARMS);
        self.alarms.drain(..over);
    }

    /// How long the allocation will be there, as far as is known: what the agent said, less the time since.
    pub fn left(&self) -> Option<Duration> {
        let left = Duration::from_millis(self.health.as_ref()?.left_ms?);
        let (at, _) = self.ended_before?;
        Some(left.saturating_sub(self.now.saturating_sub(at)))
    }

    /// How long new tasks will be started: what is running then has the rest of the allocation to end or to checkpoint.
    pub fn drains(&self) -> Option<Duration> {
        let before = Duration::from_millis(self.health.as_ref()?.warning_ms?);
        Some(self.left()?.saturating_sub(before))
    }

    /// Now, by the agent's clock: milliseconds since it began; none: it has not said what time it is.
    pub fn agent_ms(&self) -> Option<u64> {
        let (at, _) = self.ended_before?;
        let since = self.now.saturating_sub(at).as_millis() as u64;
        Some(self.health.as_ref()?.at_ms + since)
    }

    /// Whether the states of all that is shown at first have come.
    pub fn is_known(&self) -> bool {
        self.health.is_some() && self.summary != Summary::default()
    }

    /// How old what is shown is.
    pub fn age(&self) -> Option<Duration> {
        self.heard.map(|heard| self.now.saturating_sub(heard))
    }
}

#[cfg(test)]
mod tests;
