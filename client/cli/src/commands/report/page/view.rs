//! What the page shows, ready for its template.

use scalems_agent::journal::history::sums::{Distribution, Usage};
use scalems_agent::journal::history::{History, Outcome, Reading, Source, Timeline};
use serde::Serialize;

use super::charts::{self, Chart, Histogram, LEFT, RIGHT, Scale};
use super::gantt::{self, Gantt};
use super::tables::{self, FailureRow, SlowRow, SpentRow, SubmissionRow, WorkerRow};
use super::words;

/// Points of charts over time, and rows of their table.
const POINTS: usize = 240;
const NUMBERS: usize = 20;

/// The page.
#[derive(Debug, Serialize)]
pub(super) struct View {
    pilot: String,
    software: &'static str,
    made: String,
    ended: String,
    tiles: Vec<[String; 2]>,
    facts: Vec<[String; 2]>,
    unit: &'static str,
    utilisation: Chart,
    utilisation_text: String,
    states: Chart,
    states_text: String,
    legend: Vec<[String; 2]>,
    numbers: Vec<[String; 8]>,
    has_gpus: bool,
    gantt: Gantt,
    workers: Vec<WorkerRow>,
    workers_left: usize,
    distributions: Vec<Distributed>,
    failures: Vec<FailureRow>,
    failures_text: String,
    failures_left: Option<String>,
    slowest: Vec<SlowRow>,
    dependencies: Vec<[String; 5]>,
    dependencies_left: usize,
    chain: Vec<String>,
    allocation_text: String,
    bar: Vec<[String; 4]>,
    spent: Vec<SpentRow>,
    submissions: Vec<SubmissionRow>,
    submissions_left: usize,
    notes: Vec<String>,
}

impl View {
    /// The run in half a sentence.
    pub(super) fn told(&self) -> String {
        let tiles = self.tiles.iter().take(4);
        let parts: Vec<_> = tiles.map(|[what, value]| format!("{value} {what}")).collect();
        parts.join(", ")
    }
}

/// A distribution.
#[derive(Debug, Serialize)]
struct Distributed {
    id: &'static str,
    title: &'static str,
    what: &'static str,
    text: String,
    empty: &'static str,
    histogram: Histogram,
}

/// Everything that the page of a reading shows. `made_us` is now, microseconds since 1970.
pub(super) fn view(reading: &Reading, pilot: &str, made_us: u64) -> View {
    let history = &reading.history;
    let usage = busiest_first(history.usage());
    let whole = (history.begin_us(), history.end_us());
    let scale = Scale {
        from_us: whole.0,
        upto_us: whole.1,
        left: LEFT,
        right: RIGHT,
    };
    let courses = tables::courses(history);
    let all_dependencies = history.dependencies();
    let (dependencies, dependencies_left) = tables::dependencies(history, &all_dependencies, &courses);
    let (submissions, submissions_left) = tables::submissions(history, &courses);
    let (workers, workers_left) = tables::workers(history, &usage.workers);
    let (failures, failures_left) = tables::failures(history);
    let spent = tables::spent(&usage);
    let loads = history.load(whole, POINTS, None);
    let timeline = Timeline::new(history);
    let moments: Vec<_> = loads
        .iter()
        .map(|load| (load.upto_us, timeline.at(load.upto_us)))
        .collect();
    let ran = history.spans().iter().any(|span| span.ran_us > 0);
    let mut utilisation = charts::utilisation(&loads, scale);
    if !ran {
        utilisation.shapes.clear();
    }
    let cores = loads
        .iter()
        .any(|load| load.cores.iter().any(|cores| *cores > 0.0));
    let gantt_scale = Scale { left: 170.0, ..scale };
    View {
        pilot: if pilot.is_empty() {
            "a pilot".to_owned()
        } else {
            words::name(pilot)
        },
        software: concat!("scalems ", env!("CARGO_PKG_VERSION")),
        made: words::date(made_us),
        ended: ended(reading),
        tiles: tiles(history, &usage),
        facts: facts(reading),
        unit: if cores { "Cores in use" } else { "Tasks running" },
        utilisation,
        utilisation_text: utilisation_text(&loads, cores),
        states: charts::states(&moments, scale),
        states_text: states_text(&moments),
        legend: legend(history),
        numbers: numbers(history, &timeline, whole),
        has_gpus: loads.iter().any(|load| load.gpus > 0.0),
        gantt: gantt::gantt(history, &usage.workers, gantt_scale),
        workers,
        workers_left,
        distributions: distributions(history),
        failures,
        failures_text: failures_text(history),
        failures_left,
        slowest: tables::slowest(history),
        dependencies,
        dependencies_left,
        chain: tables::chain(history, &all_dependencies, &courses),
        allocation_text: allocation_text(&usage),
        bar: bar(&spent),
        spent,
        submissions,
        submissions_left,
        notes: notes(reading),
    }
}

/// Those first that did most; what is not known where comes last.
fn busiest_first(mut usage: Usage) -> Usage {
    usage.workers.sort_by(|one, other| {
        let known = other.worker.is_some().cmp(&one.worker.is_some());
        let busy = other.spent.cores_s.total_cmp(&one.spent.cores_s);
        known.then(busy).then(one.worker.cmp(&other.worker))
    });
    usage
}

fn ended(reading: &Reading) -> String {
    let (tasks, unfinished) = reading.history.tasks();
    let open = format!("{} had not ended", words::counted(unfinished, "task"));
    match (reading.source, reading.history.ended_in_order(), unfinished) {
        (Source::Live, ..) if unfinished == 0 => {
            "The pilot runs; all of its tasks so far have ended.".to_owned()
        }
        (Source::Live, ..) => format!("The pilot runs: when this was made, {open}."),
        (_, _, 0) if tasks == 0 => "Nothing was submitted.".to_owned(),
        (_, true, 0) => "All tasks have ended, and the pilot ended in order.".to_owned(),
        (_, true, _) => format!("The pilot ended in order; {open}."),
        (_, false, 0) => {
            "All tasks have ended. The agent did not end in order: it was killed, or its host was.".to_owned()
        }
        (_, false, _) => format!("The agent did not end in order: it was killed, or its host was; {open}."),
    }
}

fn tiles(history: &History, usage: &Usage) -> Vec<[String; 2]> {
    let (tasks, unfinished) = history.tasks();
    let sum = |nth: usize| history.submissions().map(|of| of.ended[nth]).sum::<u64>();
    let used = usage.by_outcome[Outcome::Done as usize].cores_s;
    let wasted = usage.wasted().cores_s;
    let long = history.end_us().saturating_sub(history.begin_us());
    let mut tiles = vec![
        ["tasks", &words::count(tasks)],
        ["done", &words::count(sum(0))],
        ["failed", &words::count(sum(1))],
        ["canceled", &words::count(sum(2))],
    ]
    .into_iter()
    .map(|tile| tile.map(str::to_owned))
    .collect::<Vec<_>>();
    if unfinished > 0 {
        tiles.push(["not ended".to_owned(), words::count(unfinished)]);
    }
    tiles.push(["took".to_owned(), words::time(long)]);
    tiles.push(["core-h used".to_owned(), words::hours(used)]);
    tiles.push(["core-h wasted".to_owned(), words::hours(wasted)]);
    tiles
}

fn facts(reading: &Reading) -> Vec<[String; 2]> {
    let history = &reading.history;
    let at = |time_us: u64| words::date(reading.created_us.saturating_add(time_us));
    let submissions = history.submissions().count() as u64;
    let forgotten = history.submissions().filter(|of| of.forgotten).count() as u64;
    let mut facts = vec![
        ["pilot".to_owned(), reading.pilot.to_string()],
        ["created".to_owned(), words::date(reading.created_us)],
        ["first submission".to_owned(), at(history.begin_us())],
        ["last that is known".to_owned(), at(history.end_us())],
        ["submissions".to_owned(), words::count(submissions)],
        ["workers".to_owned(), words::count(history.workers().len() as u64)],
        [
            "agents, one after another".to_owned(),
            words::count(reading.lives),
        ],
    ];
    if forgotten > 0 {
        facts.push(["submissions forgotten since".to_owned(), words::count(forgotten)]);
    }
    facts
}

fn utilisation_text(loads: &[scalems_agent::journal::history::sums::Load], cores: bool) -> String {
    let all = |load: &scalems_agent::journal::history::sums::Load| {
        if cores {
            load.cores.iter().sum()
        } else {
            load.running
        }
    };
    let most = loads.iter().map(all).fold(0.0, f64::max);
    let mean = loads.iter().map(all).sum::<f64>() / loads.len().max(1) as f64;
    format!("On average {mean:.1}, at most {most:.1}.")
}

fn states_text(moments: &[(u64, scalems_agent::journal::history::Moment)]) -> String {
    let waiting = moments
        .iter()
        .map(|(_, moment)| moment.waiting)
        .max()
        .unwrap_or(0);
    let running = moments
        .iter()
        .map(|(_, moment)| moment.running)
        .max()
        .unwrap_or(0);
    format!(
        "At most {} waited and {} ran.",
        words::counted(waiting, "task"),
        words::count(running)
    )
}

/// The kinds of ends that there were.
fn legend(history: &History) -> Vec<[String; 2]> {
    let mut counts = [0_u64; 5];
    for span in history.spans().iter().filter(|span| span.ran()) {
        counts[span.outcome as usize] += u64::from(span.count());
    }
    let there = Outcome::ALL
        .into_iter()
        .filter(|outcome| counts[*outcome as usize] > 0);
    let entries = there.map(|outcome| {
        let name = outcome.name().to_owned();
        let text = format!("{name}: {}", words::counted(counts[outcome as usize], "attempt"));
        [name, text]
    });
    entries.collect()
}

fn numbers(history: &History, timeline: &Timeline<'_>, whole: (u64, u64)) -> Vec<[String; 8]> {
    let loads = history.load(whole, NUMBERS, None);
    let rows = loads.iter().map(|load| {
        let moment = timeline.at(load.upto_us);
        [
            tables::since(history, load.from_us),
            tables::since(history, load.upto_us),
            format!("{:.1}", load.cores.iter().sum::<f64>()),
            format!("{:.1}", load.gpus),
            format!("{:.1}", load.running),
            words::count(moment.waiting),
            words::count(moment.done),
            words::count(moment.failed),
        ]
    });
    rows.collect()
}

fn distributions(history: &History) -> Vec<Distributed> {
    let text = |about: &str, found: &Distribution, name: fn(u64) -> String| {
        format!(
            "{about} {}: half of them up to {}, 95 of a hundred up to {}, the largest {}, on average {}.",
            words::count(found.count),
            name(found.median),
            name(found.p95),
            name(found.max),
            name(found.mean() as u64)
        )
    };
    let (runs, waits, sizes) = (history.run_times(), history.waits(), history.value_sizes());
    vec![
        Distributed {
            id: "run-times",
            title: "Run times",
            what: "attempts",
            text: text("Attempts that ended well,", &runs, words::time),
            empty: "No attempt ended well.",
            histogram: charts::histogram(&runs.bins, words::time_step),
        },
        Distributed {
            id: "waits",
            title: "Waits for room",
            what: "tasks",
            text: text(
                "From when a task could have begun to when it did,",
                &waits,
                words::time,
            ),
            empty: "No task began.",
            histogram: charts::histogram(&waits.bins, words::time_step),
        },
        Distributed {
            id: "sizes",
            title: "Sizes of values",
            what: "values",
            text: text("Values that are not empty,", &sizes, words::bytes),
            empty: "No value is known.",
            histogram: charts::histogram(&sizes.bins, words::bytes),
        },
    ]
}

fn failures_text(history: &History) -> String {
    let mut failed = 0;
    let mut again = 0;
    for span in history.spans() {
        match span.outcome {
            Outcome::Failed => failed += u64::from(span.count()),
            Outcome::Retried | Outcome::Lost => again += u64::from(span.count()),
            Outcome::Done | Outcome::Canceled => {}
        }
    }
    format!(
        "{} failed, and {} more ended badly and were followed by another. By reason and node, those first that are most:",
        words::counted(failed, "task"),
        words::counted(again, "attempt")
    )
}

fn allocation_text(usage: &Usage) -> String {
    let used = usage.by_outcome[Outcome::Done as usize].cores_s;
    let (wasted, idle) = (usage.wasted().cores_s, usage.idle().cores_s);
    let all = used + wasted + idle;
    format!(
        "Of {} core-hours, {} went into attempts that ended well, {} into attempts that did not, and {} into nothing, while workers \
         had more cores than were in use.",
        words::hours(all),
        words::share(used, all),
        words::share(wasted, all),
        words::share(idle, all)
    )
}

/// The parts of all core-hours beside each other: class, place, width, text.
fn bar(spent: &[SpentRow]) -> Vec<[String; 4]> {
    let mut x = 0.0;
    let there = spent.iter().filter(|row| row.part > 0.0);
    let parts = there.map(|row| {
        let wide = 960.0 * row.part;
        let part = [
            row.class.to_owned(),
            words::pixels(x),
            words::pixels((wide - 1.0).max(0.5)),
            format!("{}: {} core-hours, {}", row.name, row.cores, row.share),
        ];
        x += wide;
        part
    });
    parts.collect()
}

fn notes(reading: &Reading) -> Vec<String> {
    let history = &reading.history;
    let mut notes = vec![
        "All of this is from the pilot's journal. Times are those at which the agent learnt of ends, less how long attempts ran; \
         they are exact to some hundredths of a second."
            .to_owned(),
        "How many cores a worker has is not in the journal: idle time is counted by the most that were in use at a time, from the \
         first to the last that the worker did."
            .to_owned(),
    ];
    if history.spans().iter().any(|span| span.about) {
        notes.push(
            "Of an attempt that was followed by another the journal has how long it ran, not where nor why it failed; when is taken \
             from the one that followed."
                .to_owned(),
        );
    }
    if history.submissions().any(|of| of.unfinished() > 0) {
        notes.push("What runs and has not ended is in no journal: such tasks count as waiting.".to_owned());
    }
    notes
}
