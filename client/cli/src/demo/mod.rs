//! `scalems demo`: a real ensemble on an embedded pilot, with a worker lost in the middle.

mod local;
mod timeline;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use indicatif::{ProgressBar, ProgressStyle};
use scalems_client::{Session, Task, TaskHandle, as_completed};
use scalems_demo::{Picture, WINDOWS, analyse, table};

use self::local::LocalPilot;
use self::timeline::Timeline;
use crate::args::DemoArgs;
use crate::exit::Exit;
use crate::print;

/// The longest that any one replica may take to end after the one before it.
const PATIENCE: Duration = Duration::from_secs(120);
/// Pixels of the PNG for each unit of the drawing.
const SCALE: f32 = 2.0;

pub(crate) fn run(args: &DemoArgs) -> anyhow::Result<Exit> {
    let begun = Instant::now();
    std::fs::create_dir_all(&args.dir).with_context(|| format!("make {}", args.dir.display()))?;
    let dir = args.dir.canonicalize()?;
    let mut pilot = LocalPilot::start()?;
    let workers = pilot.workers().len();
    print::out(&format!(
        "an embedded pilot runs on this machine: 1 agent, {workers} workers, TCP with CURVE encryption\n\
         ensemble: {WINDOWS} replicas of {} steps, each a process of its own, in 2 generations\n",
        args.steps
    ))?;
    let session = Session::connect(pilot.connection())?;
    let handles = submit(&session, &dir, args.steps)?;
    let mut timeline = Timeline::new(begun);
    let lost = watch(&session, &mut pilot, &handles, &mut timeline)?;
    timeline.name_workers(&session, &handles)?;
    session.close("the demo is done");
    pilot.stop()?;
    let first = analyse(&dir, 1)?;
    let both = analyse(&dir, 2)?;
    let picture = Picture::draw(&[&first, &both], timeline.spans())?;
    let (svg, png) = (dir.join("free-energy.svg"), dir.join("free-energy.png"));
    std::fs::write(&svg, picture.svg()).with_context(|| format!("write {}", svg.display()))?;
    std::fs::write(&png, picture.png(SCALE)?).with_context(|| format!("write {}", png.display()))?;
    report(&table(&[&first, &both]), &lost, &svg, &png, begun.elapsed())?;
    Ok(Exit::Well)
}

/// Both generations at once: a replica of the second runs as soon as its own of the first has ended.
fn submit(session: &Session, dir: &Path, steps: u64) -> anyhow::Result<Vec<TaskHandle>> {
    let program = crate::commands::pilot::start::own_program()?;
    let task = |window: u32, generation: u32| {
        let argv = [
            program.display().to_string(),
            "demo-replica".into(),
            format!("--window={window}"),
            format!("--generation={generation}"),
            format!("--steps={steps}"),
            format!("--dir={}", dir.display()),
        ];
        Task::program(argv).name(format!("generation-{generation}"))
    };
    let mut handles = Vec::new();
    for window in 0..WINDOWS {
        handles.push(session.submit(task(window, 1))?);
    }
    for window in 0..WINDOWS {
        let before = handles[window as usize].clone();
        handles.push(session.submit(task(window, 2).after(&before))?);
    }
    Ok(handles)
}

/// What was lost, for the report.
struct Lost {
    worker: String,
    running: usize,
}

/// Follows the run to its end; kills a worker in the middle.
fn watch(
    session: &Session,
    pilot: &mut LocalPilot,
    handles: &[TaskHandle],
    timeline: &mut Timeline,
) -> anyhow::Result<Lost> {
    let style = ProgressStyle::with_template("{elapsed_precise} [{bar:48}] {pos}/{len} replicas {msg}")
        .context("the bar's template")?;
    let bar = ProgressBar::new(handles.len() as u64).with_style(style.progress_chars("=> "));
    let mut lost = Lost {
        worker: String::new(),
        running: 0,
    };
    let mut completed = as_completed(handles);
    let kill_at = handles.len() / 3;
    for done in 0..handles.len() {
        if done == kill_at {
            let victim = pilot.workers().last().context("the demo has workers")?.clone();
            lost.worker.clone_from(&victim.name);
            lost.running = timeline.worker_lost(session, &victim.name)?;
            pilot.kill(&victim)?;
            bar.set_message(format!("- {} killed, work goes on", victim.name));
        }
        let Some(at) = completed.next_within(PATIENCE)? else {
            break;
        };
        let result = handles[at].wait(Duration::ZERO)?;
        let (generation, window) = (at as u32 / WINDOWS + 1, at as u32 % WINDOWS);
        if !result.is_done() {
            bar.abandon();
            let why = result.error.map_or_else(String::new, |error| error.to_string());
            bail!(
                "replica {window} of generation {generation} did not end well: {}",
                print::safe(&why)
            );
        }
        timeline.ended(at, window, generation, &result);
        bar.set_position(done as u64 + 1);
    }
    bar.finish_and_clear();
    Ok(lost)
}

fn report(table: &str, lost: &Lost, svg: &Path, png: &Path, took: Duration) -> anyhow::Result<()> {
    let again = match lost.running {
        0 => "no replica was running there".to_owned(),
        1 => "the replica that it ran was run again elsewhere".to_owned(),
        count => format!("the {count} replicas that it ran were run again elsewhere"),
    };
    print::out(&format!(
        "\n{table}\n\
         done in {:.1} s. What happened:\n\
         - {WINDOWS} replicas sampled along the coordinate, then {WINDOWS} more went on from where each had ended\n\
         - {} was killed in the middle (kill -9): {again}\n\
         - the windows were joined to one free energy and compared with the exact one\n\n\
         the picture: {}\n             {}\n\n\
         try next:\n  scalems pilot start --detach\n  scalems submit --array 0-9 --wait -- echo 'hello from %{{INDEX}}'\n  \
         scalems task list\n  scalems pilot stop\n",
        took.as_secs_f64(),
        lost.worker,
        png.display(),
        svg.display()
    ))
}
