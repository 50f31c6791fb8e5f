//! Programs.

use std::time::Duration;

use anyhow::Context as _;
use scalems_client::{Session, Task};
use scalems_protocol::program::{EXECUTABLE, Program};

use super::Way;
use super::pilot::{BenchPilot, Mark};
use super::row::Row;
use super::{MIB, posix_spawn};
use crate::interrupt;

const STEP: Duration = Duration::from_mins(2);
/// Programs before the clock starts.
const WARM_UP: u64 = 50;

pub(super) fn run(n: u64, way: Way) -> anyhow::Result<Row> {
    let count = u32::try_from(n)?;
    let (pilot, session) = BenchPilot::warm(way)?;
    let directory = std::env::current_dir().context("this directory")?;
    let directory = directory
        .to_str()
        .context("this directory's name is not text")?
        .to_owned();
    let program = Program {
        argv: vec![posix_spawn::PROGRAM.into()],
        cwd: Some(directory),
        ..Program::default()
    };
    let task = Task::new(EXECUTABLE).program_data(&program);
    array(&session, &task, count.min(WARM_UP as u32))?;
    let before = posix_spawn::run(n)?;
    let mark = Mark::new(&pilot)?;
    array(&session, &task, count)?;
    let (time, usage) = mark.elapsed(&pilot)?;
    let after = posix_spawn::run(n)?;
    let (_, peak) = pilot.memory()?;
    drop(session);
    pilot.stop()?;
    let limit = 2.0 * n as f64 / (before + after).as_secs_f64();
    let mut row = Row::new("spawn", n, way)
        .took(time)
        .used(usage)
        .limit_rate("posix-spawn-2-threads", limit);
    row.agent_peak_rss_mb = Some(peak as f64 / MIB);
    Ok(row)
}

fn array(session: &Session, task: &Task, count: u32) -> anyhow::Result<()> {
    let array = session.submit_array(task, 0..count)?;
    let counts = interrupt::wait(STEP, |slice| array.wait(slice))?;
    if counts.done < count {
        let error = array
            .indices()
            .find_map(|index| array.try_result(index)?.map_or(None, |result| result.error));
        let error = error.map_or_else(|| "no result says why".into(), |error| error.to_string());
        anyhow::bail!("only {} of {count} programs ended well: {error}", counts.done);
    }
    Ok(())
}
