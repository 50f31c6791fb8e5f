//! Outputs of tasks with a pilot: whole from the packed logs, where they are there and can be reached, else their ends.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use scalems_client::locate::Located;
use scalems_client::packed::{Source, Survey};
use scalems_client::protocol::packed::{Stream, Why};
use scalems_client::protocol::program::ProgramResult;
use scalems_client::protocol::{PilotId, TaskId};

use super::paper::Paper;

/// Of so many tasks it is said one by one that something is missing; of the others together.
const TOLD: u64 = 5;

/// Finds outputs, and knows what was missing of them.
pub(super) struct Whole {
    /// The attempt that is wanted instead of the last.
    attempt: Option<u32>,
    pilot: Option<(PathBuf, PilotId)>,
    surveys: BTreeMap<PathBuf, Survey>,
    /// Tasks whose output is longer than what results have of it, and how much that is.
    tails: (u64, u64),
    /// Files that cannot be read.
    unreachable: BTreeSet<PathBuf>,
    told: u64,
}

impl Whole {
    /// What is wanted is the last attempt, or this one at each task of this pilot.
    pub(super) fn new(attempt: Option<(u32, Located)>) -> Self {
        let (attempt, located) = attempt.unzip();
        Self {
            attempt,
            pilot: located.map(|pilot| (pilot.path.with_file_name("logs"), pilot.file.pilot_id)),
            surveys: BTreeMap::new(),
            tails: (0, 0),
            unreachable: BTreeSet::new(),
            told: 0,
        }
    }

    /// Prints what one task wrote.
    pub(super) fn show(
        &mut self,
        (task, latest): (TaskId, u32),
        program: &ProgramResult,
        paper: &mut Paper,
    ) -> anyhow::Result<()> {
        if let Some(attempt) = self.attempt.filter(|attempt| *attempt != latest) {
            return self.show_earlier((task, attempt), program, paper);
        }
        let (tail, total) = match paper.stream {
            Stream::Stdout => (&program.stdout, program.stdout_bytes),
            Stream::Stderr => (&program.stderr, program.stderr_bytes),
        };
        let whole = tail.len() as u64 >= total;
        let logged = program.log.as_ref().filter(|logged| !logged.file.is_empty());
        if let Some(logged) = logged.filter(|_| !whole) {
            let source = Source::of(logged);
            match source.read::<anyhow::Error>((task, latest), paper.stream, |_, bytes| paper.put(bytes)) {
                Ok(()) => {
                    let missing = total.saturating_sub(paper.shown);
                    if missing > 0 {
                        self.say_lost(task, missing, total, &logged.lost);
                    }
                    return paper.end_of((task, latest), total);
                }
                Err(error) if paper.shown > 0 => return Err(error),
                Err(error) => self.say_unreachable(Path::new(&logged.file), &error),
            }
        }
        if !whole && program.log.is_none() {
            self.tails.0 += 1;
            self.tails.1 += total - tail.len() as u64;
        } else if !whole {
            let lost = program.log.as_ref().map(|logged| &logged.lost);
            self.say_lost(
                task,
                total - tail.len() as u64,
                total,
                lost.unwrap_or(&BTreeMap::new()),
            );
        }
        paper.put(tail)?;
        paper.end_of((task, latest), total)
    }

    /// Results have only the last attempt: others are looked for in all files.
    fn show_earlier(
        &mut self,
        (task, attempt): (TaskId, u32),
        program: &ProgramResult,
        paper: &mut Paper,
    ) -> anyhow::Result<()> {
        let beside = program.log.as_ref().map(|logged| PathBuf::from(&logged.file));
        let beside = beside.and_then(|file| Some(file.parent()?.to_owned()));
        let (directory, pilot) = match (beside, &self.pilot) {
            (Some(directory), pilot) if !directory.as_os_str().is_empty() => {
                (directory, pilot.as_ref().map(|(_, pilot)| *pilot))
            }
            (_, Some((directory, pilot))) => (directory.clone(), Some(*pilot)),
            (_, None) => anyhow::bail!("where the logs of {task} are is not known"),
        };
        if !self.surveys.contains_key(&directory) {
            let survey = pilot.map_or_else(
                || Survey::of(&directory),
                |pilot| Survey::of_pilot(&directory, pilot),
            );
            let survey = survey.map_err(|error| {
                anyhow::Error::new(error).context(format!("read the logs in {}", directory.display()))
            })?;
            self.surveys.insert(directory.clone(), survey);
        }
        let found = self.surveys.get(&directory).and_then(|survey| {
            survey
                .attempts()
                .filter(|found| found.of.task == task && found.of.attempt == attempt)
                .last()
        });
        let Some(found) = found else {
            eprintln!(
                "scalems: attempt {attempt} at {task} is not in {}",
                directory.display()
            );
            return Ok(());
        };
        let total = found.written[paper.stream as usize];
        let lost = found.lost.clone();
        found
            .source
            .read::<anyhow::Error>((task, attempt), paper.stream, |_, bytes| paper.put(bytes))?;
        let missing = total.saturating_sub(paper.shown);
        if missing > 0 {
            self.say_lost(task, missing, total, &lost);
        }
        paper.end_of((task, attempt), total)
    }

    fn say_lost(&mut self, task: TaskId, missing: u64, total: u64, lost: &BTreeMap<Why, u64>) {
        self.told += 1;
        if self.told <= TOLD {
            eprintln!("scalems: {}", sentence(task, missing, total, lost));
        }
    }

    fn say_unreachable(&mut self, file: &Path, error: &anyhow::Error) {
        if self.unreachable.insert(file.to_owned()) && self.unreachable.len() as u64 <= TOLD {
            eprintln!("scalems: {} cannot be read here: {error:#}", file.display());
        }
    }

    /// Says what was not said one by one.
    pub(super) fn say_what_is_missing(&self) {
        if self.told > TOLD {
            eprintln!("scalems: so it is with {} more tasks", self.told - TOLD);
        }
        let (tasks, bytes) = self.tails;
        if tasks > 0 {
            let which = if tasks == 1 {
                "one task".to_owned()
            } else {
                format!("{tasks} tasks")
            };
            eprintln!(
                "scalems: {bytes} bytes of {which} are not shown: the end of each output is kept in its result, and all of it \
                 after `scalems submit --log`"
            );
        }
    }
}

/// How much of an output is missing, and why.
pub(super) fn sentence(task: TaskId, missing: u64, total: u64, lost: &BTreeMap<Why, u64>) -> String {
    let why: Vec<&str> = lost
        .keys()
        .map(|why| match why {
            Why::Cap => "it wrote more than --log-cap",
            Why::Rate => "it wrote faster than --log-rate",
            Why::Room => "its worker's log files have as much as --log-limit",
            Why::Disk => "the system refused to write it",
            Why::Late => "it wrote faster than it could be logged",
        })
        .collect();
    let why = if why.is_empty() {
        String::new()
    } else {
        format!(": {}", why.join(", "))
    };
    format!("{missing} of {total} bytes of {task} are not shown{why}")
}
