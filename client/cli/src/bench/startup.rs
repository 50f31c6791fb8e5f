//! From nothing running to the first result.

use std::time::Instant;

use scalems_client::Task;
use scalems_protocol::program::NOOP;

use super::Way;
use super::pilot::{BenchPilot, START};
use super::row::{Row, Times};
use crate::interrupt;

pub(super) fn run(n: u64, way: Way) -> anyhow::Result<Row> {
    let mut times = Times::default();
    for _ in 0..n {
        let begin = Instant::now();
        let mut pilot = BenchPilot::start(way, true)?;
        let session = pilot.connect()?;
        let first = session.submit(Task::new(NOOP))?;
        let result = interrupt::wait(START, |slice| first.wait(slice))?;
        times.push(begin.elapsed());
        anyhow::ensure!(
            result.is_done(),
            "the first task did not end well: {:?}",
            result.error
        );
        drop(session);
        pilot.stop()?;
    }
    let mut row = Row::new("startup", n, way).times(&times);
    row.seconds = Some(times.sum().as_secs_f64());
    Ok(row)
}
