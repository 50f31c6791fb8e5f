//! `scalems worker request` and `scalems worker replace`.

use std::fmt::Write as _;
use std::time::Duration;

use scalems_client::protocol::client::{Layout, RequestRow, RequestState, RequestWorkers};
use scalems_client::protocol::limits;

use super::super::connect;
use crate::Context;
use crate::args::{LayoutArgs, Output};
use crate::exit::{Exit, Misuse};
use crate::print;

/// A request that nobody could start anything for is answered within this time.
const SETTLED: Duration = Duration::from_millis(limits::STARTER_AWAY_MS);

/// Requests workers, in the place of one if that is named with the time for what runs there.
pub(super) fn request(
    context: &Context,
    args: LayoutArgs,
    replace: Option<(u64, Duration)>,
) -> anyhow::Result<Exit> {
    let session = connect(context)?;
    let (wait, deadline) = (args.wait, args.deadline);
    let drain = replace.map_or(Duration::ZERO, |(_, drain)| drain);
    let asked = session.ask_for_workers(RequestWorkers {
        request: 0,
        low_water: 0,
        count: args.count,
        deadline_ms: millis(deadline).max(1),
        drain_ms: millis(drain),
        replace: replace.map(|(worker, _)| worker),
        layout: layout(args)?,
    })?;
    let row = if wait {
        // The agent ends it in time in any case.
        session.wait_request(asked, SETTLED + drain + deadline + SETTLED)?
    } else {
        session.ask_request(asked, SETTLED + SETTLED)?
    };
    tell(context, &row)?;
    Ok(match row.state {
        RequestState::Failed => Exit::Failed,
        state if wait && !state.is_over() => Exit::TimedOut,
        _ => Exit::Well,
    })
}

fn layout(args: LayoutArgs) -> anyhow::Result<Layout> {
    let mut layout = Layout {
        cores: args.cores,
        gpus: args.gpus,
        memory: args.memory,
        idle_ms: args.idle_timeout.map_or(0, |time| millis(time).max(1)),
        limit_ms: args.time_limit.map_or(0, |time| millis(time).max(1)),
        ..Layout::default()
    };
    for (name, amount) in args.resource {
        if layout.named.insert(name.clone(), amount).is_some() {
            return Err(Misuse(format!("--resource says twice how much of {name}")).into());
        }
    }
    Ok(layout)
}

fn tell(context: &Context, row: &RequestRow) -> anyhow::Result<()> {
    if context.output != Output::Human {
        return print::one(context.output, row, &[("request", row.id.to_string())]);
    }
    let workers = match row.count {
        1 => "1 worker".to_owned(),
        count => format!("{count} workers"),
    };
    let mut text = String::new();
    for worker in &row.workers {
        writeln!(
            text,
            "started as worker {} on {}",
            worker.worker,
            print::safe(&worker.host)
        )?;
    }
    match row.state {
        RequestState::Started => {}
        RequestState::Failed => {
            eprintln!(
                "scalems: request {} for {workers} has failed: {}",
                row.id,
                print::safe(&row.reason)
            );
        }
        state => {
            let left = print::time(row.left_ms);
            writeln!(
                text,
                "{workers} requested (request {}, {}): {}; it fails if they have not joined in {left}",
                row.id,
                state.name(),
                print::safe(&row.reason)
            )?;
        }
    }
    print::out(&text)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
