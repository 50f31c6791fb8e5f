//! What programs read: `--output json`, `jsonl` and `quiet` of every command.

use scalems_tests::pilot::{Output, Pilot};
use serde_json::Value;

/// The shape of a value, in one line: names of keys, kinds of values, a list by its first element.
fn shape(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(_) => "bool".into(),
        Value::Number(_) => "number".into(),
        Value::String(_) => "text".into(),
        Value::Array(items) => match items.first() {
            None => "[]".into(),
            Some(first) if items.iter().all(|item| shape(item) == shape(first)) => {
                format!("[{}]", shape(first))
            }
            Some(_) => format!("[{}]", items.iter().map(shape).collect::<Vec<_>>().join(", ")),
        },
        Value::Object(map) => {
            let mut fields: Vec<_> = map
                .iter()
                .map(|(key, value)| format!("{key}: {}", shape(value)))
                .collect();
            fields.sort();
            format!("{{{}}}", fields.join(", "))
        }
    }
}

struct Forms<'a>(&'a Pilot);

impl Forms<'_> {
    fn output(&self, form: &str, line: &str) -> Output {
        self.0.sh(&format!("scalems --output {form} {line}")).well()
    }

    /// A list: one array, and one row a line.
    fn rows(&self, line: &str, row: &str) {
        let json = self.output("json", line).json();
        let json = json.as_array().unwrap_or_else(|| panic!("{line} is no list"));
        let jsonl = self.output("jsonl", line).jsonl();
        assert_eq!(json.len(), jsonl.len(), "{line}");
        for found in json.iter().chain(&jsonl) {
            assert_eq!(shape(found), row, "{line}");
        }
    }

    /// One thing: the same value in both forms, on one line in the second.
    fn one(&self, line: &str, expected: &str) {
        let json = self.output("json", line);
        assert_eq!(shape(&json.json()), expected, "{line}");
        let jsonl = self.output("jsonl", line);
        assert_eq!(jsonl.out.lines().count(), 1, "{line}");
        assert_eq!(shape(&jsonl.json()), expected, "{line}");
    }

    fn quiet(&self, line: &str, expected: &str) {
        assert_eq!(self.output("quiet", line).text(), expected, "{line}");
    }
}

const COUNTS: &str = "{canceled: number, done: number, failed: number, leased: number, ready: number, running: number, waiting: number}";
const WORKER: &str = "{beats: [number], ended: number, host: text, leases: [number], name: text, pid: number, place: text, \
    resources: [[text, number, number]], silent_ms: number, state: text, worker: number}";
const REQUEST: &str = "{age_ms: number, count: number, id: number, layout: {cores: number, memory: number}, replace: number, \
    session: text, state: text, workers: [{host: text, name: text, worker: number}]}";
const STATUS: &str = "{clients: number, counters: [], incarnation: number, modes: [text], pilot_name: text, \
    resources: [[text, number, number]], stopping: bool, submissions: number, tasks: COUNTS, up_ms: number, \
    workers: [number]}";
const SUBMISSION: &str = "{age_ms: number, indices: [number], labels: {project: text}, mode: text, name: text, \
    session: text, spent: [[text, number, number]], submission: number, tasks: COUNTS}";
const TASK: &str = "{exit_code: number, indices: [number], ran_us: number, \
    run: {attempt: number, hi: number, lo: number, submission: number}, state: text, worker: text}";
const TEMPLATE: &str = "{labels: {project: text}, mode: text, name: text, \
    policy: {crash_limit: number, grace_ms: number, on_silence: text}}";
const LOGS: &str = "{attempt: number, bytes: number, shown: number, task: text, text: text}";
const RESULT: &str = "{cpu_s: number, cwd: text, exit_code: number, host: text, peak_rss_kib: number, \
    stderr: text, stderr_bytes: number, stdout: text, stdout_bytes: number, wall_s: number}";

#[test]
fn every_command_in_every_form() {
    let pilot = Pilot::start("");
    let status = STATUS.replace("COUNTS", COUNTS);
    let submission = SUBMISSION.replace("COUNTS", COUNTS);
    let explained = format!("{{faults: [number], reasons: [text], row: {TASK}, task: {TEMPLATE}}}");
    let forms = Forms(&pilot);

    let make = "submit --name made --label project=x -- echo hello";
    forms.one(make, "{count: number, submission: number}");
    forms.quiet(make, "3");
    let wait = &make.replace("submit", "submit --wait");
    let waited = format!("{{count: number, submission: number, tasks: {COUNTS}}}");
    assert_eq!(shape(&forms.output("json", wait).json()), waited);
    // As things come: first the number, then what it came to.
    let came: Vec<_> = forms.output("jsonl", wait).jsonl().iter().map(shape).collect();
    assert_eq!(came, ["{count: number, submission: number}", COUNTS]);
    forms.quiet(wait, "6");

    forms.rows(
        "pilot list",
        "{file: text, host: text, pid: number, pilot: text, state: text}",
    );
    forms.quiet("pilot list", "default");
    forms.one("wait all", COUNTS);
    forms.quiet("wait all", "");
    forms.one("pilot wait", &status);
    forms.quiet("pilot wait", "default");
    forms.one("pilot info", &status);
    forms.quiet("pilot info", "default");
    forms.rows("worker list", WORKER);
    forms.quiet("worker list", "1");
    forms.one("worker info 1", WORKER);
    forms.quiet("worker info 1", "1");
    forms.rows("task list", &submission);
    forms.quiet("task list", "1\n2\n3\n4\n5\n6");
    forms.rows(
        "report --by label:project",
        "{group: text, submissions: number, tasks: COUNTS, used: {cores: number, time: number}, wasted: {cores: number, time: number}}"
            .replace("COUNTS", COUNTS)
            .as_str(),
    );
    forms.quiet("report --by label:project", "x");
    forms.rows("task list all", TASK);
    forms.quiet("task list 1-2", "1.0\n2.0");
    forms.one("task info 1", &format!("{{result: {RESULT}, task: {explained}}}"));
    forms.quiet("task info 1", "1.0");
    forms.one("task explain 1", &explained);
    forms.quiet("task explain 1", "1.0");
    forms.one(
        "task cancel 1",
        "{ended: number, request: number, running: number, told: number, withdrawn: number}",
    );
    forms.rows("logs 1-2", LOGS);
    forms.quiet("logs 1-2", "hello\nhello");
    forms.one("version", "{protocol: number, scalems: text}");

    // As the machine is: with GPUs, each is a map.
    let detected = "{cpus: [number], gpus: [], host: text, memory_mib: number, named: [[text, number]], nodes: NODES, notes: NOTES, pinned: bool}";
    let one = forms.output("json", "worker detect --dir /tmp").json();
    let other = forms.output("jsonl", "worker detect --dir /tmp").json();
    for mut found in [one, other] {
        for gpu in found["gpus"].as_array().unwrap() {
            assert!(gpu["number"].is_u64() && gpu["id"].is_string() && gpu.get("maker").is_some());
        }
        found["gpus"] = Value::Array(Vec::new());
        let kinds = detected
            .replace("NODES", &shape(&found["nodes"]))
            .replace("NOTES", &shape(&found["notes"]));
        assert_eq!(shape(&found), kinds);
    }
    // What it finds is this machine's.
    for found in pilot.sh("scalems --output jsonl doctor").jsonl() {
        let found = shape(&found).replace("remedy: text, ", "");
        assert_eq!(found, "{about: text, said: text, state: text}");
    }
    forms.one(
        "submit --dry-run --array 0-4:2 -- true",
        "{count: number, first: number, program: {argv: [text], cwd: text}, step: number, task: {mode: text, policy: \
         {crash_limit: number, grace_ms: number, on_silence: text}}}",
    );
    forms.quiet("submit --open --name more -- true", "7");
    forms.one(
        "submit --to name:more -- true",
        "{count: number, submission: number}",
    );
    forms.one("task close name:more", "{before: number, closed: number}");
    pilot.home.write(
        "graph.toml",
        "[[task]]\nname = 'a'\ncommand = 'false'\n[[task]]\nname = 'b'\nafter = 'a:any'\ncommand = 'true'\n",
    );
    let of_graph = "{count: number, name: text, submission: number}";
    forms.rows("graph graph.toml", of_graph);
    let line = "scalems --output json graph graph.toml --wait";
    let failed = pilot.sh(line).json();
    assert_eq!(
        shape(&failed),
        format!("{{submissions: [{of_graph}], tasks: {COUNTS}}}")
    );
    let planned = forms.output("json", "graph graph.toml --dry-run").json();
    assert_eq!(
        shape(&planned[0]),
        "{after: [], count: number, first: number, name: text, program: {argv: [text], cwd: text}, step: number, task: \
         {mode: text, name: text, policy: {crash_limit: number, grace_ms: number, on_silence: text}}}"
    );
    forms.output("quiet", "wait name:b");
    let again = "{again: number, submission: number, tasks: number}";
    for row in forms.output("jsonl", "task retry name:a --repeat").jsonl() {
        assert_eq!(shape(&row), again);
    }
    let failed = pilot
        .sh("scalems --output json task retry name:a --repeat --wait")
        .json();
    assert_eq!(
        shape(&failed),
        format!("{{submissions: [{again}], tasks: {COUNTS}}}")
    );
    let forgotten = "{forgotten: number, kept: number, request: number}";
    assert_eq!(shape(&forms.output("json", "task forget 1").json()), forgotten);

    // What is not asked for is not said: scripts read standard output alone.
    let said = forms.output("json", "submit --wait -- sh -c 'echo out; echo err >&2'");
    assert_eq!((shape(&said.json()), said.err.as_str()), (waited, ""));
    let failed = pilot.sh("scalems --output json submit --wait -- false");
    assert_eq!(
        (failed.code, failed.json()["tasks"]["failed"].as_u64()),
        (1, Some(1))
    );
    let refused = pilot
        .sh("scalems --output json task info 99")
        .fails(1, &["[nothing_selected]"]);
    assert_eq!(refused.out, "");
    // Of tasks that ended it is not known any more where, once the worker has gone.
    let json = forms.output("json", "worker replace 1 --wait").json();
    assert_eq!(shape(&json), REQUEST);
    let json = forms.output("jsonl", "worker replace 2 --wait").jsonl();
    assert_eq!(shape(&json[0]), REQUEST);
    forms.quiet("worker replace 3 --wait", "3");
    assert_eq!(forms.output("quiet", "pilot stop").out, "");
    drop(pilot);
}

#[test]
fn log_files_in_every_form() {
    let pilot = Pilot::start("");
    let forms = Forms(&pilot);
    pilot
        .sh("scalems submit --wait --log --log-cap 2 --array 0-1 -- echo hello")
        .well();
    let result = forms.output("json", "task info 1.1").json();
    assert_eq!(
        shape(&result["result"]["log"]),
        "{file: text, from: number, lost: {cap: number}, stdout: number, upto: number}"
    );
    let from = format!("logs --from {}", pilot.directory().join("logs").display());
    forms.rows(
        &from,
        "{attempt: number, exit_code: number, host: text, incarnation: number, lost: {cap: number}, state: text, \
         stderr: number, stderr_kept: number, stdout: number, stdout_kept: number, task: text}",
    );
    forms.quiet(&from, "1.0\n1.1");
    forms.rows(&format!("{from} all"), LOGS);
    forms.quiet(&format!("{from} 1.1"), "he");
    forms.one(
        &format!("{from} --summary"),
        "{attempts: number, begun: number, bytes: number, damaged: number, failed: number, files: number, pilot: text, \
         stderr: number, stderr_kept: number, stdout: number, stdout_kept: number, tasks: number, torn: number}",
    );
    forms.quiet(&format!("{from} --summary"), "default");
    pilot.stop();
}

#[test]
fn nothing_that_others_wrote_moves_the_cursor() {
    let pilot = Pilot::start("");
    let name = "$(printf 'a\\033[2Jb')";
    pilot
        .sh(&format!("scalems submit --wait --name \"{name}\" -- true"))
        .well();
    let list = pilot.sh("scalems task list").well().out;
    assert!(
        list.contains("a\\u{1b}[2Jb") && !list.contains('\u{1b}'),
        "{list}"
    );
    let said = pilot.sh("scalems submit --wait -- sh -c 'printf \"\\033[2J\" >&2; exit 1'");
    let explained = &said.err[said.err.find("task 2.0").unwrap()..];
    assert!(
        explained.contains("\\u{1b}[2J") && !explained.contains('\u{1b}'),
        "{explained:?}"
    );
    pilot.stop();
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let pilot = Pilot::start("");
    pilot
        .sh("scalems submit --array 0-2000 --wait -- echo 'a line of some length, %{INDEX}' > all")
        .well();
    let said = pilot
        .sh("{ scalems logs last; echo \"code $?\" >&2; } | head -n 1")
        .well();
    assert_eq!(said.text(), "a line of some length, 0");
    assert!(
        said.err.contains("code 0") && !said.err.contains("panicked"),
        "{}",
        said.err
    );
    pilot.stop();
}
