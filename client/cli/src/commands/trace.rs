//! `scalems trace`: what a run was, for viewers of traces.

use std::fs::File;
use std::io::{BufWriter, Write as _};

use anyhow::Context as _;
use scalems_agent::journal::trace::{self, Written};

use super::history;
use crate::Context;
use crate::args::{Output, TraceCommand, TraceExportArgs};
use crate::exit::Exit;

pub(crate) fn run(context: &Context, command: &TraceCommand) -> anyhow::Result<Exit> {
    match command {
        TraceCommand::Export(args) => export(context, args),
    }
}

fn export(context: &Context, args: &TraceExportArgs) -> anyhow::Result<Exit> {
    let reading = history::read(context, args.place.path.as_deref())?;
    let Some(path) = &args.out else {
        let mut out = BufWriter::new(std::io::stdout().lock());
        trace::write(&reading, args.slices, &mut out)?;
        out.flush()?;
        return Ok(Exit::Well);
    };
    let file = File::create_new(path).with_context(|| format!("make {}", path.display()))?;
    let mut out = BufWriter::new(file);
    let written = trace::write(&reading, args.slices, &mut out).and_then(|written| {
        out.flush()?;
        Ok(written)
    });
    let written = written.with_context(|| format!("write {}", path.display()))?;
    match context.output {
        Output::Human => println!("{}", said(&path.display().to_string(), &written)),
        Output::Quiet => {}
        Output::Json | Output::Jsonl => println!(
            "{}",
            serde_json::json!({
                "path": path, "slices": written.slices, "flows": written.flows, "joined_below_us": written.grain_us,
                "left_out": written.left_out
            })
        ),
    }
    Ok(Exit::Well)
}

fn said(path: &str, written: &Written) -> String {
    let mut lines = vec![format!(
        "{path}: {} slices, {} arrows; open it in https://ui.perfetto.dev or chrome://tracing",
        written.slices, written.flows
    )];
    if written.grain_us > 0 {
        lines.push(format!(
            "slices shorter than {:.3} s were joined with their neighbours: more of them with --slices",
            written.grain_us as f64 / 1e6
        ));
    }
    if written.left_out > 0 {
        lines.push(format!(
            "{} attempts are not shown: too many ran at a time",
            written.left_out
        ));
    }
    lines.join("\n")
}
