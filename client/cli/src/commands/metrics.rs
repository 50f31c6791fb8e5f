//! `scalems metrics`.

use nix::sys::signal::Signal;

use super::located;
use crate::Context;
use crate::args::{MetricsArgs, Output};
use crate::exit::Exit;
use crate::interrupt;
use crate::metrics::{Metrics, token_file};
use crate::print;

pub(crate) fn run(context: &Context, args: &MetricsArgs) -> anyhow::Result<Exit> {
    interrupt::install(&[Signal::SIGINT, Signal::SIGTERM])?;
    let located = located(context)?;
    let own = token_file(&located.path);
    let token = args.token_file.as_ref().unwrap_or(&own);
    let metrics = Metrics::start(args.listen, args.public, &located.path, token)?;
    let url = metrics.url();
    match context.output {
        Output::Human => print::out(&format!(
            "metrics of pilot {} are at {url}, for the token in {}; Ctrl-C ends this\n",
            located.file.pilot,
            metrics.token_file.display()
        ))?,
        Output::Quiet => print::out(&format!("{url}\n"))?,
        Output::Json | Output::Jsonl => {
            let said = serde_json::json!({"url": url, "token_file": metrics.token_file});
            print::out(&format!("{said}\n"))?;
        }
    }
    let (_never, wait) = std::sync::mpsc::channel::<()>();
    while !interrupt::seen() {
        // Nobody says anything: the time is over.
        let _over = wait.recv_timeout(interrupt::SLICE);
    }
    Ok(Exit::Well)
}
