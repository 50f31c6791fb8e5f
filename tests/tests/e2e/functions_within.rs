//! What a function sees and does while it runs, and what is seen of it.

use std::process::{Command, Stdio};

use scalems_client::protocol::event::{Body, Topic};
use scalems_client::protocol::{Code, TaskId};
use scalems_client::{Session, Task, TaskResult, Update};
use scalems_tests::pilot::{Fifo, PATIENCE, Pilot, Python, until_tasks};
use serde_json::{Value, json};

use crate::functions::{beside, value};

fn run(session: &Session, task: Task) -> TaskResult {
    session.submit(task).unwrap().wait(PATIENCE).unwrap()
}

/// Says that it is here, and waits until it is let go on.
fn meet(told: &Fifo, gate: &Fifo) -> String {
    format!(
        "import os\nopen('{}', 'w').write('here\\n')\nos.read(os.open('{}', os.O_RDONLY), 3)\n",
        told.path().display(),
        gate.path().display()
    )
}

#[test]
fn how_far_a_function_is() {
    let Some(python) = Python::find() else { return };
    let pilot = Pilot::start("--cores 1");
    let session = pilot.session();
    let mut told = Fifo::new(&pilot.home.work(), "told");
    let mut gate = Fifo::new(&pilot.home.work(), "gate");
    let code = format!(
        "from scalems_pilot._task import current_task\n{0}current_task().progress(0.25, 'step 1 of 4')\n{0}",
        meet(&told, &gate)
    );
    let handle = session.submit(python.code(&code)).unwrap();
    assert_eq!(told.line(), "here");
    let number = handle.id().unwrap().submission;
    let mut events = session.events(Topic::Submission(number));
    let begin = events.next_within(PATIENCE).unwrap();
    assert!(
        matches!(begin, Some(Update::Snapshot(Body::Tasks { .. }))),
        "{begin:?}"
    );
    gate.release(1);
    let said = loop {
        if let Update::Event(Body::Progress { tasks }) = events.next_within(PATIENCE).unwrap().unwrap() {
            break tasks;
        }
    };
    assert_eq!(
        (said[0].run.lo, said[0].fraction, &said[0].text[..]),
        (0, 0.25, "step 1 of 4")
    );
    let task = TaskId {
        submission: number,
        index: 0,
    };
    assert_eq!(
        session.ask_explain(task).unwrap().progress.as_ref(),
        Some(&said[0])
    );
    let shown = pilot.sh(&format!("scalems task info {number}.0")).well();
    assert!(shown.out.contains("25.0 % step 1 of 4"), "{}", shown.out);
    assert_eq!(told.line(), "here");
    gate.release(1);
    handle.wait(PATIENCE).unwrap();
    assert_eq!(session.ask_explain(task).unwrap().progress, None);
    pilot.stop();
}

#[test]
fn what_a_function_writes_is_followed() {
    let Some(python) = Python::find() else { return };
    let pilot = Pilot::start("--cores 1");
    let session = pilot.session();
    let mut told = Fifo::new(&pilot.home.work(), "told");
    let mut gate = Fifo::new(&pilot.home.work(), "gate");
    let code = format!(
        "import sys\nprint('first', flush=True)\nprint('wrong', file=sys.stderr, flush=True)\n\
         import logging\nlogging.getLogger('m').warning('told')\n{0}print('second', flush=True)\n{0}",
        meet(&told, &gate)
    );
    let handle = session.submit(python.code(&code)).unwrap();
    assert_eq!(told.line(), "here");
    let number = handle.id().unwrap().submission;
    until_tasks(&session, number, |counts| counts.running == 1);
    let follower = pilot.home.spawn(&format!("scalems logs -f {number}"));
    let errors = pilot.home.spawn(&format!("scalems logs -f --stderr {number}"));
    follower.until_written("first\n");
    errors.until_written("wrong\nWARNING m: told\n");
    gate.release(1);
    follower.until_written("second\n");
    assert_eq!(told.line(), "here");
    gate.release(1);
    assert_eq!(follower.output().well().out, "first\nsecond\n");
    assert_eq!(errors.output().well().out, "wrong\nWARNING m: told\n");
    assert_eq!(beside(&handle.wait(PATIENCE).unwrap()).stdout, b"first\nsecond\n");
    pilot.stop();
}

#[test]
fn variables_are_those_of_the_task_for_it_and_what_it_starts() {
    let Some(python) = Python::find() else { return };
    let pilot = Pilot::start("--cores 1");
    let session = pilot.session();
    let names = [
        "TASK",
        "SUBMISSION",
        "INDEX",
        "ATTEMPT",
        "CPUS",
        "GPUS",
        "CHECKPOINT_DIR",
        "DEADLINE",
    ];
    let code = "import os, subprocess\nfrom scalems_pilot._task import current_task\n\
        names = ['SCALEMS_' + name for name in names]\n\
        told = subprocess.run(['env'], capture_output=True, text=True, check=True).stdout.splitlines()\n\
        told = dict(line.split('=', 1) for line in told if '=' in line)\n\
        assert all(told.get(name) == os.environ.get(name) for name in names)\n\
        c = current_task()\n\
        assert os.environ['SCALEMS_CHECKPOINT_DIR'] == str(c.checkpoint_dir)\n\
        assert c.deadline is None or abs(float(os.environ['SCALEMS_DEADLINE']) - c.deadline) < 0.01\n\
        result = [os.environ.get(name) for name in names[:6]] + ['SCALEMS_DEADLINE' in os.environ]";
    let task = |limit: bool| {
        let task = python.task("task.exec", json!({"code": code, "kwargs": {"names": names}}));
        if limit { task.time_limit(PATIENCE) } else { task }
    };
    for limit in [true, false] {
        let result = run(&session, task(limit));
        let found = value(&result);
        let id = result.id.unwrap();
        let cpus = found[4].clone();
        assert!(cpus.as_str().is_some_and(|cpus| !cpus.is_empty()), "{found}");
        let (submission, index) = (id.submission.to_string(), id.index.to_string());
        assert_eq!(
            found,
            json!([id.to_string(), submission, index, "1", cpus, "", limit])
        );
    }
    pilot.stop();
}

#[test]
fn a_later_attempt_finds_what_an_earlier_one_has_published() {
    let Some(python) = Python::find() else { return };
    let pilot = Pilot::start("--cores 1");
    let session = pilot.session();
    let code = "import os\nfrom scalems_pilot._task import current_task\nc = current_task()\n\
        found = c.checkpoint_dir / 'state'\nfull = c.checkpoint_dir / 'full'\n\
        if c.attempt < 3:\n  \
          with c.publishing('state') as path: path.write_text('of attempt %d' % c.attempt)\n  \
          (c.directory / 'full').mkdir()\n  (c.directory / 'full' / 'a').write_text(str(c.attempt))\n  \
          c.publish(c.directory / 'full')\n  \
          os._exit(3)\n\
        result = [found.read_text(), (full / 'a').read_text(), sorted(e for e in os.listdir(c.checkpoint_dir) if e[0] != '.')]";
    let result = run(&session, python.code(code).retries(2));
    assert_eq!(value(&result), json!(["of attempt 2", "2", ["full", "state"]]));
    // One that is not the newest publishes nothing.
    let code = "from scalems_pilot._task import current_task\nc = current_task()\n\
        (c.checkpoint_dir / '.attempts' / '1.9').mkdir()\n(c.directory / 'late').write_text('x')\nc.publish(c.directory / 'late')";
    let error = run(&session, python.code(code)).error.unwrap();
    assert!(error.message.contains("attempt 9 has begun since"), "{error}");
    // Programs are told of the same place.
    let number = pilot.submit("--shell -- 'echo $SCALEMS_CHECKPOINT_DIR'");
    pilot.sh(&format!("scalems wait {number} --timeout 60s")).well();
    let said = pilot.sh(&format!("scalems logs {number}")).well();
    assert!(
        said.text().ends_with(&format!("/{number}.0")) && said.text().contains("/checkpoints/"),
        "{}",
        said.out
    );
    pilot.stop();
}

/// Resident memory of all processes of the pilot, bytes.
fn memory_of(pilot: &Pilot) -> u64 {
    let pids = [pilot.pid()].into_iter().chain(
        pilot
            .sh("scalems --output json worker list")
            .well()
            .json()
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row["pid"].as_u64().unwrap() as u32)
            .collect::<Vec<_>>(),
    );
    let resident = |pid: u32| -> u64 {
        let pages = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
        let pages: u64 = pages.split(' ').nth(1).unwrap().parse().unwrap();
        pages * 4096
    };
    pids.map(resident).sum()
}

#[test]
fn a_gibibyte_of_output_costs_the_pilot_no_memory() {
    let Some(python) = Python::find() else { return };
    let pilot = Pilot::start("--cores 1");
    let session = pilot.session();
    run(&session, python.code("print('warm')"));
    let before = memory_of(&pilot);
    let code = "import os\nline = b'x' * 65535 + b'\\n'\nfor _ in range(1 << 14): os.write(1, line)";
    let result = run(&session, python.code(code));
    assert_eq!(value(&result), Value::Null);
    let found = beside(&result);
    assert_eq!((found.stdout_bytes, found.stdout.len()), (1 << 30, 64 << 10));
    let after = memory_of(&pilot);
    assert!(
        after < before + (32 << 20),
        "{before} bytes before, {after} after"
    );
    pilot.stop();
}

#[test]
fn an_interpreter_that_has_grown_is_replaced() {
    let Some(python) = Python::find() else { return };
    let pilot = Pilot::start("--cores 1");
    let session = pilot.session();
    let pid = || python.code("import os\nresult = os.getpid()");
    let first = value(&run(&session, pid()));
    run(
        &session,
        python.code("import sys\nsys.kept = bytearray(b'x') * (1100 << 20)"),
    );
    let handles = session.submit_many((0..600).map(|_| pid()));
    let pids: Vec<Value> = handles
        .iter()
        .map(|handle| value(&handle.wait(PATIENCE).unwrap()))
        .collect();
    assert_eq!(pids[0], first);
    assert_ne!(pids[599], first, "it has more than a GiB");
    pilot.stop();
}

#[test]
fn what_cannot_be_read_where_it_runs_ends_that_task() {
    let Some(python) = Python::find() else { return };
    let pilot = Pilot::start("--cores 1");
    let session = pilot.session();
    let modules = python.modules.to_str().unwrap();
    // Arguments whose class is not there, a pickle that is none, and one that raises.
    let pickles: [(&[u8], &str); 3] = [
        (b"cno_such_module\nC\n.", "no_such_module"),
        (b"\x80\x05broken", "cannot be read"),
        (b"cbuiltins\ndivmod\n(I1\nI0\ntR.", "ZeroDivisionError"),
    ];
    for (pickle, text) in pickles {
        let mut data = vec![0xc1, 0x01, 0, 0, 0, 0];
        data.extend((pickle.len() as u64).to_le_bytes());
        data.extend(pickle);
        let body = rmp_serde::to_vec_named(&python.call(json!({"function": "builtins:len"}))).unwrap();
        let result = run(&session, Task::new("task.function").body(body).data(data));
        let error = result.error.unwrap();
        assert_eq!(error.code, Code::WrongCall, "{error}");
        assert!(error.message.contains(text), "{error}");
    }
    // A function that another Python has written.
    let call = json!({"pickle": [1], "written_by": "3.2"});
    let error = run(&session, python.task("task.function", call)).error.unwrap();
    assert_eq!(error.code, Code::WrongCall);
    assert!(error.message.contains("written by Python 3.2"), "{error}");
    for other in ["3.9", "3.10", "3.12", "3.13"]
        .iter()
        .filter_map(|version| python.of_version(version))
    {
        let code = "import msgpack, os, sys\nfrom scalems_pilot.codec import function_call\n\
            call = {**function_call(lambda: 1), 'python': sys.argv[1], 'path': [sys.argv[2]]}\n\
            os.write(1, msgpack.packb(call))";
        let written = Command::new(&other.program)
            .args(["-c", code])
            .args([python.program.to_str().unwrap(), modules])
            .env("PYTHONPATH", &other.modules)
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        assert!(written.status.success());
        let error = run(&session, Task::new("task.function").data(written.stdout)).error;
        let error = error.unwrap();
        assert!(error.message.contains("written by Python 3."), "{error}");
    }
    // One that is too old, where there is one.
    if let Some(old) = python.of_version("3.8") {
        let error = run(&session, old.code("result = 1")).error.unwrap();
        assert_eq!(error.code, Code::NoInterpreter, "{error}");
        assert!(error.message.contains("needs 3.9 or later"), "{error}");
    }
    assert_eq!(value(&run(&session, python.code("result = 1"))), json!(1));
    pilot.stop();
}

#[test]
fn a_body_is_read_back_from_the_journal() {
    let Some(python) = Python::find() else { return };
    let mut pilot = Pilot::start("--cores 1");
    let session = pilot.session();
    let mut told = Fifo::new(&pilot.home.work(), "told");
    let gate = Fifo::new(&pilot.home.work(), "gate");
    let holder = session.submit(python.code(&meet(&told, &gate))).unwrap();
    assert_eq!(told.line(), "here");
    // They wait in the agent, and after its death are nowhere but in the journal: clients and worker go too.
    let place = pilot.home.work().join("sum");
    let code = format!("open('{}-%d' % x, 'w').write(str(x + 3))", place.display());
    let call = python.call(json!({"code": code}));
    let task = Task::new("task.exec").body(rmp_serde::to_vec_named(&call).unwrap());
    let named = || scalems_client::Session::options().name("lone").takeover(true);
    let lone = named().connect(pilot.directory()).unwrap();
    let data = |i: i64| rmp_serde::to_vec_named(&json!([[], {"x": i}])).unwrap();
    let handles = lone.submit_many((0..20).map(|i| task.with_data(data(i))));
    lone.wait_accepted(PATIENCE).unwrap();
    let number = handles[0].id().unwrap().submission;
    pilot.kill_all();
    drop((handles, lone, holder, session));
    pilot.resume("");
    // A client of before that comes back is not waited for any longer.
    let session = named().connect(pilot.directory()).unwrap();
    until_tasks(&session, number, |counts| counts.done == 20);
    for i in 0..20 {
        let place = pilot.home.work().join(format!("sum-{i}"));
        assert_eq!(std::fs::read_to_string(place).unwrap(), (i + 3).to_string());
    }
    drop(session);
    pilot.stop();
}
