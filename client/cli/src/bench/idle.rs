//! What a pilot without work still does: it should only beat.

use std::time::{Duration, Instant};

use super::MIB;
use super::Way;
use super::pilot::{BenchPilot, Mark};
use super::process::{Activity, activity};
use super::row::Row;
use crate::interrupt;

/// What is left of starting and of the client that leaves is over after that.
const SETTLE: Duration = Duration::from_secs(1);

pub(super) fn run(n: u64, way: Way) -> anyhow::Result<Row> {
    let (mut pilot, session) = BenchPilot::warm(way)?;
    drop(session);
    pilot.leave();
    pause(SETTLE)?;
    let look = |pilot: &BenchPilot| -> anyhow::Result<Activity> {
        pilot.pids().try_fold(Activity::default(), |sum, pid| {
            let part = activity(pid)?;
            Ok(Activity {
                cpu: sum.cpu + part.cpu,
                switches: sum.switches + part.switches,
            })
        })
    };
    let before = look(&pilot)?;
    let mark = Mark::new(&pilot)?;
    pause(Duration::from_secs(n))?;
    let (time, usage) = mark.elapsed(&pilot)?;
    let after = look(&pilot)?;
    let (_, peak) = pilot.memory()?;
    pilot.stop()?;
    let mut row = Row::new("idle", n, way).used(usage).active(&before, &after, time);
    row.seconds = Some(time.as_secs_f64());
    row.agent_peak_rss_mb = Some(peak as f64 / MIB);
    Ok(row)
}

/// Lets time pass, which is what is measured here.
fn pause(time: Duration) -> anyhow::Result<()> {
    let until = Instant::now() + time;
    loop {
        interrupt::check()?;
        let left = until.saturating_duration_since(Instant::now());
        if left == Duration::ZERO {
            return Ok(());
        }
        std::thread::sleep(left.min(interrupt::SLICE));
    }
}
