//! Many workers at one agent: how soon all have joined, and what they cost while there is nothing to do.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use scalems_agent::worker::crowd::Crowd;
use scalems_transport::ConnectionFile;

use super::pilot::{BenchPilot, Mark};
use super::process::activity;
use super::row::Row;
use super::{MIB, Way};
use crate::interrupt;

/// All have joined by then.
const JOIN: Duration = Duration::from_mins(1);
/// What is left of joining, and of the client that leaves, is over after that.
const SETTLE: Duration = Duration::from_secs(3);
/// So long nothing is done.
const IDLE: Duration = Duration::from_secs(30);
/// How often it is looked at.
const SLICE: Duration = Duration::from_millis(20);

pub(super) fn run(n: u64, way: Way) -> anyhow::Result<Row> {
    // Each worker has several descriptors here.
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    let mut pilot = BenchPilot::start(way, false)?;
    let session = pilot.connect()?;
    let file = ConnectionFile::read(&pilot.worker_file())?;
    let count = usize::try_from(n)?;
    let begin = Instant::now();
    let mut crowd = Crowd::connect(&file, count).context("connect the workers")?;
    join(&mut crowd, n)?;
    let joined = begin.elapsed();
    let known = session.ask_status()?.workers.0;
    anyhow::ensure!(known == n, "the agent knows {known} workers of {n}");
    drop(session);
    pilot.leave();
    drive(&mut crowd, SETTLE)?;
    let agent = pilot.pids().next().context("the agent is gone")?;
    let (before, mark) = (activity(agent)?, Mark::new(&pilot)?);
    drive(&mut crowd, IDLE)?;
    let (time, usage) = mark.elapsed(&pilot)?;
    let after = activity(agent)?;
    let (_, peak) = pilot.memory()?;
    stop(pilot, crowd)?;
    let mut row = Row::new("workers", n, way)
        .took(joined)
        .used(usage)
        .active(&before, &after, time);
    row.agent_peak_rss_mb = Some(peak as f64 / MIB);
    Ok(row)
}

/// Until all of them have joined.
pub(super) fn join(crowd: &mut Crowd, count: u64) -> anyhow::Result<()> {
    let begin = Instant::now();
    while (crowd.joined() as u64) < count {
        interrupt::check()?;
        anyhow::ensure!(
            begin.elapsed() < JOIN,
            "{} of {count} workers joined within {JOIN:?}",
            crowd.joined()
        );
        crowd.drive(SLICE)?;
    }
    Ok(())
}

/// Ends the pilot with its workers, who have to hear that they are to leave.
pub(super) fn stop(pilot: BenchPilot, mut crowd: Crowd) -> anyhow::Result<()> {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let leaving = scope.spawn(|| {
            while !over.load(Ordering::Acquire) {
                crowd.drive(SLICE)?;
            }
            anyhow::Ok(())
        });
        let stopped = pilot.stop();
        over.store(true, Ordering::Release);
        leaving
            .join()
            .unwrap_or_else(|_| Err(anyhow::anyhow!("the workers' thread panicked")))?;
        stopped
    })
}

pub(super) fn drive(crowd: &mut Crowd, time: Duration) -> anyhow::Result<()> {
    let until = Instant::now() + time;
    while Instant::now() < until {
        interrupt::check()?;
        crowd.drive(SLICE.min(until.saturating_duration_since(Instant::now())))?;
    }
    Ok(())
}
