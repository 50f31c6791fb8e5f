//! Functions that do what they should not: each ends its own task, with an error that says why, and no other.

use std::os::unix::fs::PermissionsExt as _;

use scalems_client::protocol::Code;
use scalems_client::{Session, TaskResult};
use scalems_tests::pilot::{PATIENCE, Pilot, Python};
use serde_json::json;

use crate::functions::{beside, value};

/// Runs code between neighbours that are sent ahead with it, which have to end well.
#[track_caller]
fn among_others(session: &Session, python: &Python, code: &str) -> TaskResult {
    let quick = || python.code("result = 1");
    for handle in session.submit_many((0..50).map(|_| quick())) {
        assert_eq!(value(&handle.wait(PATIENCE).unwrap()), json!(1));
    }
    let tasks = (0..20)
        .map(|_| quick())
        .chain([python.code(code)])
        .chain((0..20).map(|_| quick()));
    let handles = session.submit_many(tasks);
    for (at, handle) in handles.iter().enumerate().filter(|(at, _)| *at != 20) {
        assert_eq!(value(&handle.wait(PATIENCE).unwrap()), json!(1), "{at}: {code}");
    }
    handles[20].wait(PATIENCE).unwrap()
}

#[track_caller]
fn fails(result: &TaskResult, code: Code, text: &str) {
    let error = result.error.as_ref().expect("it fails");
    assert_eq!(error.code, code, "{error}");
    assert!(error.message.contains(text), "{error}");
}

#[test]
fn what_ends_an_interpreter_ends_one_task() {
    let Some(python) = Python::find() else { return };
    let pilot = Pilot::start("--cores 1");
    let session = pilot.session();
    for (code, error, text) in [
        ("import sys; sys.exit(3)", Code::Exception, "SystemExit"),
        (
            "import os; print('last words'); import sys; sys.stdout.flush(); os._exit(3)",
            Code::InterpreterEnded,
            "exit code 3; what it wrote ends with \"last words\"",
        ),
        (
            "import ctypes; ctypes.string_at(0)",
            Code::InterpreterEnded,
            "SIGSEGV",
        ),
        (
            "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
            Code::InterpreterEnded,
            "SIGKILL",
        ),
        (
            "f = lambda: f()\nglobals()['f'] = f\nf()",
            Code::Exception,
            "RecursionError",
        ),
        (
            "import threading; result = threading.Lock()",
            Code::WrongResult,
            "lock",
        ),
        ("result = b'x' * ((64 << 20) + 1)", Code::WrongResult, "at most"),
        ("this is no code", Code::WrongCall, "code cannot be read"),
    ] {
        fails(&among_others(&session, &python, code), error, text);
    }
    pilot.stop();
}

#[test]
fn what_a_function_leaves_behind_harms_nobody() {
    let Some(python) = Python::find() else { return };
    let pilot = Pilot::start("--cores 1");
    let session = pilot.session();
    let pid = "import os; result = os.getpid()";
    for code in [
        "import os; os.close(1); result = os.getpid()",
        "import sys, os; sys.stdout.close(); result = os.getpid()",
        "import threading, time, os; threading.Thread(target=time.sleep, args=(600,)).start(); result = os.getpid()",
    ] {
        let result = among_others(&session, &python, code);
        let next = session.submit(python.code(pid)).unwrap().wait(PATIENCE).unwrap();
        assert_ne!(value(&next), value(&result), "it is replaced: {code}");
        let printed = session
            .submit(python.code("print('seen')"))
            .unwrap()
            .wait(PATIENCE)
            .unwrap();
        assert_eq!(beside(&printed).stdout, b"seen\n", "{code}");
    }
    // After so many calls it is another one as well.
    let once = |after| python.task("task.exec", json!({"code": pid, "after": after}));
    let handles = session.submit_many((0..6).map(|_| once(2)));
    let mut pids: Vec<_> = handles
        .iter()
        .map(|handle| value(&handle.wait(PATIENCE).unwrap()).to_string())
        .collect();
    pids.sort();
    pids.dedup();
    assert_eq!(pids.len(), 3, "{pids:?}");
    pilot.stop();
}

#[test]
fn what_cannot_be_called() {
    let Some(python) = Python::find() else { return };
    let pilot = Pilot::start("");
    let session = pilot.session();
    let modules = python.modules.display();
    // One without any packages, whatever is installed beside it.
    let bare = pilot.home.work().join("bare");
    let line = format!("#!/bin/sh\nexec {} -I -S \"$@\"\n", python.program.display());
    std::fs::write(&bare, line).unwrap();
    std::fs::set_permissions(&bare, std::fs::Permissions::from_mode(0o755)).unwrap();
    for (mode, call, code, text) in [
        (
            "task.function",
            python.call(json!({"function": "no_such_module:f"})),
            Code::WrongCall,
            "no_such_module",
        ),
        (
            "task.function",
            python.call(json!({"function": "math:nothing"})),
            Code::WrongCall,
            "math has no nothing",
        ),
        (
            "task.function",
            python.call(json!({"function": "math"})),
            Code::WrongCall,
            "no name of the form",
        ),
        (
            "task.function",
            python.call(json!({"function": "math:pi"})),
            Code::WrongCall,
            "cannot be called",
        ),
        (
            "task.function",
            python.call(json!({"args": [1]})),
            Code::WrongData,
            "exactly one of",
        ),
        (
            "task.function",
            python.call(json!({"function": "math:pi", "any": 1})),
            Code::WrongData,
            "any",
        ),
        (
            "task.eval",
            python.call(json!({"function": "math:sqrt"})),
            Code::WrongCall,
            "takes code",
        ),
        (
            "task.function",
            python.call(json!({"function": "math:sqrt", "env": {"SCALEMS_TASK": "1"}})),
            Code::InvalidValue,
            "SCALEMS_",
        ),
        (
            "task.function",
            python.call(json!({"function": "math:sqrt", "args": [4], "cwd": "/no/such"})),
            Code::WrongCall,
            "/no/such",
        ),
        (
            "task.function",
            json!({"function": "math:sqrt", "python": "/no/such/python"}),
            Code::NoInterpreter,
            "/no/such/python",
        ),
        (
            "task.function",
            json!({"function": "math:sqrt", "python": "newest"}),
            Code::NoInterpreter,
            "--python newest=PATH",
        ),
        (
            "task.function",
            json!({"function": "math:sqrt", "python": "/bin/false"}),
            Code::NoInterpreter,
            "exit code 1",
        ),
        (
            "task.function",
            json!({"function": "math:sqrt", "python": bare}),
            Code::NoInterpreter,
            "scalems_pilot",
        ),
    ] {
        let task = scalems_client::Task::new(mode).encode(&call).unwrap();
        fails(&session.submit(task).unwrap().wait(PATIENCE).unwrap(), code, text);
    }
    let fine = session
        .submit(python.code("result = 1"))
        .unwrap()
        .wait(PATIENCE)
        .unwrap();
    assert_eq!(value(&fine), json!(1), "{modules}");
    pilot.stop();
}
