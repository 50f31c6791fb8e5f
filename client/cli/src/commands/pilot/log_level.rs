//! `scalems pilot log-level`.

use scalems_client::protocol::log_levels;

use super::connect;
use crate::Context;
use crate::args::{Output, PilotLogLevelArgs};
use crate::exit::{Exit, Misuse};
use crate::print;

pub(super) fn run(context: &Context, args: &PilotLogLevelArgs) -> anyhow::Result<Exit> {
    let levels = args.levels.as_deref().unwrap_or_default();
    if !args.reset {
        log_levels::check(levels).map_err(Misuse)?;
    }
    let workers = connect(context)?.set_log_levels(args.worker, levels)?;
    let what = if args.reset {
        "what each was started with"
    } else {
        levels
    };
    match context.output {
        Output::Human => {
            let who = match args.worker {
                Some(worker) => format!("worker {worker} logs"),
                None => format!("the agent and {workers} workers, and those that join, log"),
            };
            print::out(&format!("{who} {what} from now on\n"))?;
        }
        Output::Quiet => {}
        Output::Json | Output::Jsonl => {
            let said = serde_json::json!({
                "agent": args.worker.is_none(), "workers": workers, "levels": levels,
            });
            print::out(&format!("{said}\n"))?;
        }
    }
    Ok(Exit::Well)
}
