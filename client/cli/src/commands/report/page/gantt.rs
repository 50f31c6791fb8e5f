//! Who ran what and when: lanes of each worker under each other.

use std::fmt::Write as _;

use scalems_agent::journal::history::lanes::{Kind, Slice, joined};
use scalems_agent::journal::history::sums::WorkerUse;
use scalems_agent::journal::history::{History, Outcome};
use serde::Serialize;

use super::charts::{Scale, Shape, Tick};
use super::words;

/// Workers that are drawn, and lanes altogether; the busiest first.
const WORKERS: usize = 40;
const LANES: u32 = 160;
/// Lanes of one worker that are drawn each for itself.
const LANES_EACH: u32 = 64;
/// Slices with a text of their own.
const TOLD: usize = 600;
/// From one lane to the next, and between two workers.
const STEP: f64 = 9.0;
const GAP: f64 = 7.0;
const TOP: f64 = 6.0;

/// The whole drawing.
#[derive(Debug, Default, Serialize)]
pub(super) struct Gantt {
    pub(super) height: String,
    /// Where the axis is.
    pub(super) bottom: String,
    pub(super) x: Vec<Tick>,
    pub(super) rows: Vec<Row>,
    /// Workers that are not drawn.
    pub(super) left_out: usize,
    /// Attempts that took no time or no room.
    pub(super) instant: u64,
    /// Below this length slices were joined; nothing: none were.
    pub(super) grain: Option<String>,
}

/// A worker.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) lanes: String,
    pub(super) y: String,
    pub(super) height: String,
    /// Where its name stands.
    pub(super) middle: String,
    pub(super) shapes: Vec<Shape>,
    pub(super) told: Vec<Told>,
}

/// A slice with a text.
#[derive(Debug, Serialize)]
pub(super) struct Told {
    class: &'static str,
    x: String,
    y: String,
    width: String,
    height: String,
    text: String,
}

/// Draws the busiest workers.
pub(super) fn gantt(history: &History, workers: &[WorkerUse], scale: Scale) -> Gantt {
    let by_worker = history.by_worker();
    let grain_us =
        (scale.upto_us.saturating_sub(scale.from_us) as f64 * 1.2 / (scale.right - scale.left)) as u64;
    let mut gantt = Gantt::default();
    let (mut y, mut lanes_so_far, mut told) = (TOP, 0, 0);
    let mut any_joined = false;
    for (nth, worker) in workers.iter().enumerate() {
        let places = by_worker.get(&worker.worker).map_or(&[][..], Vec::as_slice);
        let laid = history.lanes(places);
        for kind in [Kind::None, Kind::Instant] {
            let slices = laid.slices.get(&kind).into_iter().flatten();
            gantt.instant += slices.map(Slice::count).sum::<u64>();
        }
        gantt.instant += laid.left_out;
        let count = |kind: Kind| laid.lanes.get(&kind).copied().unwrap_or(0).min(LANES_EACH);
        let (cores, gpus) = (count(Kind::Cores), count(Kind::Gpus));
        if cores + gpus == 0 {
            continue;
        }
        if nth >= WORKERS || lanes_so_far + cores + gpus > LANES {
            gantt.left_out += 1;
            continue;
        }
        lanes_so_far += cores + gpus;
        let mut row = Row {
            name: name(history, worker.worker),
            lanes: lanes_of(cores, gpus),
            y: words::pixels(y - 2.0),
            height: words::pixels(f64::from(cores + gpus) * STEP + 3.0),
            middle: words::pixels(y + f64::from(cores + gpus) * STEP / 2.0 + 3.0),
            shapes: Vec::new(),
            told: Vec::new(),
        };
        for (kind, first, most) in [(Kind::Cores, 0, cores), (Kind::Gpus, cores, gpus)] {
            let Some(slices) = laid.slices.get(&kind) else {
                continue;
            };
            let shown = joined(slices, grain_us, true);
            any_joined |= shown.len() < slices.len();
            let shown: Vec<_> = shown.into_iter().filter(|slice| slice.lane < most).collect();
            let above = y + f64::from(first) * STEP;
            draw(history, &shown, scale, above, kind, &mut row, &mut told);
        }
        y += f64::from(cores + gpus) * STEP + GAP;
        gantt.rows.push(row);
    }
    gantt.grain = any_joined.then(|| words::time(grain_us));
    gantt.bottom = words::pixels(y);
    gantt.height = words::pixels(y + 24.0);
    gantt.x = scale.ticks();
    gantt
}

fn draw(
    history: &History,
    slices: &[Slice],
    scale: Scale,
    above: f64,
    kind: Kind,
    row: &mut Row,
    told: &mut usize,
) {
    let high = STEP - 2.0;
    for outcome in Outcome::ALL {
        let class = match (kind, outcome) {
            (Kind::Gpus, Outcome::Done) => "gpu",
            (_, outcome) => outcome.name(),
        };
        let mut path = String::new();
        for slice in slices.iter().filter(|slice| slice.outcome() == outcome) {
            let (x, right) = (scale.x(slice.begin_us), scale.x(slice.end_us));
            let y = above + f64::from(slice.lane) * STEP;
            // What is shorter than a pixel is seen all the same, and neighbours are told apart.
            let wide = (right - x - 0.4).max(if outcome == Outcome::Done { 0.5 } else { 1.6 });
            if *told < TOLD {
                *told += 1;
                row.told.push(Told {
                    class,
                    x: words::pixels(x),
                    y: words::pixels(y),
                    width: words::pixels(wide),
                    height: words::pixels(high),
                    text: text(history, slice),
                });
                continue;
            }
            let _infallible = write!(
                path,
                "M{} {}h{}v{}h-{}z",
                words::pixels(x),
                words::pixels(y),
                words::pixels(wide),
                words::pixels(high),
                words::pixels(wide)
            );
        }
        if !path.is_empty() {
            row.shapes.push(Shape { class, path });
        }
    }
}

/// What a slice says of itself.
fn text(history: &History, slice: &Slice) -> String {
    let span = &history.spans()[slice.place as usize];
    let long = words::time(slice.end_us - slice.begin_us);
    let outcome = slice.outcome().name();
    if slice.count() > u64::from(span.count()) {
        return format!(
            "{}, the worst of them {outcome}, in {long}",
            words::counted(slice.count(), "task")
        );
    }
    let Some(submission) = history.submission(span.submission) else {
        return String::new();
    };
    let why = history
        .reason_of(span)
        .map_or_else(String::new, |reason| format!(" ({})", reason.code));
    format!(
        "{} {}, attempt {}: {outcome}{why}, {long}",
        submission.tasks(span.lo, span.hi),
        words::safe(submission.name(), 60, false),
        span.attempt
    )
}

/// How a worker is called where there is little room.
fn name(history: &History, worker: Option<u32>) -> String {
    let worker = worker.and_then(|place| history.workers().get(place as usize));
    worker.map_or_else(
        || "not known where".to_owned(),
        |worker| {
            // Without a name of its own it is called after its host.
            let text = if worker.name.starts_with(&worker.host) {
                worker.name.clone()
            } else {
                format!("{} {}", worker.host, worker.name)
            };
            words::safe(&text, 24, false)
        },
    )
}

fn lanes_of(cores: u32, gpus: u32) -> String {
    let cores = words::counted(u64::from(cores), "core");
    if gpus == 0 {
        cores
    } else {
        format!("{cores}, {}", words::counted(u64::from(gpus), "GPU"))
    }
}
