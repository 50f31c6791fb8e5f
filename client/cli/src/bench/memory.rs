//! What queued tasks cost the agent.

use scalems_client::Task;
use scalems_protocol::limits;
use scalems_protocol::program::NOOP;

use super::Way;
use super::pilot::{BenchPilot, Mark};
use super::row::Row;
use super::{DATA_BYTES, MIB};
use crate::interrupt;

pub(super) fn run(n: u64, way: Way) -> anyhow::Result<Row> {
    let mut pilot = BenchPilot::start(way, false)?;
    let session = pilot.connect()?;
    let items = vec![[7; DATA_BYTES]; limits::BATCH_TASKS];
    let task = Task::new(NOOP);
    let (empty, _) = pilot.memory()?;
    let mark = Mark::new(&pilot)?;
    let mut left = n;
    while left > 0 {
        interrupt::check()?;
        let batch = left.min(items.len() as u64);
        session.submit_held_each(&task, 0, &items[..batch as usize])?;
        left -= batch;
    }
    let (time, usage) = mark.elapsed(&pilot)?;
    let (now, peak) = pilot.memory()?;
    let waiting = session.ask_status()?.tasks;
    anyhow::ensure!(
        waiting.unfinished() == n,
        "the agent does not have all {n} tasks: {waiting:?}"
    );
    drop(session);
    pilot.stop()?;
    let mut row = Row::new("memory", n, way).took(time).used(usage);
    row.agent_rss_mb = Some(now as f64 / MIB);
    row.agent_peak_rss_mb = Some(peak as f64 / MIB);
    row.bytes_per_task = Some(now.saturating_sub(empty) as f64 / n as f64);
    Ok(row)
}
