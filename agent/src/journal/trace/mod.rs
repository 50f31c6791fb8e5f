//! A history as a trace in the JSON that Perfetto and Chrome's tracing read: a process for each worker, a row for each core
//! and each GPU, arrows for dependencies, and counters.

mod flows;

use std::io::{self, Write};

use serde_json::{Value, json};

use self::flows::{Ends, Place};
use super::history::lanes::{Kind, Lanes, Slice, joined};
use super::history::{History, Outcome, Reading, Source, Timeline};

/// Slices in one trace, unless said: as many as the viewers show without waiting.
pub const SLICES: usize = 200_000;
/// Points of each counter, at most.
const POINTS: usize = 1_000;
/// The process of counters. Workers have the numbers behind it.
const PILOT: u32 = 1;

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Slices.
    pub slices: usize,
    /// Arrows.
    pub flows: usize,
    /// Slices shorter than this were joined with neighbours of their row, microseconds; 0: none were.
    pub grain_us: u64,
    /// Attempts that are in no slice, since too many ran at a time.
    pub left_out: u64,
}

/// What stands before the name of a kind's rows, and the number of the first of them.
const fn rows(kind: Kind) -> (&'static str, u32) {
    match kind {
        Kind::Cores => ("core", 1),
        Kind::Gpus => ("gpu", 100_001),
        Kind::None => ("no core", 200_001),
        Kind::Instant => ("instant", 300_001),
    }
}

/// One worker's rows.
struct Process {
    number: u32,
    name: String,
    lanes: Lanes,
}

/// Writes a trace of no more than `most` slices.
pub fn write(reading: &Reading, most: usize, out: &mut impl Write) -> io::Result<Written> {
    let history = &reading.history;
    let mut processes: Vec<_> = (PILOT + 1..)
        .zip(history.by_worker())
        .map(|(number, (worker, places))| Process {
            number,
            name: name_of(history, worker),
            lanes: history.lanes(&places),
        })
        .collect();
    let mut ends = Ends::of(history);
    for process in &processes {
        for (kind, slices) in &process.lanes.slices {
            ends.find(slices, |lane| Place {
                process: process.number,
                row: rows(*kind).1 + lane,
            });
        }
    }
    let mut written = Written {
        left_out: processes.iter().map(|process| process.lanes.left_out).sum(),
        grain_us: join(history, &mut processes, most.max(1)),
        ..Written::default()
    };
    let mut events = Events { out, first: true };
    write!(
        events.out,
        "{{\"displayTimeUnit\":\"ms\",\"otherData\":{},\"traceEvents\":[",
        about(reading, &written)
    )?;
    events.put(&named("process_name", PILOT, 0, "the pilot"))?;
    counters(history, &mut events)?;
    for process in &processes {
        events.put(&named("process_name", process.number, 0, &process.name))?;
        events.put(&json!({
            "name": "process_sort_index", "ph": "M", "pid": process.number, "tid": 0,
            "args": {"sort_index": process.number}
        }))?;
        for (kind, slices) in &process.lanes.slices {
            let (name, first) = rows(*kind);
            for lane in 0..process.lanes.lanes.get(kind).copied().unwrap_or(0) {
                let name = if *kind == Kind::Instant {
                    name.to_owned()
                } else {
                    format!("{name} {lane}")
                };
                events.put(&named("thread_name", process.number, first + lane, &name))?;
                events.put(&json!({
                    "name": "thread_sort_index", "ph": "M", "pid": process.number, "tid": first + lane,
                    "args": {"sort_index": first + lane}
                }))?;
            }
            for slice in slices {
                written.slices += 1;
                events.put(&complete(history, process.number, first + slice.lane, slice))?;
            }
        }
    }
    written.flows = ends.write(|event| events.put(event))?;
    events.out.write_all(b"\n]}\n")?;
    Ok(written)
}

/// Joins slices until there are few enough, and says below which length.
fn join(history: &History, processes: &mut [Process], most: usize) -> u64 {
    let count = |processes: &[Process]| -> usize {
        let slices = processes.iter().flat_map(|process| process.lanes.slices.values());
        slices.map(Vec::len).sum()
    };
    let mut grain_us = 0;
    while count(processes) > most {
        let long = history.end_us().saturating_sub(history.begin_us());
        // Twice as much each time, so it ends: then each row is one slice.
        grain_us = (grain_us * 2).max(long / 20_000).max(1);
        for slices in processes
            .iter_mut()
            .flat_map(|process| process.lanes.slices.values_mut())
        {
            // What did not end well stays apart for as long as it can.
            *slices = joined(slices, grain_us, grain_us < long / 500);
        }
        if grain_us > long.saturating_mul(2) {
            break;
        }
    }
    grain_us
}

fn about(reading: &Reading, written: &Written) -> Value {
    let (tasks, unfinished) = reading.history.tasks();
    json!({
        "software": concat!("scalems ", env!("CARGO_PKG_VERSION")),
        "pilot": reading.pilot.to_string(),
        "created_us_since_1970": reading.created_us,
        "live": reading.source == Source::Live,
        "tasks": tasks,
        "unfinished": unfinished,
        "joined_below_us": written.grain_us,
        "left_out": written.left_out,
    })
}

/// How a process is called: where its tasks ran.
fn name_of(history: &History, worker: Option<u32>) -> String {
    let worker = worker.and_then(|place| history.workers().get(place as usize));
    worker.map_or_else(
        || "attempts before the last: where is not in the journal".to_owned(),
        |worker| format!("{}: worker {}", worker.host, worker.name),
    )
}

fn named(what: &str, process: u32, row: u32, name: &str) -> Value {
    json!({"name": what, "ph": "M", "pid": process, "tid": row, "args": {"name": name}})
}

fn complete(history: &History, process: u32, row: u32, slice: &Slice) -> Value {
    let span = &history.spans()[slice.place as usize];
    let outcome = slice.outcome();
    let submission = history.submission(span.submission);
    let name = submission.map_or("", |submission| submission.name());
    let single = slice.count() <= u64::from(span.count());
    let task = submission.map_or_else(String::new, |submission| submission.tasks(span.lo, span.hi));
    let reason = history.reason_of(span).filter(|_| single);
    let title = match (single, outcome) {
        (true, Outcome::Done) if slice.count() > 1 => format!("{} tasks {name}", slice.count()),
        (true, Outcome::Done) => format!("{task} {name}"),
        (true, _) => {
            let why = reason.map_or(outcome.name(), |reason| reason.code);
            format!("{}: {why} {task} {name}", outcome.name().to_uppercase())
        }
        (false, Outcome::Done) => format!("{} tasks", slice.count()),
        (false, _) => {
            let bad = slice.count() - slice.tasks[Outcome::Done as usize];
            format!(
                "{bad} of {} tasks not done: {}",
                slice.count(),
                outcome.name().to_uppercase()
            )
        }
    };
    let mut args = json!({"state": outcome.name(), "tasks": slice.count()});
    if single {
        args["task"] = task.into();
        args["attempt"] = span.attempt.into();
        args["submission"] = name.into();
        args["ran_s"] = (span.mean_us() as f64 / 1e6).into();
        if let Some(code) = span.exit_code {
            args["exit_code"] = code.into();
        }
        if let Some(reason) = reason {
            args["error"] = json!({"code": reason.code, "message": reason.message});
        }
        if span.about {
            args["about"] = "the journal says only between which times it ended".into();
        }
    } else {
        let states = Outcome::ALL
            .into_iter()
            .map(|outcome| (outcome, slice.tasks[outcome as usize]));
        args["by_state"] = states
            .filter(|(_, count)| *count > 0)
            .map(|(outcome, count)| (outcome.name().to_owned(), Value::from(count)))
            .collect::<serde_json::Map<_, _>>()
            .into();
    }
    let mut event = json!({
        "name": title, "cat": outcome.name(), "ph": "X", "pid": process, "tid": row, "ts": slice.begin_us,
        "dur": slice.end_us - slice.begin_us, "args": args
    });
    // Colours that Chrome's viewer knows by name; others take no notice.
    let colour = match outcome {
        Outcome::Done => None,
        Outcome::Failed => Some("terrible"),
        Outcome::Retried => Some("bad"),
        Outcome::Lost => Some("yellow"),
        Outcome::Canceled => Some("grey"),
    };
    if let Some(colour) = colour {
        event["cname"] = colour.into();
    }
    event
}

/// Tasks by state and cores in use, where they change.
fn counters(history: &History, events: &mut Events<'_, impl Write>) -> io::Result<()> {
    let timeline = Timeline::new(history);
    let (from, upto) = (history.begin_us(), history.end_us());
    let long = upto.saturating_sub(from);
    let mut before = None;
    let points = POINTS.min(long as usize + 1).max(2) as u64;
    for nth in 0..points {
        let time = from + (u128::from(long) * u128::from(nth) / u128::from(points - 1)) as u64;
        let moment = timeline.at(time);
        // What did not change is not said again, but at the end.
        if before == Some(moment) && nth + 1 < points {
            continue;
        }
        before = Some(moment);
        for (name, args) in [
            ("tasks running", json!({"running": moment.running})),
            ("tasks waiting", json!({"waiting": moment.waiting})),
            (
                "tasks ended",
                json!({"done": moment.done, "failed": moment.failed, "canceled": moment.canceled}),
            ),
            ("attempts again", json!({"retried": moment.retried})),
        ] {
            events
                .put(&json!({"name": name, "ph": "C", "pid": PILOT, "tid": 0, "ts": time, "args": args}))?;
        }
    }
    Ok(())
}

/// The list of events.
struct Events<'a, W: Write> {
    out: &'a mut W,
    first: bool,
}

impl<W: Write> Events<'_, W> {
    fn put(&mut self, event: &Value) -> io::Result<()> {
        self.out.write_all(if self.first { b"\n" } else { b",\n" })?;
        self.first = false;
        serde_json::to_writer(&mut *self.out, event)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
