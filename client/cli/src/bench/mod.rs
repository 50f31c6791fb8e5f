//! `scalems bench`: what this machine gives, through real processes, beside what it gives without us.
//!
//! Each workload starts a pilot of its own, warms it up, measures, and ends it. What bounds it, raw sockets or
//! the system's own way to start programs, is measured in the same run: rates of a shared machine differ by a
//! tenth from one minute to the next, their ratio does not.

mod child;
mod idle;
mod latency;
mod memory;
mod payload;
mod pilot;
mod posix_spawn;
mod process;
mod raw;
mod row;
mod spawn;
mod startup;
mod throughput;
mod watching;
mod workers;

use anyhow::Context as _;
use nix::sys::signal::Signal;

use self::row::{Printer, Row};
use crate::Context;
use crate::args::{BenchArgs, Transport, Workload};
use crate::exit::Exit;
use crate::interrupt;

/// Data of a small task.
const DATA_BYTES: usize = 100;
/// Memory is counted in this.
const MIB: f64 = (1 << 20) as f64;

/// All workloads in the order in which `all` runs them: what starts processes first, while this one is small.
const ALL: [Workload; 10] = [
    Workload::Startup,
    Workload::Spawn,
    Workload::Latency,
    Workload::Payload,
    Workload::Array,
    Workload::Noop,
    Workload::Memory,
    Workload::Idle,
    Workload::Workers,
    Workload::Top,
];

/// What the pilot that is measured is like.
#[derive(Clone, Copy, Debug)]
struct Way {
    transport: Transport,
    journal: bool,
}

pub(crate) fn run(context: &Context, args: &BenchArgs) -> anyhow::Result<Exit> {
    let directory = || args.dir.as_deref().context("--dir is missing");
    match args.workload {
        Workload::RawHead => return raw::head(directory()?, args.transport).map(|()| Exit::Well),
        Workload::RawWorker => return raw::worker(directory()?).map(|()| Exit::Well),
        _ => {}
    }
    let all = args.workload == Workload::All;
    if args.count == Some(0) || (all && args.count.is_some()) {
        eprintln!("scalems: -n is at least 1, and goes with one workload");
        return Ok(Exit::Usage);
    }
    interrupt::install(&[Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP])?;
    let way = Way {
        transport: args.transport,
        journal: args.journal == "on",
    };
    let mut printer = Printer::new(context.output, all);
    let workloads = if all { &ALL[..] } else { &[args.workload] };
    for workload in workloads {
        match measure(*workload, args.count, way) {
            Ok(row) => printer.row(row)?,
            // By then everything is taken down.
            Err(_) if interrupt::seen() => return Ok(Exit::Interrupted),
            Err(error) => return Err(error),
        }
    }
    printer.finish()?;
    Ok(Exit::Well)
}

fn measure(workload: Workload, count: Option<u64>, way: Way) -> anyhow::Result<Row> {
    let n = |or| count.unwrap_or(or);
    match workload {
        Workload::Noop => throughput::noop(n(2_000_000), way),
        Workload::Array => throughput::array(n(1_000_000), way),
        Workload::Latency => latency::run(n(2_000), way),
        Workload::Spawn => spawn::run(n(4_000), way),
        Workload::Payload => payload::run(n(500), way),
        Workload::Startup => startup::run(n(10), way),
        Workload::Memory => memory::run(n(1_000_000), way),
        Workload::Idle => idle::run(n(10), way),
        Workload::Workers => workers::run(n(1_000), way),
        Workload::Top => watching::run(n(1_000), way),
        Workload::All | Workload::RawHead | Workload::RawWorker => {
            unreachable!("invariant: these were seen to before")
        }
    }
}
