//! Tables of the page, each of them bounded.

use std::collections::BTreeMap;

use scalems_agent::journal::history::sums::{Usage, WorkerUse};
use scalems_agent::journal::history::{Dependency, History, Outcome, Span, Tail};
use scalems_client::protocol::Amount;
use scalems_client::protocol::task::When;
use serde::Serialize;

use super::words;

/// Rows of each table.
const ROWS: usize = 40;
/// Groups of failures, and texts of each.
const GROUPS: usize = 25;
const TAILS: usize = 3;
/// Steps of the chain that ended last.
const STEPS: usize = 30;
/// Letters of a message.
const MESSAGE: usize = 600;

/// What happened to a submission, apart from what it is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Course {
    first_begun: Option<u64>,
    last_ended: Option<u64>,
    used: f64,
    wasted: f64,
}

/// A time since the run began.
pub(super) fn since(history: &History, time_us: u64) -> String {
    words::time(time_us.saturating_sub(history.begin_us()))
}

/// The courses of all submissions.
pub(super) fn courses(history: &History) -> BTreeMap<u64, Course> {
    let mut courses: BTreeMap<u64, Course> = BTreeMap::new();
    for span in history.spans() {
        let course = courses.entry(span.submission).or_default();
        course.last_ended = course.last_ended.max(Some(span.end_us));
        if span.ran() {
            let before = course.first_begun.unwrap_or(u64::MAX);
            course.first_begun = Some(before.min(span.begin_us));
        }
        let cores = history.submission(span.submission).map(|of| of.cores(span.way));
        let cores = cores.map_or(0.0, |cores| cores.parts() as f64 / Amount::PARTS as f64);
        let seconds = cores * span.ran_us as f64 / 1e6;
        if span.outcome == Outcome::Done {
            course.used += seconds;
        } else {
            course.wasted += seconds;
        }
    }
    courses
}

/// A submission.
#[derive(Debug, Serialize)]
pub(super) struct SubmissionRow {
    number: u64,
    name: String,
    labels: String,
    session: String,
    tasks: String,
    done: String,
    failed: String,
    canceled: String,
    submitted: String,
    began: String,
    ended: String,
    hours: String,
    wasted: String,
}

/// Submissions, those first that took most; and how many more there are.
pub(super) fn submissions(history: &History, courses: &BTreeMap<u64, Course>) -> (Vec<SubmissionRow>, usize) {
    let course = |number: u64| courses.get(&number).copied().unwrap_or_default();
    let mut all: Vec<_> = history.submissions().collect();
    let left = all.len().saturating_sub(ROWS);
    all.sort_by(|one, other| {
        let took = |number| course(number).used + course(number).wasted;
        let by_took = took(other.submission).total_cmp(&took(one.submission));
        by_took.then(one.submission.cmp(&other.submission))
    });
    let rows = all.into_iter().take(ROWS).map(|submission| {
        let course = course(submission.submission);
        let at = |time: Option<u64>| time.map_or_else(|| "–".to_owned(), |time| since(history, time));
        let labels = submission.labels().iter().take(8);
        let labels: Vec<_> = labels
            .map(|(key, value)| words::name(&format!("{key}={value}")))
            .collect();
        SubmissionRow {
            number: submission.submission,
            name: words::name(submission.name()),
            labels: labels.join(", "),
            session: submission
                .session
                .as_deref()
                .map_or_else(|| "–".to_owned(), words::name),
            tasks: words::count(u64::from(submission.count)),
            done: words::count(submission.ended[0]),
            failed: words::count(submission.ended[1]),
            canceled: words::count(submission.ended[2]),
            submitted: since(history, submission.at_us),
            began: at(course.first_begun),
            ended: at(course.last_ended),
            hours: words::hours(course.used + course.wasted),
            wasted: words::share(course.wasted, course.used + course.wasted),
        }
    });
    (rows.collect(), left)
}

/// A worker.
#[derive(Debug, Serialize)]
pub(super) struct WorkerRow {
    name: String,
    host: String,
    attempts: String,
    cores: String,
    gpus: String,
    from: String,
    upto: String,
    hours: String,
    idle: String,
}

/// Workers, in the order in which they come; and how many more there are.
pub(super) fn workers(history: &History, all: &[WorkerUse]) -> (Vec<WorkerRow>, usize) {
    let rows = all.iter().take(ROWS).map(|found| {
        let worker = found
            .worker
            .and_then(|place| history.workers().get(place as usize));
        WorkerRow {
            name: worker.map_or_else(
                || "not known where".to_owned(),
                |worker| words::name(&worker.name),
            ),
            host: worker.map_or_else(|| "–".to_owned(), |worker| words::name(&worker.host)),
            attempts: words::count(found.attempts),
            cores: found.peak.0.to_string(),
            gpus: found.peak.1.to_string(),
            from: since(history, found.busy_us.0),
            upto: since(history, found.busy_us.1),
            hours: words::hours(found.spent.cores_s),
            idle: words::hours(found.idle.cores_s),
        }
    });
    (rows.collect(), all.len().saturating_sub(ROWS))
}

/// What failed for one reason on one node.
#[derive(Debug, Serialize)]
pub(super) struct FailureRow {
    title: String,
    message: String,
    when: String,
    examples: String,
    open: bool,
    tails: Vec<TailText>,
}

/// The last of what a task wrote.
#[derive(Debug, Serialize)]
pub(super) struct TailText {
    title: String,
    text: String,
}

/// Failures by reason and node; and what is said of those that are not listed.
pub(super) fn failures(history: &History) -> (Vec<FailureRow>, Option<String>) {
    let (groups, all) = history.failures(GROUPS);
    let left = all - groups.len();
    let left = (left > 0).then(|| {
        format!(
            "{} more are not listed.",
            words::counted(left as u64, "other group")
        )
    });
    let rows = groups.iter().enumerate().map(|(nth, group)| {
        let code = group
            .exit_code
            .map_or_else(String::new, |code| format!(" {code}"));
        let class = group
            .class
            .map_or_else(String::new, |class| format!(" {}", words::name(class)));
        let host = match group.host {
            Some(host) => format!(" on {}", words::name(host)),
            None if group.failed > 0 => ", without having run".to_owned(),
            None => ", where is not known".to_owned(),
        };
        let failed = (group.failed > 0).then(|| format!("{} failed", words::counted(group.failed, "task")));
        let retried = (group.retried > 0)
            .then(|| format!("{} followed by another", words::counted(group.retried, "attempt")));
        let count: Vec<_> = failed.into_iter().chain(retried).collect();
        let message = match (group.message, group.code) {
            ("", "retried") => "The journal does not say why an attempt failed that was followed by another.",
            ("", "lost") => "The worker was lost while they ran.",
            (message, _) => message,
        };
        FailureRow {
            title: format!("{}{class}{code}{host}: {}", group.code, count.join(", ")),
            message: words::safe(message, MESSAGE, false),
            when: format!(
                "From {} to {} after the run began.",
                since(history, group.when_us.0),
                since(history, group.when_us.1)
            ),
            examples: group
                .examples
                .iter()
                .map(|place| task(history, &history.spans()[*place as usize]))
                .collect::<Vec<_>>()
                .join(", "),
            open: nth == 0,
            tails: history
                .tails_of(group, TAILS)
                .into_iter()
                .map(|one| tail(history, one))
                .collect(),
        }
    });
    (rows.collect(), left)
}

fn task(history: &History, span: &Span) -> String {
    let submission = history.submission(span.submission);
    submission.map_or_else(String::new, |submission| submission.tasks(span.lo, span.hi))
}

fn tail(history: &History, tail: &Tail) -> TailText {
    let span = history.spans().get(tail.span as usize);
    let task = span.map_or_else(String::new, |span| task(history, span));
    let before = if tail.before > 0 {
        format!(", after {} that are not shown", words::bytes(tail.before))
    } else {
        String::new()
    };
    TailText {
        title: format!("{task}: the last of its {}{before}", tail.of),
        text: words::safe(&tail.text, 8_000, true),
    }
}

/// A slow attempt.
#[derive(Debug, Serialize)]
pub(super) struct SlowRow {
    task: String,
    name: String,
    attempt: u32,
    outcome: String,
    ran: String,
    from: String,
    on: String,
}

/// The attempts that ran longest.
pub(super) fn slowest(history: &History) -> Vec<SlowRow> {
    let spans = history.slowest(20).into_iter();
    let rows = spans.map(|place| &history.spans()[place as usize]).map(|span| {
        let name = history.submission(span.submission).map_or("", |of| of.name());
        let reason = history.reason_of(span);
        SlowRow {
            task: task(history, span),
            name: words::name(name),
            attempt: span.attempt,
            outcome: match reason {
                Some(reason) if reason.code != span.outcome.name() => {
                    format!("{} ({})", span.outcome.name(), reason.code)
                }
                _ => span.outcome.name().to_owned(),
            },
            ran: words::time(span.mean_us()),
            from: since(history, span.begin_us),
            on: history
                .worker_of(span)
                .map_or_else(|| "not known".to_owned(), |worker| words::name(&worker.host)),
        }
    });
    rows.collect()
}

fn called(history: &History, number: u64) -> String {
    let name = history.submission(number).map_or("", |of| of.name());
    words::name(&format!("{number} {name}"))
}

/// What waited for what, those first that waited longest; and how many more there are.
pub(super) fn dependencies(
    history: &History,
    all: &[Dependency],
    courses: &BTreeMap<u64, Course>,
) -> (Vec<[String; 5]>, usize) {
    let waited = |one: &Dependency| {
        let submitted = history.submission(one.waiting)?.at_us;
        Some(one.until_us?.saturating_sub(submitted))
    };
    let mut order: Vec<_> = all.iter().collect();
    order.sort_by_key(|one| std::cmp::Reverse(waited(one)));
    let rows = order.into_iter().take(ROWS).map(|one| {
        let how = match one.when {
            When::Ok => "all end well",
            When::Any => "all end",
            When::Failed => "one ends badly",
        };
        let which = match one.offsets {
            _ if one.each => ", task by task",
            Some(_) => ", of some tasks",
            None => "",
        };
        let begun = courses.get(&one.waiting).and_then(|course| course.first_begun);
        // Where tasks wait each for one, the first may begin before the last that is waited for has ended.
        let room = one.until_us.filter(|_| !one.each).zip(begun);
        [
            called(history, one.waiting),
            called(history, one.on),
            format!("{how}{which}"),
            waited(one).map_or_else(|| "still".to_owned(), words::time),
            room.map_or_else(
                || "–".to_owned(),
                |(until, begun)| words::time(begun.saturating_sub(until)),
            ),
        ]
    });
    (rows.collect(), all.len().saturating_sub(ROWS))
}

/// How that submission came about which waited for others and ended last: it, what it waited for longest, and so on; the
/// first comes first.
pub(super) fn chain(history: &History, all: &[Dependency], courses: &BTreeMap<u64, Course>) -> Vec<String> {
    let mut on: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    for one in all {
        if let Some(until) = one.until_us {
            let last = on.entry(one.waiting).or_insert((until, one.on));
            *last = (*last).max((until, one.on));
        }
    }
    let ended = |number: &&u64| courses.get(number).and_then(|course| course.last_ended);
    let mut next = on.keys().max_by_key(ended).copied();
    let mut steps = Vec::new();
    while let Some(number) = next.filter(|_| steps.len() < STEPS) {
        let course = courses.get(&number).copied().unwrap_or_default();
        let at = |time: Option<u64>| time.map_or_else(|| "never".to_owned(), |time| since(history, time));
        steps.push(format!(
            "{}: first began at {}, last ended at {}",
            called(history, number),
            at(course.first_begun),
            at(course.last_ended)
        ));
        next = on.get(&number).map(|(_, on)| *on);
    }
    if steps.len() < 2 {
        return Vec::new();
    }
    steps.reverse();
    steps
}

/// What time went for.
#[derive(Debug, Serialize)]
pub(super) struct SpentRow {
    pub(super) class: &'static str,
    pub(super) name: &'static str,
    pub(super) cores: String,
    pub(super) share: String,
    pub(super) gpus: String,
    pub(super) time: String,
    /// Its part of all core-hours.
    #[serde(skip)]
    pub(super) part: f64,
}

/// Where the time went, idle time last.
pub(super) fn spent(usage: &Usage) -> Vec<SpentRow> {
    let named = [
        (
            "done",
            "attempts that ended well",
            usage.by_outcome[Outcome::Done as usize],
        ),
        (
            "failed",
            "attempts that failed",
            usage.by_outcome[Outcome::Failed as usize],
        ),
        (
            "retried",
            "attempts that failed and were made again",
            usage.by_outcome[Outcome::Retried as usize],
        ),
        (
            "lost",
            "attempts whose worker was lost",
            usage.by_outcome[Outcome::Lost as usize],
        ),
        (
            "canceled",
            "attempts that were canceled",
            usage.by_outcome[Outcome::Canceled as usize],
        ),
        (
            "uncharged",
            "attempts that their worker gave back, or that another attempt overtook",
            usage.uncharged,
        ),
        (
            "idle",
            "nothing, between the first and the last that a worker did",
            usage.idle(),
        ),
    ];
    let all: f64 = named.iter().map(|(_, _, spent)| spent.cores_s).sum();
    let rows = named.into_iter().map(|(class, name, spent)| SpentRow {
        class,
        name,
        cores: words::hours(spent.cores_s),
        share: words::share(spent.cores_s, all),
        gpus: words::hours(spent.gpus_s),
        time: if class == "idle" {
            "–".to_owned()
        } else {
            words::hours(spent.time_s)
        },
        part: if all > 0.0 { spent.cores_s / all } else { 0.0 },
    });
    rows.collect()
}
