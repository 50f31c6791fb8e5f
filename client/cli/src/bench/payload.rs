//! Tasks that are given a mebibyte and give it back.

use std::collections::VecDeque;
use std::time::Duration;

use scalems_client::{Session, Task, TaskHandle};
use scalems_protocol::Bytes;
use scalems_protocol::program::ECHO;

use super::MIB;
use super::Way;
use super::pilot::{BenchPilot, Mark};
use super::raw::Ring;
use super::row::Row;
use crate::interrupt;

const STEP: Duration = Duration::from_mins(1);
/// Each way.
const BYTES: usize = 1 << 20;
/// Tasks on their way at once; raw messages likewise.
const WINDOW: u64 = 12;
/// Tasks, and raw messages, before the clock starts.
const WARM_UP: u64 = 50;

pub(super) fn run(n: u64, way: Way) -> anyhow::Result<Row> {
    let mut raw = Ring::start(way.transport)?;
    let (pilot, session) = BenchPilot::warm(way)?;
    let half = n.div_ceil(2);
    raw.stream(BYTES, half.min(WARM_UP), WINDOW)?;
    there_and_back(&session, n.min(WARM_UP))?;
    let before = raw.stream(BYTES, half, WINDOW)?;
    let mark = Mark::new(&pilot)?;
    there_and_back(&session, n)?;
    let (time, usage) = mark.elapsed(&pilot)?;
    let after = raw.stream(BYTES, half, WINDOW)?;
    let (_, peak) = pilot.memory()?;
    drop(session);
    pilot.stop()?;
    let limit = 2.0 * half as f64 / (before + after).as_secs_f64();
    let mut row = Row::new("payload", n, way)
        .took(time)
        .used(usage)
        .limit_rate("libzmq-3-party-1-MiB", limit);
    row.agent_peak_rss_mb = Some(peak as f64 / MIB);
    Ok(row)
}

fn there_and_back(session: &Session, n: u64) -> anyhow::Result<()> {
    let task = Task::new(ECHO).data(Bytes::from(vec![7; BYTES]));
    let mut handles: VecDeque<TaskHandle> = VecDeque::new();
    let mut sent = 0;
    while sent < n || !handles.is_empty() {
        while sent < n && (handles.len() as u64) < WINDOW {
            handles.push_back(session.submit(&task)?);
            sent += 1;
        }
        let Some(first) = handles.pop_front() else { break };
        let result = interrupt::wait(STEP, |slice| first.wait(slice))?;
        anyhow::ensure!(result.is_done(), "a task did not end well: {:?}", result.error);
        anyhow::ensure!(result.value.len() == BYTES, "a value came back with another size");
    }
    Ok(())
}
