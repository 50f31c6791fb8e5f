//! `scalems report`: what tasks took of the machine, and how much of that for nothing.

mod page;

use std::collections::BTreeMap;

use scalems_client::protocol::client::{Counts, SubmissionRow};
use scalems_client::protocol::select::Selector;
use scalems_client::protocol::task::{CORES, GPUS, TIME};
use serde::Serialize;

use super::{connect, task};
use crate::Context;
use crate::args::{Output, ReportArgs, What};
use crate::exit::{Exit, Misuse};
use crate::print;

/// What submissions are put together by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// Each for itself.
    Submission,
    /// Their names.
    Name,
    /// What they do.
    Mode,
    /// Who submitted them.
    Session,
    /// The values of a label.
    Label(String),
}

impl By {
    /// Reads `submission`, `name`, `mode`, `session` or `label:KEY`.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        Ok(match text {
            "submission" => Self::Submission,
            "name" => Self::Name,
            "mode" => Self::Mode,
            "session" => Self::Session,
            _ => match text.split_once(':') {
                Some(("label", key)) if !key.is_empty() => Self::Label(key.to_owned()),
                _ => {
                    return Err(format!(
                        "{text:?} is nothing to put submissions together by: write submission, name, mode, session or label:KEY"
                    ));
                }
            },
        })
    }

    /// Where a submission belongs; none: it has no such thing.
    fn of(&self, row: &SubmissionRow) -> Option<String> {
        let text = match self {
            Self::Submission => return Some(row.submission.to_string()),
            Self::Name => row.name.clone()?,
            Self::Mode => row.mode.clone(),
            Self::Session => row.session.clone(),
            Self::Label(key) => row.labels.get(key)?.clone(),
        };
        Some(text).filter(|text| !text.is_empty())
    }

    fn head(&self) -> &str {
        match self {
            Self::Submission => "submission",
            Self::Name => "name",
            Self::Mode => "mode",
            Self::Session => "session",
            Self::Label(key) => key,
        }
    }
}

/// Submissions that were put together.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
struct Together {
    /// What they have in common; none: nothing.
    group: Option<String>,
    submissions: u64,
    tasks: Counts,
    /// By kind: seconds, times how much of it there was.
    used: BTreeMap<String, f64>,
    wasted: BTreeMap<String, f64>,
}

impl Together {
    fn add(&mut self, row: &SubmissionRow) {
        self.submissions += 1;
        self.tasks += row.tasks;
        for (kind, used, wasted) in &row.spent {
            *self.used.entry(kind.clone()).or_default() += *used as f64 / 1e6;
            *self.wasted.entry(kind.clone()).or_default() += *wasted as f64 / 1e6;
        }
    }

    fn cells(&self, first: String, gpus: bool) -> Vec<String> {
        let of = |all: &BTreeMap<String, f64>, kind: &str| all.get(kind).copied().unwrap_or_default();
        let (used, wasted) = (of(&self.used, TIME), of(&self.wasted, TIME));
        let share = if used + wasted > 0.0 {
            format!("{:.1} %", 100.0 * wasted / (used + wasted))
        } else {
            String::new()
        };
        let mut cells = vec![
            first,
            self.submissions.to_string(),
            self.tasks.done.to_string(),
            self.tasks.failed.to_string(),
            self.tasks.canceled.to_string(),
            hours(of(&self.used, CORES)),
            hours(of(&self.wasted, CORES)),
        ];
        if gpus {
            cells.extend([hours(of(&self.used, GPUS)), hours(of(&self.wasted, GPUS))]);
        }
        cells.push(share);
        cells
    }
}

/// Hours, as exactly as people need them.
fn hours(seconds: f64) -> String {
    let hours = seconds / 3_600.0;
    if hours >= 10.0 {
        format!("{hours:.1}")
    } else {
        format!("{hours:.4}")
    }
}

fn grouped(rows: &[SubmissionRow], by: &By) -> Vec<Together> {
    let mut groups: BTreeMap<Option<String>, Together> = BTreeMap::new();
    let mut order = Vec::new();
    for row in rows {
        let key = by.of(row);
        let group = groups.entry(key.clone()).or_insert_with(|| {
            order.push(key.clone());
            Together {
                group: key,
                ..Together::default()
            }
        });
        group.add(row);
    }
    // In the order in which they were first submitted; those that have no such thing come last.
    order.sort_by_key(Option::is_none);
    order.iter().filter_map(|key| groups.remove(key)).collect()
}

pub(crate) fn run(context: &Context, args: &ReportArgs) -> anyhow::Result<Exit> {
    let select = match (&args.html, &args.what) {
        (Some(path), _) | (None, Some(What::Page(path))) => {
            if args.by.is_some() {
                return Err(Misuse("--by goes with a table: a page is of the whole run".to_owned()).into());
            }
            return page::make(context, path, args.journal.as_deref());
        }
        _ if args.journal.is_some() => {
            let why = "--journal goes with a page: name a file, such as run.html; a table is of a pilot that serves";
            return Err(Misuse(why.to_owned()).into());
        }
        (None, Some(What::Table(select))) => Some(select.clone()),
        (None, None) => None,
    };
    let session = connect(context)?;
    let all = select.is_none();
    let rows = task::every_submission(&session, &select.unwrap_or_else(Selector::all), all)?;
    let by = args.by.clone().unwrap_or(By::Name);
    let groups = grouped(&rows, &by);
    if context.output != Output::Human {
        print::rows(context.output, &[], &groups, |group| {
            vec![group.group.clone().unwrap_or_default()]
        })?;
        return Ok(Exit::Well);
    }
    let gpus = groups.iter().any(|group| group.used.contains_key(GPUS));
    let mut head = vec![
        by.head(),
        "submissions",
        "done",
        "failed",
        "canceled",
        "core-h used",
        "core-h wasted",
    ];
    if gpus {
        head.extend(["gpu-h used", "gpu-h wasted"]);
    }
    head.push("time wasted");
    let mut all = Together::default();
    for row in &rows {
        all.add(row);
    }
    let mut cells: Vec<Vec<String>> = groups
        .iter()
        .map(|group| group.cells(group.group.clone().unwrap_or_else(|| "-".into()), gpus))
        .collect();
    cells.push(all.cells("all".into(), gpus));
    print::rows(context.output, &head, &cells, Clone::clone)?;
    Ok(Exit::Well)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(submission: u64, project: Option<&str>, used_s: u64, wasted_s: u64) -> SubmissionRow {
        SubmissionRow {
            submission,
            mode: "task.shell".into(),
            name: None,
            labels: project
                .iter()
                .map(|value| ("project".into(), (*value).into()))
                .collect(),
            session: String::new(),
            indices: (0, 1, 1),
            sparse: false,
            tasks: Counts {
                done: 1,
                ..Counts::default()
            },
            age_ms: 0,
            open: false,
            spent: vec![
                (TIME.into(), used_s * 1_000_000, wasted_s * 1_000_000),
                (CORES.into(), 4 * used_s * 1_000_000, 4 * wasted_s * 1_000_000),
            ],
        }
    }

    #[test]
    fn submissions_with_the_same_label_are_put_together() {
        let rows = [
            row(1, None, 1, 0),
            row(2, Some("b"), 3_600, 0),
            row(3, Some("a"), 60, 20),
            row(4, Some("b"), 0, 1_800),
        ];
        let groups = grouped(&rows, &By::read("label:project").unwrap());
        let names: Vec<_> = groups.iter().map(|group| group.group.as_deref()).collect();
        assert_eq!(names, [Some("b"), Some("a"), None]);
        assert_eq!((groups[0].submissions, groups[0].tasks.done), (2, 2));
        let cells = groups[0].cells("b".into(), false);
        assert_eq!(cells, ["b", "2", "2", "0", "0", "4.0000", "2.0000", "33.3 %"]);
        assert_eq!(grouped(&rows, &By::Submission).len(), 4);
        assert_eq!(grouped(&rows, &By::Name)[0].group, None);
    }

    #[test]
    fn what_groups_are_is_said_in_words() {
        assert_eq!(By::read("label:a:b"), Ok(By::Label("a:b".into())));
        for wrong in ["", "label", "label:", "user"] {
            assert!(By::read(wrong).is_err(), "{wrong}");
        }
    }
}
