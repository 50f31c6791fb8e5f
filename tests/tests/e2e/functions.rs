//! Functions: values, bodies, output, exceptions, and what becomes of them when something ends.

use std::time::Duration;

use scalems_client::protocol::function::Beside;
use scalems_client::protocol::state::Strength;
use scalems_client::protocol::{Code, Ending};
use scalems_client::{Task, TaskResult, wait_all};
use scalems_tests::pilot::{Fifo, PATIENCE, Pilot, Python, until_tasks};
use serde_json::{Value, json};

/// The value of a result, which has to be one.
#[track_caller]
pub(super) fn value(result: &TaskResult) -> Value {
    assert_eq!(result.error, None);
    let (_, value) = Beside::split(&result.value).unwrap();
    if value.is_empty() {
        return Value::Null;
    }
    rmp_serde::from_slice(value).unwrap()
}

/// What was written beside a result's value.
pub(super) fn beside(result: &TaskResult) -> Beside {
    Beside::split(&result.value).unwrap().0
}

fn encoded(value: &Value) -> Vec<u8> {
    rmp_serde::to_vec_named(value).unwrap()
}

#[test]
fn values_of_every_mode() {
    let Some(python) = Python::find() else { return };
    let pilot = Pilot::start("");
    let session = pilot.session();
    for (mode, call, expected) in [
        (
            "task.function",
            json!({"function": "math:hypot", "args": [3, 4]}),
            json!(5.0),
        ),
        (
            "task.function",
            json!({"function": "builtins:dict", "kwargs": {"a": 1}}),
            json!({"a": 1}),
        ),
        (
            "task.method",
            json!({"function": "builtins:str.upper", "args": ["text"]}),
            json!("TEXT"),
        ),
        (
            "task.eval",
            json!({"code": "x * 2", "kwargs": {"x": 21}}),
            json!(42),
        ),
        (
            "task.exec",
            json!({"code": "import sys\nresult = [x, len(sys.argv)]", "kwargs": {"x": 1}}),
            json!([1, 1]),
        ),
        ("task.exec", json!({"code": "x = 1"}), Value::Null),
    ] {
        let result = session
            .submit(python.task(mode, call))
            .unwrap()
            .wait(PATIENCE)
            .unwrap();
        assert_eq!(value(&result), expected, "{mode}");
    }
    pilot.stop();
}

#[test]
fn a_body_is_sent_once_for_many_tasks() {
    let Some(python) = Python::find() else { return };
    let pilot = Pilot::start("--cores 2");
    let session = pilot.session();
    let body = encoded(&python.call(json!({"function": "builtins:sum"})));
    let task = Task::new("task.function").body(body);
    let data = |i: i64| encoded(&json!([[[i, 1, 2]]]));
    let handles = session.submit_many((0..3_000).map(|i| task.with_data(data(i))));
    wait_all(&handles, PATIENCE).unwrap();
    for (i, handle) in handles.iter().enumerate() {
        assert_eq!(value(&handle.wait(PATIENCE).unwrap()), json!(i + 3));
    }
    let wrong = Task::shell("true").body(vec![0xc0]);
    let result = session.submit(wrong).unwrap().wait(PATIENCE).unwrap();
    assert_eq!(
        result.error.unwrap().code,
        Code::WrongData,
        "programs have no use for a body"
    );
    pilot.stop();
}

#[test]
fn what_a_function_writes_is_its_own() {
    let Some(python) = Python::find() else { return };
    let pilot = Pilot::start("--cores 1");
    let session = pilot.session();
    let code = "import os, sys, logging, time\n\
        if x % 3 == 0: print('line', x)\n\
        if x % 5 == 0: os.write(2, b'error %d\\n' % x)\n\
        if x % 7 == 0: logging.getLogger('mine').warning('told %d', x)\n\
        if x % 50 == 0: time.sleep(0.02)\n\
        result = x";
    let tasks = (0..300).map(|x| python.task("task.exec", json!({"code": code, "kwargs": {"x": x}})));
    let handles = session.submit_many(tasks);
    for (x, handle) in handles.iter().enumerate() {
        let result = handle.wait(PATIENCE).unwrap();
        assert_eq!(value(&result), json!(x));
        let beside = beside(&result);
        let expected = |is: bool, text: String| if is { text } else { String::new() };
        assert_eq!(
            beside.stdout,
            expected(x % 3 == 0, format!("line {x}\n")).into_bytes(),
            "{x}"
        );
        assert_eq!(
            beside.stderr,
            (expected(x % 5 == 0, format!("error {x}\n"))
                + &expected(x % 7 == 0, format!("WARNING mine: told {x}\n")))
                .into_bytes(),
            "{x}"
        );
        let logged: Vec<_> = beside
            .log
            .iter()
            .map(|(_, level, name, text)| format!("{level} {name} {text}"))
            .collect();
        assert_eq!(
            logged.concat(),
            expected(x % 7 == 0, format!("WARNING mine told {x}")),
            "{x}"
        );
    }
    pilot.stop();
}

#[test]
fn a_flood_is_counted_and_its_end_kept() {
    let Some(python) = Python::find() else { return };
    let pilot = Pilot::start("--cores 1");
    let session = pilot.session();
    let code = "import sys\nfor _ in range(1024): sys.stdout.write('x' * (1 << 18))\nprint('end')";
    let result = session.submit(python.code(code)).unwrap().wait(PATIENCE).unwrap();
    let found = beside(&result);
    assert_eq!(found.stdout_bytes, (256 << 20) + 4);
    assert!(found.stdout.ends_with(b"xend\n") && found.stdout.len() <= 64 << 10);
    let next = session
        .submit(python.code("result = 1"))
        .unwrap()
        .wait(PATIENCE)
        .unwrap();
    assert_eq!((value(&next), beside(&next)), (json!(1), Beside::default()));
    pilot.stop();
}

#[test]
fn an_exception_has_its_class_text_and_traceback() {
    let Some(python) = Python::find() else { return };
    let pilot = Pilot::start("");
    let session = pilot.session();
    let code = "def inner(): raise KeyError('gone')\nprint('before')\ninner()";
    let result = session.submit(python.code(code)).unwrap().wait(PATIENCE).unwrap();
    let error = result.error.clone().unwrap();
    assert_eq!(
        (error.code, error.class.as_deref()),
        (Code::Exception, Some("builtins.KeyError"))
    );
    assert!(error.message.contains("'gone'"), "{error}");
    let trace = error.trace.unwrap();
    assert!(
        trace.contains("in inner") && trace.ends_with("KeyError: 'gone'\n"),
        "{trace}"
    );
    assert_eq!(beside(&result).stdout, b"before\n");
    let (_, exception) = Beside::split(&result.value).unwrap();
    assert!(exception.starts_with(b"\xc1\x03"), "{exception:?}");
    // Another attempt is made if that is asked for.
    let place = pilot.home.work().join("tried");
    let code = format!(
        "import os\nif not os.path.exists({place:?}):\n  open({place:?}, 'w')\n  raise ValueError\nresult = 5"
    );
    let again = session
        .submit(python.code(&code).retries(1))
        .unwrap()
        .wait(PATIENCE)
        .unwrap();
    assert_eq!((value(&again), again.attempt), (json!(5), 2));
    pilot.stop();
}

#[test]
fn a_function_knows_its_task() {
    let Some(python) = Python::find() else { return };
    let pilot = Pilot::start("--cores 1");
    let session = pilot.session();
    let code = "import os, scalems_pilot._task as t\nc = t.current_task()\nc.progress(0.5, 'half')\n\
        result = [c.uid, c.attempt, len(c.cpus), c.deadline > 0, os.path.isdir(c.directory), c.cancel_requested(), \
        sorted(os.sched_getaffinity(0)) == list(c.cpus), 'numpy' in __import__('sys').modules]";
    let task = python.code(code).time_limit(Duration::from_secs(60));
    let result = session.submit(task).unwrap().wait(PATIENCE).unwrap();
    let uid = result.id.unwrap().to_string();
    assert_eq!(value(&result), json!([uid, 1, 1, true, true, false, true, false]));
    pilot.stop();
}

#[test]
fn a_cancel_is_asked_for_and_then_made() {
    let Some(python) = Python::find() else { return };
    let pilot = Pilot::start("--cores 1");
    let session = pilot.session();
    let mut gate = Fifo::new(&pilot.home.work(), "gate");
    let begun = format!("open({:?}, 'w').write('here\\n')\n", gate.path());
    let gentle = format!(
        "import time, scalems_pilot._task as t\n{begun}while not t.current_task().cancel_requested(): time.sleep(0.01)\nresult = 'asked'"
    );
    let handle = session.submit(python.code(&gentle)).unwrap();
    assert_eq!(gate.line(), "here");
    handle.cancel(Strength::Request).unwrap().wait(PATIENCE).unwrap();
    let result = handle.wait(PATIENCE).unwrap();
    assert_eq!(value(&result), json!("asked"), "it ended well in spite of it");
    let deaf = format!("import time\n{begun}time.sleep(600)");
    let handle = session
        .submit(python.code(&deaf).grace(Duration::from_millis(50)))
        .unwrap();
    assert_eq!(gate.line(), "here");
    handle.cancel(Strength::Request).unwrap().wait(PATIENCE).unwrap();
    assert_eq!(handle.wait(PATIENCE).unwrap().ending, Ending::Canceled);
    let limited = python
        .code("import time; time.sleep(600)")
        .time_limit(Duration::from_millis(300));
    let result = session
        .submit(limited.grace(Duration::from_millis(50)))
        .unwrap()
        .wait(PATIENCE)
        .unwrap();
    assert_eq!(result.error.unwrap().code, Code::TimeLimit);
    let next = session
        .submit(python.code("result = 1"))
        .unwrap()
        .wait(PATIENCE)
        .unwrap();
    assert_eq!(value(&next), json!(1));
    pilot.stop();
}

#[test]
fn functions_go_on_over_a_restart_of_the_agent() {
    let Some(python) = Python::find() else { return };
    let mut pilot = Pilot::start("--cores 1");
    let session = pilot.session();
    let mut gate = Fifo::new(&pilot.home.work(), "gate");
    let body = encoded(
        &python.call(json!({"code": format!("open({:?}, 'w').write('here\\n')\nresult = x", gate.path())})),
    );
    let task = Task::new("task.exec").body(body);
    let data = |x: i64| encoded(&json!([[], {"x": x}]));
    let handles = session.submit_many((0..2).map(|x| task.with_data(data(x))));
    session.wait_accepted(PATIENCE).unwrap();
    pilot.kill_agent();
    pilot.resume("");
    assert_eq!(gate.line(), "here");
    assert_eq!(gate.line(), "here");
    for (x, handle) in handles.iter().enumerate() {
        assert_eq!(value(&handle.wait(PATIENCE).unwrap()), json!(x));
    }
    pilot.stop();
}

#[test]
fn a_worker_that_is_killed_has_its_functions_run_again() {
    let Some(python) = Python::find() else { return };
    let pilot = Pilot::start("--cores 1");
    let session = pilot.session();
    let mut gate = Fifo::new(&pilot.home.work(), "gate");
    let code = format!(
        "import os, time\nimport scalems_pilot._task as t\nopen({:?}, 'w').write('%d\\n' % os.getppid())\n\
         if t.current_task().attempt == 1: time.sleep(600)\nresult = t.current_task().attempt",
        gate.path()
    );
    let handle = session.submit(python.code(&code)).unwrap();
    let worker: i32 = gate.line().parse().unwrap();
    // The agent has to know that it runs: else the lease is given back without a new attempt.
    let id = handle.id().unwrap();
    until_tasks(&session, id.submission, |counts| counts.running == 1);
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(worker),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
    assert_ne!(gate.line(), worker.to_string(), "it runs under another worker");
    assert_eq!(value(&handle.wait(PATIENCE).unwrap()), json!(2));
    pilot.stop();
}

#[test]
fn pythons_of_other_versions() {
    let Some(python) = Python::find() else { return };
    let pilot = Pilot::start("--cores 1");
    let session = pilot.session();
    for version in ["3.9", "3.12"] {
        let Some(other) = python.of_version(version) else {
            eprintln!("skipped: there is no Python {version} with msgpack and cloudpickle");
            continue;
        };
        let code = "import sys\nresult = '%d.%d' % sys.version_info[:2]";
        let result = session.submit(other.code(code)).unwrap().wait(PATIENCE).unwrap();
        assert_eq!(value(&result), json!(version));
    }
    pilot.stop();
}

#[test]
fn a_worker_knows_pythons_by_name() {
    let Some(python) = Python::find() else { return };
    let program = python.program.display();
    let pilot = Pilot::start(&format!("--python own={program} --python {program}"));
    let session = pilot.session();
    for name in ["own", ""] {
        let call = json!({"code": "1 + 1", "python": name, "path": [python.modules]});
        let task = Task::new("task.eval").encode(&call).unwrap();
        assert_eq!(
            value(&session.submit(task).unwrap().wait(PATIENCE).unwrap()),
            json!(2),
            "{name}"
        );
    }
    pilot.stop();
}

#[test]
fn memory_is_kept_to() {
    let Some(python) = Python::find() else { return };
    let pilot = Pilot::start("--cores 1 --memory 1000");
    let session = pilot.session();
    let task = python
        .code("x = []\nwhile True: x.append(b'x' * (1 << 20))")
        .memory_mib(200);
    let result = session.submit(task).unwrap().wait(PATIENCE).unwrap();
    assert_eq!(result.error.unwrap().code, Code::MemoryExceeded);
    let next = session
        .submit(python.code("result = 1"))
        .unwrap()
        .wait(PATIENCE)
        .unwrap();
    assert_eq!(value(&next), json!(1));
    pilot.stop();
}
