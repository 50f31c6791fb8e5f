//! What a command line comes to, with its files read.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use scalems_client::protocol::program::{EXECUTABLE, Program, SHELL};
use scalems_client::protocol::task::{After, Needs, OnSilence, Placement, Policy, Template};
use scalems_client::protocol::{Amount, limits};
use scalems_client::{Indices, Session, Task};
use serde_json::{Value, json};

use super::entries::{self, Filler, Kind};
use super::feed::{Fed, Feed};
use super::{Cut, program};
use crate::args::{Silence, SubmitArgs};
use crate::exit::Misuse;

/// A submission that is not sent yet.
pub(crate) struct Ready {
    pub(super) task: Task,
    program: Program,
    pub(super) indices: Indices,
    pub(super) data: Data,
}

/// What distinguishes the tasks of a submission.
pub(super) enum Data {
    /// Nothing but their indices.
    Same,
    /// Their data.
    Each(Vec<Vec<u8>>),
    /// What comes in, line by line.
    Coming(Filler),
}

impl Ready {
    /// Everything that can be found wrong without a pilot is.
    pub(crate) fn of(args: &SubmitArgs) -> anyhow::Result<Self> {
        let kind = kind(args);
        ensure!(
            kind.is_none() || !from_stdin(args) || args.stdin.as_deref() != Some("-"),
            Misuse("what comes in here cannot be both the tasks and what they read".into())
        );
        let mut program = program::program(args)?;
        let task = task(args, &program)?;
        let (first, count, step) = args.array.unwrap_or((0, 1, 1));
        let mut indices = Indices { first, step, count };
        ensure!(
            !args.open || step == 1,
            Misuse("indices of an open submission rise by 1: leave out the step of --array".into())
        );
        let each = args.after.iter().any(|after| after.each);
        ensure!(
            !each || !args.open,
            Misuse(
                "what is open does not know how many tasks it will have: it cannot come after each of others"
                    .into()
            )
        );
        let filler = kind.map(|kind| Filler::new(program.clone(), kind, args.shell));
        let data = match filler {
            None => Data::Same,
            // What comes each after one of others has to say how many there are: all of it is read first.
            Some(filler) if kind == Some(Kind::Line) && from_stdin(args) && !args.dry_run && !each => {
                Data::Coming(filler)
            }
            Some(filler) => {
                let items = all_of(args, &filler)?;
                // The first of them stands for the others.
                program = rmp_serde::from_slice(&items[0]).context("read the program")?;
                indices.count = u32::try_from(items.len()).context("count the tasks")?;
                Data::Each(items)
            }
        };
        Ok(Self {
            task,
            program,
            indices,
            data,
        })
    }

    /// How many tasks it has, as far as that is known.
    pub(crate) const fn count(&self) -> u32 {
        self.indices.count
    }

    /// Sends it as one submission, that begins after others.
    pub(crate) fn submit(self, session: &Session, after: Vec<After>) -> Result<Fed, Cut> {
        let template = Template {
            after,
            ..self.task.template().clone()
        };
        let task = Task::from_template(template).data(self.task.data_bytes().clone());
        let Data::Each(items) = self.data else {
            let held = session.submit_held(&task, self.indices).map_err(Cut::none)?;
            return Ok(held.into());
        };
        let feed = Feed::new(session, &task, 0, None, false).of(items.len());
        super::fed(feed, |feed| {
            items.into_iter().try_for_each(|item| feed.push(item))
        })
    }

    /// What runs, as a shell would read it.
    pub(crate) fn command(&self) -> anyhow::Result<String> {
        let words = self.program.argv.iter().map(|word| shlex::try_quote(word));
        let words: Vec<_> = words.collect::<Result<_, _>>()?;
        Ok(words.join(" "))
    }

    /// As JSON, and as lines for people.
    pub(crate) fn said(&self) -> anyhow::Result<(Value, Vec<(&'static str, String)>)> {
        let Self {
            task,
            program,
            indices,
            ..
        } = self;
        let Indices { first, step, count } = *indices;
        let template = task.template();
        let said = json!({
            "count": count, "first": first, "step": step, "task": template, "program": program,
        });
        let last = u64::from(first) + u64::from(count - 1) * u64::from(step);
        let mut lines = vec![
            (
                "tasks",
                match (count, step) {
                    (1, _) => format!("1, index {first}"),
                    (_, 1) => format!("{count}, indices {first} to {last}"),
                    _ => format!("{count}, indices {first} to {last} by {step}"),
                },
            ),
            ("command", self.command()?),
            (
                "directory",
                program.cwd.clone().unwrap_or_else(|| "one of its own".to_owned()),
            ),
        ];
        lines.extend(template.needs.ways().enumerate().map(|(variant, way)| {
            let what = if variant == 0 { "each needs" } else { "or else" };
            (what, takes(way))
        }));
        lines.extend(
            program
                .env
                .iter()
                .map(|(name, value)| ("variable", format!("{name}={value}"))),
        );

        Ok((said, lines))
    }
}

/// What a task takes, in words.
fn takes(needs: &Needs) -> String {
    let mut parts: Vec<String> = needs
        .totals()
        .map(|(kind, amount)| format!("{amount} {kind}"))
        .collect();
    if parts.is_empty() {
        parts.push("nothing".to_owned());
    }
    match needs.placement {
        Placement::Compact => {}
        Placement::Strict => parts.push("placement strict".to_owned()),
        Placement::Scatter => parts.push("placement scatter".to_owned()),
    }
    parts.join(", ")
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
        entries::lines(from).map(|entry| filler.data(&entry?)).collect()
    } else {
        let entries = entries::json(from).with_context(|| format!("read {}", file.display()))?;
        let numbered = (1..).zip(&entries);
        numbered
            .map(|(number, entry): (u64, _)| filler.data(entry).with_context(|| format!("entry {number}")))
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

/// Amounts by name, each given once.
fn named(resources: &[(String, Amount)]) -> Result<std::collections::BTreeMap<String, Amount>, Misuse> {
    let mut named = std::collections::BTreeMap::new();
    for (name, amount) in resources {
        if named.insert(name.clone(), *amount).is_some() {
            return Err(Misuse(format!(
                "--resource says twice how much of {name} a task needs"
            )));
        }
    }
    Ok(named)
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
    ensure!(
        args.or_else.len() <= limits::VARIANTS,
        Misuse(format!("--or can be said {} times", limits::VARIANTS))
    );
    let entries = kind(args);
    for text in &args.command {
        program::check_placeholders(text, |name| entries.is_some_and(|kind| kind.fills(name)))?;
    }
    let template = Template {
        mode: if args.shell { SHELL } else { EXECUTABLE }.into(),
        needs: Needs {
            ranks: args.ranks,
            cores_per_rank: args.cores,
            gpus_per_rank: args.gpus,
            mem_per_rank: args.memory,
            named: named(&args.resource)?,
            min_time_ms: ms(args.min_time),
            placement: args.placement.into(),
            variants: args.or_else.clone(),
        },
        policy: Policy {
            priority: args.priority,
            retries: args.retries,
            retry_on: args.retry_on.clone(),
            backoff_ms: ms(args.backoff),
            time_limit_ms: args.time_limit.map_or(0, ms),
            deadline_ms: args.deadline.map_or(0, ms),
            memory_limit: args.memory_limit.into(),
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

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
