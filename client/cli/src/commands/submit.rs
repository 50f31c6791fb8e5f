//! `scalems submit`.

use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use nix::sys::signal::Signal;
use scalems_client::protocol::program::{EXECUTABLE, Program, RESERVED, SHELL, Stdin};
use scalems_client::protocol::select::Selector;
use scalems_client::protocol::task::{Needs, OnSilence, Policy, Template};
use scalems_client::{Indices, Task};

use super::{connect, wait};
use crate::Context;
use crate::args::{Output, Silence, SubmitArgs};
use crate::exit::{Exit, Misuse};
use crate::interrupt;
use crate::print;

/// Without a time limit of its own a wait lasts as long as one may; it is renewed.
pub(crate) const LONGEST: Duration = Duration::from_secs(365 * 86_400);
/// What may come in by `--stdin -`: it travels with each task.
const STDIN_BYTES: u64 = 64 << 20;

pub(crate) fn run(context: &Context, args: &SubmitArgs) -> anyhow::Result<Exit> {
    let program = program(args)?;
    let task = task(args, &program)?;
    let (first, count, step) = args.array.unwrap_or((0, 1, 1));
    if args.dry_run {
        return dry_run(context, &task, &program, Indices { first, step, count });
    }
    if args.wait {
        interrupt::install(&[Signal::SIGINT])?;
    }
    let session = connect(context)?;
    let held = session.submit_held(&task, Indices { first, step, count })?;
    if let Some(note) = &held.note {
        eprintln!("scalems: {note}");
    }
    match context.output {
        Output::Human if args.wait => {}
        Output::Human => {
            let tasks = if count == 1 {
                "1 task".to_owned()
            } else {
                format!("{count} tasks")
            };
            let number = held.submission;
            print::out(&format!(
                "submission {number}: {tasks}; `scalems wait {number}` waits, `scalems logs {number}` shows\n"
            ))?;
        }
        Output::Quiet => print::out(&format!("{}\n", held.submission))?,
        // One value: what it came to is in it.
        Output::Json if args.wait => {}
        Output::Json | Output::Jsonl => {
            print::out(&format!(
                "{}\n",
                serde_json::json!({"submission": held.submission, "count": count})
            ))?;
        }
    }
    if !args.wait {
        return Ok(Exit::Well);
    }
    let select = Selector::submission(held.submission);
    let waited = wait::until_ended(
        &session,
        &select,
        args.timeout.unwrap_or(LONGEST),
        args.progress,
        context.output,
    );
    if context.output == Output::Json {
        let tasks = waited.as_ref().ok().and_then(|waited| waited.counts);
        let said = serde_json::json!({"submission": held.submission, "count": count, "tasks": tasks});
        print::out(&format!("{said}\n"))?;
    }
    let waited = waited?;
    if let (Output::Jsonl, Some(counts)) = (context.output, &waited.counts) {
        print::out(&format!("{}\n", serde_json::to_string(counts)?))?;
    }
    let ended = waited.exit;
    if matches!(ended, Exit::Well | Exit::Failed) && context.output == Output::Human {
        super::logs::print(&session, &select, false)?;
        super::logs::print(&session, &select, true)?;
        wait::explain_failures(&session, &select)?;
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
    for text in &args.command {
        check_placeholders(text)?;
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

fn program(args: &SubmitArgs) -> anyhow::Result<Program> {
    let here = std::env::current_dir().context("find out which directory this is")?;
    let absolute = |path: &Path| here.join(path).display().to_string();
    let mut env = std::collections::BTreeMap::new();
    for file in &args.env_file {
        let text = std::fs::read_to_string(file);
        let text = text.with_context(|| format!("read the variables in {}", file.display()))?;
        for line in text.lines() {
            if !line.trim().is_empty() && !line.trim_start().starts_with('#') {
                env.extend([variable(line, &format!("in {}", file.display()))?]);
            }
        }
    }
    for text in &args.env {
        env.extend([variable(text, "--env")?]);
    }
    let stdin = match args.stdin.as_deref() {
        None => Stdin::Null,
        Some("-") => {
            let mut data = Vec::new();
            std::io::stdin()
                .take(STDIN_BYTES + 1)
                .read_to_end(&mut data)
                .context("read standard input")?;
            anyhow::ensure!(
                data.len() as u64 <= STDIN_BYTES,
                "more than 64 MiB came in: use a file"
            );
            Stdin::Data(data.into())
        }
        Some(file) => Stdin::File(absolute(Path::new(file))),
    };
    let cwd = match &args.cwd {
        _ if args.own_dir => None,
        Some(dir) => Some(absolute(dir)),
        None => Some(here.display().to_string()),
    };
    Ok(Program {
        argv: args.command.clone(),
        env,
        cwd,
        stdin,
        stdout: args.stdout.clone(),
        stderr: args.stderr.clone(),
    })
}

/// A variable for the program: `NAME=VALUE`, or `NAME` for this shell's.
fn variable(text: &str, place: &str) -> anyhow::Result<(String, String)> {
    let (name, value) = if let Some((name, value)) = text.split_once('=') {
        (name, value.to_owned())
    } else {
        let value = std::env::var(text)
            .map_err(|error| Misuse(format!("{place} {text} takes this shell's: {error}")))?;
        (text, value)
    };
    if name.starts_with(RESERVED) {
        bail!(Misuse(format!(
            "{place} {name}: variables that begin with {RESERVED} are set by scalems alone"
        )));
    }
    if name.is_empty() || name.contains(char::is_whitespace) {
        bail!(Misuse(format!(
            "{place} {text:?} is no variable: write NAME=VALUE"
        )));
    }
    Ok((name.to_owned(), value))
}

/// Says what would be submitted.
fn dry_run(context: &Context, task: &Task, program: &Program, indices: Indices) -> anyhow::Result<Exit> {
    let Indices { first, step, count } = indices;
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

/// Refuses a placeholder that nothing fills before anything is submitted.
fn check_placeholders(text: &str) -> anyhow::Result<()> {
    const KNOWN: [&str; 5] = ["INDEX", "TASK", "SUBMISSION", "ATTEMPT", "CWD"];
    let mut rest = text;
    while let Some(at) = rest.find("%{") {
        let escaped = rest[..at].ends_with('%');
        rest = &rest[at + 2..];
        if escaped {
            continue;
        }
        let name = rest.split_once('}').map(|(name, _)| name);
        if !name.is_some_and(|name| KNOWN.contains(&name)) {
            let shown = name.map_or_else(|| "%{".to_owned(), |name| format!("%{{{name}}}"));
            let known = KNOWN.map(|name| format!("%{{{name}}}")).join(", ");
            bail!(Misuse(format!(
                "{shown} in {text:?} is no placeholder [wrong_placeholder]: there are {known}; write %%{{ for the text itself"
            )));
        }
    }
    Ok(())
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
