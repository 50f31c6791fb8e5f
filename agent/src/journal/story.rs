//! A journal as people want it: what was submitted, and how each task ended.

use std::collections::BTreeMap;

use scalems_core::record::{Ended, Record, Submitted};
use scalems_protocol::state::Ending;
use scalems_protocol::task::{CORES, GPUS};
use scalems_protocol::{Amount, TaskState};

/// What a journal tells.
#[derive(Debug, Default)]
pub struct Story {
    submissions: BTreeMap<u64, Told>,
    sessions: BTreeMap<u64, String>,
    seats: BTreeMap<u64, u64>,
    workers: BTreeMap<u32, (String, String)>,
    records: u64,
}

#[derive(Debug)]
struct Told {
    from: Submitted,
    /// Ends, without values.
    ends: Vec<Ended>,
    /// Attempts that were used up: offset, attempt, whether a worker was lost, how long it ran.
    faults: Vec<(u32, u32, bool, u64)>,
    forgotten: bool,
}

/// One submission.
#[derive(Clone, Debug, PartialEq)]
pub struct SubmissionRow {
    /// Its number.
    pub submission: u64,
    /// Its name.
    pub name: Option<String>,
    /// What the worker does with the data.
    pub mode: String,
    /// The session's name; none where it has no name, or is no more.
    pub session: Option<String>,
    /// How many tasks.
    pub tasks: u32,
    /// When it was submitted, seconds since the pilot was created.
    pub submitted_s: f64,
    /// Whether it was forgotten.
    pub forgotten: bool,
}

/// One task.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskRow {
    /// The submission's number.
    pub submission: u64,
    /// The task's index in it.
    pub index: u32,
    /// `done`, `failed`, `canceled`, or `unfinished`.
    pub state: &'static str,
    /// The attempt that it ended with; 0: none was made.
    pub attempt: u32,
    /// Attempts before that failed by themselves.
    pub failures: u32,
    /// Workers that were lost while it ran.
    pub lost_workers: u32,
    /// The exit code, of a program that ended by itself.
    pub exit_code: Option<i32>,
    /// How long it ran, seconds; the mean of those that ended together.
    pub ran_s: Option<f64>,
    /// How long attempts before ran, seconds, and the last one if it did not end well.
    pub wasted_s: f64,
    /// Cores that it had.
    pub cores: Amount,
    /// GPUs that it had.
    pub gpus: Amount,
    /// When it ended, seconds since the pilot was created.
    pub ended_s: Option<f64>,
    /// The name of the worker that it ended on.
    pub worker: Option<String>,
    /// That worker's host.
    pub host: Option<String>,
    /// The code of its error (page 8 of the specification).
    pub error_code: Option<&'static str>,
    /// The error, for people.
    pub error: Option<String>,
}

impl Story {
    /// Takes the next record in.
    pub fn take(&mut self, record: Record) {
        self.records += 1;
        match record {
            Record::Submitted(from) => {
                let told = Told {
                    from,
                    ends: Vec::new(),
                    faults: Vec::new(),
                    forgotten: false,
                };
                self.submissions.insert(told.from.submission, told);
            }
            Record::Appended(appended) => {
                if let Some(told) = self.submissions.get_mut(&appended.submission) {
                    told.from.count += appended.count;
                }
            }
            Record::Ended(mut ended) => {
                ended.data = scalems_protocol::group::Data::default();
                if let Some(told) = self.submissions.get_mut(&ended.run.submission) {
                    told.ends.push(ended);
                }
            }
            Record::Fault {
                run, crash, ran_us, ..
            } => {
                if let Some(told) = self.submissions.get_mut(&run.submission) {
                    let each = ran_us / u64::from(run.count().max(1));
                    told.faults
                        .extend((run.lo..run.hi).map(|offset| (offset, run.attempt, crash, each)));
                }
            }
            Record::Forgotten { submission } => {
                if let Some(told) = self.submissions.get_mut(&submission) {
                    told.forgotten = true;
                }
            }
            Record::Session { session, name, .. } => {
                self.sessions.insert(session, name);
            }
            Record::Seat { seat, session, .. } => {
                self.seats.insert(seat, session);
            }
            Record::Worker {
                worker, name, host, ..
            } => {
                self.workers.insert(worker, (name, host));
            }
            // It is said of no single task.
            Record::Wasted { .. }
            | Record::Numbers { .. }
            | Record::Closed { .. }
            | Record::SeatGone { .. }
            | Record::SessionGone { .. }
            | Record::WorkerGone { .. }
            | Record::CancelAsked { .. }
            | Record::Collected { .. } => {}
        }
    }

    /// How many records there were.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// All submissions, by number.
    pub fn submissions(&self) -> impl Iterator<Item = SubmissionRow> + '_ {
        self.submissions.values().map(|told| {
            let from = &told.from;
            let session = self.seats.get(&from.origin.session);
            let session = session.and_then(|session| self.sessions.get(session));
            SubmissionRow {
                submission: from.submission,
                name: from.template.name.clone(),
                mode: from.template.mode.clone(),
                session: session.filter(|name| !name.is_empty()).cloned(),
                tasks: from.count,
                submitted_s: seconds(from.at),
                forgotten: told.forgotten,
            }
        })
    }

    /// All tasks, by submission and index.
    pub fn tasks(&self) -> impl Iterator<Item = TaskRow> + '_ {
        self.submissions.values().flat_map(|told| self.tasks_of(told))
    }

    fn tasks_of(&self, told: &Told) -> Vec<TaskRow> {
        let from = &told.from;
        let had = |variant: u8| {
            let needs = from.template.needs.way(variant);
            [CORES, GPUS].map(|wanted| {
                needs
                    .totals()
                    .find(|(kind, _)| *kind == wanted)
                    .map_or(Amount::ZERO, |(_, amount)| amount)
            })
        };
        let [cores, gpus] = had(0);
        let bare = |offset: u32| TaskRow {
            submission: from.submission,
            index: from.indices.at(offset),
            state: "unfinished",
            attempt: 0,
            failures: 0,
            lost_workers: 0,
            exit_code: None,
            ran_s: None,
            wasted_s: 0.0,
            cores,
            gpus,
            ended_s: None,
            worker: None,
            host: None,
            error_code: None,
            error: None,
        };
        let mut rows: Vec<TaskRow> = (0..from.count).map(bare).collect();
        for (offset, attempt, crash, ran_us) in &told.faults {
            if let Some(row) = rows.get_mut(*offset as usize) {
                *if *crash {
                    &mut row.lost_workers
                } else {
                    &mut row.failures
                } += 1;
                row.attempt = row.attempt.max(*attempt);
                row.wasted_s += seconds(*ran_us);
            }
        }
        for ended in &told.ends {
            let run = ended.run;
            let worker = self.workers.get(&ended.worker);
            let [cores, gpus] = had(ended.variant);
            for row in rows
                .get_mut(run.lo as usize..run.hi as usize)
                .into_iter()
                .flatten()
            {
                row.state = TaskState::from(ended.ending).name();
                row.attempt = run.attempt;
                (row.cores, row.gpus) = (cores, gpus);
                row.exit_code = ended.exit_code;
                row.ran_s = (run.attempt > 0).then(|| seconds(ended.ran_us) / f64::from(run.count().max(1)));
                if ended.ending != Ending::Done {
                    row.wasted_s += row.ran_s.unwrap_or_default();
                }
                row.ended_s = Some(seconds(ended.at));
                row.worker = worker.map(|(name, _)| name.clone());
                row.host = worker.map(|(_, host)| host.clone());
                row.error_code = ended.error.as_ref().map(|error| error.code.text());
                row.error = ended.error.as_ref().map(|error| error.message.clone());
            }
        }
        rows
    }
}

fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}
