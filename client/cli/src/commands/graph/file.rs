//! What a file with a graph says.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use scalems_client::protocol::task::When;
use serde::Deserialize;
use toml::{Table, Value};

use crate::args::{self, SubmitArgs};
use crate::exit::Misuse;

/// Submissions, each after those that it waits for.
#[derive(Debug)]
pub(super) struct Graph {
    pub(super) nodes: Vec<Node>,
}

/// One submission.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) args: SubmitArgs,
    pub(super) after: Vec<Edge>,
}

/// What a submission waits for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Edge {
    pub(super) on: On,
    pub(super) when: When,
    pub(super) each: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum On {
    /// One of the graph, by its place.
    Node(usize),
    /// One that the pilot has already.
    Submission(u64),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    defaults: Table,
    #[serde(default)]
    task: Vec<Table>,
}

/// Options of `submit` that are not for a file: they say how the command goes on.
const OTHERS: [&str; 6] = ["wait", "timeout", "progress", "dry-run", "open", "to"];

impl Graph {
    /// Reads it; what is wrong says where.
    pub(super) fn read(text: &str) -> anyhow::Result<Self> {
        let file: File =
            toml::from_str(text).map_err(|error| Misuse(error.to_string().trim_end().to_owned()))?;
        ensure!(
            !file.task.is_empty(),
            Misuse("there is no task in it: each begins with a line [[task]]".into())
        );
        for key in ["name", "after"] {
            ensure!(
                !file.defaults.contains_key(key),
                Misuse(format!("[defaults] cannot have {key:?}: each task has its own"))
            );
        }
        let mut names: Vec<String> = Vec::new();
        for (number, task) in (1..).zip(&file.task) {
            let name = name(task).with_context(|| format!("task {number}"))?;
            ensure!(
                !names.contains(&name),
                Misuse(format!("there are two tasks of the name {name:?}"))
            );
            names.push(name);
        }
        let places: HashMap<&str, usize> = names.iter().map(String::as_str).zip(0..).collect();
        let read = |(task, name): (&Table, &String)| {
            node(&file.defaults, task, name, &places).with_context(|| format!("task {name:?}"))
        };
        let nodes = file.task.iter().zip(&names).map(read);
        let nodes = nodes.collect::<anyhow::Result<Vec<_>>>()?;
        Ok(Self {
            nodes: sorted(nodes)?,
        })
    }
}

fn name(task: &Table) -> anyhow::Result<String> {
    let name = task.get("name").and_then(Value::as_str);
    let name = name.ok_or_else(|| Misuse("it needs a name: name = \"prepare\"".into()))?;
    let plain = |c: char| c.is_alphanumeric() || "_-.".contains(c);
    ensure!(
        name.chars().all(plain) && name.contains(char::is_alphabetic),
        Misuse(format!(
            "{name:?} is no name: letters, digits, '-', '_' and '.', and not digits alone"
        ))
    );
    Ok(name.to_owned())
}

fn node(defaults: &Table, task: &Table, name: &str, places: &HashMap<&str, usize>) -> anyhow::Result<Node> {
    let mut table = defaults.clone();
    for (key, value) in task {
        match (table.get_mut(key), value) {
            // Of variables and labels each is a default of its own.
            (Some(Value::Table(of_all)), Value::Table(own)) => of_all.extend(own.clone()),
            _ => drop(table.insert(key.clone(), value.clone())),
        }
    }
    let after = match table.remove("after") {
        None => Vec::new(),
        Some(Value::Array(list)) => list.iter().map(|on| edge(on, places)).collect::<Result<_, _>>()?,
        Some(one) => vec![edge(&one, places)?],
    };
    let shell = table.get("shell").and_then(Value::as_bool).unwrap_or(false);
    let command = command(table.remove("command"), shell)?;
    let mut words: Vec<OsString> = Vec::new();
    for (key, value) in &table {
        ensure!(
            key != "or" || !matches!(value, Value::Table(_)),
            Misuse(
                "or = {…} would be a variant for each amount: write or = [\"cores=16,memory=8000\"]".into()
            )
        );
        ensure!(
            !OTHERS.contains(&key.as_str()),
            Misuse(format!(
                "{key:?} cannot stand in a file: only what says what tasks are can"
            ))
        );
        options(key, value, &mut words)?;
    }
    let args = args::submit_of(&words, &command).map_err(Misuse)?;
    for (option, file) in [
        ("stdin", args.stdin.as_deref().map(Path::new)),
        ("each-line", args.each_line.as_deref()),
        ("from-json", args.from_json.as_deref()),
    ] {
        ensure!(
            file != Some(Path::new("-")),
            Misuse(format!("{option} = \"-\" cannot stand in a file: name a file"))
        );
    }
    Ok(Node {
        name: name.to_owned(),
        args,
        after,
    })
}

/// `"prepare"`, `"prepare:any"`, `7`.
fn edge(value: &Value, places: &HashMap<&str, usize>) -> anyhow::Result<Edge> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Integer(number) => number.to_string(),
        other => bail!(Misuse(format!(
            "after = {other} names nothing: write the name of a task, or the number of a submission"
        ))),
    };
    let (on, when) = text.split_once(':').unwrap_or((&text, "ok"));
    let (when, each) = args::ending(when).map_err(Misuse)?;
    let on = match (places.get(on), on.parse()) {
        (Some(place), _) => On::Node(*place),
        (None, Ok(number)) => On::Submission(number),
        (None, Err(_)) => bail!(Misuse(format!(
            "it comes after {on:?}, and no task has that name"
        ))),
    };
    Ok(Edge { on, when, each })
}

/// A list of words, or a text that is split into words as a shell does it; in a shell the whole text.
fn command(value: Option<Value>, shell: bool) -> anyhow::Result<Vec<String>> {
    let words = match value {
        None => bail!(Misuse("it needs a command: command = [\"./run\", \"-v\"]".into())),
        Some(Value::String(line)) if shell => vec![line],
        Some(Value::String(line)) => shlex::split(&line)
            .ok_or_else(|| Misuse(format!("the command {line:?} has a quote without its end")))?,
        Some(Value::Array(words)) => words.iter().map(text).collect::<anyhow::Result<_>>()?,
        Some(other) => bail!(Misuse(format!(
            "command = {other} is none: write [\"./run\", \"-v\"] or \"./run -v\""
        ))),
    };
    ensure!(!words.is_empty(), Misuse("its command is empty".into()));
    Ok(words)
}

/// An option, as the command line has it.
fn options(key: &str, value: &Value, words: &mut Vec<OsString>) -> anyhow::Result<()> {
    match value {
        Value::Boolean(true) => words.push(format!("--{key}").into()),
        Value::Boolean(false) => {}
        Value::Array(list) => {
            for one in list {
                words.push(format!("--{key}={}", text(one)?).into());
            }
        }
        Value::Table(table) => {
            for (name, one) in table {
                words.push(format!("--{key}={name}={}", text(one)?).into());
            }
        }
        one => words.push(format!("--{key}={}", text(one)?).into()),
    }
    Ok(())
}

fn text(value: &Value) -> anyhow::Result<String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Integer(number) => Ok(number.to_string()),
        Value::Float(number) => Ok(number.to_string()),
        Value::Boolean(truth) => Ok(truth.to_string()),
        Value::Datetime(_) | Value::Array(_) | Value::Table(_) => {
            bail!(Misuse(format!("{value} stands where a text or a number can")))
        }
    }
}

/// The same, each after those that it waits for, and else in the file's order.
fn sorted(nodes: Vec<Node>) -> anyhow::Result<Vec<Node>> {
    let on = |node: &Node| -> Vec<usize> {
        let places = node.after.iter().filter_map(|edge| match edge.on {
            On::Node(place) => Some(place),
            On::Submission(_) => None,
        });
        places.collect()
    };
    let needs: Vec<Vec<usize>> = nodes.iter().map(on).collect();
    let mut order: Vec<usize> = Vec::with_capacity(nodes.len());
    // Where each goes to, once it is known.
    let mut to: Vec<Option<usize>> = vec![None; nodes.len()];
    while order.len() < nodes.len() {
        let before = order.len();
        for place in 0..nodes.len() {
            if to[place].is_none() && needs[place].iter().all(|on| to[*on].is_some()) {
                to[place] = Some(order.len());
                order.push(place);
            }
        }
        if order.len() == before {
            let cycle = cycle(&needs, &to);
            let names: Vec<_> = cycle
                .iter()
                .map(|place| format!("{:?}", nodes[*place].name))
                .collect();
            bail!(Misuse(format!(
                "these tasks wait for each other: {}",
                names.join(" after ")
            )));
        }
    }
    let mut nodes: Vec<Option<Node>> = nodes.into_iter().map(Some).collect();
    let mut placed = Vec::with_capacity(nodes.len());
    for place in order {
        let Some(mut node) = nodes[place].take() else {
            continue;
        };
        for edge in &mut node.after {
            if let On::Node(on) = &mut edge.on {
                *on = to[*on].unwrap_or(*on);
            }
        }
        placed.push(node);
    }
    Ok(placed)
}

/// A way that comes back to where it began, among those that have no place.
fn cycle(needs: &[Vec<usize>], to: &[Option<usize>]) -> Vec<usize> {
    let next = |place: usize| needs[place].iter().copied().find(|on| to[*on].is_none());
    let mut way: Vec<usize> = Vec::new();
    let mut at = to.iter().position(Option::is_none);
    while let Some(place) = at {
        if let Some(from) = way.iter().position(|seen| *seen == place) {
            way.drain(..from);
            way.push(place);
            break;
        }
        way.push(place);
        at = next(place);
    }
    way
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> String {
        format!("{:#}", Graph::read(text).unwrap_err())
    }

    #[test]
    fn a_task_has_options_of_submit_and_those_of_all() {
        let graph = Graph::read(
            r#"
            [defaults]
            cores = 2
            env = { A = 1, B = "x y" }
            [[task]]
            name = "run"
            command = "./run 'a b' %{INDEX}"
            array = "0-9"
            own-dir = true
            retry-on = [137, "SIGBUS"]
            retries = 1
            env = { B = "z" }
            [[task]]
            name = "sum"
            cores = 1
            own-dir = false
            shell = true
            command = "cat *.out | sum"
            "#,
        )
        .unwrap();
        let [run, sum] = &graph.nodes[..] else {
            panic!("{graph:?}")
        };
        assert_eq!(run.args.command, ["./run", "a b", "%{INDEX}"]);
        assert_eq!(
            (run.args.cores, run.args.own_dir, run.args.array),
            (2.into(), true, Some((0, 10, 1)))
        );
        assert_eq!(run.args.env, ["A=1", "B=z"]);
        assert_eq!(run.args.retry_on, [137, 135]);
        assert_eq!(run.args.name.as_deref(), Some("run"));
        assert_eq!((sum.args.cores, sum.args.own_dir), (1.into(), false));
        assert_eq!(
            (sum.args.env.len(), &sum.args.command[..]),
            (2, &["cat *.out | sum".to_owned()][..])
        );
    }

    #[test]
    fn each_comes_after_what_it_waits_for() {
        let graph = Graph::read(
            r#"
            task = [
                { name = "c", command = "c", after = ["b:each", "a:any", 7, "8:failed"] },
                { name = "a", command = "a" },
                { name = "b", command = "b", after = "a" },
            ]
            "#,
        )
        .unwrap();
        let names: Vec<_> = graph.nodes.iter().map(|node| node.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "c"]);
        let edge = |on, when, each| Edge { on, when, each };
        assert_eq!(graph.nodes[1].after, [edge(On::Node(0), When::Ok, false)]);
        assert_eq!(
            graph.nodes[2].after,
            [
                edge(On::Node(1), When::Ok, true),
                edge(On::Node(0), When::Any, false),
                edge(On::Submission(7), When::Ok, false),
                edge(On::Submission(8), When::Failed, false),
            ]
        );
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let one = |rest: &str| format!("[[task]]\nname = 'a'\ncommand = ['true']\n{rest}");
        for (text, why) in [
            (String::new(), "there is no task"),
            ("[[task]\n".into(), "line 1"),
            ("[[tasks]]\n".into(), "unknown field `tasks`"),
            ("[[task]]\ncommand = 'x'\n".into(), "task 1: it needs a name"),
            ("[[task]]\nname = '12'\n".into(), "is no name"),
            ("[[task]]\nname = 'a:b'\n".into(), "is no name"),
            ("[[task]]\nname = 'a'\n".into(), "task \"a\": it needs a command"),
            (
                "[[task]]\nname = 'a'\ncommand = 'x \"'\n".into(),
                "quote without its end",
            ),
            (
                "[[task]]\nname = 'a'\ncommand = ''\n".into(),
                "its command is empty",
            ),
            (one("") + &one(""), "two tasks of the name \"a\""),
            (one("coers = 2\n"), "task \"a\": unexpected argument '--coers'"),
            (one("coers = 2\n"), "'--cores'"),
            (one("cores = 'two'\n"), "invalid value 'two'"),
            (one("wait = true\n"), "cannot stand in a file"),
            (one("stdin = '-'\n"), "cannot stand in a file"),
            (one("help = true\n"), "unexpected argument '--help'"),
            (one("env = [[1]]\n"), "stands where a text"),
            (one("after = 'b'\n"), "comes after \"b\", and no task"),
            (one("after = 'a:soon'\n"), "\"soon\" is no way to end"),
            (one("after = 1.5\n"), "names nothing"),
            (one("after = 'a'\n"), "wait for each other: \"a\" after \"a\""),
            (
                "[defaults]\nname = 'x'\n".to_owned() + &one(""),
                "[defaults] cannot have",
            ),
        ] {
            let said = wrong(&text);
            assert!(said.contains(why), "{text}\n{said}");
        }
        let round = r#"
            task = [
                { name = "z", command = "z", after = "a" },
                { name = "a", command = "a", after = "b" },
                { name = "b", command = "b", after = "c" },
                { name = "c", command = "c", after = "a" },
            ]"#;
        assert!(
            wrong(round).contains(r#"each other: "a" after "b" after "c" after "a""#),
            "{}",
            wrong(round)
        );
    }
}
