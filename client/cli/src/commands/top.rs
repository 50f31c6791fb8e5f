//! `scalems top`: the live monitor.

use scalems_top::{Opened, TopArgs};

use crate::Context;
use crate::args::Output;
use crate::exit::Exit;
use crate::print;

pub(crate) fn run(context: &Context, args: &TopArgs) -> anyhow::Result<Exit> {
    let options = args.options(context.pilot.clone());
    if args.once {
        let found = scalems_top::once(&options).map_err(plain)?;
        match context.output {
            Output::Human => print::out(&found.text(&options))?,
            Output::Json => print::out(&format!("{}\n", serde_json::to_string_pretty(&found.shown)?))?,
            Output::Jsonl => print::out(&format!("{}\n", serde_json::to_string(&found.shown)?))?,
            Output::Quiet => print::out(&format!("{}\n", found.shown.pilot.pilot_name))?,
        }
        return Ok(Exit::Well);
    }
    match scalems_top::run(&options, Opened::Pilot).map_err(plain)? {
        None => Ok(Exit::Well),
        // As if it had not been listened to.
        Some(signal) => std::process::exit(128 + signal as i32),
    }
}

/// What the other commands say of the same.
fn plain(failed: scalems_top::Failed) -> anyhow::Error {
    match failed {
        scalems_top::Failed::Client(error) => error.into(),
        scalems_top::Failed::NoTerminal => crate::exit::Misuse(failed.to_string()).into(),
        other => other.into(),
    }
}
