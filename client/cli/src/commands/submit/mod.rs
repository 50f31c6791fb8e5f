//! `scalems submit`.

mod entries;
mod feed;
mod program;

use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use nix::sys::signal::Signal;
use scalems_client::protocol::client::Page;
use scalems_client::protocol::program::{EXECUTABLE, Program, SHELL};
use scalems_client::protocol::select::Selector;
use scalems_client::protocol::task::{Needs, OnSilence, Policy, Template};
use scalems_client::{HeldSubmission, Indices, Session, Task};

use super::{connect, wait};
use crate::Context;
use crate::args::{Output, Silence, SubmitArgs};
use crate::exit::{Exit, Misuse};
use crate::interrupt;
use crate::print;
use entries::{Entry, Filler, Kind};
use feed::{Fed, Feed};

/// Without a time limit of its own a wait lasts as long as one may; it is renewed.
pub(crate) const LONGEST: Duration = Duration::from_secs(365 * 86_400);
/// How long what came in waits for more to go with.
const GATHER: Duration = Duration::from_millis(100);
/// Lines that are read ahead.
const READ_AHEAD: usize = 4_096;

pub(crate) fn run(context: &Context, args: &SubmitArgs) -> anyhow::Result<Exit> {
    let entries = kind(args);
    ensure!(
        entries.is_none() || !from_stdin(args) || args.stdin.as_deref() != Some("-"),
        Misuse("what comes in here cannot be both the tasks and what they read".into())
    );
    let program = program::program(args)?;
    let task = task(args, &program)?;
    let (first, count, step) = args.array.unwrap_or((0, 1, 1));
    let indices = Indices { first, step, count };
    if args.dry_run {
        return dry_run(context, args, &task, program, indices);
    }
    ensure!(
        !args.open || step == 1,
        Misuse("indices of an open submission rise by 1: leave out the step of --array".into())
    );
    if args.wait || entries.is_some() {
        interrupt::install(&[Signal::SIGINT])?;
    }
    // What is wrong in a file is found before anything is submitted.
    let filler = entries.map(|kind| Filler::new(program, kind, args.shell));
    let ready = match &filler {
        Some(filler) if !from_stdin(args) || entries == Some(Kind::Json) => Some(all_of(args, filler)?),
        _ => None,
    };
    let session = connect(context)?;
    let to = args
        .to
        .as_ref()
        .map(|select| open_one(&session, select, &task))
        .transpose()?;
    let fed = match (&filler, ready) {
        (None, _) if to.is_none() && !args.open => {
            let HeldSubmission {
                submission,
                count,
                note,
            } = session.submit_held(&task, indices)?;
            let count = count.into();
            Fed {
                submission,
                count,
                note,
            }
        }
        (None, _) => {
            let mut feed = Feed::new(&session, &task, first, to, args.open);
            for _ in 0..count {
                feed.push(task.data_bytes().to_vec())?;
            }
            feed.finish()?
        }
        (Some(_), Some(items)) => {
            let feed = Feed::new(&session, &task, 0, to, args.open);
            fed(feed, |feed| {
                items.into_iter().try_for_each(|item| feed.push(item))
            })?
        }
        (Some(filler), None) => {
            let feed = Feed::new(&session, &task, 0, to, args.open);
            fed(feed, |feed| as_they_come(filler, feed))?
        }
    };
    if let Some(note) = &fed.note {
        eprintln!("scalems: {note}");
    }
    told(context, args, &fed)?;
    if args.wait {
        waited(context, args, &session, &fed)
    } else {
        Ok(Exit::Well)
    }
}

/// What tasks are made of besides the command.
fn kind(args: &SubmitArgs) -> Option<Kind> {
    let lines = args.each_line.as_ref().map(|_| Kind::Line);
    lines.or_else(|| args.from_json.as_ref().map(|_| Kind::Json))
}

fn entries_file(args: &SubmitArgs) -> &Path {
    let file = args.each_line.as_ref().or(args.from_json.as_ref());
    file.map_or(Path::new("-"), |file| file.as_path())
}

fn from_stdin(args: &SubmitArgs) -> bool {
    entries_file(args) == Path::new("-")
}

/// The data of all tasks that a file says.
fn all_of(args: &SubmitArgs, filler: &Filler) -> anyhow::Result<Vec<Vec<u8>>> {
    let file = entries_file(args);
    let from = entries::open(file)?;
    let items: anyhow::Result<Vec<Vec<u8>>> = if args.each_line.is_some() {
        entries::lines(from)
            .map(|entry| data_of(filler, &entry?))
            .collect()
    } else {
        let entries = entries::json(from).with_context(|| format!("read {}", file.display()))?;
        let numbered = (1..).zip(&entries);
        numbered
            .map(|(number, entry): (u64, _)| {
                data_of(filler, entry).with_context(|| format!("entry {number}"))
            })
            .collect()
    };
    let items = items?;
    ensure!(
        !items.is_empty(),
        Misuse(format!(
            "there is nothing in {}: no task was submitted",
            file.display()
        ))
    );
    Ok(items)
}

fn data_of(filler: &Filler, entry: &Entry) -> anyhow::Result<Vec<u8>> {
    rmp_serde::to_vec_named(&filler.fill(entry)?).context("encode the program")
}

/// Feeds; whatever happens meanwhile, nobody waits for more in vain.
fn fed<'a>(
    mut feed: Feed<'a>,
    with: impl FnOnce(&mut Feed<'a>) -> anyhow::Result<()>,
) -> anyhow::Result<Fed> {
    let Err(error) = with(&mut feed) else {
        return feed.finish();
    };
    let Some(submission) = feed.submission() else {
        return Err(error);
    };
    let closed = feed.close();
    let error = error.context(format!(
        "submission {submission} has the tasks that came before: `scalems task cancel {submission}` ends them"
    ));
    Err(match closed {
        Ok(()) => error,
        Err(closed) => error.context(format!(
            "it may be open still, `scalems task close {submission}` closes it: {closed:#}"
        )),
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
                feed.push(data_of(filler, &entry?)?)?;
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

fn task(args: &SubmitArgs, program: &Program) -> anyhow::Result<Task> {
    let mut labels = std::collections::BTreeMap::new();
    for label in &args.label {
        let (key, value) = label
            .split_once('=')
            .ok_or_else(|| Misuse(format!("{label:?} is no label: write KEY=VALUE")))?;
        labels.insert(key.to_owned(), value.to_owned());
    }
    if args.shell && args.command.len() != 1 {
        bail!(Misuse(
            "--shell takes one argument, the command line; quote it".into()
        ));
    }
    let entries = kind(args);
    for text in &args.command {
        program::check_placeholders(text, |name| entries.is_some_and(|kind| kind.fills(name)))?;
    }
    let template = Template {
        mode: if args.shell { SHELL } else { EXECUTABLE }.into(),
        needs: Needs {
            ranks: 1,
            cores_per_rank: args.cores,
            gpus_per_rank: args.gpus,
            mem_per_rank: args.memory,
            named: std::collections::BTreeMap::new(),
            min_time_ms: ms(args.min_time),
        },
        policy: Policy {
            priority: args.priority,
            retries: args.retries,
            retry_on: args.retry_on.clone(),
            backoff_ms: ms(args.backoff),
            time_limit_ms: args.time_limit.map_or(0, ms),
            deadline_ms: args.deadline.map_or(0, ms),
            on_silence: match args.on_silence {
                Some(Silence::Rerun) => OnSilence::Rerun,
                Some(Silence::Continue) => OnSilence::Continue,
                Some(Silence::Stop) => OnSilence::Stop,
                // Two attempts are not to write to a directory that is the user's.
                None if args.own_dir => OnSilence::Rerun,
                None => OnSilence::Continue,
            },
            ..Policy::default()
        },
        after: args.after.clone(),
        name: args.name.clone(),
        max_failures: args.max_failures,
        labels,
        ..Template::default()
    };
    let data = rmp_serde::to_vec_named(program).context("encode the program")?;
    Ok(Task::from_template(template).data(data))
}

/// Says what would be submitted.
fn dry_run(
    context: &Context,
    args: &SubmitArgs,
    task: &Task,
    mut program: Program,
    indices: Indices,
) -> anyhow::Result<Exit> {
    let Indices {
        first,
        step,
        mut count,
    } = indices;
    if let Some(kind) = kind(args) {
        // The first of them stands for the others.
        let items = all_of(args, &Filler::new(program, kind, args.shell))?;
        program = rmp_serde::from_slice(&items[0]).context("read the program")?;
        count = u32::try_from(items.len()).context("count the tasks")?;
    }
    let program = &program;
    let template = task.template();
    let said = serde_json::json!({
        "count": count, "first": first, "step": step, "task": template, "program": program,
    });
    let last = u64::from(first) + u64::from(count - 1) * u64::from(step);
    let words: Vec<_> = program
        .argv
        .iter()
        .map(|word| shlex::try_quote(word))
        .collect::<Result<_, _>>()?;
    let needs: Vec<String> = template
        .needs
        .totals()
        .map(|(kind, amount)| format!("{amount} {kind}"))
        .collect();
    let mut lines = vec![
        (
            "tasks",
            match (count, step) {
                (1, _) => format!("1, index {first}"),
                (_, 1) => format!("{count}, indices {first} to {last}"),
                _ => format!("{count}, indices {first} to {last} by {step}"),
            },
        ),
        ("command", words.join(" ")),
        (
            "directory",
            program.cwd.clone().unwrap_or_else(|| "one of its own".to_owned()),
        ),
        (
            "each needs",
            if needs.is_empty() {
                "nothing".to_owned()
            } else {
                needs.join(", ")
            },
        ),
    ];
    lines.extend(
        program
            .env
            .iter()
            .map(|(name, value)| ("variable", format!("{name}={value}"))),
    );
    print::one(context.output, &said, &lines)?;
    Ok(Exit::Well)
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
