//! Tasks that do nothing, as many as go through.

use std::time::Duration;

use scalems_client::{ClientError, Session, Task, TaskHandle};
use scalems_protocol::program::NOOP;

use super::Way;
use super::pilot::{BenchPilot, Mark};
use super::raw::Ring;
use super::row::Row;
use super::{DATA_BYTES, MIB};
use crate::interrupt;

/// Tasks before the clock starts.
const WARM_UP: u64 = 20_000;
/// No single step of these takes near as long.
const STEP: Duration = Duration::from_mins(2);

/// Tasks on their way in the raw ring, and messages with 64 of them.
const RAW_WINDOW: u64 = 1_000;
const RAW_WINDOW_64: u64 = 100;
/// The raw ring need not run as long as the tasks.
const RAW_MOST: u64 = 400_000;

/// Each task is submitted by a call of its own and has a handle of its own.
pub(super) fn noop(n: u64, way: Way) -> anyhow::Result<Row> {
    let mut raw = Raw::new(n, way)?;
    let (pilot, session) = BenchPilot::warm(way)?;
    one_by_one(&session, n.min(WARM_UP))?;
    raw.run()?;
    let mark = Mark::new(&pilot)?;
    one_by_one(&session, n)?;
    let (time, usage) = mark.elapsed(&pilot)?;
    let (_, peak) = pilot.memory()?;
    raw.run()?;
    drop(session);
    pilot.stop()?;
    let mut row = Row::new("noop", n, way)
        .took(time)
        .used(usage)
        .limit_rate("libzmq-3-party-1-per-message", raw.rate(1));
    row.limit_rate_64 = Some(raw.rate(64));
    row.agent_peak_rss_mb = Some(peak as f64 / MIB);
    Ok(row)
}

fn one_by_one(session: &Session, n: u64) -> anyhow::Result<()> {
    let task = Task::new(NOOP);
    let data = [7; DATA_BYTES];
    let mut handles: Vec<TaskHandle> = Vec::with_capacity(n as usize);
    while (handles.len() as u64) < n {
        match session.submit_data(&task, &data) {
            Ok(handle) => handles.push(handle),
            Err(ClientError::BacklogFull { .. }) => interrupt::wait(STEP, |slice| session.wait_room(slice))?,
            Err(error) => return Err(error.into()),
        }
    }
    for handle in handles {
        let result = interrupt::wait(STEP, |slice| handle.wait(slice))?;
        anyhow::ensure!(result.is_done(), "a task did not end well: {:?}", result.error);
    }
    Ok(())
}

/// One submission of all.
pub(super) fn array(n: u64, way: Way) -> anyhow::Result<Row> {
    let count = u32::try_from(n)?;
    let (pilot, session) = BenchPilot::warm(way)?;
    whole(&session, count.min(WARM_UP as u32))?;
    let mark = Mark::new(&pilot)?;
    whole(&session, count)?;
    let (time, usage) = mark.elapsed(&pilot)?;
    let (_, peak) = pilot.memory()?;
    drop(session);
    pilot.stop()?;
    let mut row = Row::new("array", n, way).took(time).used(usage);
    row.agent_peak_rss_mb = Some(peak as f64 / MIB);
    Ok(row)
}

fn whole(session: &Session, count: u32) -> anyhow::Result<()> {
    let array = session.submit_array(Task::new(NOOP), 0..count)?;
    let counts = interrupt::wait(STEP, |slice| array.wait(slice))?;
    anyhow::ensure!(
        counts.done == count,
        "only {} of {count} tasks ended well",
        counts.done
    );
    Ok(())
}

/// The same bytes through sockets alone, before and after.
struct Raw {
    ring: Ring,
    tasks: u64,
    single: Duration,
    by_64: Duration,
    rounds: u32,
}

impl Raw {
    fn new(n: u64, way: Way) -> anyhow::Result<Self> {
        // A whole number of messages with 64.
        let tasks = (n / 2).clamp(64, RAW_MOST) / 64 * 64;
        let mut ring = Ring::start(way.transport)?;
        ring.stream(DATA_BYTES, tasks.min(WARM_UP), RAW_WINDOW)?;
        Ok(Self {
            ring,
            tasks,
            single: Duration::ZERO,
            by_64: Duration::ZERO,
            rounds: 0,
        })
    }

    fn run(&mut self) -> anyhow::Result<()> {
        self.single += self.ring.stream(DATA_BYTES, self.tasks, RAW_WINDOW)?;
        self.by_64 += self
            .ring
            .stream(64 * DATA_BYTES, self.tasks / 64, RAW_WINDOW_64)?;
        self.rounds += 1;
        Ok(())
    }

    fn rate(&self, per_message: u64) -> f64 {
        let time = if per_message == 1 { self.single } else { self.by_64 };
        self.tasks as f64 * f64::from(self.rounds) / time.as_secs_f64()
    }
}
