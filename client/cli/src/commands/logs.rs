//! `scalems logs`: what programs wrote, from their results.

use scalems_client::Session;
use scalems_client::protocol::client::Page;
use scalems_client::protocol::select::Selector;

use super::connect;
use crate::Context;
use crate::args::{LogsArgs, Output};
use crate::exit::Exit;
use crate::print;

pub(crate) fn run(context: &Context, args: &LogsArgs) -> anyhow::Result<Exit> {
    let session = connect(context)?;
    if matches!(context.output, Output::Json | Output::Jsonl) {
        return json(&session, &args.select, args.stderr);
    }
    print(&session, &args.select, args.stderr)?;
    Ok(Exit::Well)
}

/// Prints what the selected tasks wrote, as they wrote it, in order.
pub(crate) fn print(session: &Session, select: &Selector, stderr: bool) -> anyhow::Result<()> {
    each(session, select, |_, program| {
        if stderr {
            use std::io::Write as _;
            Ok(std::io::stderr().lock().write_all(&program.stderr)?)
        } else {
            print::bytes(&program.stdout)
        }
    })
}

fn json(session: &Session, select: &Selector, stderr: bool) -> anyhow::Result<Exit> {
    each(session, select, |task, program| {
        let (text, bytes) = if stderr {
            (&program.stderr, program.stderr_bytes)
        } else {
            (&program.stdout, program.stdout_bytes)
        };
        let text = String::from_utf8_lossy(text);
        print::out(&format!("{}\n", serde_json::json!({"task": task, "text": text, "bytes": bytes})))
    })?;
    Ok(Exit::Well)
}

fn each(
    session: &Session,
    select: &Selector,
    mut take: impl FnMut(String, scalems_client::protocol::program::ProgramResult) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut after = None;
    loop {
        let page = session.ask_results(Page { select: select.clone(), after, rows: 0 })?;
        for held in page.results.iter().filter(|held| !held.result.value.is_empty()) {
            let task = held.result.id.map(|id| id.to_string()).unwrap_or_default();
            // A value of another mode is not a program's output.
            if let Ok(program) = held.result.program() {
                take(task, program)?;
            }
        }
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}
