//! `scalems submit`.

mod entries;
mod feed;
mod program;
mod ready;

use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use nix::sys::signal::Signal;
use scalems_client::protocol::client::Page;
use scalems_client::protocol::program::SHELL;
use scalems_client::protocol::select::Selector;
use scalems_client::{Indices, Session, Task};

use super::{connect, wait};
use crate::Context;
use crate::args::{Output, SubmitArgs};
use crate::exit::{Exit, Misuse};
use crate::interrupt;
use crate::print;
use entries::Filler;
use feed::{Fed, Feed};
use ready::Data;
pub(crate) use ready::Ready;

/// Without a time limit of its own a wait lasts as long as one may; it is renewed.
pub(crate) const LONGEST: Duration = Duration::from_secs(365 * 86_400);
/// How long what came in waits for more to go with.
const GATHER: Duration = Duration::from_millis(100);
/// Lines that are read ahead.
const READ_AHEAD: usize = 4_096;

pub(crate) fn run(context: &Context, args: &SubmitArgs) -> anyhow::Result<Exit> {
    // What is wrong in a file is found before anything is submitted.
    let ready = Ready::of(args)?;
    if args.dry_run {
        return dry_run(context, &ready);
    }
    if matches!(ready.data, Data::Coming(_)) {
        interrupt::install(&interrupt::ENDING)?;
    } else if args.wait {
        interrupt::install(&[Signal::SIGINT])?;
    }
    let session = connect(context)?;
    let to = args
        .to
        .as_ref()
        .map(|select| open_one(&session, select, &ready.task))
        .transpose()?;
    let fed = if to.is_none() && !args.open && !matches!(ready.data, Data::Coming(_)) {
        ready.submit(&session, args.after.clone()).map_err(Cut::told)?
    } else {
        let Indices { first, count, .. } = ready.indices;
        let feed = Feed::new(&session, &ready.task, first, to, args.open);
        fed(feed, |feed| match ready.data {
            Data::Same => (0..count).try_for_each(|_| feed.push(ready.task.data_bytes().to_vec())),
            Data::Each(items) => items.into_iter().try_for_each(|item| feed.push(item)),
            Data::Coming(filler) => as_they_come(&filler, feed),
        })
        .map_err(Cut::told)?
    };
    if let Some(note) = &fed.note {
        eprintln!("scalems: {note}");
    }
    told(context, args, &fed)?;
    if args.wait {
        interrupt::let_go(&[Signal::SIGTERM, Signal::SIGHUP])?;
        waited(context, args, &session, &fed)
    } else {
        Ok(Exit::Well)
    }
}

/// Tasks of which not all were submitted.
pub(crate) struct Cut {
    /// Why.
    error: anyhow::Error,
    /// The submission that those before are in, if this made it.
    pub(crate) new: Option<u64>,
    /// What is to be known of it.
    left: Vec<String>,
}

impl Cut {
    /// Nothing was submitted, or one request was refused.
    pub(crate) fn none(error: impl Into<anyhow::Error>) -> Self {
        Self {
            error: error.into(),
            new: None,
            left: Vec::new(),
        }
    }

    /// Why, for those who take care of what was submitted.
    pub(crate) fn why(self) -> anyhow::Error {
        self.error
    }

    /// Why, and what was submitted, for those who leave it.
    fn told(self) -> anyhow::Error {
        self.left.into_iter().fold(self.error, anyhow::Error::context)
    }
}

/// Feeds; whatever happens meanwhile, nobody waits for more in vain.
fn fed<'a>(mut feed: Feed<'a>, fill: impl FnOnce(&mut Feed<'a>) -> anyhow::Result<()>) -> Result<Fed, Cut> {
    let error = match fill(&mut feed).and_then(|()| feed.finish()) {
        Ok(all) => return Ok(all),
        Err(error) => error,
    };
    let Some(number) = feed.submission() else {
        return Err(Cut::none(error));
    };
    if !feed.is_new() {
        let left = vec![format!("what came before this is in submission {number}")];
        return Err(Cut {
            error,
            new: None,
            left,
        });
    }
    let mut left = vec![format!(
        "submission {number} has the tasks that came before: `scalems task cancel {number}` ends them"
    )];
    match feed.close() {
        Ok(()) if feed.stays_open => {
            left.push(format!("it is open, `scalems task close {number}` closes it"));
        }
        Ok(()) => {}
        Err(closed) => left.push(format!(
            "it may be open still, `scalems task close {number}` closes it: {closed:#}"
        )),
    }
    Err(Cut {
        error,
        new: Some(number),
        left,
    })
}

/// Feeds lines as they come in: what has come goes on when nothing else comes for a moment.
fn as_they_come(filler: &Filler, feed: &mut Feed<'_>) -> anyhow::Result<()> {
    let (read, lines) = sync_channel(READ_AHEAD);
    // It may stand in a read for ever: it is not waited for, and ends with the process.
    std::thread::spawn(move || {
        let opened = entries::open(Path::new("-"));
        let mut all = opened.map(entries::lines).into_iter().flatten();
        // Nobody listens any more once something is wrong.
        all.try_for_each(|line| read.send(line))
    });
    let mut since: Option<Instant> = None;
    let mut any = false;
    loop {
        interrupt::check()?;
        let left = since.map(|since| (since + GATHER).saturating_duration_since(Instant::now()));
        match lines.recv_timeout(left.unwrap_or(interrupt::SLICE)) {
            Ok(entry) => {
                feed.push(filler.data(&entry?)?)?;
                since.get_or_insert_with(Instant::now);
                any = true;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if since.is_some_and(|since| since.elapsed() >= GATHER) {
            feed.send()?;
            since = None;
        }
    }
    ensure!(any, Misuse("nothing came in: no task was submitted".into()));
    Ok(())
}

/// The open submission that a selector names.
fn open_one(session: &Session, select: &Selector, task: &Task) -> anyhow::Result<u64> {
    let page = Page {
        select: select.clone(),
        after: None,
        rows: 2,
    };
    let rows = session.ask_submissions(page)?.rows;
    let [row] = &rows[..] else {
        bail!(Misuse(
            "--to names several submissions: tasks are added to one".into()
        ));
    };
    let mode = &task.template().mode;
    ensure!(
        row.mode == *mode,
        Misuse(format!(
            "the tasks of submission {} are of mode {}, and this one would be of mode {mode}: {}",
            row.submission,
            row.mode,
            if mode == SHELL {
                "leave out --shell"
            } else {
                "perhaps --shell is missing"
            }
        ))
    );
    Ok(row.submission)
}

/// Says what was submitted.
fn told(context: &Context, args: &SubmitArgs, fed: &Fed) -> anyhow::Result<()> {
    let Fed {
        submission: number,
        count,
        ..
    } = fed;
    match context.output {
        Output::Human if args.wait => Ok(()),
        Output::Human => {
            let tasks = if *count == 1 {
                "1 task".to_owned()
            } else {
                format!("{count} tasks")
            };
            let open = format!(
                "`scalems submit --to {number} -- CMD` adds to it, `scalems task close {number}` ends that"
            );
            print::out(&match (&args.to, args.open) {
                (Some(_), _) => format!("submission {number}: {tasks} more\n"),
                (None, true) => format!("submission {number}: {tasks}; {open}\n"),
                (None, false) => format!(
                    "submission {number}: {tasks}; `scalems wait {number}` waits, `scalems logs {number}` shows\n"
                ),
            })
        }
        Output::Quiet => print::out(&format!("{number}\n")),
        // One value: what it came to is in it.
        Output::Json if args.wait => Ok(()),
        Output::Json | Output::Jsonl => print::out(&format!(
            "{}\n",
            serde_json::json!({"submission": number, "count": count})
        )),
    }
}

fn waited(context: &Context, args: &SubmitArgs, session: &Session, fed: &Fed) -> anyhow::Result<Exit> {
    let select = Selector::submission(fed.submission);
    let waited = wait::until_ended(
        session,
        &select,
        args.timeout.unwrap_or(LONGEST),
        args.progress,
        context.output,
    );
    if context.output == Output::Json {
        let tasks = waited.as_ref().ok().and_then(|waited| waited.counts);
        let said = serde_json::json!({"submission": fed.submission, "count": fed.count, "tasks": tasks});
        print::out(&format!("{said}\n"))?;
    }
    let waited = waited?;
    if let (Output::Jsonl, Some(counts)) = (context.output, &waited.counts) {
        print::out(&format!("{}\n", serde_json::to_string(counts)?))?;
    }
    let ended = waited.exit;
    if matches!(ended, Exit::Well | Exit::Failed) && context.output == Output::Human {
        super::logs::print(session, &select, false)?;
        super::logs::print(session, &select, true)?;
        wait::explain_failures(session, &select)?;
    }
    Ok(ended)
}

/// Says what would be submitted.
fn dry_run(context: &Context, ready: &Ready) -> anyhow::Result<Exit> {
    let (said, lines) = ready.said()?;
    print::one(context.output, &said, &lines)?;
    Ok(Exit::Well)
}
