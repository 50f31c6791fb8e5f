//! One task at a time, from the call to its result.

use std::time::{Duration, Instant};

use scalems_client::{Session, Task};
use scalems_protocol::program::NOOP;

use super::Way;
use super::pilot::{BenchPilot, START};
use super::process::own_cpu;
use super::raw::Ring;
use super::row::{Row, Times};
use super::{DATA_BYTES, MIB};
use crate::interrupt;

/// Tasks, and raw messages, before the clock starts.
const WARM_UP: u64 = 200;
/// The two alternate in blocks, so that what else the machine does meets both.
const BLOCK: u64 = 250;

pub(super) fn run(n: u64, way: Way) -> anyhow::Result<Row> {
    let mut raw = Ring::start(way.transport)?;
    let (pilot, session) = BenchPilot::warm(way)?;
    let (mut ours, mut limit, mut client) = (Times::default(), Times::default(), Duration::ZERO);
    let warm_up = n.min(WARM_UP);
    raw.ping(DATA_BYTES, warm_up, &mut Times::default())?;
    one_at_a_time(&session, warm_up, &mut Times::default())?;
    let before = pilot.usage()?;
    let mut left = n;
    while left > 0 {
        let block = left.min(BLOCK);
        raw.ping(DATA_BYTES, block, &mut limit)?;
        let cpu = own_cpu()?;
        one_at_a_time(&session, block, &mut ours)?;
        client += own_cpu()?.saturating_sub(cpu);
        left -= block;
    }
    let mut usage = pilot.usage()?.since(before);
    usage.client = client;
    let (_, peak) = pilot.memory()?;
    drop(session);
    pilot.stop()?;
    let mut row = Row::new("latency", n, way)
        .took(ours.sum())
        .used(usage)
        .times(&ours);
    row = row.limit_times("libzmq-3-party-ping-pong", &limit);
    row.agent_peak_rss_mb = Some(peak as f64 / MIB);
    Ok(row)
}

fn one_at_a_time(session: &Session, n: u64, times: &mut Times) -> anyhow::Result<()> {
    let task = Task::new(NOOP);
    let data = [7; DATA_BYTES];
    for _ in 0..n {
        let begin = Instant::now();
        let handle = session.submit_data(&task, &data)?;
        let result = interrupt::wait(START, |slice| handle.wait(slice))?;
        times.push(begin.elapsed());
        anyhow::ensure!(result.is_done(), "a task did not end well: {:?}", result.error);
    }
    Ok(())
}
