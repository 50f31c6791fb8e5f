//! Filters: what they may do with tasks and results, and what becomes of tasks when one dies.

use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::Signal;
use scalems_client::protocol::client::{Page, WorkerRow};
use scalems_client::protocol::select::Selector;
use scalems_client::protocol::state::Strength;
use scalems_client::protocol::{Code, Ending};
use scalems_client::{ClientError, Session, Task, TaskHandle, TaskResult};
use scalems_tests::pilot::{Fifo, PATIENCE, Pilot, Python, process, until_tasks, until_workers};
use serde_json::{Value, json};
use tempfile::TempDir;

const CLASSES: &str = r#"
import os, signal, time
from scalems_pilot.filter import Filter, Refused, Result, Task, Verdict

class Lab(Filter):
    def task(self, task):
        name = task.name
        if name == "double":
            task.write(2 * task.read())
        elif name == "split":
            parts = []
            for number in task.read():
                part = task.copy()
                part.write(number)
                parts.append(part)
            return parts
        elif name == "add":
            more = Task.new("task.shell", {"argv": [task.read()]})
            return Verdict([task], also=[more])
        elif name == "none":
            return []
        elif name == "needs":
            task.needs["cores_per_rank"] = 1000
        elif name == "refuse":
            raise Refused("the lab is closed")
        elif name == "raise":
            raise KeyError("no such thing")
        elif name == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        elif name == "hang":
            time.sleep(600)
        elif name == "nonsense":
            return "text"

    def result(self, task, results):
        name = task.name
        if name == "split":
            return Result.of(sum(result.read() for result in results))
        if name == "none":
            return Result.of("from the filter")
        if name == "marked":
            results[0].write(["marked", results[0].read()])
        if name == "withheld":
            raise Refused("nobody is to see it")
        return super().result(task, results)

class Second(Filter):
    def result(self, task, results):
        results[0].write([task.labels["filtered"].count("/"), results[0].read()])
        return results[0]
"#;

/// Files of filters, each with a rule of its own.
struct Files {
    directory: TempDir,
    python: Python,
}

impl Files {
    fn new() -> Option<Self> {
        let python = Python::find()?;
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("classes.py"), CLASSES).unwrap();
        Some(Self { directory, python })
    }

    fn write(&self, name: &str, run: &[String], rest: &str) -> PathBuf {
        let path = self.directory.path().join(format!("{name}.toml"));
        std::fs::write(&path, format!("name = {name:?}\nrun = {run:?}\n{rest}")).unwrap();
        path
    }

    /// The option for a class.
    fn class(&self, name: &str, class: &str, rest: &str) -> String {
        let run = [
            "env".to_owned(),
            format!("PYTHONPATH={}", self.python.modules.display()),
            self.python.program.display().to_string(),
            "-m".to_owned(),
            "scalems_pilot.filter".to_owned(),
            format!("classes:{class}"),
        ];
        format!("--filter {}", self.write(name, &run, rest).display())
    }
}

const ALL: &str = "modes = [\"scalems.echo\", \"task.shell\"]\n";

fn echo(name: &str, value: &Value) -> Task {
    Task::new("scalems.echo").encode(value).unwrap().name(name)
}

#[track_caller]
fn run(session: &Session, task: Task) -> TaskResult {
    session.submit(task).unwrap().wait(PATIENCE).unwrap()
}

#[track_caller]
fn value(result: &TaskResult) -> Value {
    assert_eq!(result.error, None);
    result.decode().unwrap()
}

#[track_caller]
fn fails(result: &TaskResult, code: Code, texts: &[&str]) {
    let error = result.error.as_ref().expect("it fails");
    let missing: Vec<_> = texts
        .iter()
        .filter(|text| !error.message.contains(**text))
        .collect();
    assert!(error.code == code && missing.is_empty(), "{error}");
}

/// The filter's process, once it has joined.
#[track_caller]
fn keeper(session: &Session, name: &str, other_than: u32) -> u32 {
    let is = |row: &&WorkerRow| row.name.starts_with(name) && row.state == "active" && row.pid != other_than;
    let rows = until_workers(session, |rows| rows.iter().any(|row| is(&row)));
    rows.iter().find(is).unwrap().pid
}

/// What the filters of a pilot have submitted and not forgotten.
fn parts(session: &Session) -> usize {
    let page = Page {
        select: Selector {
            all: true,
            label: Some(("filter".to_owned(), "lab".to_owned())),
            ..Selector::default()
        },
        after: None,
        rows: 0,
    };
    match session.ask_submissions(page) {
        Ok(listing) => listing.rows.len(),
        Err(ClientError::Refused { .. }) => 0,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_class_changes_splits_adds_and_refuses() {
    let Some(files) = Files::new() else { return };
    let pilot = Pilot::start(&files.class("lab", "Lab", ALL));
    let session = pilot.session();
    let mut gate = Fifo::new(&pilot.home.work(), "gate");
    let line = format!("echo added > {}", gate.path().display());
    for (task, expected) in [
        (echo("plain", &json!([1, "x"])), json!([1, "x"])),
        (echo("double", &json!(21)), json!(42)),
        (echo("split", &json!([1, 2, 3, 4])), json!(10)),
        (echo("none", &json!(1)), json!("from the filter")),
        (echo("marked", &json!(5)), json!(["marked", 5])),
        (echo("add", &json!(line)), json!(line)),
    ] {
        assert_eq!(value(&run(&session, task)), expected);
    }
    assert_eq!(gate.line(), "added");
    let refused = run(&session, echo("refuse", &json!(1)));
    fails(
        &refused,
        Code::FilterRefused,
        &["filter lab refused task", "the lab is closed"],
    );
    fails(
        &run(&session, echo("withheld", &json!(1))),
        Code::FilterRefused,
        &["nobody is to see it"],
    );
    // A program's result passes as it is, with its index.
    let array = session
        .submit_array(Task::shell("echo $SCALEMS_INDEX"), 3..6)
        .unwrap();
    array.wait(PATIENCE).unwrap();
    let result = array.try_result(4).unwrap().unwrap();
    assert_eq!(result.program().unwrap().stdout, b"4\n");
    let ended = run(&session, Task::shell("exit 3"));
    fails(&ended, Code::ExitCode, &["3"]);
    assert_eq!(ended.exit_code, Some(3));
    pilot.stop();
}

#[test]
fn what_a_filter_fails_over_is_one_task() {
    let Some(files) = Files::new() else { return };
    let pilot = Pilot::start(&files.class("lab", "Lab", &format!("{ALL}timeout = \"2s\"\n")));
    let session = pilot.session();
    let bad = [
        ("raise", Code::FilterFailed, "KeyError"),
        ("die", Code::FilterFailed, "signal: 9"),
        ("hang", Code::FilterFailed, "did not answer within 2s"),
        ("nonsense", Code::FilterFailed, "task() gives tasks"),
    ];
    for (name, code, text) in bad {
        let tasks = (0..40).map(|at| echo(if at == 20 { name } else { "double" }, &json!(at)));
        let handles: Vec<TaskHandle> = session.submit_many(tasks);
        for (at, handle) in handles.iter().enumerate() {
            let result = handle.wait(PATIENCE).unwrap();
            if at == 20 {
                fails(&result, code, &["filter lab failed over task", text]);
            } else {
                assert_eq!(value(&result), json!(2 * at), "{name}");
            }
        }
    }
    let error = run(&session, echo("raise", &json!(1))).error.unwrap();
    assert_eq!(error.class.as_deref(), Some("builtins.KeyError"));
    assert!(error.trace.unwrap().contains("in task"));
    pilot.stop();
}

/// Says that it runs, waits, and tells how often it was run.
fn counted(pilot: &Pilot, told: &Fifo, gate: &Fifo) -> Task {
    let (told, gate) = (told.path().display(), gate.path().display());
    pilot.line(&format!(
        "echo x >> ran; echo here > {told}; read go < {gate}; wc -l < ran"
    ))
}

#[test]
fn what_runs_goes_on_when_the_keeper_of_a_filter_dies() {
    let Some(files) = Files::new() else { return };
    let pilot = Pilot::start(&format!("{} --lost-after 2s", files.class("lab", "Lab", ALL)));
    let session = pilot.session();
    let before = keeper(&session, "filter.lab", 0);
    let mut told = Fifo::new(&pilot.home.work(), "told");
    let mut gate = Fifo::new(&pilot.home.work(), "gate");
    let handle = session.submit(counted(&pilot, &told, &gate)).unwrap();
    assert_eq!(told.line(), "here");
    process::signal(before, Signal::SIGKILL);
    keeper(&session, "filter.lab", before);
    gate.release(1);
    let result = handle.wait(PATIENCE).unwrap();
    assert_eq!(result.program().unwrap().stdout, b"1\n", "it ran once");
    // What was submitted for it is forgotten once its end is known.
    let submission = result.id.unwrap().submission;
    let other = run(&session, echo("double", &json!(4)));
    assert_eq!(value(&other), json!(8));
    assert!(submission > 0 && parts(&session) <= 2, "{}", parts(&session));
    pilot.stop();
}

#[test]
fn filtered_tasks_outlive_the_agent() {
    let Some(files) = Files::new() else { return };
    let options = files.class("lab", "Lab", ALL);
    let mut pilot = Pilot::start(&options);
    let session = pilot.session();
    keeper(&session, "filter.lab", 0);
    let mut told = Fifo::new(&pilot.home.work(), "told");
    let mut gate = Fifo::new(&pilot.home.work(), "gate");
    let handle = session.submit(counted(&pilot, &told, &gate)).unwrap();
    let waiting = session.submit_many((0..5).map(|number| echo("double", &json!(number))));
    assert_eq!(told.line(), "here");
    session.wait_accepted(PATIENCE).unwrap();
    pilot.kill_agent();
    pilot.resume(&options);
    gate.release(1);
    let result = handle.wait(PATIENCE).unwrap();
    assert_eq!(result.program().unwrap().stdout, b"1\n", "it ran once");
    for (number, handle) in waiting.iter().enumerate() {
        assert_eq!(value(&handle.wait(PATIENCE).unwrap()), json!(2 * number));
    }
    pilot.stop();
}

#[test]
fn a_cancel_reaches_what_runs_in_a_tasks_place() {
    let Some(files) = Files::new() else { return };
    let pilot = Pilot::start(&files.class("lab", "Lab", ALL));
    let session = pilot.session();
    let mut told = Fifo::new(&pilot.home.work(), "told");
    let line = format!("echo here > {}; exec sleep 600", told.path().display());
    let handle = session.submit(pilot.line(&line)).unwrap();
    assert_eq!(told.line(), "here");
    handle.cancel(Strength::Request).unwrap().wait(PATIENCE).unwrap();
    assert_eq!(handle.wait(PATIENCE).unwrap().ending, Ending::Canceled);
    // A deadline is the whole task's.
    let late = Task::shell("sleep 600").deadline(Duration::from_millis(700));
    fails(&run(&session, late), Code::Canceled, &["deadline"]);
    pilot.stop();
}

#[test]
fn what_a_filter_makes_and_nobody_can_run() {
    let Some(files) = Files::new() else { return };
    let options = files.class("lab", "Lab", ALL);
    let pilot = Pilot::start(&format!("{options} --closed"));
    let session = pilot.session();
    keeper(&session, "filter.lab", 0);
    let task = Task::shell("true").name("needs");
    fails(
        &run(&session, task),
        Code::ImpossibleNeeds,
        &["what filter lab makes of task", "cores"],
    );
    pilot.stop();
}

#[test]
fn filters_see_tasks_one_after_another_by_mode_and_label() {
    let Some(files) = Files::new() else { return };
    let first = files.class("lab", "Lab", "modes = [\"scalems.echo\"]\nlabel = \"lab=yes\"\n");
    let second = files.class("second", "Second", ALL);
    let pilot = Pilot::start(&format!("{first} {second}"));
    let session = pilot.session();
    let both = run(&session, echo("double", &json!(2)).label("lab", "yes"));
    assert_eq!(
        value(&both),
        json!([1, 4]),
        "the second saw what the first had made"
    );
    let none = run(&session, Task::new("scalems.noop"));
    assert_eq!(none.error, None);
    let submitted = session
        .submit(Task::shell("sleep 600").label("lab", "yes"))
        .unwrap();
    session.wait_accepted(PATIENCE).unwrap();
    let number = submitted.id().unwrap().submission;
    until_tasks(&session, number, |counts| counts.running == 1);
    let page = Page {
        select: Selector::submission(number),
        after: None,
        rows: 1,
    };
    assert_eq!(
        session.ask_submissions(page).unwrap().rows[0].mode,
        "filter.second"
    );
    submitted.cancel(Strength::Kill).unwrap().wait(PATIENCE).unwrap();
    submitted.wait(PATIENCE).unwrap();
    pilot.stop();
}

#[test]
fn a_filter_in_rust() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("halving.toml");
    let run_by = env!("CARGO_BIN_EXE_halving");
    std::fs::write(
        &file,
        format!("name = \"halving\"\nrun = [{run_by:?}]\nmodes = [\"scalems.echo\"]\n"),
    )
    .unwrap();
    let pilot = Pilot::start(&format!("--filter {}", file.display()));
    let session = pilot.session();
    assert_eq!(value(&run(&session, echo("plain", &json!([9])))), json!([9]));
    assert_eq!(
        value(&run(&session, echo("split", &json!([8, 6, 4])))),
        json!([4, 3, 2])
    );
    fails(
        &run(&session, echo("refuse", &json!([1]))),
        Code::FilterRefused,
        &["it is not to be"],
    );
    fails(
        &run(&session, echo("fail", &json!([1]))),
        Code::FilterFailed,
        &["error"],
    );
    fails(
        &run(&session, echo("panic", &json!([1]))),
        Code::FilterFailed,
        &["it was too much"],
    );
    assert_eq!(
        value(&run(&session, echo("plain", &json!([7])))),
        json!([7]),
        "it goes on"
    );
    pilot.stop();
}

#[test]
fn a_filter_that_does_not_start_fails_what_it_sees() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("gone.toml");
    let pilot_of = |text: &str| {
        std::fs::write(&file, text).unwrap();
        Pilot::start(&format!("--filter {}", file.display()))
    };
    let pilot = pilot_of("name = \"gone\"\nrun = [\"/no/such/program\"]\n");
    let session = pilot.session();
    fails(
        &run(&session, Task::shell("true")),
        Code::FilterFailed,
        &["cannot be started"],
    );
    assert_eq!(
        run(&session, Task::new("scalems.noop")).error,
        None,
        "it is not seen"
    );
    pilot.stop();
    let pilot = pilot_of("name = \"mute\"\nrun = [\"false\"]\n");
    let session = pilot.session();
    fails(
        &run(&session, Task::shell("true")),
        Code::FilterFailed,
        &["was not ready"],
    );
    pilot.stop();
    let home = scalems_tests::pilot::Home::new();
    std::fs::write(&file, "name = \"a b\"\nrun = [\"x\"]\n").unwrap();
    home.sh(&format!("scalems pilot start --filter {}", file.display()))
        .fails(2, &["\"a b\"", "letters"]);
}
