//! `scalems top`: the live monitor, and the replay of a run.

mod recording;

use scalems_top::replay::Replay;
use scalems_top::{Found, Opened, TopOptions};

use super::history;
use crate::Context;
use crate::args::{Output, TopReplayArgs};
use crate::exit::Exit;
use crate::print;

pub(crate) fn run(context: &Context, args: &TopReplayArgs) -> anyhow::Result<Exit> {
    let options = args.top.options(context.pilot.clone());
    let replay = match &args.replay {
        None => None,
        Some(place) => {
            let reading = history::read(context, place.as_deref())?;
            let name = history::name(&reading);
            Some(Replay::new(recording::of(reading, name)))
        }
    };
    if args.top.once {
        let found = match replay {
            Some(mut replay) => scalems_top::once_in(&mut replay),
            None => scalems_top::once(&options).map_err(plain)?,
        };
        return once(context, &options, found);
    }
    let opened = replay.map_or(Opened::Pilot, |replay| Opened::Source(Box::new(replay)));
    match scalems_top::run(&options, opened).map_err(plain)? {
        None => Ok(Exit::Well),
        // As if it had not been listened to.
        Some(signal) => std::process::exit(128 + signal as i32),
    }
}

fn once(context: &Context, options: &TopOptions, found: Found) -> anyhow::Result<Exit> {
    match context.output {
        Output::Human => print::out(&found.text(options))?,
        Output::Json => print::out(&format!("{}\n", serde_json::to_string_pretty(&found.shown)?))?,
        Output::Jsonl => print::out(&format!("{}\n", serde_json::to_string(&found.shown)?))?,
        Output::Quiet => print::out(&format!("{}\n", found.shown.pilot.pilot_name))?,
    }
    Ok(Exit::Well)
}

/// What the other commands say of the same.
fn plain(failed: scalems_top::Failed) -> anyhow::Error {
    match failed {
        scalems_top::Failed::Client(error) => error.into(),
        scalems_top::Failed::NoTerminal => crate::exit::Misuse(failed.to_string()).into(),
        other => other.into(),
    }
}
